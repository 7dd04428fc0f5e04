package flow

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// A script says how the attempts of a task end: s succeeds, f fails, k exits
// with 99. The last letter goes on for ever. Items have the index appended.
type script map[string]string

// play runs a pipeline to its end, one task at a time in order of release.
func play(t *testing.T, p *pipeline.Pipeline, how script, prepare func(*store)) *store {
	t.Helper()
	s := newStore(compile(t, p), Run{ID: 7})
	if prepare != nil {
		prepare(s)
	}
	s.start()
	for range 10_000 {
		s.check()
		if len(s.errs) > 0 {
			t.Fatalf("%s", strings.Join(s.errs, "\n"))
		}
		if s.done != nil {
			return s
		}
		s.once(how)
	}
	t.Fatalf("the run does not end: %+v", s.run)
	return nil
}

// once runs the first ready task and tells of its end.
func (s *store) once(how script) {
	if len(s.ready) > 0 {
		n := slices.Min(keys(s.ready))
		s.claim(n)
		s.finish(n, s.outcome(n, how), map[string]any{"v": int64(7)})
	}
	batch := s.pending
	s.pending = nil
	s.advance(batch, nil)
}

func keys[V any](m map[int]V) []int {
	var out []int
	for k := range m {
		out = append(out, k)
	}
	return out
}

func (s *store) outcome(n int, how script) AttemptEnd {
	o, index := Split(n)
	text := how[s.g.Task(o).Name]
	if index >= 0 {
		if own, ok := how[s.g.Task(o).Name+string(rune('0'+index))]; ok {
			text = own
		}
	}
	at := min(s.budgets[n].Failures, max(0, len(text)-1))
	letter := byte('s')
	if text != "" {
		letter = text[at]
	}
	code := 0
	switch letter {
	case 'f':
		code = 1
	case 'k':
		code = 99
	}
	if code == 0 {
		return AttemptEnd{State: AttemptSucceeded, ExitCode: &code, Started: true}
	}
	return AttemptEnd{State: AttemptFailed, Reason: "exit", ExitCode: &code, Started: true}
}

// told gives "name:state(reason)" of every task.
func (s *store) told() string {
	var parts []string
	for o := range s.g.nodes {
		t := s.tasks[o]
		text := s.g.Task(o).Name + ":" + string(t.State)
		if t.Reason != "" {
			text += "(" + t.Reason + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func TestRules(t *testing.T) {
	two := func(condition string) *pipeline.Pipeline {
		return define(pipeline.Tasks{task("a", outputs("v")), task("b", needs("a"), when(condition))})
	}
	three := func(condition string) *pipeline.Pipeline {
		return define(pipeline.Tasks{task("a"), task("b", needs("a")), task("c", needs("b"), when(condition))})
	}
	for name, c := range map[string]struct {
		p    *pipeline.Pipeline
		how  script
		want string
		run  string
	}{
		"chain":                        {two(""), nil, "a:succeeded b:succeeded", "succeeded"},
		"failed need":                  {two(""), script{"a": "f"}, "a:failed(exit) b:skipped(upstream)", "failed tasks"},
		"skipped need":                 {two(""), script{"a": "k"}, "a:skipped(exit_code) b:skipped(upstream)", "succeeded"},
		"skipped is passed on":         {three(""), script{"a": "f"}, "a:failed(exit) b:skipped(upstream) c:skipped(upstream)", "failed tasks"},
		"false condition":              {two("1 > 2"), nil, "a:succeeded b:skipped(condition)", "succeeded"},
		"condition means success too":  {two("1 < 2"), script{"a": "f"}, "a:failed(exit) b:skipped(upstream)", "failed tasks"},
		"false and no success":         {two("failure() && 1 > 2"), script{"a": "f"}, "a:failed(exit) b:skipped(upstream)", "failed tasks"},
		"taken at its word":            {two(`needs.a.result == "failed"`), script{"a": "f"}, "a:failed(exit) b:succeeded", "failed tasks"},
		"its word is false":            {two(`needs.a.result == "failed"`), nil, "a:succeeded b:skipped(condition)", "succeeded"},
		"reads a reason":               {two(`needs.a.reason == "exit"`), script{"a": "f"}, "a:failed(exit) b:succeeded", "failed tasks"},
		"reads an output":              {two("needs.a.outputs.v == 7"), nil, "a:succeeded b:succeeded", "succeeded"},
		"output of a failed task":      {two("always() && needs.a.outputs.v == 7"), script{"a": "f"}, "a:failed(exit) b:failed(expression)", "failed tasks"},
		"guarded output":               {two(`always() && has_key(needs.a.outputs, "v")`), script{"a": "f"}, "a:failed(exit) b:skipped(upstream)", "failed tasks"},
		"error in a condition":         {two("1 / 0 == 1"), nil, "a:succeeded b:failed(expression)", "failed tasks"},
		"error is not reached":         {two("1 / 0 == 1"), script{"a": "f"}, "a:failed(exit) b:skipped(upstream)", "failed tasks"},
		"failure through others":       {three("failure()"), script{"a": "f"}, "a:failed(exit) b:skipped(upstream) c:succeeded", "failed tasks"},
		"none_failed through others":   {three("none_failed()"), script{"a": "f"}, "a:failed(exit) b:skipped(upstream) c:skipped(upstream)", "failed tasks"},
		"none_failed likes skipped":    {three("none_failed()"), script{"a": "k"}, "a:skipped(exit_code) b:skipped(upstream) c:succeeded", "succeeded"},
		"any_success":                  {three("any_success()"), nil, "a:succeeded b:succeeded c:succeeded", "succeeded"},
		"any_success of none":          {three("any_success()"), script{"b": "f"}, "a:succeeded b:failed(exit) c:skipped(upstream)", "failed tasks"},
		"canceled() is false in tasks": {two("canceled()"), nil, "a:succeeded b:skipped(condition)", "succeeded"},
		"failure heals nothing": {
			define(pipeline.Tasks{task("a"), task("b", needs("a"), when("always()")), task("c", needs("b"), when("none_failed()"))}),
			script{"a": "f"},
			"a:failed(exit) b:succeeded c:skipped(condition)", "failed tasks",
		},
		"retry": {define(pipeline.Tasks{task("a", retry(2))}), script{"a": "ffs"}, "a:succeeded", "succeeded"},
		"retry spent": {
			define(pipeline.Tasks{task("a", retry(2))}), script{"a": "fff"}, "a:failed(exit)", "failed tasks",
		},
		"fan-out": {
			define(pipeline.Tasks{task("a", forEach("x", "y", "z")), task("b", needs("a"))}), nil,
			"a:succeeded b:succeeded", "succeeded",
		},
		"empty fan-out": {
			define(pipeline.Tasks{task("a", forEachOf("${{ [] }}"), outputs("v")), task("b", needs("a"), when("size(needs.a.outputs.v) == 0"))}),
			nil, "a:succeeded b:succeeded", "succeeded",
		},
		"outputs of a fan-out": {
			define(pipeline.Tasks{task("a", forEach("x", "y", "z"), outputs("v")), task("b", needs("a"), when("sum(needs.a.outputs.v) == 14"))}),
			script{"a1": "k"},
			"a:succeeded b:succeeded", "succeeded",
		},
		"skipped fan-out reads as []": {
			define(pipeline.Tasks{task("a", forEach("x"), when("1 > 2"), outputs("v")), task("b", needs("a"), when("always() && size(needs.a.outputs.v) == 0"))}),
			nil, "a:skipped(condition) b:succeeded", "succeeded",
		},
		"failed fan-out is not read": {
			define(pipeline.Tasks{task("a", forEach("x", "y"), slowFail(), outputs("v")), task("b", needs("a"), when("always() && size(needs.a.outputs.v) == 1"))}),
			script{"a0": "f"},
			"a:failed b:failed(expression)", "failed tasks",
		},
		"counts": {
			define(pipeline.Tasks{task("a", forEach("x", "y", "z"), slowFail()), task("b", needs("a"), when("needs.a.counts.failed == 1 && needs.a.counts.succeeded == 2"))}),
			script{"a0": "f"},
			"a:failed b:succeeded", "failed tasks",
		},
		"all items skipped": {
			define(pipeline.Tasks{task("a", forEach("x", "y")), task("b", needs("a"))}),
			script{"a": "k"},
			"a:skipped(exit_code) b:skipped(upstream)", "succeeded",
		},
		"too many items": {
			define(pipeline.Tasks{task("a", axis("x", numbers(101)...), axis("y", numbers(100)...))}), nil,
			"a:failed(too_many_items)", "failed tasks",
		},
		"list of an expression": {
			define(pipeline.Tasks{task("a", outputs("v")), task("b", needs("a"), forEachOf("${{ [needs.a.outputs.v, 2] }}"))}), nil,
			"a:succeeded b:succeeded", "succeeded",
		},
		"no list": {
			define(pipeline.Tasks{task("a", outputs("v")), task("b", needs("a"), forEachOf("${{ needs.a.outputs.v }}"))}), nil,
			"a:succeeded b:failed(expression)", "failed tasks",
		},
		"finally after success": {
			define(pipeline.Tasks{task("a")}, task("z"), task("undo", when("failure()")), task("sum", when("success()"), needs("z"))), nil,
			"a:succeeded z:succeeded undo:skipped(condition) sum:succeeded", "succeeded",
		},
		"finally after failure": {
			define(pipeline.Tasks{task("a")}, task("z"), task("undo", when("failure()")), task("sum", when("success()"))),
			script{"a": "f"},
			"a:failed(exit) z:succeeded undo:succeeded sum:skipped(upstream)", "failed tasks",
		},
		"finally reads tasks": {
			define(pipeline.Tasks{task("a", outputs("v"))}, task("z", when(`tasks.a.outputs.v == 7 && run.result == "succeeded" && run.reason == ""`))), nil,
			"a:succeeded z:succeeded", "succeeded",
		},
		"finally reads a failed task": {
			define(pipeline.Tasks{task("a", outputs("v"))}, task("z", when(`tasks.a.result == "failed" && run.result == "failed" && run.reason == "tasks"`))),
			script{"a": "f"},
			"a:failed(exit) z:succeeded", "failed tasks",
		},
		"finally fails": {
			define(pipeline.Tasks{task("a")}, task("y"), task("z", needs("y"))),
			script{"y": "f"},
			"a:succeeded y:failed(exit) z:succeeded", "failed finally",
		},
		"a sibling's failure is not its business": {
			define(pipeline.Tasks{task("a")}, task("x"), task("y"), task("z", needs("y"), when("none_failed() && success()"))),
			script{"x": "f"},
			"a:succeeded x:failed(exit) y:succeeded z:succeeded", "failed finally",
		},
		"finally none_failed": {
			define(pipeline.Tasks{task("a"), task("b", needs("a"))}, task("z", when("none_failed()"))),
			script{"a": "f"},
			"a:failed(exit) b:skipped(upstream) z:skipped(upstream)", "failed tasks",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, c.p, c.how, nil)
			if got := s.told(); got != c.want {
				t.Errorf("tasks:\n got %s\nwant %s", got, c.want)
			}
			if got := strings.TrimSpace(string(s.done.State) + " " + s.done.Reason); got != c.run {
				t.Errorf("run %s, want %s", got, c.run)
			}
		})
	}
}

func numbers(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = "x"
	}
	return list
}

func TestStartReleasesRootsAndBirthsAll(t *testing.T) {
	g := compile(t, define(pipeline.Tasks{task("a"), task("b", needs("a")), task("c")}, task("z")))
	d, missing := g.Start(Input{Run: Run{ID: 3}})
	if !missing.None() {
		t.Fatalf("missing %+v", missing)
	}
	want := Decision{
		Run: Run{ID: 3, Phase: PhaseTasks, Unfinished: 3, Rows: 4, Active: 2},
		Changes: []Change{
			{Task: Task{Ordinal: 0, State: Waiting}, Released: true},
			{Task: Task{Ordinal: 1, State: Waiting, NeedsLeft: 1}},
			{Task: Task{Ordinal: 2, State: Waiting}, Released: true},
			{Task: Task{Ordinal: 3, State: Waiting}},
		},
		Release: []int{Number(0), Number(2)},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("Start (-want +got):\n%s", diff)
	}
	// What one run was given is not another's.
	d.Changes[0].Reason = "changed"
	if again, _ := g.Start(Input{}); again.Changes[0].Reason != "" {
		t.Error("decisions share memory")
	}
}

func TestPlainEndsReadNothing(t *testing.T) {
	g := compile(t, define(pipeline.Tasks{task("a"), task("b", needs("a")), task("c", needs("b"))}))
	d, missing := g.Advance(Input{Run: Run{Phase: PhaseTasks, Unfinished: 3}, Ends: []End{{Number: Number(0), State: Failed}}})
	if !missing.None() {
		t.Fatalf("missing %+v", missing)
	}
	if len(d.Changes) != 2 || d.Changes[1].State != Skipped || d.Run.Unfinished != 0 || d.Finish == nil || d.Finish.State != Failed {
		t.Errorf("decision %+v", d)
	}
}

func TestTooManyRowsOfARun(t *testing.T) {
	p := define(pipeline.Tasks{
		task("a", forEach(numbers(MaxItems)...)), task("b", forEach(numbers(MaxItems-2)...)), task("c", forEach("x")),
	})
	s := newStore(compile(t, p), Run{})
	s.start()
	if got := s.tasks[1].State; got != Failed || s.tasks[1].Reason != ReasonTooManyItems {
		t.Errorf("b is %s %s", got, s.tasks[1].Reason)
	}
	if s.run.Rows != 3+MaxItems+1 {
		t.Errorf("rows %d", s.run.Rows)
	}
}

func TestFanOutKeepsItsWindow(t *testing.T) {
	p := define(pipeline.Tasks{task("a", forEach(numbers(10)...), window(3), retry(1))})
	s := newStore(compile(t, p), Run{})
	s.start()
	for s.done == nil {
		if len(s.ready)+len(s.live) > 3 {
			t.Fatalf("%d items at once", len(s.ready))
		}
		s.check()
		s.once(script{"a": "s", "a4": "fs"})
	}
	if want := []int{1, 2, 3, 4, 5, 6, 7, 5, 8, 9, 10}; !slices.Equal(s.order, want) {
		t.Errorf("released in order %v, want %v", s.order, want)
	}
}

func TestFailFastTakesTheOthersAlong(t *testing.T) {
	p := define(pipeline.Tasks{task("a", forEach(numbers(6)...), window(3))})
	s := newStore(compile(t, p), Run{})
	s.start()
	s.claim(1)
	s.claim(2)
	one := 1
	s.finish(1, AttemptEnd{State: AttemptFailed, Reason: "exit", ExitCode: &one, Started: true}, nil)
	batch := s.pending
	s.pending = nil
	s.advance(batch, nil)
	if s.live[2] != ReasonFailFast || len(s.ready) != 0 {
		t.Fatalf("live %v ready %v", s.live, s.ready)
	}
	if f := *s.tasks[0].Fan; f != (Fan{Items: 6, Released: 3, Unfinished: 1, Failed: 1, Canceled: 4}) {
		t.Fatalf("fan %+v", f)
	}
	s.finish(2, AttemptEnd{State: AttemptCanceled, Started: true}, nil)
	s.advance(s.pending, nil)
	if s.done == nil || s.done.State != Failed || s.tasks[0].Detail != "1 of 6 items failed" {
		t.Errorf("run %+v, task %+v", s.done, s.tasks[0])
	}
	if s.items[2].reason != ReasonFailFast || s.items[6].reason != ReasonFailFast {
		t.Errorf("items %+v %+v", s.items[2], s.items[6])
	}
}

func TestMatrixCombinesAxes(t *testing.T) {
	g := compile(t, define(pipeline.Tasks{task("a", axis("x", "1", "2"), axis("y", "a", "${{ params.p }}"))}))
	d, _ := g.Start(Input{Run: Run{Params: map[string]any{"p": []any{int64(1)}}}})
	want := []Expansion{{Items: []any{
		map[string]any{"x": "1", "y": "a"},
		map[string]any{"x": "1", "y": []any{int64(1)}},
		map[string]any{"x": "2", "y": "a"},
		map[string]any{"x": "2", "y": []any{int64(1)}},
	}}}
	if diff := cmp.Diff(want, d.Expand); diff != "" {
		t.Errorf("Expand (-want +got):\n%s", diff)
	}
}

func TestRunMaxParallel(t *testing.T) {
	p := define(pipeline.Tasks{task("a"), task("b", forEach("x", "y", "z")), task("c"), task("d")})
	p.MaxParallel = 2
	s := play(t, p, nil, nil)
	if s.most > 2 {
		t.Errorf("%d at once", s.most)
	}
	want := []int{Number(0), ItemNumber(1, 0), ItemNumber(1, 1), ItemNumber(1, 2), Number(2), Number(3)}
	if !slices.Equal(s.order, want) {
		t.Errorf("released %v, want %v", s.order, want)
	}
}

func TestBackoffHoldsNoPlace(t *testing.T) {
	p := define(pipeline.Tasks{task("a", retry(1)), task("b"), task("c")})
	p.MaxParallel = 1
	s := newStore(compile(t, p), Run{})
	s.start()
	s.claim(Number(0))
	one := 1
	s.finish(Number(0), AttemptEnd{State: AttemptFailed, Reason: "exit", ExitCode: &one, Started: true}, nil)
	back := s.pending
	s.pending = nil
	s.look = true // something frees a place: the caller looks
	s.advance(nil, nil)
	if !s.ready[Number(1)] {
		t.Fatalf("b is not released: %v", s.ready)
	}
	s.advance(back, nil) // the back-off is over, and the place is taken
	if len(s.ready) != 1 || s.tasks[0].Reason != ReasonMaxParallel {
		t.Fatalf("ready %v, a %+v", s.ready, s.tasks[0])
	}
	for s.done == nil && len(s.errs) == 0 {
		s.once(nil)
	}
	if want := []int{0, Number(1), 0, Number(2)}; !slices.Equal(s.order, want) {
		t.Errorf("released %v, want %v", s.order, want)
	}
}

func cancelAt(t *testing.T, p *pipeline.Pipeline, set func(*store)) *store {
	t.Helper()
	s := newStore(compile(t, p), Run{})
	s.start()
	s.claim(Number(0))
	set(s)
	s.look = true
	s.advance(nil, nil)
	s.check()
	if len(s.errs) > 0 {
		t.Fatalf("%v", s.errs)
	}
	return s
}

func TestCancel(t *testing.T) {
	make := func() *pipeline.Pipeline {
		return define(pipeline.Tasks{task("a"), task("b", needs("a")), task("c"), task("d", forEach("x", "y"))},
			task("z", when(`canceled() && run.result == "canceled"`)), task("y", when("!canceled()")))
	}
	s := cancelAt(t, make(), func(s *store) { s.run.CancelRequested = true })
	if got := s.told(); got != "a:ready b:canceled(canceled) c:canceled(canceled) d:canceled(canceled) z:waiting y:waiting" {
		t.Fatalf("after cancel: %s", got)
	}
	s.finish(Number(0), AttemptEnd{State: AttemptCanceled, Started: true}, nil)
	batch := s.pending
	s.pending = nil
	s.advance(batch, nil)
	if got := s.told(); got != "a:canceled(canceled) b:canceled(canceled) c:canceled(canceled) d:canceled(canceled) z:ready y:skipped(upstream)" {
		t.Errorf("in finally: %s", got)
	}
	for s.done == nil && len(s.errs) == 0 {
		s.once(nil)
	}
	if s.done.State != Canceled || s.done.Reason != ReasonCanceled || s.tasks[4].State != Succeeded || s.tasks[5].State != Skipped {
		t.Errorf("run %+v, tasks %s, %v", s.done, s.told(), s.errs)
	}
}

func TestSecondCancelStopsFinally(t *testing.T) {
	p := define(pipeline.Tasks{task("a")}, task("z"))
	s := cancelAt(t, p, func(s *store) { s.run.CancelRequested, s.run.CancelAgain = true, true })
	s.finish(Number(0), AttemptEnd{State: AttemptCanceled}, nil)
	s.advance(s.pending, nil)
	if s.done == nil || s.done.State != Canceled || s.tasks[1].State != Canceled {
		t.Errorf("run %+v, tasks %s", s.done, s.told())
	}

	p = define(pipeline.Tasks{task("a")}, task("y"), task("z", needs("y")))
	s = newStore(compile(t, p), Run{})
	s.start()
	s.once(nil)
	s.claim(Number(1))
	s.run.CancelRequested, s.look = true, true
	s.advance(nil, nil)
	if s.live[Number(1)] != "" {
		t.Fatal("the first cancel stops finally")
	}
	s.run.CancelAgain, s.look = true, true
	s.advance(nil, nil)
	if s.live[Number(1)] != ReasonCanceled || s.tasks[2].State != Canceled {
		t.Fatalf("live %v, %s", s.live, s.told())
	}
	s.finish(Number(1), AttemptEnd{State: AttemptCanceled, Started: true}, nil)
	s.advance(s.pending, nil)
	if s.done == nil || s.done.State != Canceled {
		t.Errorf("run %+v", s.done)
	}
}

func TestTimeOutOfARun(t *testing.T) {
	p := define(pipeline.Tasks{task("a"), task("b", needs("a"))}, task("z", when(`failure() && run.reason == "timed_out"`)))
	s := cancelAt(t, p, func(s *store) { s.run.TimedOut = true })
	if s.live[0] != ReasonRunTimedOut || s.tasks[1].Reason != ReasonRunTimedOut {
		t.Fatalf("live %v, %s", s.live, s.told())
	}
	s.finish(Number(0), AttemptEnd{State: AttemptCanceled, Started: true}, nil)
	for s.done == nil && len(s.errs) == 0 {
		s.once(nil)
	}
	if s.done.State != Failed || s.done.Reason != ReasonTimedOut || s.tasks[2].State != Succeeded {
		t.Errorf("run %+v, %s %v", s.done, s.told(), s.errs)
	}
}

func TestCanceledTaskFailsTheRun(t *testing.T) {
	s := newStore(compile(t, define(pipeline.Tasks{task("a"), task("b")})), Run{})
	s.start()
	s.claim(Number(0))
	s.finish(Number(0), AttemptEnd{State: AttemptCanceled, Started: true}, nil)
	for s.done == nil {
		s.once(nil)
	}
	if s.done.State != Failed || s.done.Reason != ReasonCanceledTask {
		t.Errorf("run %+v", s.done)
	}
}

func TestRunOutputs(t *testing.T) {
	p := define(pipeline.Tasks{task("a", outputs("v")), task("b", forEach("x", "y"), outputs("v"))})
	p.Outputs = []pipeline.RunOutput{
		{Name: "one", Value: "${{ tasks.a.outputs.v }}"},
		{Name: "sum", Value: "${{ sum(tasks.b.outputs.v) }}", Schema: &pipeline.Schema{Type: "integer"}},
		{Name: "text", Value: "run ${{ run.result }}"},
	}
	s := play(t, p, nil, nil)
	want := map[string]any{"one": int64(7), "sum": int64(14), "text": "run succeeded"}
	if diff := cmp.Diff(want, s.done.Outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	p = define(pipeline.Tasks{task("a", outputs("v"))})
	p.Outputs = []pipeline.RunOutput{{Name: "x", Value: "${{ tasks.a.outputs.v / 0 }}"}}
	s = play(t, p, nil, nil)
	if s.done.State != Failed || s.done.Reason != ReasonOutputs || s.done.Detail == "" {
		t.Errorf("run %+v", s.done)
	}
	p = define(pipeline.Tasks{task("a", outputs("v"))})
	p.Outputs = []pipeline.RunOutput{{Name: "x", Value: "${{ tasks.a.outputs.v / 0 }}"}}
	if s = play(t, p, script{"a": "f"}, nil); s.done.Reason != ReasonTasks {
		t.Errorf("outputs of a failed run were evaluated: %+v", s.done)
	}
}

func TestOutputsThatAreTooLarge(t *testing.T) {
	p := define(pipeline.Tasks{
		task("a", forEach("x"), outputs("v")),
		task("b", needs("a"), when("size(needs.a.outputs.v) == 1")),
		task("c", needs("a"), when(`needs.a.result == "succeeded"`)),
	})
	s := newStore(compile(t, p), Run{})
	s.start()
	d, missing := s.g.Advance(Input{
		Run: s.run, Ends: []End{{Number: ItemNumber(0, 0), State: Succeeded}},
		Tasks: map[int]Task{0: *s.tasks[0]}, TooLarge: map[int]bool{0: true},
	})
	if !missing.None() || len(d.Changes) != 3 || d.Changes[1].State != Failed || d.Changes[1].Reason != ReasonOutputsTooLarge || !d.Changes[2].Released {
		t.Errorf("missing %+v, decision %+v", missing, d)
	}
}

// A cascade over many joins takes few rounds and reads little in vain.
func TestCascadesTakeFewRounds(t *testing.T) {
	tasks := pipeline.Tasks{task("x"), task("a0")}
	for i := 1; i < 400; i++ {
		tasks = append(tasks, task(fmt.Sprintf("a%d", i), needs(tasks[i].Name, "x")))
	}
	s := newStore(compile(t, define(tasks)), Run{})
	s.start()
	for _, how := range []script{nil, {"a0": "f"}} {
		s.once(how)
	}
	if s.done == nil || len(s.errs) > 0 {
		t.Fatalf("run %+v, %v", s.run, s.errs)
	}
	if s.rounds > 8 || s.loaded > 1200 {
		t.Errorf("%d rounds, %d rows read", s.rounds, s.loaded)
	}
}

// The wake of a back-off may come after a cancel has ended what it was for.
func TestLateWakeOfABackoffChangesNothing(t *testing.T) {
	p := define(pipeline.Tasks{task("a", retry(1))}, task("z"))
	s := newStore(compile(t, p), Run{})
	s.start()
	s.claim(0)
	s.finish(0, exit(1), nil)
	late := s.pending
	s.pending = nil
	s.run.CancelRequested, s.look = true, true
	s.advance(nil, nil)
	if s.run.Phase != PhaseFinally {
		t.Fatalf("run %+v", s.run)
	}
	s.advance(late, nil)
	s.check()
	if len(s.errs) > 0 || s.tasks[0].State != Canceled {
		t.Errorf("%s, %v", s.told(), s.errs)
	}
}
