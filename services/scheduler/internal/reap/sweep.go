package reap

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// A Sweeper looks, slowly, for runs, groups and backfills that nothing will ever wake.
// There should be none: each is a defect, is mended and is counted.
type Sweeper struct {
	pool  *db.Pool
	older time.Duration // how long a run must have been admitted, or queued
	log   *slog.Logger
	told  func(runs, groups, backfills int)
}

// NewSweeper makes a Sweeper that looks at what is older than a duration. told
// hears how much each turn had to mend.
func NewSweeper(pool *db.Pool, older time.Duration, log *slog.Logger, told func(runs, groups, backfills int)) *Sweeper {
	return &Sweeper{pool: pool, older: older, log: log, told: told}
}

// Step looks through all open runs once.
func (s *Sweeper) Step(ctx context.Context) error {
	runs, err := s.runs(ctx)
	if err != nil {
		return err
	}
	groups, err := s.pool.Queries().StuckGroups(ctx, db.StuckGroupsParams{OlderMs: s.older.Milliseconds(), Batch: batchSize})
	if err != nil {
		return fmt.Errorf("look for stuck groups: %w", err)
	}
	if len(groups) > 0 {
		if err := s.mend(ctx, "g", "group_without_wake", groups); err != nil {
			return err
		}
	}
	backfills, err := s.pool.Queries().StuckBackfills(ctx, batchSize)
	if err != nil {
		return fmt.Errorf("look for stuck backfills: %w", err)
	}
	if len(backfills) > 0 {
		if err := s.mend(ctx, "b", "backfill_without_wake", backfills); err != nil {
			return err
		}
	}
	s.told(runs, len(groups), len(backfills))
	return nil
}

func (s *Sweeper) runs(ctx context.Context) (mended int, err error) {
	var after int64
	for {
		ids, err := s.pool.Queries().StuckRuns(ctx, db.StuckRunsParams{OlderMs: s.older.Milliseconds(), After: after, Batch: batchSize})
		if err != nil {
			return mended, fmt.Errorf("look for stuck runs: %w", err)
		}
		if len(ids) > 0 {
			if err := s.mend(ctx, "r", "run_without_wake", ids); err != nil {
				return mended, err
			}
			mended += len(ids)
		}
		if len(ids) < batchSize {
			return mended, nil
		}
		after = ids[len(ids)-1]
	}
}

// mend leaves the wake that is missing. Of a run, advance counts everything anew
// when it meets a wake of this kind.
func (s *Sweeper) mend(ctx context.Context, kind, what string, ids []int64) error {
	s.log.Error("sweep: nothing would have woken these any more; they are woken now, please report it", "what", what, "ids", ids)
	err := db.InTx(ctx, s.pool, func(q *db.Queries) error {
		if kind == "r" {
			if err := q.LeaveRecounts(ctx, ids); err != nil {
				return err
			}
		} else if err := q.LeaveWakes(ctx, kind, ids); err != nil {
			return err
		}
		return q.NoteRepairs(ctx, db.NoteRepairsParams{Kind: what, RunIds: ids, Detail: ""})
	})
	if err != nil {
		return fmt.Errorf("mend %s: %w", what, err)
	}
	return nil
}
