// Package prune keeps history in its bounds: partitions are made ahead of time
// and dropped when everything in them is old.
package prune

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// A Pruner makes and drops partitions, and forgets what nobody asks for any more.
type Pruner struct {
	pool *db.Pool
	keep Keep
	log  *slog.Logger
}

// Keep is how many days history is kept at least. A pipeline may ask for more.
type Keep struct {
	Runs   int // runs, ticks and events
	Logs   int
	Things int // keys of requests, executors that stopped
}

// DefaultKeep is what an installation keeps if nothing else is said.
var DefaultKeep = Keep{Runs: 90, Logs: 30, Things: 30}

// Check says what is wrong with a setting.
func (k Keep) Check() error {
	const longest = 3650
	for _, s := range []struct {
		flag        string
		days, least int
	}{{"keep-runs", k.Runs, 2}, {"keep-logs", k.Logs, 2}, {"keep-keys", k.Things, 7}} {
		if s.days < s.least || s.days > longest {
			return fmt.Errorf("--%s is %d to %d days, found %d", s.flag, s.least, longest, s.days)
		}
	}
	if k.Logs > k.Runs {
		return fmt.Errorf("--keep-logs is %d days and --keep-runs %d: output is not kept longer than its run", k.Logs, k.Runs)
	}
	return nil
}

// New makes a Pruner.
func New(pool *db.Pool, keep Keep, log *slog.Logger) *Pruner {
	return &Pruner{pool: pool, keep: keep, log: log}
}

// Prepare makes the partitions of the coming days. It has to be done before
// any loop starts: a machine that was off for a month has none for today.
func (p *Pruner) Prepare(ctx context.Context) error {
	if _, err := p.pool.Queries().EnsurePartitions(ctx, nil, db.DaysAhead); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

// Step makes partitions ahead and drops those whose time is over.
func (p *Pruner) Step(ctx context.Context) error {
	if err := p.Prepare(ctx); err != nil {
		return err
	}
	q := p.pool.Queries()
	longest, err := q.LongestRetention(ctx)
	if err != nil {
		return fmt.Errorf("read retention: %w", err)
	}
	now, err := q.Now(ctx)
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	runs := before(now, max(p.keep.Runs, int(longest.Runs)))
	logs := before(now, max(p.keep.Logs, int(longest.Logs)))
	for _, h := range []struct {
		table string
		limit time.Time
		drop  func(context.Context, time.Time) (bool, error)
	}{
		{"log_chunk", logs, q.DropLogs},
		{"run", runs, q.DropRuns},
		{"event", runs, q.DropEvents},
		{"tick", runs, func(ctx context.Context, day time.Time) (bool, error) {
			n, err := q.DropTicks(ctx, day)
			return n > 0, err
		}},
	} {
		if err := p.drop(ctx, q, h.table, h.limit, h.drop); err != nil {
			return err
		}
	}
	first, err := q.RunDayStart(ctx, runs)
	if err != nil {
		return fmt.Errorf("read a day: %w", err)
	}
	if err := q.DropOldAwaited(ctx, first); err != nil {
		return fmt.Errorf("forget approvals and child runs: %w", err)
	}
	if _, err := q.DropOldRequestKeys(ctx, nil, int32(p.keep.Things)); err != nil {
		return fmt.Errorf("forget request keys: %w", err)
	}
	if _, err := q.DropOldBackfills(ctx, int32(max(p.keep.Runs, int(longest.Runs)))); err != nil {
		return fmt.Errorf("forget backfills: %w", err)
	}
	if _, err := q.DropOldExecutors(ctx, nil, int32(p.keep.Things)); err != nil {
		return fmt.Errorf("forget executors: %w", err)
	}
	if _, err := q.DropOldSessions(ctx); err != nil {
		return fmt.Errorf("forget sessions: %w", err)
	}
	return nil
}

// drop drops the partitions of one table that lie wholly before a day. One that
// is in use is left for the next turn.
func (p *Pruner) drop(ctx context.Context, q *db.Queries, table string, limit time.Time, drop func(context.Context, time.Time) (bool, error)) error {
	days, err := q.PartitionsBefore(ctx, table, limit)
	if err != nil {
		return fmt.Errorf("list partitions of %s: %w", table, err)
	}
	for _, day := range days {
		done, err := drop(ctx, day)
		switch {
		case db.IsBusy(err):
			p.log.Info("prune: a partition is in use and is left for the next turn", "table", table, "day", day.Format(time.DateOnly))
		case err != nil:
			return fmt.Errorf("drop %s of %s: %w", table, day.Format(time.DateOnly), err)
		case done:
			p.log.Info("prune: dropped a day of history", "table", table, "day", day.Format(time.DateOnly))
		}
	}
	return nil
}

// before is the first day that is kept.
func before(now time.Time, days int) time.Time {
	y, m, d := now.UTC().Date()
	return time.Date(y, m, d-days, 0, 0, 0, 0, time.UTC)
}
