package advance_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

func decide(w *schedtest.World, run int64, decision string) error {
	_, err := w.Pool.Queries().DecideApproval(w.T.Context(), db.DecideApprovalParams{RunID: run, Decision: decision, By: "ann", Comment: "fine"})
	return err
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func outputsOf(w *schedtest.World, run int64, task string) string {
	return schedtest.Value[string](w, `SELECT coalesce(outputs::text, '-') FROM task WHERE run_id = $1 AND name = $2 AND items IS NULL ORDER BY number LIMIT 1`, run, task)
}

func TestAWaitIsARow(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {wait: {for: 1h}}\n  b: {needs: a, run: x}\n  c: {wait: {for: 2h, on_timeout: skip}, timeout: 90m}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	want(t, "tasks", w.Tasks(run), "a=waiting:wait b=waiting c=waiting:wait")
	w.Check()
	if n := len(w.Claims(10)); n != 0 {
		t.Errorf("%d tasks can be claimed", n)
	}
	w.Pass(59 * time.Minute)
	w.Settle()
	want(t, "a minute before", w.Tasks(run), "a=waiting:wait b=waiting c=waiting:wait")
	w.Pass(time.Minute)
	w.Settle()
	want(t, "an hour later", w.Tasks(run), "a=succeeded b=ready c=waiting:wait")
	w.Pass(time.Hour)
	w.Settle()
	want(t, "two hours later", w.Tasks(run), "a=succeeded b=ready c=skipped:timed_out")
	w.RunAll(run, succeed)
	want(t, "run", w.RunState(run), "succeeded")
	w.Check()
}

// The wake of a wait may be lost with the rest: the sweep looks again.
func TestALostWakeOfAWaitIsMadeGood(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {wait: {for: 1h}}\n  each: {for_each: [1h, 2h], wait: {for: \"${{ duration(item) }}\"}}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	w.Exec(`DELETE FROM wake`)
	w.Pass(time.Hour)
	w.Exec(`INSERT INTO wake (kind, subject, number, state) VALUES ('r', $1, -1, 'recount')`, run)
	w.Settle()
	want(t, "tasks", w.Tasks(run), "a=succeeded each=ready each[0]=succeeded each[1]=waiting:wait")
	w.Pass(time.Hour) // the one that was not due has its wake again
	w.Settle()
	want(t, "run", w.RunState(run), "succeeded")
	w.Check()
}

func TestItemsWaitInTheirWindow(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\nmax_parallel: 1\ntasks:\n  each: {for_each: [1h, 1h, soon], max_parallel: 1, fail_fast: false, wait: {for: \"${{ duration(item) }}\"}}\n  x: {run: x}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	want(t, "first", w.Tasks(run), "each=ready each[0]=waiting:wait each[1]=waiting each[2]=waiting x=ready")
	w.Pass(time.Hour)
	w.Settle()
	want(t, "second", w.Tasks(run), "each=ready each[0]=succeeded each[1]=waiting:wait each[2]=waiting x=ready")
	w.Pass(time.Hour)
	w.Settle()
	want(t, "third", w.Tasks(run), "each=failed each[0]=succeeded each[1]=succeeded each[2]=failed:expression x=ready")
	w.RunAll(run, succeed)
	want(t, "run", w.RunState(run), "failed:tasks")
	w.Check()
}

const signed = "name: p\ntasks:\n  ask: {approval: {prompt: \"Load ${{ run.pipeline }}?\"}, timeout: 1h}\n  go: {needs: ask, run: x}\n"

func TestAnApprovalIsAskedAndAnswered(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(signed, time.Time{})
	run := w.Trigger("p")
	w.Settle()
	want(t, "tasks", w.Tasks(run), "ask=waiting:approval go=waiting")
	want(t, "question", schedtest.Value[string](w, `SELECT prompt FROM approval WHERE closed_at IS NULL`), "Load p?")
	w.Check()
	if err := decide(w, run, "approved"); err != nil {
		t.Fatal(err)
	}
	if err := decide(w, run, "rejected"); !errors.Is(err, db.ErrNoRows) {
		t.Errorf("a second answer: %v", err)
	}
	w.Settle()
	want(t, "tasks", w.Tasks(run), "ask=succeeded go=ready")
	want(t, "outputs", outputsOf(w, run, "ask"), `{"by": "ann", "decision": "approved"}`)
	w.RunAll(run, succeed)
	w.Pass(time.Hour)
	w.Settle()
	want(t, "run", w.RunState(run), "succeeded")
	w.Check()
}

func TestAnApprovalTimesOut(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(signed, time.Time{})
	run := w.Trigger("p")
	w.Settle()
	w.Pass(time.Hour)
	w.Settle()
	want(t, "tasks", w.Tasks(run), "ask=failed:timed_out go=skipped:upstream")
	want(t, "decision", schedtest.Value[string](w, `SELECT decision || '/' || decided_by FROM approval`), "rejected/")
	if err := decide(w, run, "approved"); !errors.Is(err, db.ErrNoRows) {
		t.Errorf("an answer after the end: %v", err)
	}
	w.Check()
}

func TestACanceledRunClosesItsQuestions(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(signed, time.Time{})
	run := w.Trigger("p")
	w.Settle()
	w.Cancel(run)
	w.Settle()
	want(t, "run", w.RunState(run), "canceled:canceled")
	if err := decide(w, run, "approved"); !errors.Is(err, db.ErrNoRows) {
		t.Errorf("an answer after the end: %v", err)
	}
	w.Check()
}

// Somebody answers while the time-out is being decided: one of the two counts,
// and everything says which.
func TestAnAnswerAndATimeOutAtOnce(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(strings.Replace(signed, "name: p\n", "name: p\nconcurrency: {limit: 100}\n", 1), time.Time{})
	accepted, refused := 0, 0
	w.Interleave(func() (func(context.Context, *db.Queries) error, func() error, func(string)) {
		run := w.Trigger("p")
		w.Settle()
		w.Pass(time.Hour)
		var answer error
		step := func(ctx context.Context, q *db.Queries) error { return w.Advancer.Runs(ctx, q, run) }
		other := func() error {
			if answer = decide(w, run, "approved"); errors.Is(answer, db.ErrNoRows) {
				return nil
			}
			return answer
		}
		return step, other, func(before string) {
			w.Settle()
			said := "ask=succeeded go=ready approved/ann"
			if answer != nil {
				refused++
				said = "ask=failed:timed_out go=skipped:upstream rejected/"
			} else {
				accepted++
			}
			want(t, "before "+before, w.Tasks(run)+" "+schedtest.Value[string](w, `SELECT decision || '/' || decided_by FROM approval WHERE run_id = $1`, run), said)
			w.Exec(`DELETE FROM ready`) // the next round needs no executor
			w.Exec(`UPDATE task SET state = 'canceled', ended_at = now() WHERE run_id = $1 AND ended_at IS NULL`, run)
			w.Exec(`DELETE FROM open_run WHERE run_id = $1`, run)
			w.Exec(`UPDATE run SET state = 'canceled', ended_at = now() WHERE id = $1 AND ended_at IS NULL`, run)
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d answers counted, %d came too late: one side was never first", accepted, refused)
	}
}

const race = "name: c\nconcurrency: {limit: 1000}\ntasks: {work: {run: x}}\n---\nname: p\nconcurrency: {limit: 1000}\ntasks: {call: {pipeline: {name: c}}}\n"

// The child ends in the moment in which its parent is canceled.
func TestTheEndOfAChildAndACancelAtOnce(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"the child's end", "the parent's cancel"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			w := schedtest.New(t)
			w.Register(race, time.Time{})
			seen := map[string]int{}
			w.Interleave(func() (func(context.Context, *db.Queries) error, func() error, func(string)) {
				run := w.Trigger("p")
				w.Settle()
				c := schedtest.Value[int64](w, `SELECT run_id FROM child_run WHERE parent_run_id = $1`, run)
				for _, claim := range w.Claims(1) {
					w.End(claim, "succeeded", "")
				}
				apart := w.Apart()
				runs := func(id int64) func(context.Context, *db.Queries) error {
					return func(ctx context.Context, q *db.Queries) error { return w.Advancer.Runs(ctx, q, id) }
				}
				step, other := runs(c), func() error {
					w.Cancel(run)
					return apart.Advancer.Step(t.Context())
				}
				if first == "the parent's cancel" {
					w.Cancel(run)
					step, other = runs(run), func() error { return apart.Advancer.Step(t.Context()) }
				}
				return step, other, func(before string) {
					w.Settle()
					w.Settle()
					if w.RunState(c) == "running" {
						w.RunAll(c, succeed)
						w.Settle()
					}
					got := fmt.Sprintf("%s %s, child %s", w.RunState(run), w.Tasks(run), w.RunState(c))
					seen[got]++
					switch got {
					case "canceled:canceled call=succeeded, child succeeded", "canceled:canceled call=canceled:canceled, child canceled:canceled",
						"canceled:canceled call=canceled:canceled, child succeeded", "succeeded call=succeeded, child succeeded":
					default:
						t.Errorf("before %s: %s\n%s", before, got, w.Dump(run))
					}
				}
			})
			t.Log(seen)
			w.Check()
		})
	}
}
