package flow

import (
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// Models are built by hand: these tests are about decisions, not about files.

type option func(*pipeline.Task)

func needs(names ...string) option { return func(t *pipeline.Task) { t.Needs = names } }

func when(text string) option {
	return func(t *pipeline.Task) { t.If = pipeline.Condition(text) }
}

func forEach(list ...any) option {
	return func(t *pipeline.Task) { t.ForEach = &pipeline.Items{List: list}; t.FailFast = true }
}

func forEachOf(text string) option {
	return func(t *pipeline.Task) { t.ForEach = &pipeline.Items{Expr: pipeline.Expr(text)}; t.FailFast = true }
}

func axis(name string, list ...any) option {
	return func(t *pipeline.Task) {
		t.Matrix = append(t.Matrix, pipeline.Axis{Name: name, Items: pipeline.Items{List: list}})
		t.FailFast = true
	}
}

func slowFail() option { return func(t *pipeline.Task) { t.FailFast = false } }

func window(n int) option { return func(t *pipeline.Task) { t.MaxParallel = n } }

func outputs(names ...string) option {
	return func(t *pipeline.Task) {
		for _, n := range names {
			t.Outputs = append(t.Outputs, pipeline.Output{Name: n, Schema: pipeline.Schema{Type: "integer"}})
		}
	}
}

func retry(limit int) option { return func(t *pipeline.Task) { t.Retry.Limit = limit } }

func lost(limit int) option { return func(t *pipeline.Task) { t.Lost = limit } }

func task(name string, options ...option) *pipeline.Task {
	t := &pipeline.Task{
		Name: name, Kind: pipeline.KindRun, Run: "true",
		Retry: pipeline.Retry{
			Delay: pipeline.Duration(10 * time.Second), Backoff: 2, MaxDelay: pipeline.Duration(10 * time.Minute),
			Jitter: 0.2, When: []string{"exit", "oom", "timed_out"},
		},
		ExitCodes: pipeline.ExitCodes{Skip: []int{99}, Retry: []int{75}},
		Lost:      3,
	}
	for _, o := range options {
		o(t)
	}
	return t
}

func define(tasks pipeline.Tasks, finally ...*pipeline.Task) *pipeline.Pipeline {
	p := &pipeline.Pipeline{Version: 1, Namespace: "default", Name: "p", Timezone: "UTC", Tasks: tasks, Finally: finally}
	for i, t := range tasks {
		t.Ordinal = i
	}
	for i, t := range finally {
		t.Ordinal = len(tasks) + i
	}
	return p
}

func compile(t testing.TB, p *pipeline.Pipeline) *Graph {
	t.Helper()
	g, err := Compile(p)
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	return g
}
