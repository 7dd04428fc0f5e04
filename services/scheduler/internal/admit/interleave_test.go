package admit_test

import (
	"context"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// Whatever commits between any two statements of an admission: the group is
// never above its limit, nobody is forgotten in its queue, and a run that is
// being ended by one and changed by another ends whole.
func TestWhateverCommitsDuringAnAdmissionIsTakenIntoAccount(t *testing.T) {
	t.Parallel()
	cancel := func(w *schedtest.World, run func() int64) func() error {
		return func() error {
			_, err := w.Pool.Queries().CancelRun(w.T.Context(), db.CancelRunParams{RunID: run(), By: "ana"})
			return err
		}
	}
	tests := []struct {
		name, conflict string
		busy           bool // a run of the group is alive
		other          func(w *schedtest.World, busy, queued int64) func() error
	}{
		{"queue, a new request", "queue", false, func(w *schedtest.World, _, _ int64) func() error {
			return func() error { w.Trigger("p"); return nil }
		}},
		{"queue, another scheduler", "queue", false, func(w *schedtest.World, _, _ int64) func() error {
			return func() error { w.Trigger("p"); return w.Replica().Admitter.Step(w.T.Context()) }
		}},
		{"queue, the end of the run before", "queue", true, func(w *schedtest.World, busy, _ int64) func() error {
			return func() error { return endAll(w, busy) }
		}},
		{"queue, a cancel of the queued run", "queue", false, func(w *schedtest.World, _, queued int64) func() error {
			return cancel(w, func() int64 { return queued })
		}},
		{"skip, a cancel of the queued run", "skip", true, func(w *schedtest.World, _, queued int64) func() error {
			return cancel(w, func() int64 { return queued })
		}},
		{"fail, a cancel of the queued run and its end", "fail", true, func(w *schedtest.World, _, queued int64) func() error {
			return func() error {
				if err := cancel(w, func() int64 { return queued })(); err != nil && err.Error() != db.ErrNoRows.Error() {
					return err
				}
				return w.Replica().Advancer.Step(w.T.Context())
			}
		}},
		{"cancel_running, the end of the run before", "cancel_running", true, func(w *schedtest.World, busy, _ int64) func() error {
			return func() error { return endAll(w, busy) }
		}},
		{"cancel_running, a cancel of the run before", "cancel_running", true, func(w *schedtest.World, busy, _ int64) func() error {
			return cancel(w, func() int64 { return busy })
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := schedtest.New(t)
			w.Register(one(tt.conflict, 1), time.Time{})
			group := schedtest.Value[int64](w, `SELECT id FROM run_group`)
			w.Interleave(func() (func(context.Context, *db.Queries) error, func() error, func(string)) {
				var busy int64
				if tt.busy {
					busy = w.Trigger("p")
					w.Settle()
					w.Claims(1)
				}
				queued := w.Trigger("p")
				step := func(ctx context.Context, q *db.Queries) error {
					if err := w.Admitter.Decide(ctx, q, group); err != nil {
						return err
					}
					if n := schedtest.Value[int64](w, `SELECT count(*) FROM open_run WHERE state = 'running'`); n > 1 {
						t.Errorf("%d runs of the group run, want 1 at most", n)
					}
					return nil
				}
				other := tt.other(w, busy, queued)
				return step, func() error {
						if err := other(); err != nil && err.Error() != db.ErrNoRows.Error() {
							return err // a run that has ended is not canceled
						}
						return nil
					}, func(before string) {
						for range 20 {
							w.Settle()
							if n := schedtest.Value[int64](w, `SELECT count(*) FROM open_run WHERE state = 'running'`); n > 1 {
								t.Errorf("with the other before %s: %d runs of the group run", before, n)
							}
							w.Claims(10)
							if err := endAll(w, 0); err != nil {
								t.Fatal(err)
							}
							if schedtest.Value[int64](w, `SELECT count(*) FROM open_run`) == 0 {
								return
							}
						}
						t.Errorf("with the other before %s: runs stay open:\n%s", before, w.Dump(queued))
					}
			})
			w.Check()
		})
	}
}

// endAll ends what is alive of a run, or of all, as it was asked to.
func endAll(w *schedtest.World, run int64) error {
	rows, err := w.Pool.Queries().Held(w.T.Context(), w.Executor)
	if err != nil {
		return err
	}
	for _, l := range rows {
		if run != 0 && run != l.RunID {
			continue
		}
		r := ending.Report{State: "succeeded"}
		if l.StopReason != nil {
			r = ending.Report{State: "canceled", Reason: "canceled", StopReason: *l.StopReason}
		}
		if _, err := schedtest.TryReport(w, db.ClaimReadyRow{
			RunID: l.RunID, Number: l.Number, Attempt: l.Attempt, LeaseToken: l.LeaseToken, RevisionID: l.RevisionID,
		}, r); err != nil {
			return err
		}
	}
	return nil
}

// A great number of runs may start at once: they do it in steps that a statement
// can write in its time, in their order.
func TestManyLargeRunsStartInSteps(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	text := "name: p\nconcurrency: {limit: 1000}\ntasks:\n"
	for i := range 500 {
		text += "  t" + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) + string(rune('a'+i/676)) + ": {run: x}\n"
	}
	w.Register(text, time.Time{})
	var runs []int64
	for range 50 {
		runs = append(runs, w.Trigger("p"))
	}
	if err := w.Admitter.Step(t.Context()); !schedtest.IsMore(err) {
		t.Fatal(err)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM open_run WHERE state = 'running'`); n != 40 {
		t.Errorf("%d runs started in one step, want 40 of 500 tasks each", n)
	}
	if first := schedtest.Value[int64](w, `SELECT max(run_id) FROM open_run WHERE state = 'running'`); first != runs[39] {
		t.Errorf("run %d started before others, want them in order", first)
	}
	if err := w.Admitter.Step(t.Context()); !schedtest.IsMore(err) {
		t.Fatal(err)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM ready`); n != 50*500 {
		t.Errorf("%d tasks are ready, want 25 000", n)
	}
}

// A queued run is being canceled at the moment when its group's rules end it: the
// row that is locked in the end is not the one that was found, and must go all
// the same.
func TestARunThatIsBeingCanceledIsEndedByItsGroup(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(one("fail", 1), time.Time{})
	w.Trigger("p")
	w.Settle()
	queued := w.Trigger("p")
	cancel := w.Begin()
	if _, err := cancel.Queries().CancelRun(t.Context(), db.CancelRunParams{RunID: queued, By: "ana"}); err != nil {
		t.Fatal(err)
	}
	wait := w.Blocked(func() error { return w.Admitter.Step(t.Context()) })
	cancel.Commit()
	wait()
	if got, want := w.RunState(queued), "failed:overlap"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM open_run WHERE run_id = $1`, queued); n != 0 {
		t.Error("the run has ended and is open")
	}
}
