// Package api is the service that answers people and programs: the REST API and the pages.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/IBM/pgxpoolprometheus"
	"golang.org/x/net/netutil"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
	"github.com/synthesizer-dev/synthesizer/services/internal/service"
)

// Config is what the service is told. DatabaseURL is required, and either Listen
// or Listener.
type Config struct {
	DatabaseURL string
	Listen      string       // host:port; an empty host is every address
	Listener    net.Listener // instead of Listen, for tests and for port 0
	Log         *slog.Logger // nil: slog's default
	// BaseURL is where people reach the pages; empty: links are paths.
	BaseURL string
	// InsecureNoAuth lets everybody do everything. It is refused unless only this
	// machine can reach the listener.
	InsecureNoAuth bool
	// SecretKeyFile holds the key that seals secrets; empty: none can be set.
	SecretKeyFile string
	// FirstToken is told the admin token that a new installation makes, once. Nil:
	// it is printed on standard error.
	FirstToken func(secret string)
	// Beside are services in the same process: their readiness and their metrics
	// are told together with the api's.
	Beside []*service.Service
	// Service is what the parts of the api are added to; nil: one of its own.
	Service *service.Service
}

// maxConns is how many connections answer requests; listening has one more.
const maxConns = 10

// maxSockets is how many connections clients may hold open together. Those above
// wait to be accepted.
const maxSockets = 8000

// grace is how long requests under way may take after a stop.
const grace = 10 * time.Second

// Run answers until ctx is done.
func Run(ctx context.Context, cfg Config) error {
	s := cfg.Service
	if s == nil {
		s = service.New("api", cfg.Log)
	}
	listener, err := listen(cfg)
	if err != nil {
		return err
	}
	defer listener.Close()
	pool, err := db.Open(ctx, db.Config{URL: cfg.DatabaseURL, AppName: "synthesizer api", Purpose: db.Pages, MaxConns: maxConns})
	if err != nil {
		return err
	}
	defer pool.Close()
	s.Check("database", pool.Ping)
	s.Check("schema", func(ctx context.Context) error { return db.CheckSchema(ctx, pool) })
	s.Check("partitions", func(ctx context.Context) error { return partitionsAhead(ctx, pool) })
	if err := s.Metrics.Register(pgxpoolprometheus.NewCollector(pool.PGX(), map[string]string{"service": "api", "pool": "pages"})); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}

	keys := secrets.New(cfg.SecretKeyFile)
	if err := keys.Check(); err != nil && cfg.SecretKeyFile != "" {
		s.Log.WarnContext(ctx, "secrets cannot be set", "err", err)
	}
	a := app.New(app.Config{Pool: pool, Log: s.Log, Version: service.Version(), BaseURL: cfg.BaseURL, Secrets: keys})
	stop := make(chan struct{})
	handler, err := newHandler(cfg, s, a, stop)
	if err != nil {
		return err
	}
	server := service.NewServer(handler)
	server.ErrorLog = slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug)
	server.RegisterOnShutdown(sync.OnceFunc(func() { close(stop) }))

	s.Go(a.Listen)
	s.Go(func(ctx context.Context) error { return firstToken(ctx, cfg, s.Log, a) })
	s.Go(func(ctx context.Context) error {
		s.Log.InfoContext(ctx, "listening", "address", listener.Addr().String())
		return service.Serve(ctx, netutil.LimitListener(listener, maxSockets), server, grace)
	})
	return s.Run(ctx)
}

// fewestDays is how many days ahead must have their partitions: whoever makes
// them would otherwise be missed only when they run out.
const fewestDays = 3

func partitionsAhead(ctx context.Context, pool *db.Pool) error {
	days, err := pool.Queries().PartitionsAhead(ctx, nil)
	if err != nil {
		return err
	}
	if days < fewestDays {
		return fmt.Errorf("made for %d more days, and a scheduler keeps %d ahead: is one running?", days, db.DaysAhead)
	}
	return nil
}
