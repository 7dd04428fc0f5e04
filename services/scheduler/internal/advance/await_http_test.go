package advance_test

import (
	"context"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

const polls = `
name: polls
tasks:
  arrived:
    wait: {http: {target: http/src, url: "https://src.example.com/ready"}, until: response.status == 200, every: 1m}
    timeout: 2h
    outputs: {rows: {type: integer, value: "${{ response.body.rows }}"}}
  load: {needs: arrived, command: [load, "${{ needs.arrived.outputs.rows }}"]}
---
name: fans
tasks:
  arrived:
    for_each: [a, b, c]
    max_parallel: 2
    wait: {http: {target: http/src, url: "https://src.example.com/${{ item }}"}, until: response.status == 200}
`

// polling is a run of a pipeline whose first task waits for an answer.
func polling(t *testing.T, name string) (*schedtest.World, int64) {
	t.Helper()
	w := schedtest.New(t)
	w.Register(polls, time.Now())
	run := w.Trigger(name)
	w.Settle()
	return w, run
}

// answer ends waits as an executor does, and says how many it ended.
func answer(w *schedtest.World, run int64, state, reason, outputs string, numbers ...int) int {
	w.T.Helper()
	var p db.EndHTTPWaitsParams
	for _, n := range numbers {
		p.RunIds, p.Numbers = append(p.RunIds, run), append(p.Numbers, int32(n))
		p.States, p.Reasons, p.Details, p.Outputs = append(p.States, state), append(p.Reasons, reason), append(p.Details, ""), append(p.Outputs, outputs)
		p.Addresses, p.Statuses = append(p.Addresses, "https://src.example.com/ready"), append(p.Statuses, 200)
	}
	ended, err := w.Pool.Queries().EndHTTPWaits(w.T.Context(), p)
	if err != nil {
		w.T.Fatal(err)
	}
	return len(ended)
}

func waits(w *schedtest.World, run int64) int64 {
	w.T.Helper()
	return schedtest.Value[int64](w, `SELECT count(*) FROM http_wait WHERE run_id = $1`, run)
}

func expect(w *schedtest.World, run int64, tasks string) {
	w.T.Helper()
	if got := w.Tasks(run); got != tasks {
		w.T.Errorf("tasks are %s, want %s", got, tasks)
	}
}

func TestAWaitForAnAnswerIsARow(t *testing.T) {
	t.Parallel()
	w, run := polling(t, "polls")
	expect(w, run, "arrived=waiting:wait load=waiting")
	row := schedtest.Value[string](w, `SELECT target || ' ' || every_ms || ' ' || (next_at <= now()) || ' ' || tries FROM http_wait WHERE run_id = $1`, run)
	if row != "http/src 60000 true 0" {
		t.Errorf("the wait is %q, want it due at once", row)
	}
	if n := answer(w, run, "succeeded", "", `{"rows": 12345678901234567}`, flow.Number(0)); n != 1 {
		t.Fatalf("%d waits ended, want 1", n)
	}
	w.Settle()
	expect(w, run, "arrived=succeeded load=ready")
	if got := schedtest.Value[string](w, `SELECT outputs::text FROM task WHERE run_id = $1 AND number = 0`, run); got != `{"rows": 12345678901234567}` {
		t.Errorf("outputs are %s", got)
	}
	if n := waits(w, run); n != 0 {
		t.Errorf("%d waits are left of a task that has ended", n)
	}
}

// Of two who ask at the same time one ends the wait, and wakes the run once.
func TestOneOfTwoAnswersEndsAWait(t *testing.T) {
	t.Parallel()
	w, run := polling(t, "polls")
	first := answer(w, run, "succeeded", "", `{"rows": 1}`, flow.Number(0))
	second := answer(w, run, "failed", "outputs_type", "", flow.Number(0))
	if first != 1 || second != 0 {
		t.Fatalf("the answers ended %d and %d waits, want 1 and 0", first, second)
	}
	w.Settle()
	expect(w, run, "arrived=succeeded load=ready")
	if n := answer(w, run, "succeeded", "", "{}", flow.Number(0)); n != 0 {
		t.Error("an answer that came after the end was taken")
	}
}

func TestAnAnswerWithoutItsOutputsFailsTheTask(t *testing.T) {
	t.Parallel()
	w, run := polling(t, "polls")
	answer(w, run, "failed", "outputs_type", "", flow.Number(0))
	w.Settle()
	expect(w, run, "arrived=failed:outputs_type load=skipped:upstream")
	if got := w.RunState(run); got != "failed:tasks" {
		t.Errorf("the run is %s", got)
	}
}

func TestWaitsEndWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do    func(w *schedtest.World, run int64)
		tasks string
	}{
		"cancel": {func(w *schedtest.World, run int64) { w.Cancel(run) }, "arrived=canceled:canceled load=canceled:canceled"},
		"time-out of the task": {func(w *schedtest.World, run int64) {
			w.Exec(`UPDATE task SET deadline_at = now() - interval '1 s' WHERE run_id = $1 AND number = 0`, run)
			w.Exec(`UPDATE wake SET not_before = now() WHERE subject = $1`, run)
		}, "arrived=failed:timed_out load=skipped:upstream"},
		"time-out of the run": {func(w *schedtest.World, run int64) {
			w.Exec(`UPDATE open_run SET timed_out_at = now() WHERE run_id = $1`, run)
			w.Exec(`INSERT INTO wake (kind, subject) VALUES ('r', $1)`, run)
		}, "arrived=canceled:run_timed_out load=canceled:run_timed_out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, run := polling(t, "polls")
			c.do(w, run)
			w.Settle()
			expect(w, run, c.tasks)
			if n := waits(w, run); n != 0 {
				t.Errorf("%d waits are left", n)
			}
			if n := answer(w, run, "succeeded", "", "{}", flow.Number(0)); n != 0 {
				t.Error("an answer that came too late was taken")
			}
		})
	}
}

func TestItemsWaitForTheirAnswers(t *testing.T) {
	t.Parallel()
	w, run := polling(t, "fans")
	if n := waits(w, run); n != 2 {
		t.Fatalf("%d items wait, want the two that max_parallel lets", n)
	}
	answer(w, run, "succeeded", "", "{}", flow.ItemNumber(0, 1))
	w.Settle()
	expect(w, run, "arrived=ready arrived[0]=waiting:wait arrived[1]=succeeded arrived[2]=waiting:wait")
	// One item fails: the others are withdrawn.
	answer(w, run, "failed", "expression", "", flow.ItemNumber(0, 0))
	w.Settle()
	expect(w, run, "arrived=failed arrived[0]=failed:expression arrived[1]=succeeded arrived[2]=canceled:fail_fast")
	if n := waits(w, run); n != 0 {
		t.Errorf("%d waits are left", n)
	}
}

// Whoever cancels waits for an executor that is just telling the answer, and the
// other way round; the task ends once.
func TestACancelAndAnAnswerAtTheSameTime(t *testing.T) {
	t.Parallel()
	w, run := polling(t, "polls")
	w.Cancel(run)
	tx, err := w.Pool.PGX().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := tx.Exec(t.Context(), `SELECT FROM http_wait WHERE run_id = $1 FOR UPDATE`, run); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE http_wait SET ended_at = now(), state = 'succeeded', outputs = '{"rows": 1}' WHERE run_id = $1`, run); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO wake (kind, subject, number, state) VALUES ('r', $1, 0, 'waiting')`, run); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); w.Settle() }()
	for blocked := false; !blocked; {
		if err := w.Pool.PGX().QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid)))`, int32(tx.Conn().PgConn().PID())).Scan(&blocked); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	w.Settle()
	expect(w, run, "arrived=canceled:canceled load=canceled:canceled")
	if got, n := w.RunState(run), waits(w, run); got != "canceled:canceled" || n != 0 {
		t.Errorf("the run is %s with %d waits, want it canceled", got, n)
	}
}
