package local

import (
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
)

// name is how people call a task or an item.
func (r *runner) name(n int) string {
	o, index := flow.Split(n)
	if index < 0 {
		return r.g.Task(o).Name
	}
	return fmt.Sprintf("%s[%d]", r.g.Task(o).Name, index)
}

func (r *runner) tell(e Event) {
	if r.o.Events == nil {
		return
	}
	r.told.Lock()
	defer r.told.Unlock()
	e.At = r.o.Now()
	r.o.Events(e)
}

// result puts together how the run ended.
func (r *runner) result(started time.Time) Result {
	out := Result{
		State: r.done.State, Reason: r.done.Reason, Detail: r.done.Detail, Outputs: r.done.Outputs,
		Params: r.run.Params, StartedAt: started, EndedAt: r.o.Now(),
		ScheduledAt: r.run.ScheduledAt, IntervalStart: r.run.IntervalStart, IntervalEnd: r.run.IntervalEnd,
	}
	for o := range r.plans {
		row := r.rows[o]
		t := Task{Name: r.g.Task(o).Name, Index: -1, State: row.State, Reason: row.Reason, Detail: row.Detail}
		if u := r.units[flow.Number(o)]; u != nil {
			t.Attempts, t.Outputs = u.attempts, u.outputs
		} else if row.State == flow.Succeeded {
			t.Outputs = r.outputs(o)
		}
		out.Tasks = append(out.Tasks, t)
		if row.Fan == nil {
			continue
		}
		for i := range row.Fan.Items {
			u := r.units[flow.ItemNumber(o, i)]
			out.Tasks = append(out.Tasks, Task{
				Name: t.Name, Index: i, Item: u.item, State: u.state, Reason: u.reason, Detail: u.detail,
				Outputs: u.outputs, Attempts: u.attempts,
			})
		}
	}
	return out
}
