package advance_test

import (
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// A pool tells tasks of a backfill from others: those go first, the backfill gets
// its share of the rest, and what it holds is seen in ready and in live.
func TestAPoolGivesABackfillItsShareAfterOthers(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("kind: pool\nname: db\nslots: 4\n---\nname: p\nconcurrency: {limit: 100}\ntasks:\n  a: {run: x, pool: db}\n  b: {run: x, pool: db}\n  c: {run: x, pool: db}\n---\n"+
		"name: q\nconcurrency: {limit: 100}\ntasks:\n  a: {run: x, pool: db}\n  b: {run: x, pool: db}\n  c: {run: x, pool: db}\n", time.Time{})
	old := w.Trigger("p")
	w.OfBackfill(old, 50)
	w.Settle()
	held := func(run int64) int64 {
		return schedtest.Value[int64](w, `SELECT (SELECT count(*) FROM ready WHERE run_id = $1) + (SELECT count(*) FROM live WHERE run_id = $1)`, run)
	}
	if n := held(old); n != 2 {
		t.Fatalf("a backfill holds %d slots of 4, its share is 50%%", n)
	}
	first := w.Claims(1) // one of its slots is live now
	young := w.Trigger("q")
	w.Settle()
	if n := held(young); n != 2 {
		t.Fatalf("a run beside the backfill holds %d slots, 2 were free", n)
	}
	// What becomes free goes to whoever is of no backfill, though the backfill waits longer.
	w.End(first[0], "succeeded", "")
	w.Settle()
	if a, b := held(young), held(old); a != 3 || b != 1 {
		t.Errorf("the run holds %d slots and the backfill %d, want 3 and 1", a, b)
	}
}

// Where others always wait, a backfill that has waited long enough gets one slot,
// and the next one only after as long.
func TestABackfillIsLetPastAtAPoolThatIsAlwaysFull(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("kind: pool\nname: db\nslots: 1\n---\nname: p\nconcurrency: {limit: 100}\ntasks:\n  a: {run: x, pool: db}\n  b: {run: x, pool: db}\n", time.Time{})
	w.Trigger("p")
	w.Settle()
	running := w.Claims(1)
	old := w.Trigger("p")
	w.OfBackfill(old, 100)
	for range 3 {
		w.Trigger("p")
	}
	w.Settle()
	next := func() int64 {
		t.Helper()
		w.End(running[0], "succeeded", "")
		w.Settle()
		if running = w.Claims(5); len(running) != 1 {
			t.Fatalf("%d tasks hold the only slot", len(running))
		}
		return running[0].RunID
	}
	if next() == old {
		t.Error("a backfill went first without having waited")
	}
	w.Exec(`UPDATE waiter SET since = since - interval '16 minutes' WHERE backfill_id <> 0`)
	if next() != old {
		t.Error("a backfill that waited for 16 minutes was not let past")
	}
	if next() == old {
		t.Error("a backfill was let past twice in a row")
	}
	w.Exec(`UPDATE pool SET floor_at = floor_at - interval '16 minutes'`)
	if next() != old {
		t.Error("a backfill was not let past again after 16 minutes")
	}
}
