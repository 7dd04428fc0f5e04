package attempt

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func graph(t testing.TB, change func(p *pipeline.Pipeline), tasks ...*pipeline.Task) *flow.Graph {
	t.Helper()
	p := &pipeline.Pipeline{Namespace: "finance", Name: "sales", Timezone: "Europe/Berlin", Tasks: tasks}
	for i, task := range tasks {
		task.Ordinal = i
	}
	if change != nil {
		change(p)
	}
	g, err := flow.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func command(name string, argv ...pipeline.Expr) *pipeline.Task {
	return &pipeline.Task{
		Name: name, Kind: pipeline.KindCommand, Command: argv, LogLimit: 1 << 20,
		Timeout: pipeline.Duration(time.Hour), CancelGrace: pipeline.Duration(10 * time.Second),
	}
}

func plan(t testing.TB, g *flow.Graph, ordinal int) *Plan {
	t.Helper()
	p, err := Compile(g, ordinal)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func context() Context {
	at := time.Date(2026, 11, 22, 5, 30, 0, 0, time.UTC)
	return Context{
		Run: flow.Run{
			ID: 90412, Number: 7, Namespace: "finance", Pipeline: "sales", Trigger: "schedule",
			ScheduledAt: at, IntervalStart: at.Add(-24 * time.Hour), IntervalEnd: at,
			Params: map[string]any{"day": "2026-11-21", "n": int64(3), "list": []any{"a", int64(1)}, "yes": true},
			Vars:   map[string]string{"BUCKET": "s3://raw"},
		},
		Index: -1, Attempt: 2, Key: "k1", Dir: "/tmp/syn/a1", Path: "/usr/bin:/bin",
	}
}

func TestEnvironment(t *testing.T) {
	task := command("load", "./load")
	task.Env = []pipeline.Var{{Name: "RUN_DATE", Value: "on ${{ params.day }}"}, {Name: "LANG", Value: "de_DE.UTF-8"}, {Name: "EMPTY", Value: ""}}
	g := graph(t, func(p *pipeline.Pipeline) {
		p.Env = []pipeline.Var{{Name: "BUCKET", Value: "${{ vars.BUCKET }}"}, {Name: "RUN_DATE", Value: "overridden"}}
	}, task)
	got, err := plan(t, g, 0).Render(context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Env)
	want := []string{
		"BUCKET=s3://raw",
		"EMPTY=",
		"HOME=/tmp/syn/a1",
		"LANG=de_DE.UTF-8",
		"PATH=/usr/bin:/bin",
		"RUN_DATE=on 2026-11-21",
		"SYN_ATTEMPT=2",
		"SYN_DIR=/tmp/syn/a1",
		"SYN_IDEMPOTENCY_KEY=k1",
		"SYN_INTERVAL_END=2026-11-22T05:30:00Z",
		"SYN_INTERVAL_START=2026-11-21T05:30:00Z",
		"SYN_OUTPUT=/tmp/syn/a1/out",
		"SYN_PARAM_DAY=2026-11-21",
		`SYN_PARAM_LIST=["a",1]`,
		"SYN_PARAM_N=3",
		"SYN_PARAM_YES=true",
		"SYN_PIPELINE=finance/sales",
		"SYN_RUN_ID=90412",
		"SYN_SCHEDULED_AT=2026-11-22T05:30:00Z",
		"SYN_SUMMARY=/tmp/syn/a1/summary",
		"SYN_TASK=load",
	}
	if diff := cmp.Diff(want, got.Env); diff != "" {
		t.Errorf("Env (-want +got):\n%s", diff)
	}
	if got.Dir != "/tmp/syn/a1" || got.Timeout != time.Hour || got.Grace != 10*time.Second || got.LogLimit != 1<<20 {
		t.Errorf("rendered %+v", got)
	}
}

func TestArguments(t *testing.T) {
	task := command("load", "./load", "--day=${{ params.day }}", "${{ to_json(params.list) }}", "$${{ x }}", "${{ env.A }} b  c", "${{ task.name }} ${{ attempt.number }} ${{ attempt.key }}")
	task.Env = []pipeline.Var{{Name: "A", Value: "$HOME; rm -rf /"}}
	got, err := plan(t, graph(t, nil, task), 0).Render(context())
	want := []string{"./load", "--day=2026-11-21", `["a",1]`, "${{ x }}", "$HOME; rm -rf / b  c", "load 2 k1-2"}
	if diff := cmp.Diff(want, got.Argv); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestScriptsAreNeverRendered(t *testing.T) {
	task := &pipeline.Task{Name: "a", Kind: pipeline.KindRun, Run: "echo $A ${{ params.day }}", Shell: []string{"sh", "-e", "-c"}}
	p := plan(t, graph(t, nil, task), 0)
	for range 2 {
		got, err := p.Render(context())
		if want := []string{"sh", "-e", "-c", "echo $A ${{ params.day }}"}; err != nil || !slices.Equal(got.Argv, want) {
			t.Errorf("%v, %v", got.Argv, err)
		}
		got.Argv[0] = "changed"
	}
}

func TestItems(t *testing.T) {
	each := command("a", "${{ item.name }}", "${{ index }}")
	each.ForEach = &pipeline.Items{Expr: "${{ params.list }}"}
	grid := command("b", "${{ matrix.region }}-${{ matrix.n }}")
	grid.Matrix = []pipeline.Axis{{Name: "region"}, {Name: "n"}}
	g := graph(t, nil, each, grid)

	c := context()
	c.Item, c.Index = json.RawMessage(`{"name": "x",  "v": 1.50}`), 3
	got, err := plan(t, g, 0).Render(c)
	if want := []string{"x", "3"}; err != nil || !slices.Equal(got.Argv, want) {
		t.Errorf("%v, %v", got.Argv, err)
	}
	for _, want := range []string{`SYN_ITEM={"name":"x","v":1.50}`, "SYN_TASK=a[3]"} {
		if !slices.Contains(got.Env, want) {
			t.Errorf("no %s in %v", want, got.Env)
		}
	}
	c.Item = json.RawMessage(`{"region": "emea", "n": 2}`)
	if got, err = plan(t, g, 1).Render(c); err != nil || got.Argv[0] != "emea-2" {
		t.Errorf("%v, %v", got.Argv, err)
	}
}

func TestEarlierTasks(t *testing.T) {
	first := &pipeline.Task{Name: "first-one", Kind: pipeline.KindRun, Outputs: []pipeline.Output{{Name: "rows", Schema: pipeline.Schema{Type: "integer"}}}}
	many := &pipeline.Task{Name: "many", Kind: pipeline.KindRun, ForEach: &pipeline.Items{List: []any{"a", "b"}}, Outputs: []pipeline.Output{{Name: "rows", Schema: pipeline.Schema{Type: "integer"}}}}
	task := command("load", `${{ needs["first-one"].outputs.rows }}`, "${{ sum(needs.many.outputs.rows) }} of ${{ needs.many.counts.succeeded }}", "${{ needs.many.result }}")
	task.Needs = []string{"first-one", "many"}
	plain := command("plain", "x")
	plain.Needs = []string{"many"}
	g := graph(t, nil, first, many, task, plain)

	if r := plan(t, g, 3).Reads(); !r.None() {
		t.Errorf("plain reads %+v", r)
	}
	p := plan(t, g, 2)
	if diff := cmp.Diff(Reads{Tasks: []int{0, 1}, Outputs: []int{0, 1}}, p.Reads()); diff != "" {
		t.Errorf("Reads (-want +got):\n%s", diff)
	}
	c := context()
	c.Tasks = map[int]Earlier{
		0: {State: flow.Succeeded, Outputs: map[string]any{"rows": int64(5), "undeclared": "x"}},
		1: {State: flow.Succeeded, Fan: &flow.Fan{Items: 2, OK: 2}, Outputs: map[string]any{"rows": []any{int64(2), int64(3)}}},
	}
	got, err := p.Render(c)
	if want := []string{"5", "5 of 2", "succeeded"}; err != nil || !slices.Equal(got.Argv, want) {
		t.Errorf("%v, %v", got.Argv, err)
	}
	c.Tasks[1] = Earlier{State: flow.Succeeded, Fan: &flow.Fan{}, TooLarge: true}
	_, err = p.Render(c)
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != flow.ReasonOutputsTooLarge {
		t.Errorf("too large: %v", err)
	}
	c.Tasks[0] = Earlier{State: flow.Skipped}
	_, err = p.Render(c)
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != flow.ReasonExpression || e.Field != "command[0]" {
		t.Errorf("of a skipped task: %v", err)
	}
}

func TestFinallyReadsTheRun(t *testing.T) {
	z := command("z", "${{ run.result }} ${{ run.reason }} ${{ tasks.a.result }}")
	g := graph(t, func(p *pipeline.Pipeline) { z.Ordinal = 1; p.Finally = pipeline.Tasks{z} }, command("a", "x"))
	p := plan(t, g, 1)
	if diff := cmp.Diff(Reads{Tasks: []int{0}, Result: true}, p.Reads()); diff != "" {
		t.Errorf("Reads (-want +got):\n%s", diff)
	}
	c := context()
	c.Result, c.Reason, c.Tasks = flow.Failed, "tasks", map[int]Earlier{0: {State: flow.Failed}}
	if got, err := p.Render(c); err != nil || got.Argv[0] != "failed tasks failed" {
		t.Errorf("%v, %v", got.Argv, err)
	}
}

func TestSecrets(t *testing.T) {
	task := command("a", "./load", "${{ env.PLAIN }}")
	task.Env = []pipeline.Var{{Name: "URL", Value: "https://u:${{ secrets.PASSWORD }}@host"}, {Name: "PLAIN", Value: "x"}}
	task.Secrets = map[string]string{"TOKEN": "API_TOKEN", "AGAIN": "PASSWORD"}
	leak := command("b", "${{ env.URL }}")
	leak.Env = task.Env
	g := graph(t, nil, task, leak)

	asked := map[string]int{}
	c := context()
	c.Secret = func(name string) (string, error) {
		asked[name]++
		return map[string]string{"PASSWORD": "hunter22", "API_TOKEN": "t0ken"}[name], nil
	}
	got, err := plan(t, g, 0).Render(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"URL=https://u:hunter22@host", "TOKEN=t0ken", "AGAIN=hunter22"} {
		if !slices.Contains(got.Env, want) {
			t.Errorf("no %s in %v", want, got.Env)
		}
	}
	if diff := cmp.Diff([]string{"t0ken", "hunter22"}, got.Secrets); diff != "" || asked["PASSWORD"] != 1 {
		t.Errorf("Secrets (-want +got):\n%s, asked %v", diff, asked)
	}
	// A variable that holds a secret is not seen by arguments.
	if _, err := plan(t, g, 1).Render(c); err == nil {
		t.Error("a secret is in the arguments")
	}
	c.Secret = func(string) (string, error) { return "", errors.New("it is not set") }
	_, err = plan(t, g, 0).Render(c)
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != "secret" || err.Error() != "secrets.PASSWORD: it is not set" {
		t.Errorf("not set: %v", err)
	}
}

func TestWorkingDirectory(t *testing.T) {
	for text, want := range map[pipeline.Expr]string{
		"": "/tmp/syn/a1", "sub/dir": "/tmp/syn/a1/sub/dir", "/srv/${{ params.day }}": "/srv/2026-11-21",
		"../other": "", "sub/../../other": "", "/srv/../etc": "/etc",
	} {
		task := command("a", "x")
		task.WorkingDir = text
		got, err := plan(t, graph(t, nil, task), 0).Render(context())
		if (err != nil) != (want == "") || got.Dir != want {
			t.Errorf("%q gives %q, %v, want %q", text, got.Dir, err, want)
		}
	}
}

func TestWhatNoProcessCanBeGiven(t *testing.T) {
	for name, change := range map[string]func(*pipeline.Task, *Context){
		"NUL in an argument": func(task *pipeline.Task, _ *Context) { task.Command = append(task.Command, `${{ "a\u0000b" }}`) },
		"NUL in env": func(task *pipeline.Task, _ *Context) {
			task.Env = []pipeline.Var{{Name: "A", Value: `${{ "a\u0000b" }}`}}
		},
		"NUL in a param": func(_ *pipeline.Task, c *Context) { c.Run.Params["day"] = "a\x00b" },
		"NUL in a secret": func(task *pipeline.Task, c *Context) {
			task.Secrets = map[string]string{"A": "B"}
			c.Secret = func(string) (string, error) { return "a\x00", nil }
		},
		"a large param": func(_ *pipeline.Task, c *Context) { c.Run.Params["day"] = strings.Repeat("x", 200<<10) },
		"a large argument": func(task *pipeline.Task, c *Context) {
			task.Command = append(task.Command, "${{ vars.BIG }}")
			c.Run.Vars["BIG"] = strings.Repeat("x", 130<<10)
		},
		"a large value": func(task *pipeline.Task, c *Context) {
			task.Env = []pipeline.Var{{Name: "A", Value: "${{ vars.BIG }}"}}
			c.Run.Vars["BIG"] = strings.Repeat("x", 33<<10)
		},
		"no program": func(task *pipeline.Task, c *Context) {
			task.Command = []pipeline.Expr{"${{ vars.NONE }}"}
			c.Run.Vars["NONE"] = ""
		},
		"an absent variable": func(task *pipeline.Task, _ *Context) { task.Command = append(task.Command, "${{ vars.ABSENT }}") },
	} {
		task, c := command("a", "x"), context()
		change(task, &c)
		_, err := plan(t, graph(t, nil, task), 0).Render(c)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason == "" || e.Field == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	at := time.Date(2026, 11, 22, 5, 30, 0, 0, time.UTC)
	key := IdempotencyKey("i", "default/p", 5, at, 7, "a", -1, nil)
	if again := IdempotencyKey("i", "default/p", 5, at.In(time.FixedZone("x", 3600)), 8, "a", -1, nil); again != key {
		t.Error("the run matters although there is a tick")
	}
	if len(key) > 100 || strings.ContainsFunc(key, func(r rune) bool { return r < 33 || r > 126 }) {
		t.Errorf("key %q", key)
	}
	seen := map[string]string{key: "tick"}
	for name, other := range map[string]string{
		"installation": IdempotencyKey("j", "default/p", 5, at, 7, "a", -1, nil),
		"pipeline":     IdempotencyKey("i", "default/q", 5, at, 7, "a", -1, nil),
		"schedule":     IdempotencyKey("i", "default/p", 6, at, 7, "a", -1, nil),
		"instant":      IdempotencyKey("i", "default/p", 5, at.Add(time.Second), 7, "a", -1, nil),
		"run":          IdempotencyKey("i", "default/p", 0, at, 7, "a", -1, nil),
		"other run":    IdempotencyKey("i", "default/p", 0, at, 8, "a", -1, nil),
		"task":         IdempotencyKey("i", "default/p", 5, at, 7, "b", -1, nil),
		"item":         IdempotencyKey("i", "default/p", 5, at, 7, "a", 0, json.RawMessage(`"x"`)),
		"other item":   IdempotencyKey("i", "default/p", 5, at, 7, "a", 0, json.RawMessage(`"y"`)),
		"other index":  IdempotencyKey("i", "default/p", 5, at, 7, "a", 1, json.RawMessage(`"x"`)),
	} {
		if before, ok := seen[other]; ok {
			t.Errorf("%s has the key of %s", name, before)
		}
		seen[other] = name
	}
	if a, b := AttemptKey(key, 1), AttemptKey(key, 2); a == b {
		t.Error("attempts share a key")
	}
}

func BenchmarkRender(b *testing.B) {
	task := command("load", "./load", "--day=${{ params.day }}")
	task.Env = []pipeline.Var{{Name: "RUN_DATE", Value: "on ${{ params.day }}"}}
	p := plan(b, graph(b, nil, task), 0)
	c := context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Render(c); err != nil {
			b.Fatal(err)
		}
	}
}
