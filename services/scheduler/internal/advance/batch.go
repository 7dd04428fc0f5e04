package advance

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// spread is what each further ready task of one pipeline gets on top of its
// rank within a batch, in milliseconds: small pipelines sort before a flood,
// and the flood still ages.
const spread = 5

// none stands for an absent number in parameters that are lists.
const none = -1

// keys are keys of tasks, as parameters of a query.
type keys struct {
	runs    []int64
	numbers []int32
}

func (k *keys) add(run int64, number int) {
	k.runs = append(k.runs, run)
	k.numbers = append(k.numbers, int32(number))
}

func (k *keys) sort() {
	sort.Sort((*byKey)(k))
}

// byKey sorts keys.
type byKey keys

func (k *byKey) Len() int { return len(k.runs) }

func (k *byKey) Less(i, j int) bool {
	return k.runs[i] < k.runs[j] || k.runs[i] == k.runs[j] && k.numbers[i] < k.numbers[j]
}

func (k *byKey) Swap(i, j int) {
	k.runs[i], k.runs[j] = k.runs[j], k.runs[i]
	k.numbers[i], k.numbers[j] = k.numbers[j], k.numbers[i]
}

// A batch collects what the decisions about many runs write, so that a
// transaction needs few statements whatever the number of runs.
type batch struct {
	births  db.InsertTasksParams
	items   db.InsertItemsParams
	born    db.InsertReadyParams
	changes db.WriteTasksParams
	again   db.ReleaseTasksParams
	waiters db.InsertWaitersParams
	held    keys
	skipped db.SkipItemsParams
	events  db.InsertTaskEventsParams
	runs    db.WriteOpenRunsParams
	ends    db.FinishRunsParams
	waits   awaited

	ready map[int64]int64 // pipeline → how many of its tasks became ready in this batch
}

func newBatch() *batch { return &batch{ready: map[int64]int64{}} }

// add takes over the decision about one run.
func (b *batch) add(s *subject) error {
	released := make(map[int]bool, len(s.decision.Release))
	for _, number := range s.decision.Release {
		released[number] = true
	}
	for _, c := range s.decision.Changes {
		b.change(s, c, released)
		if slices.Contains(s.decision.SkipItems, c.Ordinal) {
			p := &b.skipped
			p.Pipelines = append(p.Pipelines, s.pipelineID)
			p.RunIds = append(p.RunIds, s.in.Run.ID)
			p.Firsts = append(p.Firsts, int32(flow.ItemNumber(c.Ordinal, 0)))
			p.Lasts = append(p.Lasts, int32(flow.Number(c.Ordinal+1)-1))
			p.Reasons = append(p.Reasons, c.Reason)
		}
	}
	for _, e := range s.decision.Expand {
		if err := b.expand(s, e, released); err != nil {
			return err
		}
	}
	for _, number := range s.decision.Release {
		if released[number] { // not born ready
			b.release(s, number)
		}
	}
	for _, number := range s.decision.Hold {
		b.held.add(s.in.Run.ID, number)
	}
	if err := b.waits.add(s); err != nil {
		return err
	}
	for _, e := range s.decision.Settle {
		if e.State.Ended() {
			b.event(s, e.Number, flow.Waiting, e.State, e.Reason)
		}
	}
	if s.decision.Finish != nil {
		return b.finish(s.in.Run.ID, *s.decision.Finish)
	}
	b.run(s)
	return nil
}

// change stores a task's own row. One that is released for the first time gets
// its ready row with it, unless its pool holds it back, or it may have had
// attempts before the run was opened again.
func (b *batch) change(s *subject, c flow.Change, released map[int]bool) {
	number := flow.Number(c.Ordinal)
	state := c.State
	fan := flow.Fan{Items: none, Released: none, Unfinished: none, OK: none, Failed: none, Canceled: none, Skipped: none}
	if c.Fan != nil {
		fan = *c.Fan
	}
	if c.Released && !s.in.Run.Reopened && b.ready1(s, number) {
		state = flow.Ready
		delete(released, number)
	}
	if c.From == "" {
		p := &b.births
		p.RunIds = append(p.RunIds, s.in.Run.ID)
		p.Numbers = append(p.Numbers, int32(number))
		p.Names = append(p.Names, s.rev.Graph.Task(c.Ordinal).Name)
		p.States = append(p.States, string(state))
		p.Reasons = append(p.Reasons, c.Reason)
		p.Details = append(p.Details, c.Detail)
		p.NeedsLefts = append(p.NeedsLefts, int16(c.NeedsLeft))
		p.Trails = append(p.Trails, int16(c.Trail))
		p.Dues = append(p.Dues, c.NeedsLeft == 0)
		p.Items = append(p.Items, int32(fan.Items))
		p.Releaseds = append(p.Releaseds, int32(fan.Released))
		p.Unfinisheds = append(p.Unfinisheds, int32(fan.Unfinished))
		p.Oks = append(p.Oks, int32(fan.OK))
		p.Faileds = append(p.Faileds, int32(fan.Failed))
		p.Canceleds = append(p.Canceleds, int32(fan.Canceled))
		p.Skippeds = append(p.Skippeds, int32(fan.Skipped))
	} else {
		p := &b.changes
		p.RunIds = append(p.RunIds, s.in.Run.ID)
		p.Numbers = append(p.Numbers, int32(number))
		p.States = append(p.States, string(state))
		p.Reasons = append(p.Reasons, c.Reason)
		p.Details = append(p.Details, c.Detail)
		p.NeedsLefts = append(p.NeedsLefts, int16(c.NeedsLeft))
		p.Trails = append(p.Trails, int16(c.Trail))
		p.Items = append(p.Items, int32(fan.Items))
		p.Releaseds = append(p.Releaseds, int32(fan.Released))
		p.Unfinisheds = append(p.Unfinisheds, int32(fan.Unfinished))
		p.Oks = append(p.Oks, int32(fan.OK))
		p.Faileds = append(p.Faileds, int32(fan.Failed))
		p.Canceleds = append(p.Canceleds, int32(fan.Canceled))
		p.Skippeds = append(p.Skippeds, int32(fan.Skipped))
	}
	if c.State.Ended() && c.From != c.State {
		from := c.From
		if from == "" {
			from = flow.Waiting
		}
		b.event(s, number, from, c.State, c.Reason)
	}
}

// event tells of the end of a task or an item.
func (b *batch) event(s *subject, number int, from, to flow.State, reason string) {
	p := &b.events
	p.Pipelines = append(p.Pipelines, s.pipelineID)
	p.RunIds = append(p.RunIds, s.in.Run.ID)
	p.Numbers = append(p.Numbers, int32(number))
	p.Froms = append(p.Froms, string(from))
	p.States = append(p.States, string(to))
	p.Reasons = append(p.Reasons, reason)
	p.Causes = append(p.Causes, "final")
}

// expand makes the items of a fan-out; those released at once are born ready.
func (b *batch) expand(s *subject, e flow.Expansion, released map[int]bool) error {
	name := s.rev.Graph.Task(e.Ordinal).Name
	for i, item := range e.Items {
		text, err := expr.ToJSON(item)
		if err != nil {
			return fmt.Errorf("store item %d of %s: %w", i, name, err)
		}
		number := flow.ItemNumber(e.Ordinal, i)
		state := flow.Waiting
		if released[number] && b.ready1(s, number) {
			state = flow.Ready
			delete(released, number)
		}
		p := &b.items
		p.RunIds = append(p.RunIds, s.in.Run.ID)
		p.Numbers = append(p.Numbers, int32(number))
		p.Names = append(p.Names, name)
		p.Items = append(p.Items, string(text))
		p.States = append(p.States, string(state))
	}
	return nil
}

// ready1 writes the ready row of a task that is released for the first time. It
// says no if a pool holds the task back.
func (b *batch) ready1(s *subject, number int) bool {
	ordinal, _ := flow.Split(number)
	if pool, _ := s.rev.Pool(ordinal); pool != 0 {
		return false
	}
	p := &b.born
	p.RunIds = append(p.RunIds, s.in.Run.ID)
	p.Numbers = append(p.Numbers, int32(number))
	p.Lanes = append(p.Lanes, s.rev.Lane(ordinal))
	p.Ranks = append(p.Ranks, b.rank(s, ordinal))
	p.Pipelines = append(p.Pipelines, s.pipelineID)
	p.Revisions = append(p.Revisions, s.rev.ID)
	p.QueueTimeouts = append(p.QueueTimeouts, s.queueTimeout(ordinal))
	return true
}

// release queues a waiting task: at its pool if it has one, else for an executor.
func (b *batch) release(s *subject, number int) {
	ordinal, _ := flow.Split(number)
	if pool, slots := s.rev.Pool(ordinal); pool != 0 {
		p := &b.waiters
		p.RunIds = append(p.RunIds, s.in.Run.ID)
		p.Numbers = append(p.Numbers, int32(number))
		p.Lanes = append(p.Lanes, s.rev.Lane(ordinal))
		p.Ranks = append(p.Ranks, b.rank(s, ordinal))
		p.Pipelines = append(p.Pipelines, s.pipelineID)
		p.Revisions = append(p.Revisions, s.rev.ID)
		p.QueueTimeouts = append(p.QueueTimeouts, s.queueTimeout(ordinal))
		p.Pools = append(p.Pools, pool)
		p.Slots = append(p.Slots, slots)
		return
	}
	p := &b.again
	p.RunIds = append(p.RunIds, s.in.Run.ID)
	p.Numbers = append(p.Numbers, int32(number))
	p.Lanes = append(p.Lanes, s.rev.Lane(ordinal))
	p.Ranks = append(p.Ranks, b.rank(s, ordinal))
	p.Pipelines = append(p.Pipelines, s.pipelineID)
	p.Revisions = append(p.Revisions, s.rev.ID)
	p.QueueTimeouts = append(p.QueueTimeouts, s.queueTimeout(ordinal))
}

// rank is what is added to the present time in milliseconds: a minute less for
// each priority, so that waiting a minute is worth one; and a little more for
// each task of the same pipeline before it. Backfills come behind what becomes
// ready within their patience.
func (b *batch) rank(s *subject, ordinal int) int64 {
	k := b.ready[s.pipelineID]
	b.ready[s.pipelineID] = k + 1
	rank := k*spread - int64(s.rev.Graph.Task(ordinal).Priority)*60_000
	if s.in.Run.Backfill != 0 {
		rank += flow.BackfillPatience.Milliseconds()
	}
	return rank
}

func (b *batch) run(s *subject) {
	r := s.decision.Run
	p := &b.runs
	p.RunIds = append(p.RunIds, r.ID)
	p.Phases = append(p.Phases, string(r.Phase))
	p.Unfinisheds = append(p.Unfinisheds, int32(r.Unfinished))
	p.Faileds = append(p.Faileds, int32(r.Failed))
	p.Canceleds = append(p.Canceleds, int32(r.Canceled))
	p.Skippeds = append(p.Skippeds, int32(r.Skipped))
	p.Rows = append(p.Rows, int32(r.Rows))
	p.Reasons = append(p.Reasons, r.Reason)
	var timeout int64
	if s.start {
		timeout = s.rev.Graph.Pipeline().Timeout.Std().Milliseconds()
	}
	p.Timeouts = append(p.Timeouts, timeout)
}

func (b *batch) finish(runID int64, f flow.Finish) error {
	outputs := []byte("{}")
	if len(f.Outputs) > 0 {
		var err error
		if outputs, err = expr.ToJSON(f.Outputs); err != nil {
			return fmt.Errorf("store outputs of run %d: %w", runID, err)
		}
	}
	p := &b.ends
	p.RunIds = append(p.RunIds, runID)
	p.States = append(p.States, string(f.State))
	p.Reasons = append(p.Reasons, f.Reason)
	p.Outputs = append(p.Outputs, string(outputs))
	return nil
}

// write stores the batch and says what became of it.
func (b *batch) write(ctx context.Context, q *db.Queries) (Outcome, error) {
	var out Outcome
	steps := []struct {
		what string
		n    int
		do   func() error
	}{
		{"insert tasks", len(b.births.RunIds), func() error { return q.InsertTasks(ctx, b.births) }},
		{"insert items", len(b.items.RunIds), func() error { return q.InsertItems(ctx, b.items) }},
		{"insert ready tasks", len(b.born.RunIds), func() error { return q.InsertReady(ctx, b.born) }},
		{"write tasks", len(b.changes.RunIds), func() error {
			n, err := q.WriteTasks(ctx, b.changes)
			if err == nil && n != int64(len(b.changes.RunIds)) {
				// The runs are locked and every row was read under that lock: only
				// somebody who writes without it can have come between.
				return fmt.Errorf("%d of %d rows were not in the state they were decided in", int64(len(b.changes.RunIds))-n, len(b.changes.RunIds))
			}
			return err
		}},
		{"skip items", len(b.skipped.RunIds), func() error { return q.SkipItems(ctx, b.skipped) }},
		{"write tasks that wait", b.waits.size(), func() error { return b.waits.write(ctx, q, &out) }},
		{"hold tasks", len(b.held.runs), func() error { return q.HoldTasks(ctx, b.held.runs, b.held.numbers) }},
		{"release tasks", len(b.again.RunIds), func() error {
			_, err := q.ReleaseTasks(ctx, b.again)
			return err
		}},
		{"queue tasks at pools", len(b.waiters.RunIds), func() error {
			out.Woken = true
			return q.InsertWaiters(ctx, b.waiters)
		}},
		{"tell of tasks", len(b.events.RunIds), func() error { return q.InsertTaskEvents(ctx, b.events) }},
		{"write open runs", len(b.runs.RunIds), func() error { return q.WriteOpenRuns(ctx, b.runs) }},
		{"finish runs", len(b.ends.RunIds), func() error { return b.finishRuns(ctx, q, &out) }},
	}
	for _, s := range steps {
		if s.n == 0 {
			continue
		}
		if err := s.do(); err != nil {
			return out, fmt.Errorf("%s: %w", s.what, err)
		}
	}
	out.Released += len(b.born.RunIds) + len(b.again.RunIds)
	return out, nil
}
