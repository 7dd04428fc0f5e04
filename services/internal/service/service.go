// Package service is what every service shares around its work: loops, health, metrics, and an orderly stop.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
)

// A Service runs loops and other parts until it is told to stop. Parts are
// added first, then Run is called once; Ready and Probes may be used by others
// all the while.
type Service struct {
	Name    string
	Log     *slog.Logger
	Metrics *prometheus.Registry

	parts []func(context.Context) error
	turns *prometheus.CounterVec
	took  *prometheus.HistogramVec

	mu      sync.Mutex // guards what follows
	loops   []*loop.Loop
	checks  []check
	running bool
}

type check struct {
	name string
	run  func(context.Context) error
}

// New makes a service without parts. log may be nil for slog's default.
func New(name string, log *slog.Logger) *Service {
	if log == nil {
		log = slog.Default()
	}
	s := &Service{
		Name: name, Log: log.With("service", name), Metrics: prometheus.NewRegistry(),
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "synthesizer_loop_turns_total", Help: "Turns of each loop, by how they ended: ok, error, panic.",
		}, []string{"service", "loop", "result"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "synthesizer_loop_turn_seconds", Help: "How long a turn of each loop took.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30},
		}, []string{"service", "loop"}),
	}
	s.Metrics.MustRegister(s.turns, s.took)
	return s
}

// Loop adds a loop: it is run, logged, counted, and asked by Ready whether it
// stalls.
func (s *Service) Loop(l *loop.Loop) {
	if l.Log == nil {
		l.Log = s.Log
	}
	observe := l.Observe
	l.Observe = func(t loop.Turn) {
		result := "ok"
		switch {
		case t.Panicked:
			result = "panic"
		case t.Err != nil:
			result = "error"
		}
		s.turns.WithLabelValues(s.Name, t.Loop, result).Inc()
		s.took.WithLabelValues(s.Name, t.Loop).Observe(t.Took.Seconds())
		if observe != nil {
			observe(t)
		}
	}
	s.mu.Lock()
	s.loops = append(s.loops, l)
	s.mu.Unlock()
	s.Go(func(ctx context.Context) error { l.Run(ctx); return nil })
}

// Go adds a part that works until its context is done. A part that returns an
// error stops the whole service; one that returns nil does not.
func (s *Service) Go(part func(context.Context) error) { s.parts = append(s.parts, part) }

// Check adds a condition of being ready.
func (s *Service) Check(name string, run func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, check{name, run})
}

// Ready says what keeps the service from doing its job, one line each, or nil.
func (s *Service) Ready(ctx context.Context) error {
	s.mu.Lock()
	loops, checks, running := s.loops, s.checks, s.running
	s.mu.Unlock()
	if !running { // what it checks is not known before
		return fmt.Errorf("%s: not started yet", s.Name)
	}
	var errs []error
	for _, c := range checks {
		if err := c.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	for _, l := range loops {
		if err := l.Stalled(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Run runs all parts until ctx is done or one of them fails, waits for all of
// them to end, and returns the first failure. Being told to stop is none.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range s.parts {
		g.Go(func() error {
			err := part(ctx)
			if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
				return nil
			}
			return err
		})
	}
	s.Log.InfoContext(ctx, "started", "version", Version())
	err := g.Wait()
	s.Log.Info("stopped")
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// version is set by the linker for releases built outside the module's tags.
var version string

// Version is what this binary was built from.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
