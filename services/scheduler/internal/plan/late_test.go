package plan_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// After an outage 5 000 late ticks start at their pace, however many schedulers
// there are, each pipeline's in their order, and all of them. What is on time or
// asked for by hand does not wait.
func TestLateTicksStartAFewAtATime(t *testing.T) {
	t.Parallel()
	const pipelines, ticks, pace = 50, 100, 1200
	var b strings.Builder
	for i := range pipelines {
		fmt.Fprintf(&b, "name: p%d\nschedule: {every: 1h, catchup: all, catchup_window: 366d}\nconcurrency: {limit: 1000}\ntasks:\n  a: {run: x}\n---\n", i)
	}
	w := schedtest.New(t).Paced(pace)
	hour := schedtest.Value[time.Time](w, `SELECT date_trunc('hour', now(), 'UTC')`)
	w.Register(strings.TrimSuffix(b.String(), "---\n"), hour.Add(-ticks*time.Hour))
	now := hour.Add(-30 * time.Minute) // all of the hours before are late, and the half hour is on time
	w.Register("name: punctual\nschedule: \"30 * * * *\"\ntasks:\n  a: {run: x}\n", now)
	w.Planner.At(now)
	drain(t, w)
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM tick WHERE state = 'run'`); n != pipelines*ticks+1 {
		t.Fatalf("%d ticks have become runs, want %d", n, pipelines*ticks+1)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run WHERE pipeline = 'punctual' AND state = 'running'`); n != 1 {
		t.Error("the tick on time does not run at once")
	}

	schedulers := []*schedtest.World{w, w.Apart()}
	look := func() {
		var wg sync.WaitGroup
		for _, s := range schedulers {
			wg.Go(func() {
				for _, step := range []func(context.Context) error{s.Admitter.Step, s.Advancer.Step} {
					for err := step(t.Context()); err != nil; err = step(t.Context()) {
						if !schedtest.IsMore(err) {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
	}
	var starts []time.Duration // as if time went by as Pass says
	seen := map[int64]bool{}
	byHand := false
	for passed := time.Duration(0); len(starts) < pipelines*ticks; passed += 3 * time.Second {
		if look(); t.Failed() {
			return
		}
		rows := schedtest.Value[[]int64](w, `SELECT array_agg(id) FROM run WHERE state = 'running' AND pipeline <> 'punctual' AND trigger = 'schedule'`)
		for _, id := range rows {
			if !seen[id] {
				seen[id] = true
				starts = append(starts, schedtest.Value[time.Time](w, `SELECT started_at FROM run WHERE id = $1`, id).Sub(hour)+passed)
			}
		}
		if !byHand && len(starts) > 100 {
			byHand = true
			run := w.Trigger("p7")
			if look(); w.RunState(run) != "running" {
				t.Errorf("a run by hand is %s, want it to start at once", w.RunState(run))
			}
		}
		if passed > time.Hour {
			t.Fatalf("%d of %d late ticks have started after %v", len(starts), pipelines*ticks, passed)
		}
		w.Pass(3 * time.Second)
	}
	slices.Sort(starts)
	for i := range len(starts) - pace {
		if d := starts[i+pace] - starts[i]; d < time.Minute {
			t.Fatalf("%d late ticks have started within %v, want %d in a minute at most", pace+1, d, pace)
		}
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run r JOIN run n ON n.pipeline_id = r.pipeline_id AND n.fire_at = r.fire_at + interval '1 hour' WHERE n.started_at < r.started_at`); n > 0 {
		t.Errorf("%d late ticks have started before the one before them", n)
	}
	for _, inv := range []string{"inv_01_tick_fired_twice", "inv_02_tick_decided_twice", "inv_05_tick_run_mismatch"} {
		if n := schedtest.Value[int64](w, `SELECT count(*) FROM inv.`+inv); n > 0 {
			t.Errorf("%s: %d", inv, n)
		}
	}
}
