package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A reading collects what a batch of attempts reads, and reads it in one round
// trip: facts of runs that are not known yet, values of items, earlier tasks
// and their outputs. Most batches need nothing, or the facts alone.
type reading struct {
	w     *Worker
	revs  map[int64]*revision.Revision // by run
	facts map[int64]facts

	asked    map[taskKey]bool
	unknown  []int64 // runs
	items    pairs
	tasks    pairs
	outputs  db.LoadOutputsParams
	standing []int64
	secrets  map[secretKey]bool // that are named

	itemOf    map[itemKey]json.RawMessage
	earlier   map[taskKey]*attempt.Earlier
	size      map[taskKey]int // bytes of outputs collected
	standings map[int64]db.StandingsRow
	sealed    map[secretKey]db.NewestSecretsRow
}

type taskKey struct {
	run     int64
	ordinal int
}

type itemKey struct {
	run    int64
	number int32
}

// pairs are keys of rows of task.
type pairs struct {
	runs    []int64
	numbers []int32
}

func (p *pairs) add(run int64, number int) {
	p.runs = append(p.runs, run)
	p.numbers = append(p.numbers, int32(number))
}

func newReading(w *Worker) *reading {
	return &reading{
		w: w, revs: map[int64]*revision.Revision{}, facts: map[int64]facts{}, asked: map[taskKey]bool{},
		itemOf: map[itemKey]json.RawMessage{}, earlier: map[taskKey]*attempt.Earlier{}, size: map[taskKey]int{},
		standings: map[int64]db.StandingsRow{}, secrets: map[secretKey]bool{}, sealed: map[secretKey]db.NewestSecretsRow{},
	}
}

// need adds what one attempt reads.
func (r *reading) need(h *held, rev *revision.Revision) {
	run := h.live.RunID
	if _, ok := r.revs[run]; !ok {
		r.revs[run] = rev
		if f, ok := r.w.facts.Get(run); ok {
			r.facts[run] = f
		} else {
			r.unknown = append(r.unknown, run)
		}
	}
	if h.index >= 0 {
		r.items.add(run, int(h.live.Number))
	}
	for _, name := range h.plan.Secrets() {
		r.secrets[secretKey{rev.Graph.Pipeline().Namespace, name}] = true
	}
	reads := h.plan.Reads()
	if reads.Result && !slices.Contains(r.standing, run) {
		r.standing = append(r.standing, run)
	}
	for _, o := range reads.Tasks {
		key := taskKey{run, o}
		if r.asked[key] {
			continue
		}
		r.asked[key] = true
		r.tasks.add(run, flow.Number(o))
	}
	for _, o := range reads.Outputs {
		key := taskKey{run, o}
		if _, ok := r.size[key]; ok {
			continue
		}
		r.size[key] = 0
		first, last := flow.Number(o), flow.Number(o)
		if rev.Graph.Fan(o) {
			first, last = flow.ItemNumber(o, 0), flow.Number(o+1)-1
		}
		r.outputs.RunIds = append(r.outputs.RunIds, run)
		r.outputs.Numbers = append(r.outputs.Numbers, int32(first))
		r.outputs.Lasts = append(r.outputs.Lasts, int32(last))
	}
}

// read reads it all.
func (r *reading) read(ctx context.Context) error {
	var (
		facts     []db.AttemptFactsRow
		items     []db.ItemsOfRow
		tasks     []db.LoadTasksRow
		outputs   []db.LoadOutputsRow
		standings []db.StandingsRow
		asks      []func(*db.Queries) error
	)
	if len(r.unknown) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) { facts, err = q.AttemptFacts(ctx, r.unknown); return err })
	}
	if len(r.items.runs) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) {
			items, err = q.ItemsOf(ctx, r.items.runs, r.items.numbers)
			return err
		})
	}
	if len(r.tasks.runs) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) {
			tasks, err = q.LoadTasks(ctx, r.tasks.runs, r.tasks.numbers)
			return err
		})
	}
	if len(r.outputs.RunIds) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) { outputs, err = q.LoadOutputs(ctx, r.outputs); return err })
	}
	if len(r.standing) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) { standings, err = q.Standings(ctx, r.standing); return err })
	}
	asks = append(asks, r.askSecrets(ctx)...)
	if err := db.InOneTrip(ctx, r.w.cfg.Control, asks...); err != nil {
		return fmt.Errorf("read what tasks are given: %w", err)
	}
	r.w.reads.noted(r.sealed)
	for _, row := range facts {
		f, err := factsOf(row, r.revs[row.ID])
		if err != nil {
			return err
		}
		r.facts[row.ID] = f
		r.w.facts.Add(row.ID, f)
	}
	for _, row := range items {
		r.itemOf[itemKey{row.RunID, row.Number}] = row.Item
	}
	for _, row := range standings {
		r.standings[row.RunID] = row
	}
	r.takeTasks(tasks)
	return r.takeOutputs(outputs)
}

func (r *reading) takeTasks(rows []db.LoadTasksRow) {
	for _, row := range rows {
		ordinal, _ := flow.Split(int(row.Number))
		e := &attempt.Earlier{State: flow.State(row.State), Reason: row.Reason}
		if row.Items != nil {
			e.Fan = &flow.Fan{
				Items: int(*row.Items), Released: int(*row.Released), Unfinished: int(*row.Unfinished),
				OK: int(*row.Ok), Failed: int(*row.Failed), Canceled: int(*row.Canceled), Skipped: int(*row.Skipped),
			}
		}
		r.earlier[taskKey{row.RunID, ordinal}] = e
	}
}

// maxCollected is how much of outputs may be collected from one fan-out.
const maxCollected = 16 << 20

// takeOutputs gives earlier tasks their outputs: a fan-out has, for each
// declared one, a list with a place for every item that succeeded.
func (r *reading) takeOutputs(rows []db.LoadOutputsRow) error {
	for key := range r.size {
		e := r.earlier[key]
		if e == nil {
			continue // give tells
		}
		e.Outputs = map[string]any{}
		if g := r.revs[key.run].Graph; g.Fan(key.ordinal) {
			for _, o := range g.Task(key.ordinal).Outputs {
				e.Outputs[o.Name] = []any{}
			}
		}
	}
	for _, row := range rows {
		ordinal, index := flow.Split(int(row.Number))
		key := taskKey{row.RunID, ordinal}
		e := r.earlier[key]
		if e == nil {
			continue
		}
		if r.size[key] += len(row.Outputs); r.size[key] > maxCollected {
			e.TooLarge, e.Outputs = true, nil
			continue
		}
		values := map[string]any{}
		if len(row.Outputs) > 0 {
			v, err := expr.FromJSON(row.Outputs)
			if err != nil {
				return fmt.Errorf("read the outputs of run %d: %w", row.RunID, err)
			}
			values, _ = v.(map[string]any)
		}
		if index < 0 {
			e.Outputs = values
			continue
		}
		for name, list := range e.Outputs {
			e.Outputs[name] = append(list.([]any), values[name])
		}
	}
	return nil
}

// give puts together what one attempt is rendered from.
func (r *reading) give(h *held) error {
	run := h.live.RunID
	f, ok := r.facts[run]
	if !ok {
		return fmt.Errorf("run %d is not there", run)
	}
	c := attempt.Context{Run: f.run, Index: h.index, Attempt: h.attempt, Path: r.w.cfg.Path}
	if h.index >= 0 {
		if c.Item, ok = r.itemOf[itemKey{run, h.live.Number}]; !ok {
			return fmt.Errorf("item %d is not there", h.index)
		}
	}
	c.Key = attempt.IdempotencyKey(r.w.cfg.Installation.String(), f.run.Namespace+"/"+f.run.Pipeline, f.schedule, f.fireAt, run, h.task.Name, h.index, c.Item)
	reads := h.plan.Reads()
	for _, o := range reads.Tasks {
		e := r.earlier[taskKey{run, o}]
		if e == nil {
			return fmt.Errorf("task %d of run %d is not there", o, run)
		}
		if c.Tasks == nil {
			c.Tasks = map[int]attempt.Earlier{}
		}
		c.Tasks[o] = *e
	}
	if reads.Result {
		s, ok := r.standings[run]
		if !ok {
			return fmt.Errorf("run %d is not open", run)
		}
		standing := flow.Run{Reason: s.Reason, CancelRequested: s.CancelRequested}
		c.Result, c.Reason = standing.Standing()
	}
	h.given = c
	for _, name := range h.plan.Secrets() {
		if row, ok := r.sealed[secretKey{f.run.Namespace, name}]; ok {
			if h.sealed == nil {
				h.sealed = map[string]db.NewestSecretsRow{}
			}
			h.sealed[name] = row
		}
	}
	return nil
}
