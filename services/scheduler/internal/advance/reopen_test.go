package advance_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/reopen"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// What ran goes on as it was: outputs stay, numbers of attempts go on, budgets
// and the time-out of the run start anew, and every invariant holds.
func TestRerunOfWhatFailedKeepsTheRest(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(`
name: p
timeout: 2h
outputs: {got: "${{ tasks.a.outputs.v }}"}
tasks:
  a: {run: x, outputs: {v: {type: integer}}}
  b: {needs: a, run: x, retry: {limit: 1, delay: 0s}, queue_timeout: 1h}
  c: {needs: b, run: x}
  d: {run: x}
finally:
  f: {run: x}
`, time.Time{})
	run := w.Trigger("p")
	broken := true
	result := func(task string, attempt int) (string, string) {
		if task == "b" && broken {
			return "failed", ""
		}
		return "succeeded", map[string]string{"a": `{"v": 7}`}[task]
	}
	w.RunAll(run, result)
	if got, want := w.Tasks(run), "a=succeeded b=failed:exit c=skipped:upstream d=succeeded f=succeeded"; got != want {
		t.Fatalf("tasks = %q, want %q", got, want)
	}
	w.Check()

	r := w.Rerun(run, flow.RerunFailed, "")
	if chosen, after, finally := r.Counts(mustGraph(t, w, run)); chosen != 1 || after != 1 || finally != 1 {
		t.Errorf("counts %d, %d, %d, want 1, 1, 1", chosen, after, finally)
	}
	if got, want := w.RunState(run), "queued"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if got, want := w.Tasks(run), "a=succeeded b=waiting c=waiting d=succeeded f=waiting"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	if _, err := schedtest.TryRerun(w, run, flow.RerunAll, ""); !errors.Is(err, reopen.ErrOpen) {
		t.Errorf("a second rerun: %v, want %v", err, reopen.ErrOpen)
	}
	w.Settle()
	w.Check()
	if !schedtest.Value[bool](w, `SELECT deadline_at BETWEEN now() + interval '119 min' AND now() + interval '2 h' FROM open_run`) {
		t.Error("the time-out of the run did not start anew")
	}
	if !schedtest.Value[bool](w, `SELECT attempt = 3 AND failures = 0 AND queue_deadline BETWEEN now() + interval '59 min' AND now() + interval '1 h' FROM ready`) {
		t.Errorf("the released task: %s", w.Dump(run))
	}
	w.RunAll(run, result) // twice more, then again
	if got, want := w.RunState(run), "failed:tasks"; got != want {
		t.Fatalf("run = %q, want %q", got, want)
	}
	broken = false
	w.Rerun(run, flow.RerunFailed, "")
	w.RunAll(run, result)
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q\n%s", got, want, w.Dump(run))
	}
	if got, want := schedtest.Value[string](w, `SELECT string_agg(t.name || ':' || (SELECT count(*) FROM attempt a WHERE a.run_id = t.run_id AND a.number = t.number), ' ' ORDER BY t.number) FROM task t`), "a:1 b:5 c:1 d:1 f:3"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	if got, want := schedtest.Value[string](w, `SELECT outputs::text FROM run`), `{"got": 7}`; got != want {
		t.Errorf("outputs = %s, want %s", got, want)
	}
	if got, want := schedtest.Value[string](w, `SELECT string_agg(coalesce(from_state, '-') || '→' || to_state || CASE WHEN cause <> '' THEN '/' || cause ELSE '' END, ' ' ORDER BY id) FROM event WHERE kind = 'run' AND to_state IS NOT NULL`),
		"-→queued queued→running running→failed failed→queued/rerun queued→running running→failed failed→queued/rerun queued→running running→succeeded"; got != want {
		t.Errorf("events = %s\nwant %s", got, want)
	}
	w.Check()
}

func mustGraph(t *testing.T, w *schedtest.World, run int64) *flow.Graph {
	t.Helper()
	r, err := w.Reopenable(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	return r.Graph
}

func TestRerunOfItems(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(`
name: p
outputs: {all: "${{ tasks.each.outputs.v }}"}
tasks:
  before: {run: x}
  each: {needs: before, for_each: [a, b, c, d, e], max_parallel: 2, fail_fast: false, run: x, outputs: {v: {type: integer}}}
  after: {needs: each, run: x}
`, time.Time{})
	run := w.Trigger("p")
	failing := map[string]bool{"each[1]": true, "each[2]": true, "each[4]": true}
	result := func(task string, attempt int) (string, string) {
		if failing[task] {
			return "failed", ""
		}
		return "succeeded", map[string]string{"each[0]": `{"v": 10}`, "each[1]": `{"v": 11}`, "each[2]": `{"v": 12}`, "each[3]": `{"v": 13}`, "each[4]": `{"v": 14}`}[task]
	}
	w.RunAll(run, result)
	if got, want := w.RunState(run), "failed:tasks"; got != want {
		t.Fatalf("run = %q, want %q", got, want)
	}
	failing = nil
	w.Rerun(run, flow.RerunFailed, "")
	w.Settle()
	claims := w.Claims(10)
	if len(claims) != 2 || w.Name(claims[0]) != "each[1]" || w.Name(claims[1]) != "each[2]" {
		t.Fatalf("%d items run at first: %s", len(claims), w.Dump(run))
	}
	for _, c := range claims {
		_, out := result(w.Name(c), 2)
		w.End(c, "succeeded", out)
	}
	w.RunAll(run, result)
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Fatalf("run = %q, want %q\n%s", got, want, w.Dump(run))
	}
	if got, want := schedtest.Value[string](w, `SELECT outputs::text FROM run`), `{"all": [10, 11, 12, 13, 14]}`; got != want {
		t.Errorf("outputs = %s, want %s", got, want)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM attempt WHERE number > 16384`); n != 8+1 {
		t.Errorf("%d attempts of each and after, want 9", n)
	}
	w.Check()

	// From before it: all items, and the list is the old one.
	failing = map[string]bool{"before": true}
	w.Rerun(run, flow.RerunFrom, "before")
	w.RunAll(run, result)
	if got, want := w.Tasks(run), "before=failed:exit each=skipped:upstream each[0]=skipped:upstream each[1]=skipped:upstream each[2]=skipped:upstream each[3]=skipped:upstream each[4]=skipped:upstream after=skipped:upstream"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	w.Check()
	failing = nil
	w.Rerun(run, flow.RerunFailed, "")
	w.RunAll(run, result)
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q\n%s", got, want, w.Dump(run))
	}
	w.Check()
}

// Canceled while it waits for its group, a run that was opened again ends with
// everything that was to run again.
func TestCancelOfAQueuedRerun(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\nconcurrency: {on_conflict: skip}\ntasks:\n  a: {run: x}\n  b: {needs: a, for_each: [1, 2], run: x}\n  c: {run: x}\nfinally:\n  f: {run: x}\n", time.Time{})
	old := w.Trigger("p")
	w.RunAll(old, succeed)
	other := w.Trigger("p")
	w.Settle()
	w.Rerun(old, flow.RerunFrom, "a")
	w.Settle()
	// The pipeline skips runs that find another one; a rerun waits.
	if got, want := w.RunState(old), "queued"; got != want {
		t.Fatalf("run = %q, want %q", got, want)
	}
	w.Cancel(old)
	w.Settle()
	if got, want := w.RunState(old), "canceled:canceled"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if got, want := w.Tasks(old), "a=canceled:canceled b=canceled:canceled b[0]=canceled:canceled b[1]=canceled:canceled c=succeeded f=canceled:canceled"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	w.Check()
	w.RunAll(other, succeed)
	w.Rerun(old, flow.RerunFailed, "")
	w.RunAll(old, succeed)
	if got, want := w.RunState(old), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	w.Check()
}

func TestCancelOfARerunThatRuns(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x}\n  b: {needs: a, for_each: [1, 2], run: x}\n  none: {needs: a, for_each: '${{ [] }}', run: x}\nfinally:\n  f: {run: x}\n", time.Time{})
	run := w.Trigger("p")
	w.RunAll(run, succeed)
	w.Rerun(run, flow.RerunAll, "")
	w.Settle()
	c := w.Claims(1)
	w.Cancel(run)
	w.Settle()
	w.End(c[0], "canceled", "")
	w.RunAll(run, succeed)
	if got, want := w.RunState(run), "canceled:canceled"; got != want {
		t.Errorf("run = %q, want %q\n%s", got, want, w.Dump(run))
	}
	if got, want := w.Tasks(run), "a=canceled:canceled b=canceled:canceled b[0]=canceled:canceled b[1]=canceled:canceled none=canceled:canceled f=succeeded"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	w.Check()
}

// A run that never started has nothing to go on from: it starts.
func TestRerunOfARunThatNeverStarted(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\nconcurrency: {on_conflict: skip}\ntasks:\n  a: {run: x}\n", time.Time{})
	first, second := w.Trigger("p"), w.Trigger("p")
	w.Settle()
	if got, want := w.RunState(second), "skipped:overlap"; got != want {
		t.Fatalf("run = %q, want %q", got, want)
	}
	w.RunAll(first, succeed)
	if _, err := schedtest.TryRerun(w, second, flow.RerunFailed, ""); !errors.Is(err, reopen.ErrNoTasks) {
		t.Errorf("rerun of what failed: %v, want %v", err, reopen.ErrNoTasks)
	}
	w.Rerun(second, flow.RerunAll, "")
	w.RunAll(second, succeed)
	if got, want := w.RunState(second), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	w.Check()
}

// Every run counts once, by its last end.
func TestRerunsAreCountedOnce(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\nconcurrency: {limit: 9}\ntasks:\n  a: {run: x}\n", time.Time{})
	var runs []int64
	for _, state := range []string{"succeeded", "failed", "failed", "failed"} {
		run := w.Trigger("p")
		w.RunAll(run, func(string, int) (string, string) { return state, "" })
		runs = append(runs, run)
	}
	hours := `SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, sum(runs) AS n FROM run_hour GROUP BY state HAVING sum(runs) > 0) AS h`
	stat := `SELECT coalesce(last_run_id, 0) || ' ' || coalesce(last_state, '-') || ' ' || failures_in_row FROM pipeline_stat`
	rerun := func(i int, state string) {
		w.Rerun(runs[i], flow.RerunAll, "")
		w.RunAll(runs[i], func(string, int) (string, string) { return state, "" })
	}
	check := func(what, hour string, newest int, state string, failures int) {
		t.Helper()
		if got := schedtest.Value[string](w, hours); got != hour {
			t.Errorf("%s: hours %s, want %s", what, got, hour)
		}
		if got := schedtest.Value[bool](w, `SELECT last_run_id = $1 AND last_state = $2 AND failures_in_row = $3 FROM pipeline_stat`, runs[newest], state, failures); !got {
			t.Errorf("%s: %s, want run %d, %s, %d failures", what, schedtest.Value[string](w, stat), runs[newest], state, failures)
		}
	}
	check("at first", "failed 3, succeeded 1", 3, "failed", 3)
	rerun(3, "failed")
	check("the newest failed again", "failed 3, succeeded 1", 3, "failed", 3)
	rerun(2, "succeeded")
	check("one before it is good", "failed 2, succeeded 2", 3, "failed", 1)
	w.Rerun(runs[3], flow.RerunAll, "")
	check("the newest is open", "failed 1, succeeded 2", 2, "succeeded", 0)
	w.RunAll(runs[3], succeed)
	check("the newest is good", "failed 1, succeeded 3", 3, "succeeded", 0)
	w.Mark(runs[3], "a", -1, flow.Failed)
	check("and marked failed", "failed 2, succeeded 2", 3, "failed", 1)
	w.Check()
}

func TestMarkedTasks(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(`
name: p
concurrency: {limit: 9}
outputs: {v: "${{ tasks.a.outputs.v }}"}
tasks:
  a: {run: x, outputs: {v: {type: integer}}}
  b: {needs: a, run: x}
  c: {needs: b, run: x}
  each: {for_each: [1, 2], fail_fast: false, run: x}
finally:
  f: {run: x}
`, time.Time{})
	fail := func(names ...string) func(string, int) (string, string) {
		return func(task string, _ int) (string, string) {
			for _, name := range names {
				if task == name {
					return "failed", ""
				}
			}
			return "succeeded", map[string]string{"a": `{"v": 1}`}[task]
		}
	}
	// What it held up runs now.
	run := w.Trigger("p")
	w.RunAll(run, fail("b", "each[1]"))
	w.Mark(run, "b", -1, flow.Succeeded)
	if got, want := w.Tasks(run), "a=succeeded b=succeeded:marked c=waiting each=failed each[0]=succeeded each[1]=failed:exit f=waiting"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	w.RunAll(run, fail())
	if got, want := w.RunState(run), "failed:tasks"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	w.Check()
	// Nothing is left to run: the result changes where the run stands.
	at := schedtest.Value[time.Time](w, `SELECT ended_at FROM run WHERE id = $1`, run)
	w.Mark(run, "each", 1, flow.Succeeded)
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if got, want := w.Tasks(run), "a=succeeded b=succeeded:marked c=succeeded each=succeeded:marked each[0]=succeeded each[1]=succeeded:marked f=succeeded"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	if got := schedtest.Value[time.Time](w, `SELECT ended_at FROM run WHERE id = $1`, run); !got.Equal(at) {
		t.Errorf("the run ended at %v, and after the mark at %v", at, got)
	}
	if got, want := schedtest.Value[string](w, `SELECT outputs::text FROM run WHERE id = $1`, run), `{"v": 1}`; got != want {
		t.Errorf("outputs = %s, want %s", got, want)
	}
	w.Check()
	w.Mark(run, "a", -1, flow.Failed)
	if got, want := w.RunState(run), "failed:tasks"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	w.Check()
	for _, c := range []struct {
		task string
		item int
		want error
	}{{"a", -1, reopen.ErrSame}, {"each", 2, reopen.ErrNoTask}} {
		if _, err := schedtest.TryMark(w, run, c.task, c.item, flow.Failed); !errors.Is(err, c.want) {
			t.Errorf("mark of %s[%d]: %v, want %v", c.task, c.item, err, c.want)
		}
	}
	// What ran because of it stays.
	other := w.Trigger("p")
	w.RunAll(other, fail())
	w.Mark(other, "b", -1, flow.Skipped)
	if got, want := w.Tasks(other), "a=succeeded b=skipped:marked c=succeeded each=succeeded each[0]=succeeded each[1]=succeeded f=succeeded"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	w.Check()
	// And a rerun of what failed takes the mark at its word.
	w.Rerun(run, flow.RerunFailed, "")
	w.RunAll(run, fail())
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	w.Check()
}

// aged is an ended run that is ten days old.
func aged(t *testing.T, w *schedtest.World, result func(string, int) (string, string)) int64 {
	t.Helper()
	run := w.Trigger("p")
	w.RunAll(run, result)
	w.Exec(`SELECT ensure_partitions((now() AT TIME ZONE 'UTC')::date - 10, 0)`)
	old := run - 10<<38
	for _, sql := range []string{
		`UPDATE run SET id = $2 WHERE id = $1`, `UPDATE task SET run_id = $2 WHERE run_id = $1`, `UPDATE attempt SET run_id = $2 WHERE run_id = $1`,
		`UPDATE event SET entity_id = $2 WHERE entity_id = $1`, `UPDATE pipeline_stat SET last_run_id = $2 WHERE last_run_id = $1`,
	} {
		w.Exec(sql, run, old)
	}
	return old
}

const dropOld = `SELECT drop_runs((now() AT TIME ZONE 'UTC')::date - 10)`

// An old run lives in an old partition, and that is where a rerun writes; the day
// is not dropped meanwhile.
func TestRerunOfAnOldRun(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	run := aged(t, w, func(task string, _ int) (string, string) {
		return map[string]string{"a": "succeeded", "b": "failed"}[task], ""
	})
	w.Rerun(run, flow.RerunFailed, "")
	if schedtest.Value[bool](w, dropOld) {
		t.Error("the day of an open run was dropped")
	}
	w.RunAll(run, succeed)
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM attempt WHERE run_id = $1`, run); n != 3 {
		t.Errorf("%d attempts, want 3", n)
	}
	w.Check()
	if !schedtest.Value[bool](w, dropOld) {
		t.Error("the day was not dropped when nothing of it was open any more")
	}
	if _, err := w.Reopenable(t.Context(), run); err == nil {
		t.Error("the run is still there")
	}
}

// Retention drops the day after somebody has found the run and before they take
// it: they learn that it is gone, and nothing is left of what they did.
func TestRerunWhileRetentionDropsTheDay(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	id := aged(t, w, succeed)
	run, err := w.Reopenable(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	side := w.Begin()
	dropped := false
	q := side.Before(func(name string) {
		if name == "OpenAgain" { // they know the run, and hold nothing of it yet
			dropped = schedtest.Value[bool](w, dropOld)
		}
	})
	if _, err := reopen.Rerun(t.Context(), q, run, reopen.Request{Mode: flow.RerunAll, By: "ana"}); !errors.Is(err, reopen.ErrGone) {
		t.Errorf("rerun: %v, want %v", err, reopen.ErrGone)
	}
	side.Rollback()
	if !dropped {
		t.Error("the day was not dropped")
	}
	if n := schedtest.Value[int64](w, `SELECT (SELECT count(*) FROM open_run) + (SELECT count(*) FROM wake) + (SELECT count(*) FROM event WHERE cause = 'rerun')`); n != 0 {
		t.Errorf("%d rows are left of it", n)
	}
	// Once it has read the run, the day stays: whoever wants to drop it gives up soon.
	id = aged(t, w, succeed)
	if run, err = w.Reopenable(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	side = w.Begin()
	if _, err := reopen.Rerun(t.Context(), side.Queries(), run, reopen.Request{Mode: flow.RerunAll, By: "ana"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Pool.PGX().Exec(t.Context(), dropOld); err == nil {
		t.Error("a day was dropped under a rerun")
	}
	side.Commit()
	w.RunAll(id, succeed)
	w.Check()
}

// Of two who rerun one run, the second waits for the first and finds it open.
func TestTwoRerunsAtOnce(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	id := w.Trigger("p")
	w.RunAll(id, succeed)
	run, err := w.Reopenable(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	first := w.Begin()
	if _, err := reopen.Rerun(t.Context(), first.Queries(), run, reopen.Request{Mode: flow.RerunAll, By: "ana"}); err != nil {
		t.Fatal(err)
	}
	var second error
	wait := w.Blocked(func() error {
		_, second = schedtest.TryRerun(w, id, flow.RerunAll, "")
		return nil
	})
	first.Commit()
	wait()
	if !errors.Is(second, reopen.ErrOpen) {
		t.Errorf("the second: %v, want %v", second, reopen.ErrOpen)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM event WHERE kind = 'run' AND cause = 'rerun'`); n != 1 {
		t.Errorf("%d reruns are told of, want 1", n)
	}
	w.RunAll(id, succeed)
	w.Check()
}

// A rerun that comes between any two statements of the transaction that ends the
// run goes on after it.
func TestRerunAsTheRunEnds(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	var id int64
	w.Interleave(func() (func(context.Context, *db.Queries) error, func() error, func(string)) {
		id = w.Trigger("p")
		w.Settle()
		for range 2 {
			if w.RunState(id) != "running" {
				break
			}
			claims := w.Claims(1)
			w.End(claims[0], "succeeded", "")
			if w.Name(claims[0]) == "a" {
				w.Settle()
			}
		}
		var failed error
		run := id
		return func(ctx context.Context, q *db.Queries) error { return w.Advancer.Runs(ctx, q, run) },
			func() error {
				_, failed = schedtest.TryRerun(w, run, flow.RerunAll, "")
				return nil
			},
			func(before string) {
				if failed != nil && !errors.Is(failed, reopen.ErrOpen) {
					t.Errorf("before %s: %v", before, failed)
				}
				w.RunAll(run, succeed)
				if got, want := w.RunState(run), "succeeded"; got != want {
					t.Errorf("before %s: run = %q, want %q", before, got, want)
				}
				if n := schedtest.Value[int64](w, `SELECT count(*) FROM attempt WHERE run_id = $1`, run); n != map[bool]int64{true: 2, false: 4}[failed != nil] {
					t.Errorf("before %s: %d attempts, rerun: %v", before, n, failed)
				}
			}
	})
	w.Check()
}
