package flow

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// A condition is when a task runs.
type condition struct {
	program *expr.Program // nil: nothing but what implied says
	implied bool          // success() is asked first
	reads   reads
}

// reads are the tasks that an expression reads.
type reads struct {
	names   []string // contexts
	rows    []int    // tasks of which anything is read
	outputs []int    // … of which outputs are
}

// A runOutput is one output of the run.
type runOutput struct {
	name  string
	value value
	reads reads
}

// dynamic is the scope of expressions that have been checked already.
func dynamic(status bool, names ...string) expr.Scope {
	s := expr.Scope{Names: make(map[string]expr.Type, len(names)), Status: status}
	for _, n := range names {
		s.Names[n] = expr.Type{}
	}
	return s
}

func (g *Graph) compileExpressions() error {
	for i := range g.nodes {
		n := &g.nodes[i]
		if err := g.compileTask(n); err != nil {
			return fmt.Errorf("task %s: %w", n.task.Name, err)
		}
	}
	for _, o := range g.p.Outputs {
		var refs []expr.Ref
		scope := dynamic(false, "params", "vars", "run", "interval", "tasks")
		if o.Schema != nil {
			scope.Want = o.Schema.ExprType()
		}
		v, err := compileValue(string(o.Value), scope, &refs)
		if err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
		g.outputs = append(g.outputs, runOutput{o.Name, v, g.readsOf(refs, nil)})
	}
	return g.compileCreation()
}

func (g *Graph) compileTask(n *node) error {
	names := []string{"params", "vars", "run", "interval", "needs"}
	if n.finally {
		names = append(names, "tasks")
	}
	if n.task.If == "" {
		n.when.implied = !n.finally
	} else {
		scope := dynamic(true, names...)
		scope.Field, scope.Want = "if", expr.Of(expr.KindBoolean)
		p, err := expr.Compile(string(n.task.If), scope)
		if err != nil {
			return fmt.Errorf("if: %w", err)
		}
		n.when.program = p
		n.when.implied = !n.finally && !p.UsesStatus() && !p.ReadsOutcome()
		n.when.reads = g.readsOf(p.Refs(), n)
	}
	var refs []expr.Ref
	switch {
	case n.task.ForEach != nil:
		l, err := compileListing("", *n.task.ForEach, dynamic(false, names...), &refs)
		if err != nil {
			return fmt.Errorf("for_each: %w", err)
		}
		n.items = &items{axes: []listing{l}}
	case len(n.task.Matrix) > 0:
		n.items = &items{matrix: true}
		for _, a := range n.task.Matrix {
			l, err := compileListing(a.Name, a.Items, dynamic(false, names...), &refs)
			if err != nil {
				return fmt.Errorf("matrix: axis %s: %w", a.Name, err)
			}
			n.items.axes = append(n.items.axes, l)
		}
	}
	if n.items != nil {
		n.items.reads = g.readsOf(refs, n)
	}
	return g.compileAwaits(n, names)
}

// readsOf tells which tasks are read; n is nil for outputs of the run.
func (g *Graph) readsOf(refs []expr.Ref, n *node) reads {
	names, rows, outputs := map[string]bool{}, map[int]bool{}, map[int]bool{}
	for _, r := range refs {
		names[r.Path[0]] = true
		if len(r.Path) < 2 || r.Path[0] != "needs" && r.Path[0] != "tasks" {
			continue
		}
		o, ok := g.Ordinal(r.Path[1])
		if !ok || r.Path[0] == "needs" && (n == nil || !slices.Contains(n.needs, o)) || r.Path[0] == "tasks" && o >= g.tasks {
			continue // the checks of the file see to it; reading it will be an error
		}
		rows[o] = true
		if len(r.Path) == 2 || r.Path[2] == "outputs" {
			outputs[o] = true
		}
	}
	return reads{slices.Sorted(maps.Keys(names)), sorted(rows), sorted(outputs)}
}

// ready says whether everything that is read is there, and asks for the rest.
// With sure, all tasks are known to have succeeded.
func (s *step) ready(rd reads, sure bool) bool {
	ok := true
	for _, o := range rd.rows {
		if s.known(o) == nil && !sure {
			s.ask(o)
			ok = false
		}
	}
	return s.askOutputs(rd) == 0 && ok
}

// askOutputs asks for outputs that are read and not there, and says of how many
// tasks. Of one whose row is not known they are asked for, too.
func (s *step) askOutputs(rd reads) (asked int) {
	for _, o := range rd.outputs {
		r := s.known(o)
		if r != nil && (r.State != Succeeded || r.Fan != nil && r.Fan.Items == 0) {
			continue
		}
		if _, have := s.in.Outputs[o]; !have && len(s.g.nodes[o].task.Outputs) > 0 && !s.in.TooLarge[o] {
			if s.missing.outputs == nil {
				s.missing.outputs = map[int]bool{}
			}
			s.missing.outputs[o] = true
			asked++
		}
	}
	return asked
}

// holds says whether a task runs. ok is false if something is missing.
func (s *step) holds(n *node, r *row) (yes bool, err error, ok bool) {
	c := &n.when
	if c.implied && r.Trail&TrailMissed != 0 {
		return false, nil, true
	}
	if c.program == nil {
		return true, nil, true
	}
	if !s.ready(c.reads, c.implied) {
		return false, nil, false
	}
	vars := s.vars(c.reads)
	result := s.result
	vars.Status = expr.StatusFuncs{
		Success:    func() bool { return s.success(n, r) },
		AnySuccess: func() bool { return r.Trail&TrailMet != 0 },
		Failure: func() bool {
			return r.Trail&TrailFailed != 0 || n.finally && result() == Failed
		},
		NoneFailed: func() bool {
			return r.Trail&trailPassedOn == 0 && (!n.finally || s.run.Failed+s.run.Canceled == 0)
		},
		Canceled: func() bool { return n.finally && result() == Canceled },
	}
	v, err := c.program.Eval(vars)
	if err != nil {
		return false, err, true
	}
	yes, _ = v.(bool)
	return yes, nil, true
}

// success is success() for a task: every need succeeded, and in finally so did
// the tasks.
func (s *step) success(n *node, r *row) bool {
	return r.Trail&TrailMissed == 0 && (!n.finally || s.result() == Succeeded)
}

// itemsOf gives the items of a fan-out.
func (s *step) itemsOf(n *node) (list []any, err error, ok bool) {
	if !s.ready(n.items.reads, n.when.implied) {
		return nil, nil, false
	}
	list, err = n.items.eval(s.vars(n.items.reads))
	return list, err, true
}

// runOutputs are the outputs of a run that succeeded.
func (s *step) runOutputs() (outputs map[string]any, err error, ok bool) {
	ok = true
	for _, o := range s.g.outputs {
		ok = s.ready(o.reads, false) && ok
	}
	if !ok {
		return nil, nil, false
	}
	outputs = make(map[string]any, len(s.g.outputs))
	for i, o := range s.g.outputs {
		v, err := o.value.eval(s.vars(o.reads))
		if err == nil && s.g.p.Outputs[i].Schema != nil {
			v, err = s.g.p.Outputs[i].Schema.Check(v)
		}
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", o.name, err), true
		}
		outputs[o.name] = v
	}
	return outputs, nil, true
}

// vars are the contexts that an expression reads.
func (s *step) vars(rd reads) expr.Vars {
	v := expr.Vars{Names: make(map[string]any, len(rd.names)), Zone: s.g.Zone(s.run.Zone)}
	for _, name := range rd.names {
		switch name {
		case "params":
			v.Names[name] = orEmpty(s.run.Params)
		case "vars":
			v.Names[name] = s.run.Vars
		case "run":
			v.Names[name] = s.runContext()
		case "interval":
			v.Names[name] = map[string]any{"start": s.run.IntervalStart, "end": s.run.IntervalEnd}
		case "needs", "tasks":
			tasks := make(map[string]any, len(rd.rows))
			for _, o := range rd.rows { // names are unique over both phases
				tasks[s.g.nodes[o].task.Name] = s.taskContext(o)
			}
			v.Names[name] = tasks
		}
	}
	return v
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

func (s *step) runContext() map[string]any {
	m := s.run.Context()
	if s.run.Phase == PhaseFinally || s.run.Unfinished == 0 {
		state, reason := s.run.Standing()
		m["result"], m["reason"] = string(state), reason
	}
	return m
}

// Standing is how a run stands once its phase tasks is over: what finally and
// outputs read as run.result and run.reason. What goes wrong beside a finally
// task is not its business, so that nothing depends on who was faster.
func (r *Run) Standing() (State, string) {
	reason := r.Reason
	if reason == ReasonFinally {
		reason = ""
	}
	switch {
	case r.CancelRequested:
		return Canceled, reason
	case reason != "":
		return Failed, reason
	}
	return Succeeded, ""
}

// Context is what ${{ run }} reads of a run, without its result.
func (r *Run) Context() map[string]any {
	return map[string]any{
		"id": r.ID, "number": r.Number, "namespace": r.Namespace, "pipeline": r.Pipeline,
		"revision": int64(r.Revision), "trigger": r.Trigger,
		"scheduled_at": r.ScheduledAt, "created_at": r.CreatedAt, "url": r.URL,
	}
}

// IsTooLarge says that an expression failed because the outputs of a fan-out
// are more than may be read.
func IsTooLarge(err error) bool { return errors.Is(err, errOutputsTooLarge) }

// MaxCollected is how many bytes of outputs may be collected from one fan-out.
const MaxCollected = 16 << 20

var errOutputsTooLarge = fmt.Errorf("the outputs of its items are more than %d MiB together", MaxCollected>>20)

// taskContext is what ${{ needs.T }} and ${{ tasks.T }} read.
func (s *step) taskContext(o int) map[string]any {
	t := TaskContext{Task: s.g.nodes[o].task, Fan: s.g.nodes[o].items != nil, State: Succeeded, Outputs: s.in.Outputs[o], TooLarge: s.in.TooLarge[o]}
	if r := s.known(o); r != nil {
		t.State, t.Reason, t.Counts = r.State, r.Reason, r.Fan
	}
	return t.Value()
}

// Zone finds the zone that date() uses by a run's Zone.
func (g *Graph) Zone(name string) *time.Location {
	if name == "" {
		name = g.p.Timezone
	}
	if name == "" || name == "UTC" {
		return time.UTC
	}
	loc, err := schedule.LoadZone(name)
	if err != nil {
		return time.UTC // a name that was checked; the data lost it since
	}
	return loc
}

// broken ends a task of which a field could not be evaluated.
func (s *step) broken(r *row, field string, err error) {
	reason, detail := ReasonExpression, field+": "+err.Error()
	if n, ok := errors.AsType[tooMany](err); ok {
		reason, detail = ReasonTooManyItems, n.Error()
	} else if IsTooLarge(err) {
		reason = ReasonOutputsTooLarge
	}
	s.foresee(r.Ordinal)
	s.skipItems(r)
	s.settle(r, Failed, reason, detail)
}
