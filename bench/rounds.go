package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// A contender does a number of tasks as fast as it can.
type contender interface {
	name() string
	tasks() int
	// prepare makes the work; it is not timed.
	prepare(ctx context.Context) error
	// run does it all. It ends when the last task's end is stored.
	run(ctx context.Context) error
	// check says whether all of it was done, once and in order. It is not timed.
	check(ctx context.Context) error
	close()
}

// A turn is what one contender did in one round.
type turn struct {
	Contender string  `json:"contender"`
	Tasks     int     `json:"tasks"`
	Rate      float64 `json:"tasks_per_s"`
	cost
}

// A round is one turn of each.
type round []turn

// foreignLimit is the share of the machine that others may use in a turn before
// its round is discarded.
const foreignLimit = 0.15

// noisy says whether somebody else was at work in any turn of the round.
func (r round) noisy() bool {
	return slices.ContainsFunc(r, func(t turn) bool { return t.Foreign > foreignLimit })
}

func (r round) of(name string) turn {
	i := slices.IndexFunc(r, func(t turn) bool { return t.Contender == name })
	return r[i]
}

// errWrong is a result that does not count: something was lost, or done twice, or
// out of order.
var errWrong = errors.New("wrong")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errWrong, fmt.Sprintf(format, args...))
}

// takeTurns lets contenders do their work one after the other, round by round,
// after a round that warms up and does not count. Rounds in which somebody else
// used the machine are replaced, as many as there are rounds at most; when that
// does not help, all count and noisy is true.
func (b *bench) takeTurns(ctx context.Context, contenders []contender) (rounds []round, noisy bool, err error) {
	var discarded []round
	tries := b.size(1+2*b.rounds, 1)
	for n := 0; len(rounds) < b.rounds && n < tries; n++ {
		var r round
		for _, c := range contenders {
			t, err := b.turn(ctx, c)
			if err != nil {
				return nil, false, fmt.Errorf("%s: %w", c.name(), err)
			}
			r = append(r, t)
			b.say("  round %d %-8s %9.0f tasks/s, CPU %5.1f + %5.1f µs a task, WAL %4.0f B a task, others %2.0f %%", n, t.Contender, t.Rate,
				t.per(t.Client), t.per(t.Postgres), float64(t.WAL)/float64(t.Tasks), 100*t.Foreign)
		}
		switch {
		case n == 0 && !b.short:
		case r.noisy() && !b.short:
			discarded = append(discarded, r)
		default:
			rounds = append(rounds, r)
		}
	}
	if len(rounds) >= min(3, b.rounds) {
		return rounds, false, nil
	}
	return append(rounds, discarded...), true, nil
}

// per is processor seconds as microseconds a task.
func (t turn) per(seconds float64) float64 { return seconds * 1e6 / float64(t.Tasks) }

func (b *bench) turn(ctx context.Context, c contender) (turn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := c.prepare(ctx); err != nil {
		return turn{}, fmt.Errorf("prepare: %w", err)
	}
	if err := b.pg.checkpoint(ctx); err != nil {
		return turn{}, err
	}
	m, err := startMeter(ctx, b.pg)
	if err != nil {
		return turn{}, err
	}
	if err := c.run(ctx); err != nil {
		return turn{}, err
	}
	used, err := m.stop(ctx)
	if err != nil {
		return turn{}, err
	}
	if err := c.check(ctx); err != nil {
		return turn{}, fmt.Errorf("check: %w", err)
	}
	return turn{Contender: c.name(), Tasks: c.tasks(), Rate: float64(c.tasks()) / used.Seconds, cost: used}, nil
}

// ratios are the rates of one contender over another's, round by round.
func ratios(rounds []round, of, over string) []float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, r.of(of).Rate/r.of(over).Rate)
	}
	return all
}

// median of an odd number of values is the middle one, of an even number the
// mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// quantile is the value that a share q of all does not exceed.
func quantile[V cmp.Ordered](values []V, q float64) V {
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, max(0, int(math.Ceil(q*float64(len(s))))-1))]
}

// sleep waits for a while, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
