package backfill_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// minutes are n minutes up to a moment long ago, oldest first.
func minutes(w *schedtest.World, n int) []time.Time {
	last := schedtest.Value[time.Time](w, `SELECT date_trunc('minute', now()) - interval '1 day'`)
	out := make([]time.Time, n)
	for i := range out {
		out[i] = last.Add(time.Duration(i-n+1) * time.Minute)
	}
	return out
}

func state(w *schedtest.World, id int64) string {
	return schedtest.Value[string](w, `SELECT concat_ws(' ', state, 'waiting', waiting, 'open', open, 'ok', succeeded, 'failed', failed, 'canceled', canceled, 'skipped', skipped, 'passed', passed) FROM backfill WHERE id = $1`, id)
}

func want[V comparable](t *testing.T, what string, got, want V) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

const pipeline = "name: p\nschedule: \"* * * * *\"\nconcurrency: {limit: 100}\ntasks:\n  a: {run: x}\n"

func TestABackfillMakesItsRunsAFewAtATimeAndEnds(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(pipeline, time.Now().Add(time.Hour))
	ticks := minutes(w, 7)
	id := w.StartBackfill("p", 3, 100, ticks...)
	for turn := 0; ; turn++ {
		w.Settle()
		claims := w.Claims(100)
		if len(claims) == 0 || turn > 10 {
			break
		}
		if len(claims) > 3 {
			t.Fatalf("%d runs at once, 3 are allowed", len(claims))
		}
		if turn == 0 {
			got := schedtest.Value[time.Time](w, `SELECT max(fire_at) FROM run`)
			want(t, "the first tick", got.Equal(ticks[6]), true)
		}
		for i, c := range claims {
			w.End(c, map[bool]string{true: "failed", false: "succeeded"}[turn == 0 && i == 0], "")
		}
	}
	want(t, "the backfill", state(w, id), "done waiting 0 open 0 ok 6 failed 1 canceled 0 skipped 0 passed 0")
	want(t, "runs that stand for their tick", schedtest.Value[int64](w, `
		SELECT count(*) FROM run r JOIN backfill_tick t ON t.run_id = r.id
		WHERE r.trigger = 'backfill' AND r.backfill_id = t.backfill_id AND r.fire_at = t.fire_at AND r.scheduled_at = t.fire_at
		  AND r.interval_end = t.fire_at AND r.interval_start = t.interval_start AND t.state = r.state`), 7)
	want(t, "ledger rows", schedtest.Value[int64](w, `SELECT count(*) FROM tick`), 0)
	want(t, "wakes left", schedtest.Value[int64](w, `SELECT count(*) FROM wake WHERE kind = 'b' AND not_before <= now()`), 0)
}

// What ended or began since the backfill was asked for is not done once more.
func TestABackfillPassesOverWhatHasBeenDoneMeanwhile(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(pipeline, time.Now().Add(time.Hour))
	ticks := minutes(w, 2)
	first := w.StartBackfill("p", 1, 100, ticks...)
	w.Settle()
	for _, c := range w.Claims(1) {
		w.End(c, "succeeded", "")
	}
	w.Exec(`UPDATE backfill SET state = 'canceled', ended_at = now() WHERE id = $1`, first)
	w.Settle()
	second := w.StartBackfill("p", 5, 100, ticks...)
	w.Settle()
	want(t, "the second backfill", state(w, second), "running waiting 0 open 1 ok 0 failed 0 canceled 0 skipped 0 passed 1")
	want(t, "why", schedtest.Value[string](w, `SELECT detail FROM backfill_tick WHERE state = 'passed'`), "run #1 has succeeded meanwhile")
}

// More ticks than one turn takes: the next turn follows at once while the group
// takes runs, and waits when it is full.
func TestABackfillWhoseGroupIsFullRests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ limit, after, runs int }{{1, 1, 1}, {100, 2, 100}, {150, 2, 150}} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			t.Parallel()
			w := schedtest.New(t)
			w.Register(strings.Replace(pipeline, "100", fmt.Sprint(c.limit), 1), time.Now().Add(time.Hour))
			w.StartBackfill("p", 200, 100, minutes(w, 300)...)
			turns := 0
			for more := true; more && turns < 10; turns++ {
				err := w.Backfill.Step(t.Context())
				if more = errors.Is(err, loop.ErrMore); err != nil && !more {
					t.Fatal(err)
				}
			}
			want(t, "turns", turns, c.after)
			want(t, "runs", schedtest.Value[int64](w, `SELECT count(*) FROM open_run WHERE state = 'running'`), int64(c.runs))
			want(t, "wakes due", schedtest.Value[int64](w, `SELECT count(*) FROM wake WHERE kind = 'b' AND not_before <= now()`), 0)
		})
	}
}

// No run waits behind a backlog: a backfill's next run is made only when nobody
// waits, also where ticks would be skipped.
func TestOthersGoFirstInAGroup(t *testing.T) {
	t.Parallel()
	for _, conflict := range []string{"queue", "skip", "fail", "cancel_running"} {
		t.Run(conflict, func(t *testing.T) {
			t.Parallel()
			w := schedtest.New(t)
			now := schedtest.Value[time.Time](w, `SELECT date_trunc('minute', now())`).UTC()
			// Once a day, now: no second tick comes due when the minute turns.
			w.Register("name: p\nschedule: \""+fmt.Sprintf("%d %d", now.Minute(), now.Hour())+" * * *\"\nconcurrency: {limit: 1, on_conflict: "+conflict+"}\ntasks:\n  a: {run: x}\n", now.Add(time.Hour))
			id := w.StartBackfill("p", 5, 100, minutes(w, 3)...)
			w.Settle()
			want(t, "with an empty group", state(w, id), "running waiting 2 open 1 ok 0 failed 0 canceled 0 skipped 0 passed 0")
			w.Exec(`UPDATE schedule SET next_at = $1`, now)
			if err := w.Planner.Step(t.Context()); !schedtest.IsMore(err) {
				t.Fatal(err)
			}
			w.Settle()
			want(t, "the tick", schedtest.Value[string](w, `SELECT state FROM tick`), "run")
			for _, c := range w.Claims(10) {
				w.End(c, "succeeded", "")
			}
			w.Settle()
			claims := w.Claims(10)
			if len(claims) != 1 || schedtest.Value[string](w, `SELECT trigger FROM run WHERE id = $1`, claims[0].RunID) != "schedule" {
				t.Fatalf("after the backfill's run %d tasks were claimed, want the scheduled one alone", len(claims))
			}
			w.End(claims[0], "succeeded", "")
			w.Settle()
			// That the group has room is found out by looking again.
			w.Exec(`UPDATE wake SET not_before = '-infinity' WHERE kind = 'b'`)
			w.Settle()
			want(t, "with an empty group again", state(w, id), "running waiting 1 open 1 ok 1 failed 0 canceled 0 skipped 0 passed 0")
		})
	}
}

func TestABackfillComesToItsEndInAGroupThatIsAlwaysFull(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\nschedule: \"* * * * *\"\nconcurrency: {limit: 1, on_conflict: skip}\ntasks:\n  a: {run: x}\n", time.Now().Add(time.Hour))
	w.Trigger("p")
	w.Settle()
	id := w.StartBackfill("p", 5, 100, minutes(w, 2)...)
	again := func() {
		w.Exec(`UPDATE wake SET not_before = '-infinity' WHERE kind = 'b'`)
		w.Settle()
	}
	again()
	want(t, "while it is patient", state(w, id), "running waiting 2 open 0 ok 0 failed 0 canceled 0 skipped 0 passed 0")
	w.Exec(`UPDATE backfill SET created_at = now() - interval '16 minutes', changed_at = now() - interval '16 minutes'`)
	again()
	again()
	want(t, "after a quarter of an hour", state(w, id), "running waiting 1 open 1 ok 0 failed 0 canceled 0 skipped 0 passed 0")
	for range 2 {
		for _, c := range w.Claims(10) {
			w.End(c, "succeeded", "")
		}
		w.Settle()
	}
	want(t, "when its run has ended", schedtest.Value[int64](w, `SELECT count(*) FROM run WHERE trigger = 'backfill' AND state = 'succeeded'`), 1)
}

func TestABackfillWithoutAScheduleIsCanceled(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(pipeline, time.Now().Add(time.Hour))
	id := w.StartBackfill("p", 1, 100, minutes(w, 3)...)
	w.Settle()
	w.Exec(`UPDATE schedule SET ended_at = now()`)
	for _, c := range w.Claims(1) {
		w.End(c, "succeeded", "")
	}
	w.Settle()
	want(t, "the backfill", state(w, id), "canceled waiting 2 open 0 ok 1 failed 0 canceled 0 skipped 0 passed 0")
	want(t, "why", schedtest.Value[string](w, `SELECT reason FROM backfill`), "its schedule left the file")
}

func TestATickWhoseRunCannotBeMadeFailsAlone(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\nschedule: \"* * * * *\"\nconcurrency: {limit: 9}\nparams: {n: {type: integer, default: \"${{ integer(run.trigger) }}\"}}\ntasks:\n  a: {run: x}\n", time.Now().Add(time.Hour))
	id := w.StartBackfill("p", 2, 100, minutes(w, 3)...)
	w.Settle()
	want(t, "the backfill", state(w, id), "done waiting 0 open 0 ok 0 failed 3 canceled 0 skipped 0 passed 0")
	if got := schedtest.Value[string](w, `SELECT detail FROM backfill_tick LIMIT 1`); got == "" {
		t.Error("the tick does not say why")
	}
}

// Schedulers side by side make one run for each tick, and never too many at once.
func TestBackfillersWorkSideBySide(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register(pipeline, time.Now().Add(time.Hour))
	id := w.StartBackfill("p", 4, 100, minutes(w, 60)...)
	worlds := []*schedtest.World{w, w.Apart(), w.Apart()}
	for range 200 {
		var all sync.WaitGroup
		for _, r := range worlds {
			all.Go(func() {
				if err := r.Backfill.Step(t.Context()); err != nil && !errors.Is(err, loop.ErrMore) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := schedtest.Value[int64](w, `SELECT count(*) FROM open_run`); n > 4 {
			t.Fatalf("%d runs are open, 4 are allowed", n)
		}
		w.Settle()
		for _, c := range w.Claims(3) {
			w.End(c, "succeeded", "")
		}
		if schedtest.Value[string](w, `SELECT state FROM backfill`) == "done" {
			break
		}
	}
	want(t, "the backfill", state(w, id), "done waiting 0 open 0 ok 60 failed 0 canceled 0 skipped 0 passed 0")
	want(t, "runs", schedtest.Value[int64](w, `SELECT count(DISTINCT fire_at) FROM run`), 60)
	want(t, "runs in all", schedtest.Value[int64](w, `SELECT count(*) FROM run`), 60)
}

// A thousand ticks share a pool with scheduled runs. A slot turns over once a
// turn: whoever of the schedule waits at the end of one has its slot in the next.
func TestAThousandTicksDelayNoScheduledRunByMoreThanATurn(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("some minutes of turns")
	}
	w := schedtest.New(t)
	now := schedtest.Value[time.Time](w, `SELECT date_trunc('minute', now())`)
	w.Register("kind: pool\nname: db\nslots: 6\n---\n"+
		"name: p\nschedule: \"* * * * *\"\nconcurrency: {limit: 50}\ntasks:\n  a: {run: x, pool: db}\n  b: {run: x, pool: db, needs: a}\n---\n"+
		"name: nightly\nschedule: \"* * * * *\"\nconcurrency: {limit: 9}\ntasks:\n  a: {run: x, pool: db}\n", now.Add(240*time.Hour))
	w.Exec(`UPDATE pool SET reserve_scheduled = 1`)
	const ticks = 1000
	id := w.StartBackfill("p", 50, 100, minutes(w, ticks)...)
	asked := map[int64]int{} // scheduled run → the turn it was asked for in
	slow, most := 0, 0
	turn := 0
	var held []db.ClaimReadyRow
	for ; turn < 5*ticks; turn++ {
		// Now and then more scheduled runs come than there are free slots.
		if turn%10 < 2 {
			for range 1 + turn%3 {
				asked[w.Trigger("nightly")] = turn
			}
		}
		w.Settle()
		// One slot ends after the other, each a turn after it was taken.
		for _, c := range held {
			w.End(c, "succeeded", "")
		}
		w.Settle()
		held = w.Claims(100)
		most = max(most, len(held))
		if len(held) > 6 {
			t.Fatalf("%d slots are held of 6", len(held))
		}
		for _, c := range held {
			if at, ok := asked[c.RunID]; ok {
				slow = max(slow, turn-at)
				delete(asked, c.RunID)
			}
		}
		for run, at := range asked {
			if turn-at > 1 {
				t.Fatalf("turn %d: scheduled run %d waits for a slot since turn %d", turn, run, at)
			}
		}
		if len(held) == 0 && schedtest.Value[string](w, `SELECT state FROM backfill WHERE id = $1`, id) == "done" {
			break
		}
	}
	want(t, "the backfill", state(w, id), fmt.Sprintf("done waiting 0 open 0 ok %d failed 0 canceled 0 skipped 0 passed 0", ticks))
	want(t, "slots used at the height", most, 6)
	t.Logf("%d turns; the slowest scheduled run waited %d", turn, slow)
}
