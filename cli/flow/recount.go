package flow

import (
	"iter"
	"slices"
)

// Row is what a recount reads of a task's or an item's row.
type Row struct {
	Number int
	State  State
	Reason string
	// Started says that it was released at least once since the run began or a
	// rerun set it back.
	Started bool
	// Of a fan-out's own row: Expanded says that its items have been made, Again
	// which of them run this time (as Task has it).
	Expanded bool
	Again    []int
}

// Recounted is a run counted anew from its rows.
type Recounted struct {
	// Run carries the counters, and a reason if it had none and should; all
	// else in it is as it was.
	Run Run
	// Tasks are all own rows, with NeedsLeft, Trail and Fan as the states of
	// the rows want them.
	Tasks map[int]Task
	// Due are tasks that nobody has looked at although all their needs have
	// ended, and all fan-outs that have begun. They go into Input.Due.
	Due []int
}

// Recount counts a run from scratch: after a rerun has set rows back, and in
// the sweep that looks for runs nothing will ever wake. What it gives is what
// Start and Advance would have come to.
func (g *Graph) Recount(run Run, rows iter.Seq[Row]) Recounted {
	c := Recounted{Run: run, Tasks: make(map[int]Task, len(g.nodes))}
	fans := make(map[int]*Fan)
	released := make(map[int][]int) // items of fan-outs, by index
	started := make(map[int]bool)
	c.Run.Rows = 0
	for r := range rows {
		c.Run.Rows++
		o, index := Split(r.Number)
		if o < 0 || o >= len(g.nodes) {
			continue
		}
		if index < 0 {
			t := Task{Ordinal: o, State: r.State, Reason: r.Reason, Again: r.Again}
			if r.Expanded {
				t.Fan = &Fan{} // maybe without items
			}
			c.Tasks[o] = t
			started[o] = r.Started || r.State == Ready
			continue
		}
		f := fans[o]
		if f == nil {
			f = &Fan{}
			fans[o] = f
		}
		f.add(r.State)
		if r.Started || r.State == Ready {
			released[o] = append(released[o], index)
		}
	}
	order, _ := g.order()
	for _, o := range order {
		t, ok := c.Tasks[o]
		if !ok {
			continue
		}
		if f := fans[o]; f != nil {
			f.Released = t.released(released[o])
			t.Fan = f
		}
		for _, need := range g.nodes[o].needs {
			n := c.Tasks[need]
			if !n.State.Ended() {
				t.NeedsLeft++
				continue
			}
			t.Trail |= n.Trail&trailPassedOn | trailOf(n.State)
		}
		c.Tasks[o] = t
	}
	c.count(g, started)
	return c
}

// released is how far the release of a fan-out's items has come, by the items that
// were released.
func (t *Task) released(items []int) int {
	most := 0
	for _, index := range items {
		place := index
		if t.Again != nil {
			var ok bool
			if place, ok = slices.BinarySearch(t.Again, index); !ok {
				continue // one that was kept
			}
		}
		most = max(most, place+1)
	}
	return most
}

// add counts an item.
func (f *Fan) add(s State) {
	f.Items++
	switch s {
	case Succeeded:
		f.OK++
	case Failed:
		f.Failed++
	case Canceled:
		f.Canceled++
	case Skipped:
		f.Skipped++
	default:
		f.Unfinished++
	}
}

func (c *Recounted) count(g *Graph, started map[int]bool) {
	r := &c.Run
	r.Unfinished, r.Failed, r.Canceled, r.Skipped = 0, 0, 0, 0
	from, to := g.phaseOf(r.Phase)
	finally := ""
	for o := range g.nodes {
		t, ok := c.Tasks[o]
		if !ok {
			continue
		}
		switch {
		case o >= g.tasks:
			if t.State == Failed || t.State == Canceled && !r.CancelAgain {
				finally = ReasonFinally
			}
		case t.State == Failed:
			r.Failed++
		case t.State == Canceled:
			r.Canceled++
		case t.State == Skipped:
			r.Skipped++
		}
		if o < from || o >= to || t.State.Ended() {
			continue
		}
		r.Unfinished++
		if t.Fan != nil && t.State == Ready || t.State == Waiting && t.NeedsLeft == 0 && !started[o] && t.Reason == "" {
			c.Due = append(c.Due, o)
		}
	}
	// Which came first is not known any more, unless it is kept.
	switch {
	case r.Reason != "":
	case r.Failed > 0:
		r.Reason = ReasonTasks
	case r.Canceled > 0 && !r.CancelRequested && !r.TimedOut:
		r.Reason = ReasonCanceledTask
	default:
		r.Reason = finally
	}
}
