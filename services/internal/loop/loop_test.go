package loop_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
)

func TestEveryKeepsItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		var turns int
		loop.Every(ctx, 10*time.Second, nil, func(context.Context) error { turns++; return nil })
		if turns != 3 { // at 0s, 10s and 20s
			t.Errorf("turns = %d, want 3", turns)
		}
	})
}

func TestLongTurnsDoNotShiftTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		var turns int
		loop.Every(ctx, 10*time.Second, nil, func(context.Context) error { turns++; time.Sleep(9 * time.Second); return nil })
		if turns != 3 {
			t.Errorf("turns = %d, want 3", turns)
		}
	})
}

func TestHintMakesATurnEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		hint := make(chan struct{}, 1)
		time.AfterFunc(time.Second, func() { hint <- struct{}{} })
		var at []time.Duration
		began := time.Now()
		loop.Every(ctx, time.Minute, hint, func(context.Context) error { at = append(at, time.Since(began)); return nil })
		if len(at) != 2 || at[1] != time.Second {
			t.Errorf("turns at %v, want 0s and 1s", at)
		}
	})
}

func TestMoreToDoFollowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var turns int
		loop.Every(ctx, time.Minute, nil, func(context.Context) error {
			if turns++; turns < 7 {
				return loop.ErrMore
			}
			return nil
		})
		if turns != 7 {
			t.Errorf("turns = %d, want 7", turns)
		}
	})
}

func TestErrorsAndPanicsBackOffAndNeverEndTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		hint := make(chan struct{}, 1)
		var turns, panics int
		l := &loop.Loop{
			Name: "plan", Interval: time.Second, Hint: hint, Log: slog.New(slog.DiscardHandler),
			Step: func(context.Context) error {
				hint <- struct{}{} // hinted all the time
				<-hint
				if turns++; turns%2 == 0 {
					panic("odd")
				}
				return errors.New("database away")
			},
			Observe: func(turn loop.Turn) {
				if turn.Panicked {
					panics++
				}
			},
		}
		l.Run(ctx)
		if turns < 40 || turns > 120 { // at most 15 s apart, so never many
			t.Errorf("turns in ten minutes of errors = %d, want 40 to 120", turns)
		}
		if panics != turns/2 {
			t.Errorf("panics = %d of %d turns, want half", panics, turns)
		}
		if l.Stalled() == nil {
			t.Error("Stalled() = nil after ten minutes without a good turn")
		}
	})
}

func TestATurnThatHangsIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := &loop.Loop{Name: "plan", Interval: time.Second, Step: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		done := make(chan struct{})
		go func() { l.Run(ctx); close(done) }()
		time.Sleep(10 * time.Second)
		if err := l.Stalled(); err != nil {
			t.Errorf("Stalled() = %v after 10 s, want nil", err)
		}
		time.Sleep(30 * time.Second)
		if l.Stalled() == nil {
			t.Error("Stalled() = nil after 40 s in one turn")
		}
		cancel()
		<-done
		if err := l.Stalled(); err != nil {
			t.Errorf("Stalled() = %v after a stop, want nil", err)
		}
	})
}
