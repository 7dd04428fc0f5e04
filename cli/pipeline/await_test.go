package pipeline_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/internal/cputime"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// TestAwaitingTasksInheritOnlyWhatTheyHave: of defaults a pipeline task takes
// retry alone, waits and approvals nothing.
func TestAwaitingTasksInheritOnlyWhatTheyHave(t *testing.T) {
	p := one(t, `name: a
defaults: {timeout: 30m, retry: 2, lost: 5, pool: w, runs_on: gpu, shell: bash, exit_codes: {skip: [1]}, cancel_grace: 1m, priority: 3, log_limit: 1MiB, queue_timeout: 5m, working_dir: "/srv/${{ env.NONE }}"}
tasks:
  sub: {pipeline: {name: x}}
  own: {pipeline: {name: x}, timeout: 1h, retry: 0}
  wait: {wait: {for: 5m}}
  ask: {approval: {prompt: Go on}, timeout: 2h}
finally:
  undo: {pipeline: {name: x}}
`)
	for _, c := range []struct {
		task    *pipeline.Task
		timeout time.Duration
		retry   int
	}{
		{p.Task("sub"), 0, 2},
		{p.Task("own"), time.Hour, 0},
		{p.Task("wait"), 0, 0},
		{p.Task("ask"), 2 * time.Hour, 0},
		{p.Task("undo"), time.Hour, 2}, // a run that is to end does not wait for ever
	} {
		got := *c.task
		if got.Timeout.Std() != c.timeout || got.Retry.Limit != c.retry || !got.Kind.Awaits() {
			t.Errorf("%s: timeout %s, retry %d, kind %s", got.Name, got.Timeout, got.Retry.Limit, got.Kind)
		}
		got.Name, got.Ordinal, got.Kind, got.Sub, got.Wait, got.Approval, got.Outputs = "", 0, "", nil, nil, nil, nil
		got.Timeout, got.Retry = 0, pipeline.Retry{}
		if diff := cmp.Diff(pipeline.Task{}, got); diff != "" {
			t.Errorf("%s has what it cannot have:\n%s", c.task.Name, diff)
		}
	}
	if pipeline.KindRun.Awaits() || pipeline.KindCommand.Awaits() {
		t.Error("a process awaits nothing")
	}
}

func TestWrittenInstantsAreOfThePipelinesZone(t *testing.T) {
	p := one(t, `name: a
timezone: Europe/Berlin
tasks:
  local: {wait: {at: 2030-07-01T05:30}}
  date: {wait: {at: 2030-01-01}}
  offset: {wait: {at: "2030-07-01T05:30:00+09:00"}}
  clock: {wait: {at: 07:00}}
`)
	for name, want := range map[string]string{
		"local": "2030-07-01T03:30:00Z", "date": "2029-12-31T23:00:00Z", "offset": "2030-06-30T20:30:00Z", "clock": "07:00",
	} {
		if got := p.Task(name).Wait.At; string(got) != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
}

// TestUntil: from what the file says, or what its expression gave, to the
// instant at which a wait ends.
func TestUntil(t *testing.T) {
	berlin, err := schedule.LoadZone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2027, 3, 27, 1, 30, 0, 0, time.UTC) // 02:30 there, the night before the clock goes forward
	length, instant := pipeline.Wait{For: "x"}, pipeline.Wait{At: "x"}
	for name, c := range map[string]struct {
		wait  pipeline.Wait
		given any
		want  string
	}{
		"duration":         {length, "1h30m", "2027-03-27T03:00:00Z"},
		"computed":         {length, 90 * time.Second, "2027-03-27T01:31:30Z"},
		"no time":          {length, "0s", "2027-03-27T01:30:00Z"},
		"longest":          {length, 366 * 24 * time.Hour, "2028-03-27T01:30:00Z"},
		"too long":         {length, 366*24*time.Hour + 1, "error: 0s to 366d"},
		"negative":         {length, -time.Second, "error: 0s to 366d"},
		"no duration":      {length, int64(5), "error: a duration is wanted"},
		"null":             {length, nil, "error: null"},
		"text":             {length, "soon", "error: wait.for"},
		"instant":          {instant, "2030-11-22T05:30:00Z", "2030-11-22T05:30:00Z"},
		"computed instant": {instant, began.Add(-time.Hour), "2027-03-27T00:30:00Z"},
		"later today":      {instant, "07:00", "2027-03-27T06:00:00Z"},
		"strictly after":   {instant, "02:30", "2027-03-28T01:00:00Z"}, // tomorrow's does not exist
		"tomorrow":         {instant, "02:00", "2027-03-28T01:00:00Z"},
		"not an instant":   {instant, "soon", "error: wait.at"},
		"not a time":       {instant, true, "error: an instant is wanted"},
	} {
		at, err := c.wait.Until(c.given, began, berlin)
		if word, ok := strings.CutPrefix(c.want, "error: "); ok {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s = %s, %v, want %s", name, at, err, c.want)
			}
			continue
		}
		if got := at.UTC().Format(time.RFC3339); got != c.want || err != nil {
			t.Errorf("%s = %s, %v, want %s", name, got, err, c.want)
		}
	}
}

// TestCheckCall: what a file wrote without quotes is text where the child wants
// text, and nothing else is bent.
func TestCheckCall(t *testing.T) {
	child := one(t, `name: child
params:
  text: {type: string, default: ""}
  flag: {type: string, default: ""}
  list: {type: array, items: {type: string}, default: []}
  free: {type: array, default: []}
  obj: {type: object, properties: {a: {type: string}, b: {type: integer}}, required: false}
  number: {type: number, default: 0}
  bool: {type: boolean, default: true}
tasks: {t: {run: x}}
`)
	parent := one(t, `name: parent
tasks: {t: {pipeline: {name: child, params: {text: 1.10, flag: no, list: [1.10, true, x], free: [1.10, no], obj: {a: 007, b: 7}, number: 1.50, bool: false}}}}
`)
	// It survives its JSON with the digits that were written.
	data, err := json.Marshal(parent)
	if err != nil {
		t.Fatal(err)
	}
	var stored pipeline.Pipeline
	if err := json.Unmarshal(data, &stored); err != nil {
		t.Fatal(err)
	}
	got, bad := child.CheckCall(stored.Tasks[0].Sub.Params)
	want := map[string]any{
		"text": "1.10", "flag": "no", "list": []any{"1.10", "true", "x"}, "free": []any{expr.Number("1.10"), "no"},
		"obj": map[string]any{"a": "007", "b": int64(7)}, "number": expr.Number("1.50"), "bool": false,
	}
	if diff := cmp.Diff(want, got); diff != "" || len(bad) > 0 {
		t.Errorf("problems %v, params (-want +got):\n%s", bad, diff)
	}
	for name, given := range map[string]any{"number": "1.50", "bool": "true", "list": "x", "unknown": 1, "obj": map[string]any{"a": "x", "b": "7"}} {
		if _, bad := child.CheckCall(map[string]any{name: given}); len(bad) != 1 {
			t.Errorf("%s: %v was taken", name, given)
		}
	}
}

// checked parses files that are fine by themselves and looks their references up.
func checked(t *testing.T, beside pipeline.Registered, texts ...string) []pipeline.Problem {
	t.Helper()
	var files []pipeline.File
	for i, text := range texts {
		files = append(files, pipeline.File{Name: fmt.Sprintf("f%d.yaml", i), Text: []byte(text)})
	}
	source, problems := pipeline.Parse(files, pipeline.Options{})
	if problems.HasErrors() {
		t.Fatal(problems.Text(files, false))
	}
	return pipeline.CheckReferences(source.Documents, beside)
}

func TestReferences(t *testing.T) {
	child := one(t, "name: load_mart\nparams: {day: {type: string, format: date}}\ntasks: {t: {run: x, outputs: {rows: {type: integer}}}}\noutputs: {rows: '${{ tasks.t.outputs.rows }}'}\n")
	beside := pipeline.Registered{
		Pipelines:     map[string]*pipeline.Pipeline{"default/load_mart": child},
		PipelineNames: []string{"default/fx_rates", "other/load"},
		Pools:         map[string]int{"default/warehouse": 4},
	}
	for name, c := range map[string]struct {
		text string
		want string // "" : none
	}{
		"all there":          {"name: a\ntriggers: {pipelines: [{name: fx_rates}, {name: other/load}]}\ntasks:\n  t: {run: x, pool: {name: warehouse, slots: 4}}\n  u: {pipeline: {name: load_mart, params: {day: 2026-11-22}}, outputs: {rows: {type: number}}}\n", ""},
		"a pool":             {"name: a\ntasks:\n  t: {run: x, pool: warehuose}\n", `f0.yaml:3:21 error task t of default/a asks for pool default/warehuose, which does not exist; did you mean "warehouse"?`},
		"a pool far off":     {"name: a\ntasks:\n  t: {run: x, pool: other/warehouse}\n", `f0.yaml:3:21 error task t of default/a asks for pool other/warehouse, which does not exist → register it: kind: pool`},
		"a pool of defaults": {"name: a\ndefaults: {pool: {name: none}}\ntasks:\n  t: {run: x}\n", `f0.yaml:2:25 error task t of default/a asks for pool default/none, which does not exist → register it: kind: pool`},
		"too many slots":     {"name: a\ntasks:\n  t: {run: x, pool: {name: warehouse, slots: 5}}\n", `f0.yaml:3:46 error task t of default/a asks for 5 slots of pool default/warehouse, which has 4`},
		"a call":             {"name: a\ntasks:\n  t: {pipeline: {name: load_mar}}\n", `f0.yaml:3:24 error task t of default/a runs pipeline default/load_mar, which does not exist; did you mean "load_mart"?`},
		"a trigger":          {"name: a\ntriggers: {pipelines: [{name: fx_rate}]}\ntasks: {t: {run: x}}\n", `f0.yaml:2:31 error a trigger of default/a waits for pipeline default/fx_rate, which does not exist; did you mean "fx_rates"?`},
		"a constant":         {"name: a\ntasks:\n  t: {pipeline: {name: load_mart, params: {day: today}}}\n", `f0.yaml:3:49 error param day of pipeline default/load_mart: "today" is not a date like 2026-11-22`},
		"not a constant":     {"name: a\ntasks:\n  t: {pipeline: {name: load_mart, params: {day: '${{ run.url }}'}}}\n", ""},
		"a missing param":    {"name: a\ntasks:\n  t: {pipeline: {name: load_mart}}\n", `f0.yaml:3:24 error pipeline default/load_mart wants param day, which has no default → params: {day: …}`},
		"an output":          {"name: a\ntasks:\n  t: {pipeline: {name: load_mart, params: {day: 2026-11-22}}, outputs: {lines: {type: integer}}}\n", `f0.yaml:3:73 error pipeline default/load_mart has no output "lines" → outputs: in that pipeline`},
	} {
		var got []string
		for _, p := range checked(t, beside, c.text) {
			got = append(got, p.Error())
			checkWords(t, p)
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, strings.Join(got, "\n"), c.want)
		}
	}
}

// TestCirclesOverSources: a document closes a circle that begins elsewhere.
func TestCirclesOverSources(t *testing.T) {
	beside := pipeline.Registered{
		PipelineNames: []string{"default/b", "default/c"},
		Links:         []pipeline.Link{{From: "default/b", To: "default/c"}, {From: "default/c", To: "default/a", Call: true}, {From: "default/x", To: "default/x"}},
	}
	got := checked(t, beside, "name: a\ntasks: {t: {pipeline: {name: b}}}\n")
	if len(got) != 1 || got[0].Code != "SYN1706" || got[0].Message != "a → b → c → a: pipelines would start each other for ever" || got[0].Col != 30 {
		t.Errorf("found %v", got)
	}
	if got := checked(t, beside, "name: d\ntasks: {t: {pipeline: {name: b}}}\n"); len(got) > 0 {
		t.Errorf("a circle of others is told: %v", got)
	}
}

func TestNestingOverSources(t *testing.T) {
	chain := func(n int) pipeline.Registered {
		r := pipeline.Registered{PipelineNames: []string{"default/c0"}}
		for i := range n {
			r.Links = append(r.Links, pipeline.Link{From: fmt.Sprintf("default/c%d", i), To: fmt.Sprintf("default/c%d", i+1), Call: true})
		}
		// Runs that a trigger starts are no deeper.
		r.Links = append(r.Links, pipeline.Link{From: fmt.Sprintf("default/c%d", n), To: "default/after"})
		return r
	}
	const text = "name: a\ntasks: {t: {pipeline: {name: c0}}}\n"
	if got := checked(t, chain(pipeline.MaxNesting-1), text); len(got) > 0 {
		t.Errorf("%d levels: %v", pipeline.MaxNesting, got)
	}
	got := checked(t, chain(pipeline.MaxNesting), text)
	if len(got) != 1 || got[0].Code != "SYN1706" || !strings.Contains(got[0].Message, "6 levels of runs below the first, 5 at most") {
		t.Errorf("found %v", got)
	}
	// From the middle, too: what calls it counts.
	above := chain(pipeline.MaxNesting - 1)
	above.Links = append(above.Links, pipeline.Link{From: "default/root", To: "default/a", Call: true})
	if got := checked(t, above, text); len(got) != 1 || !strings.HasPrefix(got[0].Message, "root → a → c0") {
		t.Errorf("found %v", got)
	}
}

// TestManyPipelinesAreLookedThroughFast: a thousand pipelines with fifty triggers
// each, and a circle through all of them.
func TestManyPipelinesAreLookedThroughFast(t *testing.T) {
	var docs []pipeline.Document
	const n = 1_000
	var text strings.Builder
	for i := range n {
		text.Reset()
		fmt.Fprintf(&text, "name: p%d\ntriggers:\n  pipelines:\n", i)
		for k := range 50 {
			fmt.Fprintf(&text, "    - {name: p%d}\n", (i+k+1)%n)
		}
		text.WriteString("tasks: {t: {run: x}}\n")
		source, problems := pipeline.Parse([]pipeline.File{{Name: fmt.Sprintf("%d.yaml", i), Text: []byte(text.String())}}, pipeline.Options{})
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		docs = append(docs, source.Documents...)
	}
	var got []pipeline.Problem
	took := cputime.Of(func() { got = pipeline.CheckReferences(docs, pipeline.Registered{}) })
	if took > 5*time.Second { // it is 50 ms
		t.Errorf("took %s", took)
	}
	if len(got) != 1 || got[0].Code != "SYN1706" || !strings.Contains(got[0].Message, "more)") {
		t.Errorf("found %.300v", got)
	}
}
