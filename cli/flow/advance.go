package flow

import "slices"

// Start is the first decision of a run that was admitted: its tasks are born,
// and those without needs are looked at.
func (g *Graph) Start(in Input) (Decision, Missing) {
	r := &in.Run
	if g.start == nil || r.CancelRequested || r.TimedOut {
		return g.decideStart(in)
	}
	d := *g.start
	d.Run = *r
	d.Run.Phase, d.Run.Unfinished, d.Run.Rows = g.start.Run.Phase, g.start.Run.Unfinished, g.start.Run.Rows
	d.Changes = slices.Clone(d.Changes)
	d.Release = slices.Clone(d.Release)
	d.Run.Active += len(d.Release)
	return d, Missing{}
}

func (g *Graph) decideStart(in Input) (Decision, Missing) {
	in.Run.Phase, in.Run.Unfinished, in.Run.Rows = PhaseTasks, g.tasks, len(g.nodes)
	in.Look = true
	s := newStep(g, in)
	s.born = true
	for i := range g.nodes {
		r := s.untouched(i)
		r.from, r.touched = "", true
	}
	if !s.stopping() {
		for i := range g.nodes[:g.tasks] {
			if len(g.nodes[i].needs) == 0 {
				s.due(i)
			}
		}
	}
	return s.close()
}

// Advance takes ends into account. When something is missing nothing has been
// decided: load it and ask again with the same ends.
func (g *Graph) Advance(in Input) (Decision, Missing) {
	s := newStep(g, in)
	for _, e := range in.Ends {
		s.end(e)
	}
	for _, o := range in.Due {
		switch r := s.need(o); {
		case r == nil || r.State.Ended():
		case r.Fan != nil && r.State == Ready:
			s.recounted(r)
		case !s.stopping() && r.State == Waiting && r.NeedsLeft == 0:
			s.due(o)
		}
	}
	return s.close()
}

// A step is one decision being made.
type step struct {
	g       *Graph
	in      *Input
	run     Run
	rows    map[int]*row
	missing struct{ tasks, outputs, awaited map[int]bool }
	born    bool // Start: every row is new
	d       Decision
	fans    []int // fan-outs to be looked at once all ends are counted
	// What may be released, before the run's max_parallel.
	may      []candidate
	looked   map[int]bool  // numbers that look has been at
	expanded map[int][]any // items of fan-outs made by this decision
	// What foresee has been through, and how many rows it may still ask for.
	foreseen map[int]bool
	budget   int
}

// A row is the working copy of a task's own row.
type row struct {
	Task
	from     State
	touched  bool // differs from the database
	released bool
	listed   bool // in step.fans
}

func newStep(g *Graph, in Input) *step {
	return &step{g: g, in: &in, run: in.Run, rows: make(map[int]*row, len(in.Tasks)+len(in.Ends))}
}

// stopping says that nothing of the present phase starts any more.
func (s *step) stopping() bool {
	if s.run.Phase == PhaseFinally {
		return s.run.CancelAgain
	}
	return s.run.CancelRequested || s.run.TimedOut
}

// known is the row of a task if it was loaded, born or changed.
func (s *step) known(ordinal int) *row {
	if r, ok := s.rows[ordinal]; ok {
		return r
	}
	t, ok := s.in.Tasks[ordinal]
	if !ok {
		return nil
	}
	if t.Fan != nil {
		fan := *t.Fan
		t.Fan = &fan
	}
	r := &row{Task: t, from: t.State}
	s.rows[ordinal] = r
	return r
}

// need is known, or asks for the row.
func (s *step) need(ordinal int) *row {
	r := s.known(ordinal)
	if r == nil {
		s.ask(ordinal)
	}
	return r
}

func (s *step) ask(ordinal int) {
	if s.missing.tasks == nil {
		s.missing.tasks = map[int]bool{}
	}
	s.missing.tasks[ordinal] = true
}

// waiting is the row of a task of which one need is about to end. With a single
// need there is nothing in it that is not known, unless a rerun has been there.
func (s *step) waiting(ordinal int) *row {
	if r := s.known(ordinal); r != nil {
		return r
	}
	if len(s.g.nodes[ordinal].needs) > 1 || s.run.Reopened {
		s.ask(ordinal)
		return nil
	}
	return s.untouched(ordinal)
}

// untouched is the row of a task that nothing has happened to.
func (s *step) untouched(ordinal int) *row {
	r := &row{Task: Task{Ordinal: ordinal, State: Waiting, NeedsLeft: len(s.g.nodes[ordinal].needs)}, from: Waiting}
	s.rows[ordinal] = r
	return r
}

// end takes one end into account.
func (s *step) end(e End) {
	o, index := Split(e.Number)
	if e.Number < 0 || o >= len(s.g.nodes) || !e.State.Ended() && e.State != Waiting {
		return // a number or a state of nothing; whoever wrote it is at fault
	}
	if from, to := s.g.phaseOf(s.run.Phase); o < from || o >= to {
		return // the wake of a back-off that a cancel overtook
	}
	switch {
	case e.State == Waiting && s.g.nodes[o].awaits != nil:
		s.look(e.Number)
	case index < 0 && e.State == Waiting:
		if !s.stopping() {
			s.may = append(s.may, candidate{number: e.Number, count: 1, again: true})
		}
	case index < 0:
		s.ended(o, e.State)
	default:
		s.itemEnd(o, e)
	}
}

// settle ends a task by decision: its row says so from now on.
func (s *step) settle(r *row, state State, reason, detail string) {
	r.State, r.Reason, r.Detail, r.touched = state, reason, detail, true
	s.ended(r.Ordinal, state)
}

// ended counts the end of a task and looks at those that needed it.
func (s *step) ended(o int, state State) {
	s.count(state)
	n := &s.g.nodes[o]
	if s.stopping() || len(n.children) == 0 {
		return
	}
	var trail Trail
	if r := s.known(o); r != nil {
		trail = r.Trail & trailPassedOn
	} else if !n.strict || s.run.Reopened {
		s.ask(o)
	}
	trail |= trailOf(state)
	for _, c := range n.children {
		r := s.waiting(c)
		if r == nil || r.State != Waiting || r.NeedsLeft == 0 {
			continue
		}
		r.NeedsLeft--
		r.Trail |= trail
		r.touched = true
		if r.NeedsLeft == 0 {
			s.due(c)
		}
	}
}

// count keeps the counters of the run.
func (s *step) count(state State) {
	r := &s.run
	r.Unfinished--
	cause := ""
	switch state {
	case Failed:
		cause = ReasonTasks
	case Canceled:
		if !s.stopping() {
			cause = ReasonCanceledTask
		}
	}
	if r.Phase == PhaseFinally {
		if cause != "" {
			s.because(ReasonFinally)
		}
		return
	}
	switch state {
	case Failed:
		r.Failed++
	case Canceled:
		r.Canceled++
	case Skipped:
		r.Skipped++
	}
	if cause != "" {
		s.because(cause)
	}
}

// because keeps the first reason that came true.
func (s *step) because(reason string) {
	if s.run.Reason == "" {
		s.run.Reason = reason
	}
}

// due looks at a task all of whose needs have ended.
func (s *step) due(o int) {
	n := &s.g.nodes[o]
	r := s.rows[o]
	yes, err, ok := s.holds(n, r)
	switch {
	case !ok:
		return // something is missing
	case err != nil:
		s.broken(r, "if", err)
	case !yes:
		reason := ReasonCondition
		if !s.success(n, r) {
			reason = ReasonUpstream
		}
		s.foresee(o)
		s.skipItems(r)
		s.settle(r, Skipped, reason, "")
	case r.Fan != nil:
		s.resume(r)
	case n.items != nil:
		s.expand(n, r)
	case n.awaits != nil:
		s.await(n, r)
	default:
		s.may = append(s.may, candidate{number: Number(o), count: 1})
	}
}

// foresee asks for rows that a task which never ran is going to touch, and for the
// outputs that what comes after it reads, so that a long cascade takes few
// rounds. What is asked for grows with what is known: rounds are logarithmic and
// little is read in vain.
func (s *step) foresee(o int) {
	if s.born {
		return
	}
	if s.foreseen == nil {
		s.foreseen, s.budget = map[int]bool{}, 16+2*(len(s.in.Tasks)+len(s.in.Outputs))
	}
	queue := []int{o}
	for len(queue) > 0 && s.budget > 0 {
		n := &s.g.nodes[queue[0]]
		queue = queue[1:]
		for _, c := range n.children {
			if s.foreseen[c] || s.budget <= 0 {
				continue
			}
			s.foreseen[c] = true
			queue = append(queue, c)
			if (len(s.g.nodes[c].needs) > 1 || s.run.Reopened) && s.known(c) == nil {
				s.ask(c)
				s.budget--
			}
			for _, read := range s.g.nodes[c].when.reads.rows {
				if s.known(read) == nil {
					s.ask(read)
					s.budget--
				}
			}
			s.budget -= s.askOutputs(s.g.nodes[c].when.reads)
		}
	}
}

// close makes the decision whole.
func (s *step) close() (Decision, Missing) {
	slices.Sort(s.fans) // so that a batch does not depend on the order of its ends
	for _, o := range s.fans {
		s.fan(o)
	}
	if s.missed() {
		return Decision{}, s.lacking()
	}
	// An item that came back in the same batch as the failure of another.
	s.may = slices.DeleteFunc(s.may, func(c candidate) bool {
		o, index := Split(c.number)
		return c.again && index >= 0 && s.failing(s.rows[o])
	})
	if s.in.Look && s.stopping() && s.run.Unfinished > 0 {
		s.stop()
	}
	if s.in.Look && s.run.CancelRequested {
		s.because(ReasonCanceled)
	}
	s.turn()
	if s.missed() {
		return Decision{}, s.lacking()
	}
	s.release()
	if s.missed() {
		return Decision{}, s.lacking()
	}
	s.d.Run = s.run
	s.changes()
	return s.d, Missing{}
}

// changes lists the rows that differ, in file order.
func (s *step) changes() {
	n := 0
	for _, r := range s.rows {
		if r.touched {
			n++
		}
	}
	s.d.Changes = make([]Change, 0, n)
	for _, r := range s.rows {
		if r.touched {
			s.d.Changes = append(s.d.Changes, Change{Task: r.Task, From: r.from, Released: r.released})
		}
	}
	slices.SortFunc(s.d.Changes, func(a, b Change) int { return a.Ordinal - b.Ordinal })
	slices.SortFunc(s.d.Expand, func(a, b Expansion) int { return a.Ordinal - b.Ordinal })
	slices.Sort(s.d.CancelItems)
	slices.Sort(s.d.SkipItems)
	slices.Sort(s.d.Hold)
	slices.SortFunc(s.d.Await, func(a, b Awaiting) int { return a.Number - b.Number })
	slices.SortFunc(s.d.Settle, func(a, b Settled) int { return a.Number - b.Number })
	slices.Sort(s.d.StopChildren)
}

func (s *step) missed() bool {
	return len(s.missing.tasks) > 0 || len(s.missing.outputs) > 0 || len(s.missing.awaited) > 0
}

func (s *step) lacking() Missing {
	return Missing{Tasks: sorted(s.missing.tasks), Outputs: sorted(s.missing.outputs), Awaited: sorted(s.missing.awaited)}
}

func sorted(set map[int]bool) []int {
	if len(set) == 0 {
		return nil
	}
	list := make([]int, 0, len(set))
	for o := range set {
		list = append(list, o)
	}
	slices.Sort(list)
	return list
}
