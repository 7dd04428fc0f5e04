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

// Limits of what a run is made with.
const (
	maxParams = 256 << 10 // bytes of JSON
	maxGroup  = 200       // characters
)

// creation is what the making of a run evaluates.
type creation struct {
	group     *expr.Template // nil: the pipeline is its own group
	defaults  map[string]value
	schedules map[string]value // params, by the schedule's id
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
	return nil
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
	vars := expr.Vars{Zone: g.zone(run.Zone), Names: map[string]any{
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
	declared := make(map[string]bool, len(g.p.Params))
	names := make([]string, len(g.p.Params))
	for i, p := range g.p.Params {
		declared[p.Name], names[i] = true, p.Name
	}
	for _, name := range sortedKeys(r.Params) {
		given[name] = r.Params[name]
	}
	for _, name := range sortedKeys(given) {
		if !declared[name] {
			bad.add(ReasonParams, name, "unknown param "+quote(name), unknownHint(name, names))
		}
	}
	out := make(map[string]any, len(names))
	for _, p := range g.p.Params {
		v := given[p.Name]
		if v == nil {
			d, ok := g.create.defaults[p.Name]
			if !ok {
				if p.Schema.Required {
					bad.add(ReasonParams, p.Name, "param "+p.Name+" is missing", "it has no default")
				}
				continue
			}
			var err error
			if v, err = d.eval(vars); err != nil {
				bad.add(ReasonExpression, p.Name, "default of param "+p.Name+": "+err.Error(), "")
				continue
			}
		}
		checked, err := p.Schema.Check(v)
		if err != nil {
			bad.add(ReasonParams, p.Name, "param "+p.Name+": "+err.Error(), "")
			continue
		}
		out[p.Name] = checked
	}
	if data, err := expr.ToJSON(out); err != nil {
		bad.add(ReasonParams, "", "params: "+err.Error(), "")
	} else if len(data) > maxParams {
		bad.add(ReasonParams, "", fmt.Sprintf("params are %d bytes together, 256 KiB at most", len(data)), "pass large data by address")
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

func quote(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// unknownHint names what there is.
func unknownHint(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return "did you mean " + quote(best) + "?"
	}
	if len(known) == 0 {
		return "the pipeline has no params"
	}
	return "it has " + strings.Join(known[:min(len(known), 10)], ", ")
}

// nearest is the known name that a misspelt one is closest to, "" if none is.
func nearest(name string, known []string) string {
	if len(name) > 64 {
		return ""
	}
	limit := 2
	if len(name) <= 4 {
		limit = 1
	}
	best, at := "", limit+1
	for _, k := range known {
		if d := distance(name, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance counts insertions, removals, replacements and swaps of neighbors.
func distance(a, b string) int {
	older, old := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(old[j+1]+1, row[j]+1, old[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
		older, old = old, row
	}
	return old[len(b)]
}
