package db_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// Rules that the database keeps whoever writes: states and their times agree, a
// doubled decision is refused. Each statement breaks one on the fixture of the
// invariants.
func TestConstraintsCarryTheRules(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.URL(t))
	fixture(t, conn)
	for _, c := range []struct{ constraint, sql string }{
		{"tick_pkey", "INSERT INTO tick (schedule_id, fire_at, state) SELECT t.schedule_id, t.fire_at, 'missed' FROM tick AS t WHERE t.state = 'run'"},
		{"tick_run", "UPDATE tick SET run_id = NULL WHERE state = 'run'"},
		{"tick_run", "UPDATE tick SET run_id = 1 WHERE state = 'missed'"},
		{"tick_reason", "UPDATE tick SET state = 'skipped', run_id = NULL, reason = '' WHERE state = 'run'"},
		{"tick_until", "UPDATE tick SET until = fire_at - interval '1 s' WHERE state = 'missed'"},
		{"tick_until", "UPDATE tick SET until = fire_at WHERE state = 'run'"},
		{"tick_state_check", "UPDATE tick SET state = 'late', run_id = NULL WHERE state = 'missed'"},
		{"run_ended", "UPDATE run SET ended_at = NULL WHERE state = 'succeeded'"},
		{"run_ended", "UPDATE run SET ended_at = now() WHERE state = 'running'"},
		{"run_started", "UPDATE run SET started_at = NULL WHERE state = 'running'"},
		{"run_tick", "UPDATE run SET schedule_id = NULL WHERE trigger = 'schedule'"},
		{"run_interval", "UPDATE run SET interval_end = interval_start - interval '1 s'"},
		{"run_state_check", "UPDATE run SET state = 'paused' WHERE state = 'running'"},
		{"task_ended", "UPDATE task SET ended_at = NULL WHERE state = 'succeeded'"},
		{"task_ended", "UPDATE task SET ended_at = now() WHERE state = 'waiting'"},
		{"task_ready", "UPDATE task SET ready_at = NULL WHERE state = 'ready'"},
		{"task_state_check", "UPDATE task SET state = 'running' WHERE state = 'ready'"},
		{"task_fan", "UPDATE task SET released = NULL WHERE items IS NOT NULL"},
		{"task_needs_left_check", "UPDATE task SET needs_left = -1"},
		{"attempt_state_check", "UPDATE attempt SET state = 'running'"},
		{"live_pkey", "INSERT INTO live SELECT * FROM live"},
		{"live_stop", "UPDATE live SET stop_reason = 'canceled'"},
		{"live_started", "UPDATE live SET started_at = NULL, state = 'running'"},
		{"ready_pkey", "INSERT INTO ready SELECT * FROM ready"},
		{"ready_attempt_check", "UPDATE ready SET attempt = 0"},
		{"waiter_pkey", "INSERT INTO waiter SELECT * FROM waiter"},
		{"open_run_pkey", "INSERT INTO open_run SELECT * FROM open_run"},
		{"open_run_admitted", "UPDATE open_run SET admitted_at = NULL WHERE state = 'running'"},
		{"open_run_unfinished_check", "UPDATE open_run SET unfinished = -1"},
		{"wake_end", "INSERT INTO wake (kind, subject, number) VALUES ('r', 1, 0)"},
		{"wake_end", "INSERT INTO wake (kind, subject, number, state) VALUES ('p', 1, 0, 'failed')"},
		{"wake_others", "INSERT INTO wake (kind, subject, others) VALUES ('r', 1, '{1}')"},
		{"wake_others", "INSERT INTO wake (kind, subject, number, state, others) VALUES ('r', 1, 0, 'failed', '{}')"},
		{"wake_kind_check", "INSERT INTO wake (kind, subject) VALUES ('x', 1)"},
		{"pipeline_paused", "UPDATE pipeline SET paused_at = now()"},
		{"pipeline_name_key", "INSERT INTO pipeline (namespace, name, source_id) SELECT p.namespace, p.name, p.source_id FROM pipeline AS p"},
		{"revision_number_key", "INSERT INTO revision (pipeline_id, number, content_hash, file, source_text, spec) SELECT v.pipeline_id, v.number, '', '', '', '{}' FROM revision AS v"},
		{"schedule_name_key", "INSERT INTO schedule (pipeline_id, revision_id, name) SELECT s.pipeline_id, s.revision_id, s.name FROM schedule AS s"},
		{"run_group_one", "INSERT INTO run_group (namespace) VALUES ('n')"},
		{"pool_slots_check", "UPDATE pool SET slots = 100001"},
		{"pool_check", "UPDATE pool SET reserve_scheduled = slots"},
		{"request_key_pkey", "INSERT INTO request_key (scope, key, content_hash) VALUES ('s', 'k', ''), ('s', 'k', '')"},
		{"installation_one_check", "INSERT INTO installation (one) VALUES (false)"},
		{"installation_pkey", "INSERT INTO installation DEFAULT VALUES"},
		{"log_chunk_pkey", "INSERT INTO log_chunk SELECT * FROM log_chunk"},
	} {
		err := undone(t, conn, c.sql)
		if got := db.Constraint(err); got != c.constraint {
			t.Errorf("%s: %v (constraint %q), want %s", c.sql, err, got, c.constraint)
		}
	}
	if err := undone(t, conn, "UPDATE revision SET file = 'other'"); err == nil {
		t.Error("a revision was changed")
	}
}

var errUndo = errors.New("undo")

// undone runs a statement and takes it back; the error is the statement's.
func undone(t *testing.T, conn *pgx.Conn, sql string) error {
	t.Helper()
	var err error
	_ = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		var tag pgconn.CommandTag
		if tag, err = tx.Exec(t.Context(), sql); err == nil && tag.RowsAffected() == 0 {
			t.Errorf("%s touched nothing", sql)
		}
		return errUndo
	})
	return err
}

// No index names a column that changes while a task lives, so its updates stay
// heap-only; and the same for a run until it fails.
func TestUpdatesStayHeapOnly(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.URL(t))
	fixture(t, conn)
	exec(t, conn, `INSERT INTO task (run_id, number, name, state) SELECT r.id, 16384 * n, 't', 'waiting' FROM run AS r, generate_series(100, 130) AS n WHERE r.state = 'running'`)
	for _, c := range []struct{ table, sql string }{
		{"task", "UPDATE task SET state = 'ready', ready_at = now(), due_at = now() WHERE state = 'waiting' AND number >= 16384 * 100"},
		{"task", "UPDATE task SET state = 'failed', ended_at = now(), attempt = 1, failures = 1, outputs = '{}' WHERE number >= 16384 * 100"},
		{"run", "UPDATE run SET state = 'succeeded', ended_at = now() WHERE state = 'running'"},
		{"live", "UPDATE live SET state = 'running', started_at = now(), log_seen = 5, wake_at = now()"},
		{"open_run", "UPDATE open_run SET unfinished = 7, failed = 1, phase = 'finally'"},
		{"executor", "UPDATE executor SET beat = beat + 1, lease_until = now()"},
	} {
		const stats = "SELECT coalesce(sum(pg_stat_get_xact_tuples_updated(c.oid)), 0)::int, coalesce(sum(pg_stat_get_xact_tuples_hot_updated(c.oid)), 0)::int FROM pg_class AS c WHERE c.relname ~ ('^' || $1::text || '(_\\d{8})?$') AND c.relkind = 'r'"
		_ = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), c.sql); err != nil {
				t.Errorf("%s: %v", c.sql, err)
				return errUndo
			}
			var updated, hot int
			if err := tx.QueryRow(t.Context(), stats, c.table).Scan(&updated, &hot); err != nil {
				t.Error(err)
			}
			// A full page spills a few.
			if updated == 0 || hot < updated/4 {
				t.Errorf("%s: %d of %d updates stayed heap-only", c.sql, hot, updated)
			}
			return errUndo
		})
	}
	var bad int
	err := conn.QueryRow(t.Context(), `
		SELECT count(*)
		FROM pg_index AS i
		CROSS JOIN LATERAL unnest(i.indkey::int[]) AS k (attnum)
		JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
		WHERE i.indrelid = 'task'::regclass AND (a.attname NOT IN ('run_id', 'number') OR i.indpred IS NOT NULL)`).Scan(&bad)
	if err != nil || bad != 0 {
		t.Errorf("%d index columns of task change (%v), want none", bad, err)
	}
}
