package reap_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/reap"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

const lease = 15 * time.Second

// A clock that stands still until a test moves it.
type clock struct{ now time.Duration }

func (c *clock) read() time.Duration { return c.now }

func reaper(w *schedtest.World, c *clock) (*reap.Reaper, *reap.Outcome) {
	last := &reap.Outcome{}
	return reap.New(w.Pool, w.Cache, lease, c.read, slog.New(slog.DiscardHandler), func(o reap.Outcome) { *last = o }), last
}

func step(t *testing.T, s interface {
	Step(context.Context) error
},
) {
	t.Helper()
	if err := s.Step(t.Context()); !schedtest.IsMore(err) {
		t.Fatal(err)
	}
}

func TestADeadExecutorsTasksRunAgain(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	dead := w.Claims(1)[0]
	w.Exec(`UPDATE live SET state = 'running', started_at = now()`)
	w.Exec(`UPDATE executor SET lease_until = now() - interval '1 second'`)

	c := &clock{}
	r, out := reaper(w, c)
	step(t, r)
	if out.Dead != 0 {
		t.Fatal("an executor was declared dead at first sight: its beat has not been watched")
	}
	c.now = lease - time.Millisecond
	if step(t, r); out.Dead != 0 {
		t.Fatal("an executor was declared dead before a lease was over on our own clock")
	}
	c.now = lease
	if step(t, r); out.Dead != 1 || out.Lost != 1 {
		t.Fatalf("Dead, Lost = %d, %d, want 1, 1", out.Dead, out.Lost)
	}
	w.Settle()
	if w.End(dead, "succeeded", "") {
		t.Error("the dead executor's report was accepted")
	}
	owner := w.ClaimsOf(w.NewExecutor(), 1)
	if len(owner) != 1 || owner[0].Attempt != 2 || owner[0].Losses != 1 || owner[0].Failures != 0 {
		t.Fatalf("claims = %+v, want the second attempt with one loss", owner)
	}
	if got, want := schedtest.Value[string](w, `SELECT state || ':' || reason FROM attempt`), "lost:lost"; got != want {
		t.Errorf("attempt = %q, want %q", got, want)
	}
	if got, want := w.RunState(run), "running"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
}

// A definition that cannot be read is the trouble of its own tasks: neither what
// others lost nor the times that have passed wait for it.
func TestADefinitionThatCannotBeReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntimeout: 1h\ntasks:\n  a: {run: x}\n---\nname: q\ntasks:\n  a: {run: x}\n", time.Time{})
	good, bad := w.Trigger("p"), w.Trigger("q")
	w.Settle()
	w.Claims(2)
	w.Exec(`UPDATE live SET state = 'running', started_at = now()`)
	w.Exec(`ALTER TABLE revision DISABLE TRIGGER revision_immutable`)
	w.Exec(`UPDATE revision SET spec = '{"tasks": 3}' WHERE id = (SELECT revision_id FROM run WHERE id = $1)`, bad)
	w.Exec(`UPDATE open_run SET deadline_at = now() WHERE run_id = $1`, good)
	w.Exec(`UPDATE executor SET stopped_at = now()`)

	r, out := reaper(w.Replica(), &clock{}) // it has read nothing yet
	if step(t, r); out.Lost != 2 || out.TimedOut != 1 {
		t.Errorf("Lost, TimedOut = %d, %d, want 2, 1", out.Lost, out.TimedOut)
	}
	if got, want := w.Tasks(good), "a=waiting"; got != want {
		t.Errorf("tasks = %q, want %q: it may run again", got, want)
	}
	if got, want := w.Tasks(bad), "a=failed:lost"; got != want {
		t.Errorf("tasks of the one that cannot be read = %q, want %q", got, want)
	}
	if got, want := schedtest.Value[string](w, `SELECT detail FROM task WHERE run_id = $1`, bad), "its executor stopped answering, and its definition cannot be read"; got != want {
		t.Errorf("detail = %q, want %q", got, want)
	}
}

// The database's clock jumps forward an hour: leases look expired, but beats go on.
func TestAJumpOfTheClockReapsNoHealthyWork(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	c := &clock{}
	r, out := reaper(w, c)
	for range 10 {
		w.Exec(`UPDATE executor SET beat = beat + 1, lease_until = now() - interval '1 hour'`)
		step(t, r)
		c.now += lease
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM executor WHERE stopped_at IS NOT NULL`); n != 0 || out.Dead != 0 {
		t.Errorf("%d executors that answer were declared dead", n)
	}
}

// The clock jumps back: a lease far ahead must not keep a dead executor alive.
func TestALeaseFarAheadKeepsNothingAlive(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t) // its executor has a lease of an hour
	c := &clock{}
	r, out := reaper(w, c)
	step(t, r)
	c.now = lease
	if step(t, r); out.Dead != 1 {
		t.Error("an executor whose beat stands still under a lease far ahead was kept")
	}
}

func TestPoisonEndsInBoundedTime(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x, lost: 2}\n", time.Time{})
	run := w.Trigger("p")
	c := &clock{}
	r, _ := reaper(w, c)
	for range 10 {
		w.Settle()
		if w.RunState(run) != "running" {
			break
		}
		executor := w.NewExecutor()
		w.ClaimsOf(executor, 1)
		w.Exec(`UPDATE live SET state = 'running', started_at = now()`)
		w.Exec(`UPDATE executor SET stopped_at = now() WHERE id = $1`, executor)
		step(t, r)
	}
	if got, want := w.Tasks(run), "a=failed:poison"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM attempt`); n != 3 {
		t.Errorf("%d attempts, want the first and two after a loss", n)
	}
}

func TestARunOutOfTimeFailsAfterItsFinally(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntimeout: 1h\ntasks:\n  a: {run: x}\n  b: {run: x}\nfinally:\n  f: {run: x}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	w.Exec(`UPDATE open_run SET deadline_at = now()`)
	r, out := reaper(w, &clock{})
	if step(t, r); out.TimedOut != 1 {
		t.Fatalf("TimedOut = %d, want 1", out.TimedOut)
	}
	w.RunAll(run, func(string, int) (string, string) { return "succeeded", "" })
	if got, want := w.RunState(run), "failed:timed_out"; got != want {
		t.Errorf("run = %q, want %q", got, want)
	}
	if got, want := w.Tasks(run), "a=canceled:run_timed_out b=canceled:run_timed_out f=succeeded"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
}

func TestAQueueTimeOutFailsTheTask(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x, queue_timeout: 1m}\n  b: {needs: a, run: x}\n", time.Time{})
	run := w.Trigger("p")
	w.Settle()
	w.Exec(`UPDATE ready SET queue_deadline = now()`)
	r, out := reaper(w, &clock{})
	if step(t, r); out.Late != 1 {
		t.Fatalf("Late = %d, want 1", out.Late)
	}
	w.Settle()
	if got, want := w.Tasks(run), "a=failed:queue_timeout b=skipped:upstream"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
}

// A task that an executor gave back before it started is due as long as before;
// one that has started once is not timed any more.
func TestATaskThatIsHandedBackKeepsItsQueueTimeOut(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"", ", pool: w"} {
		w := schedtest.New(t)
		w.Register("kind: pool\nname: w\nslots: 1\n---\nname: p\ntasks:\n  a: {run: x, queue_timeout: 1m"+at+"}\n", time.Time{})
		run := w.Trigger("p")
		w.Settle()
		deadline := func() *time.Time { return schedtest.Value[*time.Time](w, `SELECT queue_deadline FROM ready`) }
		first := deadline()
		w.Report(w.Claims(1)[0], ending.Report{State: "lost", Drained: true, StartedAgo: -1})
		w.Settle()
		if again := deadline(); first == nil || again == nil || !again.Equal(*first) {
			t.Errorf("a%s: handed back before its start it must start until %v, want %v as before", at, again, first)
		}
		w.Report(w.Claims(1)[0], ending.Report{State: "lost", Drained: true})
		w.Settle()
		if d := deadline(); d != nil {
			t.Errorf("a%s: it has started and must start again until %v, want no time-out", at, d)
		}
		if got, want := w.Tasks(run), "a=ready"; got != want {
			t.Errorf("tasks = %q, want %q", got, want)
		}
	}
}

func TestTheSweepMendsWhatNothingWouldWake(t *testing.T) {
	t.Parallel()
	w := schedtest.New(t)
	w.Register("name: p\ntasks:\n  a: {run: x}\n  b: {needs: a, run: x}\n", time.Time{})
	first := w.Trigger("p")
	w.Settle()
	w.End(w.Claims(1)[0], "succeeded", "")
	w.Exec(`DELETE FROM wake`)
	queued := w.Trigger("p")
	w.Exec(`DELETE FROM wake`)

	var runs, groups int
	s := reap.NewSweeper(w.Pool, 0, slog.New(slog.DiscardHandler), func(r, g, _ int) { runs, groups = r, g })
	step(t, s)
	if runs != 1 {
		t.Fatalf("the sweep mended %d runs, want 1", runs)
	}
	w.RunAll(first, func(string, int) (string, string) { return "succeeded", "" })
	w.Exec(`DELETE FROM wake`)
	if w.RunState(queued) == "queued" {
		if step(t, s); groups != 1 {
			t.Fatalf("the sweep mended %d groups, want 1", groups)
		}
	}
	w.RunAll(queued, func(string, int) (string, string) { return "succeeded", "" })
	for _, run := range []int64{first, queued} {
		if got, want := w.RunState(run), "succeeded"; got != want {
			t.Errorf("run = %q, want %q", got, want)
		}
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM repair`); n == 0 {
		t.Error("nothing was counted as a defect")
	}
}
