// Package schedtest is a scheduler in pieces on a private database, with an
// executor that runs nothing: tests turn each loop by hand.
package schedtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/admit"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/backfill"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/follow"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/plan"
)

// A World is one database with one scheduler's parts and one executor.
type World struct {
	T        testing.TB
	URL      string
	Pool     *db.Pool
	Cache    *revision.Cache
	Advancer *advance.Advancer
	Admitter *admit.Admitter
	Planner  *plan.Planner
	Backfill *backfill.Backfiller
	Follower *follow.Follower
	Executor uuid.UUID
	Pace     gate.Pace // of late ticks; Paced sets it
}

// New makes a world with an executor that has many slots.
func New(t testing.TB) *World {
	t.Helper()
	url := dbtest.URL(t)
	w := &World{T: t, URL: url, Pool: dbtest.Open(t, db.Config{URL: url})}
	w.build()
	w.Executor = w.NewExecutor()
	return w
}

// Paced lets late ticks start at a pace; replicas made later keep it too.
func (w *World) Paced(pace gate.Pace) *World {
	w.Pace = pace
	w.build()
	return w
}

// Replica is a second scheduler on the same database.
func (w *World) Replica() *World {
	r := &World{T: w.T, URL: w.URL, Pool: w.Pool, Executor: w.Executor, Pace: w.Pace}
	r.build()
	return r
}

// Apart is a replica with connections of its own.
func (w *World) Apart() *World {
	r := &World{T: w.T, URL: w.URL, Pool: dbtest.Open(w.T, db.Config{URL: w.URL}), Executor: w.Executor, Pace: w.Pace}
	r.build()
	return r
}

func (w *World) build() {
	log := slog.New(slog.DiscardHandler)
	w.Cache = revision.NewCache(100)
	w.Advancer = advance.New(w.Pool, w.Cache, log, func(advance.Outcome) {})
	w.Admitter = admit.New(w.Cache, w.Advancer, w.Pace, func(advance.Outcome) {})
	w.Backfill = backfill.New(w.Cache, w.Advancer, func(advance.Outcome) {})
	w.Follower = follow.New(w.Pool, w.Cache, log, func(advance.Outcome) {})
	w.Planner = plan.New(w.Pool, w.Cache, w.Advancer, w.Pace, log, func(plan.Outcome) {})
}

// NewExecutor adds an executor to the fleet.
func (w *World) NewExecutor() uuid.UUID {
	w.T.Helper()
	id := uuid.New()
	w.Exec(`INSERT INTO executor (id, name, slots, lease_until) VALUES ($1, 'test', 1000, now() + interval '1 hour')`, id)
	return id
}

// Exec runs SQL.
func (w *World) Exec(sql string, args ...any) {
	w.T.Helper()
	if _, err := w.Pool.PGX().Exec(w.T.Context(), sql, args...); err != nil {
		w.T.Fatalf("%s: %v", sql, err)
	}
}

// Value gives the one value that SQL asks for.
func Value[V any](w *World, sql string, args ...any) V {
	w.T.Helper()
	var v V
	if err := w.Pool.PGX().QueryRow(w.T.Context(), sql, args...).Scan(&v); err != nil {
		w.T.Fatalf("%s: %v", sql, err)
	}
	return v
}

// Register stores the pipelines of a file as revision 1, with everything that
// the api would make for them. next is the first tick of their schedules.
func (w *World) Register(text string, next time.Time) {
	w.T.Helper()
	src, problems := pipeline.Parse([]pipeline.File{{Name: "test.yaml", Text: []byte(text)}}, pipeline.Options{})
	if src == nil || problems.Errors() > 0 {
		w.T.Fatalf("parse: %v", problems)
	}
	w.Exec(`INSERT INTO source (name) VALUES ('test') ON CONFLICT DO NOTHING`)
	for _, d := range src.Documents {
		switch {
		case d.Pool != nil:
			w.Exec(`INSERT INTO pool (namespace, name, slots) VALUES ($1, $2, $3)`, d.Namespace, d.Name, d.Pool.Slots)
		case d.Pipeline != nil:
			w.add(d.Pipeline, next)
		}
	}
}

func (w *World) add(p *pipeline.Pipeline, next time.Time) {
	w.T.Helper()
	spec, err := json.Marshal(p)
	if err != nil {
		w.T.Fatal(err)
	}
	id := Value[int64](w, `INSERT INTO pipeline (namespace, name, source_id) SELECT $1, $2, id FROM source WHERE name = 'test' RETURNING id`, p.Namespace, p.Name)
	rev := Value[int64](w, `INSERT INTO revision (pipeline_id, number, content_hash, file, source_text, spec) VALUES ($1, 1, '', 'test.yaml', '', $2) RETURNING id`, id, string(spec))
	w.Exec(`UPDATE pipeline SET revision_id = $2 WHERE id = $1`, id, rev)
	w.Exec(`INSERT INTO pipeline_counter (pipeline_id) VALUES ($1)`, id)
	w.Exec(`INSERT INTO run_group (namespace, pipeline_id) VALUES ($1, $2)`, p.Namespace, id)
	for _, tasks := range []pipeline.Tasks{p.Tasks, p.Finally} {
		for _, t := range tasks {
			labels := t.RunsOn
			if labels == nil {
				labels = []string{}
			}
			w.Exec(`INSERT INTO lane (labels) VALUES ($1) ON CONFLICT DO NOTHING`, labels)
		}
	}
	for _, t := range p.Triggers {
		w.Exec(`INSERT INTO pipeline_trigger (pipeline_id, revision_id, upstream_namespace, upstream_name, ordinal)
			SELECT $1, $2, $3, $4, count(*) FROM pipeline_trigger WHERE pipeline_id = $1 AND upstream_namespace = $3 AND upstream_name = $4`, id, rev, t.Namespace, t.Name)
	}
	for _, s := range p.Schedules {
		w.Exec(`INSERT INTO schedule (pipeline_id, revision_id, name, catchup, next_at) VALUES ($1, $2, $3, $4, $5)`, id, rev, s.ID, s.Catchup, next)
	}
}

// Trigger asks for a run by hand and gives its id.
func (w *World) Trigger(name string) int64 {
	w.T.Helper()
	id := Value[int64](w, `
WITH p AS (
	SELECT p.id, p.namespace, p.name, p.revision_id, g.id AS group_id, (v.spec #>> '{concurrency,limit}')::integer AS most
	FROM pipeline p JOIN run_group g ON g.pipeline_id = p.id JOIN revision v ON v.id = p.revision_id WHERE p.name = $1
), n AS (
	UPDATE pipeline_counter c SET last = last + 1 FROM p WHERE c.pipeline_id = p.id RETURNING c.last
), r AS (
	INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, scheduled_at, interval_start, interval_end, group_id, concurrency_limit, state)
	SELECT next_run_id(), p.id, p.revision_id, n.last, p.namespace, p.name, 'manual', now(), now(), now(), p.group_id, p.most, 'queued' FROM p, n
	RETURNING id, pipeline_id, group_id, revision_id
), o AS (
	INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state) SELECT id, pipeline_id, group_id, revision_id, 'queued' FROM r
), k AS (
	INSERT INTO wake (kind, subject) SELECT 'g', group_id FROM r
), e AS (
	INSERT INTO event (kind, entity_id, pipeline_id, to_state) SELECT 'run', id, pipeline_id, 'queued' FROM r
)
SELECT id FROM r`, name)
	return id
}

// OfBackfill makes a run, before its first decision, one of a backfill of its own
// that may hold share percent of a pool. It gives the backfill's id.
func (w *World) OfBackfill(run int64, share int) int64 {
	w.T.Helper()
	id := Value[int64](w, `INSERT INTO backfill (pipeline_id, schedule_id, from_at, until_at, which, most, pool_share, ticks, waiting)
		SELECT pipeline_id, -id, now(), now(), 'all', 1, $2, 1, 1 FROM run WHERE id = $1 RETURNING id`, run, share)
	w.Exec(`UPDATE run SET backfill_id = $2 WHERE id = $1`, run, id)
	w.Exec(`UPDATE open_run SET backfill_id = $2 WHERE run_id = $1`, run, id)
	return id
}

// StartBackfill asks for runs of the ticks of a pipeline's first schedule, of
// all of them, most at once, newest first, and gives the backfill's id.
func (w *World) StartBackfill(name string, most, share int, ticks ...time.Time) int64 {
	w.T.Helper()
	id := Value[int64](w, `
WITH s AS (
	SELECT s.id, s.pipeline_id FROM schedule s JOIN pipeline p ON p.id = s.pipeline_id WHERE p.name = $1 ORDER BY s.id LIMIT 1
), b AS (
	INSERT INTO backfill (pipeline_id, schedule_id, from_at, until_at, which, most, pool_share, ticks, waiting)
	SELECT s.pipeline_id, s.id, (SELECT min(t) FROM unnest($4::timestamptz[]) t), (SELECT max(t) FROM unnest($4::timestamptz[]) t), 'missing', $2, $3, cardinality($4::timestamptz[]), cardinality($4::timestamptz[])
	FROM s RETURNING id
), t AS (
	INSERT INTO backfill_tick (backfill_id, fire_at, interval_start) SELECT b.id, t, t - interval '1 minute' FROM b, unnest($4::timestamptz[]) t
)
SELECT id FROM b`, name, most, share, ticks)
	w.Exec(`INSERT INTO wake (kind, subject) VALUES ('b', $1)`, id)
	return id
}

// Pass lets time go by for whatever waits for a time to come.
func (w *World) Pass(d time.Duration) {
	w.T.Helper()
	w.Exec(`UPDATE wake SET not_before = not_before - $1::interval WHERE not_before > '-infinity'`, d)
	w.Exec(`UPDATE task SET wake_at = wake_at - $1::interval, deadline_at = deadline_at - $1::interval WHERE ended_at IS NULL`, d)
	w.Exec(`UPDATE open_run SET turn_at = turn_at - $1::interval WHERE turn_at IS NOT NULL`, d)
	w.Exec(`UPDATE late_start SET free_at = free_at - $1::interval`, d)
}

// Cancel asks a run to stop.
func (w *World) Cancel(run int64) {
	w.T.Helper()
	if _, err := w.Pool.Queries().RequestCancel(w.T.Context(), db.RequestCancelParams{Ids: []int64{run}, By: "test"}); err != nil {
		w.T.Fatal(err)
	}
}

// Turn turns each loop once.
func (w *World) Turn() {
	w.T.Helper()
	w.step(w.Admitter.Step)
	w.step(w.Advancer.Step)
	w.step(w.Follower.Step)
}

// Settle turns the loops until nothing is due any more.
func (w *World) Settle() {
	w.T.Helper()
	for range 1000 {
		w.step(w.Admitter.Step)
		w.step(w.Advancer.Step)
		w.step(w.Backfill.Step)
		w.step(w.Follower.Step)
		if Value[int64](w, `SELECT (SELECT count(*) FROM wake WHERE not_before <= now()) + (SELECT count(*) FROM child_run WHERE run_id IS NULL AND reason IS NULL) + (SELECT count(*) FROM follow_up WHERE run_id IS NULL)`) == 0 {
			return
		}
	}
	w.T.Fatal("the wakes do not come to an end")
}

func (w *World) step(step func(context.Context) error) {
	w.T.Helper()
	if err := step(w.T.Context()); !IsMore(err) {
		w.T.Fatal(err)
	}
}

// Claims takes up to n ready tasks of every lane.
func (w *World) Claims(n int) []db.ClaimReadyRow { return w.ClaimsOf(w.Executor, n) }

// ClaimsOf is Claims for another executor.
func (w *World) ClaimsOf(executor uuid.UUID, n int) []db.ClaimReadyRow {
	w.T.Helper()
	rows, err := TryClaim(w, executor, n)
	if err != nil {
		w.T.Fatal(err)
	}
	return rows
}

// TryClaim is Claims that gives its error back.
func TryClaim(w *World, executor uuid.UUID, n int) ([]db.ClaimReadyRow, error) {
	q := w.Pool.Queries()
	lanes, err := q.Lanes(w.T.Context())
	if err != nil {
		return nil, err
	}
	p := db.ClaimReadyParams{Executor: executor, Free: int32(n)}
	for _, l := range lanes {
		p.Lanes = append(p.Lanes, l.ID)
		p.Lows = append(p.Lows, -1<<62)
	}
	for range n {
		p.Tokens = append(p.Tokens, uuid.New())
	}
	return q.ClaimReady(w.T.Context(), p)
}

// End reports how an attempt ended: succeeded, or failed with an exit code, or
// any other state of an attempt. It says whether the report was accepted.
func (w *World) End(c db.ClaimReadyRow, state string, outputs string) bool {
	w.T.Helper()
	return w.Report(c, ending.Report{State: state, Outputs: outputs})
}

// Report reports the end of an attempt.
func (w *World) Report(c db.ClaimReadyRow, r ending.Report) bool {
	w.T.Helper()
	ok, err := TryReport(w, c, r)
	if err != nil {
		w.T.Fatal(err)
	}
	return ok
}

// TryReport is Report that gives its error back.
func TryReport(w *World, c db.ClaimReadyRow, r ending.Report) (bool, error) {
	return report(w, c, r, true)
}

// TryReportUnlocked is TryReport by somebody who forgets to lock the live row
// first.
func TryReportUnlocked(w *World, c db.ClaimReadyRow, r ending.Report) (bool, error) {
	return report(w, c, r, false)
}

func report(w *World, c db.ClaimReadyRow, r ending.Report, lock bool) (bool, error) {
	rev, err := w.Cache.One(w.T.Context(), w.Pool.Queries(), c.RevisionID)
	if err != nil {
		return false, err
	}
	ordinal, _ := flow.Split(int(c.Number))
	if r.State == "failed" && r.Reason == "" {
		one := 1
		r.Reason, r.ExitCode = "exit", &one
	}
	r.Started = true
	var b ending.Batch
	b.Add(rev.Graph.Task(ordinal), ending.Live{
		RunID: c.RunID, Number: c.Number, Token: c.LeaseToken, Executor: w.Executor,
		Failures: c.Failures, Losses: c.Losses, Handbacks: c.Handbacks, LastLoser: c.LastLoser, Losers: c.Losers,
	}, r, 0.5)
	var ended map[uuid.UUID]bool
	asks := []func(*db.Queries) error{func(q *db.Queries) error {
		return q.LockLive(w.T.Context(), []int64{c.RunID}, []int32{c.Number})
	}, func(q *db.Queries) (err error) {
		ended, err = b.Write(w.T.Context(), q)
		return err
	}}
	if !lock {
		asks = asks[1:]
	}
	err = db.InOneTrip(w.T.Context(), w.Pool, asks...)
	return ended[c.LeaseToken], err
}

// RunAll claims and ends everything as result says until the run has ended.
// result gives the state of an attempt of a task and its outputs.
func (w *World) RunAll(run int64, result func(task string, attempt int) (state, outputs string)) {
	w.T.Helper()
	for range 1000 {
		w.Settle()
		if w.RunState(run) != "running" {
			return
		}
		claims := w.Claims(100)
		if len(claims) == 0 {
			w.T.Fatalf("run %d is %s and nothing can be claimed:\n%s", run, w.RunState(run), w.Dump(run))
		}
		for _, c := range claims {
			state, outputs := result(w.Name(c), int(c.Attempt))
			w.End(c, state, outputs)
		}
	}
	w.T.Fatalf("run %d does not end", run)
}

// Name is the name of a claimed task, with its index if it is an item.
func (w *World) Name(c db.ClaimReadyRow) string {
	w.T.Helper()
	name := Value[string](w, `SELECT name FROM task WHERE run_id = $1 AND number = $2`, c.RunID, c.Number)
	if _, index := flow.Split(int(c.Number)); index >= 0 {
		return fmt.Sprintf("%s[%d]", name, index)
	}
	return name
}

// RunState is the state of a run, with its reason behind a colon if it has one.
func (w *World) RunState(run int64) string {
	w.T.Helper()
	return Value[string](w, `SELECT state || CASE WHEN reason <> '' AND ended_at IS NOT NULL THEN ':' || reason ELSE '' END FROM run WHERE id = $1`, run)
}

// Tasks are the states of a run's tasks: "a=succeeded b=skipped:upstream".
func (w *World) Tasks(run int64) string {
	w.T.Helper()
	return Value[string](w, `
SELECT coalesce(string_agg(name || CASE WHEN number % 16384 > 0 THEN '[' || number % 16384 - 1 || ']' ELSE '' END || '=' || state
	|| CASE WHEN reason <> '' THEN ':' || reason ELSE '' END, ' ' ORDER BY number), '') FROM task WHERE run_id = $1`, run)
}

// Dump is all that may explain why a run stands still.
func (w *World) Dump(run int64) string {
	w.T.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, w.Tasks(run))
	for _, table := range []string{"open_run", "ready", "live", "waiter"} {
		fmt.Fprintln(&b, table, Value[string](w, `SELECT coalesce(string_agg(to_jsonb(t)::text, E'\n'), '-') FROM `+table+` t WHERE run_id = $1`, run))
	}
	fmt.Fprintln(&b, "wake", Value[string](w, `SELECT coalesce(string_agg(to_jsonb(t)::text, E'\n'), '-') FROM wake t`))
	return b.String()
}

// IsMore says whether a step only stopped at the end of a full batch.
func IsMore(err error) bool { return err == nil || errors.Is(err, loop.ErrMore) }
