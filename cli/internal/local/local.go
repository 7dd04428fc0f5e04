// Package local runs a pipeline on this machine, in memory, without a server.
//
// The same packages decide and run here as on a server: flow says what happens
// next, attempt what a task is given, process runs it. What only many runs and
// many machines have is missing: groups, pools and labels mean nothing.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// Options say how a run goes about. Now is required; all else has a default.
type Options struct {
	// Now is the clock.
	Now func() time.Time
	// MaxParallel is how many processes may run at once; 0: one per CPU.
	MaxParallel int
	// Root is the directory that attempts have theirs below. Several runs may
	// share it, and each removes what dead ones left there. "" is a directory
	// of the user's cache.
	Root string
	// Path is PATH for tasks; "" is this process's own.
	Path string
	// Vars are what ${{ vars.NAME }} reads.
	Vars map[string]string
	// Secret resolves a secret; nil: there are none.
	Secret func(name string) (string, error)
	// Schedule, if set, makes the run that a tick of it would make.
	Schedule *pipeline.Schedule
	// ScheduledAt is what the run is for; zero: now. The interval, if it is zero,
	// is the last that was complete then, of the first schedule.
	ScheduledAt, IntervalStart, IntervalEnd time.Time
	// Output takes what tasks print, and Events is told what happens. They are
	// called one at a time, and must not block for long.
	Output func(task string, attempt int, stream process.Stream, block []byte)
	Events func(Event)
	// Approve asks a person whether a task may go on, until the context ends;
	// nil: a pipeline that asks is refused.
	Approve func(ctx context.Context, task, prompt string) (bool, error)
	// Pipeline finds the pipelines that tasks call; nil: a pipeline that calls
	// another is refused.
	Pipeline func(namespace, name string) *pipeline.Pipeline
	// CancelAgain, when closed after the context has ended, stops finally too.
	CancelAgain <-chan struct{}

	called bool // by a task of another run
	depth  int  // how many runs called one another to come here
}

type stream = process.Stream

// An Event is something that happened.
type Event struct {
	At      time.Time
	Kind    string // run, task, attempt
	Task    string // "load" or "load[3]"; "" for the run
	Attempt int    // of an attempt
	State   string
	Reason  string
	Detail  string
	// Delay is how long a task waits that goes back to waiting.
	Delay time.Duration
}

// A Result is how a run ended.
type Result struct {
	State     flow.State
	Reason    string
	Detail    string
	Params    map[string]any
	Outputs   map[string]any
	StartedAt time.Time
	EndedAt   time.Time
	// ScheduledAt and the interval are what the run was for.
	ScheduledAt, IntervalStart, IntervalEnd time.Time
	// Tasks are in file order, the items of a fan-out after it, by index.
	Tasks []Task
}

// A Task is how a task or an item ended.
type Task struct {
	Name     string
	Index    int // -1: no item
	Item     any
	State    flow.State
	Reason   string
	Detail   string
	Outputs  map[string]any
	Attempts []Attempt
}

// An Attempt is how an attempt ended.
type Attempt struct {
	Number    int
	State     string
	Reason    string
	Detail    string
	ExitCode  *int
	StartedAt time.Time
	EndedAt   time.Time
	Summary   string
}

// Run runs a pipeline to its end. When the context ends the run is canceled:
// running tasks are stopped, and finally still runs. The error is not about
// how the run ended: it says why there was none. A *flow.CreateError is about
// params.
func Run(ctx context.Context, p *pipeline.Pipeline, params map[string]any, o Options) (Result, error) {
	if o.Now == nil {
		return Result{}, errors.New("run locally: no clock")
	}
	r := &runner{
		o: o, rows: map[int]*flow.Task{}, units: map[int]*unit{}, live: map[int]*execution{},
		ends: make(chan ended), busy: &sync.WaitGroup{}, waits: map[int]*wait{}, news: make(chan message), ctx: ctx,
	}
	if !o.called {
		if err := o.possible(p, map[*pipeline.Pipeline]bool{}); err != nil {
			return Result{}, err
		}
	}
	var over context.CancelFunc
	r.over, over = context.WithCancel(context.Background())
	defer over()
	if r.o.MaxParallel <= 0 {
		r.o.MaxParallel = runtime.GOMAXPROCS(0)
	}
	if r.o.Path == "" {
		r.o.Path = os.Getenv("PATH")
	}
	if err := r.prepare(p, params); err != nil {
		return Result{}, err
	}
	if err := r.open(ctx); err != nil {
		return Result{}, err
	}
	result := r.loop(ctx)
	over()
	r.busy.Wait()
	if err := r.home.Close(); err != nil {
		return result, fmt.Errorf("clean up: %w", err)
	}
	return result, nil
}

// prepare compiles the pipeline and makes the run.
func (r *runner) prepare(p *pipeline.Pipeline, params map[string]any) error {
	g, err := flow.Compile(p)
	if err != nil {
		return fmt.Errorf("compile pipeline %s: %w", p.Name, err)
	}
	r.g = g
	tasks, finally := g.Size()
	r.plans = make([]*attempt.Plan, tasks+finally)
	for i := range r.plans {
		if g.Waits(i) {
			continue
		}
		if r.plans[i], err = attempt.Compile(g, i); err != nil {
			return fmt.Errorf("compile pipeline %s: %w", p.Name, err)
		}
	}
	now := r.o.Now()
	at := orTime(r.o.ScheduledAt, now)
	start, end, err := lastInterval(p, at)
	if err != nil {
		return err
	}
	run := flow.Run{
		// Unique enough for one machine, and small enough for JSON.
		ID: now.UnixMicro(), Number: 1, Namespace: p.Namespace, Pipeline: p.Name, Revision: 1, Trigger: "manual",
		ScheduledAt: at, CreatedAt: now,
		IntervalStart: orTime(r.o.IntervalStart, start), IntervalEnd: orTime(r.o.IntervalEnd, end),
		Vars: r.o.Vars,
	}
	if r.o.called {
		run.Trigger = "pipeline"
	}
	if r.o.Schedule != nil {
		run.Trigger, run.Zone = "schedule", r.o.Schedule.Timezone
	}
	created, err := g.Create(flow.Request{
		Trigger: run.Trigger, Schedule: r.o.Schedule, Params: params, Call: r.o.called, ID: run.ID, Number: run.Number, Revision: run.Revision,
		ScheduledAt: run.ScheduledAt, CreatedAt: run.CreatedAt, IntervalStart: run.IntervalStart, IntervalEnd: run.IntervalEnd,
		Vars: run.Vars,
	})
	if err != nil {
		return err
	}
	run.Params = created.Params
	r.run = run
	return nil
}

// lastInterval is the last that was complete at an instant, by the pipeline's
// first schedule. Without one it is that instant.
func lastInterval(p *pipeline.Pipeline, at time.Time) (start, end time.Time, err error) {
	if len(p.Schedules) == 0 {
		return at, at, nil
	}
	s, err := schedule.New(p.Schedules[0].Spec())
	if err != nil {
		return at, at, fmt.Errorf("read schedule %s: %w", p.Schedules[0].ID, err)
	}
	tick, ok := s.PrevAt(at.Add(1))
	if !ok {
		return at, at, nil
	}
	start, end = s.Interval(tick)
	return start, end, nil
}

func orTime(t, otherwise time.Time) time.Time {
	if t.IsZero() {
		return otherwise
	}
	return t
}

// open makes the directory of this run's attempts.
func (r *runner) open(ctx context.Context) error {
	root := r.o.Root
	if root == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = filepath.Join(os.TempDir(), fmt.Sprintf("synthesizer-%d", os.Getuid()))
		}
		root = filepath.Join(cache, "synthesizer", "local")
	}
	home, err := process.OpenHome(ctx, root)
	if err != nil {
		return fmt.Errorf("open work directory: %w", err)
	}
	// What a run that was killed left behind must not run beside this one.
	if _, err := process.SweepLeftovers(ctx, root, func(string, []byte) {}); err != nil {
		return errors.Join(err, home.Close())
	}
	r.home = home
	return nil
}
