// Package exectest is what an executor meets in its tests: a private database
// with definitions, runs and ready rows, written by hand as a scheduler would.
package exectest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// A World is one database.
type World struct {
	T    testing.TB
	URL  string
	Pool *db.Pool

	pipelines map[string]*registered
}

type registered struct {
	id, revision, group int64
	p                   *pipeline.Pipeline
}

// New makes a World with the pipelines of a file.
func New(t testing.TB, text string) *World {
	t.Helper()
	w := &World{T: t, URL: dbtest.URL(t), pipelines: map[string]*registered{}}
	w.Pool = dbtest.Open(t, db.Config{URL: w.URL, Purpose: db.Control, MaxConns: 8})
	w.Register(text)
	return w
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

// Register stores pipelines.
func (w *World) Register(text string) {
	w.T.Helper()
	src, problems := pipeline.Parse([]pipeline.File{{Name: "test.yaml", Text: []byte(text)}}, pipeline.Options{})
	if src == nil || problems.Errors() > 0 {
		w.T.Fatalf("parse: %v", problems)
	}
	w.Exec(`INSERT INTO source (name) VALUES ('test') ON CONFLICT DO NOTHING`)
	for _, p := range src.Pipelines() {
		spec, err := json.Marshal(p)
		if err != nil {
			w.T.Fatal(err)
		}
		r := &registered{p: p}
		r.id = Value[int64](w, `INSERT INTO pipeline (namespace, name, source_id) SELECT $1, $2, id FROM source RETURNING id`, p.Namespace, p.Name)
		r.revision = Value[int64](w, `INSERT INTO revision (pipeline_id, number, content_hash, file, source_text, spec) VALUES ($1, 1, '', 'test.yaml', '', $2) RETURNING id`, r.id, string(spec))
		r.group = Value[int64](w, `INSERT INTO run_group (namespace, pipeline_id) VALUES ($1, $2) RETURNING id`, p.Namespace, r.id)
		w.Exec(`UPDATE pipeline SET revision_id = $2 WHERE id = $1`, r.id, r.revision)
		for _, t := range append(append(pipeline.Tasks{}, p.Tasks...), p.Finally...) {
			w.lane(t)
		}
		w.pipelines[p.Name] = r
	}
}

func (w *World) lane(t *pipeline.Task) int32 {
	w.T.Helper()
	labels := t.RunsOn
	if labels == nil {
		labels = []string{}
	}
	return Value[int32](w, `INSERT INTO lane (labels) VALUES ($1) ON CONFLICT ON CONSTRAINT lane_key DO UPDATE SET target = '' RETURNING id`, labels)
}

// Run makes a run that is under way, with its tasks waiting.
func (w *World) Run(name string) int64 {
	w.T.Helper()
	r := w.pipelines[name]
	id := Value[int64](w, `
WITH r AS (
	INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, scheduled_at, interval_start, interval_end, group_id, state, started_at)
	SELECT next_run_id(), $1, $2, 1, $3, $4, 'manual', now(), now(), now(), $5, 'running', now()
	RETURNING id
), o AS (
	INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, admitted_at, unfinished)
	SELECT id, $1, $5, $2, 'running', now(), $6 FROM r
)
SELECT id FROM r`, r.id, r.revision, r.p.Namespace, r.p.Name, r.group, len(r.p.Tasks))
	for _, t := range append(append(pipeline.Tasks{}, r.p.Tasks...), r.p.Finally...) {
		w.Exec(`INSERT INTO task (run_id, number, name, state) VALUES ($1, $2, $3, 'waiting')`, id, flow.Number(t.Ordinal), t.Name)
	}
	return id
}

// Task finds a task of a pipeline.
func (w *World) Task(name, task string) *pipeline.Task {
	w.T.Helper()
	p := w.pipelines[name].p
	for _, t := range append(append(pipeline.Tasks{}, p.Tasks...), p.Finally...) {
		if t.Name == task {
			return t
		}
	}
	w.T.Fatalf("no task %s", task)
	return nil
}

// Release makes tasks of a run ready: once, and again when they are back to
// waiting.
func (w *World) Release(run int64, name string, tasks ...string) {
	w.T.Helper()
	for _, task := range tasks {
		t := w.Task(name, task)
		w.release(run, w.pipelines[name], t, flow.Number(t.Ordinal), flow.Number(t.Ordinal))
	}
}

// ReleaseItems makes n items of a fan-out ready, each with its index times ten.
func (w *World) ReleaseItems(run int64, name, task string, n int) {
	w.T.Helper()
	t := w.Task(name, task)
	w.Exec(`UPDATE task SET state = 'ready', ready_at = now(), items = $3, released = $3, unfinished = $3, ok = 0, failed = 0, canceled = 0, skipped = 0
		WHERE run_id = $1 AND number = $2`, run, flow.Number(t.Ordinal), n)
	w.Exec(`INSERT INTO task (run_id, number, name, item, state) SELECT $1, $2::int + i + 1, $3, to_jsonb(i * 10), 'waiting' FROM generate_series(0, $4::int - 1) AS i`,
		run, flow.Number(t.Ordinal), task, n)
	w.release(run, w.pipelines[name], t, flow.ItemNumber(t.Ordinal, 0), flow.ItemNumber(t.Ordinal, n-1))
}

func (w *World) release(run int64, r *registered, t *pipeline.Task, first, last int) {
	w.T.Helper()
	w.Exec(`
WITH moved AS (
	UPDATE task SET state = 'ready', reason = '', ready_at = now() WHERE run_id = $1 AND number BETWEEN $2 AND $3 AND state = 'waiting'
	RETURNING run_id, number, attempt, failures, losses, handbacks, last_loser, losers
)
INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt, failures, losses, handbacks, last_loser, losers)
SELECT run_id, number, $4, (extract(epoch FROM now()) * 1000)::bigint - $7::int * 60000, $5, $6, attempt + 1, failures, losses, handbacks, last_loser, losers FROM moved`,
		run, first, last, w.lane(t), r.id, r.revision, t.Priority)
}

// Stop asks the live attempts of a run to stop.
func (w *World) Stop(run int64, reason string) {
	w.T.Helper()
	w.Exec(`UPDATE live SET stop_reason = $2, stop_requested_at = now() WHERE run_id = $1`, run, reason)
	w.Exec(`SELECT pg_notify('syn_stop', '')`)
}

// Until waits for a condition, 20 s at most.
func (w *World) Until(what string, done func() bool) {
	w.T.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			w.T.Fatalf("waited in vain for: %s\n%s", what, w.Dump())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// UntilEnded waits until nothing is ready or live.
func (w *World) UntilEnded() {
	w.T.Helper()
	w.Until("nothing is ready or live", func() bool {
		return Value[int64](w, `SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM live)`) == 0
	})
}

// Attempts are the finished attempts of a run: "a#1 succeeded b#1 failed:exit".
func (w *World) Attempts(run int64) string {
	w.T.Helper()
	return Value[string](w, `
SELECT coalesce(string_agg(t.name || CASE WHEN t.number % 16384 > 0 THEN '[' || t.number % 16384 - 1 || ']' ELSE '' END || '#' || a.attempt || ' ' || a.state
	|| CASE WHEN a.reason <> '' THEN ':' || a.reason ELSE '' END, ' ' ORDER BY a.number, a.attempt), '')
FROM attempt AS a JOIN task AS t ON t.run_id = a.run_id AND t.number = a.number WHERE a.run_id = $1`, run)
}

// TaskState is the state of a task, with its reason behind a colon.
func (w *World) TaskState(run int64, name, task string) string {
	w.T.Helper()
	return Value[string](w, `SELECT state || CASE WHEN reason <> '' THEN ':' || reason ELSE '' END FROM task WHERE run_id = $1 AND number = $2`,
		run, flow.Number(w.Task(name, task).Ordinal))
}

// Log is the stored output of a run's attempts, in order.
func (w *World) Log(run int64) string {
	w.T.Helper()
	return string(Value[[]byte](w, `SELECT coalesce(string_agg(data, '' ORDER BY number, attempt, seq), '') FROM log_chunk WHERE run_id = $1`, run))
}

// schedulers are the invariants that a scheduler keeps: there is none here that
// would count, look, start runs, and keep the order of tasks.
var schedulers = []string{"inv_14_", "inv_18_", "inv_19_", "inv_20_", "inv_41_", "inv_57_", "inv_58_", "inv_59_"}

// Check fails the test if an invariant does not hold that executors keep.
func (w *World) Check() {
	w.T.Helper()
	broken, err := dbtest.Invariants(w.T.Context(), w.URL)
	if err != nil {
		w.T.Fatal(err)
	}
	for name, n := range broken {
		if slices.ContainsFunc(schedulers, func(inv string) bool { return strings.HasPrefix(name, inv) }) {
			continue
		}
		w.T.Errorf("invariant %s: %d rows", name, n)
	}
}

// Dump is all that may explain a test that waits in vain.
func (w *World) Dump() string {
	w.T.Helper()
	var b strings.Builder
	for _, table := range []string{"executor", "ready", "live", "task", "attempt"} {
		fmt.Fprintln(&b, table, Value[string](w, `SELECT coalesce(string_agg(left(to_jsonb(t)::text, 600), E'\n'), '-') FROM (SELECT * FROM `+table+` LIMIT 4) t`))
	}
	return b.String()
}

// RunMany makes n runs of a pipeline and releases one task of each.
func (w *World) RunMany(name, task string, n int) {
	w.T.Helper()
	r, t := w.pipelines[name], w.Task(name, task)
	w.Exec(`
WITH r AS (
	INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, scheduled_at, interval_start, interval_end, group_id, state, started_at)
	SELECT next_run_id(), $1, $2, i, $3, $4, 'manual', now(), now(), now(), $5, 'running', now() FROM generate_series(1, $6::int) AS i
	RETURNING id
), o AS (
	INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, admitted_at, unfinished)
	SELECT id, $1, $5, $2, 'running', now(), 1 FROM r
), t AS (
	INSERT INTO task (run_id, number, name, state, ready_at) SELECT id, $7, $8, 'ready', now() FROM r
)
INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt) SELECT id, $7, $9, id % 1000000, $1, $2, 1 FROM r`,
		r.id, r.revision, r.p.Namespace, r.p.Name, r.group, n, flow.Number(t.Ordinal), t.Name, w.lane(t))
}

// Held is a transaction that stands still with its locks.
type Held struct {
	w      *World
	exec   func(sql string) error
	commit func() error
	pid    uint32
}

// Hold locks tables until Release.
func (w *World) Hold(tables string) *Held {
	w.T.Helper()
	h := w.Begin()
	h.Exec("LOCK TABLE " + tables + " IN ACCESS EXCLUSIVE MODE")
	return h
}

// Begin opens a transaction that lasts until Release.
func (w *World) Begin() *Held {
	w.T.Helper()
	tx, err := w.Pool.PGX().Begin(w.T.Context())
	if err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return &Held{
		w: w, pid: tx.Conn().PgConn().PID(),
		exec:   func(sql string) error { _, err := tx.Exec(w.T.Context(), sql); return err },
		commit: func() error { return tx.Commit(w.T.Context()) },
	}
}

// Exec runs SQL in the transaction that holds the lock.
func (h *Held) Exec(sql string) {
	h.w.T.Helper()
	if err := h.exec(sql); err != nil {
		h.w.T.Fatalf("%s: %v", sql, err)
	}
}

// Waiting says whether somebody waits for the lock.
func (h *Held) Waiting() bool {
	h.w.T.Helper()
	return Value[bool](h.w, `SELECT EXISTS (SELECT FROM pg_stat_activity AS a WHERE $1 = ANY(pg_blocking_pids(a.pid)))`, int32(h.pid))
}

// Release commits what was done and gives up the lock.
func (h *Held) Release() {
	h.w.T.Helper()
	if err := h.commit(); err != nil {
		h.w.T.Fatal(err)
	}
}
