package admit_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

func one(conflict string, limit int) string {
	return fmt.Sprintf("name: p\nconcurrency: {limit: %d, on_conflict: %s}\ntasks:\n  a: {run: x}\n", limit, conflict)
}

func TestAGroupIsNeverAboveItsLimitAndKeepsItsOrder(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(one("queue", 2), time.Time{})
	runs := make([]int64, 8)
	for i := range runs {
		runs[i] = w.Trigger("p")
	}
	replicas := []*schedtest.World{w, w.Replica(), w.Replica()}
	var started []int64
	for len(started) < len(runs) {
		var wg sync.WaitGroup
		for _, r := range replicas {
			wg.Go(func() {
				for range 3 {
					if err := r.Admitter.Step(t.Context()); !schedtest.IsMore(err) {
						t.Errorf("admit: %v", err)
					}
					if err := r.Advancer.Step(t.Context()); !schedtest.IsMore(err) {
						t.Errorf("advance: %v", err)
					}
				}
			})
		}
		wg.Wait()
		w.Settle()
		if n := schedtest.Value[int64](w, `SELECT count(*) FROM open_run WHERE state = 'running'`); n > 2 || n == 0 {
			t.Fatalf("%d runs of the group run, want 1 or 2", n)
		}
		for _, c := range w.Claims(10) {
			started = append(started, c.RunID)
			w.End(c, "succeeded", "")
		}
	}
	for i := range runs {
		if started[i] != runs[i] && started[i] != runs[i^1] {
			t.Fatalf("runs started in the order %v, want %v", started, runs)
		}
	}
}

func TestCancelRunningStartsWhenTheOldOneHasReallyEnded(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(one("cancel_running", 1), time.Time{})
	old := w.Trigger("p")
	w.Settle()
	claim := w.Claims(1)[0]
	middle := w.Trigger("p")
	w.Settle()
	newest := w.Trigger("p")
	w.Settle()
	if got, want := w.RunState(middle), "canceled:overlap"; got != want {
		t.Errorf("the queued run in the middle = %q, want %q", got, want)
	}
	if got, want := w.RunState(newest), "queued"; got != want {
		t.Errorf("the newest run = %q, want %q: the old one is still alive", got, want)
	}
	w.Report(claim, ending.Report{State: "canceled", Reason: "canceled", StopReason: "canceled"})
	w.Settle()
	if got, want := w.RunState(old), "canceled:canceled"; got != want {
		t.Errorf("the old run = %q, want %q", got, want)
	}
	if got, want := w.RunState(newest), "running"; got != want {
		t.Errorf("the newest run = %q, want %q", got, want)
	}
}

func TestARunCanceledInTheQueueEndsAndLetsTheNextOneIn(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(one("queue", 1), time.Time{})
	first, second, third := w.Trigger("p"), w.Trigger("p"), w.Trigger("p")
	w.Settle()
	w.Cancel(second)
	w.Settle()
	if got, want := w.RunState(second), "canceled:canceled"; got != want {
		t.Errorf("second run = %q, want %q", got, want)
	}
	w.RunAll(first, func(string, int) (string, string) { return "succeeded", "" })
	w.Settle()
	if got, want := w.RunState(third), "running"; got != want {
		t.Errorf("third run = %q, want %q", got, want)
	}
}

// A run that is queued while its group is being decided must not be forgotten:
// its wake is a new row, which the decision does not delete.
func TestARunQueuedDuringADecisionIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(one("queue", 5), time.Time{})
	first := w.Trigger("p")
	group := schedtest.Value[int64](w, `SELECT id FROM run_group`)
	var second int64
	err := db.InTx(t.Context(), w.Pool, func(q *db.Queries) error {
		if _, err := q.LockDueGroups(t.Context(), []int64{group}); err != nil {
			return err
		}
		if _, err := q.TakeWakes(t.Context(), db.TakeWakesParams{Kind: "g", Subjects: []int64{group}}); err != nil {
			return err
		}
		asked := make(chan int64)
		go func() { asked <- w.Trigger("p") }() // commits while we hold the group
		second = <-asked
		_, err := w.Admitter.Groups(t.Context(), q, []int64{group})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Settle()
	for _, run := range []int64{first, second} {
		if got, want := w.RunState(run), "running"; got != want {
			t.Errorf("run = %q, want %q", got, want)
		}
	}
}

// A queued run of a frozen pipeline starts when it is thawed, and the sweep does
// not take it for one that was forgotten.
func TestFrozenPipelinesRunsWaitForTheThaw(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x}\n", time.Time{})
	w.Exec(`UPDATE pipeline SET frozen_at = now(), frozen_by = 'ana'`)
	run := w.Trigger("p")
	w.Settle()
	if got, want := w.RunState(run), "queued"; got != want {
		t.Errorf("run of a frozen pipeline = %q, want %q", got, want)
	}
	w.Exec(`UPDATE open_run SET created_at = now() - interval '1 day'`)
	stuck, err := w.Pool.Queries().StuckGroups(t.Context(), db.StuckGroupsParams{OlderMs: 1000, Batch: 10})
	if err != nil || len(stuck) > 0 {
		t.Errorf("StuckGroups = %v, %v: a frozen run is not stuck", stuck, err)
	}
	w.Exec(`UPDATE pipeline SET frozen_at = NULL, frozen_by = NULL`)
	w.Exec(`INSERT INTO wake (kind, subject) SELECT 'g', group_id FROM open_run`)
	w.Settle()
	if got, want := w.RunState(run), "running"; got != want {
		t.Errorf("run after the thaw = %q, want %q", got, want)
	}
}
