package explain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// facts are what an answer about a run is made from.
type facts struct {
	now      time.Time
	sees     func(namespace string) bool
	pipeline db.ExplainPipelineRow
	run      db.RunByIDRow
	def      *revision.Revision
	open     *db.ExplainOpenRunRow // nil: the run has ended
	group    *groupFacts           // of a queued run
	fleet    []db.ExplainExecutorsRow
	active   []db.ExplainActiveRow // where max_parallel counts them
}

// groupFacts are the runs that a queued one waits for.
type groupFacts struct {
	running, before int
	limit           int
	rows            []db.ExplainGroupRow
	starts          bool // the scheduler starts it at its next look
	beside          bool // … beside the others: one of them waits for it
	turn            *turn
}

// A turn keeps a run back that its group has room for: its own, that of a late
// tick, or that of one before it.
type turn struct {
	own bool
	at  time.Time
}

// taskFacts are what an answer about a task or an item is made from.
type taskFacts struct {
	*facts
	ordinal, index int
	task           *pipeline.Task
	row            *db.ExplainTasksRow // nil: it is not born
	own            *db.ExplainTasksRow // of an item: its fan-out's row
	others         map[int]db.ExplainTasksRow
	last           *db.AttemptsOfRow
	pool           *db.ExplainPoolRow
	poolStay       string // why the pool's next look leaves it where it is; "": it does not
	poolHolders    []db.ExplainPoolHoldersRow
	before         []db.ExplainReadyBeforeRow
	busy           []db.ExplainBusyRow
	question       *db.ExplainQuestionRow
	call           *db.ExplainCallRow
	held           []db.ExplainHeldRow // what gets places under the run's max_parallel before it
}

func (x *Explainer) run(ctx context.Context, id int64) (*facts, error) {
	f := &facts{sees: x.sees}
	var err error
	if f.run, err = x.q.RunByID(ctx, id); err != nil {
		return nil, fmt.Errorf("read a run: %w", err)
	}
	if f.pipeline, err = x.q.ExplainPipeline(ctx, f.run.Run.PipelineID); err != nil {
		return nil, fmt.Errorf("read a pipeline: %w", err)
	}
	f.now = f.pipeline.Now
	if f.def, err = x.revisions.One(ctx, x.q, f.run.Run.RevisionID); err != nil {
		return nil, err
	}
	open, err := x.q.ExplainOpenRun(ctx, id)
	switch {
	case errors.Is(err, db.ErrNoRows):
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("read an open run: %w", err)
	}
	f.open = &open
	if f.fleet, err = x.q.ExplainExecutors(ctx); err != nil {
		return nil, fmt.Errorf("read executors: %w", err)
	}
	if open.State == string(flow.Queued) {
		f.group, err = x.group(ctx, f.now, open, id)
	} else if f.def.Graph.NeedsActive() {
		f.active, err = x.q.ExplainActive(ctx, id, maxHolders)
	}
	if err != nil {
		return nil, fmt.Errorf("read what a run waits for: %w", err)
	}
	return f, nil
}

// group reads the queue that a run stands in, and lets the scheduler's own
// function say whether it starts.
func (x *Explainer) group(ctx context.Context, now time.Time, open db.ExplainOpenRunRow, run int64) (*groupFacts, error) {
	group, rev := open.GroupID, open.RevisionID
	counts, err := x.q.ExplainGroupCounts(ctx, run, group)
	if err != nil {
		return nil, err
	}
	g := &groupFacts{running: int(counts.Running), before: int(counts.Before)}
	if g.rows, err = x.q.ExplainGroup(ctx, db.ExplainGroupParams{GroupID: group, RunID: run, Page: maxGroup}); err != nil {
		return nil, err
	}
	var revisions []int64
	for _, r := range g.rows {
		if r.State == string(flow.Queued) {
			revisions = append(revisions, r.RevisionID)
		}
	}
	found, _, err := x.revisions.Load(ctx, x.q, append(revisions, rev))
	if err != nil {
		return nil, err
	}
	if def := found[rev]; def != nil {
		g.limit = max(1, def.Graph.Pipeline().Concurrency.Limit)
	}
	var runs []flow.RunningRun
	var queue, free []flow.QueuedRun // free: as if no late tick were held
	var held *turn
	for _, r := range g.rows {
		switch {
		case r.State == string(flow.Running):
			runs = append(runs, flow.RunningRun{ID: r.RunID, CancelRequested: r.CancelRequested, Backfill: r.BackfillID != 0})
		case r.CancelRequested || found[r.RevisionID] == nil:
		default:
			c := found[r.RevisionID].Graph.Pipeline().Concurrency
			if r.Reopened {
				c.OnConflict = flow.OnConflictQueue
			}
			q := flow.QueuedRun{
				ID: r.RunID, Limit: c.Limit, MaxQueued: c.MaxQueued, OnConflict: c.OnConflict,
				FromTick: r.FromTick, Counted: r.Counted, Frozen: r.Frozen, Beside: r.Beside, Backfill: r.BackfillID != 0,
			}
			g.beside = g.beside || r.Beside && r.RunID == run
			free = append(free, q)
			if late := r.FromTick && !r.Counted; late && !gate.InTurn(r.TurnAt, open.NextTurn, now) {
				q.Held = true
				if held == nil || r.RunID == run {
					held = &turn{own: r.RunID == run, at: open.NextTurn}
					if gate.TurnOf(r.TurnAt, now) == gate.TurnAhead {
						held.at = *r.TurnAt
					}
				}
			}
			queue = append(queue, q)
		}
	}
	whole := len(g.rows) < maxGroup
	g.starts = whole && slices.Contains(flow.Admit(runs, queue).Start, run)
	if !g.starts && whole && slices.Contains(flow.Admit(runs, free).Start, run) {
		g.turn = held
	}
	return g, nil
}

func (x *Explainer) task(ctx context.Context, f *facts, number int) (*taskFacts, error) {
	t := &taskFacts{facts: f, others: map[int]db.ExplainTasksRow{}}
	t.ordinal, t.index = flow.Split(number)
	if t.task = f.def.Graph.Task(t.ordinal); t.task == nil {
		return nil, fmt.Errorf("run %d has no task %d", f.run.Run.ID, t.ordinal)
	}
	ask := []int32{int32(number), int32(flow.Number(t.ordinal))}
	for _, o := range t.needs(t.ordinal, false) {
		ask = append(ask, int32(flow.Number(o)))
	}
	if err := x.rows(ctx, t, number, ask); err != nil {
		return nil, err
	}
	if t.index >= 0 && t.row == nil {
		e := api.Errorf(api.NotFound, "%s has no item %s", t.runName(), t.name())
		if t.own == nil || t.own.Items == nil {
			e = e.WithHint("the items of a task are made when what it needs has ended")
		}
		return nil, e
	}
	if t.row != nil && t.row.Reason == flow.ReasonUpstream {
		ask = ask[:0]
		for _, o := range t.needs(t.ordinal, true) {
			ask = append(ask, int32(flow.Number(o)))
		}
		if err := x.rows(ctx, t, number, ask); err != nil {
			return nil, err
		}
	}
	if t.row != nil && t.row.Attempt > 0 {
		attempts, err := x.q.AttemptsOf(ctx, db.AttemptsOfParams{RunID: f.run.Run.ID, Low: int32(number), High: int32(number)})
		if err != nil {
			return nil, fmt.Errorf("read attempts: %w", err)
		}
		for _, a := range attempts {
			if a.Attempt == t.row.Attempt {
				t.last = &a
			}
		}
	}
	if f.open == nil || t.row != nil && (t.row.EndedAt != nil || t.row.LiveState != nil) {
		return t, nil
	}
	return t, x.queues(ctx, t)
}

// rows reads rows of tasks: the one that is asked about, its fan-out's, and
// others by ordinal.
func (x *Explainer) rows(ctx context.Context, t *taskFacts, number int, ask []int32) error {
	slices.Sort(ask)
	rows, err := x.q.ExplainTasks(ctx, slices.Compact(ask), t.run.Run.ID)
	if err != nil {
		return fmt.Errorf("read tasks: %w", err)
	}
	for _, r := range rows {
		ordinal, index := flow.Split(int(r.Number))
		switch {
		case int(r.Number) == number:
			t.row = &r
		case ordinal == t.ordinal:
			t.own = &r
		case index < 0:
			t.others[ordinal] = r
		}
	}
	return x.awaited(ctx, t)
}

// awaited reads what a task waits for that no executor does.
func (x *Explainer) awaited(ctx context.Context, t *taskFacts) error {
	if t.row == nil || t.row.State != string(flow.Waiting) {
		return nil
	}
	switch t.row.Reason {
	case flow.ReasonWait:
		return x.polls(ctx, t)
	case flow.ReasonApproval:
		row, err := x.q.ExplainQuestion(ctx, t.run.Run.ID, t.row.Number)
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return fmt.Errorf("read a question: %w", err)
		}
		if err == nil {
			t.question = &row
		}
	case flow.ReasonChild:
		row, err := x.q.ExplainCall(ctx, t.run.Run.ID, t.row.Number)
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return fmt.Errorf("read a child run: %w", err)
		}
		if err == nil {
			t.call = &row
		}
	}
	return nil
}

// polls reads how asking a service goes, if the task waits for its answer.
func (x *Explainer) polls(ctx context.Context, t *taskFacts) error {
	if !t.def.Graph.Polls() {
		return nil
	}
	rows, err := x.q.HTTPWaitsOf(ctx, db.HTTPWaitsOfParams{RunID: t.run.Run.ID, Low: t.row.Number, High: t.row.Number})
	if err != nil {
		return fmt.Errorf("read what waits for an answer: %w", err)
	}
	for _, r := range rows {
		poll := api.Poll{
			Target: r.Target, Served: r.Served, URL: r.Address, Tries: int(r.Tries), LastStatus: int(r.LastStatus), LastError: r.LastError, Since: r.Since, NextAt: r.NextAt,
		}
		t.row.Detail = poll.Sentence()
	}
	return nil
}

// needs gives the ordinals of what a task needs, directly or through others.
func (t *taskFacts) needs(ordinal int, all bool) []int {
	var list []int
	var add func(int)
	add = func(o int) {
		for _, name := range t.def.Graph.Task(o).Needs {
			n, ok := t.def.Graph.Ordinal(name)
			if !ok || slices.Contains(list, n) {
				continue
			}
			list = append(list, n)
			if all {
				add(n)
			}
		}
	}
	add(ordinal)
	return list
}

// queues reads what a task waits for, or will, together with others: places under the run's max_parallel,
// the pool, the executors.
func (x *Explainer) queues(ctx context.Context, t *taskFacts) error {
	if limit := t.def.Graph.MaxParallel(); limit > 0 && t.row != nil && !t.queued() {
		var err error
		// More than there are places make no difference.
		t.held, err = x.q.ExplainHeld(ctx, db.ExplainHeldParams{RunID: t.run.Run.ID, Number: t.row.Number, Batch: int32(limit)})
		if err != nil {
			return fmt.Errorf("read what a run holds back: %w", err)
		}
	}
	if id, _ := t.def.Pool(t.ordinal); id != 0 && (t.row == nil || t.row.ReadyRank == nil) {
		rank := int64(math.MaxInt64)
		if t.row != nil && t.row.WaiterRank != nil {
			rank, id = *t.row.WaiterRank, *t.row.PoolID
		}
		p, err := x.q.ExplainPool(ctx, id, rank)
		if err != nil {
			return fmt.Errorf("read a pool: %w", err)
		}
		t.pool = &p
		if t.poolStay, err = x.stay(ctx, t, p); err != nil {
			return err
		}
		if t.poolHolders, err = x.q.ExplainPoolHolders(ctx, id, maxHolders); err != nil {
			return fmt.Errorf("read who holds a pool: %w", err)
		}
	}
	if t.row != nil && t.row.ReadyRank != nil {
		var err error
		t.before, err = x.q.ExplainReadyBefore(ctx, db.ExplainReadyBeforeParams{Rank: *t.row.ReadyRank, RunID: t.run.Run.ID, Number: t.row.Number})
		if err != nil {
			return fmt.Errorf("read what is ready: %w", err)
		}
	}
	able := []uuid.UUID{}
	for _, e := range t.fleet {
		if gate.Serves(e.Labels, t.task.RunsOn) && !e.Draining {
			able = append(able, e.ID)
		}
	}
	if t.row == nil || t.row.ReadyRank == nil || len(able) == 0 {
		return nil
	}
	var err error
	if t.busy, err = x.q.ExplainBusy(ctx, able, maxHolders); err != nil {
		return fmt.Errorf("read what executors are at: %w", err)
	}
	return nil
}

// stay lets the scheduler's own function say what a look at the pool makes of the
// task. One that does not wait there yet comes behind all others.
func (x *Explainer) stay(ctx context.Context, t *taskFacts, row db.ExplainPoolRow) (string, error) {
	free := row.Slots - row.Taken
	if free <= 0 {
		return flow.PoolFull, nil
	}
	waiters, err := x.q.PoolWaiters(ctx, row.ID, free)
	if err != nil {
		return "", fmt.Errorf("read waiters: %w", err)
	}
	used, err := x.q.PoolUseByBackfill(ctx, row.ID)
	if err != nil {
		return "", fmt.Errorf("read what backfills hold: %w", err)
	}
	p := flow.Pool{
		Slots: int(row.Slots), Reserve: int(row.ReserveScheduled), Used: int(row.Taken), SinceFloor: time.Duration(row.SinceFloorMs) * time.Millisecond,
		Backfills: map[int64]flow.BackfillUse{},
	}
	for _, w := range waiters {
		if w.BackfillID != 0 {
			p.Backfills[w.BackfillID] = flow.BackfillUse{Share: int(w.Share)}
		}
	}
	for _, u := range used {
		if u.BackfillID != 0 {
			p.BackfillsUsed += int(u.Used)
			p.Backfills[u.BackfillID] = flow.BackfillUse{Used: int(u.Used), Share: p.Backfills[u.BackfillID].Share}
		}
	}
	queue, mine := make([]flow.PoolWaiter, 0, len(waiters)+1), -1
	for i, w := range waiters {
		queue = append(queue, flow.PoolWaiter{Slots: int(w.Slots), Backfill: w.BackfillID, Waited: time.Duration(w.WaitedMs) * time.Millisecond})
		if w.RunID == t.run.Run.ID && w.Number == t.number() {
			mine = i
		}
	}
	if mine < 0 && t.row != nil && t.row.WaiterRank != nil {
		return flow.PoolBehind, nil // more wait before it than there are free slots
	}
	if mine < 0 {
		mine = len(queue)
		queue = append(queue, flow.PoolWaiter{Slots: t.task.Pool.Slots, Backfill: value(t.run.Run.BackfillID)})
	}
	return flow.ReleaseFromPool(p, queue).Stay[mine], nil
}
