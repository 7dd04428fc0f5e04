package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/executor/internal/guard"
)

// guardian keeps a guard beside the lease. A guard that is dead or silent is
// replaced; until then nothing new is started, and what runs goes on.
type guardian struct {
	lease *Lease
	start func(ctx context.Context, killed func(n int)) (*guard.Guard, error)

	mu     sync.Mutex // guards what follows
	guard  *guard.Guard
	silent chan struct{} // closed when the guard does not answer
	err    error         // why there is none
}

var errNoGuard = errors.New("there is no guard that would kill the tasks if this process died")

// open starts a guard and lets it know of the lease.
func (g *guardian) open(ctx context.Context) error {
	if g.start == nil {
		return nil
	}
	fresh, err := g.start(ctx, func(n int) {
		if g.lease.cfg.Killed != nil {
			g.lease.cfg.Killed(n)
		}
		g.lease.lose(ErrKilled)
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.err = fmt.Errorf("%w: %w", errNoGuard, err)
		return g.err
	}
	g.guard, g.silent, g.err = fresh, make(chan struct{}), nil
	return nil
}

// answer bounds how long the guard may take to answer.
const answer = 500 * time.Millisecond

// tell lets the guard know how long the lease holds, and waits until it has
// heard.
func (g *guardian) tell() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.guard == nil {
		return
	}
	until := time.Duration(g.lease.until.Load())
	if until == 0 { // not registered yet
		return
	}
	if g.guard.Renewed(until) == nil && heard(g.guard) {
		return
	}
	select {
	case <-g.silent:
	default:
		close(g.silent)
	}
}

// heard waits until a guard has heard all that it was told.
func heard(g *guard.Guard) bool {
	pause := 50 * time.Microsecond
	for waited := time.Duration(0); waited < answer; waited += pause {
		if g.Confirmed() {
			return true
		}
		select {
		case <-g.Done():
			return g.Confirmed()
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Millisecond)
	}
	return g.Confirmed()
}

// ready says why nothing may be started, or nil.
func (g *guardian) ready() error {
	if g.start == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil || g.guard == nil {
		return g.err
	}
	select {
	case <-g.silent:
		return guard.ErrSilent
	case <-g.guard.Done():
		return guard.ErrSilent
	default:
		return nil
	}
}

// keep replaces guards that are dead or silent until ctx is done.
func (g *guardian) keep(ctx context.Context, again time.Duration) {
	for g.start != nil {
		g.mu.Lock()
		old, silent := g.guard, g.silent
		g.mu.Unlock()
		if old != nil {
			select {
			case <-ctx.Done():
				return
			case <-old.Done():
			case <-silent:
			}
			if ctx.Err() != nil {
				return
			}
			g.lease.cfg.Log.Warn("the guard is gone; starting another one")
			g.mu.Lock()
			g.guard, g.err = nil, errNoGuard
			g.mu.Unlock()
			old.Kill()
		}
		if err := g.open(ctx); err != nil {
			g.lease.cfg.Log.Error("no guard; nothing new is started", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(again):
			}
			continue
		}
		g.tell()
	}
}

// close ends the guard. It may be called more than once.
func (g *guardian) close() {
	g.mu.Lock()
	old := g.guard
	g.guard = nil
	if g.start != nil {
		g.err = errNoGuard
	}
	g.mu.Unlock()
	if old != nil {
		old.Close()
	}
}
