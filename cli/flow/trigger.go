package flow

import (
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// ReasonTriggerDepth is why a run fails at once: too many runs have started
// each other in a row.
const ReasonTriggerDepth = "trigger_depth"

// MaxTriggerDepth is how many runs may start each other in a row by triggers.
const MaxTriggerDepth = 10

// An Event is a run of another pipeline that has ended.
type Event struct {
	ID, Number          int64
	Namespace, Pipeline string
	State               State
	Reason              string
	Params, Outputs     map[string]any

	IntervalStart, IntervalEnd time.Time
}

// trigger is what the end of another run evaluates.
type trigger struct {
	when   *expr.Program // nil: always
	params value
}

func (g *Graph) compileTriggers() error {
	for _, t := range g.p.Triggers {
		var c trigger
		scope := dynamic(false, "event", "interval", "vars")
		var refs []expr.Ref
		var err error
		if len(t.Params) > 0 {
			if c.params, err = compileValue(t.Params, scope, &refs); err != nil {
				return fmt.Errorf("params of trigger %s/%s: %w", t.Namespace, t.Name, err)
			}
		}
		if t.If != "" {
			scope.Field, scope.Want = "if", expr.Of(expr.KindBoolean)
			if c.when, err = expr.Compile(string(t.If), scope); err != nil {
				return fmt.Errorf("if of trigger %s/%s: %w", t.Namespace, t.Name, err)
			}
		}
		g.create.triggers = append(g.create.triggers, c)
	}
	return nil
}

// place finds a trigger in the list by its place among those that wait for the
// pipeline of a run; -1: another revision had more of them.
func (g *Graph) place(ordinal int, e Event) int {
	for i, t := range g.p.Triggers {
		if t.Namespace != e.Namespace || t.Name != e.Pipeline {
			continue
		}
		if ordinal == 0 {
			return i
		}
		ordinal--
	}
	return -1
}

// Answers says whether a trigger, by its place among those that wait for the
// pipeline of this run, waits for runs that end like it.
func (g *Graph) Answers(ordinal int, e Event) bool {
	i := g.place(ordinal, e)
	return i >= 0 && e.State.Ended() && e.State != Skipped && (g.p.Triggers[i].Result == "any" || g.p.Triggers[i].Result == string(e.State))
}

// Triggered works out what a trigger that Answers an event gives to the params
// of its run; ok is false if its condition is. The error is a *CreateError.
func (g *Graph) Triggered(ordinal int, e Event, vars map[string]string) (params map[string]any, ok bool, err error) {
	i := g.place(ordinal, e)
	t, c := g.p.Triggers[i], g.create.triggers[i]
	names := expr.Vars{Zone: g.Zone(""), Names: map[string]any{
		"event": map[string]any{"run": map[string]any{
			"id": e.ID, "number": e.Number, "pipeline": e.Namespace + "/" + e.Pipeline, "result": string(e.State), "reason": e.Reason,
			"params": orEmpty(e.Params), "outputs": orEmpty(e.Outputs),
		}},
		"interval": map[string]any{"start": e.IntervalStart, "end": e.IntervalEnd},
		"vars":     vars,
	}}
	if c.when != nil {
		v, err := c.when.Eval(names)
		if err != nil {
			return nil, false, triggerError(t, "if", err)
		}
		if v != true {
			return nil, false, nil
		}
	}
	v, err := c.params.eval(names)
	if err != nil {
		return nil, false, triggerError(t, "params", err)
	}
	params, _ = v.(map[string]any)
	return params, true, nil
}

func triggerError(t pipeline.Trigger, field string, err error) error {
	bad := &CreateError{}
	bad.add(ReasonExpression, "", fmt.Sprintf("%s of trigger %s/%s: %s", field, t.Namespace, t.Name, err), "")
	return bad
}
