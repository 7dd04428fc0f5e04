// Package advance moves runs on: it takes what has ended into account, lets
// flow decide what becomes ready, skipped, expanded or finished, and writes it.
//
// It is the only writer of ready rows. Replicas work side by side: a run that
// one has locked is passed over by the others and keeps its wakes.
package advance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// batchSize is how many wakes of a kind one transaction looks at.
const batchSize = 500

// An Advancer decides about runs and pools that have been woken.
type Advancer struct {
	pool      *db.Pool
	revisions *revision.Cache
	facts     *lru.Cache[int64, Fact] // what of a run never changes
	told      func(Outcome)
	log       *slog.Logger
}

// New makes an Advancer. told hears what each turn did, once it is committed.
func New(pool *db.Pool, revisions *revision.Cache, log *slog.Logger, told func(Outcome)) *Advancer {
	facts, err := lru.New[int64, Fact](4096)
	if err != nil { // only for a size below one
		panic(err)
	}
	return &Advancer{pool: pool, revisions: revisions, facts: facts, told: told, log: log}
}

// Outcome is what a transaction did.
type Outcome struct {
	Runs     int      // looked at
	Released int      // tasks that became ready
	Finished []End    // runs that ended
	Stopped  bool     // live attempts were asked to stop
	Woken    bool     // somebody in the scheduler has more to do: a pool, a group
	Asked    bool     // runs of other pipelines are asked for
	Polls    bool     // executors have something new to ask services for
	Full     bool     // there was more than one batch
	Backfill bool     // a run of a backfill ended: it may make another
	Triggers []string // what triggers were answered: run, failed, or why there is none

	ended []db.FinishRunsRow // not in the rollups yet
}

// End is a run that ended.
type End struct {
	RunID   int64
	State   flow.State
	Seconds float64
}

// Add takes over what another part of the same transaction did.
func (o *Outcome) Add(p Outcome) {
	o.Runs += p.Runs
	o.Released += p.Released
	o.Finished = append(o.Finished, p.Finished...)
	o.Stopped = o.Stopped || p.Stopped
	o.Woken = o.Woken || p.Woken
	o.Asked = o.Asked || p.Asked
	o.Polls = o.Polls || p.Polls
	o.Full = o.Full || p.Full
	o.Backfill = o.Backfill || p.Backfill
	o.Triggers = append(o.Triggers, p.Triggers...)
	o.ended = append(o.ended, p.ended...)
}

// Step decides about one batch of runs that have been woken, and about one
// batch of pools.
func (a *Advancer) Step(ctx context.Context) error {
	runs, err := a.Due(ctx, "r", a.told, a.runs)
	if err != nil {
		return fmt.Errorf("advance runs: %w", err)
	}
	pools, err := a.Due(ctx, "p", a.told, a.pools)
	if err != nil {
		return fmt.Errorf("advance pools: %w", err)
	}
	if runs.Full || pools.Full || runs.Woken {
		return loop.ErrMore
	}
	return nil
}

// runs decides about runs. The order of its statements is what keeps
// wake-ups from being lost: first the rows of the runs are locked, then all
// their due wakes are deleted, then everything is read. What commits later
// leaves a wake that is still there.
func (a *Advancer) runs(ctx context.Context, q *db.Queries, ids []int64) (Outcome, error) {
	locked, err := q.LockDueRuns(ctx, ids)
	if err != nil {
		return Outcome{}, fmt.Errorf("lock runs: %w", err)
	}
	if len(locked) < len(ids) {
		// Nothing will look at the wakes of runs that have ended.
		if err := q.DropWakesOfEnded(ctx, ids); err != nil {
			return Outcome{}, fmt.Errorf("drop wakes of ended runs: %w", err)
		}
	}
	if len(locked) == 0 {
		return Outcome{}, nil
	}
	held := make([]int64, len(locked))
	for i, row := range locked {
		held[i] = row.RunID
	}
	wakes, err := q.TakeWakes(ctx, db.TakeWakesParams{Kind: "r", Subjects: held})
	if err != nil {
		return Outcome{}, fmt.Errorf("take wakes: %w", err)
	}
	if err := stopCalled(ctx, q, locked, wakes); err != nil {
		return Outcome{}, err
	}
	subjects, out, err := a.subjects(ctx, q, locked)
	if err != nil {
		return out, err
	}
	byRun := make(map[int64]*subject, len(subjects))
	for _, s := range subjects {
		byRun[s.in.Run.ID] = s
	}
	var recount []*subject
	for _, w := range wakes {
		s := byRun[w.Subject]
		switch {
		case s == nil: // queued, or broken: settled already
		case w.Number == nil, *w.State == stateCancel, *w.State == stateCancelAgain:
			s.in.Look = true
		case *w.State == stateRecount:
			recount = append(recount, s)
		default:
			s.in.Ends = append(s.in.Ends, flow.End{Number: int(*w.Number), State: flow.State(*w.State)})
			for _, number := range w.Others {
				s.in.Ends = append(s.in.Ends, flow.End{Number: int(number), State: flow.State(*w.State)})
			}
		}
	}
	for _, s := range recount {
		if err := recountRun(ctx, q, s); err != nil {
			return out, err
		}
	}
	done, err := a.Decide(ctx, q, subjects)
	out.Add(done)
	out.Runs = len(locked)
	out.Full = len(wakes) >= batchSize
	if err != nil {
		return out, err
	}
	return out, out.Roll(ctx, q)
}

// subjects turns locked rows into subjects of a decision. Runs that are still
// queued are settled on the way: one that was canceled ends here.
func (a *Advancer) subjects(ctx context.Context, q *db.Queries, locked []db.LockDueRunsRow) ([]*subject, Outcome, error) {
	ended := newBatch()
	var revisions, ids []int64
	for _, row := range locked {
		if row.State != string(flow.Queued) {
			revisions, ids = append(revisions, row.RevisionID), append(ids, row.RunID)
			continue
		}
		if row.CancelRequestedAt != nil {
			if err := ended.finish(row.RunID, flow.Finish{State: flow.Canceled, Reason: flow.ReasonCanceled}); err != nil {
				return nil, Outcome{}, err
			}
		}
	}
	out, err := ended.end(ctx, q)
	if err != nil {
		return nil, out, err
	}
	found, broken, err := a.revisions.Load(ctx, q, revisions)
	if err != nil {
		return nil, out, err
	}
	for _, err := range broken {
		return nil, out, err
	}
	facts, err := a.Facts(ctx, q, ids)
	if err != nil {
		return nil, out, err
	}
	var subjects []*subject
	for _, row := range locked {
		if row.State == string(flow.Queued) {
			continue
		}
		fact, ok := facts[row.RunID]
		if !ok {
			return nil, out, fmt.Errorf("run %d is open and not in history", row.RunID)
		}
		rev := found[row.RevisionID]
		run := fact.Run(rev)
		run.Phase = flow.Phase(row.Phase)
		run.Unfinished, run.Failed, run.Canceled, run.Skipped = int(row.Unfinished), int(row.Failed), int(row.Canceled), int(row.Skipped)
		run.Rows, run.Reason, run.Reopened = int(row.Rows), row.Reason, row.Reopened
		run.CancelRequested, run.CancelAgain, run.TimedOut = row.CancelRequestedAt != nil, row.CancelAgainAt != nil, row.TimedOutAt != nil
		subjects = append(subjects, &subject{rev: rev, pipelineID: row.PipelineID, in: flow.Input{Run: run}})
	}
	return subjects, out, nil
}

var errUndecided = errors.New("a decision did not come to an end")
