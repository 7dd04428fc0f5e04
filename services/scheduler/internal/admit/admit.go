// Package admit starts queued runs when their concurrency group has room, and
// settles those that its rules skip, fail or cancel.
package admit

import (
	"context"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

// batchSize is how many wakes at once mean that there may be more.
const batchSize = 500

// An Admitter decides who of a group may run.
type Admitter struct {
	revisions *revision.Cache
	advancer  *advance.Advancer
	told      func(advance.Outcome)
}

// New makes an Admitter that gives birth to tasks through advancer. told hears
// what each turn did, once it is committed.
func New(revisions *revision.Cache, advancer *advance.Advancer, told func(advance.Outcome)) *Admitter {
	return &Admitter{revisions: revisions, advancer: advancer, told: told}
}

// Step decides about one batch of groups that have been woken. A group that
// somebody else has locked keeps its wakes.
func (a *Admitter) Step(ctx context.Context) error {
	out, err := a.advancer.Due(ctx, "g", a.told, a.groups)
	if err != nil {
		return fmt.Errorf("admit runs: %w", err)
	}
	if out.Full {
		return loop.ErrMore
	}
	return nil
}

func (a *Admitter) groups(ctx context.Context, q *db.Queries, ids []int64) (advance.Outcome, error) {
	held, err := q.LockDueGroups(ctx, ids)
	if err != nil {
		return advance.Outcome{}, fmt.Errorf("lock groups: %w", err)
	}
	if len(held) == 0 {
		return advance.Outcome{}, nil
	}
	wakes, err := q.TakeWakes(ctx, db.TakeWakesParams{Kind: "g", Subjects: held})
	if err != nil {
		return advance.Outcome{}, fmt.Errorf("take wakes: %w", err)
	}
	out, err := a.Groups(ctx, q, held)
	if err != nil {
		return out, err
	}
	out.Full = out.Full || len(wakes) >= batchSize
	return out, out.Roll(ctx, q)
}

// Groups decides about groups that the caller has locked in this transaction.
func (a *Admitter) Groups(ctx context.Context, q *db.Queries, groups []int64) (advance.Outcome, error) {
	rows, err := q.GroupRuns(ctx, groups)
	if err != nil {
		return advance.Outcome{}, fmt.Errorf("read groups: %w", err)
	}
	var revisions []int64
	for _, row := range rows {
		if row.State == string(flow.Queued) {
			revisions = append(revisions, row.RevisionID)
		}
	}
	if len(revisions) == 0 {
		return advance.Outcome{}, nil
	}
	found, broken, err := a.revisions.Load(ctx, q, revisions)
	if err != nil {
		return advance.Outcome{}, err
	}
	for _, err := range broken {
		return advance.Outcome{}, err
	}
	total := flow.Admission{}
	queued := map[int64]db.GroupRunsRow{}
	for first := 0; first < len(rows); {
		last := first
		var runs []flow.RunningRun
		var queue []flow.QueuedRun
		for ; last < len(rows) && rows[last].GroupID == rows[first].GroupID; last++ {
			row := rows[last]
			switch {
			case row.State == string(flow.Running):
				runs = append(runs, flow.RunningRun{ID: row.RunID, CancelRequested: row.CancelRequested, Backfill: row.BackfillID != 0})
			case row.CancelRequested: // its own wake ends it
			default:
				c := found[row.RevisionID].Graph.Pipeline().Concurrency
				if row.Reopened {
					// Somebody wants this very run: it neither gives up nor pushes others out.
					c.OnConflict = flow.OnConflictQueue
				}
				queue = append(queue, flow.QueuedRun{
					ID: row.RunID, Limit: c.Limit, MaxQueued: c.MaxQueued, OnConflict: c.OnConflict,
					FromTick: row.FromTick, Counted: row.Counted, Frozen: row.Frozen, Beside: row.Beside, Backfill: row.BackfillID != 0,
				})
				queued[row.RunID] = row
			}
		}
		first = last
		d := flow.Admit(runs, queue)
		total.Start = append(total.Start, d.Start...)
		total.Cancel = append(total.Cancel, d.Cancel...)
		total.Skip = append(total.Skip, d.Skip...)
		total.Fail = append(total.Fail, d.Fail...)
	}
	held := a.bound(&total, queued, found)
	out, err := a.carryOut(ctx, q, total, queued, found)
	if err != nil || len(held) == 0 {
		return out, err
	}
	out.Full = true
	if err := q.LeaveWakes(ctx, "g", held); err != nil {
		return out, fmt.Errorf("wake groups again: %w", err)
	}
	return out, nil
}

// maxBorn is about how many tasks one transaction gives birth to.
const maxBorn = 20_000

// bound keeps what one transaction starts within what a statement can write in
// its time. The rest stays queued, in its place, and its groups are returned.
func (a *Admitter) bound(d *flow.Admission, queued map[int64]db.GroupRunsRow, found map[int64]*revision.Revision) (groups []int64) {
	born := 0
	for i, id := range d.Start {
		tasks, finally := found[queued[id].RevisionID].Graph.Size()
		if born += tasks + finally; born <= maxBorn || i == 0 {
			continue
		}
		for _, rest := range d.Start[i:] {
			groups = append(groups, queued[rest].GroupID)
		}
		d.Start = d.Start[:i]
		break
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

func (a *Admitter) carryOut(ctx context.Context, q *db.Queries, d flow.Admission, queued map[int64]db.GroupRunsRow, found map[int64]*revision.Revision) (advance.Outcome, error) {
	var out advance.Outcome
	ended := map[int64]flow.Finish{}
	for _, id := range d.Skip {
		ended[id] = flow.Finish{State: flow.Skipped, Reason: flow.ReasonOverlap}
	}
	for _, id := range d.Fail {
		ended[id] = flow.Finish{State: flow.Failed, Reason: flow.ReasonOverlap}
	}
	var ask []int64
	for _, id := range d.Cancel {
		if _, ok := queued[id]; ok {
			ended[id] = flow.Finish{State: flow.Canceled, Reason: flow.ReasonOverlap}
		} else {
			ask = append(ask, id)
		}
	}
	if len(ask) > 0 {
		if _, err := q.RequestCancel(ctx, db.RequestCancelParams{Ids: ask, By: "scheduler", Why: "a newer run of its group takes its place"}); err != nil {
			return out, fmt.Errorf("cancel runs: %w", err)
		}
		out.Woken = true
	}
	done, err := advance.Finish(ctx, q, ended)
	out.Add(done)
	if err != nil {
		return out, err
	}
	if len(d.Start) == 0 {
		return out, nil
	}
	started, err := q.AdmitRuns(ctx, d.Start)
	if err != nil {
		return out, fmt.Errorf("start runs: %w", err)
	}
	facts, err := a.advancer.Facts(ctx, q, started)
	if err != nil {
		return out, err
	}
	born := make([]advance.Born, 0, len(started))
	var again, timeouts []int64 // opened again
	told := db.InsertRunEventsParams{}
	for _, id := range started {
		row := queued[id]
		if row.Reopened {
			again = append(again, id)
			timeouts = append(timeouts, found[row.RevisionID].Graph.Pipeline().Timeout.Std().Milliseconds())
		} else {
			rev := found[row.RevisionID]
			born = append(born, advance.Born{PipelineID: row.PipelineID, Revision: rev, Run: facts[id].Run(rev)})
		}
		told.Pipelines = append(told.Pipelines, row.PipelineID)
		told.RunIds = append(told.RunIds, id)
		told.Froms = append(told.Froms, string(flow.Queued))
		told.States = append(told.States, string(flow.Running))
		told.Reasons = append(told.Reasons, "")
	}
	if err := q.InsertRunEvents(ctx, told); err != nil {
		return out, fmt.Errorf("tell of runs: %w", err)
	}
	if len(again) > 0 {
		// Their tasks are there.
		if err := q.GoOnRuns(ctx, again, timeouts); err != nil {
			return out, fmt.Errorf("go on with runs: %w", err)
		}
		out.Woken = true
	}
	done, err = a.advancer.Start(ctx, q, born)
	out.Add(done)
	return out, err
}
