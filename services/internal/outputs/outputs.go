// Package outputs reads what the tasks of runs have written, for decisions.
package outputs

import (
	"context"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// pageRows is how many rows are read at once: of items that have all written as
// much as they may, some 30 MiB.
const pageRows = 500

// Wanted are tasks of one run, by ordinal.
type Wanted struct {
	RunID    int64
	Graph    *flow.Graph
	Ordinals []int
}

// Found is what they have written, as flow.Input has it: of a fan-out, lists with
// a place for every item that succeeded.
type Found struct {
	Outputs  map[int]map[string]any
	TooLarge map[int]bool
}

// Load reads the outputs of tasks of many runs, each run named once. Of a fan-out
// that has written more than may be collected it reads little more than that.
func Load(ctx context.Context, q *db.Queries, wanted []Wanted) (map[int64]Found, error) {
	var p db.LoadOutputsParams
	found := make(map[int64]Found, len(wanted))
	for _, w := range wanted {
		if len(w.Ordinals) == 0 {
			continue
		}
		f := Found{Outputs: map[int]map[string]any{}, TooLarge: map[int]bool{}}
		for _, ordinal := range w.Ordinals {
			first, last := flow.Number(ordinal), flow.Number(ordinal)
			if w.Graph.Fan(ordinal) {
				first, last = flow.ItemNumber(ordinal, 0), flow.Number(ordinal+1)-1
			}
			p.RunIds = append(p.RunIds, w.RunID)
			p.Numbers = append(p.Numbers, int32(first))
			p.Lasts = append(p.Lasts, int32(last))
			f.Outputs[ordinal] = empty(w.Graph, ordinal)
		}
		found[w.RunID] = f
	}
	if len(p.RunIds) == 0 {
		return found, nil
	}
	p.Page = pageRows
	size := map[int64]map[int]int{} // bytes collected, by run and ordinal
	for len(p.RunIds) > 0 {
		rows, err := q.LoadOutputs(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("read outputs: %w", err)
		}
		if err := collect(found, size, rows); err != nil {
			return nil, err
		}
		if len(rows) < pageRows {
			break
		}
		p = behind(p, rows[len(rows)-1], found)
	}
	return found, nil
}

// behind is what is left to be read after a row.
func behind(p db.LoadOutputsParams, last db.LoadOutputsRow, found map[int64]Found) db.LoadOutputsParams {
	left := db.LoadOutputsParams{Page: p.Page}
	for i, run := range p.RunIds {
		ordinal, _ := flow.Split(int(p.Lasts[i]))
		if run < last.RunID || run == last.RunID && p.Lasts[i] <= last.Number || found[run].TooLarge[ordinal] {
			continue
		}
		first := p.Numbers[i]
		if run == last.RunID {
			first = max(first, last.Number+1)
		}
		left.RunIds, left.Numbers, left.Lasts = append(left.RunIds, run), append(left.Numbers, first), append(left.Lasts, p.Lasts[i])
	}
	return left
}

// collect adds rows to what was found.
func collect(found map[int64]Found, size map[int64]map[int]int, rows []db.LoadOutputsRow) error {
	for _, row := range rows {
		f := found[row.RunID]
		ordinal, index := flow.Split(int(row.Number))
		if size[row.RunID] == nil {
			size[row.RunID] = map[int]int{}
		}
		if size[row.RunID][ordinal] += len(row.Outputs); size[row.RunID][ordinal] > flow.MaxCollected {
			f.TooLarge[ordinal] = true
			continue
		}
		values := map[string]any{}
		if row.Outputs != nil {
			v, err := expr.FromJSON(row.Outputs)
			if err != nil {
				return fmt.Errorf("read outputs of run %d: %w", row.RunID, err)
			}
			values, _ = v.(map[string]any)
		}
		if index < 0 {
			f.Outputs[ordinal] = values
			continue
		}
		lists := f.Outputs[ordinal]
		for name, list := range lists {
			lists[name] = append(list.([]any), values[name])
		}
	}
	return nil
}

// empty is what is known before any row is read: of a fan-out, an empty list for
// each declared output.
func empty(g *flow.Graph, ordinal int) map[string]any {
	none := map[string]any{}
	if g.Fan(ordinal) {
		for _, o := range g.Task(ordinal).Outputs {
			none[o.Name] = []any{}
		}
	}
	return none
}
