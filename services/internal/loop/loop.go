// Package loop runs steps again and again, at an interval or when something hints that there is work.
package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// ErrMore is what a step returns when it stopped at the end of a full batch:
// the next turn follows at once. It is not an error and is not counted as one.
var ErrMore = errors.New("there is more to do")

const (
	// maxBackoff bounds the pause after errors in a row.
	maxBackoff = 15 * time.Second
	// stalledTurns is how many intervals a loop may miss before it counts as
	// stalled, at least stalledAtLeast.
	stalledTurns   = 5
	stalledAtLeast = 30 * time.Second
)

// Every calls step at once and then every interval, or earlier when hint
// delivers, until ctx is done; then it returns. The interval is the truth, a
// hint only makes a turn early. A step that returns an error, or panics, is
// called again after a pause that grows while the errors go on; it never ends
// the loop. hint may be nil. Errors are lost here: use a Loop to have them logged
// and counted.
func Every(ctx context.Context, interval time.Duration, hint <-chan struct{}, step func(context.Context) error) {
	(&Loop{Interval: interval, Hint: hint, Step: step, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
}

// A Loop is one step of a service that runs for as long as the service does.
// Interval and Step are needed; the other fields may be zero.
type Loop struct {
	Name     string
	Interval time.Duration
	Hint     <-chan struct{}
	Step     func(context.Context) error
	Log      *slog.Logger  // nil: slog.Default
	Deadline time.Duration // of one turn; zero: none but ctx
	Observe  func(Turn)    // called after each turn; nil: nobody

	mu sync.Mutex // guards what follows
	// busy is when the turn under way began; zero between turns.
	busy  time.Time
	ok    time.Time // when the last turn without an error ended
	err   error     // of the last turn
	inRow int       // errors in a row
}

// Turn is what came of one call of a step.
type Turn struct {
	Loop     string
	Took     time.Duration
	Err      error // nil also after ErrMore
	Panicked bool
}

// Run turns until ctx is done.
func (l *Loop) Run(ctx context.Context) {
	log := l.Log
	if log == nil {
		log = slog.Default()
	}
	timer := time.NewTimer(l.Interval)
	defer timer.Stop()
	for {
		began := time.Now()
		more := l.turn(ctx, log)
		if ctx.Err() != nil {
			return
		}
		if more {
			continue
		}
		// Turns begin an interval apart, however long one takes.
		timer.Reset(max(l.pause(), l.Interval-time.Since(began)))
		if l.pause() > 0 {
			// After an error hints are not listened to: what fails fast and is hinted often must not spin.
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.Hint:
		}
	}
}

// turn calls the step once and tells whether the next turn is to follow at once.
func (l *Loop) turn(ctx context.Context, log *slog.Logger) (more bool) {
	began := time.Now()
	l.mu.Lock()
	l.busy = began
	l.mu.Unlock()

	err, panicked := l.call(ctx)
	if errors.Is(err, ErrMore) {
		err, more = nil, true
	}
	ended := time.Now()
	if err != nil && ctx.Err() != nil {
		err = nil // the service stops; what a cut-off step says is no news
	}

	l.mu.Lock()
	l.busy, l.err = time.Time{}, err
	if err == nil {
		l.ok, l.inRow = ended, 0
	} else {
		l.inRow++
	}
	inRow := l.inRow
	l.mu.Unlock()

	if err != nil {
		log.ErrorContext(ctx, "loop", "loop", l.Name, "err", err, "in_row", inRow)
	}
	if l.Observe != nil {
		l.Observe(Turn{Loop: l.Name, Took: ended.Sub(began), Err: err, Panicked: panicked})
	}
	return more
}

func (l *Loop) call(ctx context.Context) (err error, panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			err, panicked = fmt.Errorf("panic: %v\n%s", p, debug.Stack()), true
		}
	}()
	if l.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.Deadline)
		defer cancel()
	}
	return l.Step(ctx), false
}

// pause is how long to wait at least after the last turn: nothing after a good
// one, else twice as long with every error in a row, with jitter so that
// replicas do not knock together.
func (l *Loop) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inRow == 0 {
		return 0
	}
	d := min(maxBackoff, 100*time.Millisecond<<min(l.inRow-1, 10))
	return d/2 + rand.N(d/2+1)
}

// Stalled says why the loop cannot be doing its job, or nil: a turn that has
// been under way, or errors that have gone on, for several intervals.
func (l *Loop) Stalled() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := max(stalledTurns*l.Interval, stalledAtLeast)
	switch {
	case !l.busy.IsZero() && time.Since(l.busy) > limit:
		return fmt.Errorf("loop %s: a turn has been under way for %s", l.Name, time.Since(l.busy).Round(time.Second))
	case l.err != nil && !l.ok.IsZero() && time.Since(l.ok) > limit:
		return fmt.Errorf("loop %s: no good turn for %s: %w", l.Name, time.Since(l.ok).Round(time.Second), l.err)
	case l.err != nil && l.ok.IsZero():
		return fmt.Errorf("loop %s: no good turn yet: %w", l.Name, l.err)
	}
	return nil
}
