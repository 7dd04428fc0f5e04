package flow

import (
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"pgregory.net/rapid"
)

// The oracle says how a run without a cancel must end. It works everything out
// from scratch, needs first, and shares no code with what it judges: conditions
// are drawn together with their meaning.

// A plan is a pipeline drawn at random, and what its tasks are going to do.
type plan struct {
	p     *pipeline.Pipeline
	tasks []planned
	run   Run
}

type planned struct {
	name    string
	finally bool
	needs   []int
	cond    cond
	fan     int // number of items; -1: none
	list    int // the task whose output is the list; -1: none
	fast    bool
	limit   int // retries
	ends    [][]rune
	kind    pipeline.Kind
}

// mute says that the task has no outputs that others could read.
func (t *planned) mute() bool {
	return t.kind == pipeline.KindWait || t.kind == pipeline.KindApproval
}

// A cond is the text of a condition and what it means.
type cond struct {
	text    string
	implied bool // success() && …
	means   func(o *oracle, t *planned) (yes, broken bool)
}

type oracle struct {
	plan   *plan
	states []string
	counts []map[string]int
	// again is nil for a first run. For a rerun it says what is decided anew: all
	// of a task (nil), or some items. made are fan-outs that have their items.
	again map[int][]int
	made  []bool
	// result of the phase tasks, for finally.
	result string
	clean  bool // no task failed or was canceled
}

func (o *oracle) all(t *planned, state string) bool {
	for _, n := range t.needs {
		if o.states[n] != state {
			return false
		}
	}
	return true
}

func (o *oracle) any(t *planned, state string) bool {
	for _, n := range t.needs {
		if o.states[n] == state {
			return true
		}
	}
	return false
}

// before says whether any task before t is in the state, through others too.
func (o *oracle) before(t *planned, state string) bool {
	if o.any(t, state) {
		return true
	}
	for _, n := range t.needs {
		if o.before(&o.plan.tasks[n], state) {
			return true
		}
	}
	return false
}

func (o *oracle) success(t *planned) bool {
	return o.all(t, "succeeded") && (!t.finally || o.result == "succeeded")
}

// decide gives the end of one task whose needs have ended.
func (o *oracle) decide(i int) {
	t := &o.plan.tasks[i]
	yes, broken := true, false
	if t.cond.implied && !t.finally && !o.success(t) {
		yes = false
	} else if t.cond.means != nil {
		yes, broken = t.cond.means(o, t)
	}
	switch {
	case broken:
		o.states[i] = "failed"
		return
	case !yes:
		o.states[i] = "skipped"
		return
	}
	items := t.fan
	if t.list >= 0 {
		if !o.made[i] && o.states[t.list] != "succeeded" {
			o.states[i] = "failed" // the list cannot be read
			return
		}
		items = 2
	}
	if items < 0 {
		o.states[i] = t.attempts(0)
		return
	}
	counts := map[string]int{}
	if some := o.again[i]; some != nil {
		for state, n := range o.counts[i] {
			if state != "failed" {
				counts[state] = n
			}
		}
		for _, k := range some {
			counts[t.attempts(k)]++
		}
	} else {
		for k := range items {
			counts[t.attempts(k)]++
		}
	}
	o.counts[i], o.made[i] = counts, true
	switch {
	case counts["failed"] > 0:
		o.states[i] = "failed"
	case items == 0 || counts["succeeded"] > 0:
		o.states[i] = "succeeded"
	default:
		o.states[i] = "skipped"
	}
}

// attempts gives how the attempts of an item end in the end.
func (t *planned) attempts(k int) string {
	ends := t.ends[k%len(t.ends)]
	for n := 0; ; n++ {
		switch ends[min(n, len(ends)-1)] {
		case 's':
			return "succeeded"
		case 'k':
			return "skipped"
		case 'x':
			return "failed"
		}
		if n == t.limit {
			return "failed"
		}
	}
}

// judge works a whole run out. Tasks come in an order in which needs come
// first, because that is how they are drawn.
func judge(pl *plan) *oracle {
	o := &oracle{plan: pl, states: make([]string, len(pl.tasks)), counts: make([]map[string]int, len(pl.tasks)), made: make([]bool, len(pl.tasks)), result: "succeeded", clean: true}
	for i := range pl.tasks {
		if pl.tasks[i].finally {
			break
		}
		o.decide(i)
		if o.states[i] == "failed" {
			o.result, o.clean = "failed", false
		}
	}
	o.finally()
	return o
}

func (o *oracle) finally() {
	for i := range o.plan.tasks {
		if o.plan.tasks[i].finally {
			o.decide(i)
		}
	}
}

func (o *oracle) end() string {
	if o.result == "succeeded" {
		for i, t := range o.plan.tasks {
			if t.finally && o.states[i] == "failed" {
				return "failed"
			}
		}
	}
	return o.result
}

// draw makes a random plan.
func draw(t *rapid.T) *plan {
	pl := &plan{run: Run{ID: 1, Params: map[string]any{"yes": true, "n": int64(3)}}}
	n := rapid.IntRange(1, 9).Draw(t, "tasks")
	f := rapid.IntRange(0, 3).Draw(t, "finally")
	var tasks, finally pipeline.Tasks
	for i := range n + f {
		first := 0
		if i >= n {
			first = n
		}
		d := planned{name: fmt.Sprintf("t%d", i), finally: i >= n, fan: -1, list: -1, fast: rapid.Bool().Draw(t, "fast")}
		for j := first; j < i; j++ {
			if rapid.IntRange(0, 2).Draw(t, "edge") == 0 {
				d.needs = append(d.needs, j)
			}
		}
		d.limit = rapid.IntRange(0, 2).Draw(t, "limit")
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			d.fan = rapid.IntRange(0, 5).Draw(t, "items")
		case 1:
			for _, j := range d.needs {
				if pl.tasks[j].fan < 0 && pl.tasks[j].list < 0 && !pl.tasks[j].mute() {
					d.list = j
				}
			}
		}
		for range max(1, d.fan, 2) {
			d.ends = append(d.ends, rapid.SliceOfN(rapid.SampledFrom([]rune("ssssffkx")), 1, 3).Draw(t, "ends"))
		}
		pl.kind(t, &d)
		d.cond = pl.condition(t, &d, n)
		pl.tasks = append(pl.tasks, d)
		if d.finally {
			finally = append(finally, pl.model(t, &d))
		} else {
			tasks = append(tasks, pl.model(t, &d))
		}
	}
	pl.p = define(tasks, finally...)
	if rapid.IntRange(0, 2).Draw(t, "limited") == 0 {
		pl.p.MaxParallel = rapid.IntRange(1, 4).Draw(t, "max_parallel")
	}
	return pl
}

func (pl *plan) model(t *rapid.T, d *planned) *pipeline.Task {
	m := task(d.name, when(d.cond.text), outputs("v"), retry(d.limit), lost(2))
	m.ExitCodes.Fatal = []int{64}
	d.becomes(m)
	m.Outputs = append(m.Outputs, pipeline.Output{Name: "list", Schema: pipeline.Schema{Type: "array"}})
	if d.mute() {
		m.Outputs = nil
	}
	for _, j := range d.needs {
		m.Needs = append(m.Needs, pl.tasks[j].name)
	}
	switch {
	case d.list >= 0:
		forEachOf("${{ needs." + pl.tasks[d.list].name + ".outputs.list }}")(m)
	case d.fan >= 0:
		forEach(numbers(d.fan)...)(m)
		if d.fan == 0 {
			forEachOf("${{ [] }}")(m)
		}
	}
	if m.ForEach != nil {
		m.FailFast = d.fast
		m.MaxParallel = rapid.IntRange(0, 3).Draw(t, "window")
	}
	return m
}

// condition draws a condition with its meaning.
func (pl *plan) condition(t *rapid.T, d *planned, tasks int) cond {
	is := func(f func(o *oracle, t *planned) bool) func(*oracle, *planned) (bool, bool) {
		return func(o *oracle, t *planned) (bool, bool) { return f(o, t), false }
	}
	all := []cond{
		{"", true, nil},
		{"", true, nil},
		{"", true, nil},
		{"", true, nil},
		{"always()", false, nil},
		{"success()", false, is((*oracle).success)},
		{"!success()", false, is(func(o *oracle, t *planned) bool { return !o.success(t) })},
		{"any_success()", false, is(func(o *oracle, t *planned) bool { return o.any(t, "succeeded") })},
		{"failure()", false, is(func(o *oracle, t *planned) bool {
			return o.before(t, "failed") || t.finally && o.result == "failed"
		})},
		{"none_failed()", false, is(func(o *oracle, t *planned) bool {
			return !o.before(t, "failed") && !o.before(t, "canceled") && (!t.finally || o.clean)
		})},
		{"canceled()", false, is(func(o *oracle, t *planned) bool { return t.finally && o.result == "canceled" })},
		{"params.yes", true, nil},
		{"!params.yes || vars == null", true, is(func(*oracle, *planned) bool { return false })},
		{"params.n / 0 == 1", true, func(*oracle, *planned) (bool, bool) { return false, true }},
		{"params.absent == 1", true, func(*oracle, *planned) (bool, bool) { return false, true }},
	}
	for _, j := range d.needs {
		name := "needs." + pl.tasks[j].name
		all = append(all,
			cond{name + `.result == "failed"`, false, is(func(o *oracle, _ *planned) bool { return o.states[j] == "failed" })},
			cond{name + `.result in ["succeeded", "skipped"]`, false, is(func(o *oracle, _ *planned) bool { return o.states[j] == "succeeded" || o.states[j] == "skipped" })},
		)
		switch {
		case pl.tasks[j].mute():
		case pl.tasks[j].fan >= 0 && !pl.tasks[j].fast:
			all = append(all, cond{name + ".counts.failed > 0", false, is(func(o *oracle, _ *planned) bool { return o.counts[j]["failed"] > 0 })},
				cond{"size(" + name + ".outputs.v) >= 2", true, func(o *oracle, t *planned) (bool, bool) {
					// In finally nothing is implied, so a failed need may be read.
					broken := o.states[j] == "failed" || o.states[j] == "canceled"
					return o.states[j] == "succeeded" && o.counts[j]["succeeded"] >= 2, broken
				}})
		case pl.tasks[j].fan < 0 && pl.tasks[j].list < 0:
			all = append(all,
				cond{name + ".outputs.v == 1", true, func(o *oracle, _ *planned) (bool, bool) {
					return o.states[j] == "succeeded", o.states[j] != "succeeded"
				}},
				cond{`always() && has_key(` + name + `.outputs, "v")`, false, is(func(o *oracle, _ *planned) bool { return o.states[j] == "succeeded" })},
				cond{"always() && " + name + ".outputs.v == 1", false, func(o *oracle, _ *planned) (bool, bool) {
					return o.states[j] == "succeeded", o.states[j] != "succeeded"
				}},
			)
		}
	}
	if d.finally {
		j := rapid.IntRange(0, tasks-1).Draw(t, "reads")
		all = append(all,
			cond{`run.result == "failed"`, false, is(func(o *oracle, _ *planned) bool { return o.result == "failed" })},
			cond{`run.result == "canceled"`, false, is(func(o *oracle, _ *planned) bool { return o.result == "canceled" })},
			cond{`tasks.` + pl.tasks[j].name + `.result == "succeeded"`, false, is(func(o *oracle, _ *planned) bool { return o.states[j] == "succeeded" })},
		)
	}
	return rapid.SampledFrom(all).Draw(t, "if")
}
