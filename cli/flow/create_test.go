package flow

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func params(p *pipeline.Pipeline, list ...pipeline.Param) *pipeline.Pipeline {
	p.Params = list
	return p
}

func TestCreate(t *testing.T) {
	day := time.Date(2026, 11, 21, 23, 30, 0, 0, time.UTC)
	p := params(define(pipeline.Tasks{task("a", axis("region", "${{ params.region }}", "all"))}),
		pipeline.Param{Name: "region", Schema: pipeline.Schema{Type: "string", Enum: []any{"emea", "amer"}, Required: true}},
		pipeline.Param{Name: "day", Schema: pipeline.Schema{Type: "string", Format: "date", Default: "${{ date(interval.start) }}"}},
		pipeline.Param{Name: "n", Schema: pipeline.Schema{Type: "integer", Default: int64(3)}},
		pipeline.Param{Name: "maybe", Schema: pipeline.Schema{Type: "integer"}},
	)
	p.Timezone = "Europe/Berlin"
	p.Schedules = []pipeline.Schedule{{ID: "night", Timezone: "UTC", Params: map[string]any{"region": "emea", "n": "${{ 1 + 1 }}"}}}
	p.Concurrency = pipeline.Concurrency{Group: "r-${{ params.region }}-${{ vars.stage }}", Limit: 2, OnConflict: "skip", MaxQueued: 4}
	g := compile(t, p)
	vars := map[string]string{"stage": "test"}

	got, err := g.Create(Request{Trigger: "manual", Params: map[string]any{"region": "amer"}, IntervalStart: day, IntervalEnd: day, Vars: vars})
	want := Created{Params: map[string]any{"region": "amer", "day": "2026-11-22", "n": int64(3)}, Group: "r-amer-test", Limit: 2, MaxQueued: 4, OnConflict: "skip"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("by hand: %v (-want +got):\n%s", err, diff)
	}
	got, err = g.Create(Request{Trigger: "schedule", Schedule: &p.Schedules[0], IntervalStart: day, IntervalEnd: day, Vars: vars})
	want.Params, want.Group = map[string]any{"region": "emea", "day": "2026-11-21", "n": int64(2)}, "r-emea-test"
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("a tick: %v (-want +got):\n%s", err, diff)
	}
	// The schedule's zone is that of its ticks; and what was made is the caller's.
	got.Params["n"] = "changed"
	if again, err := g.Create(Request{Schedule: &p.Schedules[0], Vars: vars}); err != nil || again.Params["n"] != int64(2) {
		t.Errorf("runs share params: %v, %v", again, err)
	}
}

func TestCreateTellsAllProblems(t *testing.T) {
	p := params(define(pipeline.Tasks{task("a")}),
		pipeline.Param{Name: "region", Schema: pipeline.Schema{Type: "string", Required: true}},
		pipeline.Param{Name: "n", Schema: pipeline.Schema{Type: "integer", Maximum: "5"}},
	)
	_, err := compile(t, p).Create(Request{Params: map[string]any{"regoin": "x", "n": int64(9), "region": nil}})
	bad, ok := errors.AsType[*CreateError](err)
	if !ok || bad.Reason != ReasonParams || len(bad.Problems) != 3 {
		t.Fatalf("%v", err)
	}
	for _, part := range []string{`unknown param "regoin" → did you mean "region"?`, "param region has no value", "param n: 9 is above the maximum 5"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
}

func TestCreateEvaluatesWhatIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *pipeline.Pipeline)
		want   string
	}{
		"default": {func(p *pipeline.Pipeline) {
			p.Params = []pipeline.Param{{Name: "x", Schema: pipeline.Schema{Type: "integer", Default: "${{ 1 / 0 }}"}}}
		}, "default of param x"},
		"matrix":            {func(p *pipeline.Pipeline) { axis("x", "${{ vars.absent }}")(p.Tasks[0]) }, "matrix of task a: axis x"},
		"group":             {func(p *pipeline.Pipeline) { p.Concurrency.Group = `${{ vars.absent }}` }, "concurrency.group"},
		"empty group":       {func(p *pipeline.Pipeline) { p.Concurrency.Group = `${{ lower("") }}` }, "0 characters"},
		"unprintable group": {func(p *pipeline.Pipeline) { p.Concurrency.Group = `${{ "a\nb" }}` }, "U+000A"},
	} {
		p := define(pipeline.Tasks{task("a")})
		c.change(p)
		_, err := compile(t, p).Create(Request{})
		bad, ok := errors.AsType[*CreateError](err)
		if !ok || bad.Reason != ReasonExpression || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParamsAreBounded(t *testing.T) {
	p := params(define(pipeline.Tasks{task("a")}), pipeline.Param{Name: "x", Schema: pipeline.Schema{Type: "string"}})
	if _, err := compile(t, p).Create(Request{Params: map[string]any{"x": strings.Repeat("x", 300<<10)}}); err == nil {
		t.Error("300 KiB of params are taken")
	}
}
