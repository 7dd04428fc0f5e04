package follow_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/reopen"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

const child = `name: c
concurrency: {limit: 100}
params: {n: {type: integer, default: 1}, day: {type: string, default: none}}
tasks:
  work: {run: x, outputs: {rows: {type: integer}}}
finally:
  clean: {run: x}
outputs: {rows: "${{ tasks.work.outputs.rows }}", n: "${{ params.n }}"}
---
`

func succeed(task string, _ int) (string, string) {
	if task == "work" {
		return "succeeded", `{"rows": 7}`
	}
	return "succeeded", ""
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func world(t *testing.T, text string) *schedtest.World {
	t.Helper()
	w := schedtest.New(t)
	w.Register(text, time.Time{})
	return w
}

// children are the runs that a run has asked for, in the order of asking.
func children(w *schedtest.World, run int64) []int64 {
	w.T.Helper()
	return schedtest.Value[[]int64](w, `SELECT coalesce(array_agg(run_id ORDER BY parent_number, attempt), '{}') FROM child_run WHERE parent_run_id = $1 AND run_id IS NOT NULL`, run)
}

func only(w *schedtest.World, run int64) int64 {
	w.T.Helper()
	list := children(w, run)
	if len(list) != 1 {
		w.T.Fatalf("%d child runs: %v\n%s", len(list), list, w.Dump(run))
	}
	return list[0]
}

// asked goes as far as the request for the run.
func asked(w *schedtest.World) {
	w.T.Helper()
	for _, step := range []func(context.Context) error{w.Admitter.Step, w.Advancer.Step} {
		if err := step(w.T.Context()); !schedtest.IsMore(err) {
			w.T.Fatal(err)
		}
	}
}

func detail(w *schedtest.World, run int64) string {
	return schedtest.Value[string](w, `SELECT string_agg(detail, '; ') FROM task WHERE run_id = $1 AND detail <> ''`, run)
}

func TestATaskEndsAsItsChild(t *testing.T) {
	t.Parallel()
	w := world(t, child+`
name: p
tasks:
  call: {pipeline: {name: c, params: {n: "${{ run.number + 4 }}", day: 7}}, outputs: {rows: {type: integer}}}
  after: {needs: call, if: needs.call.outputs.rows == 7, run: x}
`)
	run := w.Trigger("p")
	w.Settle()
	want(t, "parent", w.Tasks(run), "call=waiting:child after=waiting")
	c := only(w, run)
	want(t, "child", w.Tasks(c), "work=ready clean=waiting")
	want(t, "child's row", schedtest.Value[string](w, `SELECT format('%s %s %s %s', trigger, parent_run_id = $2, parent_number, params) FROM run WHERE id = $1`, c, run),
		`pipeline t 0 {"n": 5, "day": "7"}`)
	w.Check()
	w.RunAll(c, succeed)
	w.Settle()
	want(t, "parent", w.Tasks(run), "call=succeeded after=ready")
	want(t, "outputs", schedtest.Value[string](w, `SELECT outputs::text FROM task WHERE run_id = $1 AND number = 0`, run), `{"n": 5, "rows": 7}`)
	w.RunAll(run, succeed)
	want(t, "run", w.RunState(run), "succeeded")
	w.Check()
}

// What a run of a backfill starts takes its slots of pools from the backfill's
// share, like the run itself.
func TestWhatARunOfABackfillStartsIsOfTheBackfill(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(`kind: pool
name: warehouse
slots: 2
---
name: c
concurrency: {limit: 10}
tasks:
  one: {run: x, pool: warehouse}
  two: {run: x, pool: warehouse}
---
name: p
concurrency: {limit: 10}
schedule: {every: 1m}
tasks: {call: {pipeline: {name: c}}}
---
name: down
concurrency: {limit: 10}
triggers: {pipelines: [{name: p}]}
tasks: {work: {run: x, pool: warehouse}}
`, time.Now().Add(time.Hour))
	backfill := w.StartBackfill("p", 1, 50, time.Now().Add(-time.Hour).Truncate(time.Minute))
	w.Settle()
	run := schedtest.Value[int64](w, `SELECT run_id FROM backfill_tick WHERE backfill_id = $1`, backfill)
	child := only(w, run)
	want(t, "child", schedtest.Value[string](w, `SELECT format('%s %s', r.backfill_id = $2, o.backfill_id = $2) FROM run r JOIN open_run o ON o.run_id = r.id WHERE r.id = $1`, child, backfill), "t t")
	want(t, "its tasks", w.Tasks(child), "one=ready two=waiting:pool")
	w.RunAll(child, func(string, int) (string, string) { return "succeeded", "" })
	w.Settle()
	want(t, "run", w.RunState(run), "succeeded")
	down := schedtest.Value[int64](w, `SELECT id FROM run WHERE pipeline = 'down'`)
	want(t, "what it triggers", schedtest.Value[string](w, `SELECT format('%s %s', r.backfill_id = $2, o.backfill_id = $2) FROM run r JOIN open_run o ON o.run_id = r.id WHERE r.id = $1`, down, backfill), "t t")
	w.Check()
}

func TestAFailedChildIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntasks:\n  call: {pipeline: {name: c}, retry: {limit: 1, delay: 10m, jitter: 0}}\n")
	run := w.Trigger("p")
	w.Settle()
	fail := func(task string, _ int) (string, string) {
		return map[bool]string{true: "failed", false: "succeeded"}[task == "work"], ""
	}
	w.RunAll(only(w, run), fail)
	w.Settle()
	want(t, "after the first", w.Tasks(run), "call=waiting:backoff")
	w.Check()
	w.Pass(10 * time.Minute)
	w.Settle()
	list := children(w, run)
	if len(list) != 2 {
		t.Fatalf("children %v", list)
	}
	w.RunAll(list[1], fail)
	w.Settle()
	want(t, "run", w.RunState(run)+" "+w.Tasks(run), "failed:tasks call=failed:tasks")
	want(t, "spent", schedtest.Value[string](w, `SELECT format('%s %s', attempt, failures) FROM task WHERE run_id = $1`, run), "2 2")
	w.Check()
}

func TestAChildThatCannotBeMade(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, task, tasks, says string }{
		{"params", "{pipeline: {name: c, params: {n: \"${{ run.pipeline }}\"}}, retry: 3}", "call=failed:params", "param n"},
		{"an unknown param", "{pipeline: {name: c, params: {m: \"${{ run.pipeline }}\"}}}", "call=failed:params", "m"},
		{"no pipeline", "{pipeline: {name: nobody}, retry: 3}", "call=failed:no_pipeline", "there is no pipeline default/nobody"},
		{"no wait", "{pipeline: {name: nobody, wait: false}}", "call=failed:no_pipeline", "there is no pipeline default/nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := "name: p\ntasks:\n  call: " + c.task + "\n"
			w := world(t, child[:len(child)-4])
			w.Register(text, time.Time{})
			run := w.Trigger("p")
			w.Settle()
			want(t, "tasks", w.Tasks(run), c.tasks)
			if got := detail(w, run); !strings.Contains(got, c.says) {
				t.Errorf("it says %q, not %q", got, c.says)
			}
			w.Check()
		})
	}
}

func TestATaskThatDoesNotWaitForItsChild(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntasks:\n  call: {pipeline: {name: c, wait: false}}\n")
	run := w.Trigger("p")
	w.Settle()
	want(t, "run", w.RunState(run)+" "+w.Tasks(run), "succeeded call=succeeded")
	c := only(w, run)
	want(t, "child", w.RunState(c), "running")
	w.RunAll(c, succeed)
	w.Check()
}

func TestAChildForEachItem(t *testing.T) {
	t.Parallel()
	w := world(t, child+`
name: p
tasks:
  call: {for_each: "${{ [1, 2, 3] }}", max_parallel: 2, pipeline: {name: c, params: {n: "${{ item * 10 + index }}"}}, outputs: {n: {type: integer}}}
  sum: {needs: call, if: sum(needs.call.outputs.n) == 63, run: x}
`)
	run := w.Trigger("p")
	w.Settle()
	want(t, "tasks", w.Tasks(run), "call=ready call[0]=waiting:child call[1]=waiting:child call[2]=waiting sum=waiting")
	for n := range 3 {
		w.RunAll(children(w, run)[n], succeed)
		w.Settle()
	}
	want(t, "tasks", w.Tasks(run), "call=succeeded call[0]=succeeded call[1]=succeeded call[2]=succeeded sum=ready")
	w.RunAll(run, succeed)
	w.Check()
}

// shared puts a run that has just been made into the group of its pipeline, as the
// api does.
func shared(w *schedtest.World, run int64) int64 {
	w.T.Helper()
	w.Exec(`INSERT INTO run_group (namespace, name) VALUES ('default', 'shared') ON CONFLICT DO NOTHING`)
	w.Exec(`UPDATE run SET group_id = (SELECT id FROM run_group WHERE name = 'shared') WHERE id = $1`, run)
	w.Exec(`UPDATE open_run SET group_id = (SELECT id FROM run_group WHERE name = 'shared') WHERE run_id = $1`, run)
	w.Exec(`INSERT INTO wake (kind, subject) SELECT 'g', id FROM run_group WHERE name = 'shared'`)
	return run
}

// A child of its parent's group, or of any that wait for it, starts beside
// them: it would wait for ever.
func TestAChildOfTheSameGroupStartsBesideItsParent(t *testing.T) {
	t.Parallel()
	group := "concurrency: {group: shared, limit: 1}\n"
	w := world(t, "name: c\n"+group+"tasks: {work: {run: x}}\n---\nname: m\ntasks: {call: {pipeline: {name: c}}}\n---\nname: p\n"+group+"tasks: {call: {pipeline: {name: m}}}\n---\nname: o\n"+group+"tasks: {work: {run: x}}\n")
	run := shared(w, w.Trigger("p"))
	w.Settle()
	other := shared(w, w.Trigger("o"))
	w.Settle()
	c := only(w, only(w, run))
	want(t, "grandchild", w.RunState(c), "running")
	want(t, "the next of the group", w.RunState(other), "queued")
	w.RunAll(c, succeed)
	w.Settle()
	want(t, "run", w.RunState(run), "succeeded")
	want(t, "the next of the group", w.RunState(other), "running")
	w.RunAll(other, succeed)
	w.Check()
}

// unseen has a run end, and leaves it to the test that its caller looks at that.
func unseen(w *schedtest.World, run int64) {
	w.T.Helper()
	for range 10 {
		if schedtest.Value[bool](w, `SELECT ended_at IS NOT NULL FROM run WHERE id = $1`, run) {
			return
		}
		if err := w.Advancer.Step(w.T.Context()); !schedtest.IsMore(err) {
			w.T.Fatal(err)
		}
	}
	w.T.Fatalf("run %d does not end", run)
}

// Opened again before its caller has looked at its end, a run would be waited for
// in its caller's own group, and go on though its caller has stopped it.
func TestARunIsNotOpenedAgainBeforeItsCallerHasSeenItsEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		end    func(w *schedtest.World, run int64)
		caller string
	}{
		{"failed", func(w *schedtest.World, _ int64) { w.End(w.Claims(1)[0], "failed", "") }, "failed:tasks call=failed:tasks"},
		{"stopped", func(w *schedtest.World, run int64) { w.Cancel(run) }, "canceled:canceled call=canceled:canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			group := "concurrency: {group: shared, limit: 1}\n"
			w := world(t, "name: c\n"+group+"tasks: {work: {run: x}}\n---\nname: p\n"+group+"tasks: {call: {pipeline: {name: c}}}\n")
			run := shared(w, w.Trigger("p"))
			w.Settle()
			id := only(w, run)
			c.end(w, run)
			unseen(w, id)
			want(t, "caller", w.Tasks(run), "call=waiting:child")
			if _, err := schedtest.TryRerun(w, id, flow.RerunFailed, ""); !errors.Is(err, reopen.ErrUnseen) {
				t.Errorf("rerun: %v, want %v", err, reopen.ErrUnseen)
			}
			if _, err := schedtest.TryMark(w, id, "work", -1, flow.Succeeded); !errors.Is(err, reopen.ErrUnseen) {
				t.Errorf("mark: %v, want %v", err, reopen.ErrUnseen)
			}
			w.Settle()
			want(t, "caller", w.RunState(run)+" "+w.Tasks(run), c.caller)
			w.Rerun(id, flow.RerunFailed, "")
			w.RunAll(id, succeed)
			w.Settle()
			want(t, "run", w.RunState(id), "succeeded")
			want(t, "caller", w.RunState(run)+" "+w.Tasks(run), c.caller)
			w.Check()
		})
	}
}

func TestRunsCallEachOtherFiveDeepAtMost(t *testing.T) {
	t.Parallel()
	w := world(t, "name: p\nconcurrency: {limit: 100}\ntasks: {call: {pipeline: {name: q}}}\n")
	w.Register("name: q\nconcurrency: {limit: 100}\ntasks: {call: {pipeline: {name: p}}}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	want(t, "run", w.RunState(run), "failed:tasks")
	if n := schedtest.Value[int](w, `SELECT count(*)::int FROM run`); n != 6 {
		t.Errorf("%d runs, want 6", n)
	}
	want(t, "reasons", schedtest.Value[string](w, `SELECT string_agg(reason, ' ' ORDER BY run_id) FROM task`), "tasks tasks tasks tasks tasks pipeline_depth")
	w.Check()
}

func TestCancelGoesDown(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntasks:\n  call: {pipeline: {name: c}}\n  next: {needs: call, run: x}\n")
	run := w.Trigger("p")
	w.Settle()
	c := only(w, run)
	claim := w.Claims(1)[0]
	w.Cancel(run)
	w.Settle()
	want(t, "parent", w.RunState(run)+" "+w.Tasks(run), "running call=waiting:child next=canceled:canceled")
	want(t, "child", w.Tasks(c), "work=ready clean=waiting")
	w.End(claim, "canceled", "")
	w.Settle()
	want(t, "child's finally", w.Tasks(c), "work=canceled:canceled clean=ready")
	want(t, "parent", w.RunState(run), "running")
	// Once more: the child stops its finally too.
	if _, err := w.Pool.Queries().CancelRun(t.Context(), db.CancelRunParams{RunID: run, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	w.Settle()
	want(t, "child", w.RunState(c)+" "+w.Tasks(c), "canceled:canceled work=canceled:canceled clean=canceled:canceled")
	want(t, "parent", w.RunState(run)+" "+w.Tasks(run), "canceled:canceled call=canceled:canceled next=canceled:canceled")
	w.Check()
}

func TestACanceledChildCancelsItsTask(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntasks:\n  call: {pipeline: {name: c}, retry: 3}\n")
	run := w.Trigger("p")
	w.Settle()
	c := only(w, run)
	w.Cancel(c)
	w.RunAll(c, succeed)
	w.Settle()
	want(t, "parent", w.RunState(run)+" "+w.Tasks(run), "failed:canceled_task call=canceled:canceled")
	w.Check()
}

func TestTheTimeOutOfATaskStopsItsChild(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntasks:\n  call: {pipeline: {name: c}, timeout: 1h}\n")
	run := w.Trigger("p")
	w.Settle()
	c := only(w, run)
	w.Pass(time.Hour)
	w.Settle()
	want(t, "parent", w.Tasks(run), "call=waiting:child")
	w.RunAll(c, succeed)
	w.Settle()
	want(t, "child", w.RunState(c), "canceled:canceled")
	want(t, "parent", w.RunState(run)+" "+w.Tasks(run), "failed:tasks call=failed:timed_out")
	w.Check()
}

func TestTheTimeOutOfARunStopsItsChildren(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntimeout: 1h\ntasks:\n  call: {pipeline: {name: c}}\n")
	run := w.Trigger("p")
	w.Settle()
	c := only(w, run)
	w.Exec(`UPDATE open_run SET deadline_at = now() WHERE run_id = $1`, run)
	if _, err := w.Pool.Queries().TimeOutRuns(t.Context(), nil, 10); err != nil {
		t.Fatal(err)
	}
	w.RunAll(c, succeed)
	w.Settle()
	want(t, "parent", w.RunState(run)+" "+w.Tasks(run), "failed:timed_out call=canceled:run_timed_out")
	w.Check()
}

func TestFailFastStopsTheOtherChildren(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntasks:\n  call: {for_each: [a, b, c], max_parallel: 2, pipeline: {name: c}}\n")
	run := w.Trigger("p")
	w.Settle()
	list := children(w, run)
	var other db.ClaimReadyRow
	for _, c := range w.Claims(10) {
		if c.RunID == list[0] {
			w.End(c, "failed", "")
		} else {
			other = c
		}
	}
	w.Settle()
	for _, c := range w.Claims(10) { // what the first does finally
		w.End(c, "succeeded", "")
	}
	w.Settle()
	want(t, "while the other stops", w.Tasks(run), "call=ready call[0]=failed:tasks call[1]=waiting:child call[2]=canceled:fail_fast")
	w.End(other, "canceled", "")
	w.RunAll(list[1], succeed)
	w.Settle()
	want(t, "tasks", w.Tasks(run), "call=failed call[0]=failed:tasks call[1]=canceled:fail_fast call[2]=canceled:fail_fast")
	want(t, "the other child", w.RunState(list[1]), "canceled:canceled")
	w.Check()
}

// The run is made exactly once, whoever makes it.
func TestTwoFollowersMakeOneRun(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntasks:\n  call: {pipeline: {name: c}}\n")
	run := w.Trigger("p")
	asked(w)
	side := w.Begin()
	if err := w.Follower.Make(t.Context(), side.Queries()); err != nil {
		t.Fatal(err)
	}
	if err := w.Apart().Follower.Step(t.Context()); !schedtest.IsMore(err) { // and it does not wait
		t.Fatal(err)
	}
	side.Commit()
	w.Settle()
	w.RunAll(only(w, run), succeed)
	w.Settle()
	want(t, "run", w.RunState(run), "succeeded")
	w.Check()
}

// A scheduler that dies while it makes a run leaves the request to the others.
func TestARequestSurvivesItsMaker(t *testing.T) {
	t.Parallel()
	w := world(t, child+"name: p\ntasks:\n  call: {pipeline: {name: c}}\n")
	run := w.Trigger("p")
	asked(w)
	side := w.Begin()
	if err := w.Follower.Make(t.Context(), side.Queries()); err != nil {
		t.Fatal(err)
	}
	side.Rollback()
	w.Settle()
	w.RunAll(only(w, run), succeed)
	w.Settle()
	want(t, "run", w.RunState(run), "succeeded")
	w.Check()
}

const race = "name: c\nconcurrency: {limit: 1000}\ntasks: {work: {run: x}}\n---\nname: p\nconcurrency: {limit: 1000}\ntasks: {call: {pipeline: {name: c}}}\n"

// A parent is canceled while its child is being made: it is stopped or never
// there.
func TestACancelWhileTheChildIsMade(t *testing.T) {
	t.Parallel()
	w := world(t, race)
	w.Interleave(func() (func(context.Context, *db.Queries) error, func() error, func(string)) {
		run := w.Trigger("p")
		asked(w)
		other := func() error {
			w.Cancel(run)
			return w.Apart().Advancer.Step(t.Context())
		}
		return w.Follower.Make, other, func(before string) {
			w.Settle()
			for _, c := range children(w, run) {
				w.RunAll(c, succeed)
				want(t, "child, before "+before, w.RunState(c), "canceled:canceled")
			}
			w.Settle()
			want(t, "before "+before, w.RunState(run)+" "+w.Tasks(run), "canceled:canceled call=canceled:canceled")
		}
	})
	w.Check()
}
