package plan_test

import (
	"context"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// Whatever commits between any two statements of a tick's decision: the tick is
// decided once, under one revision, not after a pause, and within its group's
// limit.
func TestWhateverCommitsWhileATickIsDecidedIsTakenIntoAccount(t *testing.T) {
	t.Parallel()
	pause := func(w *schedtest.World) error { // as the api does: schedules first
		return db.InTx(w.T.Context(), w.Pool, func(q *db.Queries) error {
			id := schedtest.Value[int64](w, `SELECT id FROM pipeline`)
			if _, err := q.LockSchedulesOf(w.T.Context(), []int64{id}); err != nil {
				return err
			}
			return q.PausePipeline(w.T.Context(), db.PausePipelineParams{ID: id, By: "ana"})
		})
	}
	tests := []struct {
		name  string
		other func(*schedtest.World) error
	}{
		{"a pause", pause},
		{"another planner", func(w *schedtest.World) error { return w.Replica().Planner.Step(w.T.Context()) }},
		{"a request by hand and its admission", func(w *schedtest.World) error {
			w.Trigger("p0")
			return w.Replica().Admitter.Step(w.T.Context())
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := schedtest.New(t)
			at := schedtest.Value[time.Time](w, `SELECT date_trunc('minute', now()) - interval '1 hour'`)
			w.Register("name: p0\nschedule: \"* * * * *\"\nconcurrency: {limit: 1}\ntasks:\n  a: {run: x}\n", at)
			w.Interleave(func() (func(context.Context, *db.Queries) error, func() error, func(string)) {
				w.Exec(`UPDATE pipeline SET paused_at = NULL, paused_by = NULL`)
				w.Exec(`DELETE FROM tick`)
				w.Exec(`DELETE FROM run WHERE trigger = 'schedule' AND ended_at IS NOT NULL`)
				w.Exec(`UPDATE schedule SET next_at = $1`, at)
				step := func(ctx context.Context, q *db.Queries) error { return w.Planner.Decide(ctx, q) }
				return step, func() error { return tt.other(w) }, func(before string) {
					if n := schedtest.Value[int64](w, `SELECT count(*) FROM inv.inv_09_run_while_paused`); n > 0 {
						t.Errorf("with the other before %s: a run after its pause", before)
					}
					// The pause was there before the tick was taken up.
					if n := schedtest.Value[int64](w, `SELECT count(*) FROM tick WHERE state = 'run'`); n > 0 && tt.name == "a pause" && before == "LockDueSchedules" {
						t.Error("a paused pipeline's tick became a run")
					}
					for _, inv := range []string{"inv_01_tick_fired_twice", "inv_02_tick_decided_twice", "inv_05_tick_run_mismatch"} {
						if n := schedtest.Value[int64](w, `SELECT count(*) FROM inv.`+inv); n > 0 {
							t.Errorf("with the other before %s: %s: %d", before, inv, n)
						}
					}
					for range 20 {
						w.Settle()
						if n := schedtest.Value[int64](w, `SELECT count(*) FROM open_run WHERE state = 'running'`); n > 1 {
							t.Errorf("with the other before %s: %d runs of a group of one run", before, n)
						}
						for _, c := range w.Claims(10) {
							w.End(c, "succeeded", "")
						}
						if schedtest.Value[int64](w, `SELECT count(*) FROM open_run`) == 0 {
							return
						}
					}
					t.Errorf("with the other before %s: runs stay open", before)
				}
			})
		})
	}
}
