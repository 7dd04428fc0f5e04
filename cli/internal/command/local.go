package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/internal/local"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// A localRun shows a run on this machine. What it is told comes from several
// goroutines, one at a time.
type localRun struct {
	c     *call
	mu    sync.Mutex
	log   *logPrinter
	name  string
	tails map[string][]byte // the end of the last attempt's output, by task

	asking sync.Mutex // held while a person is asked
}

// runLocal runs the pipeline of a file on this machine.
func (c *call) runLocal(ctx context.Context, o runOptions) error {
	if o.Key != "" || o.Note != "" {
		return usage("--key and --note are for runs on a server")
	}
	p, beside, err := c.localPipeline(o)
	if err != nil {
		return err
	}
	params, err := c.localParams(p, o)
	if err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	opts := local.Options{Now: c.Now, Path: c.Getenv("PATH"), CancelAgain: c.Again}
	if o.At != "" {
		if opts.ScheduledAt, err = k.parseTime("at", o.At); err != nil {
			return err
		}
	}
	opts.Pipeline = func(namespace, name string) *pipeline.Pipeline {
		for _, p := range beside {
			if p.Namespace == namespace && p.Name == name {
				return p
			}
		}
		return nil
	}
	l := &localRun{c: c, log: newLogPrinter(c.ui, true, false), name: p.Name, tails: map[string][]byte{}}
	l.log.toStderr = c.ui.machine()
	if c.asks() {
		opts.Approve = l.approve
	}
	quiet := o.Follow == followWait || c.ui.quiet || c.Progress == "none"
	opts.Output = func(task string, attempt int, _ process.Stream, block []byte) { l.output(task, attempt, block, quiet) }
	if !quiet {
		opts.Events = l.event
	}
	// After the first Ctrl-C the run is canceled, and its finally tasks still run.
	c.Hold(true)
	defer c.Hold(false)
	result, err := local.Run(ctx, p, params, opts)
	if err != nil {
		if e, ok := errors.AsType[*flow.CreateError](err); ok {
			return usage("%s", sentence(e))
		}
		return err
	}
	if err := l.log.flush(); err != nil {
		return err
	}
	again := "synctl run --local " + shellWord(o.Of)
	for _, p := range o.Params {
		again += " -p " + shellWord(p)
	}
	end := &outcome{c: c, run: l.run(p, result), name: p.Name, tail: l.tail, shown: !quiet, again: again, local: true}
	err = end.tell()
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return status(ExitInterrupted)
	}
	return err
}

// approve asks whoever sits at the terminal whether a task may go on.
func (l *localRun) approve(ctx context.Context, task, prompt string) (bool, error) {
	l.asking.Lock()
	defer l.asking.Unlock()
	c := l.c
	for ctx.Err() == nil {
		fmt.Fprintf(c.Stderr, "%s\n%s asks for approval: approve or reject? ", clean(prompt), cleanLine(task))
		line, err := readLine(ctx, c.Stdin)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "approve", "a", "y", "yes":
			return true, nil
		case "reject", "r", "n", "no":
			return false, nil
		}
	}
	return false, ctx.Err()
}

// localPipeline is the pipeline that a file defines, and those that stand beside
// it.
func (c *call) localPipeline(o runOptions) (*pipeline.Pipeline, []*pipeline.Pipeline, error) {
	files, err := c.readFiles([]string{o.Of})
	if err != nil {
		return nil, nil, err
	}
	source, problems := pipeline.Parse(files, pipeline.Options{Namespace: c.Namespace, Now: c.Now()})
	if len(problems.List) > 0 {
		c.ui.say(strings.TrimSuffix(problems.Text(files, c.ui.colorErr), "\n"))
	}
	if problems.HasErrors() {
		return nil, nil, status(ExitError)
	}
	var names []string
	var found *pipeline.Pipeline
	for _, p := range source.Pipelines() {
		names = append(names, p.Name)
		if o.Pipeline == "" || p.Name == o.Pipeline {
			found = p
		}
	}
	switch {
	case len(names) == 0:
		return nil, nil, &saying{status: ExitNotFound, message: fmt.Sprintf("%s defines no pipeline", quote(o.Of))}
	case found == nil:
		return nil, nil, &saying{status: ExitNotFound, message: fmt.Sprintf("%s has no pipeline %s; it has %s", quote(o.Of), quote(o.Pipeline), strings.Join(names, ", "))}
	case o.Pipeline == "" && len(names) > 1:
		return nil, nil, usage("%s has %d pipelines: %s", quote(o.Of), len(names), strings.Join(names, ", ")).withHint("--pipeline NAME")
	}
	return found, source.Pipelines(), nil
}

// localParams are the params of the line, checked as the server would.
func (c *call) localParams(p *pipeline.Pipeline, o runOptions) (map[string]any, error) {
	texts, err := textParams(o.Params)
	if err != nil {
		return nil, err
	}
	values, err := c.fileParams(o.ParamsFile, texts)
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	for name, text := range texts {
		v, err := p.ParamFromText(name, text)
		if err != nil {
			return nil, usage("%s", sentence(err))
		}
		given[name] = v
	}
	for name, raw := range values {
		param := paramOf(p, name)
		if param == nil {
			given[name] = true // CheckParams says that there is no such param
			continue
		}
		v, err := param.Schema.FromJSON(raw)
		if err != nil {
			return nil, usage("param %s: %s", name, sentence(err))
		}
		given[name] = v
	}
	checked, wrong := p.CheckParams(given)
	if len(wrong) > 0 {
		var texts []string
		for _, w := range wrong {
			texts = append(texts, sentence(w))
		}
		return nil, usage("%s", strings.Join(texts, "\n  "))
	}
	return checked, nil
}

func paramOf(p *pipeline.Pipeline, name string) *pipeline.Param {
	for i := range p.Params {
		if p.Params[i].Name == name {
			return &p.Params[i]
		}
	}
	return nil
}

func (l *localRun) output(task string, attempt int, block []byte, quiet bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tail := append(l.tails[task], block...)
	l.tails[task] = tail[max(0, len(tail)-tailBytes):]
	if quiet {
		return
	}
	name, index := splitItem(task)
	_ = l.log.write(l.log.source(name, index, nil, attempt), string(block), l.c.Now()) // a closed pipe ends the context
}

// event tells what happens, beside the output.
func (l *localRun) event(e local.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := instant(e.At) + " " + l.name
	if e.Task != "" {
		text += "/" + e.Task
	}
	switch {
	case e.Kind == "run" && e.State != string(flow.Running):
		return // the end is told on its own
	case e.Kind == "attempt" && e.State == string(flow.Running):
		text += fmt.Sprintf(" running attempt=%d", e.Attempt)
		delete(l.tails, e.Task)
	case e.Kind == "attempt" && e.Delay > 0:
		text += fmt.Sprintf(" %s attempt=%d; retrying in %s", e.State, e.Attempt, duration(e.Delay))
	case e.Kind == "attempt":
		return // its task's end says it
	default:
		text += " " + e.State
		if e.Reason != "" && e.Reason != "exit" && e.Reason != e.State {
			text += " reason=" + e.Reason
		}
	}
	l.c.ui.say(cleanLine(text))
}

func (l *localRun) tail(t api.Task) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := t.Name
	if t.Index != nil {
		name += "[" + strconv.Itoa(*t.Index) + "]"
	}
	text := l.tails[name]
	return lastLines(string(text), len(text) >= tailBytes)
}

// splitItem takes task[3] apart.
func splitItem(name string) (task string, index *int) {
	task, rest, ok := strings.Cut(name, "[")
	if !ok {
		return name, nil
	}
	i, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	if err != nil {
		return name, nil
	}
	return task, &i
}

// run is the result in the form that a server would give it.
func (l *localRun) run(p *pipeline.Pipeline, r local.Result) api.Run {
	run := api.Run{
		Pipeline: p.Namespace + "/" + p.Name, Number: 1, Revision: 1, Trigger: "manual", State: api.RunState(r.State), Reason: r.Reason,
		Params: valuesOf(r.Params), Outputs: valuesOf(r.Outputs), ScheduledAt: r.ScheduledAt, CreatedAt: r.StartedAt,
		StartedAt: timeOf(r.StartedAt), EndedAt: timeOf(r.EndedAt), Interval: api.Interval{Start: r.IntervalStart, End: r.IntervalEnd}, Tasks: []api.Task{},
	}
	counts := map[string]*api.ItemCounts{}
	retries := map[string]int{}
	for _, t := range append(slices.Clone(p.Tasks), p.Finally...) {
		retries[t.Name] = t.Retry.Limit
	}
	for _, t := range r.Tasks {
		x := api.Task{
			Name: t.Name, Item: json.RawMessage("null"), State: api.TaskState(t.State), Reason: t.Reason, Detail: t.Detail,
			Outputs: valuesOf(t.Outputs), RetryLimit: retries[t.Name], Attempts: []api.Attempt{},
		}
		for _, a := range t.Attempts {
			x.Attempts = append(x.Attempts, api.Attempt{
				Number: a.Number, State: api.AttemptState(a.State), Reason: a.Reason, Detail: a.Detail, ExitCode: a.ExitCode, Executor: "local",
				ClaimedAt: a.StartedAt, StartedAt: timeOf(a.StartedAt), EndedAt: timeOf(a.EndedAt), Summary: a.Summary,
			})
		}
		if n := len(x.Attempts); n > 0 {
			x.StartedAt, x.EndedAt = x.Attempts[0].StartedAt, x.Attempts[n-1].EndedAt
		}
		if t.Index >= 0 {
			x.Index = &t.Index
			if item, err := expr.ToJSON(t.Item); err == nil {
				x.Item = item
			}
			n := counts[t.Name]
			if n == nil {
				n = &api.ItemCounts{}
				counts[t.Name] = n
			}
			n.Total++
			switch x.State {
			case api.TaskStateSucceeded:
				n.Succeeded++
			case api.TaskStateFailed:
				n.Failed++
			case api.TaskStateCanceled:
				n.Canceled++
			case api.TaskStateSkipped:
				n.Skipped++
			}
		}
		run.Tasks = append(run.Tasks, x)
	}
	for i, t := range run.Tasks {
		if t.Index == nil {
			run.Tasks[i].Items = counts[t.Name]
		}
	}
	return run
}

func valuesOf(values map[string]any) api.Values {
	out := api.Values{}
	for name, v := range values {
		if text, err := expr.ToJSON(v); err == nil {
			out[name] = text
		}
	}
	return out
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
