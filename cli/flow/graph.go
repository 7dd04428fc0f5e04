package flow

import (
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// A Graph is a definition compiled for decisions. It never changes, and any
// number of goroutines may use it at once: keep one per revision.
type Graph struct {
	p     *pipeline.Pipeline
	nodes []node // by ordinal: tasks, then finally
	tasks int    // how many of them belong to the phase tasks
	// start is the first decision, where it does not depend on the run.
	start   *Decision
	create  creation
	outputs []runOutput
	// What some task waits for, if executors are not all that is needed.
	waits, asks, calls, polls bool
}

// A node is one task of the graph.
type node struct {
	task     *pipeline.Task
	ordinal  int
	finally  bool
	needs    []int
	children []int
	when     condition
	items    *items  // nil: no fan-out
	awaits   *awaits // nil: executors run it
	// strict says that the task runs only if everything before it succeeded:
	// nothing can be learned from its row about what was before it.
	strict bool
}

// Compile prepares a definition that has been checked.
func Compile(p *pipeline.Pipeline) (*Graph, error) {
	g := &Graph{p: p, tasks: len(p.Tasks), nodes: make([]node, len(p.Tasks)+len(p.Finally))}
	byName := [2]map[string]int{{}, {}}
	for i := range g.nodes {
		n := &g.nodes[i]
		n.ordinal, n.finally = i, i >= g.tasks
		if n.finally {
			n.task = p.Finally[i-g.tasks]
		} else {
			n.task = p.Tasks[i]
		}
		if n.task.Ordinal != i {
			return nil, fmt.Errorf("task %s: ordinal %d in place %d", n.task.Name, n.task.Ordinal, i)
		}
		byName[phaseIndex(n.finally)][n.task.Name] = i
	}
	for i := range g.nodes {
		n := &g.nodes[i]
		for _, need := range n.task.Needs {
			o, ok := byName[phaseIndex(n.finally)][need]
			if !ok {
				return nil, fmt.Errorf("task %s: needs %s, which does not exist", n.task.Name, need)
			}
			n.needs = append(n.needs, o)
			g.nodes[o].children = append(g.nodes[o].children, i)
		}
	}
	if err := g.compileExpressions(); err != nil {
		return nil, err
	}
	order, err := g.order()
	if err != nil {
		return nil, err
	}
	for _, o := range order {
		n := &g.nodes[o]
		n.strict = n.when.implied && !n.finally
		for _, need := range n.needs {
			n.strict = n.strict && g.nodes[need].strict
		}
	}
	g.precomputeStart()
	return g, nil
}

func phaseIndex(finally bool) int {
	if finally {
		return 1
	}
	return 0
}

// order gives the ordinals so that needs come before those who need them.
func (g *Graph) order() ([]int, error) {
	left := make([]int, len(g.nodes))
	order := make([]int, 0, len(g.nodes))
	for i := range g.nodes {
		if left[i] = len(g.nodes[i].needs); left[i] == 0 {
			order = append(order, i)
		}
	}
	for i := 0; i < len(order); i++ {
		for _, c := range g.nodes[order[i]].children {
			if left[c]--; left[c] == 0 {
				order = append(order, c)
			}
		}
	}
	if len(order) < len(g.nodes) {
		return nil, fmt.Errorf("pipeline %s: a cycle among its tasks", g.p.Name)
	}
	return order, nil
}

// Pipeline is the definition that was compiled.
func (g *Graph) Pipeline() *pipeline.Pipeline { return g.p }

// Task is the task with an ordinal, nil if there is none.
func (g *Graph) Task(ordinal int) *pipeline.Task {
	if ordinal < 0 || ordinal >= len(g.nodes) {
		return nil
	}
	return g.nodes[ordinal].task
}

// Ordinal finds a task by its name in tasks or finally.
func (g *Graph) Ordinal(name string) (int, bool) {
	for i := range g.nodes {
		if g.nodes[i].task.Name == name {
			return i, true
		}
	}
	return 0, false
}

// Size is how many tasks each phase has.
func (g *Graph) Size() (tasks, finally int) { return g.tasks, len(g.nodes) - g.tasks }

// Fan says whether a task is a fan-out: its items run, not the task itself.
func (g *Graph) Fan(ordinal int) bool { return g.nodes[ordinal].items != nil }

// Awaits says whether any task waits for what no executor does: decisions then
// need Input.Now. Such a task is never released.
func (g *Graph) Awaits() bool { return g.waits || g.asks || g.calls }

// Waits says whether a task, or each of its items, waits for what no executor
// does.
func (g *Graph) Waits(ordinal int) bool { return g.nodes[ordinal].awaits != nil }

// Waiting says whether a number is of a task, or of an item, that waits for what
// no executor does.
func (g *Graph) Waiting(number int) bool {
	o, index := Split(number)
	return g.nodes[o].awaits != nil && (index >= 0) == (g.nodes[o].items != nil)
}

// Asks says whether any task waits for a person.
func (g *Graph) Asks() bool { return g.asks }

// Calls says whether any task waits for a run of another pipeline.
func (g *Graph) Calls() bool { return g.calls }

// Polls says whether any task waits for the answer of a service.
func (g *Graph) Polls() bool { return g.polls }

// NeedsActive says that decisions need Run.Active and Input.Held.
func (g *Graph) NeedsActive() bool { return g.p.MaxParallel > 0 }

// MaxParallel is how many tasks and items of one run may be active, 0 for any.
func (g *Graph) MaxParallel() int { return g.p.MaxParallel }

// phaseOf is the half-open range of ordinals of a phase.
func (g *Graph) phaseOf(p Phase) (from, to int) {
	if p == PhaseFinally {
		return g.tasks, len(g.nodes)
	}
	return 0, g.tasks
}

// precomputeStart keeps the first decision if nothing in it depends on the run:
// the case of almost every pipeline.
func (g *Graph) precomputeStart() {
	if g.NeedsActive() {
		return
	}
	for i := range g.nodes[:g.tasks] {
		n := &g.nodes[i]
		if len(n.needs) == 0 && (n.when.program != nil || n.items != nil || n.awaits != nil) {
			return
		}
	}
	d, missing := g.decideStart(Input{})
	if missing.None() && d.Finish == nil {
		g.start = &d
	}
}
