// Package poll asks services whether what tasks wait for has come true.
//
// Waits are rows that any executor that serves their target takes, for as long
// as asking may last: a lease in time, so no executor holds a wait, and one that
// dies delays its waits by seconds. What comes back is written only if it says
// something new.
package poll

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/given"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/httpcall"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/target"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// Config is what a Poller works with.
type Config struct {
	Targets   []target.Target
	Pool      *db.Pool
	Revisions *revision.Cache
	Given     *given.Reader
	// Secret resolves a secret of a namespace. Its errors are shown.
	Secret httpcall.Secret
	Agent  string // what requests say who asks
	// Notify hints to other services, after a commit.
	Notify func(channel string)
	Told   func(Outcome)
	Log    *slog.Logger
}

// Outcome counts what one turn did.
type Outcome struct {
	Asked    int // answers that did not end their waits
	Wrong    int // … because there was an error
	Ended    int // waits whose condition came true
	Failed   int // waits that ended otherwise
	Late     int // ends that somebody else had told before
	InFlight int // requests under way
}

const (
	// maxFlight is how many requests are under way at once, to one target and
	// in all: each holds a goroutine, a connection and up to 1 MiB.
	maxFlight    = 64
	maxFlightAll = 128
	// idle is how often a Poller looks when nothing is known to be due.
	idle = 5 * time.Second
	// gap is the least time between two turns: what happens in it shares one
	// round trip.
	gap = 100 * time.Millisecond
	// margin is how much longer a wait is taken than a request to its target
	// may last.
	margin = 5 * time.Second
	// publishEvery is how often the database is told which targets are served.
	publishEvery = time.Minute
	// maxNotes is how many results are written at once.
	maxNotes = 500
	// kept is how many contexts and plans are kept in memory.
	kept = 16384
	// patience bounds one turn.
	patience = 10 * time.Second
	// maxPause is the longest that a service may ask to be left alone.
	maxPause = time.Hour
)

// A Poller asks the targets that one executor serves.
type Poller struct {
	cfg      Config
	targets  map[string]*served
	order    []*served
	names    []string
	kick     chan struct{}
	reading  chan struct{} // as many answers are read at once
	contexts *lru.Cache[key, attempt.Context]
	plans    *lru.Cache[planKey, *attempt.RequestPlan]
	work     sync.WaitGroup
	// asking is done when requests under way are to be given up.
	asking context.Context
	giveUp context.CancelFunc

	published time.Time // of Step alone

	mu      sync.Mutex // guards what follows
	flight  int
	results []result
}

type key struct {
	run    int64
	number int32
}

type planKey struct {
	revision int64
	ordinal  int
}

// A served target, and how much it may be asked.
type served struct {
	target.Target
	client *httpcall.Client
	allows string // JSON for others to read

	tokens float64 // of Step alone
	filled time.Time
	flight int // guarded by Poller.mu
}

// New makes a Poller that asks nothing yet.
func New(cfg Config) *Poller {
	p := &Poller{cfg: cfg, targets: map[string]*served{}, kick: make(chan struct{}, 1), reading: make(chan struct{}, 2*runtime.NumCPU())}
	p.asking, p.giveUp = context.WithCancel(context.Background())
	p.contexts, _ = lru.New[key, attempt.Context](kept)
	p.plans, _ = lru.New[planKey, *attempt.RequestPlan](kept)
	for _, t := range cfg.Targets {
		allows, _ := json.Marshal(t.Rules) // texts and booleans
		s := &served{Target: t, client: httpcall.New(t, cfg.Secret, cfg.Agent), allows: string(allows), tokens: max(1, t.PollRate), filled: time.Now()}
		p.targets[t.Name] = s
		p.order = append(p.order, s)
		p.names = append(p.names, t.Name)
	}
	return p
}

// Kick makes the next turn early.
func (p *Poller) Kick() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Run asks until ctx is done; then requests under way are given up, and their
// waits are left to others.
func (p *Poller) Run(ctx context.Context) {
	if len(p.order) == 0 {
		return
	}
	defer p.stop(context.WithoutCancel(ctx))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		case <-timer.C:
		}
		next, err := p.Step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failures++
			p.cfg.Log.Error("ask what tasks wait for", "err", err, "in_row", failures)
			full := min(gap<<min(failures, 10), idle)
			next = full/2 + rand.N(full/2)
		} else {
			failures = 0
		}
		// A kick does not shorten the gap.
		pause := time.NewTimer(gap)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		timer.Reset(max(next-gap, 0))
	}
}

// Step does one turn: it writes what has come back, takes what is due and asks,
// without waiting for the answers. It says when the next turn is due.
func (p *Poller) Step(ctx context.Context) (next time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := p.collect()
	if err := db.InOneTrip(ctx, p.cfg.Pool, t.asks(ctx)...); err != nil {
		p.putBack(t, err)
		return 0, err
	}
	if t.publish != nil {
		p.published = t.began
	}
	p.tell(t)
	p.start(ctx, t.taken)
	next = t.wait
	if t.next >= 0 {
		next = min(next, time.Duration(t.next)*time.Millisecond)
	}
	if len(t.notes)+len(t.ends) == maxNotes {
		next = 0
	}
	return next, nil
}

// stop gives up the requests that are under way, and gives back their waits.
func (p *Poller) stop(ctx context.Context) {
	p.giveUp()
	p.work.Wait()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	t := p.collect()
	t.publish, t.take.Targets, t.ask = nil, nil, nil
	if err := db.InOneTrip(ctx, p.cfg.Pool, t.asks(ctx)...); err != nil {
		p.cfg.Log.Warn("give back what tasks wait for; others will find it", "err", err)
	}
	for _, s := range p.order {
		s.client.Close()
	}
}
