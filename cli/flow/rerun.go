package flow

import (
	"iter"
	"slices"
)

// A RerunMode says what of an ended run runs again.
type RerunMode string

// The modes.
const (
	RerunFailed RerunMode = "failed" // what did not go well, and what depends on it
	RerunFrom   RerunMode = "from"   // one task and what depends on it
	RerunAll    RerunMode = "all"
)

// A Reset is what goes back to Waiting when an ended run runs again. What is not
// in it stays as it is, with its outputs.
type Reset struct {
	// Tasks are the own rows that go back, in file order; none means that
	// nothing runs again. Tasks under finally go back whenever one does.
	Tasks []ResetTask
	// Items are the numbers of the items that go back, ascending.
	Items []int
	// Run carries the counters as they are then.
	Run Run
}

// A ResetTask is a task's own row as it is to be.
type ResetTask struct {
	Task
	From State // the state that it leaves
	// Chosen says that it was asked for by itself: it failed or was canceled, or
	// it is the one to begin with. Others depend on it, or are under finally.
	Chosen bool
}

// Counts says how many tasks run again because of themselves, how many because
// they come after those, and how many under finally.
func (r *Reset) Counts(g *Graph) (chosen, after, finally int) {
	for _, t := range r.Tasks {
		switch {
		case t.Ordinal >= g.tasks:
			finally++
		case t.Chosen:
			chosen++
		default:
			after++
		}
	}
	return chosen, after, finally
}

// Rerun decides what of an ended run runs again. from is the ordinal of the task
// to begin with, for RerunFrom; rows are all rows of the run.
//
// Items of a fan-out that did not go well run again alone, and the others keep
// their outputs, when it is RerunFailed and nothing before the fan-out runs
// again. Else all of them do. The list of items stays in any case.
func (g *Graph) Rerun(mode RerunMode, from int, rows iter.Seq[Row]) Reset {
	own, items := g.split(rows)
	chosen := make([]bool, len(g.nodes))
	switch mode {
	case RerunFrom:
		if from >= 0 && from < len(g.nodes) {
			chosen[from] = true
		}
	case RerunAll:
		for o := range chosen {
			chosen[o] = true
		}
	case RerunFailed:
		for o, r := range own {
			chosen[o] = undone(r)
		}
	}
	return g.reset(chosen, mode == RerunFailed, own, items)
}

// undone says that a task did not go well, or did not run because of one that did not.
func undone(r Row) bool {
	return r.State == Failed || r.State == Canceled || r.State == Skipped && r.Reason == ReasonUpstream
}

// split sorts rows into own rows by ordinal and items by ordinal, in order.
func (g *Graph) split(rows iter.Seq[Row]) (own map[int]Row, items map[int][]Row) {
	own, items = make(map[int]Row, len(g.nodes)), map[int][]Row{}
	for r := range rows {
		o, index := Split(r.Number)
		switch {
		case r.Number < 0 || o >= len(g.nodes):
		case index < 0:
			own[o] = r
		default:
			items[o] = append(items[o], r)
		}
	}
	for _, list := range items {
		slices.SortFunc(list, func(a, b Row) int { return a.Number - b.Number })
	}
	return own, items
}

// reset sets back what is chosen, what depends on it, and finally. keep says that
// items which went well stay, where nothing before their fan-out is set back.
func (g *Graph) reset(chosen []bool, keep bool, own map[int]Row, items map[int][]Row) Reset {
	again := slices.Clone(chosen)
	after := make([]bool, len(g.nodes)) // something before it runs again
	any := false
	order, _ := g.order()
	for _, o := range order {
		if _, there := own[o]; !there {
			again[o] = false
			continue
		}
		for _, need := range g.nodes[o].needs {
			after[o] = after[o] || again[need]
		}
		again[o] = again[o] || after[o]
		any = any || again[o]
	}
	if !any {
		return Reset{}
	}
	var out Reset
	for o := range g.nodes {
		r, there := own[o]
		if !there || !again[o] && o < g.tasks {
			continue
		}
		if o >= g.tasks {
			again[o], after[o] = true, true
		}
		t := ResetTask{From: r.State, Chosen: chosen[o] && (r.State != Skipped || !keep)}
		r.State, r.Reason, r.Started, r.Again = Waiting, "", false, nil
		all := items[o]
		if keep && !after[o] {
			r.Again = itemsUndone(all)
		}
		for i := range all {
			_, index := Split(all[i].Number)
			if _, ok := slices.BinarySearch(r.Again, index); r.Again != nil && !ok {
				continue
			}
			out.Items = append(out.Items, all[i].Number)
			all[i].State, all[i].Reason, all[i].Started = Waiting, "", false
		}
		own[o] = r
		t.Ordinal = o
		out.Tasks = append(out.Tasks, t)
	}
	counted := g.Recount(Run{Phase: PhaseTasks, Reopened: true}, joined(own, items))
	for i := range out.Tasks {
		out.Tasks[i].Task = counted.Tasks[out.Tasks[i].Ordinal]
	}
	out.Run = counted.Run
	return out
}

// itemsUndone are the indexes of the items that did not go well; nil if all have
// to run again, also because none is to blame.
func itemsUndone(items []Row) []int {
	var list []int
	for _, r := range items {
		if r.State == Failed || r.State == Canceled {
			_, index := Split(r.Number)
			list = append(list, index)
		}
	}
	if len(list) == len(items) {
		return nil
	}
	return list
}

// joined are rows that split took apart.
func joined(own map[int]Row, items map[int][]Row) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for _, r := range own {
			if !yield(r) {
				return
			}
		}
		for _, list := range items {
			for _, r := range list {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// Blocked gives the names of the needs because of which a rerun from a task would
// skip it again at once.
func (g *Graph) Blocked(ordinal int, rows iter.Seq[Row]) []string {
	n := &g.nodes[ordinal]
	if !n.when.implied {
		return nil
	}
	own, _ := g.split(rows)
	var names []string
	for _, need := range n.needs {
		if own[need].State != Succeeded {
			names = append(names, g.nodes[need].task.Name)
		}
	}
	return names
}

// A Marked is what it means that somebody says how a task of an ended run, or an
// item, has ended.
type Marked struct {
	// Task is the own row: the marked one, or that of the marked item's fan-out
	// with its counters and the state that follows from them.
	Task Task
	From State // what the own row was
	// Reset is what runs now that did not because of how the task had ended.
	Reset Reset
	// Run carries the counters, and how the run stands if nothing runs.
	Run Run
	// Tasks are all own rows as they are then, for Verdict.
	Tasks map[int]Task
}

// Mark decides what follows when a task or an item of an ended run is said to
// have ended in state. run says whether the run was canceled or ran out of time.
//
// What was skipped because of what came before it runs now, if it may: with
// everything that depends on it, and with finally. What has run stays as it is,
// whatever it would do now, and a mark under finally makes nothing run.
func (g *Graph) Mark(run Run, number int, state State, rows iter.Seq[Row]) Marked {
	own, items := g.split(rows)
	o, index := Split(number)
	r := own[o]
	m := Marked{From: r.State}
	detail := ""
	if index < 0 {
		r.State, r.Reason = state, ReasonMarked
	} else {
		var f Fan
		for i, it := range items[o] {
			if it.Number == number {
				items[o][i].State = state
			}
			f.add(items[o][i].State)
		}
		if f.result() != r.State {
			r.State, r.Reason = f.result(), ReasonMarked
		}
		if f.Failed+f.Canceled > 0 {
			detail = f.detail()
		}
	}
	own[o] = r
	counted := g.Recount(run, joined(own, items))
	m.Run, m.Tasks, m.Task = counted.Run, counted.Tasks, counted.Tasks[o]
	m.Task.Detail = detail
	if r.State == m.From || o >= g.tasks || r.State == Failed {
		return m
	}
	// Who may run now: skipped because of a task before it, and nothing but what
	// was marked, or will run, stands in its way any more.
	chosen := make([]bool, len(g.nodes))
	order, _ := g.order()
	for _, c := range order {
		n := &g.nodes[c]
		if !undone(own[c]) || own[c].State != Skipped {
			continue
		}
		follows, blocked := false, false
		for _, need := range n.needs {
			follows = follows || need == o || chosen[need]
			blocked = blocked || n.when.implied && !chosen[need] && own[need].State != Succeeded
		}
		chosen[c] = follows && !blocked
	}
	m.Reset = g.reset(chosen, false, own, items)
	return m
}

// Verdict is how an ended run stands by its rows: what it would end as if it ended
// now. It may ask for outputs.
func (g *Graph) Verdict(in Input) (Finish, Missing) {
	s := newStep(g, in)
	s.run.Phase, s.run.Unfinished = PhaseFinally, 0
	s.finish()
	if s.missed() {
		return Finish{}, s.lacking()
	}
	return *s.d.Finish, Missing{}
}
