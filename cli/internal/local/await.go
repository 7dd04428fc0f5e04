package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// maxDepth is how deep runs may call one another.
const maxDepth = 5

// A wait is what a task waits for that no executor does.
type wait struct {
	flow.Awaited
	stop context.CancelFunc // of whoever asks a person, or runs the child
}

// A message is news about what a task waits for.
type message struct {
	number int
	of     *wait // it may be another by now
	take   func(*flow.Awaited)
}

// possible says why a pipeline cannot be run here: nobody can be asked, or it
// calls pipelines that are not at hand.
func (o Options) possible(p *pipeline.Pipeline, seen map[*pipeline.Pipeline]bool) error {
	if seen[p] {
		return nil
	}
	seen[p] = true
	for _, tasks := range []pipeline.Tasks{p.Tasks, p.Finally} {
		for _, t := range tasks {
			switch {
			case t.Approval != nil && o.Approve == nil:
				return fmt.Errorf("task %s of %s asks a person, and there is no terminal", t.Name, p.Name)
			case t.Wait != nil && t.Wait.HTTP != nil:
				return fmt.Errorf("task %s of %s waits for an answer of target %s, which only executors know", t.Name, p.Name, t.Wait.HTTP.Target)
			case t.Sub == nil:
				continue
			}
			var child *pipeline.Pipeline
			if o.Pipeline != nil {
				child = o.Pipeline(t.Sub.Namespace, t.Sub.Name)
			}
			if child == nil {
				return fmt.Errorf("task %s of %s runs the pipeline %s/%s, which is not in the given file", t.Name, p.Name, t.Sub.Namespace, t.Sub.Name)
			}
			if err := o.possible(child, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// facts puts into a decision's input what it may need of tasks that wait.
func (r *runner) facts(in *flow.Input) {
	in.Now, in.Random = r.o.Now(), rand.Float64()
	in.Awaited = map[int]flow.Awaited{}
}

// awaited is what flow asks about a task that waits.
func (r *runner) awaited(n int) flow.Awaited {
	var a flow.Awaited
	if w := r.waits[n]; w != nil {
		a = w.Awaited
	}
	u := r.units[n]
	a.State, a.Reason, a.Item, a.Failures = u.state, u.reason, u.item, u.budget.Failures
	return a
}

// await makes true what a decision says of tasks that wait, and gives the ends
// to be told.
func (r *runner) await(d flow.Decision) []flow.End {
	for _, a := range d.Await {
		r.begin(a)
	}
	for _, l := range d.Again {
		r.after(l.At.Sub(r.o.Now()), l.Number, timerBackoff)
	}
	for _, n := range d.StopChildren {
		r.stopWait(n, flow.ReasonTimedOut)
	}
	var ends []flow.End
	for _, e := range d.Settle {
		if w := r.waits[e.Number]; w != nil && w.stop != nil && (w.Child == nil || w.Child.State != "") {
			w.stop()
		}
		delete(r.waits, e.Number)
		u := r.units[e.Number]
		u.budget.Failures = e.Failures
		if e.State == flow.Succeeded {
			u.outputs = e.Outputs
		}
		r.set(e.Number, e.State, e.Reason, e.Detail)
		if e.State.Ended() {
			ends = append(ends, flow.End{Number: e.Number, State: e.State})
			continue
		}
		r.waits[e.Number] = &wait{Awaited: flow.Awaited{WakeAt: e.WakeAt}}
		r.after(e.WakeAt.Sub(r.o.Now()), e.Number, timerBackoff)
	}
	return ends
}

// begin has a task begin to wait.
func (r *runner) begin(a flow.Awaiting) {
	w := &wait{Awaited: flow.Awaited{WakeAt: a.WakeAt, Deadline: a.Deadline}}
	r.waits[a.Number] = w
	r.set(a.Number, flow.Waiting, a.Reason, "")
	r.tell(Event{Kind: "task", Task: r.name(a.Number), State: string(flow.Waiting), Reason: a.Reason})
	if due := a.Due(); !due.IsZero() {
		r.after(due.Sub(r.o.Now()), a.Number, timerBackoff)
	}
	switch a.Reason {
	case flow.ReasonApproval:
		ctx, stop := context.WithCancel(context.Background())
		w.stop = stop
		name := r.name(a.Number)
		r.busy.Go(func() {
			ok, err := r.o.Approve(ctx, name, a.Prompt) // whoever cannot be asked has not agreed
			if ctx.Err() == nil {
				r.send(ctx, message{a.Number, w, func(k *flow.Awaited) { k.Decision = &flow.Verdict{Approved: ok && err == nil, By: "local"} }})
			}
		})
	case flow.ReasonChild:
		r.call(w, a)
	}
}

// call runs a child beside this run.
func (r *runner) call(w *wait, a flow.Awaiting) {
	w.Child = &flow.ChildRun{}
	p := r.o.Pipeline(a.Child.Namespace, a.Child.Name)
	name := r.name(a.Number)
	ctx, stop := r.ctx, context.CancelFunc(func() {})
	if a.Child.Wait { // a cancel reaches it by the task's own stop
		ctx, stop = context.WithCancel(context.Background())
	}
	w.stop = stop
	o := r.child(name)
	r.busy.Go(func() {
		result, err := runChild(ctx, p, a.Child.Params, o)
		r.send(r.over, message{a.Number, w, func(k *flow.Awaited) {
			if err != nil {
				k.Child.Refused, k.Child.Detail = reasonOf(err), err.Error()
				return
			}
			k.Child.State, k.Child.Reason, k.Child.Outputs = result.State, result.Reason, result.Outputs
		}})
	})
	w.Child.Made = true
	if !a.Child.Wait {
		r.after(0, a.Number, timerBackoff)
	}
}

func reasonOf(err error) string {
	if bad, ok := errors.AsType[*flow.CreateError](err); ok {
		return bad.Reason
	}
	return "broken"
}

func runChild(ctx context.Context, p *pipeline.Pipeline, params map[string]any, o Options) (Result, error) {
	if o.depth > maxDepth {
		return Result{}, fmt.Errorf("runs call one another %d deep, %d at most", o.depth, maxDepth)
	}
	text, err := expr.ToJSON(params)
	if err != nil {
		return Result{}, err
	}
	given, err := expr.FromJSON(text)
	if err != nil {
		return Result{}, err
	}
	values, _ := given.(map[string]any)
	return Run(ctx, p, values, o)
}

// child are the options of a run that a task calls: it tells of itself through
// this one.
func (r *runner) child(name string) Options {
	o := r.o
	o.Schedule = nil
	o.ScheduledAt, o.IntervalStart, o.IntervalEnd = r.run.ScheduledAt, r.run.IntervalStart, r.run.IntervalEnd
	o.called, o.depth = true, r.o.depth+1
	if r.o.Output != nil {
		o.Output = func(task string, attempt int, stream stream, block []byte) {
			r.told.Lock()
			defer r.told.Unlock()
			r.o.Output(name+"/"+task, attempt, stream, block)
		}
	}
	if r.o.Events != nil {
		o.Events = func(e Event) {
			if e.Task == "" {
				return // its task's own events say so
			}
			e.Task = name + "/" + e.Task
			r.told.Lock()
			defer r.told.Unlock()
			r.o.Events(e)
		}
	}
	return o
}

// send tells the loop, unless nobody listens any more.
func (r *runner) send(ctx context.Context, m message) {
	select {
	case r.news <- m:
	case <-ctx.Done():
	case <-r.over.Done():
	}
}

// take takes news about what a task waits for.
func (r *runner) take(m message) []flow.End {
	if r.waits[m.number] != m.of {
		return nil
	}
	m.take(&m.of.Awaited)
	return []flow.End{{Number: m.number, State: flow.Waiting}}
}

// stopWait ends what a task waits for. It says whether the task has to wait for
// the end of its child.
func (r *runner) stopWait(n int, reason string) bool {
	w := r.waits[n]
	if w == nil || w.stop == nil {
		return false
	}
	w.stop()
	if w.Child == nil {
		return false
	}
	if w.Child.Stop == "" {
		w.Child.Stop = reason
	}
	return true
}
