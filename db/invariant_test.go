package db_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// fixture fills a database with one of everything, consistent throughout:
//
//	run 1  a tick's, succeeded: a, b needs a (failed once, tried again), f finally
//	run 2  by hand, running: a fans out over two items, the first live, the second ready
//	run 3  by hand, running: a waits for a pool
//	run 4  by hand, queued behind nothing else of its group
//	run 5  by hand, failed; remote
func fixture(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	exec(t, conn, fixtureSQL)
}

const fixtureSQL = `
DO $fixture$
DECLARE
    base bigint := run_day(now()) << 38;
    ex   uuid := '00000000-0000-0000-0000-0000000000e1';
    tok  text := '00000000-0000-0000-0000-0000000000';
    at   timestamptz := now() - interval '100 s';
BEGIN
INSERT INTO source (name) VALUES ('repo');
INSERT INTO pipeline (namespace, name, source_id, created_at) SELECT 'default', 'p', s.id, at FROM source AS s;
INSERT INTO revision (pipeline_id, number, content_hash, file, source_text, spec, created_at)
SELECT p.id, 1, '', 'p.yaml', '', '{"tasks": {
    "a": {"ordinal": 0, "lost": 1, "retry": {"limit": 0, "delay": "10s", "jitter": 0}, "pool": {"namespace": "default", "name": "db", "slots": 1}},
    "b": {"ordinal": 1, "needs": ["a"], "lost": 3, "retry": {"limit": 1, "delay": "10s", "jitter": 0.1}}},
    "finally": {"f": {"ordinal": 2, "lost": 3, "retry": {"limit": 0, "delay": "10s"}}}}', at FROM pipeline AS p;
UPDATE pipeline AS p SET revision_id = v.id FROM revision AS v;
INSERT INTO pipeline_counter (pipeline_id, last) SELECT p.id, 5 FROM pipeline AS p;
INSERT INTO run_group (namespace, pipeline_id) SELECT 'default', p.id FROM pipeline AS p;
INSERT INTO run_group (namespace, name) VALUES ('default', 'other');
INSERT INTO pool (namespace, name, slots) VALUES ('default', 'db', 4);
INSERT INTO schedule (pipeline_id, revision_id, name, next_at) SELECT p.id, p.revision_id, 'default', now() + interval '1 h' FROM pipeline AS p;
INSERT INTO executor (id, name, slots, lease_until, started_at) VALUES (ex, 'one', 4, now() + interval '15 s', at);

INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, schedule_id, fire_at, scheduled_at, interval_start, interval_end,
    group_id, concurrency_limit, idempotency_key, state, reason, created_at, started_at, ended_at)
SELECT base + n, p.id, p.revision_id, n, 'default', 'p', CASE n WHEN 1 THEN 'schedule' ELSE 'manual' END, CASE n WHEN 1 THEN s.id END, CASE n WHEN 1 THEN at END,
    at, at, at, CASE WHEN n = 4 THEN g.id ELSE o.id END, 4, CASE n WHEN 2 THEN 'mine' END,
    (ARRAY['succeeded', 'running', 'running', 'queued', 'failed'])[n], CASE n WHEN 5 THEN 'tasks' ELSE '' END, at + interval '1 s',
    CASE WHEN n <> 4 THEN at + interval '2 s' END, CASE WHEN n IN (1, 5) THEN at + interval '90 s' END
FROM generate_series(1, 5) AS n, pipeline AS p, schedule AS s, run_group AS g, run_group AS o
WHERE g.name IS NULL AND o.name = 'other';
INSERT INTO tick (schedule_id, fire_at, state, run_id, decided_at) SELECT s.id, at, 'run', base + 1, at + interval '1 s' FROM schedule AS s;
INSERT INTO tick (schedule_id, fire_at, state, until, ticks, decided_at) SELECT s.id, at - interval '3 h', 'missed', at - interval '1 h', 3, at FROM schedule AS s;
INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, admitted_at, created_at, unfinished)
SELECT r.id, r.pipeline_id, r.group_id, r.revision_id, r.state, r.started_at, r.created_at, CASE r.state WHEN 'running' THEN 2 ELSE 0 END
FROM run AS r WHERE r.ended_at IS NULL;

INSERT INTO task (run_id, number, name, state, reason, attempt, failures, needs_left, ready_at, due_at, ended_at) VALUES
    (base + 1, 0, 'a', 'succeeded', '', 1, 0, 0, at + interval '2 s', at + interval '2 s', at + interval '10 s'),
    (base + 1, 16384, 'b', 'succeeded', '', 2, 1, 0, at + interval '30 s', at + interval '10 s', at + interval '40 s'),
    (base + 1, 32768, 'f', 'succeeded', '', 1, 0, 0, at + interval '40 s', at + interval '40 s', at + interval '50 s'),
    (base + 2, 1, 'a', 'ready', '', 0, 0, 0, now(), now(), NULL),
    (base + 2, 2, 'a', 'ready', '', 0, 0, 0, now(), now(), NULL),
    (base + 2, 16384, 'b', 'waiting', '', 0, 0, 1, NULL, NULL, NULL),
    (base + 2, 32768, 'f', 'waiting', '', 0, 0, 0, NULL, NULL, NULL),
    (base + 3, 0, 'a', 'waiting', 'pool', 0, 0, 0, NULL, now(), NULL),
    (base + 3, 16384, 'b', 'waiting', '', 0, 0, 1, NULL, NULL, NULL),
    (base + 3, 32768, 'f', 'waiting', '', 0, 0, 0, NULL, NULL, NULL),
    (base + 5, 0, 'a', 'failed', 'exit', 1, 1, 0, at + interval '2 s', at + interval '2 s', at + interval '80 s'),
    (base + 5, 16384, 'b', 'skipped', 'upstream', 0, 0, 0, NULL, NULL, at + interval '81 s'),
    (base + 5, 32768, 'f', 'succeeded', '', 1, 0, 0, at + interval '81 s', at + interval '81 s', at + interval '90 s');
INSERT INTO task (run_id, number, name, state, items, released, unfinished, ok, failed, canceled, skipped) VALUES (base + 2, 0, 'a', 'waiting', 2, 2, 2, 0, 0, 0, 0);
INSERT INTO attempt (run_id, number, attempt, executor, lease_token, state, reason, exit_code, ready_at, claimed_at, started_at, ended_at, log_seen, log_stored, target, remote_name, handle) VALUES
    (base + 1, 0, 1, ex, (tok || '01')::uuid, 'succeeded', '', 0, at + interval '2 s', at + interval '3 s', at + interval '3 s', at + interval '10 s', 6, 6, NULL, NULL, NULL),
    (base + 1, 16384, 1, ex, (tok || '02')::uuid, 'failed', 'exit', 1, at + interval '10 s', at + interval '11 s', at + interval '11 s', at + interval '20 s', 0, 0, NULL, NULL, NULL),
    (base + 1, 16384, 2, ex, (tok || '03')::uuid, 'succeeded', '', 0, at + interval '30 s', at + interval '31 s', at + interval '31 s', at + interval '40 s', 0, 0, NULL, NULL, NULL),
    (base + 1, 32768, 1, ex, (tok || '04')::uuid, 'succeeded', '', 0, at + interval '40 s', at + interval '41 s', at + interval '41 s', at + interval '50 s', 0, 0, NULL, NULL, NULL),
    (base + 5, 0, 1, ex, (tok || '05')::uuid, 'failed', 'exit', 1, at + interval '2 s', at + interval '3 s', at + interval '3 s', at + interval '80 s', 0, 0, 'k8s/main', 'syn-a-1', '{"id": "job-1"}'),
    (base + 5, 32768, 1, ex, (tok || '06')::uuid, 'succeeded', '', 0, at + interval '81 s', at + interval '82 s', at + interval '82 s', at + interval '90 s', 0, 0, NULL, NULL, NULL);
INSERT INTO live (run_id, number, attempt, executor, lease_token, state, lane, pipeline_id, revision_id, ready_at, claimed_at, started_at, pool_id, slots)
SELECT base + 2, 1, 1, ex, (tok || '07')::uuid, 'running', 1, p.id, p.revision_id, now(), now(), now(), q.id, 1 FROM pipeline AS p, pool AS q;
INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt) SELECT base + 2, 2, 1, 1, p.id, p.revision_id, 1 FROM pipeline AS p;
INSERT INTO waiter (run_id, number, pool_id, rank, slots, lane, pipeline_id, revision_id, attempt) SELECT base + 3, 0, q.id, 1, 1, 1, p.id, p.revision_id, 1 FROM pipeline AS p, pool AS q;
INSERT INTO wake (kind, subject) SELECT 'g', g.id FROM run_group AS g WHERE g.name IS NULL;
INSERT INTO wake (kind, subject, not_before) VALUES ('r', base + 2, now() + interval '1 h');
DELETE FROM wake WHERE kind = 'g';
INSERT INTO log_chunk (day, run_id, number, attempt, seq, at_byte, data) SELECT (now() AT TIME ZONE 'UTC')::date, base + 1, 0, 1, n, n * 3, 'abc' FROM generate_series(0, 1) AS n;
INSERT INTO target (name, kind) VALUES ('k8s/main', 'kubernetes');
INSERT INTO remote_object (run_id, number, attempt, target, shard, remote_name, ended_at, removed_at) VALUES (base + 5, 0, 1, 'k8s/main', 0, 'syn-a-1', at + interval '80 s', now());

INSERT INTO event (kind, entity_id, number, attempt, from_state, to_state, cause, token) VALUES
    ('run', base + 1, NULL, NULL, NULL, 'queued', 'schedule', NULL),
    ('run', base + 1, NULL, NULL, 'queued', 'running', '', NULL),
    ('task', base + 1, 0, 1, 'ready', 'succeeded', '', (tok || '01')::uuid),
    ('task', base + 1, 16384, 1, 'ready', 'waiting', '', (tok || '02')::uuid),
    ('task', base + 1, 16384, 2, 'ready', 'succeeded', '', (tok || '03')::uuid),
    ('run', base + 1, NULL, NULL, 'running', 'succeeded', '', NULL),
    ('run', base + 2, NULL, NULL, NULL, 'queued', 'manual', NULL),
    ('run', base + 2, NULL, NULL, 'queued', 'running', '', NULL),
    ('task', base + 5, 0, 1, 'ready', 'failed', '', (tok || '05')::uuid),
    ('task', base + 5, 16384, NULL, 'waiting', 'skipped', '', NULL);
END $fixture$`

const witnessSQL = `
INSERT INTO h_expected_tick SELECT t.schedule_id, f.at FROM tick AS t CROSS JOIN LATERAL (SELECT t.fire_at AS at UNION SELECT t.until) AS f WHERE f.at IS NOT NULL;
INSERT INTO h_effect (run_id, task, attempt, at, what)
SELECT a.run_id, 'a', 1, a.started_at + w.place * interval '1 s', w.what
FROM attempt AS a, (VALUES (0, 'start'), (1, 'commit'), (2, 'done'), (3, 'end')) AS w (place, what)
WHERE a.number = 0 AND a.state = 'succeeded';
INSERT INTO h_remote (name, remote_id, submitted_at, ended_at) SELECT a.remote_name, a.handle ->> 'id', a.started_at, a.ended_at FROM attempt AS a WHERE a.remote_name IS NOT NULL;
INSERT INTO h_outage VALUES ('database', now() - interval '3 h', now() - interval '2 h');
INSERT INTO h_canary VALUES ('s3cret-value')`

// r2 and so on name the runs of the fixture in corruptions.
var runNames = strings.NewReplacer(
	"$R1", "((run_day(now()) << 38) + 1)", "$R2", "((run_day(now()) << 38) + 2)", "$R3", "((run_day(now()) << 38) + 3)",
	"$R4", "((run_day(now()) << 38) + 4)", "$R5", "((run_day(now()) << 38) + 5)",
)

// Each corruption must be reported by its view. What constraints forbid is done
// without them: the views do not trust the schema.
var corruptions = map[string][]string{
	"inv_01_tick_fired_twice":   {"UPDATE run SET trigger = 'schedule', schedule_id = x.schedule_id, fire_at = x.fire_at FROM run AS x WHERE run.id = $R4 AND x.id = $R1"},
	"inv_02_tick_decided_twice": {"INSERT INTO tick (schedule_id, fire_at, state) SELECT t.schedule_id, t.fire_at + interval '1 h', 'missed' FROM tick AS t WHERE t.until IS NOT NULL"},
	"inv_03_tick_lost":          {"DELETE FROM tick WHERE state = 'missed'"},
	"inv_04_tick_invented":      {"INSERT INTO tick (schedule_id, fire_at, state) SELECT s.id, now(), 'missed' FROM schedule AS s"},
	"inv_05_tick_run_mismatch": {
		"UPDATE tick SET run_id = run_id + 1 WHERE state = 'run'",
		"UPDATE tick SET state = 'missed', run_id = NULL WHERE state = 'run'",
		"DELETE FROM tick WHERE state = 'run'",
	},
	"inv_06_fired_early":      {"UPDATE run SET created_at = fire_at - interval '1 s' WHERE id = $R1"},
	"inv_07_fired_late":       {"UPDATE run SET created_at = fire_at + interval '6 s' WHERE id = $R1"},
	"inv_08_catchup_exceeded": {"UPDATE schedule SET catchup = 'none'; INSERT INTO h_outage SELECT 'scheduler', r.fire_at - interval '1 m', r.created_at FROM run AS r WHERE r.id = $R1; UPDATE run SET created_at = created_at + interval '10 s' WHERE id = $R1; UPDATE h_outage SET to_at = to_at + interval '10 s' WHERE what = 'scheduler'"},
	"inv_09_run_while_paused": {"UPDATE pipeline SET paused_at = now() - interval '1 h', paused_by = 'me'"},
	"inv_10_wrong_revision": {
		"UPDATE run SET pipeline_id = 99 WHERE id = $R1",
		"UPDATE run SET created_at = created_at - interval '1 y' WHERE id = $R1",
	},
	"inv_11_schedule_stalled": {
		"UPDATE schedule SET next_at = now() - interval '10 s'",
		"UPDATE schedule SET next_at = t.fire_at FROM tick AS t WHERE t.state = 'run'",
	},
	"inv_12_request_doubled":     {"UPDATE run SET idempotency_key = 'mine' WHERE id = $R3"},
	"inv_13_run_done_tasks_open": {"UPDATE task SET state = 'waiting', ended_at = NULL WHERE run_id = $R5 AND number = 16384"},
	"inv_14_run_open_tasks_done": {"UPDATE task SET state = 'canceled', ended_at = now() WHERE run_id = $R3"},
	"inv_15_run_state_wrong": {
		"UPDATE run SET state = 'succeeded' WHERE id = $R5",
		"UPDATE run SET state = 'failed', reason = '' WHERE id = $R1",
		"UPDATE run SET state = 'canceled' WHERE id = $R1",
		"UPDATE run SET state = 'skipped' WHERE id = $R1",
	},
	"inv_16_half_made_run": {
		"DELETE FROM task WHERE run_id = $R1 AND number = 16384",
		"DELETE FROM task WHERE run_id = $R1",
		"UPDATE task SET name = 'z' WHERE run_id = $R1 AND number = 32768",
	},
	"inv_17_finish_time": {
		"ALTER TABLE run DROP CONSTRAINT run_ended; UPDATE run SET ended_at = NULL WHERE id = $R1",
		"ALTER TABLE task DROP CONSTRAINT task_ended; UPDATE task SET ended_at = now() WHERE state = 'waiting'",
		"ALTER TABLE attempt DROP CONSTRAINT attempt_state_check; UPDATE attempt SET state = 'running'",
	},
	"inv_18_started_before_upstream": {
		"UPDATE attempt SET claimed_at = claimed_at - interval '5 s' WHERE run_id = $R1 AND number = 16384 AND attempt = 1",
		"UPDATE task SET state = 'failed' WHERE run_id = $R1 AND number = 0",
	},
	"inv_19_waiting_forever": {"UPDATE task SET reason = 'backoff', wake_at = now() - interval '1 m' WHERE run_id = $R3 AND number = 0"},
	"inv_20_ready_too_soon":  {"UPDATE task SET state = 'ready', ready_at = now() WHERE run_id = $R2 AND number = 16384"},
	"inv_21_expanded_twice": {
		"INSERT INTO task (run_id, number, name, state) VALUES ($R2, 3, 'a', 'waiting')",
		"DELETE FROM task WHERE run_id = $R2 AND number = 2",
		"UPDATE task SET name = 'b' WHERE run_id = $R2 AND number = 2",
	},
	"inv_22_two_live_attempts": {"ALTER TABLE live DROP CONSTRAINT live_pkey; INSERT INTO live SELECT * FROM live"},
	"inv_23_running_without_attempt": {
		"DELETE FROM live",
		"DELETE FROM ready",
	},
	"inv_24_attempt_without_task": {
		"UPDATE task SET state = 'waiting' WHERE run_id = $R2 AND number = 1",
		"DELETE FROM task WHERE run_id = $R2 AND number = 2",
		"UPDATE task SET state = 'ready', ready_at = now() WHERE run_id = $R3 AND number = 0",
		"UPDATE ready SET number = 1",
	},
	"inv_25_lease_lapsed_unnoticed": {
		"UPDATE executor SET lease_until = now() - interval '1 m'; UPDATE live SET claimed_at = now() - interval '2 m'",
		"DELETE FROM executor; UPDATE live SET claimed_at = now() - interval '2 m'",
		"UPDATE live SET target = 'k8s/main', shard = 1, state = 'submitting'",
		"UPDATE live SET target = 'k8s/main', shard = 1, state = 'remote'",
	},
	"inv_26_remote_not_removed": {"UPDATE remote_object SET removed_at = NULL, ended_at = now() - interval '2 m'"},
	"inv_27_owner_stopped":      {"UPDATE executor SET stopped_at = now() - interval '1 m'"},
	"inv_28_token_reused":       {"UPDATE live SET lease_token = a.lease_token FROM attempt AS a WHERE a.run_id = $R1 AND a.number = 0"},
	"inv_29_attempt_numbers":    {"UPDATE attempt SET attempt = 3 WHERE run_id = $R1 AND number = 16384 AND attempt = 2"},
	"inv_30_stale_token_wrote":  {"INSERT INTO event (kind, entity_id, number, from_state, to_state, token) SELECT 'task', e.entity_id, e.number, 'ready', 'failed', e.token FROM event AS e WHERE e.number = 16384 AND e.attempt = 1"},
	"inv_31_success_inconsistent": {
		"UPDATE attempt SET state = 'succeeded' WHERE run_id = $R1 AND number = 16384",
		"UPDATE attempt SET state = 'failed' WHERE run_id = $R1 AND number = 0",
		"UPDATE task SET state = 'failed' WHERE run_id = $R1 AND number = 0",
	},
	"inv_32_retry_too_soon": {"UPDATE attempt SET claimed_at = claimed_at - interval '5 s' WHERE run_id = $R1 AND number = 16384 AND attempt = 2"},
	"inv_33_gave_up_early": {
		"UPDATE attempt SET state = 'lost', reason = 'lost' WHERE run_id = $R5 AND number = 0",
		"UPDATE attempt SET state = 'lost', reason = 'drained' WHERE run_id = $R5 AND number = 0",
	},
	"inv_34_time_order": {
		"UPDATE attempt SET started_at = claimed_at - interval '1 s'",
		"UPDATE attempt SET ready_at = claimed_at + interval '1 ms'",
		"UPDATE run SET started_at = created_at - interval '1 s' WHERE id = $R1",
		"UPDATE task SET ended_at = ended_at - interval '5 s' WHERE run_id = $R1",
	},
	"inv_35_cancel_ignored": {"UPDATE run SET cancel_requested_at = created_at WHERE id = $R1"},
	"inv_36_two_at_once":    {"INSERT INTO attempt SELECT (jsonb_populate_record(a, '{\"attempt\": 2, \"lease_token\": \"00000000-0000-0000-0000-0000000000aa\"}')).* FROM attempt AS a WHERE run_id = $R1 AND number = 0; INSERT INTO h_effect (run_id, task, attempt, at, what) SELECT h.run_id, h.task, 2, h.at + interval '1 s', 'start' FROM h_effect AS h WHERE h.what = 'start'"},
	"inv_37_effect_of_unknown": {
		"UPDATE h_effect SET attempt = 7",
		"UPDATE h_effect SET task = 'z'",
	},
	"inv_38_success_without_effect": {
		"DELETE FROM h_effect WHERE what = 'done'",
		"INSERT INTO h_effect SELECT * FROM h_effect WHERE what = 'commit'",
	},
	"inv_39_remote_doubled": {
		"INSERT INTO h_remote (name, remote_id, ended_at) SELECT h.name, 'job-2', h.ended_at FROM h_remote AS h",
		"UPDATE h_remote SET name = 'syn-z'",
	},
	"inv_40_remote_orphan":       {"UPDATE attempt SET handle = NULL WHERE remote_name IS NOT NULL"},
	"inv_41_group_over_limit":    {"UPDATE run SET concurrency_limit = 2"},
	"inv_42_pool_over_limit":     {"UPDATE pool SET slots = 1; UPDATE live SET slots = 1; UPDATE attempt SET ended_at = now() WHERE run_id = $R5 AND number = 0"},
	"inv_43_executor_over_slots": {"UPDATE executor SET slots = 0"},
	"inv_44_log_gap": {
		"UPDATE log_chunk SET seq = 2 WHERE seq = 1",
		"UPDATE log_chunk SET at_byte = 4 WHERE seq = 1",
	},
	"inv_45_log_totals": {
		"DELETE FROM log_chunk WHERE seq = 1",
		"UPDATE attempt SET log_seen = 9 WHERE log_seen = 6",
	},
	"inv_46_log_orphan":    {"UPDATE log_chunk SET attempt = 9"},
	"inv_47_secret_in_log": {"UPDATE log_chunk SET data = CASE seq WHEN 0 THEN 's3cret'::bytea ELSE '-value'::bytea END"},
	"inv_48_left_terminal_state": {
		"INSERT INTO event (kind, entity_id, from_state, to_state) VALUES ('run', $R1, 'succeeded', 'running')",
		"INSERT INTO event (kind, entity_id, number, from_state, to_state) VALUES ('task', $R1, 0, 'ready', 'failed')",
	},
	"inv_49_history_broken": {
		"DELETE FROM event WHERE kind = 'run' AND to_state = 'running' AND entity_id = $R1",
		"UPDATE run SET state = 'canceled' WHERE id = $R1",
		"UPDATE task SET state = 'failed' WHERE run_id = $R1 AND number = 0",
	},
	"inv_50_illegal_transition": {
		"UPDATE event SET from_state = 'queued' WHERE kind = 'run' AND to_state = 'succeeded'",
		"UPDATE event SET from_state = 'succeeded' WHERE kind = 'task'",
	},
	"inv_53_tried_too_often": {"UPDATE revision SET spec = jsonb_set(spec, '{tasks,b,retry,limit}', '0'); UPDATE attempt SET state = 'failed' WHERE run_id = $R1"},
	"inv_54_remote_outlives_attempt": {
		"UPDATE h_remote SET ended_at = ended_at + interval '5 s'",
		"UPDATE h_remote SET ended_at = NULL",
	},
	"inv_55_secret_in_row": {
		"UPDATE run SET params = '{\"x\": \"s3cret-value\"}' WHERE id = $R1",
		"UPDATE event SET detail = '\"s3cret-value\"'",
		"UPDATE live SET remote_detail = 's3cret-value'",
	},
	"inv_56_ready_unclaimed": {"UPDATE ready SET ready_at = now() - interval '1 m'"},
	"inv_57_open_run_differs": {
		"DELETE FROM open_run WHERE run_id = $R2",
		"UPDATE open_run SET state = 'running', admitted_at = now() WHERE run_id = $R4",
		"INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state) SELECT $R1, o.pipeline_id, o.group_id, o.revision_id, 'queued' FROM open_run AS o LIMIT 1",
		"INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state) SELECT $R1 + 77, o.pipeline_id, o.group_id, o.revision_id, 'queued' FROM open_run AS o LIMIT 1",
	},
	"inv_58_counter_drifted": {
		"UPDATE open_run SET unfinished = 1 WHERE run_id = $R2",
		"UPDATE task SET ok = 1, unfinished = 1 WHERE items IS NOT NULL",
	},
	"inv_67_backfill_drifted": {
		"WITH b AS (" + aBackfill + "), t AS (INSERT INTO backfill_tick (backfill_id, fire_at, interval_start) SELECT b.id, now(), now() FROM b) SELECT 1 FROM b",
		"WITH b AS (" + aBackfill + ") INSERT INTO wake (kind, subject) SELECT 'b', b.id FROM b",
	},
	"inv_68_backfill_run_doubled": {"UPDATE run SET trigger = 'backfill', schedule_id = 1, fire_at = now() - interval '1 day' WHERE ended_at IS NULL"},
	"inv_69_triggers_differ": {
		"INSERT INTO pipeline_trigger (pipeline_id, ordinal, revision_id, upstream_namespace, upstream_name) SELECT p.id, 0, p.revision_id, 'default', 'up' FROM pipeline AS p",
		`UPDATE revision SET spec = spec || '{"triggers": [{"namespace": "default", "name": "up"}]}'`,
	},
	"inv_59_wake_ignored": {"UPDATE wake SET not_before = '-infinity'"},
	"inv_61_waits_for_nothing": {
		"UPDATE task SET reason = 'wait' WHERE run_id = $R3 AND number = 0",
		"UPDATE task SET reason = 'approval' WHERE run_id = $R3 AND number = 0",
		"UPDATE task SET reason = 'child' WHERE run_id = $R3 AND number = 0",
		"INSERT INTO approval (run_id, number, pipeline_id, prompt) VALUES ($R3, 0, 1, '')",
		"INSERT INTO child_run (parent_run_id, parent_number, attempt, namespace, pipeline, waits, depth) VALUES ($R3, 0, 1, '', '', true, 1)",
		"INSERT INTO http_wait (run_id, number, revision_id, target, every_ms) VALUES ($R3, 0, 1, 'x', 1000)",
	},
	"inv_62_answer_ignored": {
		"INSERT INTO http_wait (run_id, number, revision_id, target, every_ms, ended_at, state) VALUES ($R3, 0, 1, 'x', 1000, now() - interval '1 m', 'succeeded')",
		"UPDATE task SET reason = 'wait', wake_at = now() - interval '1 m' WHERE run_id = $R3 AND number = 0",
		"UPDATE task SET reason = 'wait', wake_at = now() + interval '1 m', deadline_at = now() - interval '1 m' WHERE run_id = $R3 AND number = 0",
		"INSERT INTO approval (run_id, number, pipeline_id, prompt, decision, decided_at) VALUES ($R3, 0, 1, '', 'approved', now() - interval '1 m')",
		"INSERT INTO approval (run_id, number, pipeline_id, prompt, deadline_at) VALUES ($R3, 0, 1, '', now() - interval '1 m')",
		"INSERT INTO child_run (parent_run_id, parent_number, attempt, namespace, pipeline, waits, depth, asked_at) VALUES ($R3, 0, 1, '', '', true, 1, now() - interval '1 m')",
		"INSERT INTO child_run (parent_run_id, parent_number, attempt, namespace, pipeline, waits, depth, run_id, number) VALUES ($R3, 0, 1, '', '', true, 1, $R5, 5); UPDATE run SET ended_at = now() - interval '1 m' WHERE id = $R5",
		"INSERT INTO follow_up (upstream_run_id, pipeline_id, ordinal, depth, asked_at) VALUES ($R3, 1, 0, 1, now() - interval '1 m')",
	},
}

// These look at sessions of the server; dbtest's own check covers them.
var notCorrupted = []string{"inv_51_stuck_session", "inv_52_lock_left"}

const aBackfill = `INSERT INTO backfill (pipeline_id, schedule_id, from_at, until_at, which, most, ticks, waiting)
	SELECT p.id, 1, now(), now(), 'all', 1, 1, 1 FROM pipeline AS p LIMIT 1 RETURNING id`

func TestInvariantsHoldOnWhatIsConsistentAndReportWhatIsNot(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	if err := dbtest.InstallHarness(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	fixture(t, conn)
	exec(t, conn, witnessSQL)
	exec(t, conn, "ALTER TABLE revision DISABLE TRIGGER revision_immutable")

	got, err := dbtest.Invariants(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 0 {
		t.Fatalf("the fixture is reported by %v, want by none", got)
	}
	rows, err := conn.Query(t.Context(), "SELECT r.inv FROM inv.report() AS r")
	if err != nil {
		t.Fatal(err)
	}
	views, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(maps.Keys(corruptions))
	want = slices.Sorted(slices.Values(append(want, notCorrupted...)))
	if !slices.Equal(views, want) {
		t.Errorf("views and corruptions differ:\n%q\n%q", views, want)
	}
	for _, view := range slices.Sorted(maps.Keys(corruptions)) {
		for _, sql := range corruptions[view] {
			_ = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), runNames.Replace(sql)); err != nil {
					t.Errorf("%s: %s: %v", view, sql, err)
					return errUndo
				}
				var n int
				if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM inv."+view).Scan(&n); err != nil {
					t.Errorf("%s: %v", view, err)
				} else if n == 0 {
					t.Errorf("%s does not report: %s", view, sql)
				}
				return errUndo
			})
		}
	}
}

func TestSelfCheckSaysWhatIsBroken(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	conn := connect(t, url)
	fixture(t, conn)
	pool := dbtest.Open(t, db.Config{URL: url, Purpose: db.Upkeep})
	if got, err := db.SelfCheck(t.Context(), pool, true); err != nil || len(got) != 0 {
		t.Fatalf("the fixture is broken: %v, %v", got, err)
	}
	exec(t, conn, "DELETE FROM ready")
	exec(t, conn, "UPDATE wake SET not_before = '-infinity'")
	got, err := db.SelfCheck(t.Context(), pool, false)
	if err != nil || len(got) != 1 || got[0].Name != "inv_23_running_without_attempt" || !strings.Contains(got[0].Example, `"number": 2`) {
		t.Errorf("SelfCheck = %v, %v, want the released task that is nowhere", got, err)
	}
	if got, err := db.SelfCheck(t.Context(), pool, true); err != nil || len(got) != 2 {
		t.Errorf("SelfCheck when quiet = %v, %v, want the ignored wake too", got, err)
	}
}
