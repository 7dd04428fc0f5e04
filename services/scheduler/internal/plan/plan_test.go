package plan_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

func minutely(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, "name: p%d\nschedule: \"* * * * *\"\nconcurrency: {limit: 1000, max_queued: 10000}\ntasks:\n  a: {run: x}\n", i)
	}
	return b.String()
}

// minute is the present one; for the planner of w it does not end.
func minute(w *schedtest.World) time.Time {
	w.T.Helper()
	now := schedtest.Value[time.Time](w, `SELECT date_trunc('minute', now())`)
	w.Planner.At(now)
	return now
}

func drain(t *testing.T, w *schedtest.World) {
	t.Helper()
	for range 200 {
		err := w.Planner.Step(t.Context())
		if err == nil {
			return
		}
		if !schedtest.IsMore(err) {
			t.Fatal(err)
		}
	}
	t.Fatal("the ticks do not come to an end")
}

func TestADueTickBecomesARun(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	now := minute(w)
	w.Register(minutely(1), now)
	drain(t, w)
	if got, want := schedtest.Value[string](w, `SELECT state FROM tick WHERE fire_at = $1`, now), "run"; got != want {
		t.Errorf("tick = %q, want %q", got, want)
	}
	run := schedtest.Value[int64](w, `SELECT run_id FROM tick`)
	if got, want := w.RunState(run), "running"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM ready`); n != 1 {
		t.Errorf("%d ready tasks, want 1", n)
	}
	if next := schedtest.Value[time.Time](w, `SELECT next_at FROM schedule`); !next.Equal(now.Add(time.Minute)) {
		t.Errorf("next_at = %v, want %v", next, now.Add(time.Minute))
	}
	interval := schedtest.Value[time.Duration](w, `SELECT interval_end - interval_start FROM run`)
	if interval != time.Minute {
		t.Errorf("interval = %v, want 1m", interval)
	}
}

func TestManyPlannersDecideEachTickOnce(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	now := minute(w)
	w.Register(minutely(100), now)
	w.Register(strings.ReplaceAll(minutely(100), "name: p", "name: q"), now)
	var wg sync.WaitGroup
	for range 4 {
		r := w.Replica()
		r.Planner.At(now)
		wg.Go(func() {
			for range 20 {
				if err := r.Planner.Step(t.Context()); !schedtest.IsMore(err) {
					t.Errorf("step: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM tick WHERE fire_at = $1 AND state = 'run'`, now); n != 200 {
		t.Errorf("%d ticks became runs, want 200", n)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run WHERE fire_at = $1`, now); n != 200 {
		t.Errorf("%d runs, want 200", n)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run r LEFT JOIN tick t ON t.run_id = r.id WHERE t.run_id IS NULL`); n != 0 {
		t.Errorf("%d runs have no tick", n)
	}
}

func TestCatchUpIsOneRunAndOneRow(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	now := minute(w)
	w.Register(minutely(1), now.AddDate(-2, 0, 0))
	drain(t, w)
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run`); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM tick WHERE state = 'missed' AND until IS NOT NULL`); n != 1 {
		t.Errorf("%d rows of missed ticks, want 1", n)
	}
	if n := schedtest.Value[int64](w, `SELECT sum(ticks)::bigint FROM tick`); n < 2*365*24*60 {
		t.Errorf("%d ticks are accounted for, want at least two years of minutes", n)
	}
}

func TestOverlapIsSkippedOrQueued(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ conflict, tick, reason, run string }{
		{"queue", "run", "", "queued"},
		{"skip", "skipped", "overlap", ""},
		{"fail", "run", "", "failed:overlap"},
		{"cancel_running", "run", "", "queued"},
	} {
		t.Run(tt.conflict, func(t *testing.T) {
			t.Parallel()
			w := schedtest.New(t)
			now := minute(w)
			w.Register(fmt.Sprintf("name: p\nschedule: \"* * * * *\"\nconcurrency: {on_conflict: %s}\ntasks:\n  a: {run: x}\n", tt.conflict), now)
			first := w.Trigger("p")
			w.Settle()
			w.Claims(1)
			drain(t, w)
			w.Settle()
			got := schedtest.Value[string](w, `SELECT state || ':' || reason FROM tick WHERE fire_at = $1`, now)
			if want := tt.tick + ":" + tt.reason; got != want {
				t.Errorf("tick = %q, want %q", got, want)
			}
			if tt.run != "" {
				run := schedtest.Value[int64](w, `SELECT run_id FROM tick WHERE fire_at = $1`, now)
				if got := w.RunState(run); got != tt.run {
					t.Errorf("run = %q, want %q", got, tt.run)
				}
			}
			asked := schedtest.Value[bool](w, `SELECT cancel_requested_at IS NOT NULL FROM run WHERE id = $1`, first)
			if want := tt.conflict == "cancel_running"; asked != want {
				t.Errorf("the first run was asked to stop: %v, want %v", asked, want)
			}
		})
	}
}

func TestAPausedPipelineSkipsItsTicks(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	now := minute(w)
	w.Register(minutely(1), now.Add(-5*time.Minute))
	w.Exec(`UPDATE pipeline SET paused_at = now(), paused_by = 'ana'`)
	drain(t, w)
	if n := schedtest.Value[int64](w, `SELECT sum(ticks)::bigint FROM tick WHERE state = 'skipped' AND reason = 'paused'`); n != 6 {
		t.Errorf("%d ticks were skipped, want 6", n)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run`); n != 0 {
		t.Errorf("%d runs of a paused pipeline, want 0", n)
	}
}

func TestParamsThatDoNotFitFailTheTickAndNothingElse(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	now := minute(w)
	w.Register(minutely(1)+`---
name: bad
schedule: "* * * * *"
params: {n: {type: integer, default: "${{ integer(run.trigger) }}"}}
tasks:
  a: {run: x}
`, now)
	drain(t, w)
	got := schedtest.Value[string](w, `SELECT t.state || ':' || t.reason FROM tick t JOIN schedule s ON s.id = t.schedule_id JOIN pipeline p ON p.id = s.pipeline_id WHERE p.name = 'bad'`)
	if !strings.HasPrefix(got, "failed:") {
		t.Errorf("tick = %q, want a failed one", got)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run`); n != 1 {
		t.Errorf("%d runs, want the one of the other pipeline", n)
	}
}

func TestABrokenDefinitionStopsOnlyItself(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	now := minute(w)
	w.Register(minutely(3), now)
	w.Exec(`ALTER TABLE revision DISABLE TRIGGER ALL`)
	w.Exec(`UPDATE revision SET spec = '{"tasks": 7}' WHERE pipeline_id = (SELECT id FROM pipeline WHERE name = 'p1')`)
	drain(t, w)
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run`); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM schedule WHERE broken IS NOT NULL AND next_at IS NULL`); n != 1 {
		t.Errorf("%d schedules are broken, want 1", n)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM tick WHERE state = 'failed' AND reason = 'broken'`); n != 1 {
		t.Errorf("%d ticks say so, want 1", n)
	}
}

// A pause with an end, while no scheduler was there: what came due in it is
// skipped, and what came later is decided like any other tick.
func TestAPauseThatIsOverSkipsWhatCameDueInIt(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	now := minute(w)
	w.Register(minutely(1), now.Add(-10*time.Minute))
	w.Exec(`UPDATE pipeline SET paused_at = now() - interval '1 hour', paused_by = 'ana', paused_until = $1`, now.Add(-3*time.Minute))
	resume := func() int {
		rows, err := w.Pool.Queries().ResumePipelines(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(rows)
	}
	if resume() != 0 {
		t.Error("the pause ended before its ticks were decided")
	}
	drain(t, w)
	drain(t, w)
	if n := schedtest.Value[int64](w, `SELECT sum(ticks)::bigint FROM tick WHERE state = 'skipped' AND reason = 'paused'`); n != 8 {
		t.Errorf("%d ticks were skipped, want the 8 up to the end of the pause", n)
	}
	if got := schedtest.Value[string](w, `SELECT string_agg(state || ' ' || ticks, ', ' ORDER BY fire_at) FROM tick WHERE fire_at > $1`, now.Add(-3*time.Minute)); got != "missed 2, run 1" {
		t.Errorf("after the pause: %q, want one run and the others missed", got)
	}
	for _, inv := range []string{"inv_02_tick_decided_twice", "inv_09_run_while_paused"} {
		if n := schedtest.Value[int64](w, `SELECT count(*) FROM inv.`+inv); n > 0 {
			t.Errorf("%s: %d", inv, n)
		}
	}
	if resume() != 1 {
		t.Error("the pause does not end by itself")
	}
	drain(t, w)
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run`); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
}
