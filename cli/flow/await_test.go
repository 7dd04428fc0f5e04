package flow

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// ---- the caller's side, in memory

// awaited is what the caller would load of a number.
func (s *store) awaited(n int) Awaited {
	a := Awaited{State: s.state(n)}
	if known := s.awaits[n]; known != nil {
		a = *known
		a.State = s.state(n)
	}
	a.Reason = ""
	if o, index := Split(n); index >= 0 {
		a.Item, a.Reason = s.items[n].value, s.items[n].reason
	} else {
		a.Reason = s.tasks[o].Reason
	}
	if a.Child != nil {
		c := *a.Child
		a.Child = &c
	}
	return a
}

func (s *store) applyAwaits(d Decision) {
	for _, a := range d.Await {
		if s.state(a.Number) != Waiting {
			s.fail("%d waits but is %s", a.Number, s.state(a.Number))
		}
		w := &Awaited{Reason: a.Reason, WakeAt: a.WakeAt, Deadline: a.Deadline}
		if old := s.awaits[a.Number]; old != nil {
			w.Failures = old.Failures
		}
		if a.Child != nil {
			w.Child = &ChildRun{}
		}
		s.awaits[a.Number] = w
		s.set(a.Number, Waiting, a.Reason)
		s.started[a.Number] = true
	}
	for _, e := range d.Settle {
		if s.state(e.Number) != Waiting {
			s.fail("%d settles but is %s", e.Number, s.state(e.Number))
		}
		s.set(e.Number, e.State, e.Reason)
		if e.State == Succeeded {
			s.outputs[e.Number] = e.Outputs
		}
		w := s.awaits[e.Number]
		if w == nil {
			w = &Awaited{}
			s.awaits[e.Number] = w
		}
		w.Failures, w.WakeAt, w.Child, w.Decision = e.Failures, e.WakeAt, nil, nil
	}
	for _, n := range d.StopChildren {
		s.stopChild(n, ReasonTimedOut)
	}
}

// stopChild asks the child of a task to stop, if there is one.
func (s *store) stopChild(n int, reason string) bool {
	w := s.awaits[n]
	if w == nil || w.Child == nil || s.reason(n) != ReasonChild || !w.Child.Made {
		return false
	}
	if w.Child.Stop == "" {
		w.Child.Stop = reason
	}
	return true
}

func (s *store) reason(n int) string {
	if o, index := Split(n); index < 0 {
		return s.tasks[o].Reason
	}
	return s.items[n].reason
}

// open are the numbers that something can still happen to.
func (s *store) open() []int {
	var open []int
	for n, w := range s.awaits {
		told := slices.ContainsFunc(s.pending, func(e End) bool { return e.Number == n })
		if s.state(n) == Waiting && !told && (w.Child == nil || w.Child.State == "" && w.Child.Refused == "" || s.reason(n) != ReasonChild) {
			open = append(open, n)
		}
	}
	slices.Sort(open)
	return open
}

// ---- what the plan wants

func (pl *plan) kind(t *rapid.T, d *planned) {
	d.kind = rapid.SampledFrom([]pipeline.Kind{
		pipeline.KindRun, pipeline.KindRun, pipeline.KindRun, pipeline.KindWait, pipeline.KindApproval, pipeline.KindPipeline,
	}).Draw(t, "what")
	if d.kind == pipeline.KindApproval && (d.fan >= 0 || d.list >= 0) {
		d.kind = pipeline.KindWait
	}
	if d.mute() {
		d.limit = 0
		d.ends = [][]rune{{rapid.SampledFrom([]rune("sssfk")).Draw(t, "end")}}
	}
}

// becomes turns a task into what the plan says.
func (t *planned) becomes(m *pipeline.Task) {
	if t.kind == pipeline.KindRun {
		return
	}
	m.Kind, m.Run = t.kind, ""
	onEnd := map[rune]string{'k': "skip"}[t.ends[0][0]]
	switch t.kind {
	case pipeline.KindWait:
		m.Wait = &pipeline.Wait{For: "${{ duration(\"1m\") }}", OnTimeout: onEnd}
		if t.ends[0][0] != 's' {
			m.Timeout = pipeline.Duration(30 * time.Second)
		} else {
			m.Timeout = pipeline.Duration(2 * time.Minute)
		}
	case pipeline.KindApproval:
		m.Approval = &pipeline.Approval{Prompt: "Go on with ${{ params.n }}?", OnReject: onEnd, OnTimeout: "reject"}
		if t.ends[0][0] == 's' {
			m.Approval.OnTimeout = "approve"
		}
		m.Timeout = pipeline.Duration(time.Hour)
	case pipeline.KindPipeline:
		m.Sub = &pipeline.Sub{Namespace: "default", Name: "other", Params: map[string]any{"n": "${{ params.n }}"}, Wait: true}
	}
}

// happen lets something happen to what waits, and leaves a wake for it.
func (pl *plan) happen(t *rapid.T, s *store, n int) {
	o, index := Split(n)
	d, w := &pl.tasks[o], s.awaits[n]
	s.pending = append(s.pending, End{Number: n, State: Waiting})
	if rapid.IntRange(0, 5).Draw(t, "in vain") == 0 {
		return
	}
	if rapid.IntRange(0, 5).Draw(t, "twice") == 0 {
		s.pending = append(s.pending, End{Number: n, State: Waiting})
	}
	ends := d.ends[max(0, index)%len(d.ends)]
	end := ends[min(w.Failures, len(ends)-1)]
	switch s.reason(n) {
	case ReasonWait:
		s.pass(firstOf(w.WakeAt, w.Deadline))
	case ReasonBackoff:
		s.pass(w.WakeAt)
	case ReasonApproval:
		if rapid.Bool().Draw(t, "by time-out") {
			s.pass(w.Deadline)
		} else {
			w.Decision = &Verdict{Approved: end == 's', By: "ann"}
		}
	case ReasonChild:
		c := w.Child
		switch {
		case !c.Made && end == 'x':
			c.Refused, c.Detail = "params", "no such param"
		case !c.Made:
			c.Made = true
		case c.Stop != "" && rapid.Bool().Draw(t, "obeys"):
			c.State, c.Reason = Canceled, ReasonCanceled
		case end == 's':
			c.State, c.Outputs = Succeeded, map[string]any{"v": int64(1), "list": []any{"x", "y"}}
		case end == 'k':
			c.State, c.Reason = Skipped, ReasonOverlap
		default:
			c.State, c.Reason = Failed, ReasonTasks
		}
	}
}

func (s *store) pass(until time.Time) {
	if s.now.Before(until) {
		s.now = until
	}
}

// ---- rules

func waiting(text string) option {
	return func(t *pipeline.Task) {
		t.Kind, t.Run, t.Wait = pipeline.KindWait, "", &pipeline.Wait{For: pipeline.Expr(text), OnTimeout: "fail"}
	}
}

func calling(params map[string]any) option {
	return func(t *pipeline.Task) {
		t.Kind, t.Run, t.Sub = pipeline.KindPipeline, "", &pipeline.Sub{Namespace: "default", Name: "other", Params: params, Wait: true}
	}
}

func asking(prompt, onReject, onTimeout string) option {
	return func(t *pipeline.Task) {
		t.Kind, t.Run, t.Approval = pipeline.KindApproval, "", &pipeline.Approval{Prompt: pipeline.Expr(prompt), OnReject: onReject, OnTimeout: onTimeout}
	}
}

func within(d time.Duration) option {
	return func(t *pipeline.Task) { t.Timeout = pipeline.Duration(d) }
}

// begun starts a run whose first task waits, and gives what flow asks for.
func begun(t *testing.T, p *pipeline.Pipeline) *store {
	t.Helper()
	s := newStore(compile(t, p), Run{ID: 1, Params: map[string]any{"n": int64(3)}})
	s.start()
	return s
}

// tell tells that something happened to n.
func (s *store) tell(n int) { s.advance([]End{{Number: n, State: Waiting}}, nil) }

func (s *store) ended(t *testing.T, want string) {
	t.Helper()
	if len(s.errs) > 0 {
		t.Fatal(s.errs)
	}
	if got := s.told(); got != want {
		t.Errorf("tasks are %s, want %s", got, want)
	}
}

func TestWaitsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		p      *pipeline.Pipeline
		passed time.Duration
		want   string
	}{
		"not yet":           {define(pipeline.Tasks{task("a", waiting("90s"))}), 89 * time.Second, "a:waiting(wait)"},
		"over":              {define(pipeline.Tasks{task("a", waiting("90s"))}), 90 * time.Second, "a:succeeded"},
		"over first":        {define(pipeline.Tasks{task("a", waiting("90s"), within(90*time.Second))}), 90 * time.Second, "a:succeeded"},
		"timed out":         {define(pipeline.Tasks{task("a", waiting("90s"), within(time.Minute))}), time.Minute, "a:failed(timed_out)"},
		"computed":          {define(pipeline.Tasks{task("a", waiting(`${{ duration(string(params.n) + "s") }}`))}), 3 * time.Second, "a:succeeded"},
		"computed text":     {define(pipeline.Tasks{task("a", waiting(`${{ string(params.n) + "s" }}`))}), 3 * time.Second, "a:succeeded"},
		"too long":          {define(pipeline.Tasks{task("a", waiting(`${{ string(params.n * 1000) + "d" }}`))}), 0, "a:failed(expression)"},
		"not a duration":    {define(pipeline.Tasks{task("a", waiting(`${{ params.n }}`))}), 0, "a:failed(expression)"},
		"nobody depends":    {define(pipeline.Tasks{task("a", waiting("5s")), task("b", needs("a"), waiting("0s"))}), 5 * time.Second, "a:succeeded b:waiting(wait)"},
		"items that cannot": {define(pipeline.Tasks{task("a", waiting(`${{ item }}`), forEach("1s", "x", "2s"), slowFail())}), 2 * time.Second, "a:failed"},
		"items in a window": {define(pipeline.Tasks{task("a", waiting(`${{ item }}`), forEach("x", "y", "z"), slowFail(), window(1))}), 0, "a:failed"},
		"items":             {define(pipeline.Tasks{task("a", waiting(`${{ string(index) + "s" }}`), forEach("x", "y"))}), time.Second, "a:succeeded"},
		"one of a matrix":   {define(pipeline.Tasks{task("a", waiting(`${{ matrix.d }}`), axis("d", "1s", "2s"))}), time.Second, "a:ready"},
	} {
		t.Run(name, func(t *testing.T) {
			s := begun(t, c.p)
			for n, w := range s.awaits {
				if due := firstOf(w.WakeAt, w.Deadline); s.state(n) == Waiting && !due.After(s.now.Add(c.passed)) {
					s.pending = append(s.pending, End{Number: n, State: Waiting})
				}
			}
			s.now = s.now.Add(c.passed)
			batch := s.pending
			s.pending = nil
			s.advance(batch, nil)
			s.ended(t, c.want)
		})
	}
}

// A time of day is the next one strictly after the moment the task is due, in
// the zone of the run, which its schedule may have changed.
func TestTimeOfDayIsTheNextInTheZoneOfTheRun(t *testing.T) {
	p := define(pipeline.Tasks{task("a")})
	p.Tasks[0].Kind, p.Tasks[0].Run, p.Tasks[0].Wait = pipeline.KindWait, "", &pipeline.Wait{At: "06:30"}
	for zone, want := range map[string]string{"": "2026-11-22T06:30:00Z", "Europe/Vienna": "2026-11-23T05:30:00Z"} {
		s := newStore(compile(t, p), Run{ID: 1, Zone: zone})
		s.start()
		if got := s.awaits[0].WakeAt.UTC().Format(time.RFC3339); got != want {
			t.Errorf("in zone %q it waits until %s, want %s", zone, got, want)
		}
	}
}

func TestApprovalsEnd(t *testing.T) {
	approve, reject := &Verdict{Approved: true, By: "ann"}, &Verdict{By: "bob"}
	for name, c := range map[string]struct {
		ask     option
		verdict *Verdict
		late    bool
		want    string
		outputs map[string]any
	}{
		"approved":            {asking("Go?", "fail", "reject"), approve, false, "a:succeeded", map[string]any{"decision": "approved", "by": "ann"}},
		"rejected":            {asking("Go?", "fail", "reject"), reject, false, "a:failed(rejected)", nil},
		"rejected, skip":      {asking("Go?", "skip", "reject"), reject, false, "a:skipped(rejected)", nil},
		"rejected, continue":  {asking("Go?", "continue", "reject"), reject, false, "a:succeeded", map[string]any{"decision": "rejected", "by": "bob"}},
		"too late":            {asking("Go?", "fail", "reject"), nil, true, "a:failed(timed_out)", nil},
		"too late, skip":      {asking("Go?", "skip", "reject"), nil, true, "a:skipped(timed_out)", nil},
		"too late, continue":  {asking("Go?", "continue", "reject"), nil, true, "a:succeeded", map[string]any{"decision": "rejected", "by": ""}},
		"too late, approve":   {asking("Go?", "fail", "approve"), nil, true, "a:succeeded", map[string]any{"decision": "approved", "by": ""}},
		"decided in time":     {asking("Go?", "fail", "approve"), reject, true, "a:failed(rejected)", nil},
		"nothing yet":         {asking("Go?", "fail", "approve"), nil, false, "a:waiting(approval)", nil},
		"prompt of nothing":   {asking("Go ${{ params.m }}?", "fail", "approve"), nil, false, "a:failed(expression)", nil},
		"prompt with a value": {asking("${{ params.n }}", "fail", "approve"), nil, false, "a:waiting(approval)", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := begun(t, define(pipeline.Tasks{task("a", c.ask, within(time.Hour))}))
			if w := s.awaits[0]; w != nil {
				w.Decision = c.verdict
				if c.late {
					s.pass(w.Deadline)
				}
				s.tell(0)
			}
			s.ended(t, c.want)
			if diff := cmp.Diff(c.outputs, s.outputs[0]); diff != "" {
				t.Errorf("outputs: %s", diff)
			}
		})
	}
}

func TestChildrenEnd(t *testing.T) {
	for name, c := range map[string]struct {
		child   ChildRun
		options []option
		want    string
	}{
		"succeeded":            {ChildRun{Made: true, State: Succeeded, Outputs: map[string]any{"v": int64(1)}}, nil, "a:succeeded"},
		"an output is missing": {ChildRun{Made: true, State: Succeeded}, []option{func(t *pipeline.Task) { t.Outputs[0].Required = true }}, "a:failed(outputs_missing)"},
		"an output of another type": {
			ChildRun{Made: true, State: Succeeded, Outputs: map[string]any{"v": "x"}}, []option{retry(0)}, "a:failed(outputs_type)",
		},
		"failed":                  {ChildRun{Made: true, State: Failed, Reason: ReasonTasks}, nil, "a:failed(tasks)"},
		"failed, once more":       {ChildRun{Made: true, State: Failed, Reason: ReasonTasks}, []option{retry(1)}, "a:waiting(backoff)"},
		"skipped":                 {ChildRun{Made: true, State: Skipped, Reason: ReasonOverlap}, []option{retry(1)}, "a:skipped(overlap)"},
		"canceled by somebody":    {ChildRun{Made: true, State: Canceled, Reason: ReasonCanceled}, []option{retry(1)}, "a:canceled(canceled)"},
		"canceled for fail_fast":  {ChildRun{Made: true, State: Canceled, Reason: ReasonCanceled, Stop: ReasonFailFast}, nil, "a:canceled(fail_fast)"},
		"faster than the cancel":  {ChildRun{Made: true, State: Succeeded, Stop: ReasonCanceled}, nil, "a:succeeded"},
		"out of time":             {ChildRun{Made: true, State: Canceled, Reason: ReasonCanceled, Stop: ReasonTimedOut}, nil, "a:failed(timed_out)"},
		"out of time, once more":  {ChildRun{Made: true, State: Canceled, Stop: ReasonTimedOut}, []option{retry(1)}, "a:waiting(backoff)"},
		"its own time was over":   {ChildRun{Made: true, State: Failed, Reason: ReasonTimedOut}, []option{retry(1), func(t *pipeline.Task) { t.Retry.When = []string{"exit"} }}, "a:failed(timed_out)"},
		"refused is final":        {ChildRun{Refused: ReasonParams, Detail: "x"}, []option{retry(1)}, "a:failed(params)"},
		"runs":                    {ChildRun{Made: true}, nil, "a:waiting(child)"},
		"made, and that is it":    {ChildRun{Made: true}, []option{func(t *pipeline.Task) { t.Sub.Wait = false }}, "a:succeeded"},
		"not made, and awaits it": {ChildRun{}, []option{func(t *pipeline.Task) { t.Sub.Wait = false }}, "a:waiting(child)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := begun(t, define(pipeline.Tasks{task("a", append([]option{calling(nil), outputs("v")}, c.options...)...)}))
			s.awaits[0].Child = &c.child
			s.tell(0)
			s.ended(t, c.want)
		})
	}
}

// A time-out of the task stops the child; the task ends when the child has.
func TestTimeOutStopsTheChild(t *testing.T) {
	s := begun(t, define(pipeline.Tasks{task("a", calling(map[string]any{"n": "${{ params.n }}"}), within(time.Minute))}))
	s.awaits[0].Child.Made = true
	s.pass(s.awaits[0].Deadline)
	s.tell(0)
	s.ended(t, "a:waiting(child)")
	if got := s.awaits[0].Child.Stop; got != ReasonTimedOut {
		t.Fatalf("the child was asked to stop for %q", got)
	}
	s.awaits[0].Child.State = Canceled
	s.tell(0)
	s.ended(t, "a:failed(timed_out)")
}

// Nothing that waits takes a place of the run's max_parallel.
func TestWaitingTakesNoPlace(t *testing.T) {
	p := define(pipeline.Tasks{task("a", waiting("1h")), task("b", calling(nil)), task("c", asking("?", "fail", "reject")), task("d"), task("e")})
	p.MaxParallel = 1
	s := begun(t, p)
	s.ended(t, "a:waiting(wait) b:waiting(child) c:waiting(approval) d:ready e:waiting(max_parallel)")
}

// However many items cannot begin, that takes few decisions.
func TestItemsThatCannotBegin(t *testing.T) {
	p := define(pipeline.Tasks{task("a", waiting("${{ params.m }}"), forEachOf("${{ split(params.list, \",\") }}"), slowFail(), window(1)), task("b", needs("a"))})
	g := compile(t, p)
	s := newStore(g, Run{ID: 1, Params: map[string]any{"list": strings.Repeat(",", 3000)}})
	s.start()
	s.ended(t, "a:failed b:skipped(upstream)")
	if s.done == nil {
		t.Error("the run goes on")
	}
}

// The wake of what is not due yet is left again.
func TestTooEarlyIsLeftAgain(t *testing.T) {
	g := compile(t, define(pipeline.Tasks{task("a", waiting("1h"))}))
	s := newStore(g, Run{ID: 1})
	s.start()
	at := s.awaits[0].WakeAt
	d, missing := g.Advance(Input{
		Run: s.run, Now: s.now, Ends: []End{{Number: 0, State: Waiting}}, Awaited: map[int]Awaited{0: s.awaited(0)},
		Tasks: map[int]Task{0: *s.tasks[0]},
	})
	if !missing.None() {
		t.Fatal(missing)
	}
	if diff := cmp.Diff([]Later{{0, at}}, d.Again); diff != "" {
		t.Error(diff)
	}
}

func TestChildGetsRenderedParams(t *testing.T) {
	g := compile(t, define(pipeline.Tasks{task("a", calling(map[string]any{"n": "${{ params.n + index }}", "of": "item ${{ item }}"}), forEach("x", "y"))}))
	d, missing := g.Start(Input{Run: Run{ID: 1, Params: map[string]any{"n": int64(3)}}, Now: time.Unix(0, 0)})
	if !missing.None() {
		t.Fatal(missing)
	}
	got := fmt.Sprint(len(d.Await), d.Await[1].Child.Params)
	if want := "2 map[n:4 of:item y]"; got != want {
		t.Errorf("asks for %s, want %s", got, want)
	}
}
