package executor_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
	"github.com/synthesizer-dev/synthesizer/services/internal/service"
)

func TestMain(m *testing.M) {
	if status, done := executor.Child(); done {
		os.Exit(status)
	}
	if url := os.Getenv("SYN_TEST_EXECUTOR"); url != "" {
		os.Exit(asProcess(url))
	}
	os.Exit(m.Run())
}

// asProcess is an executor in a process of its own, to be killed.
func asProcess(url string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := executor.Config{
		DatabaseURL: url, Slots: 4, WorkDir: os.Getenv("SYN_TEST_DIR"), TaskPath: os.Getenv("PATH"), Grace: 100 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), TargetsFile: os.Getenv("SYN_TEST_TARGETS"),
	}
	brisk(&cfg)
	if err := executor.Run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A fleet member under test.
type running struct {
	cancel context.CancelFunc
	hasten chan struct{}
	done   chan error
	log    *logBuffer
	parts  *service.Service
}

// metric is the value of a metric without labels.
func (r *running) metric(name string) float64 {
	families, err := r.parts.Metrics.Gather()
	if err != nil {
		return -1
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return -1
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB, w *exectest.World, change func(*executor.Config)) *running {
	t.Helper()
	r := &running{hasten: make(chan struct{}), done: make(chan error, 1), log: &logBuffer{}}
	cfg := executor.Config{
		DatabaseURL: w.URL, Slots: 4, WorkDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(r.log, nil)), Hasten: r.hasten,
		TaskPath: os.Getenv("PATH"), Grace: 100 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	r.parts = service.New("executor", cfg.Log)
	cfg.Service = r.parts
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- executor.Run(ctx, cfg) }()
	t.Cleanup(func() {
		r.stop(t)
		if t.Failed() {
			t.Logf("executor's log:\n%s", r.log)
		}
	})
	return r
}

// stop tells the executor to stop, and waits for it.
func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.done:
		r.done <- nil
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the executor does not stop")
	}
}

func TestTasksRunFromClaimToEnd(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, `
name: p
tasks:
  hello: {run: 'echo "hello $SYN_TASK $SYN_ATTEMPT"; echo n=42 >> "$SYN_OUTPUT"; echo "# all well" > "$SYN_SUMMARY"', outputs: {n: {type: integer}}}
  fails: {run: 'echo oops >&2; exit 3'}
  skips: {run: 'exit 99'}
  again: {run: 'exit 75', retry: 2}
  nobody: {command: [no-such-program]}
  untyped: {run: 'echo n=x >> "$SYN_OUTPUT"', outputs: {n: {type: integer}}}
`)
	run := w.Run("p")
	w.Release(run, "p", "hello", "fails", "skips", "again", "nobody", "untyped")
	start(t, w, nil)
	w.UntilEnded()
	want := "hello#1 succeeded fails#1 failed:exit skips#1 succeeded:exit_code again#1 failed:exit nobody#1 failed:not_found untyped#1 failed:outputs_type"
	if got := w.Attempts(run); got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	for task, want := range map[string]string{
		"hello": "succeeded", "fails": "failed:exit", "skips": "skipped:exit_code", "again": "waiting:backoff", "nobody": "failed:not_found",
	} {
		if got := w.TaskState(run, "p", task); got != want {
			t.Errorf("%s is %q, want %q", task, got, want)
		}
	}
	if got, want := w.Log(run), "hello hello 1\noops\n"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
	if got, want := exectest.Value[string](w, `SELECT t.outputs::text || a.summary FROM task t JOIN attempt a USING (run_id, number) WHERE t.run_id = $1 AND t.number = 0`, run), "{\"n\": 42}# all well\n"; got != want {
		t.Errorf("outputs and summary = %q, want %q", got, want)
	}
	if n := exectest.Value[int64](w, `SELECT sum(1 + coalesce(cardinality(others), 0)) FROM wake WHERE kind = 'r' AND state IS NOT NULL`); n != 6 {
		t.Errorf("wakes tell of %d ends, want 6", n)
	}
	w.Check()
}

func TestItemsAndNeedsAreGiven(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, `
name: p
tasks:
  first: {run: 'echo who=world >> "$SYN_OUTPUT"', outputs: {who: {type: string}}}
  items: {for_each: [a, b, c], command: [echo, 'item ${{ item }} ${{ index }}']}
  last: {needs: [first], command: [echo, 'hello ${{ needs.first.outputs.who }}']}
finally:
  bye: {command: [echo, 'run is ${{ run.result }}']}
`)
	run := w.Run("p")
	w.Release(run, "p", "first")
	w.ReleaseItems(run, "p", "items", 3)
	start(t, w, nil)
	w.UntilEnded()
	w.Release(run, "p", "last", "bye")
	w.Exec(`SELECT pg_notify('syn_ready', '')`)
	w.UntilEnded()
	got := w.Log(run)
	for _, want := range []string{"item 0 0\n", "item 10 1\n", "item 20 2\n", "hello world\n", "run is succeeded\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("log = %q, want %q in it", got, want)
		}
	}
	w.Check()
}
