package flow

import (
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// TaskContext is a task as expressions of later tasks read it.
type TaskContext struct {
	Task   *pipeline.Task
	Fan    bool // a fan-out
	State  State
	Reason string
	Counts *Fan // of a fan-out, once it has items
	// Outputs are those that were written; of a fan-out lists.
	Outputs map[string]any
	// TooLarge says that the outputs of a fan-out are more than may be read.
	TooLarge bool
}

// Value is what ${{ needs.T }} gives.
func (t TaskContext) Value() map[string]any {
	m := map[string]any{"result": string(t.State), "reason": t.Reason, "outputs": t.outputs()}
	if t.Fan {
		c := t.Counts
		if c == nil {
			c = &Fan{}
		}
		m["counts"] = map[string]any{
			"succeeded": int64(c.OK), "failed": int64(c.Failed), "canceled": int64(c.Canceled), "skipped": int64(c.Skipped),
		}
	}
	return m
}

func (t TaskContext) outputs() any {
	switch {
	case t.TooLarge:
		return expr.Lazy(func() (any, error) { return nil, errOutputsTooLarge })
	case t.Fan && (t.State == Skipped || t.State == Succeeded):
		m := make(map[string]any, len(t.Task.Outputs))
		for _, o := range t.Task.Outputs {
			list, ok := t.Outputs[o.Name]
			if !ok || t.State == Skipped {
				list = []any{}
			}
			m[o.Name] = list
		}
		return m
	case t.State != Succeeded:
		return expr.Unreadable{
			Why:  t.Task.Name + " " + wasWord(t.State),
			Hint: `needs.` + t.Task.Name + `.result == "succeeded" && …`,
		}
	}
	m := make(map[string]any, len(t.Task.Outputs))
	for _, o := range t.Task.Outputs {
		if v, ok := t.Outputs[o.Name]; ok && v != nil {
			m[o.Name] = v
		}
	}
	return m
}

func wasWord(s State) string {
	if s == Failed {
		return "failed"
	}
	return "was " + string(s)
}
