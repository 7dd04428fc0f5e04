package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// sessionLife is how long somebody stays signed in at most; without a request,
// app.SessionIdle.
const sessionLife = 7 * 24 * time.Hour

// Cookies beside the session's. None of them carries a right.
const (
	themeCookie = "theme" // light, dark
	zoneCookie  = "zone"  // chosen by the reader
	seenCookie  = "tz"    // found by the script
	keysCookie  = "keys"  // off
	flashCookie = "flash" // shown once
)

// tokenKey is what a session holds: the id of the token that opened it.
const tokenKey = "token"

func sessions(a *app.App, tls bool) *scs.SessionManager {
	m := scs.New()
	m.Store = a.Sessions()
	m.Lifetime = sessionLife
	m.HashTokenInStore = true
	m.Cookie.Name = "synthesizer"
	m.Cookie.HttpOnly = true
	m.Cookie.SameSite = http.SameSiteLaxMode
	m.Cookie.Path = "/"
	if tls {
		m.Cookie.Name = "__Host-synthesizer"
		m.Cookie.Secure = true
	}
	return m
}

// sessionsFor is the manager for a connection: under TLS the cookie is bound to it.
func (s *Server) sessionsFor(c echo.Context) *scs.SessionManager {
	if c.Scheme() == "https" {
		return s.secure
	}
	return s.plain
}

// Session finds who has signed in on this browser; ok is false if nobody has, or
// the token that it was done with no longer holds.
func (s *Server) Session(c echo.Context) (who app.Actor, ok bool, err error) {
	m := s.sessionsFor(c)
	cookie, err := c.Cookie(m.Cookie.Name)
	if err != nil || cookie.Value == "" || len(cookie.Value) > 100 {
		return app.Actor{}, false, nil
	}
	ctx, err := m.Load(c.Request().Context(), cookie.Value)
	if err != nil {
		return app.Actor{}, false, err
	}
	id := m.GetInt64(ctx, tokenKey)
	if id == 0 {
		return app.Actor{}, false, nil
	}
	who, err = s.app.ActorOf(ctx, id)
	if api.IsCode(err, api.Unauthenticated) {
		return app.Actor{}, false, nil
	}
	return who, err == nil, err
}

func (s *Server) loginPage(c echo.Context) error {
	return s.showLogin(c, http.StatusOK, c.QueryParam("next"), "")
}

func (s *Server) showLogin(c echo.Context, status int, to, problem string) error {
	b := s.base(c, app.PageHead{}, "Sign in", "")
	return s.render(c, status, LoginMain(LoginPage{Base: b, To: local(to), Problem: problem}), b, nil)
}

// login opens a session for the holder of a token. Its id is new, whatever the
// browser sent.
func (s *Server) login(c echo.Context) error {
	ctx := c.Request().Context()
	to := local(c.FormValue("next"))
	who, err := s.app.Authenticate(ctx, strings.TrimSpace(c.FormValue("token")))
	if api.IsCode(err, api.Unauthenticated) {
		return s.showLogin(c, http.StatusUnprocessableEntity, to, "This token is not known, was revoked, or has expired.")
	}
	if err != nil {
		return err
	}
	m := s.sessionsFor(c)
	old := ""
	if cookie, err := c.Cookie(m.Cookie.Name); err == nil && len(cookie.Value) <= 100 {
		old = cookie.Value
	}
	if ctx, err = m.Load(ctx, old); err != nil {
		return err
	}
	if err := m.RenewToken(ctx); err != nil {
		return err
	}
	m.Put(ctx, tokenKey, who.TokenID)
	token, expiry, err := m.Commit(ctx)
	if err != nil {
		return err
	}
	m.WriteSessionCookie(ctx, c.Response(), token, expiry)
	return c.Redirect(http.StatusSeeOther, to)
}

// logout ends the session, here and in the database.
func (s *Server) logout(c echo.Context) error {
	m := s.sessionsFor(c)
	if cookie, err := c.Cookie(m.Cookie.Name); err == nil && len(cookie.Value) <= 100 {
		ctx, err := m.Load(c.Request().Context(), cookie.Value)
		if err != nil {
			return err
		}
		if err := m.Destroy(ctx); err != nil {
			return err
		}
		m.WriteSessionCookie(ctx, c.Response(), "", time.Time{})
	}
	return c.Redirect(http.StatusSeeOther, "/login")
}

// local is an address of ours to go to; anything else leads home.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") || u.Host != "" || u.Scheme != "" ||
		u.Path == "/login" || u.Path == "/logout" || u.Path == "/events" {
		return "/"
	}
	return to
}

func (s *Server) account(c echo.Context) error { return s.showAccount(c, http.StatusOK, "", "") }

func (s *Server) showAccount(c echo.Context, status int, zone, problem string) error {
	head, err := s.app.PageHead(c.Request().Context(), actor(c))
	if err != nil {
		return err
	}
	b := s.base(c, head, "Account", "me")
	b.JSON = "/api/v1/whoami"
	who := actor(c)
	rights := []Fact{{Name: "Signed in as", Value: who.Name}, {Name: "Role", Value: string(who.Role)}}
	if len(who.Namespaces) > 0 {
		rights = append(rights, Fact{Name: "Namespaces", Value: strings.Join(who.Namespaces, ", ")})
	} else {
		rights = append(rights, Fact{Name: "Namespaces", Value: "all"})
	}
	if !who.ExpiresAt.IsZero() {
		rights = append(rights, Fact{Name: "Until", At: b.maybe(&who.ExpiresAt)})
	}
	if zone == "" {
		if cookie, err := c.Cookie(zoneCookie); err == nil {
			zone = cut(cookie.Value, 64)
		}
	}
	page := AccountPage{Base: b, Rights: rights, ZoneIs: zone, Shift: b.Keys, Problem: problem}
	for _, o := range []Option{{Value: "", Label: "As the system has it"}, {Value: "light", Label: "Light"}, {Value: "dark", Label: "Dark"}} {
		o.Chosen = o.Value == b.Theme
		page.Themes = append(page.Themes, o)
	}
	return s.render(c, status, AccountMain(page), b, nil)
}

// prefer keeps what the reader prefers, in cookies of this browser.
func (s *Server) prefer(c echo.Context) error {
	zone := strings.TrimSpace(c.FormValue("zone"))
	if zone != "" {
		if _, err := schedule.LoadZone(zone); err != nil {
			return s.showAccount(c, http.StatusUnprocessableEntity, cut(zone, 64), "There is no time zone of that name. Names are those of IANA, such as Europe/Amsterdam.")
		}
	}
	theme := c.FormValue("theme")
	if !slices.Contains([]string{"light", "dark"}, theme) {
		theme = ""
	}
	keys := "off"
	if c.FormValue("keys") == "on" {
		keys = ""
	}
	s.setCookie(c, zoneCookie, zone)
	s.setCookie(c, themeCookie, theme)
	s.setCookie(c, keysCookie, keys)
	s.flash(c, "Preferences are kept in this browser.")
	return c.Redirect(http.StatusSeeOther, "/me")
}

func (s *Server) setCookie(c echo.Context, name, value string) {
	cookie := &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, Secure: c.Scheme() == "https", SameSite: http.SameSiteLaxMode}
	if value == "" {
		cookie.MaxAge = -1
	}
	c.SetCookie(cookie)
}

// flash keeps a sentence for the next page.
func (s *Server) flash(c echo.Context, text string) {
	c.SetCookie(&http.Cookie{Name: flashCookie, Value: url.QueryEscape(cut(text, 200)), Path: "/", MaxAge: 60, HttpOnly: true, Secure: c.Scheme() == "https", SameSite: http.SameSiteLaxMode})
}

// takeFlash takes the sentence that the page before left.
func takeFlash(c echo.Context) string {
	cookie, err := c.Cookie(flashCookie)
	if err != nil || cookie.Value == "" || c.Request().Method != http.MethodGet || c.Path() == "/events" {
		return ""
	}
	text, err := url.QueryUnescape(cookie.Value)
	if err != nil {
		return ""
	}
	c.SetCookie(&http.Cookie{Name: flashCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return cut(tidy(text), 200)
}

// zoneOf is the zone that the reader chose, else the one the script found.
func (s *Server) zoneOf(c echo.Context) *time.Location {
	for _, name := range []string{zoneCookie, seenCookie} {
		if cookie, err := c.Cookie(name); err == nil && cookie.Value != "" && len(cookie.Value) <= 128 {
			if text, err := url.QueryUnescape(cookie.Value); err == nil {
				if zone, err := schedule.LoadZone(text); err == nil {
					return zone
				}
			}
		}
	}
	return s.zone
}

// cookieIn is a cookie's value if it is one of those known.
func cookieIn(c echo.Context, name string, known ...string) string {
	cookie, err := c.Cookie(name)
	if err != nil || !slices.Contains(known, cookie.Value) {
		return ""
	}
	return cookie.Value
}
