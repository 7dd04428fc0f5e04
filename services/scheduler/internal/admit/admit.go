// Package admit starts queued runs when their concurrency group has room, and
// settles those that its rules skip, fail or cancel.
package admit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
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
	pace      gate.Pace
	told      func(advance.Outcome)
}

// New makes an Admitter that gives birth to tasks through advancer, and starts
// late ticks at a pace that all admitters of a database keep together. told hears
// what each turn did, once it is committed.
func New(revisions *revision.Cache, advancer *advance.Advancer, pace gate.Pace, told func(advance.Outcome)) *Admitter {
	return &Admitter{revisions: revisions, advancer: advancer, pace: pace, told: told}
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
	queues, queued := split(rows, found)
	total := decide(queues)
	held, err := a.draw(ctx, q, total.Start, queued)
	if err != nil {
		return advance.Outcome{}, err
	}
	if len(held) > 0 {
		hold(queues, held)
		total = decide(queues)
	}
	again := a.bound(&total, queued, found)
	out, err := a.carryOut(ctx, q, total, queued, found)
	if err != nil || len(again) == 0 {
		return out, err
	}
	out.Full = true
	if err := q.LeaveWakes(ctx, "g", again); err != nil {
		return out, fmt.Errorf("wake groups again: %w", err)
	}
	return out, nil
}

// A queue is what a group is decided by.
type queue struct {
	running []flow.RunningRun
	queued  []flow.QueuedRun
}

// split sorts the open runs of groups, which come group by group, into the queues
// of the groups.
func split(rows []db.GroupRunsRow, found map[int64]*revision.Revision) (queues []*queue, queued map[int64]db.GroupRunsRow) {
	queued = map[int64]db.GroupRunsRow{}
	for i, row := range rows {
		if i == 0 || row.GroupID != rows[i-1].GroupID {
			queues = append(queues, &queue{})
		}
		g := queues[len(queues)-1]
		switch {
		case row.State == string(flow.Running):
			g.running = append(g.running, flow.RunningRun{ID: row.RunID, CancelRequested: row.CancelRequested, Backfill: row.BackfillID != 0})
		case row.CancelRequested: // its own wake ends it
		default:
			c := found[row.RevisionID].Graph.Pipeline().Concurrency
			if row.Reopened {
				// Somebody wants this very run: it neither gives up nor pushes others out.
				c.OnConflict = flow.OnConflictQueue
			}
			g.queued = append(g.queued, flow.QueuedRun{
				ID: row.RunID, Limit: c.Limit, MaxQueued: c.MaxQueued, OnConflict: c.OnConflict,
				FromTick: row.FromTick, Counted: row.Counted, Frozen: row.Frozen, Beside: row.Beside, Backfill: row.BackfillID != 0,
				Held: gate.TurnOf(row.TurnAt, row.Now) == gate.TurnAhead,
			})
			queued[row.RunID] = row
		}
	}
	return queues, queued
}

// decide is what becomes of all queues.
func decide(queues []*queue) flow.Admission {
	var total flow.Admission
	for _, g := range queues {
		d := flow.Admit(g.running, g.queued)
		total.Start = append(total.Start, d.Start...)
		total.Cancel = append(total.Cancel, d.Cancel...)
		total.Skip = append(total.Skip, d.Skip...)
		total.Fail = append(total.Fail, d.Fail...)
	}
	return total
}

// draw draws turns for those of the runs to be started that are of late ticks and
// have none, and gives those whose turn has not come: their groups are looked at
// again then.
func (a *Admitter) draw(ctx context.Context, q *db.Queries, start []int64, queued map[int64]db.GroupRunsRow) (held map[int64]bool, err error) {
	var late []int64
	for _, id := range start {
		if row := queued[id]; row.FromTick && !row.Counted && gate.TurnOf(row.TurnAt, row.Now) == gate.TurnNone {
			late = append(late, id)
		}
	}
	if a.pace <= 0 || len(late) == 0 {
		return nil, nil
	}
	apart := a.pace.Apart()
	turn, err := q.DrawTurns(ctx, (time.Duration(len(late)) * apart).Microseconds())
	if err != nil {
		return nil, fmt.Errorf("draw turns for late ticks: %w", err)
	}
	turn = turn.Add(-time.Duration(len(late)) * apart)
	held = map[int64]bool{}
	var drawn db.KeepTurnsParams
	for _, id := range late {
		if turn.After(queued[id].Now) {
			held[id] = true
			drawn.RunIds = append(drawn.RunIds, id)
			drawn.Groups = append(drawn.Groups, queued[id].GroupID)
			drawn.Turns = append(drawn.Turns, turn)
		}
		turn = turn.Add(apart)
	}
	if len(held) == 0 {
		return nil, nil
	}
	if err := q.KeepTurns(ctx, drawn); err != nil {
		return nil, fmt.Errorf("keep the turns of late ticks: %w", err)
	}
	return held, nil
}

// hold keeps runs from starting.
func hold(queues []*queue, held map[int64]bool) {
	for _, g := range queues {
		for i, r := range g.queued {
			g.queued[i].Held = r.Held || held[r.ID]
		}
	}
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
