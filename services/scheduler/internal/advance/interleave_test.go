package advance_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// A scene is a run at the moment when two transactions meet over it: a decision
// of the advancer, and what somebody else does.
type scene struct {
	w      *schedtest.World
	run    int64
	claims map[string]db.ClaimReadyRow
}

func (s *scene) end(task string, r ending.Report) func() error {
	return func() error {
		_, err := schedtest.TryReport(s.w, s.claims[task], r)
		return err
	}
}

func (s *scene) claim() error {
	rows, err := schedtest.TryClaim(s.w, s.w.Executor, 10)
	for _, c := range rows {
		s.claims[fmt.Sprintf("%d", c.Number)] = c
	}
	return err
}

func (s *scene) cancel() error {
	_, err := s.w.Pool.Queries().CancelRun(s.w.T.Context(), db.CancelRunParams{RunID: s.run, By: "ana"})
	return err
}

// Whatever commits between any two statements of a decision, no end is lost, none
// is counted twice, nothing starts that was canceled, and the run ends.
func TestWhateverCommitsDuringADecisionIsTakenIntoAccountOnce(t *testing.T) {
	t.Parallel()
	const (
		diamond = "name: p\ntasks:\n  a: {run: x, retry: {limit: 1, delay: 0s}}\n  b: {run: x}\n  c: {needs: [a, b], run: x}\n"
		pooled  = "kind: pool\nname: db\nslots: 1\n---\nname: p\ntasks:\n  a: {run: x}\n  b: {run: x, pool: db}\n  c: {run: x, pool: db}\n"
		fan     = "name: p\ntasks:\n  a: {for_each: [x, y, z], run: x, retry: {limit: 1, delay: 0s}}\n  b: {needs: a, run: x}\n"
		narrow  = "name: p\nmax_parallel: 2\ntasks:\n  a: {for_each: [x, y, z], run: x}\n  b: {run: x}\nfinally:\n  f: {run: x}\n"
	)
	ok := ending.Report{State: "succeeded"}
	failed := ending.Report{State: "failed"}
	drained := ending.Report{State: "lost", Reason: "drained", Drained: true}
	recount := func(s *scene) {
		s.w.Exec(`INSERT INTO wake (kind, subject, number, state) VALUES ('r', $1, -1, 'recount')`, s.run)
	}
	pools := func(s *scene) func() error {
		return func() error { // slots are free of a sudden
			s.w.Exec(`UPDATE pool SET slots = 3`)
			defer s.w.Exec(`UPDATE pool SET slots = 1`)
			return s.w.Replica().Advancer.Step(s.w.T.Context())
		}
	}
	tests := []struct {
		name   string
		text   string
		claim  int
		before func(*scene)
		other  func(*scene) func() error
		want   string
	}{
		{
			"an end, another end", diamond, 2,
			func(s *scene) { s.w.End(s.claims["a"], "succeeded", "") },
			func(s *scene) func() error { return s.end("b", ok) }, "succeeded",
		},
		{
			"an end, a cancel", diamond, 2,
			func(s *scene) { s.w.End(s.claims["a"], "succeeded", "") },
			func(s *scene) func() error { return s.cancel }, "canceled:canceled",
		},
		{
			"an end that releases, a claim", diamond, 2,
			func(s *scene) { s.w.End(s.claims["a"], "succeeded", ""); s.w.End(s.claims["b"], "succeeded", "") },
			func(s *scene) func() error { return s.claim }, "succeeded",
		},
		{
			"a recount, an end", diamond, 2, recount,
			func(s *scene) func() error { return s.end("b", ok) }, "succeeded",
		},
		{
			"a recount, a failure", diamond, 2, recount,
			func(s *scene) func() error { return s.end("b", failed) }, "failed:tasks",
		},
		{
			"a recount, an item's end", fan, 3, recount,
			func(s *scene) func() error { return s.end("a[1]", ok) }, "succeeded",
		},
		{
			"a recount, a claim", diamond, 1, recount,
			func(s *scene) func() error { return s.claim }, "succeeded",
		},
		{
			"a cancel, a claim", diamond, 1, func(s *scene) { s.w.Cancel(s.run) },
			func(s *scene) func() error { return s.claim }, "canceled:canceled",
		},
		{
			"a cancel, an end", diamond, 2, func(s *scene) { s.w.Cancel(s.run) },
			func(s *scene) func() error { return s.end("a", ok) }, "canceled:canceled",
		},
		{
			"a cancel, a failure that would be tried again at once", diamond, 2, func(s *scene) { s.w.Cancel(s.run) },
			func(s *scene) func() error { return s.end("a", failed) }, "canceled:canceled",
		},
		{
			"a cancel, a hand-back", diamond, 2, func(s *scene) { s.w.Cancel(s.run) },
			func(s *scene) func() error { return s.end("a", drained) }, "canceled:canceled",
		},
		{
			"a cancel, a second cancel", narrow, 1, func(s *scene) { s.w.Cancel(s.run) },
			func(s *scene) func() error { return s.cancel }, "canceled:canceled",
		},
		{
			"a cancel, a pool that releases", pooled, 0, func(s *scene) {
				s.w.Cancel(s.run)
				s.w.Exec(`INSERT INTO wake (kind, subject) SELECT 'p', id FROM pool`)
			}, pools, "canceled:canceled",
		},
		{
			"an item that fails, a hand-back of another", fan, 3,
			func(s *scene) {
				s.w.End(s.claims["a[0]"], "failed", "")
				s.w.Settle()
				s.claims["a[0]"] = s.w.Claims(1)[0]
				s.w.End(s.claims["a[0]"], "failed", "")
			},
			func(s *scene) func() error { return s.end("a[2]", drained) }, "failed:tasks",
		},
		{
			"an item that fails, a claim of another", fan, 1,
			func(s *scene) {
				s.w.End(s.claims["a[0]"], "failed", "")
				s.w.Settle()
				for _, c := range s.w.Claims(3) {
					if s.w.Name(c) == "a[0]" {
						s.claims["a[0]"] = c
						continue
					}
					s.w.Report(c, drained)
				}
				s.w.Settle()
				s.w.End(s.claims["a[0]"], "failed", "")
			},
			func(s *scene) func() error { return s.claim }, "failed:tasks",
		},
		{
			"max_parallel, an end", narrow, 2,
			func(s *scene) { s.w.End(s.claims["a[0]"], "succeeded", "") },
			func(s *scene) func() error { return s.end("a[1]", ok) }, "succeeded",
		},
		{
			"max_parallel, a hand-back", narrow, 2,
			func(s *scene) { s.w.End(s.claims["a[0]"], "succeeded", "") },
			func(s *scene) func() error { return s.end("a[1]", drained) }, "succeeded",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := schedtest.New(t)
			w.Register(strings.Replace(tt.text, "name: p\n", "name: p\nconcurrency: {limit: 100}\n", 1), time.Time{})
			w.Interleave(func() (func(context.Context, *db.Queries) error, func() error, func(string)) {
				s := &scene{w: w, run: w.Trigger("p"), claims: map[string]db.ClaimReadyRow{}}
				for w.RunState(s.run) == "queued" {
					w.Turn()
				}
				for _, c := range w.Claims(tt.claim) {
					s.claims[w.Name(c)] = c
				}
				tt.before(s)
				step := func(ctx context.Context, q *db.Queries) error { return w.Advancer.Runs(ctx, q, s.run) }
				return step, tt.other(s), func(before string) {
					w.Settle()
					if n := schedtest.Value[int64](w, `SELECT count(*) FROM live l JOIN open_run o USING (run_id) WHERE o.cancel_requested_at IS NOT NULL AND l.stop_requested_at IS NULL`); n > 0 {
						t.Errorf("with the other before %s: %d attempts of a canceled run go on", before, n)
					}
					finish(w, s.run)
					if got := w.RunState(s.run); got != tt.want {
						t.Errorf("with the other before %s: run = %q, want %q\n%s", before, got, tt.want, w.Dump(s.run))
					}
				}
			})
			w.Check()
		})
	}
}

// finish lets everything that is alive or ready succeed, or end as it was asked
// to, until the run has ended.
func finish(w *schedtest.World, run int64) {
	w.T.Helper()
	for range 100 {
		w.Claims(100)
		if finishHeld(w) == 0 && w.RunState(run) != "running" {
			return
		}
		w.Settle()
	}
	w.T.Fatalf("the run does not end:\n%s", w.Dump(run))
}

// finishHeld ends all that is alive, and says how much that was.
func finishHeld(w *schedtest.World) int {
	w.T.Helper()
	rows, err := w.Pool.Queries().Held(w.T.Context(), w.Executor)
	if err != nil {
		w.T.Fatal(err)
	}
	for _, l := range rows {
		r := ending.Report{State: "succeeded"}
		if l.StopReason != nil {
			r = ending.Report{State: "canceled", Reason: "canceled", StopReason: *l.StopReason}
		}
		w.Report(db.ClaimReadyRow{
			RunID: l.RunID, Number: l.Number, Attempt: l.Attempt, LeaseToken: l.LeaseToken, RevisionID: l.RevisionID,
			Failures: l.Failures, Losses: l.Losses, Handbacks: l.Handbacks, LastLoser: l.LastLoser, Losers: l.Losers,
		}, r)
	}
	return len(rows)
}
