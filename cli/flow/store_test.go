package flow

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// A store is a run in memory. It does what the caller of flow does on tables,
// and refuses whatever tables would refuse.
type store struct {
	g     *Graph
	run   Run
	tasks map[int]*Task // own rows
	items map[int]*item // by number
	// The queues. A number is in one of them or waits.
	ready   map[int]bool
	live    map[int]string // why it was asked to stop
	outputs map[int]map[string]any
	budgets map[int]Budget
	started map[int]bool
	awaits  map[int]*Awaited // what waits for no executor, or did
	now     time.Time

	pending []End // told to nobody yet
	look    bool
	done    *Finish
	rounds  int // most rounds of Missing so far
	loaded  int // rows and outputs loaded
	errs    []string
	most    int // most active at once
	order   []int
	// cancelInTasks says that the cancel came before finally began.
	cancelInTasks bool
}

type item struct {
	state  State
	reason string
	value  any
}

func newStore(g *Graph, run Run) *store {
	s := &store{
		g: g, run: run, tasks: map[int]*Task{}, items: map[int]*item{}, ready: map[int]bool{}, live: map[int]string{},
		outputs: map[int]map[string]any{}, budgets: map[int]Budget{}, started: map[int]bool{},
		awaits: map[int]*Awaited{}, now: time.Date(2026, 11, 22, 5, 30, 0, 0, time.UTC),
	}
	return s
}

func (s *store) fail(format string, args ...any) {
	s.errs = append(s.errs, fmt.Sprintf(format, args...))
}

func (s *store) state(number int) State {
	o, index := Split(number)
	if index >= 0 {
		if it := s.items[number]; it != nil {
			return it.state
		}
		return ""
	}
	if t := s.tasks[o]; t != nil {
		return t.State
	}
	return ""
}

func (s *store) set(number int, state State, reason string) {
	o, index := Split(number)
	if index >= 0 {
		s.items[number].state, s.items[number].reason = state, reason
		return
	}
	s.tasks[o].State, s.tasks[o].Reason = state, reason
}

func (s *store) start() { s.decide(s.g.Start, nil, true) }

// advance tells n of the pending ends, in the order given by pick.
func (s *store) advance(batch []End, due []int) {
	look := s.look
	s.look = false
	if s.run.CancelRequested && s.run.Phase == PhaseTasks {
		s.cancelInTasks = true
	}
	s.decideDue(s.g.Advance, batch, due, look)
}

func (s *store) decide(f func(Input) (Decision, Missing), ends []End, look bool) {
	s.decideDue(f, ends, nil, look)
}

func (s *store) decideDue(f func(Input) (Decision, Missing), ends []End, due []int, look bool) {
	if s.done != nil {
		if len(ends) > 0 {
			s.fail("ends after the end of the run: %v", ends)
		}
		return
	}
	in := Input{Run: s.run, Ends: ends, Look: look, Due: due, Tasks: map[int]Task{}, Outputs: map[int]map[string]any{}, Awaited: map[int]Awaited{}, Now: s.now, Random: 0.5}
	in.Run.Active = len(s.ready) + len(s.live)
	if s.g.NeedsActive() {
		in.Held = s.held()
	}
	for rounds := 1; ; rounds++ {
		d, missing := f(in)
		if missing.None() {
			s.rounds = max(s.rounds, rounds)
			s.apply(d)
			return
		}
		if rounds > 20 {
			s.fail("still missing %v after %d rounds", missing, rounds)
			return
		}
		for _, o := range missing.Tasks {
			t, ok := s.tasks[o]
			if _, again := in.Tasks[o]; again || !ok {
				s.fail("task %d asked for twice, or unknown", o)
				return
			}
			in.Tasks[o] = clone(*t)
			s.loaded++
		}
		for _, o := range missing.Outputs {
			if _, again := in.Outputs[o]; again {
				s.fail("outputs of %d asked for twice", o)
				return
			}
			in.Outputs[o] = s.collect(o)
			s.loaded++
		}
		for _, n := range missing.Awaited {
			if _, again := in.Awaited[n]; again {
				s.fail("%d asked for twice", n)
				return
			}
			in.Awaited[n] = s.awaited(n)
		}
	}
}

func clone(t Task) Task {
	if t.Fan != nil {
		f := *t.Fan
		t.Fan = &f
	}
	return t
}

// collect gives the outputs of a task as the caller would load them.
func (s *store) collect(o int) map[string]any {
	if !s.g.Fan(o) {
		return s.outputs[Number(o)]
	}
	out := map[string]any{}
	t := s.tasks[o]
	if t.Fan == nil {
		return nil
	}
	for i := range t.Fan.Items {
		n := ItemNumber(o, i)
		if s.items[n].state != Succeeded {
			continue
		}
		for _, declared := range s.g.Task(o).Outputs {
			list, _ := out[declared.Name].([]any)
			out[declared.Name] = append(list, s.outputs[n][declared.Name])
		}
	}
	return out
}

func (s *store) held() []int {
	var held []int
	for o, t := range s.tasks {
		if t.State == Waiting && t.Reason == ReasonMaxParallel || t.Fan != nil && t.State == Ready && t.Reason == ReasonMaxParallel {
			held = append(held, Number(o))
		}
	}
	for n, it := range s.items {
		if it.state == Waiting && it.reason == ReasonMaxParallel {
			held = append(held, n)
		}
	}
	slices.Sort(held)
	if limit := s.g.MaxParallel(); len(held) > limit {
		held = held[:limit]
	}
	return held
}

// apply makes a decision true.
func (s *store) apply(d Decision) {
	s.run = d.Run
	for _, c := range d.Changes {
		t := s.tasks[c.Ordinal]
		switch {
		case c.From == "" && t != nil:
			s.fail("task %d born twice", c.Ordinal)
		case c.From != "" && (t == nil || t.State != c.From):
			s.fail("task %d leaves %s but is %+v", c.Ordinal, c.From, t)
		case c.From.Ended():
			s.fail("task %d leaves the end state %s", c.Ordinal, c.From)
		}
		row := clone(c.Task)
		s.tasks[c.Ordinal] = &row
		if c.Released && !slices.Contains(d.Release, Number(c.Ordinal)) {
			s.fail("task %d is released but not in Release", c.Ordinal)
		}
	}
	for _, e := range d.Expand {
		for i, v := range e.Items {
			n := ItemNumber(e.Ordinal, i)
			if s.items[n] != nil {
				s.fail("item %d made twice", n)
			}
			s.items[n] = &item{state: Waiting, value: v}
		}
	}
	s.applyAwaits(d)
	for _, n := range d.Hold {
		if s.state(n) != Waiting {
			s.fail("%d is held but %s", n, s.state(n))
		}
		s.set(n, Waiting, ReasonMaxParallel)
	}
	if !slices.IsSorted(d.Release) {
		s.fail("release out of order: %v", d.Release)
	}
	for _, n := range d.Release {
		if s.state(n) != Waiting {
			s.fail("%d is released but %s", n, s.state(n))
		}
		s.set(n, Ready, "")
		s.ready[n], s.started[n] = true, true
		s.order = append(s.order, n)
	}
	s.most = max(s.most, len(s.ready)+len(s.live))
	for _, o := range d.SkipItems {
		if !s.tasks[o].State.Ended() {
			s.fail("the items of %d are skipped, and it is %s", o, s.tasks[o].State)
		}
		for n, it := range s.items {
			if of, _ := Split(n); of == o && it.state == Waiting {
				it.state, it.reason = Skipped, s.tasks[o].Reason
			}
		}
	}
	if d.Finish != nil {
		s.done = d.Finish
		if len(d.Release) > 0 || len(s.ready) > 0 || len(s.live) > 0 {
			s.fail("the run ended with work left: release %v, ready %v, live %v", d.Release, s.ready, s.live)
		}
	}
	var bulk []End
	for _, e := range d.Settle {
		if e.State.Ended() {
			bulk = append(bulk, End{Number: e.Number, State: e.State})
		}
	}
	for _, o := range d.CancelItems {
		bulk = append(bulk, s.cancel(ItemNumber(o, 0), Number(o+1), ReasonFailFast)...)
	}
	if p := d.CancelPhase; p != nil {
		bulk = append(bulk, s.cancel(p.From, p.To, p.Reason)...)
	}
	if len(bulk) > 0 {
		s.decide(s.g.Advance, bulk, false)
	}
}

// cancel is the bulk that a caller does by SQL.
func (s *store) cancel(from, to int, reason string) []End {
	counts := map[int]int{}
	hit := func(n int) {
		o, index := Split(n)
		if t := s.tasks[o]; index < 0 && t.Fan != nil && t.Fan.Items > 0 {
			return // ends with its items
		}
		s.set(n, Canceled, reason)
		if index >= 0 {
			counts[ItemNumber(o, 0)]++
		} else {
			counts[n]++
		}
	}
	numbers := slices.Collect(maps.Keys(s.items))
	for o := range s.tasks {
		numbers = append(numbers, Number(o))
	}
	for _, n := range numbers {
		if n < from || n >= to {
			continue
		}
		if s.ready[n] {
			delete(s.ready, n)
			hit(n)
		} else if s.state(n) == Waiting && !s.stopChild(n, reason) {
			hit(n)
		}
	}
	for n := range s.live {
		if n >= from && n < to && s.live[n] == "" {
			s.live[n] = reason
		}
	}
	var ends []End
	for n, count := range counts {
		_, index := Split(n)
		if index < 0 {
			count = 0
		}
		ends = append(ends, End{Number: n, State: Canceled, Count: count})
	}
	slices.SortFunc(ends, func(a, b End) int { return a.Number - b.Number })
	return ends
}

func (s *store) claim(n int) {
	delete(s.ready, n)
	s.live[n] = ""
}

// finish ends the live attempt of n and queues what flow has to be told.
func (s *store) finish(n int, e AttemptEnd, outputs map[string]any) {
	o, _ := Split(n)
	e.StopReason = s.live[n]
	delete(s.live, n)
	after := AfterAttempt(s.g.Task(o), s.budgets[n], e, 0.5)
	s.budgets[n] = after.Budget
	if after.State == Succeeded {
		s.outputs[n] = outputs
	}
	s.set(n, after.State, after.Reason)
	s.pending = append(s.pending, End{Number: n, State: after.State})
}

// whole fails if something of an ended run has not ended.
func (s *store) whole() {
	for o, t := range s.tasks {
		if !t.State.Ended() {
			s.fail("the run has ended and task %d is %s", o, t.State)
		}
	}
	for n, it := range s.items {
		if !it.state.Ended() {
			s.fail("the run has ended and item %d is %s", n, it.state)
		}
	}
}

// check compares every counter with one counted from the rows.
func (s *store) check() {
	if s.done != nil {
		s.whole()
		return
	}
	told := func(n int, state State) State {
		for _, e := range s.pending {
			if e.Number == n && e.State.Ended() {
				return Ready
			}
		}
		return state
	}
	rows := func(yield func(Row) bool) {
		for o, t := range s.tasks {
			if !yield(Row{Number(o), told(Number(o), t.State), t.Reason, s.started[Number(o)], t.Fan != nil, t.Again}) {
				return
			}
		}
		for n, it := range s.items {
			if !yield(Row{Number: n, State: told(n, it.state), Reason: it.reason, Started: s.started[n]}) {
				return
			}
		}
	}
	c := s.g.Recount(s.run, rows)
	if c.Run.Unfinished != s.run.Unfinished || c.Run.Failed != s.run.Failed || c.Run.Canceled != s.run.Canceled ||
		c.Run.Skipped != s.run.Skipped || c.Run.Rows != s.run.Rows {
		s.fail("counters %+v, counted %+v", s.run, c.Run)
	}
	stopping := s.run.Phase == PhaseTasks && (s.run.CancelRequested || s.run.TimedOut) || s.run.CancelAgain
	for _, o := range c.Due {
		if s.tasks[o].Fan == nil && !stopping {
			s.fail("task %d is due and nobody looked at it", o)
		}
	}
	for o, t := range s.tasks {
		w := c.Tasks[o]
		if t.State == Waiting && !stopping && (t.NeedsLeft != w.NeedsLeft || t.Trail != w.Trail) {
			if o >= s.g.tasks && s.run.Phase == PhaseTasks {
				continue
			}
			s.fail("task %d: needs left %d trail %d, counted %d, %d", o, t.NeedsLeft, t.Trail, w.NeedsLeft, w.Trail)
		}
		if t.Fan != nil && t.Fan.Items > 0 && *t.Fan != *w.Fan {
			s.fail("fan-out %d: %+v, counted %+v", o, *t.Fan, *w.Fan)
		}
	}
}
