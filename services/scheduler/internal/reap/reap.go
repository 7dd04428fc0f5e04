// Package reap takes work back from executors that are gone, and acts on times
// that have passed: of runs, of queued tasks, of pauses.
package reap

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

const batchSize = 500

// A Reaper declares executors dead and ends what they held.
type Reaper struct {
	pool      *db.Pool
	revisions *revision.Cache
	lease     time.Duration
	clock     func() time.Duration // monotonic, counts a suspended machine too
	log       *slog.Logger
	told      func(Outcome)

	seen map[uuid.UUID]sighting
}

// A sighting is when a beat was first seen, on our own clock.
type sighting struct {
	beat int64
	at   time.Duration
}

// Outcome is what a turn did.
type Outcome struct {
	Dead     int // executors declared dead
	Lost     int // attempts taken back
	TimedOut int // runs
	Late     int // tasks that waited too long in a queue
	Resumed  int // pipelines whose pause was over

	// Somebody has left wakes for advance (runs and pools), for admit (groups), or for backfills, or asks for runs.
	Woken, Admit, Backfill, Asked bool
}

// New makes a Reaper for executors with leases of the given length. clock is
// monotonic. told hears what each turn did, once it is committed.
func New(pool *db.Pool, revisions *revision.Cache, lease time.Duration, clock func() time.Duration, log *slog.Logger, told func(Outcome)) *Reaper {
	return &Reaper{pool: pool, revisions: revisions, lease: lease, clock: clock, log: log, told: told, seen: map[uuid.UUID]sighting{}}
}

// Step does one turn of everything. At rest it is one query.
func (r *Reaper) Step(ctx context.Context) error {
	var out Outcome
	q := r.pool.Queries()
	rows, err := q.Look(ctx, r.lease.Milliseconds())
	if err != nil {
		return fmt.Errorf("look at what is due: %w", err)
	}
	if err := r.watch(ctx, q, rows, &out); err != nil {
		return err
	}
	more := false
	if rows[0].Orphans || out.Dead > 0 {
		if more, err = r.takeBack(ctx, &out); err != nil {
			return err
		}
	}
	out.Woken, out.Admit, out.Backfill, out.Asked = rows[0].Woken, rows[0].Admit, rows[0].Backfill, rows[0].Asked
	if !rows[0].Late {
		return r.done(out, more)
	}
	runs, err := q.TimeOutRuns(ctx, nil, batchSize)
	if err != nil {
		return fmt.Errorf("time out runs: %w", err)
	}
	out.TimedOut = len(runs)
	tasks, err := q.TimeOutQueued(ctx, nil, batchSize)
	if err != nil {
		return fmt.Errorf("time out queued tasks: %w", err)
	}
	out.Late = len(tasks)
	resumed, err := q.ResumePipelines(ctx, nil)
	if err != nil {
		return fmt.Errorf("end pauses: %w", err)
	}
	out.Resumed = len(resumed)
	return r.done(out, more || len(runs) == batchSize || len(tasks) >= batchSize)
}

func (r *Reaper) done(out Outcome, more bool) error {
	r.told(out)
	if more {
		return loop.ErrMore
	}
	return nil
}

// watch declares executors dead whose lease is over by the database's clock and
// whose beat has stood still for a lease on our own: a jump of the one clock
// must neither kill healthy work nor keep dead work.
func (r *Reaper) watch(ctx context.Context, q *db.Queries, rows []db.LookRow, out *Outcome) error {
	now := r.clock()
	here := make(map[uuid.UUID]bool, len(rows))
	for _, e := range rows {
		if e.ID == nil {
			continue // there is none
		}
		id := *e.ID
		here[id] = true
		s, ok := r.seen[id]
		if !ok || s.beat != e.Beat {
			r.seen[id] = sighting{e.Beat, now}
			continue
		}
		if !e.Expired && !e.Ahead || now-s.at < r.lease {
			continue
		}
		n, err := q.StopExecutor(ctx, id, e.Beat)
		if err != nil {
			return fmt.Errorf("declare executor dead: %w", err)
		}
		if n > 0 {
			out.Dead++
			r.log.Warn("reap: an executor has stopped answering; its tasks run again elsewhere", "executor", e.Name, "id", id, "silent_for", now-s.at)
		}
	}
	for id := range r.seen {
		if !here[id] {
			delete(r.seen, id)
		}
	}
	return nil
}

// takeBack ends the attempts of executors that are missing, stopped or dead.
func (r *Reaper) takeBack(ctx context.Context, out *Outcome) (more bool, err error) {
	gone, err := r.pool.Queries().LiveExecutors(ctx)
	if err != nil {
		return false, fmt.Errorf("look for lost attempts: %w", err)
	}
	if len(gone) == 0 {
		return false, nil
	}
	var broken map[int64]error
	err = db.InTx(ctx, r.pool, func(q *db.Queries) error {
		rows, err := q.LockOrphans(ctx, gone, batchSize)
		if err != nil {
			return fmt.Errorf("lock lost attempts: %w", err)
		}
		more = len(rows) == batchSize
		slices.SortFunc(rows, func(a, b db.LockOrphansRow) int {
			return cmp.Or(cmp.Compare(a.RunID, b.RunID), cmp.Compare(a.Number, b.Number))
		})
		if len(rows) == 0 {
			return nil
		}
		ids := make([]int64, len(rows))
		for i, row := range rows {
			ids[i] = row.RevisionID
		}
		var found map[int64]*revision.Revision
		if found, broken, err = r.revisions.Load(ctx, q, ids); err != nil {
			return err
		}
		var b ending.Batch
		for _, row := range rows {
			// Of a definition that cannot be read nobody knows how often it may run again: it does not.
			task, detail := &pipeline.Task{}, "its executor stopped answering, and its definition cannot be read"
			if rev := found[row.RevisionID]; rev != nil {
				ordinal, _ := flow.Split(int(row.Number))
				task, detail = rev.Graph.Task(ordinal), "its executor stopped answering"
			}
			stop := ""
			if row.StopReason != nil {
				stop = *row.StopReason
			}
			b.Add(task, ending.Live{
				RunID: row.RunID, Number: row.Number, Token: row.LeaseToken, Executor: row.Executor,
				Failures: row.Failures, Losses: row.Losses, Handbacks: row.Handbacks, LastLoser: row.LastLoser, Losers: row.Losers,
			}, ending.Report{
				State: "lost", Reason: flow.ReasonLost, Started: row.State != "claimed", StartedAgo: -1, StopReason: stop,
				Detail: detail, CPU: -1, MaxRSS: -1,
			}, rand.Float64())
		}
		ended, err := b.Write(ctx, q)
		if err != nil {
			return fmt.Errorf("end lost attempts: %w", err)
		}
		out.Lost = len(ended)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("take lost attempts back: %w", err)
	}
	for id, err := range broken {
		r.log.Error("reap: a definition cannot be read, its lost tasks do not run again; please report it", "revision", id, "error", err)
	}
	return more, nil
}
