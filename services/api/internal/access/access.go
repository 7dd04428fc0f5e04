// Package access decides who may call which route: every route has a rule, and a route without one does not exist.
package access

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// A Rule says who may call a route. The zero value is nobody. What somebody may
// do within a namespace is decided by the use case, inside its queries.
type Rule int

// The rules.
const (
	Deny   Rule = iota
	Public      // anybody: health, sign-in, static files
	Viewer      // signed in, with at least this role
	Operator
	Author
	Admin
)

// roles are what the rules that ask for one ask for.
var roles = map[Rule]api.Role{Viewer: api.RoleViewer, Operator: api.RoleOperator, Author: api.RoleAuthor, Admin: api.RoleAdmin}

// Limits of a request's body for routes that say nothing else.
const defaultBody = 64 << 10

// A Route is one method of one path, with all that is checked before its handler
// sees the request.
type Route struct {
	Method, Path string
	Rule         Rule
	Handler      echo.HandlerFunc
	// Body is how many bytes a body may have; zero means 64 KiB.
	Body int64
	// Query are the names of the parameters it knows; nil: they are not checked.
	Query []string
	// Stream says that the answer goes on: it has no deadline as a whole.
	Stream bool
}

// Config is how Mount finds out who asks.
type Config struct {
	// Authenticate finds the holder of a token's text.
	Authenticate func(ctx context.Context, secret string) (app.Actor, error)
	// Session finds the holder of a page session; ok is false if there is none.
	// Nil: there are no sessions.
	Session func(echo.Context) (actor app.Actor, ok bool, err error)
	// Anyone lets everybody do everything. It is for servers that nobody else can
	// reach.
	Anyone bool
	// Metrics registers the counters of requests; nil: they are not counted.
	Metrics prometheus.Registerer
}

// Mount adds routes to the router, each behind its rule. It refuses routes
// without a rule and routes that are there already.
func Mount(e *echo.Echo, cfg Config, routes ...Route) error {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "synthesizer_http_request_seconds", Help: "Requests by route, method and status; streams count until they end.",
		Buckets: []float64{.003, .01, .03, .1, .3, 1, 3, 10},
	}, []string{"method", "route", "status"})
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(requests); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	seen := map[string]bool{}
	for _, r := range routes {
		key := r.Method + " " + r.Path
		if _, ok := roles[r.Rule]; !ok && r.Rule != Public {
			return fmt.Errorf("route %s has no access rule", key)
		}
		if seen[key] {
			return fmt.Errorf("route %s is there twice", key)
		}
		seen[key] = true
		e.Add(r.Method, r.Path, counted(requests, r, guard(cfg, r)))
	}
	return nil
}

func counted(h *prometheus.HistogramVec, r Route, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		err := next(c)
		status := c.Response().Status
		if err != nil && !c.Response().Committed {
			status = app.Explain(err).Code.Status()
		}
		h.WithLabelValues(r.Method, r.Path, strconv.Itoa(status)).Observe(time.Since(began).Seconds())
		return err
	}
}

// guard checks a request before its handler sees it.
func guard(cfg Config, r Route) echo.HandlerFunc {
	return func(c echo.Context) error {
		actor, err := identify(cfg, c, r.Rule)
		if err != nil {
			return err
		}
		if role, ok := roles[r.Rule]; ok && !actor.May(role, "") {
			return api.Errorf(api.Refused, "%s has role %s, this needs %s", actor.Name, actor.Role, role).WithHint("ask for a token with that role")
		}
		req := c.Request()
		if err := checkBody(c, cmp.Or(r.Body, defaultBody)); err != nil {
			return err
		}
		if err := checkText(req); err != nil {
			return err
		}
		if err := checkQuery(req, r.Query); err != nil {
			return err
		}
		if r.Stream {
			// The connection's own deadlines would end it; whoever writes sets one for each write.
			rc := http.NewResponseController(c.Response())
			_ = rc.SetReadDeadline(time.Time{})
			_ = rc.SetWriteDeadline(time.Time{})
		}
		c.SetRequest(req.WithContext(With(req.Context(), actor)))
		return r.Handler(c)
	}
}

// identify finds out who asks. A public route asks nobody.
func identify(cfg Config, c echo.Context, rule Rule) (app.Actor, error) {
	if cfg.Anyone {
		return app.Anyone(), nil
	}
	headers := c.Request().Header.Values("Authorization")
	if rule == Public && len(headers) == 0 {
		return app.Actor{}, nil
	}
	if len(headers) > 0 {
		scheme, secret, _ := strings.Cut(headers[0], " ")
		if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") {
			return app.Actor{}, unauthenticated(c, "the Authorization header is not one Bearer token")
		}
		actor, err := cfg.Authenticate(c.Request().Context(), strings.TrimSpace(secret))
		if err != nil && rule == Public {
			return app.Actor{}, nil
		}
		if api.IsCode(err, api.Unauthenticated) {
			c.Response().Header().Set("WWW-Authenticate", `Bearer realm="synthesizer"`)
		}
		return actor, err
	}
	if cfg.Session != nil {
		actor, ok, err := cfg.Session(c)
		if err != nil || ok {
			return actor, err
		}
	}
	return app.Actor{}, unauthenticated(c, "not signed in")
}

func unauthenticated(c echo.Context, message string) error {
	c.Response().Header().Set("WWW-Authenticate", `Bearer realm="synthesizer"`)
	return api.Errorf(api.Unauthenticated, "%s", message).WithHint("synctl login, or Authorization: Bearer syn_…")
}

// checkBody refuses encodings, and bodies that say that they are too large; of
// the others it lets through no more than the limit.
func checkBody(c echo.Context, limit int64) error {
	req := c.Request()
	if encoding := req.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		c.Response().Header().Set("Connection", "close")
		return api.Errorf(api.Unsupported, "a body with a Content-Encoding is not read").WithHint("send it as it is")
	}
	if req.ContentLength > limit {
		c.Response().Header().Set("Connection", "close")
		return TooLarge(limit)
	}
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = http.MaxBytesReader(c.Response().Writer, req.Body, limit)
	}
	return nil
}

// TooLarge is the error for a body above its limit.
func TooLarge(limit int64) *api.Error {
	return api.Errorf(api.TooLarge, "the body is larger than %d bytes, which is all that is read here", limit)
}

// checkText refuses addresses whose parts are no text, or hold a NUL: no name has
// one, and the database cannot be asked about them.
func checkText(req *http.Request) error {
	text := func(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
	ok := text(req.URL.Path)
	for name, values := range req.URL.Query() {
		ok = ok && text(name) && !slices.ContainsFunc(values, func(v string) bool { return !text(v) })
	}
	if !ok {
		return api.Errorf(api.Malformed, "the address holds bytes that are no text")
	}
	return nil
}

// checkQuery refuses parameters that the route does not know.
func checkQuery(req *http.Request, known []string) error {
	if known == nil || req.URL.RawQuery == "" {
		return nil
	}
	values, err := parseQuery(req)
	if err != nil {
		return err
	}
	for name := range values {
		if !slices.Contains(known, name) {
			hint := "this address takes none"
			if len(known) > 0 {
				hint = "known: " + strings.Join(known, ", ")
			}
			return api.Errorf(api.Malformed, "unknown parameter %s", strconv.QuoteToGraphic(cut(name))).WithHint("%s", hint)
		}
	}
	return nil
}

func parseQuery(req *http.Request) (map[string][]string, error) {
	values := req.URL.Query()
	if strings.Contains(req.URL.RawQuery, ";") {
		return nil, api.Errorf(api.Malformed, "the query holds a ;, which separates nothing").WithHint("write & between parameters")
	}
	return values, nil
}

func cut(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

type actorKey struct{}

// With is a context that carries who asks.
func With(ctx context.Context, a app.Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// Actor is who asks; nobody, if the context carries none.
func Actor(ctx context.Context) app.Actor {
	a, _ := ctx.Value(actorKey{}).(app.Actor)
	return a
}
