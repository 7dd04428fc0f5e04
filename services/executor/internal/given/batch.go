package given

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A Batch collects what several tasks read, and reads it together: facts of runs
// that are not known yet, values of items, earlier tasks and their outputs. Most
// batches need nothing, or the facts alone.
type Batch struct {
	r     *Reader
	revs  map[int64]*revision.Revision // by run
	facts map[int64]facts

	asked    map[taskKey]bool
	unknown  []int64 // runs
	items    pairs
	tasks    pairs
	outputs  db.LoadOutputsParams
	standing []int64

	itemOf    map[itemKey]json.RawMessage
	earlier   map[taskKey]*attempt.Earlier
	size      map[taskKey]int // bytes of outputs collected
	standings map[int64]db.StandingsRow

	// What the queries gave.
	factRows   []db.AttemptFactsRow
	itemRows   []db.ItemsOfRow
	taskRows   []db.LoadTasksRow
	outputRows []db.LoadOutputsRow
	standRows  []db.StandingsRow
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

// Batch begins a batch.
func (r *Reader) Batch() *Batch {
	return &Batch{
		r: r, revs: map[int64]*revision.Revision{}, facts: map[int64]facts{}, asked: map[taskKey]bool{},
		itemOf: map[itemKey]json.RawMessage{}, earlier: map[taskKey]*attempt.Earlier{}, size: map[taskKey]int{},
		standings: map[int64]db.StandingsRow{}, outputs: db.LoadOutputsParams{Page: math.MaxInt32},
	}
}

// Need adds what one task or item reads.
func (b *Batch) Need(w Want) {
	if _, ok := b.revs[w.Run]; !ok {
		b.revs[w.Run] = w.Revision
		if f, ok := b.r.facts.Get(w.Run); ok {
			b.facts[w.Run] = f
		} else {
			b.unknown = append(b.unknown, w.Run)
		}
	}
	if _, index := flow.Split(int(w.Number)); index >= 0 {
		b.items.add(w.Run, int(w.Number))
	}
	if w.Reads.Result && !slices.Contains(b.standing, w.Run) {
		b.standing = append(b.standing, w.Run)
	}
	for _, o := range w.Reads.Tasks {
		key := taskKey{w.Run, o}
		if b.asked[key] {
			continue
		}
		b.asked[key] = true
		b.tasks.add(w.Run, flow.Number(o))
	}
	for _, o := range w.Reads.Outputs {
		key := taskKey{w.Run, o}
		if _, ok := b.size[key]; ok {
			continue
		}
		b.size[key] = 0
		first, last := flow.Number(o), flow.Number(o)
		if w.Revision.Graph.Fan(o) {
			first, last = flow.ItemNumber(o, 0), flow.Number(o+1)-1
		}
		b.outputs.RunIds = append(b.outputs.RunIds, w.Run)
		b.outputs.Numbers = append(b.outputs.Numbers, int32(first))
		b.outputs.Lasts = append(b.outputs.Lasts, int32(last))
	}
}

// Asks are the queries that read it all, for db.InOneTrip.
func (b *Batch) Asks(ctx context.Context) []func(*db.Queries) error {
	var asks []func(*db.Queries) error
	if len(b.unknown) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) { b.factRows, err = q.AttemptFacts(ctx, b.unknown); return err })
	}
	if len(b.items.runs) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) {
			b.itemRows, err = q.ItemsOf(ctx, b.items.runs, b.items.numbers)
			return err
		})
	}
	if len(b.tasks.runs) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) {
			b.taskRows, err = q.LoadTasks(ctx, b.tasks.runs, b.tasks.numbers)
			return err
		})
	}
	if len(b.outputs.RunIds) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) { b.outputRows, err = q.LoadOutputs(ctx, b.outputs); return err })
	}
	if len(b.standing) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) { b.standRows, err = q.Standings(ctx, b.standing); return err })
	}
	return asks
}

// Take takes over what the queries gave.
func (b *Batch) Take() error {
	for _, row := range b.factRows {
		f, err := factsOf(row, b.revs[row.ID])
		if err != nil {
			return err
		}
		b.facts[row.ID] = f
		b.r.facts.Add(row.ID, f)
	}
	for _, row := range b.itemRows {
		b.itemOf[itemKey{row.RunID, row.Number}] = row.Item
	}
	for _, row := range b.standRows {
		b.standings[row.RunID] = row
	}
	b.takeTasks(b.taskRows)
	return b.takeOutputs(b.outputRows)
}

func (b *Batch) takeTasks(rows []db.LoadTasksRow) {
	for _, row := range rows {
		ordinal, _ := flow.Split(int(row.Number))
		e := &attempt.Earlier{State: flow.State(row.State), Reason: row.Reason}
		if row.Items != nil {
			e.Fan = &flow.Fan{
				Items: int(*row.Items), Released: int(*row.Released), Unfinished: int(*row.Unfinished),
				OK: int(*row.Ok), Failed: int(*row.Failed), Canceled: int(*row.Canceled), Skipped: int(*row.Skipped),
			}
		}
		b.earlier[taskKey{row.RunID, ordinal}] = e
	}
}

// takeOutputs gives earlier tasks their outputs: a fan-out has, for each
// declared one, a list with a place for every item that succeeded.
func (b *Batch) takeOutputs(rows []db.LoadOutputsRow) error {
	for key := range b.size {
		e := b.earlier[key]
		if e == nil {
			continue // give tells
		}
		e.Outputs = map[string]any{}
		if g := b.revs[key.run].Graph; g.Fan(key.ordinal) {
			for _, o := range g.Task(key.ordinal).Outputs {
				e.Outputs[o.Name] = []any{}
			}
		}
	}
	for _, row := range rows {
		ordinal, index := flow.Split(int(row.Number))
		key := taskKey{row.RunID, ordinal}
		e := b.earlier[key]
		if e == nil {
			continue
		}
		if b.size[key] += len(row.Outputs); b.size[key] > flow.MaxCollected {
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

// Give puts together what one of them is rendered from.
func (b *Batch) Give(w Want) (attempt.Context, error) {
	var c attempt.Context
	f, ok := b.facts[w.Run]
	if !ok {
		return c, fmt.Errorf("run %d is not there", w.Run)
	}
	ordinal, index := flow.Split(int(w.Number))
	c.Run, c.Index = f.run, index
	if index >= 0 {
		if c.Item, ok = b.itemOf[itemKey{w.Run, w.Number}]; !ok {
			return c, fmt.Errorf("item %d is not there", index)
		}
	}
	c.Key = attempt.IdempotencyKey(b.r.installation, f.run.Namespace+"/"+f.run.Pipeline, f.schedule, f.fireAt, w.Run, w.Revision.Graph.Task(ordinal).Name, index, c.Item)
	for _, o := range w.Reads.Tasks {
		e := b.earlier[taskKey{w.Run, o}]
		if e == nil {
			return c, fmt.Errorf("task %d of run %d is not there", o, w.Run)
		}
		if c.Tasks == nil {
			c.Tasks = map[int]attempt.Earlier{}
		}
		c.Tasks[o] = *e
	}
	if w.Reads.Result {
		s, ok := b.standings[w.Run]
		if !ok {
			return c, fmt.Errorf("run %d is not open", w.Run)
		}
		standing := flow.Run{Reason: s.Reason, CancelRequested: s.CancelRequested}
		c.Result, c.Reason = standing.Standing()
	}
	return c, nil
}
