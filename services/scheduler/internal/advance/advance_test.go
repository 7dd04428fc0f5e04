package advance_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

func succeed(string, int) (string, string) { return "succeeded", "" }

func TestChainRunsInOrder(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(`
name: chain
tasks:
  a: {run: "true"}
  b: {needs: a, run: "true"}
  c: {needs: b, run: "true"}
`, time.Time{})
	run := w.Trigger("chain")
	var order []string
	w.RunAll(run, func(task string, _ int) (string, string) {
		order = append(order, task)
		return "succeeded", ""
	})
	if got, want := strings.Join(order, " "), "a b c"; got != want {
		t.Errorf("order = %q, want %q", got, want)
	}
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM open_run`); n != 0 {
		t.Errorf("open_run has %d rows after the end, want 0", n)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		text   string
		result func(task string, attempt int) (string, string)
		run    string
		tasks  string
	}{
		{
			"what follows a failure is skipped, other branches go on",
			`
name: p
tasks:
  a: {run: x}
  b: {needs: a, run: x}
  c: {needs: b, run: x}
  d: {run: x}
`,
			fail("a"), "failed:tasks", "a=failed:exit b=skipped:upstream c=skipped:upstream d=succeeded",
		},
		{
			"a retry succeeds",
			"name: p\ntasks:\n  a: {run: x, retry: {limit: 1, delay: 0s}}\n",
			func(_ string, attempt int) (string, string) {
				if attempt == 1 {
					return "failed", ""
				}
				return "succeeded", ""
			}, "succeeded", "a=succeeded",
		},
		{
			"finally runs after a failure",
			`
name: p
tasks:
  a: {run: x}
finally:
  f: {run: x}
  g: {if: success(), run: x}
`,
			fail("a"), "failed:tasks", "a=failed:exit f=succeeded g=skipped:upstream",
		},
		{
			"a condition skips",
			"name: p\ntasks:\n  a: {if: \"false\", run: x}\n  b: {needs: a, run: x}\n  c: {needs: a, if: none_failed(), run: x}\n",
			succeed, "succeeded", "a=skipped:condition b=skipped:upstream c=succeeded",
		},
		{
			"a fan-out over an output",
			`
name: p
tasks:
  a:
    run: x
    outputs: {list: {type: array, items: {type: string}}}
  b:
    needs: a
    for_each: ${{ needs.a.outputs.list }}
    run: x
  c: {needs: b, run: x}
`,
			func(task string, _ int) (string, string) {
				if task == "a" {
					return "succeeded", `{"list": ["x", "y", "z"]}`
				}
				return "succeeded", ""
			}, "succeeded", "a=succeeded b=succeeded b[0]=succeeded b[1]=succeeded b[2]=succeeded c=succeeded",
		},
		{
			"an empty fan-out succeeds at once",
			"name: p\ntasks:\n  b: {for_each: [], run: x}\n  c: {needs: b, run: x}\n",
			succeed, "succeeded", "b=succeeded c=succeeded",
		},
		{
			"an item that fails cancels those that have not started",
			"name: p\ntasks:\n  b: {for_each: [x, y, z], max_parallel: 1, run: x}\n",
			fail("b[0]"), "failed:tasks", "b=failed b[0]=failed:exit b[1]=canceled:fail_fast b[2]=canceled:fail_fast",
		},
		{
			"max_parallel of the run",
			"name: p\nmax_parallel: 1\ntasks:\n  a: {run: x}\n  b: {run: x}\n  c: {for_each: [x, y], run: x}\n",
			succeed, "succeeded", "a=succeeded b=succeeded c=succeeded c[0]=succeeded c[1]=succeeded",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := schedtest.New(t)
			w.Register(tt.text, time.Time{})
			run := w.Trigger("p")
			w.RunAll(run, tt.result)
			if got := w.RunState(run); got != tt.run {
				t.Errorf("run = %q, want %q", got, tt.run)
			}
			if got := w.Tasks(run); got != tt.tasks {
				t.Errorf("tasks = %q,\n want %q", got, tt.tasks)
			}
		})
	}
}

func fail(task string) func(string, int) (string, string) {
	return func(name string, _ int) (string, string) {
		if name == task {
			return "failed", ""
		}
		return "succeeded", ""
	}
}

func TestMaxParallelOfTheRunHolds(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\nmax_parallel: 3\ntasks:\n  a: {for_each: "+list(20)+", run: x}\n  b: {run: x}\n", time.Time{})
	run := w.Trigger("p")
	for w.Settle(); w.RunState(run) == "running"; w.Settle() {
		active := schedtest.Value[int64](w, `SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM live)`)
		if active < 1 || active > 3 {
			t.Fatalf("%d tasks are active, want 1 to 3", active)
		}
		w.End(w.Claims(1)[0], "succeeded", "")
	}
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
}

func list(n int) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf("i%d", i)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func TestCancelEndsWhatNeverStartedAndAsksTheRest(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(`
name: p
tasks:
  a: {run: x}
  b: {run: x}
  c: {needs: [a, b], run: x}
  d: {for_each: [x, y, z], max_parallel: 2, run: x}
finally:
  f: {run: x}
`, time.Time{})
	run := w.Trigger("p")
	w.Settle()
	claim := w.Claims(1)[0]
	w.Cancel(run)
	w.Settle()
	if got, want := w.Tasks(run), "a=ready b=canceled:canceled c=canceled:canceled d=canceled:canceled d[0]=canceled:canceled d[1]=canceled:canceled d[2]=canceled:canceled f=waiting"; got != want {
		t.Errorf("tasks = %q,\n want %q", got, want)
	}
	stops, err := w.Pool.Queries().StopsAsked(t.Context(), w.Executor)
	if err != nil || len(stops) != 1 || stops[0].StopReason != "canceled" {
		t.Fatalf("StopsAsked = %v, %v, want the one live attempt", stops, err)
	}
	w.Report(claim, ending.Report{State: "canceled", Reason: "canceled", StopReason: "canceled"})
	w.RunAll(run, succeed)
	if got, want := w.RunState(run), "canceled:canceled"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if got, want := w.Tasks(run), "f=succeeded"; !strings.HasSuffix(got, want) {
		t.Errorf("tasks = %q, want them to end in %q", got, want)
	}
}

func TestPoolNeverGivesAwayMoreThanItHas(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(`
kind: pool
name: db
slots: 3
---
name: p
concurrency: {limit: 50}
tasks:
  a: {run: x, pool: db}
  b: {run: x, pool: {name: db, slots: 2}}
`, time.Time{})
	runs := make([]int64, 10)
	for i := range runs {
		runs[i] = w.Trigger("p")
	}
	for range 200 {
		w.Settle()
		used := schedtest.Value[int64](w, `SELECT coalesce(sum(slots), 0) FROM (SELECT slots FROM ready WHERE pool_id IS NOT NULL UNION ALL SELECT slots FROM live WHERE pool_id IS NOT NULL) x`)
		if used > 3 {
			t.Fatalf("%d slots are held, the pool has 3", used)
		}
		claims := w.Claims(1)
		if len(claims) == 0 {
			break
		}
		w.End(claims[0], "succeeded", "")
	}
	for _, run := range runs {
		if got, want := w.RunState(run), "succeeded"; got != want {
			t.Fatalf("run = %q, want %q\n%s", got, want, w.Dump(run))
		}
	}
}

// Ends that arrive together, at several schedulers: the run is closed once, in
// the right state, and the count down is exact.
func TestManyEndsAtOnceCloseTheRunOnce(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	var b strings.Builder
	b.WriteString("name: p\nconcurrency: {limit: 100}\ntasks:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "  leaf%d: {run: x}\n", i)
	}
	b.WriteString("  last: {needs: [")
	for i := range 50 {
		fmt.Fprintf(&b, "leaf%d, ", i)
	}
	b.WriteString("], run: x}\n")
	w.Register(strings.Replace(b.String(), ", ]", "]", 1), time.Time{})
	runs := make([]int64, 10)
	for i := range runs {
		runs[i] = w.Trigger("p")
	}
	w.Settle()
	claims := w.Claims(500)
	if len(claims) != 500 {
		t.Fatalf("%d tasks were claimed, want 500", len(claims))
	}
	replicas := []*schedtest.World{w, w.Replica(), w.Replica()}
	var wg sync.WaitGroup
	for part := range 5 {
		wg.Go(func() {
			for i := part; i < len(claims); i += 5 {
				if ok, err := schedtest.TryReport(w, claims[i], ending.Report{State: "succeeded"}); !ok || err != nil {
					t.Errorf("report = %v, %v", ok, err)
				}
			}
		})
	}
	for _, r := range replicas {
		wg.Go(func() {
			for range 100 {
				if err := r.Advancer.Step(t.Context()); !schedtest.IsMore(err) {
					t.Errorf("step: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for _, run := range runs {
		w.RunAll(run, succeed)
		if got, want := w.RunState(run), "succeeded"; got != want {
			t.Fatalf("run = %q, want %q\n%s", got, want, w.Dump(run))
		}
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM event WHERE kind = 'run' AND to_state = 'succeeded'`); n != 10 {
		t.Errorf("%d ends of runs were told, want 10", n)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM attempt`); n != 510 {
		t.Errorf("%d attempts, want 510", n)
	}
}

// The advancer holds the run while an end is reported: the wake of the end must
// be there afterwards.
func TestAnEndThatCommitsDuringADecisionIsNotLost(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x}\n  b: {run: x}\n  c: {needs: [a, b], run: x}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	claims := w.Claims(2)
	w.End(claims[0], "succeeded", "")

	// One side: in the middle of a decision, its wakes are taken already.
	err := db.InTx(t.Context(), w.Pool, func(q *db.Queries) error {
		if _, err := q.LockDueRuns(t.Context(), []int64{run}); err != nil {
			return err
		}
		if _, err := q.TakeWakes(t.Context(), db.TakeWakesParams{Kind: "r", Subjects: []int64{run}}); err != nil {
			return err
		}
		// The other side commits now, and does not wait for the first.
		w.End(claims[1], "succeeded", "")
		// A second scheduler passes over the run and leaves its wakes alone.
		stepped := make(chan error)
		go func() { stepped <- w.Replica().Advancer.Step(t.Context()) }()
		if err := <-stepped; !schedtest.IsMore(err) {
			return err
		}
		return fmt.Errorf("crash") // the decision is lost with its transaction
	})
	if err == nil || err.Error() != "crash" {
		t.Fatal(err)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM wake WHERE kind = 'r' AND number IS NOT NULL`); n != 2 {
		t.Fatalf("%d ends wait to be taken into account, want 2", n)
	}
	w.RunAll(run, succeed)
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
}

func TestStaleExecutorChangesNothing(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	stale := w.Claims(1)[0]
	w.Report(stale, ending.Report{State: "lost", Reason: "lost"}) // as the reaper does
	w.Settle()
	owner := w.Claims(1)[0]
	if w.End(stale, "succeeded", "") {
		t.Error("a stale report was accepted")
	}
	w.End(owner, "succeeded", "")
	w.Settle()
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if owner.Attempt != 2 {
		t.Errorf("the second attempt has number %d", owner.Attempt)
	}
}

// What the sweep does: a run whose wakes were lost by hand is counted anew.
func TestARunWithoutWakesIsRecounted(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x}\n  b: {needs: a, run: x}\n  c: {needs: b, for_each: [x, y], run: x}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	w.End(w.Claims(1)[0], "succeeded", "")
	w.Exec(`DELETE FROM wake`)
	w.Settle()
	if n := len(w.Claims(1)); n != 0 {
		t.Fatalf("%d tasks are ready without a wake, want 0", n)
	}
	w.Exec(`INSERT INTO wake (kind, subject, number, state) VALUES ('r', $1, -1, 'recount')`, run)
	w.RunAll(run, succeed)
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
}
