package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// reopen makes a reset true and admits the run again, as the caller does on
// tables.
func (s *store) reopen(r Reset) {
	for _, t := range r.Tasks {
		n := Number(t.Ordinal)
		if s.tasks[t.Ordinal].State != t.From {
			s.fail("task %d is reset from %s and is %s", t.Ordinal, t.From, s.tasks[t.Ordinal].State)
		}
		row := clone(t.Task)
		s.tasks[t.Ordinal] = &row
		s.forget(n)
	}
	for _, n := range r.Items {
		s.set(n, Waiting, "")
		s.forget(n)
	}
	s.run.Phase, s.run.Reason, s.run.Reopened = PhaseTasks, "", true
	s.run.CancelRequested, s.run.CancelAgain, s.run.TimedOut = false, false, false
	s.done, s.pending, s.cancelInTasks = nil, nil, false
	c := s.g.Recount(s.run, s.all)
	if c.Run.Unfinished != r.Run.Unfinished || c.Run.Failed != r.Run.Failed || c.Run.Canceled != r.Run.Canceled ||
		c.Run.Skipped != r.Run.Skipped || c.Run.Rows != r.Run.Rows {
		s.fail("the reset counts %+v, a recount %+v", r.Run, c.Run)
	}
	for _, t := range r.Tasks {
		if diff := cmp.Diff(t.Task, c.Tasks[t.Ordinal]); diff != "" {
			s.fail("task %d as reset, and as counted (-, +):\n%s", t.Ordinal, diff)
		}
	}
	s.run = c.Run
	s.look = true
	s.advance(nil, c.Due)
}

func (s *store) forget(n int) {
	delete(s.started, n)
	delete(s.budgets, n)
	delete(s.outputs, n)
	delete(s.awaits, n)
}

// snapshot is all that a rerun must leave alone.
func (s *store) snapshot(skip func(number int) bool) map[int]string {
	all := map[int]string{}
	for o, t := range s.tasks {
		all[Number(o)] = fmt.Sprint(t.State, t.Reason, t.Fan != nil)
	}
	for n, it := range s.items {
		all[n] = fmt.Sprint(it.state, it.reason, it.value)
	}
	for n := range all {
		all[n] += fmt.Sprint(s.outputs[n])
		if skip(n) {
			delete(all, n)
		}
	}
	return all
}

// What runs again ends as if everything it depends on had always been so, and
// nothing else changes.
func TestRerunsEndAsTheOracleSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl := draw(t)
		g, err := Compile(pl.p)
		if err != nil {
			t.Fatal(err)
		}
		s := drive(t, pl, g, "")
		o := judge(pl)
		for round := range rapid.IntRange(1, 3).Draw(t, "reruns") {
			// Some of what the tasks do is mended meanwhile, some is not.
			for i := range pl.tasks {
				for k := range pl.tasks[i].ends {
					// What waits for no executor does what the file says.
					if !pl.tasks[i].mute() && rapid.Bool().Draw(t, "mended") {
						pl.tasks[i].ends[k] = rapid.SliceOfN(rapid.SampledFrom([]rune("sssfk")), 1, 3).Draw(t, "ends now")
					}
				}
			}
			mode := rapid.SampledFrom([]RerunMode{RerunFailed, RerunFrom, RerunAll}).Draw(t, "mode")
			from := rapid.IntRange(0, len(pl.tasks)-1).Draw(t, "from")
			// Who runs again, worked out anew: needs come first in this order.
			chosen := func(i int) bool {
				switch mode {
				case RerunAll:
					return true
				case RerunFrom:
					return i == from
				}
				return o.states[i] == "failed" || o.states[i] == "skipped" && s.tasks[i].Reason == ReasonUpstream
			}
			again, some := map[int]bool{}, map[int][]int{}
			for i := range pl.tasks {
				after := pl.tasks[i].finally
				for _, n := range pl.tasks[i].needs {
					after = after || again[n]
				}
				if again[i] = after || chosen(i); !again[i] {
					continue
				}
				some[i] = nil
				if mode == RerunFailed && !after {
					for k := range len(s.items) {
						if it := s.items[ItemNumber(i, k)]; it != nil && (it.state == Failed || it.state == Canceled) {
							some[i] = append(some[i], k)
						}
					}
				}
			}
			first := slices.IndexFunc(pl.tasks, func(p planned) bool { return p.finally })
			any := false
			for i, yes := range again {
				any = any || yes && (!pl.tasks[i].finally || chosen(i))
			}
			r := g.Rerun(mode, from, s.all)
			if !any {
				if len(r.Tasks) > 0 {
					t.Fatalf("round %d: nothing is to run again, and %v does", round, r.Tasks)
				}
				continue
			}
			untouched := func(n int) bool {
				i, index := Split(n)
				return again[i] && (index < 0 || some[i] == nil || slices.Contains(some[i], index))
			}
			before := s.snapshot(untouched)
			s.reopen(r)
			driveOn(t, pl, g, s, "")
			if diff := cmp.Diff(before, s.snapshot(untouched)); diff != "" {
				t.Errorf("round %d, %s: what does not run again has changed:\n%s", round, mode, diff)
			}
			o.again, o.result, o.clean = some, "succeeded", true
			for i := range pl.tasks {
				if i == first {
					break
				}
				if again[i] {
					o.decide(i)
				}
				if o.states[i] == "failed" {
					o.result, o.clean = "failed", false
				}
			}
			o.finally()
			for i := range pl.tasks {
				if got := string(s.tasks[i].State); got != o.states[i] {
					t.Errorf("round %d, %s: %s (if %q) is %s %s %s, the oracle says %s", round, mode, pl.tasks[i].name, pl.tasks[i].cond.text, got, s.tasks[i].Reason, s.tasks[i].Detail, o.states[i])
				}
			}
			if got := string(s.done.State); got != o.end() {
				t.Errorf("round %d, %s: the run is %s %s, the oracle says %s", round, mode, got, s.done.Reason, o.end())
			}
			if limit := pl.p.MaxParallel; limit > 0 && s.most > limit {
				t.Errorf("%d at once, %d at most", s.most, limit)
			}
		}
	})
}

// A run that was canceled or ran out of time runs again, and may be stopped
// again, and marked, in any order: it always comes to an end.
func TestReopenedRunsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl := draw(t)
		g, err := Compile(pl.p)
		if err != nil {
			t.Fatal(err)
		}
		stop := rapid.SampledFrom([]string{"", "cancel", "cancel twice", "time-out"})
		s := drive(t, pl, g, stop.Draw(t, "stop"))
		for range rapid.IntRange(1, 4).Draw(t, "times") {
			var r Reset
			if rapid.Bool().Draw(t, "mark") {
				n := rapid.SampledFrom(append(slices.Sorted(maps.Keys(s.items)), Number(0))).Draw(t, "number")
				state := rapid.SampledFrom([]State{Succeeded, Failed, Skipped}).Draw(t, "state")
				r = s.mark(n, state)
			} else {
				mode := rapid.SampledFrom([]RerunMode{RerunFailed, RerunFrom, RerunAll}).Draw(t, "mode")
				r = g.Rerun(mode, rapid.IntRange(0, len(pl.tasks)-1).Draw(t, "from"), s.all)
			}
			if len(r.Tasks) == 0 {
				continue
			}
			s.reopen(r)
			driveOn(t, pl, g, s, stop.Draw(t, "stop again"))
		}
	})
}

// mark makes a mark true.
func (s *store) mark(n int, state State) Reset {
	m := s.g.Mark(Run{Phase: PhaseTasks}, n, state, s.all)
	o, index := Split(n)
	if index >= 0 {
		s.items[n].state = state
	}
	if m.From != s.tasks[o].State {
		s.fail("%d is marked from %s and is %s", n, m.From, s.tasks[o].State)
	}
	row := clone(m.Task)
	row.Again = s.tasks[o].Again
	s.tasks[o] = &row
	if _, missing := s.g.Verdict(Input{Run: m.Run, Tasks: m.Tasks}); len(missing.Tasks) > 0 {
		s.fail("a verdict misses rows: %v", missing.Tasks)
	}
	return m.Reset
}

// ended is a run of p in which the named rows ended as said, and all others
// succeeded.
func ended(t *testing.T, p *pipeline.Pipeline, how script) *store {
	t.Helper()
	s := play(t, p, how, nil)
	if s.done == nil {
		t.Fatalf("the run did not end: %s", s.told())
	}
	return s
}

// again names what a reset sets back: "load load[1] report", the chosen ones in
// capitals.
func (s *store) again(r Reset) string {
	var list []string
	for _, t := range r.Tasks {
		name := s.g.Task(t.Ordinal).Name
		if t.Chosen {
			name = strings.ToUpper(name)
		}
		list = append(list, name)
		for _, n := range r.Items {
			if o, index := Split(n); o == t.Ordinal {
				list = append(list, fmt.Sprintf("%s[%d]", s.g.Task(o).Name, index))
			}
		}
	}
	return strings.Join(list, " ")
}

func TestRerunPicks(t *testing.T) {
	p := define(pipeline.Tasks{
		task("extract"), task("load", needs("extract"), forEach(numbers(3)...), slowFail()), task("report", needs("load")),
		task("alarm", needs("load"), when("failure()")), task("other"), task("sum", needs("report", "other")),
	}, task("undo"), task("tell", needs("undo")))
	failed := script{"load1": "f"}
	for _, c := range []struct {
		name   string
		how    script
		mode   RerunMode
		from   string
		again  string
		counts [3]int
	}{
		{"failed: the items that did not go well, and what comes after", failed, RerunFailed, "", "LOAD load[1] report alarm sum undo tell", [3]int{1, 3, 2}},
		{"failed: what was skipped because of it is not the cause", script{"extract": "f"}, RerunFailed, "", "EXTRACT load report alarm sum undo tell", [3]int{1, 4, 2}},
		{"failed: nothing did", script{"load1": "k"}, RerunFailed, "", "", [3]int{}},
		{"failed under finally: finally as a whole", script{"tell": "f"}, RerunFailed, "", "undo TELL", [3]int{0, 0, 2}},
		{"from: all items", failed, RerunFrom, "load", "LOAD load[0] load[1] load[2] report alarm sum undo tell", [3]int{1, 3, 2}},
		{"from a leaf", failed, RerunFrom, "sum", "SUM undo tell", [3]int{1, 0, 2}},
		{"from a task under finally", failed, RerunFrom, "tell", "undo TELL", [3]int{0, 0, 2}},
		{"all", failed, RerunAll, "", "EXTRACT LOAD load[0] load[1] load[2] REPORT ALARM OTHER SUM UNDO TELL", [3]int{6, 0, 2}},
	} {
		s := ended(t, p, c.how)
		from, _ := s.g.Ordinal(c.from)
		r := s.g.Rerun(c.mode, from, s.all)
		if got := s.again(r); got != c.again {
			t.Errorf("%s: %s, want %s", c.name, got, c.again)
		}
		var got [3]int
		if got[0], got[1], got[2] = r.Counts(s.g); got != c.counts {
			t.Errorf("%s: counts %v, want %v", c.name, got, c.counts)
		}
	}
}

// Items that went well keep their outputs, their places in lists, and the list
// itself; the others keep to max_parallel.
func TestRerunOfItemsKeepsTheOthers(t *testing.T) {
	load := task("load", forEach(numbers(6)...), slowFail(), window(2), outputs("v"))
	s := ended(t, define(pipeline.Tasks{load, task("report", needs("load"))}), script{"load1": "f", "load2": "f", "load4": "f", "load5": "k"})
	s.outputs[ItemNumber(0, 0)] = map[string]any{"v": "kept"}
	s.order = nil
	r := s.g.Rerun(RerunFailed, 0, s.all)
	s.reopen(r)
	flying := func() int { return len(s.ready) + len(s.live) }
	if flying() != 2 {
		t.Errorf("%d items run at first, want 2", flying())
	}
	for s.done == nil {
		s.once(script{})
		s.check()
		if flying() > 2 {
			t.Fatalf("%d items run at once, 2 at most", flying())
		}
	}
	if want := []int{ItemNumber(0, 1), ItemNumber(0, 2), ItemNumber(0, 4), Number(1)}; !slices.Equal(s.order, want) || len(s.errs) > 0 {
		t.Errorf("released %v, want %v; %v", s.order, want, s.errs)
	}
	if diff := cmp.Diff([]any{"kept", int64(7), int64(7), int64(7), int64(7)}, s.collect(0)["v"]); diff != "" {
		t.Errorf("outputs of the items:\n%s", diff)
	}
	if want := "load:succeeded report:succeeded"; s.told() != want {
		t.Errorf("%s, want %s", s.told(), want)
	}
}

// A fan-out that was set back and does not come to run ends, with its items.
func TestRerunSkipsItemsThatAreThere(t *testing.T) {
	s := ended(t, define(pipeline.Tasks{task("a"), task("b", needs("a"), forEach(numbers(3)...)), task("c", needs("b"))}), script{})
	s.reopen(s.g.Rerun(RerunFrom, 0, s.all))
	for s.done == nil {
		s.once(script{"a": "f"})
	}
	s.check()
	if want := "a:failed(exit) b:skipped(upstream) c:skipped(upstream)"; s.told() != want || len(s.errs) > 0 {
		t.Errorf("%s, want %s; %v", s.told(), want, s.errs)
	}
	if it := s.items[ItemNumber(1, 2)]; it.state != Skipped || it.reason != ReasonUpstream {
		t.Errorf("an item is %s %s, want skipped upstream", it.state, it.reason)
	}
	// And the next rerun runs them.
	s.reopen(s.g.Rerun(RerunFailed, 0, s.all))
	for s.done == nil {
		s.once(script{})
	}
	if want := "a:succeeded b:succeeded c:succeeded"; s.told() != want || s.tasks[1].Fan.OK != 3 {
		t.Errorf("%s, want %s, with 3 items", s.told(), want)
	}
}

func TestBlockedReruns(t *testing.T) {
	s := ended(t, define(pipeline.Tasks{task("a"), task("b", needs("a")), task("c", needs("a"), when("always()"))}), script{"a": "f"})
	if got := s.g.Blocked(1, s.all); !slices.Equal(got, []string{"a"}) {
		t.Errorf("b is blocked by %v, want [a]", got)
	}
	if got := s.g.Blocked(2, s.all); got != nil {
		t.Errorf("c is blocked by %v, which its condition allows", got)
	}
}

func TestMark(t *testing.T) {
	p := define(pipeline.Tasks{
		task("a"), task("other"), task("b", needs("a")), task("both", needs("b", "other")), task("alarm", needs("a"), when("failure()")),
		task("fine", needs("a"), when("none_failed()")), task("fan", forEach(numbers(2)...), slowFail()), task("last", needs("fan")),
	}, task("undo"), task("tell", needs("undo")))
	number := func(s *store, name string) int {
		name, item, isItem := strings.Cut(name, "/")
		o, ok := s.g.Ordinal(name)
		if !ok {
			t.Fatal(name)
		}
		if isItem {
			return ItemNumber(o, int(item[0]-'0'))
		}
		return Number(o)
	}
	for _, c := range []struct {
		name  string
		how   script
		mark  string
		state State
		again string
		run   State // if nothing runs
	}{
		{"what was skipped because of it runs, what ran stays", script{"a": "f"}, "a", Succeeded, "B BOTH FINE undo tell", ""},
		{"skipped is enough for who only wants no failure", script{"a": "f"}, "a", Skipped, "FINE undo tell", ""},
		{"who has another reason to be skipped stays", script{"a": "f", "other": "f"}, "other", Succeeded, "", Failed},
		{"failed makes nothing run", script{}, "a", Failed, "", Failed},
		{"a leaf changes the result alone", script{"both": "f"}, "both", Succeeded, "", Succeeded},
		{"and nothing is left that failed", script{"both": "f"}, "both", Skipped, "", Succeeded},
		{"finally changes the result alone", script{"undo": "f"}, "undo", Succeeded, "", Succeeded},
		{"finally that failed", script{}, "tell", Failed, "", Failed},
		{"the last failed item", script{"fan1": "f"}, "fan/1", Succeeded, "LAST undo tell", ""},
		{"one of two failed items", script{"fan": "f"}, "fan/1", Succeeded, "", Failed},
		{"an item that succeeded", script{}, "fan/0", Failed, "", Failed},
		{"a fan-out itself", script{"fan": "f"}, "fan", Succeeded, "LAST undo tell", ""},
	} {
		s := ended(t, p, c.how)
		n := number(s, c.mark)
		m := s.g.Mark(Run{Phase: PhaseTasks}, n, c.state, s.all)
		if got := s.again(m.Reset); got != c.again {
			t.Errorf("%s: runs %q, want %q", c.name, got, c.again)
		}
		if c.again != "" {
			s.mark(n, c.state)
			s.reopen(m.Reset)
			for s.done == nil {
				s.once(script{})
			}
			s.check()
			if len(s.errs) > 0 {
				t.Errorf("%s: %v", c.name, s.errs)
			}
			continue
		}
		f, missing := s.g.Verdict(Input{Run: m.Run, Tasks: m.Tasks})
		if !missing.None() || f.State != c.run {
			t.Errorf("%s: the run is %s %s (%v), want %s", c.name, f.State, f.Reason, missing, c.run)
		}
	}
}

// A canceled run stays canceled and one that ran out of time failed, whatever is
// marked.
func TestMarkDoesNotUndoAStop(t *testing.T) {
	s := ended(t, define(pipeline.Tasks{task("a")}), script{"a": "f"})
	for _, c := range []struct {
		run  Run
		want State
	}{{Run{CancelRequested: true}, Canceled}, {Run{Reason: ReasonTimedOut}, Failed}, {Run{}, Succeeded}} {
		c.run.Phase = PhaseTasks
		m := s.g.Mark(c.run, 0, Succeeded, s.all)
		if f, _ := s.g.Verdict(Input{Run: m.Run, Tasks: m.Tasks}); f.State != c.want {
			t.Errorf("marked in %+v, the run is %s, want %s", c.run, f.State, c.want)
		}
	}
}

// The failure before a task that was marked is still told to those after it.
func TestMarkKeepsTheTrail(t *testing.T) {
	p := define(pipeline.Tasks{task("a"), task("b", needs("a")), task("c", needs("b")), task("d", needs("c"), when("failure()"))})
	s := ended(t, p, script{"a": "f"})
	s.tasks[3].State, s.tasks[3].Reason = Skipped, ReasonUpstream // as if it had not been asked for
	s.reopen(s.mark(Number(1), Succeeded))
	for s.done == nil {
		s.once(script{})
	}
	s.check()
	if want := "a:failed(exit) b:succeeded(marked) c:succeeded d:succeeded"; s.told() != want || len(s.errs) > 0 {
		t.Errorf("%s, want %s; %v", s.told(), want, s.errs)
	}
}
