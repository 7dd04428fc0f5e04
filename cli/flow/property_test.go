package flow

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drive runs a plan to its end: queued work starts and ends in random order,
// ends are told in random order and batches, executors get lost, and if it is
// to be, somebody cancels.
func drive(t *rapid.T, pl *plan, g *Graph, stop string) *store {
	s := newStore(g, pl.run)
	s.start()
	driveOn(t, pl, g, s, stop)
	return s
}

// driveOn is drive for a run that is under way.
func driveOn(t *rapid.T, pl *plan, g *Graph, s *store, stop string) {
	at := rapid.IntRange(0, 30).Draw(t, "stop at")
	for step := 0; s.done == nil; step++ {
		if step > 3000 {
			t.Fatalf("the run does not end: %+v\n%s\nready %v live %v pending %v", s.run, s.told(), s.ready, s.live, s.pending)
		}
		s.check()
		if len(s.errs) > 0 {
			t.Fatalf("%s", strings.Join(s.errs, "\n"))
		}
		if stop != "" && step >= at {
			switch {
			case stop == "time-out" && s.run.Phase == PhaseTasks:
				s.run.TimedOut, s.look = true, true
				stop = ""
			case stop == "cancel" || stop == "cancel twice":
				s.run.CancelRequested, s.look = true, true
				if stop == "cancel twice" {
					stop, at = "again", step+rapid.IntRange(0, 10).Draw(t, "again after")
				} else {
					stop = ""
				}
			case stop == "again":
				s.run.CancelAgain, s.look = true, true
				stop = ""
			}
		}
		var may []string
		if len(s.ready) > 0 {
			may = append(may, "claim")
		}
		if len(s.live) > 0 {
			may = append(may, "end", "end")
		}
		if len(s.pending) > 0 {
			may = append(may, "tell")
		}
		if len(s.open()) > 0 {
			may = append(may, "happen", "happen")
		}
		if s.look {
			may = append(may, "look")
		}
		if len(may) == 0 {
			if g.NeedsActive() && s.run.Unfinished > 0 && len(s.held()) > 0 {
				t.Fatalf("held for ever: %v", s.held())
			}
			t.Fatalf("stuck: %+v\n%s", s.run, s.told())
		}
		switch rapid.SampledFrom(may).Draw(t, "do") {
		case "claim":
			s.claim(rapid.SampledFrom(sortedInts(s.ready)).Draw(t, "which"))
		case "end":
			n := rapid.SampledFrom(sortedInts(s.live)).Draw(t, "which")
			pl.end(t, s, n)
		case "happen":
			pl.happen(t, s, rapid.SampledFrom(s.open()).Draw(t, "which"))
		case "tell", "look":
			perm := rapid.Permutation(s.pending).Draw(t, "order")
			k := rapid.IntRange(0, len(perm)).Draw(t, "batch")
			s.pending = perm[k:]
			s.advance(perm[:k], nil)
		}
	}
	s.check()
	if len(s.errs) > 0 {
		t.Fatalf("%s", strings.Join(s.errs, "\n"))
	}
}

func sortedInts[V any](m map[int]V) []int {
	list := keys(m)
	slices.Sort(list)
	return list
}

// end ends the live attempt of n as the plan wants it.
func (pl *plan) end(t *rapid.T, s *store, n int) {
	o, index := Split(n)
	d := &pl.tasks[o]
	for _, need := range d.needs {
		if !s.tasks[need].State.Ended() {
			t.Fatalf("%s runs before %s has ended", d.name, pl.tasks[need].name)
		}
	}
	lose := s.budgets[n].Losses < 2 && s.budgets[n].HandBacks < 3
	if lose && rapid.IntRange(0, 9).Draw(t, "lost") == 0 {
		s.finish(n, AttemptEnd{State: AttemptLost, Reason: ReasonLost, Started: true, Executor: "e1"}, nil)
	} else if lose && rapid.IntRange(0, 9).Draw(t, "drained") == 0 {
		s.finish(n, AttemptEnd{State: AttemptLost, Reason: ReasonDrained, Started: true, Drained: true}, nil)
	} else {
		ends := d.ends[max(0, index)%len(d.ends)]
		code := 0
		switch ends[min(s.budgets[n].Failures, len(ends)-1)] {
		case 'f':
			code = 1
		case 'k':
			code = 99
		case 'x':
			code = 64
		}
		e := AttemptEnd{State: AttemptSucceeded, ExitCode: &code, Started: true}
		if code != 0 {
			e.State, e.Reason = AttemptFailed, "exit"
		}
		if s.live[n] != "" && rapid.Bool().Draw(t, "obeys") {
			e.State = AttemptCanceled
		}
		s.finish(n, e, map[string]any{"v": int64(1), "list": []any{"x", "y"}})
	}
	// A place is free although nothing has ended.
	if s.g.NeedsActive() {
		s.look = true
	}
}

func TestRunsEndAsTheOracleSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl := draw(t)
		g, err := Compile(pl.p)
		if err != nil {
			t.Fatal(err)
		}
		s := drive(t, pl, g, "")
		want := judge(pl)
		for i := range pl.tasks {
			if got := string(s.tasks[i].State); got != want.states[i] {
				t.Errorf("%s (if %q) is %s %s %s, the oracle says %s", pl.tasks[i].name, pl.tasks[i].cond.text, got, s.tasks[i].Reason, s.tasks[i].Detail, want.states[i])
			}
		}
		if got := string(s.done.State); got != want.end() {
			t.Errorf("the run is %s %s, the oracle says %s", got, s.done.Reason, want.end())
		}
		if limit := pl.p.MaxParallel; limit > 0 && s.most > limit {
			t.Errorf("%d at once, %d at most", s.most, limit)
		}
		if s.rounds > 8 {
			t.Errorf("%d rounds", s.rounds)
		}
	})
}

func TestStoppedRunsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl := draw(t)
		g, err := Compile(pl.p)
		if err != nil {
			t.Fatal(err)
		}
		stop := rapid.SampledFrom([]string{"cancel", "cancel twice", "time-out"}).Draw(t, "stop")
		s := drive(t, pl, g, stop)
		free := judge(pl)
		stopped := s.run.CancelRequested || s.run.TimedOut
		for i := range pl.tasks {
			if pl.tasks[i].finally {
				continue
			}
			got := string(s.tasks[i].State)
			if got != free.states[i] && (!stopped || got != "canceled" && !(pl.tasks[i].fan >= 0 || pl.tasks[i].list >= 0)) {
				t.Errorf("%s is %s, without a stop %s", pl.tasks[i].name, got, free.states[i])
			}
		}
		// Finally speaks of what the tasks really did.
		if !s.run.CancelRequested || s.cancelInTasks {
			real := &oracle{plan: pl, states: make([]string, len(pl.tasks)), counts: free.counts, made: make([]bool, len(pl.tasks)), result: "succeeded", clean: true}
			for i := range pl.tasks {
				if pl.tasks[i].finally {
					continue
				}
				real.states[i] = string(s.tasks[i].State)
				if f := s.tasks[i].Fan; f != nil {
					real.counts[i] = map[string]int{"failed": f.Failed, "succeeded": f.OK}
				}
				if real.states[i] == "failed" || real.states[i] == "canceled" {
					real.result, real.clean = "failed", false
				}
			}
			if s.run.TimedOut {
				real.result = "failed"
			}
			if s.run.CancelRequested {
				real.result = "canceled"
			}
			real.finally()
			for i := range pl.tasks {
				got := string(s.tasks[i].State)
				if pl.tasks[i].finally && got != real.states[i] && !(s.run.CancelAgain && (got == "canceled" || pl.tasks[i].fan >= 0 || pl.tasks[i].list >= 0)) {
					t.Errorf("%s (if %q) is %s %s %s, the oracle says %s", pl.tasks[i].name, pl.tasks[i].cond.text, got, s.tasks[i].Reason, s.tasks[i].Detail, real.states[i])
				}
			}
			want := real.end()
			if got := string(s.done.State); got != want && !s.run.CancelAgain {
				t.Errorf("the run is %s, the oracle says %s", got, want)
			}
		}
		if s.run.CancelRequested && s.done.State != Canceled {
			t.Errorf("the run was canceled and is %s", s.done.State)
		}
	})
}

// A rerun or a repair counts from the rows: what a recount finds goes on to the
// same end.
func TestRecountGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl := draw(t)
		pl.p.MaxParallel = 0
		g, err := Compile(pl.p)
		if err != nil {
			t.Fatal(err)
		}
		s := drive(t, pl, g, "")
		// Set everything back that depends on one task, as a rerun would.
		from := rapid.IntRange(0, len(pl.p.Tasks)-1).Draw(t, "from")
		again := map[int]bool{from: true}
		for i := range pl.tasks {
			for _, n := range pl.tasks[i].needs {
				again[i] = again[i] || again[n]
			}
			again[i] = again[i] || pl.tasks[i].finally
		}
		for o := range again {
			if !again[o] {
				continue
			}
			s.tasks[o] = &Task{Ordinal: o, State: Waiting}
			for n := range s.items {
				if of, _ := Split(n); of == o {
					delete(s.items, n)
					s.started[n], s.budgets[n] = false, Budget{}
				}
			}
			s.started[Number(o)], s.budgets[Number(o)] = false, Budget{}
			maps.DeleteFunc(s.awaits, func(n int, _ *Awaited) bool { of, _ := Split(n); return of == o })
		}
		s.done, s.pending = nil, nil // the wakes of a run go with it
		run := s.run
		run.Reason, run.Phase = "", PhaseTasks
		c := g.Recount(run, func(yield func(Row) bool) {
			for o, task := range s.tasks {
				if !yield(Row{Number: Number(o), State: task.State}) {
					return
				}
			}
			for n, it := range s.items {
				if !yield(Row{Number: n, State: it.state, Started: s.started[n]}) {
					return
				}
			}
		})
		s.run = c.Run
		for o, task := range c.Tasks {
			row := clone(task)
			s.tasks[o] = &row
		}
		s.advance(nil, c.Due)
		for steps := 0; s.done == nil; steps++ {
			s.check()
			if len(s.errs) > 0 || steps > 1000 {
				t.Fatalf("does not go on: %s %v", s.told(), s.errs)
			}
			if len(s.ready) > 0 {
				n := slices.Min(keys(s.ready))
				s.claim(n)
				pl.end(t, s, n)
			} else if open := s.open(); len(open) > 0 {
				pl.happen(t, s, open[0])
			}
			batch := s.pending
			s.pending = nil
			s.advance(batch, nil)
		}
		want := judge(pl)
		for i := range pl.tasks {
			if got := string(s.tasks[i].State); got != want.states[i] {
				t.Errorf("%s is %s after the rerun, the oracle says %s", pl.tasks[i].name, got, want.states[i])
			}
		}
		if got := string(s.done.State); got != want.end() {
			t.Errorf("the run is %s, the oracle says %s", got, want.end())
		}
	})
}

// The sweep finds a run whose wakes were lost: counted anew, it goes on.
func TestLostWakesAreMadeGood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl := draw(t)
		g, err := Compile(pl.p)
		if err != nil {
			t.Fatal(err)
		}
		s := newStore(g, pl.run)
		s.start()
		for steps := 0; s.done == nil; steps++ {
			if len(s.errs) > 0 || steps > 1000 {
				t.Fatalf("does not go on: %s %v", s.told(), s.errs)
			}
			if len(s.ready) > 0 {
				n := slices.Min(keys(s.ready))
				s.claim(n)
				pl.end(t, s, n)
			} else if open := s.open(); len(open) > 0 {
				pl.happen(t, s, open[0])
			}
			batch := s.pending
			s.pending = nil
			if rapid.IntRange(0, 2).Draw(t, "lose") > 0 {
				s.advance(batch, nil)
				continue
			}
			// Ends that say "once more" are found by the sweep itself.
			back := slices.DeleteFunc(batch, func(e End) bool { return e.State != Waiting })
			c := g.Recount(s.run, s.all)
			s.run = c.Run
			for o, task := range c.Tasks {
				row := clone(task)
				s.tasks[o] = &row
			}
			s.look = true
			s.advance(back, c.Due)
		}
		want := judge(pl)
		for i := range pl.tasks {
			if got := string(s.tasks[i].State); got != want.states[i] {
				t.Errorf("%s is %s, the oracle says %s", pl.tasks[i].name, got, want.states[i])
			}
		}
	})
}

// all gives the rows as they are.
func (s *store) all(yield func(Row) bool) {
	for o, t := range s.tasks {
		if !yield(Row{Number(o), t.State, t.Reason, s.started[Number(o)], t.Fan != nil, t.Again}) {
			return
		}
	}
	for n, it := range s.items {
		if !yield(Row{Number: n, State: it.state, Reason: it.reason, Started: s.started[n]}) {
			return
		}
	}
}

// Whatever a caller tells, a decision does not panic: the scheduler serves
// other runs in the same batch.
func TestNonsenseDoesNotPanic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl := draw(t)
		g, err := Compile(pl.p)
		if err != nil {
			t.Fatal(err)
		}
		s := newStore(g, pl.run)
		s.start()
		number := rapid.Custom(func(t *rapid.T) int {
			return rapid.IntRange(-1, len(pl.tasks)).Draw(t, "task")*ItemSpan + rapid.IntRange(-1, 7).Draw(t, "item")
		})
		in := Input{Run: s.run, Tasks: map[int]Task{}, Outputs: map[int]map[string]any{}, Look: rapid.Bool().Draw(t, "look")}
		in.Held = rapid.SliceOf(number).Draw(t, "held")
		in.Due = rapid.SliceOf(rapid.IntRange(0, len(pl.tasks)-1)).Draw(t, "due")
		in.Run.CancelRequested = rapid.Bool().Draw(t, "canceled")
		in.Run.TimedOut = rapid.Bool().Draw(t, "timed out")
		for _, n := range rapid.SliceOf(number).Draw(t, "ends") {
			in.Ends = append(in.Ends, End{
				Number: n, Count: rapid.IntRange(-1, 3).Draw(t, "count"),
				State: rapid.SampledFrom([]State{Succeeded, Failed, Canceled, Skipped, Waiting, Ready, Queued, "x"}).Draw(t, "state"),
			})
		}
		for o, row := range s.tasks {
			in.Tasks[o] = clone(*row)
			in.Outputs[o] = nil
		}
		if _, missing := g.Advance(in); len(missing.Tasks) > 0 {
			t.Errorf("asks for rows it has: %v", missing)
		}
	})
}
