package advance_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

const two = "name: p\nconcurrency: {limit: 100}\ntasks:\n  a: {run: x}\n  b: {needs: a, run: x}\n"

// Were wakes taken before the lock, a scheduler that passes over the run would
// take them along, and nobody would look at the run again.
func TestARunThatSomebodyElseDecidesKeepsItsWakes(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	run := w.Trigger("p")
	w.Settle()
	w.End(w.Claims(1)[0], "succeeded", "")
	other := w.Begin()
	if rows, err := other.Queries().LockDueRuns(t.Context(), []int64{run}); err != nil || len(rows) != 1 {
		t.Fatalf("LockDueRuns = %v, %v", rows, err)
	}
	if err := w.Advancer.Step(t.Context()); !schedtest.IsMore(err) { // and it does not wait
		t.Fatal(err)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM wake WHERE kind = 'r' AND number = 0`); n != 1 {
		t.Errorf("%d wakes of the end are there, want 1", n)
	}
	other.Rollback()
	w.RunAll(run, succeed)
	if got, want := w.RunState(run), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
}

// Wakes of runs that have ended are deleted, or they would be looked at for
// good; of a run that was opened again in the meantime they are its only hope.
func TestOnlyRunsThatAreNotOpenLoseTheirWakes(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	ended, again := w.Trigger("p"), w.Trigger("p")
	w.RunAll(ended, succeed)
	w.RunAll(again, succeed)
	w.Settle()
	w.Exec(`INSERT INTO wake (kind, subject) VALUES ('r', $1)`, ended)
	step := w.Begin()
	locked := 0
	queries := step.Before(func(name string) {
		if name == "DropWakesOfEnded" { // the lock was refused: no such row; it is there now
			locked++
			w.Exec(`INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state) SELECT id, pipeline_id, group_id, revision_id, 'queued' FROM run WHERE id = $1`, again)
			w.Exec(`INSERT INTO wake (kind, subject) VALUES ('r', $1)`, again)
		}
	})
	if err := w.Advancer.Runs(t.Context(), queries, ended, again); err != nil {
		t.Fatal(err)
	}
	step.Commit()
	if locked != 1 {
		t.Fatalf("wakes of ended runs were looked for %d times, want once", locked)
	}
	if got := schedtest.Value[int64](w, `SELECT coalesce(sum(subject), 0)::bigint FROM wake WHERE kind = 'r'`); got != again {
		t.Errorf("wakes of %d are left, want one of %d", got, again)
	}
}

// A wake that is there twice, or a decision made twice, must not release a task
// that is on its way already: two attempts of it would live.
func TestATaskIsReleasedOnlyFromWaiting(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	run := w.Trigger("p")
	w.Settle()
	again := func() { w.Exec(`INSERT INTO wake (kind, subject, number, state) VALUES ('r', $1, 0, 'waiting')`, run) }
	again() // it is ready
	w.Settle()
	claims := w.Claims(10)
	if len(claims) != 1 {
		t.Fatalf("%d claims, want 1", len(claims))
	}
	again() // it is live
	w.Settle()
	if more := w.Claims(10); len(more) != 0 {
		t.Fatalf("a live task was released once more: %+v", more)
	}
	w.End(claims[0], "succeeded", "")
	again() // it has ended
	w.RunAll(run, succeed)
	if got, want := w.Tasks(run), "a=succeeded b=succeeded"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	w.Check()
}

// A stale executor's report must leave no trace at all: a wake or an event of it
// would be counted.
func TestARefusedReportWritesNothing(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	w.Trigger("p")
	w.Settle()
	c := w.Claims(1)[0]
	stale := c
	stale.LeaseToken = uuid.New()
	everything := `SELECT (SELECT jsonb_agg(to_jsonb(l)) FROM live l)::text || (SELECT count(*) FROM wake) || ' ' || (SELECT count(*) FROM event) || ' '
		|| (SELECT count(*) FROM attempt) || (SELECT jsonb_agg(to_jsonb(k) ORDER BY number) FROM task k)::text`
	before := schedtest.Value[string](w, everything)
	if w.End(stale, "succeeded", "") {
		t.Error("a report under another token was accepted")
	}
	if after := schedtest.Value[string](w, everything); after != before {
		t.Errorf("a refused report changed\n%s\nto\n%s", before, after)
	}
}

// Somebody writes the live row (a log's guard, a stop request) while its attempt
// ends: the end waits for the lock and then finds another version of the row,
// whose place its first statement could not have seen.
func TestAnAttemptEndsThoughItsRowIsBeingWritten(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	run := w.Trigger("p")
	w.Settle()
	c := w.Claims(1)[0]
	writer := w.Begin()
	writer.Exec(`UPDATE live SET log_seen = 7, log_cut_at = 0`)
	accepted := false
	wait := w.Blocked(func() (err error) {
		accepted, err = schedtest.TryReport(w, c, ending.Report{State: "succeeded"})
		return err
	})
	writer.Commit()
	wait()
	if !accepted {
		t.Error("the report was refused")
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM live`); n != 0 {
		t.Errorf("%d live rows are left of an attempt that has ended", n)
	}
	if n := schedtest.Value[int64](w, `SELECT log_seen FROM attempt`); n != 7 {
		t.Errorf("log_seen = %d, want what the writer wrote", n)
	}
	w.RunAll(run, succeed)
	w.Check()
}

// And whoever forgets that lock ends nothing by halves.
func TestAnEndWithoutItsLockIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	run := w.Trigger("p")
	w.Settle()
	c := w.Claims(1)[0]
	writer := w.Begin()
	writer.Exec(`UPDATE live SET log_seen = 7, log_cut_at = 0`)
	accepted := false
	wait := w.Blocked(func() (err error) {
		accepted, err = schedtest.TryReportUnlocked(w, c, ending.Report{State: "succeeded"})
		return err
	})
	writer.Commit()
	wait()
	if live := schedtest.Value[int64](w, `SELECT count(*) FROM live`); accepted == (live == 1) {
		t.Errorf("accepted: %v, and %d live rows are left", accepted, live)
	}
	w.Check()
	w.End(c, "succeeded", "") // refused if it was accepted before
	w.RunAll(run, succeed)
	w.Check()
}

// A slot that is free belongs to whoever waits longest, of any run: its end
// wakes the pool.
func TestAFreedSlotGoesToAnotherRun(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("kind: pool\nname: db\nslots: 1\n---\nname: p\nconcurrency: {limit: 100}\ntasks:\n  a: {run: x, pool: db, retry: {limit: 1, delay: 5m}}\n", time.Time{})
	first, second := w.Trigger("p"), w.Trigger("p")
	w.Settle()
	c := w.Claims(10)
	if len(c) != 1 || c[0].RunID != first {
		t.Fatalf("claims = %+v, want one of run %d", c, first)
	}
	w.End(c[0], "failed", "") // it comes back in minutes: nothing else wakes anybody
	w.Settle()
	if c = w.Claims(10); len(c) != 1 || c[0].RunID != second {
		t.Errorf("claims = %+v, want one of run %d", c, second)
	}
}

// A claim moves a row from ready to live: counted by two statements it is missed
// when it commits between them, and its slot is given away twice.
func TestAPoolKeepsItsLimitThoughAClaimCommitsDuringItsCount(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("kind: pool\nname: db\nslots: 1\n---\nname: p\nconcurrency: {limit: 100}\ntasks:\n  a: {run: x, pool: db}\n", time.Time{})
	pool := schedtest.Value[int64](w, `SELECT id FROM pool`)
	w.Trigger("p")
	w.Settle()
	w.Interleave(func() (func(context.Context, *db.Queries) error, func() error, func(string)) {
		w.Trigger("p")
		w.Settle()
		w.Exec(`INSERT INTO wake (kind, subject) VALUES ('p', $1)`, pool)
		step := func(ctx context.Context, q *db.Queries) error { return w.Advancer.Pools(ctx, q, pool) }
		claim := func() error { _, err := schedtest.TryClaim(w, w.Executor, 10); return err }
		return step, claim, func(before string) {
			if used := schedtest.Value[int64](w, `SELECT coalesce(sum(slots), 0)::bigint FROM (SELECT slots FROM ready UNION ALL SELECT slots FROM live) AS u`); used != 1 {
				t.Errorf("a claim before %s: %d slots are held, the pool has 1", before, used)
			}
			finishHeld(w) // the slot is free again
		}
	})
}

// A pool's step and a cancel both take waiters: in different orders each would
// wait for what the other holds.
func TestWaitersAreLockedInOrder(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("kind: pool\nname: db\nslots: 1\n---\nname: p\nconcurrency: {limit: 2}\ntasks:\n  a: {run: x, pool: db}\n  b: {run: x, pool: db, priority: 5}\n", time.Time{})
	w.Trigger("p")
	w.Settle() // its b holds the slot
	run := w.Trigger("p")
	w.Settle()
	w.Exec(`UPDATE pool SET slots = 4`)
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM waiter WHERE run_id = $1`, run); n != 2 {
		t.Fatalf("%d tasks wait, want both", n)
	}
	cancel := w.Begin()
	cancel.Exec(`SELECT 1 FROM waiter WHERE run_id = $1 AND number = 0 FOR UPDATE`, run)
	pool := schedtest.Value[int64](w, `SELECT id FROM pool`)
	wait := w.Blocked(func() error {
		return db.InTx(t.Context(), w.Pool, func(q *db.Queries) error { return w.Advancer.Pools(t.Context(), q, pool) })
	})
	cancel.Exec(`SELECT 1 FROM waiter WHERE run_id = $1 AND number > 0 FOR UPDATE NOWAIT`, run)
	cancel.Commit()
	wait()
}

// One run that cannot be decided must not hold up the others, and is tried again.
func TestARunThatCannotBeDecidedHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	bad, good := w.Trigger("p"), w.Trigger("p")
	w.Settle()
	for _, c := range w.Claims(10) {
		w.End(c, "succeeded", "")
	}
	w.Exec(`DELETE FROM task WHERE run_id = $1 AND number > 0`, bad) // b is needed and not there
	w.Exec(`UPDATE open_run SET unfinished = 0 WHERE run_id = $1`, bad)
	w.Settle()
	w.RunAll(good, succeed)
	if got, want := w.RunState(good), "succeeded"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM repair WHERE kind = 'undecidable' AND run_id = $1`, bad); n == 0 {
		t.Error("it was not counted as a defect")
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM wake WHERE subject = $1 AND not_before > now()`, bad); n != 1 {
		t.Errorf("%d wakes of it are put off, want 1", n)
	}
}

// The newest run of a pipeline is the one with the highest number, whoever ends
// first; and every failure counts, also of runs that end in one batch.
func TestRollupsKnowTheNewestRunAndCountFailures(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(strings.Replace(two, "  b: {needs: a, run: x}\n", "", 1), time.Time{})
	old, young := w.Trigger("p"), w.Trigger("p")
	w.Settle()
	claims := map[int64]db.ClaimReadyRow{}
	for _, c := range w.Claims(10) {
		claims[c.RunID] = c
	}
	w.End(claims[young], "succeeded", "")
	w.Settle()
	w.End(claims[old], "failed", "")
	w.Settle()
	stat := `SELECT last_run_id || ' ' || last_state || ' ' || failures_in_row FROM pipeline_stat`
	if got, want := schedtest.Value[string](w, stat), schedtest.Value[string](w, `SELECT $1::bigint || ' succeeded 1'`, young); got != want {
		t.Errorf("rollup = %q, want %q", got, want)
	}
	for range 3 {
		w.Trigger("p")
	}
	w.Settle()
	for _, c := range w.Claims(10) {
		w.End(c, "failed", "")
	}
	w.Settle()
	if got, want := schedtest.Value[int32](w, `SELECT failures_in_row FROM pipeline_stat`), int32(4); got != want {
		t.Errorf("failures in a row = %d, want %d", got, want)
	}
}

// However long a cascade is, one decision goes to its end: here each task that is
// skipped reads outputs of a task of its own.
func TestALongCascadeThatReadsOutputsEnds(t *testing.T) {
	t.Parallel()
	const n = 120
	var text strings.Builder
	text.WriteString("name: p\ntasks:\n  t0: {run: x}\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&text, "  s%d: {run: x, outputs: {changed: {type: boolean}}}\n", i)
		fmt.Fprintf(&text, "  t%d:\n    needs: [t%d, s%d]\n    if: none_failed() && needs.s%d.outputs.changed\n    run: x\n", i, i-1, i, i)
	}
	w := schedtest.New(t)
	w.Register(text.String(), time.Time{})
	run := w.Trigger("p")
	w.Settle()
	var first db.ClaimReadyRow
	for _, c := range w.Claims(2 * n) {
		if w.Name(c) == "t0" {
			first = c
		} else {
			w.End(c, "succeeded", `{"changed": false}`)
		}
	}
	w.Settle()
	w.End(first, "succeeded", "")
	w.Settle()
	want(t, "run", w.RunState(run), "succeeded")
	w.Check()
}

// Nor does it matter how many tasks in a row cannot begin.
func TestALongChainOfTasksThatCannotBeginEnds(t *testing.T) {
	t.Parallel()
	const n = 80
	var text strings.Builder
	text.WriteString("name: p\ntasks:\n")
	for i := range n {
		fmt.Fprintf(&text, "  t%d:\n", i)
		if i > 0 {
			fmt.Fprintf(&text, "    needs: t%d\n    if: always()\n", i-1)
		}
		text.WriteString("    for_each: [x]\n    wait: {for: \"${{ duration(item) }}\"}\n")
	}
	w := schedtest.New(t)
	w.Register(text.String(), time.Time{})
	run, next := w.Trigger("p"), w.Trigger("p")
	w.Settle()
	want(t, "run", w.RunState(run), "failed:tasks")
	want(t, "the next", w.RunState(next), "failed:tasks")
	if n := schedtest.Value[int](w, `SELECT count(*)::int FROM repair`); n > 0 {
		t.Errorf("%d repairs", n)
	}
	w.Check()
}

// A run whose decision takes longer than it may does not hold up those behind it.
func TestADecisionThatTakesTooLongHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(two, time.Time{})
	slow, quick := w.Trigger("p"), w.Trigger("p")
	w.Settle()
	for _, c := range w.Claims(10) {
		w.End(c, "succeeded", "")
	}
	var decided []int64
	_, err := w.Advancer.Due(t.Context(), "r", func(advance.Outcome) {}, func(ctx context.Context, _ *db.Queries, ids []int64) (advance.Outcome, error) {
		if slices.Contains(ids, slow) { // as Postgres says it of a statement that it has cut short
			_, err := w.Pool.PGX().Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'canceling statement' USING ERRCODE = '57014'; END $$`)
			return advance.Outcome{}, err
		}
		decided = append(decided, ids...)
		return advance.Outcome{}, nil
	})
	if err != nil || len(decided) != 1 || decided[0] != quick {
		t.Errorf("decided %v (%v), want [%d]", decided, err, quick)
	}
	if n := schedtest.Value[int](w, `SELECT count(*)::int FROM wake WHERE kind = 'r' AND subject = $1 AND not_before > now()`, slow); n != 1 {
		t.Errorf("%d wakes of the slow one are put off, want 1", n)
	}
	if n := schedtest.Value[int](w, `SELECT count(*)::int FROM repair`); n > 0 {
		t.Errorf("%d repairs: it is no defect", n)
	}
	w.Pass(time.Minute)
	w.Settle()
	want(t, "later", w.Tasks(slow)+" "+w.Tasks(quick), "a=succeeded b=ready a=succeeded b=ready")
}
