package local

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// with finds the pipelines of a text for runs that call them.
func with(t *testing.T, text string) func(*Options, *session) {
	t.Helper()
	source, problems := pipeline.Parse([]pipeline.File{{Name: "test.yaml", Text: []byte(text)}}, pipeline.Options{})
	if problems.HasErrors() {
		t.Fatalf("%v", problems.Error())
	}
	return func(o *Options, _ *session) {
		o.Pipeline = func(namespace, name string) *pipeline.Pipeline {
			for _, p := range source.Pipelines() {
				if p.Namespace == namespace && p.Name == name {
					return p
				}
			}
			return nil
		}
	}
}

func TestWaitsAreWaitedFor(t *testing.T) {
	t.Parallel()
	s := run(t, t.Context(), `
name: p
tasks:
  a: {wait: {for: 50ms}}
  each: {for_each: [10ms, 20ms], max_parallel: 1, wait: {for: "${{ duration(item) }}"}}
  late: {wait: {for: 1h, on_timeout: skip}, timeout: 1s}
  b: {needs: [a, each], run: echo done}
`, nil, nil)
	if got, want := s.told(), "a:succeeded each:succeeded each[0]:succeeded each[1]:succeeded late:skipped(timed_out) b:succeeded"; got != want {
		t.Errorf("tasks are %s, want %s", got, want)
	}
	if took := s.EndedAt.Sub(s.StartedAt); took < time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestAPersonIsAsked(t *testing.T) {
	t.Parallel()
	text := "name: p\ntasks:\n  ask: {approval: {prompt: \"Load ${{ run.pipeline }}?\"}}\n  go: {needs: ask, env: {BY: \"${{ needs.ask.outputs.by }}\"}, run: echo by $BY}\n"
	for _, c := range []struct {
		answer bool
		want   string
	}{{true, "ask:succeeded go:succeeded"}, {false, "ask:failed(rejected) go:skipped(upstream)"}} {
		asked := ""
		s := run(t, t.Context(), text, nil, func(o *Options, _ *session) {
			o.Approve = func(_ context.Context, task, prompt string) (bool, error) {
				asked = task + ": " + prompt
				return c.answer, nil
			}
		})
		if got := s.told(); got != c.want || asked != "ask: Load p?" {
			t.Errorf("asked %q, tasks are %s, want %s", asked, got, c.want)
		}
	}
}

func TestACancelWhileAPersonIsAsked(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := run(t, ctx, "name: p\ntasks:\n  ask: {approval: {prompt: Go}}\n", nil, func(o *Options, _ *session) {
		o.Approve = func(ctx context.Context, _, _ string) (bool, error) {
			cancel()
			<-ctx.Done()
			return false, ctx.Err()
		}
	})
	if got, want := string(s.State)+" "+s.told(), "canceled ask:canceled(canceled)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

const called = `
name: p
tasks:
  call: {for_each: "${{ [1, 2] }}", pipeline: {name: c, params: {n: "${{ item }}", text: 7}}, outputs: {n: {type: integer}}}
  sum: {needs: call, if: sum(needs.call.outputs.n) == 3, run: echo sum}
  free: {pipeline: {name: c, wait: false}}
  fails: {if: always(), pipeline: {name: c, params: {n: -1}}, retry: {limit: 1, delay: 10ms}}
---
name: c
params: {n: {type: integer, default: 0}, text: {type: string, default: ""}}
tasks:
  work: {env: {N: "${{ params.n }}"}, run: "echo work $N; test $N -ge 0"}
outputs: {n: "${{ params.n }}"}
`

func TestChildrenRunBesideTheirParent(t *testing.T) {
	t.Parallel()
	s := run(t, t.Context(), called, nil, with(t, called))
	if got, want := s.told(), "call:succeeded call[0]:succeeded call[1]:succeeded sum:succeeded free:succeeded fails:failed(tasks)"; got != want {
		t.Errorf("tasks are %s, want %s", got, want)
	}
	for line, n := range map[string]int{"work 1\n": 1, "work 2\n": 1, "work 0\n": 1, "work -1\n": 2} {
		if got := strings.Count(s.out.String(), line); got != n {
			t.Errorf("%q is printed %d times, want %d", line, got, n)
		}
	}
	if !strings.Contains(strings.Join(s.events, "\n"), "task call[1]/work succeeded") {
		t.Errorf("events: %q", s.events)
	}
}

func TestACancelReachesChildren(t *testing.T) {
	t.Parallel()
	text := "name: p\ntasks:\n  call: {pipeline: {name: c}}\n---\nname: c\ntasks:\n  work: {run: echo here; sleep 60}\nfinally:\n  clean: {run: echo cleaned}\n"
	ctx, cancel := context.WithCancel(t.Context())
	s := run(t, ctx, text, nil, func(o *Options, s *session) {
		with(t, text)(o, s)
		out := o.Output
		o.Output = func(task string, n int, stream stream, block []byte) {
			out(task, n, stream, block)
			if strings.Contains(string(block), "here") {
				cancel()
			}
		}
	})
	if got, want := string(s.State)+" "+s.told(), "canceled call:canceled(canceled)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !strings.Contains(s.out.String(), "cleaned") {
		t.Errorf("the child's finally did not run: %q", s.out.String())
	}
}

func TestWhatCannotRunHereIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"name: p\ntasks:\n  ask: {approval: {prompt: Go}}\n":   "task ask of p asks a person, and there is no terminal",
		"name: p\ntasks:\n  call: {pipeline: {name: other}}\n": "task call of p runs the pipeline default/other, which is not in the given file",
	} {
		_, err := Run(t.Context(), parse(t, text), nil, Options{Now: time.Now, Root: t.TempDir()})
		if err == nil || err.Error() != want {
			t.Errorf("Run = %v, want %s", err, want)
		}
	}
}
