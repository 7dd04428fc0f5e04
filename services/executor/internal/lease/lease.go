// Package lease keeps an executor's place in the fleet: it registers a process,
// renews its lease, and knows first when the lease is lost.
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/guard"
	"github.com/synthesizer-dev/synthesizer/services/internal/boottime"
)

// Why a lease was lost. In each case everything that runs under it must be
// killed, and nothing more may be written for it.
var (
	ErrExpired  = errors.New("the lease ran out")
	ErrTaken    = errors.New("the executor was declared dead")
	ErrRestored = errors.New("the database was restored from a backup")
	ErrKilled   = errors.New("the guard has killed the tasks")
)

// Config says who takes a lease, and how long it lasts.
type Config struct {
	// Pool serves renewals and nothing else.
	Pool          *db.Pool
	ID            uuid.UUID
	Name, Host    string
	Version       string
	Slots         int
	Labels        []string
	Serves        []string
	Epoch         uuid.UUID // of the installation
	Length, Renew time.Duration
	// Margin is how long before its end the lease counts as lost. It is
	// longer than the guard's, so that the executor never acts on what the
	// guard did.
	Margin time.Duration
	// StartGuard starts a guard; nil: there is nothing to guard. killed is
	// to be called when the guard has killed something.
	StartGuard func(ctx context.Context, killed func(n int)) (*guard.Guard, error)
	// Renewed is called after each renewal. It must not block.
	Renewed func(draining bool)
	// Killed is called when the guard has killed n processes. It may be nil.
	Killed func(n int)
	Log    *slog.Logger
}

// A Lease is the right to run what an executor has claimed. It is counted on a
// clock that goes on while the machine is suspended, from the moment a renewal
// is sent: so the holder always gives up before anybody takes over.
type Lease struct {
	cfg   Config
	until atomic.Int64 // of boottime
	lost  chan struct{}
	once  sync.Once
	why   error // why it was lost; set before lost is closed

	guarded guardian
}

// Take registers the executor and starts its guard.
func Take(ctx context.Context, cfg Config) (*Lease, error) {
	l := &Lease{cfg: cfg, lost: make(chan struct{})}
	l.guarded = guardian{lease: l, start: cfg.StartGuard}
	// Side by side: a fleet is joined in tens of milliseconds, and nothing is
	// claimed before both are there.
	var (
		guarding sync.WaitGroup
		noGuard  error
	)
	guarding.Go(func() { noGuard = l.guarded.open(ctx) })
	register, cancel := context.WithTimeout(ctx, max(cfg.Length-cfg.Margin, time.Millisecond))
	defer cancel()
	sent := boottime.Now()
	_, err := cfg.Pool.Queries().RegisterExecutor(register, db.RegisterExecutorParams{
		ID: cfg.ID, Name: cfg.Name, Host: cfg.Host, Version: cfg.Version, Slots: int32(cfg.Slots),
		Labels: cfg.Labels, Serves: cfg.Serves, LeaseMs: cfg.Length.Milliseconds(),
	})
	guarding.Wait()
	switch {
	case err != nil:
		l.Close()
		return nil, fmt.Errorf("register the executor: %w", err)
	case noGuard != nil:
		return nil, errors.Join(noGuard, l.Leave(ctx))
	}
	l.until.Store(int64(sent + cfg.Length))
	l.guarded.tell()
	return l, nil
}

// Held reports whether the lease still holds.
func (l *Lease) Held() bool {
	select {
	case <-l.lost:
		return false
	default:
	}
	if l.Left() > 0 {
		return true
	}
	l.lose(ErrExpired)
	return false
}

// Left is how long the lease holds without another renewal.
func (l *Lease) Left() time.Duration {
	return time.Duration(l.until.Load()) - l.cfg.Margin - boottime.Now()
}

// Lost is closed when the lease is lost.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Err says why the lease was lost, nil while it is held.
func (l *Lease) Err() error {
	select {
	case <-l.lost:
		return l.why
	default:
		return nil
	}
}

// Guarded says why nothing new may be started although the lease is held, or
// nil.
func (l *Lease) Guarded() error { return l.guarded.ready() }

// Certain is Held, after hearing from the guard that it has killed nothing so
// far: for whoever sees a process that was killed and did not do it. It waits
// for the guard.
func (l *Lease) Certain() bool {
	l.guarded.tell()
	return l.Held()
}

func (l *Lease) lose(why error) {
	l.once.Do(func() {
		l.why = why
		close(l.lost)
	})
}

// Keep renews the lease until ctx is done or the lease is lost; then it returns
// why.
func (l *Lease) Keep(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() { l.watch(ctx); cancel() })
	parts.Go(func() { l.guarded.keep(ctx, l.cfg.Renew) })

	next := time.NewTimer(l.cfg.Renew)
	defer next.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return l.Err()
		case <-next.C:
		}
		switch err := l.renew(ctx); {
		case err == nil:
			failures = 0
			next.Reset(l.cfg.Renew)
		case l.Err() != nil || ctx.Err() != nil:
			return l.Err()
		default:
			failures++
			l.cfg.Log.Warn("the lease could not be renewed; trying again", "err", err, "in_row", failures, "left", l.Left().Round(time.Millisecond))
			next.Reset(l.cfg.Renew / 5)
		}
	}
}

// renew sends one renewal.
func (l *Lease) renew(ctx context.Context) error {
	before := l.until.Load()
	ctx, cancel := context.WithTimeout(ctx, max(min(l.cfg.Renew/2, l.Left()), time.Millisecond))
	defer cancel()
	sent := boottime.Now()
	row, err := l.cfg.Pool.Queries().RenewLease(ctx, l.cfg.Length.Milliseconds(), l.cfg.ID)
	switch {
	case errors.Is(err, db.ErrNoRows):
		l.lose(ErrTaken)
		return ErrTaken
	case err != nil:
		return fmt.Errorf("renew the lease: %w", err)
	case row.Epoch != l.cfg.Epoch:
		l.lose(ErrRestored)
		return ErrRestored
	case boottime.Now() >= time.Duration(before)-l.cfg.Margin:
		// We were stopped, and the guard may have acted meanwhile.
		l.lose(ErrExpired)
		return ErrExpired
	}
	l.until.Store(int64(sent + l.cfg.Length))
	l.guarded.tell()
	l.cfg.Renewed(row.Draining)
	return nil
}

// watch notices that the lease is over even while a renewal hangs, and soon
// after the machine was suspended: timers stand still then.
func (l *Lease) watch(ctx context.Context) {
	tick := time.NewTicker(max(min(250*time.Millisecond, l.cfg.Margin/4), time.Millisecond))
	defer tick.Stop()
	for l.Held() {
		select {
		case <-ctx.Done():
			return
		case <-l.lost:
			return
		case <-tick.C:
		}
	}
}

// Close ends the guard. What the executor holds must be dead. It may be called
// more than once.
func (l *Lease) Close() { l.guarded.close() }

// Leave is Close, and gives up the place in the fleet in good order.
func (l *Lease) Leave(ctx context.Context) error {
	l.Close()
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Renew)
	defer cancel()
	if err := l.cfg.Pool.Queries().LeaveFleet(ctx, l.cfg.ID); err != nil {
		return fmt.Errorf("leave the fleet: %w", err)
	}
	return nil
}
