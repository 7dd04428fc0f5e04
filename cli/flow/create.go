package flow

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// Request asks for a run.
type Request struct {
	Trigger string
	// Schedule is set for ticks: its params are rendered and given.
	Schedule *pipeline.Schedule
	// Params are given values, as JSON has them: nil, bool, string, int64,
	// expr.Number, []any, map[string]any. They win over the schedule's.
	Params map[string]any
	// Call says that Params are what a pipeline task gives, see
	// pipeline.Pipeline.CheckCall.
	Call bool

	ID, Number                                         int64
	Revision                                           int
	ScheduledAt, CreatedAt, IntervalStart, IntervalEnd time.Time
	Vars                                               map[string]string
	URL                                                string
}

// Created is what a run is made with.
type Created struct {
	Params     map[string]any
	Group      string // "": the pipeline's own group
	Limit      int
	MaxQueued  int
	OnConflict string
}

// Problem is one thing wrong with a request.
type Problem struct {
	Param   string // "": not about one param
	Message string // a sentence that begins with the name of what is wrong
	Hint    string
}

// CreateError says why a run cannot be made.
type CreateError struct {
	Reason   string // params, expression
	Problems []Problem
}

// Error gives all problems on one line.
func (e *CreateError) Error() string {
	all := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		all[i] = p.Message
		if p.Hint != "" {
			all[i] += " → " + p.Hint
		}
	}
	return strings.Join(all, "; ")
}

func (e *CreateError) add(reason, param, message, hint string) {
	if e.Reason == "" || reason == ReasonParams {
		e.Reason = reason
	}
	e.Problems = append(e.Problems, Problem{param, message, hint})
}

// maxGroup is how many characters the name of a group may have.
const maxGroup = 200

// creation is what the making of a run evaluates.
type creation struct {
	group     *expr.Template // nil: the pipeline is its own group
	defaults  map[string]value
	schedules map[string]value // params, by the schedule's id
	triggers  []trigger        // in file order
}

func (g *Graph) compileCreation() error {
	c := &g.create
	scope := dynamic(false, "run", "interval", "vars")
	var refs []expr.Ref
	c.defaults = map[string]value{}
	for _, p := range g.p.Params {
		if p.Schema.Default == nil {
			continue
		}
		v, err := compileValue(p.Schema.Default, scope, &refs)
		if err != nil {
			return fmt.Errorf("default of param %s: %w", p.Name, err)
		}
		c.defaults[p.Name] = v
	}
	c.schedules = map[string]value{}
	for _, s := range g.p.Schedules {
		if len(s.Params) == 0 {
			continue
		}
		v, err := compileValue(s.Params, scope, &refs)
		if err != nil {
			return fmt.Errorf("params of schedule %s: %w", s.ID, err)
		}
		c.schedules[s.ID] = v
	}
	if group := string(g.p.Concurrency.Group); group != "" {
		t, err := expr.CompileTemplate(group, dynamic(false, "run", "interval", "vars", "params"))
		if err != nil {
			return fmt.Errorf("concurrency.group: %w", err)
		}
		c.group = t
	}
	return g.compileTriggers()
}

// Create works out what a run is made with: its params with their defaults, and
// its group. The error is a *CreateError.
func (g *Graph) Create(r Request) (Created, error) {
	run := Run{
		ID: r.ID, Number: r.Number, Namespace: g.p.Namespace, Pipeline: g.p.Name, Revision: r.Revision, Trigger: r.Trigger,
		ScheduledAt: r.ScheduledAt, CreatedAt: r.CreatedAt, IntervalStart: r.IntervalStart, IntervalEnd: r.IntervalEnd,
		Vars: r.Vars, URL: r.URL,
	}
	if r.Schedule != nil {
		run.Zone = r.Schedule.Timezone
	}
	vars := expr.Vars{Zone: g.Zone(run.Zone), Names: map[string]any{
		"run": run.Context(), "vars": r.Vars,
		"interval": map[string]any{"start": r.IntervalStart, "end": r.IntervalEnd},
	}}
	bad := &CreateError{}
	params := g.params(r, vars, bad)
	if len(bad.Problems) > 0 {
		return Created{}, bad
	}
	c := g.p.Concurrency
	out := Created{Params: params, Limit: max(1, c.Limit), MaxQueued: c.MaxQueued, OnConflict: cmp.Or(c.OnConflict, OnConflictQueue)}
	vars.Names["params"] = params
	if g.create.group != nil {
		group, err := g.create.group.String(vars)
		if err == nil {
			err = checkGroup(group)
		}
		if err != nil {
			bad.add(ReasonExpression, "", "concurrency.group: "+err.Error(), "")
		}
		out.Group = group
	}
	// What a matrix has is known now, so a mistake in it is told now.
	for i := range g.nodes {
		if it := g.nodes[i].items; it != nil && it.matrix {
			if _, err := it.eval(vars); err != nil {
				bad.add(ReasonExpression, "", fmt.Sprintf("matrix of task %s: %s", g.nodes[i].task.Name, err), "")
			}
		}
	}
	if len(bad.Problems) > 0 {
		return Created{}, bad
	}
	return out, nil
}

// params gives the values of all declared params.
func (g *Graph) params(r Request, vars expr.Vars, bad *CreateError) map[string]any {
	given := map[string]any{}
	if r.Schedule != nil {
		if v, ok := g.create.schedules[r.Schedule.ID]; ok {
			rendered, err := v.eval(vars)
			if err != nil {
				bad.add(ReasonExpression, "", "params of schedule "+r.Schedule.ID+": "+err.Error(), "")
				return nil
			}
			given, _ = rendered.(map[string]any)
		}
	}
	for name, v := range r.Params {
		given[name] = v
	}
	check := g.p.CheckParams
	if r.Call {
		check = g.p.CheckCall
	}
	out, wrong := check(given)
	for _, w := range wrong {
		bad.add(ReasonParams, w.Param, w.Message, w.Hint)
	}
	for _, p := range g.p.Params {
		d, ok := g.create.defaults[p.Name]
		if !ok || given[p.Name] != nil {
			continue
		}
		v, err := d.eval(vars)
		if err != nil {
			bad.add(ReasonExpression, p.Name, "default of param "+p.Name+": "+err.Error(), "")
			continue
		}
		if out[p.Name], err = p.Schema.Check(v); err != nil {
			bad.add(ReasonParams, p.Name, "default of param "+p.Name+": "+err.Error(), "")
		}
	}
	if len(bad.Problems) > 0 {
		return nil
	}
	if data, err := expr.ToJSON(out); err != nil {
		bad.add(ReasonParams, "", "params: "+err.Error(), "")
	} else if len(data) > pipeline.MaxParamBytes {
		bad.add(ReasonParams, "", fmt.Sprintf("the params have %d bytes together with their defaults, 256 KiB at most", len(data)), "pass large data by address")
	}
	return out
}

func checkGroup(group string) error {
	n := utf8.RuneCountInString(group)
	if n < 1 || n > maxGroup {
		return fmt.Errorf("gives %d characters, 1 to %d are wanted", n, maxGroup)
	}
	for _, r := range group {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("gives the character %U, which cannot be printed", r)
		}
	}
	return nil
}
