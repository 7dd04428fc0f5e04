package advance

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/outputs"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A subject is one run of a batch on its way to a decision.
type subject struct {
	rev        *revision.Revision
	pipelineID int64
	start      bool // the run has just been admitted: its tasks are to be born
	in         flow.Input
	decision   flow.Decision
	missing    flow.Missing
}

// A Born run has been admitted in this transaction and has no tasks yet.
type Born struct {
	PipelineID int64
	Revision   *revision.Revision
	Run        flow.Run
}

// Start makes the tasks of runs that the caller has admitted in the same
// transaction, and releases those that wait for nothing.
func (a *Advancer) Start(ctx context.Context, q *db.Queries, runs []Born) (Outcome, error) {
	subjects := make([]*subject, len(runs))
	for i, r := range runs {
		r.Run.Revision = r.Revision.Number
		r.Run.Phase = flow.PhaseTasks
		subjects[i] = &subject{rev: r.Revision, pipelineID: r.PipelineID, start: true, in: flow.Input{Run: r.Run}}
	}
	return a.Decide(ctx, q, subjects)
}

// Decide lets flow decide about each subject, loading for all of them together
// what they lack, writes the decisions, and does in bulk what they ask for,
// until nothing follows any more.
func (a *Advancer) Decide(ctx context.Context, q *db.Queries, subjects []*subject) (Outcome, error) {
	var out Outcome
	// What cannot begin ends at once, and what comes after it may be of the same
	// kind: at the worst each round is about one task.
	rounds := 10
	for _, s := range subjects {
		tasks, finally := s.rev.Graph.Size()
		rounds = max(rounds, 2*(tasks+finally)+10)
	}
	for range rounds {
		if len(subjects) == 0 {
			return out, nil
		}
		if err := a.settle(ctx, q, subjects); err != nil {
			return out, err
		}
		b := newBatch()
		for _, s := range subjects {
			if err := b.add(s); err != nil {
				return out, err
			}
		}
		done, err := b.write(ctx, q)
		out.Add(done)
		if err != nil {
			return out, err
		}
		var again []*subject
		for _, s := range subjects {
			ends := settled(s.decision)
			if len(s.decision.CancelItems) > 0 || s.decision.CancelPhase != nil {
				gone, did, err := cancel(ctx, q, s)
				if err != nil {
					return out, err
				}
				out.Add(did)
				ends = append(ends, gone...)
			}
			if len(ends) > 0 {
				again = append(again, &subject{rev: s.rev, pipelineID: s.pipelineID, in: flow.Input{Run: s.decision.Run, Ends: ends}})
			}
		}
		subjects = again
	}
	return out, errUndecided
}

// settle brings every subject to its decision. Each round loads something that
// was not there before, or fails, so there are no more than there are rows; flow
// asks ahead, so there are few.
func (a *Advancer) settle(ctx context.Context, q *db.Queries, subjects []*subject) error {
	if err := loadActive(ctx, q, subjects); err != nil {
		return err
	}
	if err := loadClock(ctx, q, subjects); err != nil {
		return err
	}
	open := subjects
	for {
		var ask []*subject
		for _, s := range open {
			if s.start {
				s.decision, s.missing = s.rev.Graph.Start(s.in)
			} else {
				s.decision, s.missing = s.rev.Graph.Advance(s.in)
			}
			if !s.missing.None() {
				ask = append(ask, s)
			}
		}
		if len(ask) == 0 {
			return nil
		}
		if err := loadTasks(ctx, q, ask); err != nil {
			return err
		}
		if err := loadOutputs(ctx, q, ask); err != nil {
			return err
		}
		if err := loadAwaited(ctx, q, ask); err != nil {
			return err
		}
		open = ask
	}
}

// A Fact is what of a run never changes.
type Fact struct {
	run      flow.Run
	schedule string // whose tick it is
}

// Run is the run as decisions see it, by its definition.
func (f Fact) Run(rev *revision.Revision) flow.Run {
	run := f.run
	run.Revision = rev.Number
	for _, s := range rev.Graph.Pipeline().Schedules {
		if f.schedule != "" && s.ID == f.schedule {
			run.Zone = s.Timezone
		}
	}
	return run
}

// Facts reads what expressions may know of runs, unless it is known already.
func (a *Advancer) Facts(ctx context.Context, q *db.Queries, ids []int64) (map[int64]Fact, error) {
	known := make(map[int64]Fact, len(ids))
	var ask []int64
	for _, id := range ids {
		if run, ok := a.facts.Get(id); ok {
			known[id] = run
		} else {
			ask = append(ask, id)
		}
	}
	if len(ask) == 0 {
		return known, nil
	}
	rows, err := q.RunFacts(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	for _, row := range rows {
		run, err := facts(row)
		if err != nil {
			return nil, err
		}
		fact := Fact{run, row.Schedule}
		a.facts.Add(row.ID, fact)
		known[row.ID] = fact
	}
	return known, nil
}

// facts turns a row into what flow knows of a run.
func facts(row db.RunFactsRow) (flow.Run, error) {
	run := flow.Run{
		ID: row.ID, Number: row.Number, Namespace: row.Namespace, Pipeline: row.Pipeline, Trigger: row.Trigger,
		ScheduledAt: row.ScheduledAt, CreatedAt: row.CreatedAt, IntervalStart: row.IntervalStart, IntervalEnd: row.IntervalEnd,
	}
	if row.BackfillID != nil {
		run.Backfill = *row.BackfillID
	}
	params, err := expr.FromJSON(row.Params)
	if err != nil {
		return run, fmt.Errorf("read params of run %d: %w", row.ID, err)
	}
	run.Params, _ = params.(map[string]any)
	if err := json.Unmarshal(row.Vars, &run.Vars); err != nil {
		return run, fmt.Errorf("read vars of run %d: %w", row.ID, err)
	}
	return run, nil
}

// loadActive counts what is under way in runs with a max_parallel of their own.
func loadActive(ctx context.Context, q *db.Queries, subjects []*subject) error {
	var ids []int64
	for _, s := range subjects {
		if s.rev.Graph.NeedsActive() && !s.start {
			ids = append(ids, s.in.Run.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := q.ActiveCounts(ctx, ids)
	if err != nil {
		return fmt.Errorf("count active tasks: %w", err)
	}
	active := make(map[int64]int, len(rows))
	for _, row := range rows {
		active[row.RunID] = int(row.Active)
	}
	for _, s := range subjects {
		if !s.rev.Graph.NeedsActive() || s.start {
			continue
		}
		s.in.Run.Active = active[s.in.Run.ID]
		held, err := q.HeldTasks(ctx, s.in.Run.ID, int32(s.rev.Graph.MaxParallel()))
		if err != nil {
			return fmt.Errorf("look for held tasks: %w", err)
		}
		s.in.Held = nil
		for _, number := range held {
			s.in.Held = append(s.in.Held, int(number))
		}
	}
	return nil
}

func loadTasks(ctx context.Context, q *db.Queries, subjects []*subject) error {
	var k keys
	byRun := make(map[int64]*subject, len(subjects))
	for _, s := range subjects {
		byRun[s.in.Run.ID] = s
		for _, ordinal := range s.missing.Tasks {
			k.add(s.in.Run.ID, flow.Number(ordinal))
		}
	}
	if len(k.runs) == 0 {
		return nil
	}
	rows, err := q.LoadTasks(ctx, k.runs, k.numbers)
	if err != nil {
		return fmt.Errorf("read tasks: %w", err)
	}
	if len(rows) != len(k.runs) {
		return fmt.Errorf("read tasks: %d of %d rows are not there", len(k.runs)-len(rows), len(k.runs))
	}
	for _, row := range rows {
		ordinal, _ := flow.Split(int(row.Number))
		t := flow.Task{
			Ordinal: ordinal, State: flow.State(row.State), Reason: row.Reason, Detail: row.Detail,
			NeedsLeft: int(row.NeedsLeft), Trail: flow.Trail(row.Trail), Again: indexes(row.Again),
		}
		if row.Items != nil {
			t.Fan = &flow.Fan{
				Items: int(*row.Items), Released: int(*row.Released), Unfinished: int(*row.Unfinished),
				OK: int(*row.Ok), Failed: int(*row.Failed), Canceled: int(*row.Canceled), Skipped: int(*row.Skipped),
			}
		}
		s := byRun[row.RunID]
		if s.in.Tasks == nil {
			s.in.Tasks = map[int]flow.Task{}
		}
		s.in.Tasks[ordinal] = t
	}
	return nil
}

// indexes are those of items.
func indexes(list []int16) []int {
	if list == nil {
		return nil
	}
	out := make([]int, len(list))
	for i, index := range list {
		out[i] = int(index)
	}
	return out
}

// loadOutputs reads the outputs that decisions ask for.
func loadOutputs(ctx context.Context, q *db.Queries, subjects []*subject) error {
	wanted := make([]outputs.Wanted, len(subjects))
	for i, s := range subjects {
		wanted[i] = outputs.Wanted{RunID: s.in.Run.ID, Graph: s.rev.Graph, Ordinals: s.missing.Outputs}
	}
	found, err := outputs.Load(ctx, q, wanted)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		if s.in.Outputs == nil {
			s.in.Outputs, s.in.TooLarge = map[int]map[string]any{}, map[int]bool{}
		}
		maps.Copy(s.in.Outputs, found[s.in.Run.ID].Outputs)
		maps.Copy(s.in.TooLarge, found[s.in.Run.ID].TooLarge)
	}
	return nil
}

func (s *subject) queueTimeout(ordinal int) int64 {
	return s.rev.Graph.Task(ordinal).QueueTimeout.Std().Milliseconds()
}
