package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"go.uber.org/goleak"
)

// No goroutine outlives a run.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t *testing.T, text string) *pipeline.Pipeline {
	t.Helper()
	source, problems := pipeline.Parse([]pipeline.File{{Name: "test.yaml", Text: []byte(text)}}, pipeline.Options{})
	if problems.HasErrors() {
		t.Fatalf("%v", problems.Error())
	}
	return source.Pipelines()[0]
}

// A session is one run with what it printed and told.
type session struct {
	Result
	out    bytes.Buffer
	events []string
}

func run(t *testing.T, ctx context.Context, text string, params map[string]any, change func(*Options, *session)) *session {
	t.Helper()
	s := &session{}
	o := Options{
		Now: time.Now, Root: t.TempDir(), MaxParallel: 4,
		Output: func(task string, attempt int, _ process.Stream, block []byte) { s.out.Write(block) },
		Events: func(e Event) {
			s.events = append(s.events, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Kind, e.Task, e.State, e.Reason)))
		},
	}
	if change != nil {
		change(&o, s)
	}
	var err error
	if s.Result, err = Run(ctx, parse(t, text), params, o); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if left, _ := os.ReadDir(o.Root); len(left) > 1 { // the lock of the root stays
		t.Errorf("left behind: %v", left)
	}
	return s
}

// told gives the states of all tasks.
func (s *session) told() string {
	var parts []string
	for _, task := range s.Tasks {
		name := task.Name
		if task.Index >= 0 {
			name = fmt.Sprintf("%s[%d]", name, task.Index)
		}
		text := name + ":" + string(task.State)
		if task.Reason != "" {
			text += "(" + task.Reason + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func (s *session) task(name string) Task {
	for _, task := range s.Tasks {
		if task.Name == name && task.Index < 0 {
			return task
		}
	}
	return Task{}
}

func TestPipelineRuns(t *testing.T) {
	s := run(t, t.Context(), `
name: sizes
params:
  words: {type: array, items: {type: string}, default: [one, three]}
tasks:
  list:
    run: |
      echo "words=$SYN_PARAM_WORDS" >> "$SYN_OUTPUT"
      echo "# done" >> "$SYN_SUMMARY"
    outputs: {words: {type: array, items: {type: string}}}
  count:
    needs: list
    for_each: ${{ needs.list.outputs.words }}
    env: {WORD: "${{ item }}"}
    run: |
      printf 'size=%d\n' "${#WORD}" >> "$SYN_OUTPUT"
    outputs: {size: {type: integer}}
  add:
    needs: count
    command: [sh, -c, 'echo "sum=$1" >> "$SYN_OUTPUT"; echo "in all $1"', x, "${{ sum(needs.count.outputs.size) }}"]
    outputs: {sum: {type: integer}}
finally:
  tidy:
    command: [echo, "${{ run.result }} ${{ tasks.add.outputs.sum }}"]
outputs:
  sum: ${{ tasks.add.outputs.sum }}
`, nil, nil)
	if got, want := s.told(), "list:succeeded count:succeeded count[0]:succeeded count[1]:succeeded add:succeeded tidy:succeeded"; got != want {
		t.Fatalf("tasks\n got %s\nwant %s", got, want)
	}
	if diff := cmp.Diff(map[string]any{"sum": int64(8)}, s.Outputs); diff != "" || s.State != flow.Succeeded {
		t.Errorf("%s: outputs (-want +got):\n%s", s.State, diff)
	}
	if got := s.out.String(); got != "in all 8\nsucceeded 8\n" {
		t.Errorf("printed %q", got)
	}
	if list := s.task("list"); list.Attempts[0].Summary != "# done\n" || *list.Attempts[0].ExitCode != 0 {
		t.Errorf("attempt %+v", list.Attempts)
	}
	want := []string{"run  running", "attempt list running", "attempt list succeeded", "task list succeeded"}
	if !slices.Equal(s.events[:4], want) || s.events[len(s.events)-1] != "run  succeeded" {
		t.Errorf("events %q", s.events)
	}
}

func TestRetriesAndSkips(t *testing.T) {
	s := run(t, t.Context(), `
name: r
tasks:
  flaky:
    run: 'test "$SYN_ATTEMPT" = 3 || exit 7'
    retry: {limit: 3, delay: 1ms}
  hopeless:
    run: exit 3
    retry: {limit: 1, delay: 1ms}
  skips:
    run: exit 99
  after:
    needs: [hopeless]
    run: echo never
  repair:
    needs: [hopeless]
    if: failure()
    command: [echo, "${{ needs.hopeless.reason }}"]
`, nil, nil)
	if got, want := s.told(), "flaky:succeeded hopeless:failed(exit) skips:skipped(exit_code) after:skipped(upstream) repair:succeeded"; got != want {
		t.Errorf("tasks\n got %s\nwant %s", got, want)
	}
	if s.State != flow.Failed || s.Reason != flow.ReasonTasks || s.out.String() != "exit\n" {
		t.Errorf("run %s %s, printed %q", s.State, s.Reason, s.out.String())
	}
	for name, want := range map[string]string{"flaky": "failed failed succeeded", "hopeless": "failed failed", "skips": "succeeded"} {
		var got []string
		for i, a := range s.task(name).Attempts {
			got = append(got, a.State)
			if a.Number != i+1 {
				t.Errorf("%s: attempt %d has the number %d", name, i+1, a.Number)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: attempts %v, want %s", name, got, want)
		}
	}
}

func TestFailFast(t *testing.T) {
	s := run(t, t.Context(), `
name: f
tasks:
  many:
    for_each: [fail, sleep, sleep, sleep, sleep]
    max_parallel: 2
    cancel_grace: 5s
    env: {WHAT: "${{ item }}"}
    run: |
      if [ "$WHAT" = fail ]; then exit 1; fi
      exec sleep 60
`, nil, nil)
	want := "many:failed many[0]:failed(exit) many[1]:canceled(fail_fast) many[2]:canceled(fail_fast) many[3]:canceled(fail_fast) many[4]:canceled(fail_fast)"
	if got := s.told(); got != want {
		t.Errorf("tasks\n got %s\nwant %s", got, want)
	}
	if n := len(s.Tasks[3].Attempts); n != 0 {
		t.Errorf("item 2 had %d attempts", n)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := run(t, ctx, `
name: c
tasks:
  sleeps: {run: "echo up; sleep 60 & wait"}
  later: {needs: sleeps, run: echo never}
finally:
  undo: {if: canceled(), run: 'echo undone'}
`, nil, func(o *Options, s *session) {
		o.Output = func(_ string, _ int, _ process.Stream, block []byte) { s.out.Write(block); cancel() }
	})
	if got, want := s.told(), "sleeps:canceled(canceled) later:canceled(canceled) undo:succeeded"; got != want {
		t.Errorf("tasks\n got %s\nwant %s", got, want)
	}
	if s.State != flow.Canceled || s.Reason != flow.ReasonCanceled || s.out.String() != "up\nundone\n" {
		t.Errorf("run %s %s, printed %q", s.State, s.Reason, s.out.String())
	}
}

func TestSecondCancelStopsFinally(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	again := make(chan struct{})
	s := run(t, ctx, `
name: c
tasks:
  sleeps: {run: "echo up; exec sleep 60"}
finally:
  slow: {run: "echo down; exec sleep 60"}
  next: {needs: slow, run: echo never}
`, nil, func(o *Options, s *session) {
		o.CancelAgain = again
		o.Output = func(_ string, _ int, _ process.Stream, block []byte) {
			s.out.Write(block)
			if cancel(); string(block) == "down\n" {
				close(again)
			}
		}
	})
	if got, want := s.told(), "sleeps:canceled(canceled) slow:canceled(canceled) next:canceled(canceled)"; got != want || s.State != flow.Canceled {
		t.Errorf("run %s, tasks\n got %s\nwant %s", s.State, got, want)
	}
}

func TestTimeOuts(t *testing.T) {
	s := run(t, t.Context(), `
name: t
tasks:
  slow: {run: exec sleep 60, timeout: 1s, cancel_grace: 0s}
finally:
  z: {command: [echo, "${{ tasks.slow.reason }}"]}
`, nil, nil)
	if got, want := s.told(), "slow:failed(timed_out) z:succeeded"; got != want || s.out.String() != "timed_out\n" {
		t.Errorf("tasks\n got %s\nwant %s, printed %q", got, want, s.out.String())
	}
	if a := s.Tasks[0].Attempts[0]; a.State != "timed_out" {
		t.Errorf("attempt %+v", a)
	}
	s = run(t, t.Context(), `
name: t
timeout: 1s
tasks:
  slow: {run: exec sleep 60, cancel_grace: 0s}
  next: {needs: slow, run: echo never}
finally:
  z: {if: failure(), command: [echo, "${{ run.reason }}"]}
`, nil, nil)
	if got, want := s.told(), "slow:canceled(run_timed_out) next:canceled(run_timed_out) z:succeeded"; got != want || s.State != flow.Failed || s.Reason != "timed_out" {
		t.Errorf("run %s %s, tasks\n got %s\nwant %s", s.State, s.Reason, got, want)
	}
}

func TestQueueTimeout(t *testing.T) {
	s := run(t, t.Context(), `
name: q
tasks:
  first: {run: exec sleep 3}
  second: {run: echo never, queue_timeout: 1s}
`, nil, func(o *Options, _ *session) { o.MaxParallel = 1 })
	if got, want := s.told(), "first:succeeded second:failed(queue_timeout)"; got != want {
		t.Errorf("tasks\n got %s\nwant %s", got, want)
	}
}

func TestParallelism(t *testing.T) {
	for name, c := range map[string]struct {
		head string
		most int
	}{"of the machine": {"", 3}, "of the run": {"max_parallel: 2\n", 2}} {
		var now, most atomic.Int32
		run(t, t.Context(), "name: p\n"+c.head+`
tasks:
  a: {run: sleep 0.05}
  many: {for_each: [1, 2, 3, 4, 5, 6], run: sleep 0.05}
  b: {run: sleep 0.05}
`, nil, func(o *Options, _ *session) {
			o.MaxParallel = 3
			o.Events = func(e Event) {
				if e.Kind == "attempt" && e.State == "running" {
					most.Store(max(most.Load(), now.Add(1)))
				} else if e.Kind == "attempt" {
					now.Add(-1)
				}
			}
		})
		if int(most.Load()) != c.most {
			t.Errorf("%s: %d at once, want %d", name, most.Load(), c.most)
		}
	}
}

func TestWhatCannotRunFails(t *testing.T) {
	s := run(t, t.Context(), `
name: w
tasks:
  missing: {command: [no-such-program-anywhere]}
  nowhere: {command: [echo], working_dir: /no/such/directory}
  broken: {command: [echo, "${{ vars.absent }}"]}
  secret: {run: "true", secrets: {A: NONE}}
  silent: {run: "true", outputs: {x: {type: integer}}}
  wrong: {run: 'echo x=word >> "$SYN_OUTPUT"', outputs: {x: {type: integer}}}
  garbage: {run: 'echo "no key" >> "$SYN_OUTPUT"'}
  killed: {run: 'kill -9 $$'}
`, nil, nil)
	want := "missing:failed(not_found) nowhere:failed(no_directory) broken:failed(expression) secret:failed(secret) silent:failed(outputs_missing) wrong:failed(outputs_type) garbage:failed(outputs_syntax) killed:failed(signal)"
	if got := s.told(); got != want {
		t.Errorf("tasks\n got %s\nwant %s", got, want)
	}
	for _, task := range s.Tasks {
		if task.Detail == "" {
			t.Errorf("%s says nothing: %+v", task.Name, task)
		}
	}
}

func TestEnvironmentIsTheTasksOwn(t *testing.T) {
	t.Setenv("LEAK", "must not be seen")
	s := run(t, t.Context(), `
name: e
env: {A: "${{ params.x }}"}
params: {x: {type: string}}
tasks:
  env: {command: [env], secrets: {TOKEN: API}}
`, map[string]any{"x": "given"}, func(o *Options, _ *session) {
		o.Secret = func(name string) (string, error) { return "value-of-" + name, nil }
	})
	printed := s.out.String()
	for _, want := range []string{"A=given\n", "SYN_PARAM_X=given\n", "TOKEN=value-of-API\n", "SYN_ATTEMPT=1\n", "SYN_TASK=env\n", "LANG=C.UTF-8\n"} {
		if !strings.Contains(printed, want) {
			t.Errorf("no %q in\n%s", want, printed)
		}
	}
	if strings.Contains(printed, "LEAK") {
		t.Errorf("the caller's environment is seen:\n%s", printed)
	}
}

func TestParamsAreChecked(t *testing.T) {
	p := parse(t, "name: p\nparams: {n: {type: integer}}\ntasks: {a: {run: 'true'}}\n")
	_, err := Run(t.Context(), p, map[string]any{"m": int64(1)}, Options{Now: time.Now, Root: t.TempDir()})
	if bad, ok := errors.AsType[*flow.CreateError](err); !ok || len(bad.Problems) != 2 {
		t.Errorf("%v", err)
	}
}

// What a task leaves running does not outlive it.
func TestNothingIsLeftRunning(t *testing.T) {
	note := filepath.Join(t.TempDir(), "pid")
	run(t, t.Context(), `
name: l
params: {note: {type: string}}
tasks:
  leaves: {run: 'sleep 300 & echo $! > "$SYN_PARAM_NOTE"'}
`, map[string]any{"note": note}, nil)
	text, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err == nil && !zombie(pid) {
		t.Errorf("process %d is alive", pid)
	}
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestManyItems(t *testing.T) {
	if testing.Short() {
		t.Skip("starts 300 processes")
	}
	s := run(t, t.Context(), `
name: m
tasks:
  list:
    run: |
      i=0
      printf 'all=[0' >> "$SYN_OUTPUT"
      while [ $i -lt 299 ]; do i=$((i+1)); printf ',%d' $i >> "$SYN_OUTPUT"; done
      echo ']' >> "$SYN_OUTPUT"
    outputs: {all: {type: array, items: {type: integer}}}
  each:
    needs: list
    for_each: ${{ needs.list.outputs.all }}
    run: 'echo "n=$SYN_ITEM" >> "$SYN_OUTPUT"'
    outputs: {n: {type: integer}}
outputs: {sum: "${{ sum(tasks.each.outputs.n) }}"}
`, nil, func(o *Options, _ *session) { o.MaxParallel = 8 })
	if s.State != flow.Succeeded || s.Outputs["sum"] != int64(299*300/2) {
		t.Errorf("%s %s %s: %v", s.State, s.Reason, s.Detail, s.Outputs)
	}
}

// A run covers what a run by hand on a server would: the last interval of the
// first schedule that was complete at its time.
func TestIntervalOfTheSchedule(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	tests := []struct{ name, schedule, want string }{
		{"nightly", `schedule: {cron: "0 2 * * *", timezone: Europe/Berlin}`, "2026-03-09T01:00:00Z 2026-03-10T01:00:00Z"},
		{"on the tick", `schedule: "0 12 * * *"`, "2026-03-09T12:00:00Z 2026-03-10T12:00:00Z"},
		{"before the first tick", `schedule: {at: 2026-12-24}`, "2026-03-10T12:00:00Z 2026-03-10T12:00:00Z"},
		{"none", ``, "2026-03-10T12:00:00Z 2026-03-10T12:00:00Z"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := run(t, t.Context(), "name: a\n"+test.schedule+"\ntasks: {a: {run: 'echo $SYN_INTERVAL_START $SYN_INTERVAL_END'}}\n", nil,
				func(o *Options, _ *session) { o.ScheduledAt = at })
			if got := strings.TrimSpace(s.out.String()); got != test.want {
				t.Errorf("interval = %s, want %s", got, test.want)
			}
		})
	}
}
