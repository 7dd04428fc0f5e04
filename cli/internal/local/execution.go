package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// An execution is an attempt that is alive.
type execution struct {
	cancel context.CancelCauseFunc
	why    string // the reason it was asked to stop for
}

// stop asks the attempt to stop. The first reason counts.
func (x *execution) stop(reason string) {
	if x.why == "" {
		x.why = reason
		x.cancel(process.Canceled)
	}
}

// ended is the end of an execution.
type ended struct {
	number  int
	end     flow.AttemptEnd
	attempt Attempt
	outputs map[string]any
}

// start starts an attempt. What it reads of the run is put together here, by
// the loop; the rest is done beside it.
func (r *runner) start(n int) {
	o, index := flow.Split(n)
	u := r.units[n]
	u.started = true
	number := len(u.attempts) + 1
	c := attempt.Context{
		Run: r.run, Index: index, Attempt: number, Path: r.o.Path, Secret: r.o.Secret,
		Tasks: r.earlier(r.plans[o].Reads()),
	}
	c.Result, c.Reason = r.run.Standing()
	var item json.RawMessage
	if index >= 0 {
		item, _ = expr.ToJSON(u.item)
		c.Item = item
	}
	p := r.g.Pipeline()
	c.Key = attempt.IdempotencyKey("local", p.Namespace+"/"+p.Name, 0, r.run.ScheduledAt, r.run.ID, r.g.Task(o).Name, index, item)
	// Not the caller's context: a cancel reaches attempts by their own stop, and
	// finally runs after it.
	ctx, cancel := context.WithCancelCause(context.Background())
	r.live[n] = &execution{cancel: cancel}
	name := r.name(n)
	r.tell(Event{Kind: "attempt", Task: name, Attempt: number, State: string(flow.Running)})
	r.busy.Go(func() {
		e := ended{number: n, attempt: Attempt{Number: number, StartedAt: r.o.Now()}}
		e.execute(ctx, r, o, name, c)
		e.attempt.EndedAt = r.o.Now()
		e.attempt.Detail, e.attempt.ExitCode = e.end.Detail, e.end.ExitCode
		r.ends <- e
	})
}

// earlier gives the tasks that an attempt reads.
func (r *runner) earlier(reads attempt.Reads) map[int]attempt.Earlier {
	if len(reads.Tasks) == 0 {
		return nil
	}
	m := make(map[int]attempt.Earlier, len(reads.Tasks))
	for _, o := range reads.Tasks {
		row := clone(*r.rows[o])
		m[o] = attempt.Earlier{State: row.State, Reason: row.Reason, Fan: row.Fan}
	}
	for _, o := range reads.Outputs {
		e := m[o]
		e.Outputs = r.outputs(o)
		m[o] = e
	}
	return m
}

// execute runs one attempt to its end.
func (e *ended) execute(ctx context.Context, r *runner, o int, name string, c attempt.Context) {
	place, err := r.home.Attempt(fmt.Sprintf("%d-%d", e.number, c.Attempt), process.Limits{})
	if err != nil {
		e.fails(process.ReasonStart, err)
		return
	}
	c.Dir, c.Output, c.Summary = place.Dir, place.Output, place.Summary
	rendered, err := r.plans[o].Render(c)
	if err != nil {
		reason := flow.ReasonExpression
		if bad, ok := errors.AsType[*attempt.Error](err); ok {
			reason = bad.Reason
		}
		e.fails(reason, errors.Join(err, place.Discard()))
		return
	}
	result := process.Run(ctx, process.Command{
		Argv: rendered.Argv, Env: rendered.Env, Dir: rendered.Dir,
		Grace: rendered.Grace, Timeout: rendered.Timeout, Cgroup: place.Cgroup,
		Output: sink{r, name, c.Attempt},
	})
	e.end = flow.AttemptEnd{
		State: string(result.State), Reason: result.Reason, Detail: result.Detail, ExitCode: result.ExitCode, Started: true,
	}
	if result.State == process.Succeeded {
		if e.outputs, err = read(r.g.Task(o), place.Output); err != nil {
			e.fails("outputs_syntax", err)
		}
	}
	if summary, err := process.ReadSummary(place.Summary); err == nil {
		e.attempt.Summary = string(summary.Text)
	}
	if err := place.Remove(); err != nil && e.end.Detail == "" {
		e.end.Detail = err.Error()
	}
}

// fails makes the attempt a failed one. An error of outputs knows its reason.
func (e *ended) fails(reason string, err error) {
	if bad, ok := errors.AsType[*process.OutputError](err); ok {
		reason = bad.Reason
	}
	if bad, ok := errors.AsType[*pipeline.OutputError](err); ok {
		reason = bad.Reason
	}
	e.end.State, e.end.Reason, e.end.Detail = flow.AttemptFailed, reason, err.Error()
}

// read reads what a task wrote.
func read(t *pipeline.Task, path string) (map[string]any, error) {
	raw, err := process.ReadOutputs(path)
	if err != nil {
		return nil, err
	}
	written := make(map[string]pipeline.RawOutput, len(raw))
	for key, v := range raw {
		if v.JSON {
			written[key] = pipeline.RawOutput{JSON: json.RawMessage(v.Text)}
		} else {
			written[key] = pipeline.RawOutput{Text: v.Text}
		}
	}
	values, bad := t.CheckOutputs(written)
	if bad != nil {
		return nil, bad
	}
	return values, nil
}

// A sink hands on what one attempt prints.
type sink struct {
	r       *runner
	task    string
	attempt int
}

func (s sink) Write(stream process.Stream, block []byte) {
	if s.r.o.Output == nil {
		return
	}
	s.r.told.Lock()
	defer s.r.told.Unlock()
	s.r.o.Output(s.task, s.attempt, stream, block)
}
