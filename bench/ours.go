package main

import (
	"context"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// poll is how often the bench looks whether everything is done. It shares the
// database with what it measures.
const poll = 10 * time.Millisecond

// ours is Synthesizer with pipelines of one shape. A turn makes all of them due
// at once, and is over when every run has ended: planning, admitting, releasing,
// claiming, ending and finishing are in its time.
type ours struct {
	bench     *bench
	in        *installation
	shape     string // prefix of the names
	pipelines int
	attempts  int // of one run
	rows      int // of task in one run
	ran       *counter
	period    time.Duration
	used      time.Time // the last tick that was used up
	before    int64     // the last run that belongs to somebody else
}

func (o *ours) name() string { return o.shape }
func (o *ours) tasks() int   { return o.pipelines * o.attempts }
func (o *ours) close()       {}

// prepare waits until there is a tick that no turn has used. Nothing is due yet:
// what is parked would be in years.
func (o *ours) prepare(ctx context.Context) (err error) {
	o.ran.reset()
	if o.before, err = value[int64](ctx, o.in.pool, `SELECT coalesce(max(id), 0) FROM run`); err != nil {
		return err
	}
	for {
		now := time.Now()
		tick := now.Truncate(o.period)
		if next := tick.Add(o.period); tick.After(o.used) && (next.Sub(now) > o.period/2 || next.Sub(now) > time.Minute) {
			o.used = tick
			return nil
		} else if err := sleep(ctx, next.Sub(now)); err != nil {
			return err
		}
	}
}

func (o *ours) run(ctx context.Context) error {
	if err := o.bench.countStatements(ctx, o.in); err != nil {
		return err
	}
	if err := o.in.fire(ctx, o.shape, o.used); err != nil {
		return err
	}
	return o.in.finished(ctx)
}

// fire makes all schedules of a shape due: their next tick is one that has just
// passed.
func (i *installation) fire(ctx context.Context, shape string, tick time.Time) error {
	if err := i.move(ctx, shape, tick); err != nil {
		return err
	}
	_, err := i.pool.Exec(ctx, `SELECT pg_notify($1, '')`, db.ChannelSchedule)
	return err
}

// park keeps the schedules of a shape from becoming due.
func (i *installation) park(ctx context.Context, shape string) error {
	return i.move(ctx, shape, time.Now().Truncate(24*time.Hour).AddDate(10, 0, 0))
}

func (i *installation) move(ctx context.Context, shape string, next time.Time) error {
	tag, err := i.pool.Exec(ctx, `
UPDATE schedule AS s SET next_at = $2
FROM pipeline AS p
WHERE p.id = s.pipeline_id AND p.name LIKE $1 || '\_%'`, shape, next)
	if err == nil && tag.RowsAffected() == 0 {
		err = fmt.Errorf("there is none")
	}
	if err != nil {
		return fmt.Errorf("move the schedules of %s: %w", shape, err)
	}
	return nil
}

// finished waits until nothing is due and no run is open.
func (i *installation) finished(ctx context.Context) error {
	return eventually(ctx, poll, "every run has ended", func() (bool, error) {
		return value[bool](ctx, i.pool, `
SELECT NOT EXISTS (SELECT FROM schedule WHERE ended_at IS NULL AND next_at <= statement_timestamp()) AND NOT EXISTS (SELECT FROM open_run)`)
	})
}

func (o *ours) check(ctx context.Context) error {
	if err := o.bench.tellStatements(ctx, o.in, o.shape, o.tasks()); err != nil {
		return err
	}
	if err := o.in.park(ctx, o.shape); err != nil {
		return err
	}
	runs := o.pipelines
	if err := o.in.complete(ctx, o.before, expected{runs: runs, ticks: runs, rows: o.rows, attempts: o.attempts}); err != nil {
		return err
	}
	return o.ran.exactly(runs * o.attempts)
}

// expected is how much there must be of everything.
type expected struct {
	runs, ticks    int
	rows, attempts int // of each run
}

// complete checks the runs after one: that there are as many as ticks, that each
// has all its tasks, that all succeeded in one attempt each, and that nothing
// started before what it needs had ended.
func (i *installation) complete(ctx context.Context, after int64, x expected) error {
	runs, rows, attempts := x.runs, x.rows, x.attempts
	for _, c := range []struct {
		what string
		want int
		sql  string
	}{
		{"runs that succeeded", runs, `SELECT count(*) FROM run WHERE id > $1 AND state = 'succeeded'`},
		{"runs", runs, `SELECT count(*) FROM run WHERE id > $1`},
		{"ticks with a run of their own", x.ticks, `SELECT count(DISTINCT run_id) FROM tick WHERE run_id > $1 AND state = 'run'`},
		{"tasks that succeeded", runs * rows, `SELECT count(*) FROM task WHERE run_id > $1 AND state = 'succeeded'`},
		{"tasks", runs * rows, `SELECT count(*) FROM task WHERE run_id > $1`},
		{"attempts that succeeded", runs * attempts, `SELECT count(*) FROM attempt WHERE run_id > $1 AND state = 'succeeded'`},
		{"attempts", runs * attempts, `SELECT count(*) FROM attempt WHERE run_id > $1`},
		{"rows left in hot tables", 0, `SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM live) + (SELECT count(*) FROM waiter)
			+ (SELECT count(*) FROM open_run) WHERE $1::bigint >= 0`},
		// Tasks number by their place: 16384 apart, items between.
		{"starts before the end of what is needed", 0, `
SELECT count(*) FROM (
	SELECT a.claimed_at < max(a.ended_at) OVER (PARTITION BY a.run_id ORDER BY a.number / 16384 RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS early
	FROM attempt AS a WHERE a.run_id > $1
) AS s WHERE s.early`},
	} {
		got, err := value[int](ctx, i.pool, c.sql, after)
		if err != nil {
			return err
		}
		if got != c.want {
			ticks, err := value[string](ctx, i.pool, `
SELECT coalesce(string_agg(format('%s %s %s', t.n, t.state, t.reason), ', '), 'none')
FROM (SELECT state, reason, count(*) AS n FROM tick GROUP BY 1, 2) AS t`)
			if err != nil {
				return err
			}
			return wrong("%d %s, want %d; ticks: %s", got, c.what, c.want, ticks)
		}
	}
	return nil
}
