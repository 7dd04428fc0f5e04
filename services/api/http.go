package api

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	contract "github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/rest"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/web"
	"github.com/synthesizer-dev/synthesizer/services/internal/service"
)

// newHandler is everything between a connection and the use cases. What every
// request passes stands here in order; what depends on the route is access.Mount.
func newHandler(cfg Config, s *service.Service, a *app.App, stop <-chan struct{}) (http.Handler, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect()
	e.Binder = rest.Binder{}
	pages, err := web.New(web.Config{App: a, Log: s.Log, Stop: stop, Version: service.Version()})
	if err != nil {
		return nil, err
	}
	s.Go(pages.Run)
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if forPeople(c) {
			pages.WriteError(c, err)
			return
		}
		rest.WriteProblem(c, s.Log, err)
	}
	e.Use(requestID, secureHeaders, logged(s.Log), recovered)

	all := append([]*service.Service{s}, cfg.Beside...)
	routes := rest.Routes(rest.Config{
		App: a, Stop: stop, Healthz: http.HandlerFunc(service.Healthz), Readyz: service.Readyz(all...), Metrics: service.Metrics(all...),
	})
	routes = append(routes, pages.Routes()...)
	err = access.Mount(e, access.Config{Authenticate: a.Authenticate, Session: pages.Session, Anyone: cfg.InsecureNoAuth, Metrics: s.Metrics}, routes...)
	if err != nil {
		return nil, err
	}
	// Browsers say where a request comes from; what another site sends changes nothing.
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.HTTPErrorHandler(contract.Errorf(contract.Refused, "this request comes from another site"), e.NewContext(r, w))
	}))
	return cross.Handler(e), nil
}

// forPeople tells whether an error is shown as a page: on the routes of pages,
// and where there is no route, to those who ask for HTML.
func forPeople(c echo.Context) bool {
	switch route := c.Path(); {
	case route == "":
		return strings.Contains(c.Request().Header.Get("Accept"), "text/html")
	case route == "/healthz", route == "/readyz", route == "/metrics":
		return false
	default:
		return !strings.HasPrefix(route, "/api/")
	}
}

// listen opens the listener, and refuses one that others can reach while nobody
// is checked.
func listen(cfg Config) (net.Listener, error) {
	l := cfg.Listener
	if l == nil {
		var err error
		if l, err = service.Listen(cfg.Listen); err != nil {
			return nil, err
		}
	}
	if cfg.InsecureNoAuth {
		if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
			l.Close()
			return nil, fmt.Errorf("--insecure-no-auth lets everybody run any command here, so it works on a loopback address alone, not on %s; set --listen 127.0.0.1:8080", l.Addr())
		}
	}
	return l, nil
}

func requestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderXRequestID, rand.Text()[:16])
		return next(c)
	}
}

func secureHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
		h.Set("Cache-Control", "no-store")
		return next(c)
	}
}

// logged writes a line for each request that changes something or went wrong.
func logged(log *slog.Logger) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			began := time.Now()
			err := next(c)
			if err != nil {
				c.Error(err) // answers, so that the status is known
			}
			req := c.Request()
			level := slog.LevelInfo
			if req.Method == http.MethodGet && c.Response().Status < 500 {
				level = slog.LevelDebug
			}
			log.Log(req.Context(), level, "request", "method", req.Method, "route", c.Path(), "status", c.Response().Status,
				"took", time.Since(began), "request_id", c.Response().Header().Get(echo.HeaderXRequestID), "by", access.Actor(req.Context()).Name)
			return nil
		}
	}
}

// recovered turns a panic into an error: one request fails, not the service.
func recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
				panic(p)
			}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}()
		return next(c)
	}
}
