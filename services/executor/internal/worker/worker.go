// Package worker claims ready tasks, runs them, and reports how they ended.
//
// One goroutine, the claimer, does all that decides who owns an attempt: it
// claims, reports ends, and compares what it holds with what the database
// believes, one after the other on one connection. So no answer is ever judged
// by a list that another call is just changing. Each attempt has a goroutine of
// its own from its start to its report.
package worker

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/given"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/lease"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

// Config is what a Worker works with. Everything but Runner is needed.
type Config struct {
	Executor     uuid.UUID
	Installation uuid.UUID
	Slots        int
	Labels       []string
	Lease        *lease.Lease
	Control      *db.Pool // of the claimer, and of what is read for attempts
	Logs         *db.Pool // of output
	Revisions    *revision.Cache
	// Home is where processes run; nil with a Runner.
	Home *process.Home
	// Runner runs attempts instead of processes.
	Runner Runner
	// Path is PATH for tasks.
	Path string
	// OwnSecret gives a secret that this executor has of its own, which is taken
	// before one of the same name in the database. Its errors are shown.
	OwnSecret func(namespace, name string) (value string, ok bool, err error)
	// Secrets opens those of the database.
	Secrets *secrets.Keyring
	// Room says why the disk is too full for new work, or nil.
	Room func() error
	// Notify hints to other services, after a commit.
	Notify func(channel string)
	// Told hears of each turn that did something.
	Told func(Outcome)
	Log  *slog.Logger
}

// A Runner stands in for processes where only what surrounds them counts, as
// in benchmarks. Run may be called by many goroutines; it returns soon after
// ctx is done.
type Runner interface {
	Run(ctx context.Context, r attempt.Rendered) process.Result
}

// Outcome counts what happened since the one before.
type Outcome struct {
	Claimed    int
	Ended      map[string]int // attempts by the state they ended in
	Refused    int            // reports of attempts that were somebody else's
	HandedBack int
	Lost       int   // attempts that were found not to be ours any more
	Recovered  int   // ends that a dead executor had left to be reported
	Dropped    int64 // bytes of output that were not stored
	Claim      time.Duration
}

// A Worker runs what one executor claims, as long as its lease holds.
type Worker struct {
	cfg   Config
	given *given.Reader
	reads secretReads
	plans *lru.Cache[planKey, *attempt.Plan]
	kick  chan struct{}
	epoch time.Time
	work  sync.WaitGroup // of every goroutine but the claimer

	// ctx ends when the lease is lost.
	ctx    context.Context
	cancel context.CancelFunc

	compare atomic.Bool // the list is to be compared with the database's
	stops   atomic.Bool // somebody may have been asked to stop
	paused  atomic.Bool // an operator drains this executor

	// Of the claimer alone.
	lanes    *laneMarks
	pace     pace
	endLimit int // how many ends to report at once

	mu       sync.Mutex // guards what follows
	all      map[uuid.UUID]*held
	loading  int     // claimed, not in the queue yet
	queue    []*held // ready to start, in order
	running  int
	begun    time.Duration // when those that run got their slots, since epoch, added up
	unmarked []*held       // running, their start is not stored; in order of start
	ends     []*held       // to be reported
	owed     []*held       // gave back their slots; those at the front are not reported
	lost     bool          // the lease is lost: nothing more is written
	draining bool
	idle     chan struct{} // closed when draining and nothing is held
	out      Outcome
}

// New makes a Worker that holds nothing.
func New(cfg Config) *Worker {
	w := &Worker{
		cfg: cfg, kick: make(chan struct{}, 1), epoch: time.Now(), all: map[uuid.UUID]*held{}, idle: make(chan struct{}),
		lanes: newLaneMarks(), endLimit: maxEnds,
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.given = given.New(cfg.Installation)
	w.plans, _ = lru.New[planKey, *attempt.Plan](plansKept)
	w.compare.Store(true) // reads the lanes
	return w
}

const (
	plansKept = 8192
	maxEnds   = 500
	maxClaim  = 500
)

// Kick makes the next turn early.
func (w *Worker) Kick() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// Renewed is to be called after each renewal of the lease: it is the time to
// compare lists. draining says that an operator wants no more claims.
func (w *Worker) Renewed(draining bool) {
	w.paused.Store(draining)
	w.compare.Store(true)
	w.Kick()
}

// StopsAsked is to be called when some attempt may have been asked to stop.
func (w *Worker) StopsAsked() {
	w.stops.Store(true)
	w.Kick()
}

// Running is how many attempts have a slot.
func (w *Worker) Running() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running
}

// Held is how many attempts are claimed and not reported.
func (w *Worker) Held() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// Run turns until ctx is done or the lease is lost. An error of a turn is logged, and the turn made
// again.
func (w *Worker) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		case <-timer.C:
		}
		if !w.cfg.Lease.Held() {
			return // whoever keeps the lease abandons the rest
		}
		err := w.Step(ctx)
		w.tell()
		if err == nil {
			failures = 0
			if !w.linger(ctx) {
				return
			}
			timer.Reset(w.wait())
			continue
		}
		if ctx.Err() != nil {
			return
		}
		w.cfg.Log.Error("claim and report", "err", err, "in_row", failures+1)
		// Not longer than a moment: ends wait to be reported while the lease
		// runs. Kicks do not count now.
		full := min(50*time.Millisecond<<min(failures, 10), time.Second)
		failures++
		if !sleep(ctx, full/2+rand.N(full/2)) {
			return
		}
		timer.Reset(0)
	}
}

// sleep waits, unless ctx is done before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// tell hands on what was counted.
func (w *Worker) tell() {
	w.mu.Lock()
	out := w.out
	w.out = Outcome{}
	w.mu.Unlock()
	w.cfg.Told(out)
}

// Wait waits until every attempt's goroutine has ended. The claimer must have
// ended.
func (w *Worker) Wait() { w.work.Wait() }
