// Package web is the pages: HTML from the use cases of app, the same with and without scripts.
package web

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// Config is what a Server needs. App is required.
type Config struct {
	App *app.App
	Log *slog.Logger // nil: slog's default
	// Stop ends the streams: it is closed before the service waits for requests.
	Stop    <-chan struct{}
	Version string
	// Zone is shown to readers whose own is not known; nil: UTC.
	Zone *time.Location
}

// A Server makes the pages. Run keeps live ones up to date.
type Server struct {
	app     *app.App
	log     *slog.Logger
	stop    <-chan struct{}
	version string
	zone    *time.Location
	assets  *assets
	broken  []byte // the page for errors of ours
	hub     *hub
	plain   *scs.SessionManager // for connections without TLS
	secure  *scs.SessionManager
}

// New prepares the pages. The one for errors of ours is rendered here, so that it
// cannot fail later.
func New(cfg Config) (*Server, error) {
	s := &Server{app: cfg.App, log: cfg.Log, stop: cfg.Stop, version: cfg.Version, zone: cfg.Zone}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.zone == nil {
		s.zone = time.UTC
	}
	if s.stop == nil {
		s.stop = make(chan struct{})
	}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, fmt.Errorf("load static files: %w", err)
	}
	if s.broken, err = s.brokenPage(); err != nil {
		return nil, fmt.Errorf("render the error page: %w", err)
	}
	s.hub = newHub(s)
	s.plain, s.secure = sessions(cfg.App, false), sessions(cfg.App, true)
	return s, nil
}

// Run looks for changes of what live pages show until ctx is done. Without it
// pages work, but stay as they were.
func (s *Server) Run(ctx context.Context) error { return s.hub.run(ctx) }

// Routes are the routes of the pages, each with its rule.
func (s *Server) Routes() []access.Route {
	get := func(path string, h echo.HandlerFunc) access.Route {
		return access.Route{Method: "GET", Path: path, Rule: access.Viewer, Handler: h}
	}
	post := func(path string, rule access.Rule, h echo.HandlerFunc) access.Route {
		return access.Route{Method: "POST", Path: path, Rule: rule, Handler: h}
	}
	public := func(method, path string, h echo.HandlerFunc) access.Route {
		return access.Route{Method: method, Path: path, Rule: access.Public, Handler: h}
	}
	runForm := post("/p/:ns/:name/run", access.Operator, s.startRun)
	runForm.Body = 512 << 10
	markForm := post("/p/:ns/:name/:no/:task/mark", access.Operator, s.mark)
	markForm.Body = runForm.Body
	backfillForm := post("/p/:ns/:name/backfill", access.Operator, s.startBackfill)
	backfillForm.Body = runForm.Body
	secretForm, varForm := post("/secrets/set", access.Author, s.setSecret), post("/vars/set", access.Author, s.setVar)
	secretForm.Body, varForm.Body = 256<<10, 128<<10 // a form escapes what it sends
	events := get("/events", s.events)
	events.Stream = true
	download := get("/p/:ns/:name/:no/:task/:attempt/log.txt", s.download)
	download.Stream = true
	return []access.Route{
		public("GET", "/static/:file", s.static),
		public("GET", "/login", s.loginPage),
		public("POST", "/login", s.login),
		public("POST", "/logout", s.logout),
		get("/", s.home),
		get("/me", s.account),
		post("/me", access.Viewer, s.prefer),
		get("/p", s.pipelines),
		get("/p/:ns", s.short),
		get("/p/:ns/:name", s.pipeline),
		get("/p/:ns/:name/runs", s.pipeline),
		get("/p/:ns/:name/ticks", s.pipelineTicks),
		get("/p/:ns/:name/definition", s.pipelineDefinition),
		get("/p/:ns/:name/backfills", s.pipelineBackfills),
		get("/p/:ns/:name/backfill", s.backfillForm),
		backfillForm,
		get("/p/:ns/:name/run", s.runForm),
		runForm,
		get("/p/:ns/:name/pause", s.pausePage),
		post("/p/:ns/:name/pause", access.Operator, s.pause),
		post("/p/:ns/:name/resume", access.Operator, s.resume),
		get("/p/:ns/:name/:no", s.run),
		get("/p/:ns/:name/:no/-/cancel", s.cancelPage),
		post("/p/:ns/:name/:no/-/cancel", access.Operator, s.cancel),
		get("/p/:ns/:name/:no/-/rerun", s.rerunPage),
		post("/p/:ns/:name/:no/-/rerun", access.Operator, s.rerun),
		get("/p/:ns/:name/:no/:task/mark", s.markPage),
		markForm,
		get("/p/:ns/:name/:no/:task/answer", s.answerPage),
		post("/p/:ns/:name/:no/:task/answer", access.Operator, s.answer),
		get("/p/:ns/:name/:no/:task", s.newestAttempt),
		get("/p/:ns/:name/:no/:task/:attempt", s.attempt),
		download,
		get("/runs", s.runs),
		get("/backfills", s.backfills),
		get("/backfills/:id", s.backfill),
		get("/backfills/:id/change", s.quotaPage),
		post("/backfills/:id/change", access.Operator, s.changeBackfill),
		get("/backfills/:id/pause", s.askBackfill("pause")),
		post("/backfills/:id/pause", access.Operator, s.steerBackfill("pause")),
		post("/backfills/:id/resume", access.Operator, s.resumeBackfill),
		get("/backfills/:id/cancel", s.askBackfill("cancel")),
		post("/backfills/:id/cancel", access.Operator, s.steerBackfill("cancel")),
		get("/approvals", s.approvals),
		get("/secrets", s.secrets),
		get("/secrets/set", s.setSecretPage),
		secretForm,
		get("/secrets/delete", s.askDelete(true)),
		post("/secrets/delete", access.Author, s.delete(true)),
		get("/vars", s.vars),
		get("/vars/set", s.setVarPage),
		varForm,
		get("/vars/delete", s.askDelete(false)),
		post("/vars/delete", access.Author, s.delete(false)),
		get("/pools", s.pools),
		get("/pools/:ns/:name", s.pool),
		events,
	}
}

// actor is who asks.
func actor(c echo.Context) app.Actor { return access.Actor(c.Request().Context()) }

// base is what every page of a request has.
func (s *Server) base(c echo.Context, head app.PageHead, title, nav string) Base {
	who := actor(c)
	b := Base{
		Title: title, Nav: nav, Path: c.Request().URL.RequestURI(), Who: who.Name, Zone: s.zoneOf(c), Now: head.Now, Many: head.Namespaces, Questions: head.Questions,
		Theme: cookieIn(c, themeCookie, "light", "dark"), Keys: cookieIn(c, keysCookie, "off") == "", Assets: s.assets, Version: s.version,
	}
	if _, err := c.Cookie(s.sessionsFor(c).Cookie.Name); err == nil && !who.Anonymous {
		b.Signed = true
	}
	b.Flash = takeFlash(c)
	return b
}

// home leads to the list of pipelines.
func (s *Server) home(c echo.Context) error { return c.Redirect(302, "/p") }

// short is a pipeline without its namespace.
func (s *Server) short(c echo.Context) error {
	return s.orDefault(c, api.Errorf(api.NotFound, "there is no pipeline at this address").WithHint("a pipeline's address is /p/namespace/name"))
}

// orDefault tries an address under /p/ that names nothing once more with the
// namespace default in front.
func (s *Server) orDefault(c echo.Context, err error) error {
	if !api.IsCode(err, api.NotFound) {
		return err
	}
	name := param(c, "ns")
	ok, lookup := s.app.HasPipeline(c.Request().Context(), actor(c), app.PipelineRef{Namespace: "default", Name: name})
	if lookup != nil || !ok {
		return err
	}
	u := *c.Request().URL
	to := "/p/default" + u.EscapedPath()[len("/p"):]
	if u.RawQuery != "" {
		to += "?" + u.RawQuery
	}
	return c.Redirect(302, to)
}
