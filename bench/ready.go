package main

import (
	"context"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// readiness measures P15: how long a service takes from being executed until it
// says that it is ready, and an executor until it has claimed something. The
// database is migrated and has all the pipelines of the row before.
func (b *bench) readiness(ctx context.Context, in *installation) error {
	n := b.size(11, 2)
	took := map[string][]float64{}
	for range n {
		for _, p := range programs {
			started, err := b.start(in, p.name, p.args...)
			if err != nil {
				return err
			}
			err = ready(ctx, started.address)
			took[p.name] = append(took[p.name], time.Since(started.began).Seconds()*1000)
			if err = joined(err, started.stop()); err != nil {
				return fmt.Errorf("%w\n%s", err, b.tail(p.name))
			}
		}
	}
	for _, p := range programs {
		b.tell(line{Row: "P15", What: p.name + ": exec → ready", Value: median(took[p.name]), Unit: "ms", Gate: 60, Goal: 25, Values: took[p.name]})
	}
	claims, err := b.firstClaims(ctx, in, n)
	if err != nil {
		return err
	}
	b.tell(line{Row: "P15", What: "executor: exec → first claim", Value: median(claims), Unit: "ms", Gate: 100, Goal: 40, Values: claims})
	return nil
}

// firstClaims starts executors while there is something to claim. When they have
// claimed it, the database says: its clock is this machine's.
func (b *bench) firstClaims(ctx context.Context, in *installation, n int) (took []float64, err error) {
	var f fleet
	for _, p := range programs[:2] {
		started, err := b.start(in, p.name, p.args...)
		if err != nil {
			return nil, joined(err, f.stop())
		}
		f = append(f, started)
	}
	defer func() { err = joined(err, f.stop()) }()
	for _, p := range f {
		if err := ready(ctx, p.address); err != nil {
			return nil, err
		}
	}
	c, err := f.client()
	if err != nil {
		return nil, err
	}
	for range n {
		run, _, err := c.CreateRun(ctx, "default", "only", "", api.RunRequest{})
		if err != nil {
			return nil, fmt.Errorf("ask for a run: %w", err)
		}
		err = eventually(ctx, 5*time.Millisecond, "its task is ready", func() (bool, error) {
			return value[bool](ctx, in.pool, `SELECT EXISTS (SELECT FROM ready WHERE run_id = $1)`, run.ID)
		})
		if err != nil {
			return nil, err
		}
		executor, err := b.start(in, "executor")
		if err != nil {
			return nil, err
		}
		err = in.ended(ctx, run.ID)
		if err = joined(err, executor.stop()); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, b.tail("executor"))
		}
		claimed, err := value[time.Time](ctx, in.pool, `SELECT claimed_at FROM attempt WHERE run_id = $1 AND state = 'succeeded'`, run.ID)
		if err != nil {
			return nil, err
		}
		took = append(took, claimed.Sub(executor.began).Seconds()*1000)
	}
	return took, nil
}
