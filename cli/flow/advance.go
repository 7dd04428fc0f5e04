package flow

import (
	"cmp"
	"fmt"
	"slices"
)

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
	return d, Missing{}
}

func (g *Graph) decideStart(in Input) (Decision, Missing) {
	in.Run.Phase, in.Run.Unfinished, in.Run.Rows = PhaseTasks, g.tasks, len(g.nodes)
	in.Look = true
	born := make([]Task, len(g.nodes))
	s := newStep(g, in)
	s.born = true
	for i := range g.nodes {
		born[i] = Task{Ordinal: i, State: Waiting, NeedsLeft: len(g.nodes[i].needs)}
		s.rows[i] = &row{Task: born[i], touched: true}
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
		if r := s.need(o); r != nil && !s.stopping() && r.State == Waiting && r.NeedsLeft == 0 && r.Fan == nil {
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
	missing struct{ tasks, outputs map[int]bool }
	born    bool // Start: every row is new
	d       Decision
	fans    []int // fan-outs to be looked at once all ends are counted
	// What may be released, before the run's max_parallel.
	may []candidate
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

// A candidate is a number that may be released, or the next count items of a
// fan-out.
type candidate struct {
	number, count int
	window        bool
	again         bool // came back: only its number is known, no row
	held          bool // was held already
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
// need there is nothing in it that is not known.
func (s *step) waiting(ordinal int) *row {
	if r := s.known(ordinal); r != nil {
		return r
	}
	if len(s.g.nodes[ordinal].needs) > 1 {
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
	if o < 0 || o >= len(s.g.nodes) || !e.State.Ended() && e.State != Waiting {
		return // a number or a state of nothing; whoever wrote it is at fault
	}
	if from, to := s.g.phaseOf(s.run.Phase); o < from || o >= to {
		return // the wake of a back-off that a cancel overtook
	}
	switch {
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

func (s *step) itemEnd(o int, e End) {
	r := s.need(o)
	if r == nil || r.Fan == nil || r.State.Ended() {
		return
	}
	if !r.listed {
		r.listed = true
		s.fans = append(s.fans, o)
	}
	if e.State == Waiting {
		if !s.stopping() && !s.failing(r) {
			s.may = append(s.may, candidate{number: e.Number, count: 1, again: true})
		}
		return
	}
	n := max(e.Count, 1)
	before := s.failing(r)
	f := r.Fan
	f.Unfinished -= n
	switch e.State {
	case Succeeded:
		f.OK += n
	case Failed:
		f.Failed += n
	case Canceled:
		f.Canceled += n
	case Skipped:
		f.Skipped += n
	}
	r.touched = true
	if s.failing(r) && !before {
		r.Reason = "" // nothing of it is held any more
		if !s.stopping() {
			s.d.CancelItems = append(s.d.CancelItems, o)
		}
	}
}

// failing says that an item failed and takes the others along.
func (s *step) failing(r *row) bool {
	return r.Fan.Failed > 0 && s.g.nodes[r.Ordinal].task.FailFast
}

// fan goes on with a fan-out after its items' ends have been counted.
func (s *step) fan(o int) {
	r := s.rows[o]
	f := r.Fan
	if f.Unfinished > 0 {
		s.window(r)
		return
	}
	state, reason := f.result(), ""
	switch state {
	case Canceled:
		reason = s.stopReason()
	case Skipped:
		reason = ReasonExitCode
	}
	detail := ""
	if state == Failed || state == Canceled {
		detail = f.detail()
	}
	s.settle(r, state, reason, detail)
}

// result is how a fan-out ends once all its items have ended.
func (f *Fan) result() State {
	switch {
	case f.Failed > 0:
		return Failed
	case f.Canceled > 0:
		return Canceled
	case f.OK > 0 || f.Items == 0:
		return Succeeded
	}
	return Skipped
}

func (f *Fan) detail() string {
	if f.Failed > 0 {
		return fmt.Sprintf("%d of %d items failed", f.Failed, f.Items)
	}
	return fmt.Sprintf("%d of %d items were canceled", f.Canceled, f.Items)
}

// stopReason is why a task that ends canceled now was canceled.
func (s *step) stopReason() string {
	if s.run.TimedOut && !s.run.CancelRequested {
		return ReasonRunTimedOut
	}
	return ReasonCanceled
}

// window offers the next items of a fan-out for release.
func (s *step) window(r *row) {
	f := r.Fan
	if s.stopping() || s.failing(r) || f.Released == f.Items {
		return
	}
	n := f.Items - f.Released
	if limit := s.g.nodes[r.Ordinal].task.MaxParallel; limit > 0 {
		flying := f.Released - (f.Items - f.Unfinished)
		n = min(n, limit-flying)
	}
	if n > 0 {
		s.may = append(s.may, candidate{number: ItemNumber(r.Ordinal, f.Released), count: n, window: true})
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
	} else if !n.strict {
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
		s.settle(r, Skipped, reason, "")
	case n.items != nil:
		s.expand(n, r)
	default:
		s.may = append(s.may, candidate{number: Number(o), count: 1})
	}
}

// foresee asks for rows that a task which never ran is going to touch, so that a long
// cascade takes few rounds. What is asked for grows with what is known: rounds
// are logarithmic and little is read in vain.
func (s *step) foresee(o int) {
	if s.born {
		return
	}
	if s.foreseen == nil {
		s.foreseen, s.budget = map[int]bool{}, 16+2*len(s.in.Tasks)
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
			if len(s.g.nodes[c].needs) > 1 && s.known(c) == nil {
				s.ask(c)
				s.budget--
			}
			for _, read := range s.g.nodes[c].when.reads.rows {
				if s.known(read) == nil {
					s.ask(read)
					s.budget--
				}
			}
		}
	}
}

// expand makes the items of a fan-out.
func (s *step) expand(n *node, r *row) {
	list, err, ok := s.list(n, r)
	if !ok {
		return
	}
	switch {
	case err != nil:
		s.broken(r, n.items.field(), err)
	case len(list) > MaxItems:
		s.broken(r, n.items.field(), tooMany(len(list)))
	case s.run.Rows+len(list) > MaxRows:
		s.settle(r, Failed, ReasonTooManyItems, fmt.Sprintf("%d items and %d rows so far, %d rows a run at most", len(list), s.run.Rows, MaxRows))
	case len(list) == 0:
		r.Fan = &Fan{}
		s.foresee(n.ordinal)
		s.settle(r, Succeeded, "", "")
	default:
		s.run.Rows += len(list)
		r.State, r.touched = Ready, true
		r.Fan = &Fan{Items: len(list), Unfinished: len(list)}
		s.d.Expand = append(s.d.Expand, Expansion{Ordinal: n.ordinal, Items: list})
		s.window(r)
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

// stop asks for everything of the phase to be canceled.
func (s *step) stop() {
	from, to := s.g.phaseOf(s.run.Phase)
	s.d.CancelPhase = &CancelPhase{From: Number(from), To: Number(to), Reason: s.stopReason()}
	if s.run.Phase == PhaseTasks && s.run.TimedOut && !s.run.CancelRequested {
		s.because(ReasonTimedOut)
	}
}

// turn goes to the next phase, or to the end of the run, when a phase is over.
func (s *step) turn() {
	if s.run.Unfinished > 0 {
		return
	}
	if s.run.Phase == PhaseTasks && s.run.Reason == "" {
		s.run.TimedOut = false // all had ended by themselves
	}
	_, finally := s.g.Size()
	if s.run.Phase == PhaseTasks && finally > 0 {
		s.run.Phase, s.run.Unfinished = PhaseFinally, finally
		from, to := s.g.phaseOf(PhaseFinally)
		for o := from; o < to; o++ {
			if s.known(o) == nil {
				s.untouched(o)
			}
		}
		for o := from; o < to; o++ {
			r := s.rows[o]
			switch {
			case s.run.CancelAgain:
				s.settle(r, Canceled, ReasonCanceled, "")
			case len(s.g.nodes[o].needs) == 0:
				s.due(o)
			}
		}
	}
	if s.run.Unfinished == 0 && !s.missed() {
		s.finish()
	}
}

// result is how the run stands: in finally, how tasks went.
func (s *step) result() State {
	state, _ := s.run.Standing()
	return state
}

func (s *step) finish() {
	f := Finish{State: s.result(), Reason: s.run.Reason, Outputs: map[string]any{}}
	if s.run.Reason == ReasonFinally && f.State == Succeeded {
		f.State = Failed
	}
	if f.State == Canceled && f.Reason == "" {
		f.Reason = ReasonCanceled
	}
	if f.State == Succeeded {
		outputs, err, ok := s.runOutputs()
		if !ok {
			return
		}
		if err != nil {
			f.State, f.Reason, f.Detail = Failed, ReasonOutputs, err.Error()
		} else {
			f.Outputs = outputs
		}
	}
	s.run.Reason = f.Reason
	s.d.Finish = &f
}

// release spends what the run's max_parallel leaves, in order of the numbers.
func (s *step) release() {
	if s.d.Finish != nil {
		return
	}
	free := 0
	if limit := s.g.p.MaxParallel; limit > 0 {
		free = max(0, limit-s.run.Active)
		s.offerHeld()
		if s.missed() {
			return
		}
		slices.SortFunc(s.may, func(a, b candidate) int { return cmp.Compare(a.number, b.number) })
	} else {
		for _, c := range s.may {
			free += c.count
		}
	}
	size := 0
	for _, c := range s.may {
		size += c.count
	}
	s.d.Release = make([]int, 0, min(free, size))
	for _, c := range s.may {
		n := min(free, c.count)
		free -= n
		for i := range n {
			s.d.Release = append(s.d.Release, c.number+i)
		}
		s.released(c, n)
	}
	slices.Sort(s.d.Release)
	s.run.Active += len(s.d.Release)
}

// released notes that n of a candidate are released and the rest is held.
func (s *step) released(c candidate, n int) {
	o, _ := Split(c.number)
	switch {
	case c.window:
		r := s.rows[o]
		reason := ""
		if n < c.count {
			reason = ReasonMaxParallel
		}
		if n > 0 || r.Reason != reason {
			r.Fan.Released += n
			r.Reason, r.touched = reason, true
		}
	case c.again && n == 0 && !c.held:
		s.d.Hold = append(s.d.Hold, c.number)
	case !c.again:
		r := s.rows[o]
		r.touched = true
		if n == 0 {
			r.Reason = ReasonMaxParallel
		} else {
			r.released = true
		}
	}
}

// offerHeld makes candidates of what the run's max_parallel held back.
func (s *step) offerHeld() {
	if s.stopping() {
		return
	}
	for _, number := range s.in.Held {
		o, index := Split(number)
		if o < 0 || o >= len(s.g.nodes) {
			continue
		}
		if s.g.nodes[o].items == nil {
			s.may = append(s.may, candidate{number: number, count: 1, again: true, held: true})
			continue
		}
		r := s.need(o)
		if r == nil || r.Fan == nil || r.State.Ended() || s.failing(r) {
			continue
		}
		if index >= 0 {
			s.may = append(s.may, candidate{number: number, count: 1, again: true, held: true})
		} else if !r.listed {
			r.listed = true
			s.window(r)
		}
	}
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
	slices.Sort(s.d.Hold)
}

func (s *step) missed() bool { return len(s.missing.tasks) > 0 || len(s.missing.outputs) > 0 }

func (s *step) lacking() Missing {
	return Missing{Tasks: sorted(s.missing.tasks), Outputs: sorted(s.missing.outputs)}
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
