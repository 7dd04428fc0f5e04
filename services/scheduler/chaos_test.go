package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/boottime"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/internal/reopen"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/reap"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// Random pipelines under three schedulers, three executors that fail, die, hand
// back, forget and repeat themselves, and people who trigger, cancel, pause,
// rerun, mark, answer and ask for backfills. Pipelines wait, ask people, call
// others and are started by others. When it is over every run has ended, nothing was mended by the sweep, and all
// invariants hold. SYN_CHAOS_FOR makes it longer, SYN_CHAOS_SEED repeats its
// pipelines and choices (not the order in which Postgres serves them).
func TestChaos(t *testing.T) {
	t.Parallel()
	last, seed := 12*time.Second, uint64(time.Now().UnixNano())
	if text := os.Getenv("SYN_CHAOS_FOR"); text != "" {
		var err error
		if last, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("SYN_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SYN_CHAOS_SEED=%d SYN_CHAOS_FOR=%s", seed, last)
	c := &chaos{T: t, w: schedtest.New(t), seed: seed, did: map[string]int{}}
	c.register(12)

	ctx, stop := context.WithTimeout(t.Context(), last)
	defer stop()
	var busy sync.WaitGroup
	for i := range 3 {
		busy.Go(func() { c.schedule(ctx, uint64(i)) })
		busy.Go(func() { c.execute(ctx, uint64(100+i)) })
	}
	busy.Go(func() { c.people(ctx, 200) })
	busy.Go(func() { c.watch(ctx) })
	busy.Wait()
	c.quiesce()
	c.check()
	c.did["called"] = int(schedtest.Value[int64](c.w, `SELECT count(*) FROM child_run WHERE run_id IS NOT NULL`))
	c.did["triggered"] = int(schedtest.Value[int64](c.w, `SELECT count(*) FROM follow_up WHERE run_id IS NOT NULL`))
	t.Logf("did: %v", c.did)
}

type chaos struct {
	*testing.T
	w     *schedtest.World
	seed  uint64
	names []string

	backfills int // asked for, by the one who does

	rest atomic.Int64 // nobody claims before this time of boottime

	mu  sync.Mutex
	did map[string]int // guarded by mu
}

func (c *chaos) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.did[what]++
}

func (c *chaos) rand(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(c.seed, stream)) }

// failed says whether an error is one that faults do not explain.
func (c *chaos) failed(what string, err error) bool {
	if schedtest.IsMore(err) || errors.Is(err, db.ErrNoRows) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	c.Errorf("%s: %v", what, err)
	return true
}

// register makes pools and pipelines of all sorts.
func (c *chaos) register(n int) {
	r := c.rand(1)
	var b strings.Builder
	b.WriteString("kind: pool\nname: narrow\nslots: 2\n---\nkind: pool\nname: wide\nslots: 5\n")
	some := func(p float64, format string, args ...any) {
		if r.Float64() < p {
			fmt.Fprintf(&b, format, args...)
		}
	}
	for i := range n {
		name := fmt.Sprintf("p%d", i)
		c.names = append(c.names, name)
		fmt.Fprintf(&b, "---\nname: %s\n", name)
		if i%4 == 3 {
			// Called by nobody: what it starts ends, and so does what starts it.
			fmt.Fprintf(&b, "triggers: {pipelines: [{name: p%d, result: %s}]}\n", r.IntN(i), []string{"any", "succeeded", "failed"}[r.IntN(3)])
		}
		fmt.Fprintf(&b, "concurrency: {limit: %d, on_conflict: %s, max_queued: 50}\n", 1+r.IntN(4), []string{"queue", "queue", "queue", "skip", "fail", "cancel_running"}[r.IntN(6)])
		some(0.3, "max_parallel: %d\n", 1+r.IntN(3))
		some(0.2, "timeout: 1s\n")
		if i%4 == 0 {
			b.WriteString("schedule:\n  - {cron: \"* * * * *\", catchup: all}\n")
		}
		b.WriteString("tasks:\n")
		tasks := 1 + r.IntN(7)
		for k := range tasks {
			kind := r.IntN(20)
			switch {
			case kind < 2:
				fmt.Fprintf(&b, "  t%d:\n    wait: {for: 1s}\n", k)
			case kind < 4:
				fmt.Fprintf(&b, "  t%d:\n    approval: {prompt: Go on}\n", k)
				some(0.5, "    timeout: 1s\n")
			case kind < 7 && i%4 != 0 && i%4 != 3:
				fmt.Fprintf(&b, "  t%d:\n    pipeline: {name: p%d%s}\n", k, i/4*4, []string{"", ", wait: false"}[r.IntN(2)])
				some(0.3, "    retry: {limit: 1, delay: 0s}\n")
			default:
				fmt.Fprintf(&b, "  t%d:\n    run: x\n", k)
				some(0.5, "    retry: {limit: %d, delay: %s}\n", 1+r.IntN(2), []string{"0s", "0s", "300ms"}[r.IntN(3)])
				some(0.3, "    lost: %d\n", r.IntN(4))
				some(0.2, "    queue_timeout: 1s\n")
				some(0.3, "    priority: %d\n", r.IntN(5))
				if r.Float64() < 0.3 {
					fmt.Fprintf(&b, "    pool: {name: %s, slots: %d}\n", []string{"narrow", "wide"}[r.IntN(2)], 1+r.IntN(2))
				}
			}
			if (kind < 2 || kind >= 4) && r.Float64() < 0.35 { // a question is asked once
				fmt.Fprintf(&b, "    for_each: %s\n", numbers(r.IntN(9)))
				some(0.5, "    max_parallel: %d\n", 1+r.IntN(4))
				some(0.3, "    fail_fast: false\n")
			}
			var needs []string
			for j := range k {
				if r.Float64() < 0.35 {
					needs = append(needs, fmt.Sprintf("t%d", j))
				}
			}
			if len(needs) > 0 {
				fmt.Fprintf(&b, "    needs: [%s]\n", strings.Join(needs, ", "))
				some(0.3, "    if: %s\n", []string{"always()", "failure()", "none_failed()", "\"!canceled()\""}[r.IntN(4)])
			}
		}
		some(0.4, "finally:\n  f:\n    run: x\n  g:\n    if: failure()\n    run: x\n    retry: {limit: 1, delay: 0s}\n")
	}
	next := schedtest.Value[time.Time](c.w, `SELECT date_trunc('minute', now()) - interval '30 minutes'`)
	c.w.Register(b.String(), next)
}

func numbers(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// schedule is one scheduler.
func (c *chaos) schedule(ctx context.Context, stream uint64) {
	r := c.rand(stream)
	w := c.w.Apart()
	reaper := reap.New(w.Pool, w.Cache, time.Hour, boottime.Now, slog.New(slog.DiscardHandler), func(o reap.Outcome) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.did["lost"] += o.Lost
		c.did["run timed out"] += o.TimedOut
		c.did["queue timed out"] += o.Late
	})
	for ctx.Err() == nil {
		switch n := r.IntN(12); {
		case n < 5:
			c.failed("advance", w.Advancer.Step(ctx))
		case n < 8:
			c.failed("admit", w.Admitter.Step(ctx))
		case n < 9:
			c.failed("follow", w.Follower.Step(ctx))
		case n < 10:
			c.failed("backfill", w.Backfill.Step(ctx))
		case n < 11:
			c.failed("plan", w.Planner.Step(ctx))
		default:
			c.failed("reap", reaper.Step(ctx))
		}
	}
}

// execute is one executor after another.
func (c *chaos) execute(ctx context.Context, stream uint64) {
	r := c.rand(stream)
	w := c.w.Apart()
	born := func() bool {
		w.Executor = uuid.New()
		_, err := w.Pool.Queries().RegisterExecutor(ctx, db.RegisterExecutorParams{ID: w.Executor, Name: "chaos", Slots: 1000, LeaseMs: 3_600_000, Labels: []string{}, Serves: []string{}})
		return !c.failed("register executor", err) && err == nil
	}
	if !born() {
		return
	}
	var held, ended []db.ClaimReadyRow
	for ctx.Err() == nil {
		n := r.IntN(100)
		switch {
		case n < 25:
			if boottime.Now() < time.Duration(c.rest.Load()) {
				time.Sleep(time.Millisecond)
				continue
			}
			rows, err := schedtest.TryClaim(w, w.Executor, 1+r.IntN(8))
			if c.failed("claim", err) || err != nil {
				continue
			}
			if r.IntN(20) == 0 {
				c.note("answer of a claim lost") // its rows are strays from now on
				continue
			}
			held = append(held, rows...)
		case n < 26 && r.IntN(5) == 0: // it dies; the reaper finds it stopped
			_, err := w.Pool.PGX().Exec(ctx, `UPDATE executor SET stopped_at = now() WHERE id = $1`, w.Executor)
			c.failed("die", err)
			c.note("executor died")
			ended, held = append(ended, held...), nil
			if !born() {
				return
			}
		case n < 32: // it compares lists: what it does not know goes back
			rows, err := w.Pool.Queries().Held(ctx, w.Executor)
			c.failed("compare", err)
			for _, l := range rows {
				if !slices.ContainsFunc(held, func(h db.ClaimReadyRow) bool { return h.LeaseToken == l.LeaseToken }) {
					c.report(w, strayOf(l), ending.Report{State: "lost", Reason: "drained", Drained: true}, "stray handed back")
				}
			}
		case n < 35 && len(ended) > 0: // a stale report
			old := ended[r.IntN(len(ended))]
			if rows, err := w.Pool.Queries().LiveByKey(ctx, db.LiveByKeyParams{RunIds: []int64{old.RunID}, Numbers: []int32{old.Number}, Tokens: []uuid.UUID{old.LeaseToken}}); err != nil || len(rows) > 0 {
				continue // not stale yet
			}
			if ok, err := schedtest.TryReport(w, old, ending.Report{State: "succeeded"}); ok {
				c.Errorf("a stale report was accepted: %+v", old)
			} else {
				c.failed("stale report", err)
			}
			c.note("stale report")
		case n < 55 && len(held) > 0: // it writes the live row: logs, a start
			h := held[r.IntN(len(held))]
			_, err := w.Pool.PGX().Exec(ctx, `UPDATE live SET remote_detail = 'busy' WHERE run_id = $1 AND number = $2 AND lease_token = $3`, h.RunID, h.Number, h.LeaseToken)
			c.failed("write", err)
		case len(held) > 0:
			i := r.IntN(len(held))
			h := held[i]
			held = slices.Delete(held, i, i+1)
			ended = append(ended, h)
			c.end(ctx, r, w, h)
		default:
			time.Sleep(time.Millisecond)
		}
	}
	// What it still holds it gives up: the reaper takes it back.
	_, err := w.Pool.PGX().Exec(context.WithoutCancel(ctx), `UPDATE executor SET stopped_at = now() WHERE id = $1`, w.Executor)
	c.failed("stop", err)
}

func strayOf(l db.HeldRow) db.ClaimReadyRow {
	return db.ClaimReadyRow{
		RunID: l.RunID, Number: l.Number, Attempt: l.Attempt, LeaseToken: l.LeaseToken, RevisionID: l.RevisionID,
		Failures: l.Failures, Losses: l.Losses, Handbacks: l.Handbacks, LastLoser: l.LastLoser, Losers: l.Losers,
	}
}

// end ends an attempt: as it was asked to if it has heard of that, or anyhow.
func (c *chaos) end(ctx context.Context, r *rand.Rand, w *schedtest.World, h db.ClaimReadyRow) {
	if r.IntN(3) > 0 {
		rows, err := w.Pool.Queries().StopsAsked(ctx, w.Executor)
		c.failed("look for stops", err)
		for _, s := range rows {
			if s.LeaseToken == h.LeaseToken {
				c.report(w, h, ending.Report{State: "canceled", Reason: s.StopReason, StopReason: s.StopReason}, "stopped")
				return
			}
		}
	}
	switch n := r.IntN(20); {
	case n < 12:
		c.report(w, h, ending.Report{State: "succeeded"}, "succeeded")
	case n < 16:
		c.report(w, h, ending.Report{State: "failed"}, "failed")
	case n < 17:
		c.report(w, h, ending.Report{State: "timed_out", Reason: "timed_out"}, "timed out")
	case n < 18: // both at once, of which one wins
		var both sync.WaitGroup
		for _, state := range []string{"succeeded", "failed"} {
			both.Go(func() { c.report(w, h, ending.Report{State: state}, "reported twice") })
		}
		both.Wait()
	default:
		c.report(w, h, ending.Report{State: "lost", Reason: "drained", Drained: true}, "handed back")
	}
}

func (c *chaos) report(w *schedtest.World, h db.ClaimReadyRow, r ending.Report, what string) {
	_, err := schedtest.TryReport(w, h, r)
	c.failed(what, err)
	c.note(what)
}

// people trigger, cancel, cancel again, pause, resume, rerun, mark, answer what
// they are asked and ask for backfills.
func (c *chaos) people(ctx context.Context, stream uint64) {
	r := c.rand(stream)
	w := c.w.Apart()
	q := w.Pool.Queries()
	for ctx.Err() == nil {
		time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
		name := c.names[r.IntN(len(c.names))]
		switch n := r.IntN(33); {
		case n < 12:
			w.Trigger(name)
			c.note("trigger")
		case n < 13: // queues grow, and tasks wait longer than they may
			if r.IntN(10) == 0 {
				c.rest.Store(int64(boottime.Now() + 1200*time.Millisecond))
			}
		case n < 17:
			var run int64
			if err := w.Pool.PGX().QueryRow(ctx, `SELECT run_id FROM open_run ORDER BY random() LIMIT 1`).Scan(&run); err != nil {
				continue
			}
			_, err := q.CancelRun(ctx, db.CancelRunParams{RunID: run, By: "ana"})
			c.failed("cancel", err)
			if c.note("cancel"); r.IntN(3) == 0 {
				_, err := q.CancelRun(ctx, db.CancelRunParams{RunID: run, By: "ana"})
				c.failed("cancel again", err)
			}
		case n < 18:
			c.failed("pause", db.InTx(ctx, w.Pool, func(q *db.Queries) error {
				p, err := c.pipeline(ctx, w, name)
				if err != nil {
					return err
				}
				if _, err := q.LockSchedulesOf(ctx, []int64{p}); err != nil {
					return err
				}
				return q.PausePipeline(ctx, db.PausePipelineParams{ID: p, By: "ana"})
			}))
			c.note("pause")
		case n < 24:
			c.again(ctx, r, w)
		case n < 30:
			c.answer(ctx, w, []string{"approved", "approved", "rejected"}[r.IntN(3)])
		case n < 31:
			c.backfill(ctx, r, w)
		default:
			p, err := c.pipeline(ctx, w, name)
			if err == nil {
				_, err = q.ResumePipeline(ctx, p)
			}
			c.failed("resume", err)
		}
	}
}

// again reruns a run or marks one of its tasks, and sometimes two people do.
func (c *chaos) again(ctx context.Context, r *rand.Rand, w *schedtest.World) {
	var run int64
	var task string
	if err := w.Pool.PGX().QueryRow(ctx, `
SELECT r.id, coalesce((SELECT t.name FROM task AS t WHERE t.run_id = r.id ORDER BY random() LIMIT 1), '')
FROM (SELECT id FROM run ORDER BY id DESC LIMIT 100) AS r ORDER BY random() LIMIT 1`).Scan(&run, &task); err != nil {
		return
	}
	expected := func(err error) bool {
		for _, e := range []error{reopen.ErrOpen, reopen.ErrUnseen, reopen.ErrNothing, reopen.ErrNoTasks, reopen.ErrSame, reopen.ErrNoTask} {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	mode := []flow.RerunMode{flow.RerunFailed, flow.RerunFrom, flow.RerunAll}[r.IntN(3)]
	item, state := r.IntN(4)-2, []flow.State{flow.Succeeded, flow.Failed, flow.Skipped}[r.IntN(3)]
	mark, people := r.IntN(3) == 0, 1+r.IntN(2)
	var both sync.WaitGroup
	for range people {
		both.Go(func() {
			var err error
			if mark {
				_, err = schedtest.TryMark(w, run, task, max(-1, item), state)
			} else {
				_, err = schedtest.TryRerun(w, run, mode, task)
			}
			switch {
			case err == nil:
				c.note(map[bool]string{true: "mark", false: "rerun"}[mark])
			case !expected(err):
				c.failed("rerun or mark", err)
			}
		})
	}
	both.Wait()
}

// answer answers one open question.
func (c *chaos) answer(ctx context.Context, w *schedtest.World, decision string) {
	var p db.DecideApprovalParams
	if err := w.Pool.PGX().QueryRow(ctx, `SELECT run_id, number FROM approval WHERE closed_at IS NULL AND decision IS NULL ORDER BY random() LIMIT 1`).Scan(&p.RunID, &p.Number); err != nil {
		return
	}
	p.Decision, p.By = decision, "ana"
	_, err := w.Pool.Queries().DecideApproval(ctx, p)
	c.failed("answer", err)
	c.note(decision)
}

// backfill asks for ticks of before the first, or takes back what it asked for.
func (c *chaos) backfill(ctx context.Context, r *rand.Rand, w *schedtest.World) {
	var id int64
	if err := w.Pool.PGX().QueryRow(ctx, `SELECT id FROM backfill WHERE state = 'running' ORDER BY random() LIMIT 1`).Scan(&id); err == nil && r.IntN(2) == 0 {
		_, err := w.Pool.Queries().CancelBackfill(ctx, db.CancelBackfillParams{ID: id, By: "ana"})
		c.failed("cancel a backfill", err)
		c.note("backfill canceled")
		return
	}
	var ticks []time.Time
	for i := range 1 + r.IntN(6) {
		ticks = append(ticks, time.Now().UTC().Truncate(time.Minute).Add(-time.Duration(40+10*c.backfills+i)*time.Minute))
	}
	c.backfills++ // no two of them overlap
	w.StartBackfill(c.names[r.IntN(len(c.names)/4)*4], 1+r.IntN(3), 50+r.IntN(51), ticks...)
	c.note("backfill")
}

func (c *chaos) pipeline(ctx context.Context, w *schedtest.World, name string) (id int64, err error) {
	err = w.Pool.PGX().QueryRow(ctx, `SELECT id FROM pipeline WHERE name = $1`, name).Scan(&id)
	return id, err
}

// watch looks at what must hold at every moment.
func (c *chaos) watch(ctx context.Context) {
	w := c.w.Apart()
	for ctx.Err() == nil {
		var wrong []string
		err := w.Pool.PGX().QueryRow(ctx, `
SELECT coalesce(array_agg(x.what), '{}')
FROM (
	SELECT 'pool ' || p.name || ' is above its limit' AS what
	FROM pool AS p
	JOIN (SELECT pool_id, slots FROM ready UNION ALL SELECT pool_id, slots FROM live) AS u ON u.pool_id = p.id
	GROUP BY p.id
	HAVING sum(u.slots) > p.slots
	UNION ALL
	SELECT 'group ' || o.group_id || ' is above its limit'
	FROM open_run AS o
	JOIN run AS r ON r.id = o.run_id
	WHERE o.state = 'running' AND NOT o.beside
	GROUP BY o.group_id
	HAVING count(*) > max(r.concurrency_limit)
	UNION ALL
	SELECT 'task ' || q.run_id || '/' || q.number || ' is in two places'
	FROM (SELECT run_id, number FROM ready UNION ALL SELECT run_id, number FROM live UNION ALL SELECT run_id, number FROM waiter) AS q
	GROUP BY q.run_id, q.number
	HAVING count(*) > 1
	UNION ALL
	SELECT 'task ' || q.run_id || '/' || q.number || ' of a run that has ended'
	FROM (SELECT run_id, number FROM ready UNION ALL SELECT run_id, number FROM live UNION ALL SELECT run_id, number FROM waiter) AS q
	WHERE NOT EXISTS (SELECT FROM open_run AS o WHERE o.run_id = q.run_id)
) AS x`).Scan(&wrong)
		c.failed("watch", err)
		for _, what := range wrong {
			c.Error(what)
		}
		if c.Failed() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// quiesce lets everything come to its end: nobody fails any more.
func (c *chaos) quiesce() {
	w := c.w
	reaper := reap.New(w.Pool, w.Cache, time.Hour, boottime.Now, slog.New(slog.DiscardHandler), func(reap.Outcome) {})
	for deadline := time.Now().Add(90 * time.Second); ; {
		if c.failed("reap", reaper.Step(c.Context())) {
			return
		}
		if c.failed("plan", w.Planner.Step(c.Context())) {
			return
		}
		// A backfill that finds no room looks again after a while.
		w.Exec(`UPDATE wake SET not_before = now() WHERE kind = 'b' AND not_before > now()`)
		for range 20 {
			c.answer(c.Context(), w, "approved")
		}
		w.Settle()
		claims := w.Claims(500)
		for _, h := range claims {
			c.report(w, h, ending.Report{State: "succeeded"}, "succeeded")
		}
		if len(claims) == 0 {
			if schedtest.Value[int64](w, `SELECT (SELECT count(*) FROM open_run) + (SELECT count(*) FROM wake WHERE kind = 'b')`) == 0 {
				return
			}
			if time.Now().After(deadline) {
				run := schedtest.Value[int64](w, `SELECT coalesce(min(run_id), 0) FROM open_run`)
				c.Fatalf("%d runs do not end, the first is %s of\n%s", schedtest.Value[int64](w, `SELECT count(*) FROM open_run`), w.RunState(run), w.Dump(run))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// check looks at what is left.
func (c *chaos) check() {
	w := c.w
	w.Exec(`DELETE FROM wake WHERE kind = 'r' AND not_before > now()`) // back-offs of tasks that were canceled
	w.Settle()
	for _, table := range []string{"open_run", "ready", "live", "waiter", "wake", "repair"} {
		if n := schedtest.Value[int64](w, `SELECT count(*) FROM `+table); n > 0 {
			c.Errorf("%d rows are left in %s: %s", n, table, schedtest.Value[string](w, `SELECT string_agg(to_jsonb(t)::text, E'\n') FROM (SELECT * FROM `+table+` LIMIT 5) AS t`))
		}
	}
	for what, sql := range map[string]string{
		"questions are open":           `SELECT count(*) FROM approval WHERE closed_at IS NULL`,
		"calls have not been answered": `SELECT count(*) FROM child_run WHERE settled_at IS NULL`,
		"triggers wait":                `SELECT count(*) FROM follow_up WHERE run_id IS NULL`,
		"backfills are open":           `SELECT count(*) FROM backfill WHERE state = 'running'`,
	} {
		if n := schedtest.Value[int64](w, sql); n > 0 {
			c.Errorf("%d %s", n, what)
		}
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM run WHERE ended_at IS NULL`); n > 0 {
		c.Errorf("%d runs have not ended", n)
	}
	w.Check()
	counted := schedtest.Value[string](w, `SELECT coalesce(string_agg(h.state || ' ' || h.n, ', ' ORDER BY h.state), '') FROM (SELECT state, sum(runs) AS n FROM run_hour GROUP BY state HAVING sum(runs) > 0) AS h`)
	if runs := schedtest.Value[string](w, `SELECT string_agg(r.state || ' ' || r.n, ', ' ORDER BY r.state) FROM (SELECT state, count(*) AS n FROM run GROUP BY state) AS r`); counted != runs {
		c.Errorf("the hours count %s, there are %s", counted, runs)
	}
	if n := schedtest.Value[int64](w, `SELECT count(*) FROM attempt`); n < 10 {
		c.Errorf("only %d attempts: nothing was tried", n)
	}
}
