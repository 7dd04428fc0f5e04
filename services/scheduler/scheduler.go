// Package scheduler is the service that decides: which ticks become runs, which
// runs may start, which tasks become ready, and what is lost.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/boottime"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/internal/service"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/admit"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/backfill"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/follow"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/plan"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/prune"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/reap"
)

// Config is what a scheduler needs. Only DatabaseURL is required.
type Config struct {
	DatabaseURL string
	Listen      string // of the probes; "" none
	Log         *slog.Logger
	Lease       time.Duration // of executors; 0: 15 s
	Keep        Keep          // zero: DefaultKeep
	LateStarts  int           // how many late ticks start in a minute at most; 0: any number
	Service     *service.Service
}

// Keep is how many days history is kept at least.
type Keep = prune.Keep

// DefaultKeep is what is kept if nothing else is said.
var DefaultKeep = prune.DefaultKeep

// DefaultLateStarts is how many late ticks start in a minute if nothing else is said.
const DefaultLateStarts = 600

// revisions is how many compiled definitions are kept in memory.
const revisions = 4096

// maxLateStarts bounds a setting: turns are not drawn closer than fits a minute.
const maxLateStarts = 1_000_000

// Run schedules until ctx is done. Any number of schedulers may share a
// database: row locks and keys keep them apart.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Lease == 0 {
		cfg.Lease = 15 * time.Second
	}
	if cfg.Keep == (Keep{}) {
		cfg.Keep = DefaultKeep
	}
	if err := cfg.Keep.Check(); err != nil {
		return err
	}
	if cfg.LateStarts < 0 || cfg.LateStarts > maxLateStarts {
		return fmt.Errorf("--late-starts is %d: it must be from 0 (no limit) to %d", cfg.LateStarts, maxLateStarts)
	}
	s := cfg.Service
	if s == nil {
		s = service.New("scheduler", cfg.Log)
		if err := s.ServeProbes(cfg.Listen); err != nil {
			return err
		}
	}
	control, err := db.Open(ctx, db.Config{URL: cfg.DatabaseURL, AppName: "synthesizer scheduler", Purpose: db.Control, MaxConns: 5})
	if err != nil {
		return err
	}
	defer control.Close()
	upkeep, err := db.Open(ctx, db.Config{URL: cfg.DatabaseURL, AppName: "synthesizer scheduler upkeep", Purpose: db.Upkeep, MaxConns: 1})
	if err != nil {
		return err
	}
	defer upkeep.Close()

	var (
		m         = newMetrics(s.Metrics)
		notify    = db.NewNotifier(control)
		woken     = newHint() // runs and pools
		groups    = newHint()
		backfills = newHint()
		asked     = newHint() // runs that other runs ask for
		cache     = revision.NewCache(revisions)
		pace      = gate.Pace(cfg.LateStarts)
		pruner    = prune.New(upkeep, cfg.Keep, cfg.Log)
		advanced  = func(o advance.Outcome) { m.advanced(o); spread(o, notify, woken, groups, backfills, asked) }
		advancer  = advance.New(control, cache, cfg.Log, advanced)
		admitter  = admit.New(cache, advancer, pace, advanced)
		filler    = backfill.New(cache, advancer, advanced)
		follower  = follow.New(control, cache, cfg.Log, advanced)
		planner   = plan.New(control, cache, advancer, pace, cfg.Log, func(o plan.Outcome) { m.planned(o); spread(o.Outcome, notify, woken, groups, backfills, asked) })
		reaper    = reap.New(control, cache, cfg.Lease, boottime.Now, cfg.Log, func(o reap.Outcome) { m.reaped(o); wakeAfter(o, woken, groups, backfills, asked) })
		sweeper   = reap.NewSweeper(upkeep, 2*time.Minute, cfg.Log, m.mended)
		listening = func(ctx context.Context) error {
			db.Listen(ctx, control, cfg.Log, func(channel string) {
				if channel == db.ChannelSchedule {
					planner.Hint()
					return
				}
				woken.give()
				groups.give()
			}, db.ChannelWake, db.ChannelSchedule)
			return nil
		}
	)

	warnings := cfg.Log
	if cfg.Service != nil {
		// Part of a larger process, which has its own Postgres and knows how it is set up.
		warnings = slog.New(slog.DiscardHandler)
	}

	s.Check("database", control.Ping)
	s.Check("schema", func(ctx context.Context) error { return db.CheckSchema(ctx, control) })
	s.Check("partitions", func(ctx context.Context) error { return enoughDays(ctx, control) })

	s.Go(func(ctx context.Context) error { notify.Run(ctx); return nil })
	s.Go(listening)
	ready := newDoor(func(ctx context.Context) error { return prepare(ctx, control, pruner, warnings) })
	s.Loop(&loop.Loop{Name: "plan", Interval: 10 * time.Second, Hint: planner.Due(), Step: ready.before(planner.Step), Log: cfg.Log})
	// The reaper looks once a second, in one query, whether anything is due for admit, advance, backfill or follow.
	s.Loop(&loop.Loop{Name: "admit", Interval: 20 * time.Second, Hint: groups, Step: ready.before(admitter.Step), Log: cfg.Log})
	s.Loop(&loop.Loop{Name: "advance", Interval: 20 * time.Second, Hint: woken, Step: ready.before(advancer.Step), Log: cfg.Log})
	s.Loop(&loop.Loop{Name: "backfill", Interval: 20 * time.Second, Hint: backfills, Step: ready.before(filler.Step), Log: cfg.Log})
	s.Loop(&loop.Loop{Name: "follow", Interval: 20 * time.Second, Hint: asked, Step: ready.before(follower.Step), Log: cfg.Log})
	s.Loop(&loop.Loop{Name: "reap", Interval: time.Second, Step: ready.before(reaper.Step), Log: cfg.Log})
	s.Loop(&loop.Loop{Name: "prune", Interval: time.Hour, Step: ready.before(pruner.Step), Log: cfg.Log})
	s.Loop(&loop.Loop{Name: "sweep", Interval: 2 * time.Minute, Step: ready.before(sweeper.Step), Log: cfg.Log})
	return s.Run(ctx)
}
