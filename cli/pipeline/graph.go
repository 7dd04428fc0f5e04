package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// checkGraph checks what tasks need: that it is there, and that it can come to
// an end.
func (d *document) checkGraph(p *pipelineDraft) {
	for _, list := range [][]*taskDraft{p.tasks, p.finally} {
		other := p.finally
		if len(list) > 0 && list[0].inFinally {
			other = p.tasks
		}
		d.checkNeeds(list, other)
		d.checkCycles(list)
	}
}

func (d *document) checkNeeds(list, other []*taskDraft) {
	byName := make(map[string]*taskDraft, len(list))
	names := make([]string, len(list))
	for i, t := range list {
		byName[t.Name], names[i] = t, t.Name
	}
	for _, t := range list {
		needs, ok := t.own["needs"]
		if !ok {
			continue
		}
		elements := needs.Content
		if len(elements) == 0 {
			elements = append(elements, needs.Node)
		}
		seen := map[string]bool{}
		var kept []string
		for _, n := range elements {
			name := n.Value
			if !slices.Contains(t.Needs, name) {
				continue // told already
			}
			s := d.at(n)
			target := byName[name]
			switch {
			case name == t.Name:
				d.failf(s, "SYN1404", "task %s needs itself", t.Name)
			case seen[name]:
				d.failf(s, "SYN1404", "task %s names %s twice", t.Name, name)
			case target == nil && slices.ContainsFunc(other, func(o *taskDraft) bool { return o.Name == name }):
				message := fmt.Sprintf("task %s needs %q, which is in finally: it runs after all tasks", t.Name, name)
				if t.inFinally {
					message = fmt.Sprintf("task %s needs %q, but finally starts when all tasks have ended anyway", t.Name, name)
				}
				d.fail(s, "SYN1404", message, "remove it")
			case target == nil:
				hint := didYouMean(name, names)
				if near := nearest(name, names); near != "" {
					hint += fmt.Sprintf(" (line %d)", d.at(byName[near].key).line)
				}
				d.fail(s, "SYN1404", fmt.Sprintf("task %s needs %s, which does not exist", t.Name, show(name)), hint)
			default:
				kept = append(kept, name)
			}
			seen[name] = true
		}
		t.Needs = kept
	}
}

// checkCycles reports one cycle, the shortest, for each task at which one can
// be entered first.
func (d *document) checkCycles(list []*taskDraft) {
	index := make(map[string]int, len(list))
	for i, t := range list {
		index[t.Name] = i
	}
	needs := make([][]int, len(list))
	for i, t := range list {
		for _, n := range t.Needs {
			needs[i] = append(needs[i], index[n])
		}
	}
	told := make([]bool, len(list))
	for _, component := range components(needs) {
		if len(component) < 2 {
			continue
		}
		first := slices.Min(component)
		if told[first] {
			continue
		}
		cycle := shortestCycle(needs, first, component)
		for _, i := range component {
			told[i] = true
		}
		// Needs point backward; people read what follows on what.
		names := []string{list[first].Name}
		for _, i := range slices.Backward(cycle[1:]) {
			names = append(names, list[i].Name)
		}
		names = append(names, list[first].Name)
		if len(names) > 12 {
			names = append(append(names[:6:6], fmt.Sprintf("… (%d more)", len(names)-11)), names[len(names)-5:]...)
		}
		d.fail(d.needSpot(list[first], list[cycle[1]].Name), "SYN1405", "cycle: "+strings.Join(names, " → "), "")
		list[first].Needs = slices.DeleteFunc(list[first].Needs, func(n string) bool { return n == list[cycle[1]].Name })
	}
}

// needSpot is where a task names what it needs.
func (d *document) needSpot(t *taskDraft, need string) spot {
	v := t.own["needs"]
	for _, n := range v.Content {
		if n.Value == need {
			return d.at(n)
		}
	}
	return d.at(v.Node)
}

// components gives the strongly connected parts of a graph (Tarjan).
func components(edges [][]int) [][]int {
	n := len(edges)
	number, low := make([]int, n), make([]int, n)
	on := make([]bool, n)
	var stack []int
	var out [][]int
	next := 0
	var visit func(int)
	visit = func(v int) {
		next++
		number[v], low[v] = next, next
		stack, on[v] = append(stack, v), true
		for _, w := range edges[v] {
			if number[w] == 0 {
				visit(w)
				low[v] = min(low[v], low[w])
			} else if on[w] {
				low[v] = min(low[v], number[w])
			}
		}
		if low[v] == number[v] {
			i := slices.Index(stack, v)
			part := slices.Clone(stack[i:])
			for _, w := range part {
				on[w] = false
			}
			stack = stack[:i]
			out = append(out, part)
		}
	}
	for v := range n {
		if number[v] == 0 {
			visit(v)
		}
	}
	return out
}

// shortestCycle gives the tasks of a shortest way from a task back to itself.
func shortestCycle(edges [][]int, start int, component []int) []int {
	from := map[int]int{}
	queue := []int{start}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for _, w := range edges[v] {
			if w == start {
				way := []int{v}
				for v != start {
					v = from[v]
					way = append(way, v)
				}
				slices.Reverse(way)
				return way
			}
			if _, seen := from[w]; !seen && slices.Contains(component, w) {
				from[w] = v
				queue = append(queue, w)
			}
		}
	}
	return []int{start}
}
