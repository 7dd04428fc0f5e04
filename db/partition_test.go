package db_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// now is the database's clock.
func now(t *testing.T, conn *pgx.Conn) time.Time {
	t.Helper()
	var at time.Time
	if err := conn.QueryRow(t.Context(), "SELECT now()").Scan(&at); err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

func count(t *testing.T, conn *pgx.Conn, sql string, args ...any) int {
	t.Helper()
	var n int
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// insertDay writes a row of every kind of history as of a day.
func insertDay(conn *pgx.Conn, t *testing.T, at time.Time) error {
	t.Helper()
	id := "(run_day($1) << 38) + nextval('run_seq')"
	for _, sql := range []string{
		`INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, scheduled_at, interval_start, interval_end, group_id, state, ended_at)
			SELECT ` + id + `, 1, 1, 1, 'n', 'p', 'manual', $1, $1, $1, 1, 'succeeded', $1`,
		"INSERT INTO task (run_id, number, name, state) SELECT " + id + ", 0, 't', 'waiting' FROM (SELECT $1::timestamptz) AS x",
		`INSERT INTO attempt (run_id, number, attempt, executor, lease_token, state, ready_at, claimed_at, ended_at)
			SELECT ` + id + ", 0, 1, gen_random_uuid(), gen_random_uuid(), 'succeeded', $1, $1, $1",
		"INSERT INTO log_chunk (day, run_id, number, attempt, seq, at_byte, data) SELECT ($1::timestamptz AT TIME ZONE 'UTC')::date, nextval('run_seq'), 0, 1, 0, 0, ''",
		"INSERT INTO event (day, kind) SELECT ($1::timestamptz AT TIME ZONE 'UTC')::date, 'run'",
		"INSERT INTO tick (schedule_id, fire_at, state) SELECT 1, $1, 'missed' ON CONFLICT DO NOTHING",
	} {
		if _, err := conn.Exec(t.Context(), strings.ReplaceAll(sql, "run_day($1)", "run_day($1::timestamptz)"), at); err != nil {
			return err
		}
	}
	return nil
}

func TestEveryDayHasItsPartitionsHoweverTheClockMoves(t *testing.T) {
	t.Parallel()
	u := dbtest.URL(t)
	pool, conn := dbtest.Open(t, configFor(u)), connect(t, u)
	q := pool.Queries()
	today := now(t, conn)
	if _, err := q.EnsurePartitions(t.Context(), nil, db.DaysAhead); err != nil {
		t.Fatal(err)
	}
	for _, day := range []int{-1, 0, 1, 14} {
		if err := insertDay(conn, t, today.AddDate(0, 0, day)); err != nil {
			t.Errorf("day %+d: %v", day, err)
		}
	}
	if made, err := q.EnsurePartitions(t.Context(), nil, db.DaysAhead); err != nil || made != 0 {
		t.Errorf("made %d again (%v), want none", made, err)
	}

	// The clock jumps by a year; then a machine was off for a month; then the clock
	// goes back to where it was.
	for _, days := range []int{365, 400, 0, 3} {
		at := today.AddDate(0, 0, days)
		err := insertDay(conn, t, at)
		if fresh := days > 14; fresh != db.IsNoPartition(err) || !fresh && err != nil {
			t.Errorf("day %+d before: %v", days, err)
		}
		if _, err := q.EnsurePartitions(t.Context(), &at, db.DaysAhead); err != nil {
			t.Fatal(err)
		}
		if ahead, err := q.PartitionsAhead(t.Context(), &at); err != nil || ahead < db.DaysAhead {
			t.Errorf("day %+d: %d days ahead (%v), want %d", days, ahead, err, db.DaysAhead)
		}
		if err := insertDay(conn, t, at); err != nil {
			t.Errorf("day %+d after: %v", days, err)
		}
	}
	// A tick may be decided long after it was due: all time has a partition.
	for days := -4000; days < 400; days += 7 {
		at := today.AddDate(0, 0, days)
		if _, err := conn.Exec(t.Context(), "INSERT INTO tick (schedule_id, fire_at, state) VALUES (2, $1, 'missed')", at); err != nil {
			t.Errorf("tick of day %+d: %v", days, err)
		}
	}
}

func TestPartitionsMadeSideBySide(t *testing.T) {
	t.Parallel()
	u := dbtest.URL(t)
	pool, conn := dbtest.Open(t, configFor(u)), connect(t, u)
	at := now(t, conn).AddDate(1, 0, 0)
	var mu sync.Mutex
	var total int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			made, err := pool.Queries().EnsurePartitions(t.Context(), &at, 3)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			total += made
			mu.Unlock()
		})
	}
	wg.Wait()
	if total != 5*6 {
		t.Errorf("%d partitions were made, want each of 30 once", total)
	}
}

func TestPartitionsHaveTheRulesOfTheirParents(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.URL(t))
	day := today(t, conn)
	for _, parent := range []string{"tick", "run", "task", "attempt", "log_chunk", "event"} {
		const describe = `
			SELECT string_agg(d.line, E'\n' ORDER BY d.line)
			FROM (
				SELECT pg_get_constraintdef(c.oid) AS line FROM pg_constraint AS c WHERE c.conrelid = $1::text::regclass AND c.conname <> 'before_end' AND c.contype <> 'n'
				UNION ALL
				SELECT regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \S+ ON (ONLY )?\S+ USING', '') FROM pg_index AS i WHERE i.indrelid = $1::text::regclass
				UNION ALL
				SELECT a.attname || ' ' || a.atttypid::regtype || ' ' || a.attnotnull || a.attgenerated::text FROM pg_attribute AS a WHERE a.attrelid = $1::text::regclass AND a.attnum > 0
			) AS d`
		var want, got string
		if err := conn.QueryRow(t.Context(), describe, parent).Scan(&want); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(t.Context(), describe, parent+"_"+day).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s_%s has\n%s\nwant\n%s", parent, day, got, want)
		}
	}
	var options string
	if err := conn.QueryRow(t.Context(), "SELECT array_to_string(c.reloptions, ' ') FROM pg_class AS c WHERE c.relname = $1", "task_"+day).Scan(&options); err != nil || options != "fillfactor=70" {
		t.Errorf("task partitions have options %q (%v), want room for HOT updates", options, err)
	}
}

func TestRetentionDropsWholeDays(t *testing.T) {
	t.Parallel()
	u := dbtest.URL(t)
	pool, conn := dbtest.Open(t, db.Config{URL: u, Purpose: db.Upkeep}), connect(t, u)
	q := pool.Queries()
	today := now(t, conn)
	old := today.AddDate(0, 0, -40)
	// As if it had been installed then: the oldest partition of ticks begins where time begins.
	exec(t, conn, "DO $$ DECLARE part regclass; BEGIN FOR part IN SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = 'tick'::regclass LOOP EXECUTE 'DROP TABLE ' || part; END LOOP; END $$")
	if _, err := q.EnsurePartitions(t.Context(), &old, 45); err != nil {
		t.Fatal(err)
	}
	for d := -41; d <= 0; d++ {
		if err := insertDay(conn, t, today.AddDate(0, 0, d)); err != nil {
			t.Fatal(err)
		}
	}
	day := old.Truncate(24 * time.Hour)
	in := func(table string) int {
		key := "run_id"
		if table == "run" {
			key = "id"
		}
		return count(t, conn, fmt.Sprintf("SELECT count(*) FROM %s AS x WHERE x.%s >> 38 = run_day($1)", table, key), day)
	}
	if in("run") != 1 || in("task") != 1 || in("attempt") != 1 {
		t.Fatal("no rows to drop")
	}

	// A run of that day is open: it stays.
	exec(t, conn, "INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state) SELECT min(id), 1, 1, 1, 'queued' FROM run WHERE id >= run_day($1::timestamptz) << 38", day)
	if dropped, err := q.DropRuns(t.Context(), day); err != nil || dropped {
		t.Errorf("DropRuns with an open run = %v, %v, want false", dropped, err)
	}
	exec(t, conn, "DELETE FROM open_run")
	if dropped, err := q.DropRuns(t.Context(), day); err != nil || !dropped {
		t.Errorf("DropRuns = %v, %v, want true", dropped, err)
	}
	if in("run") != 0 || in("task") != 0 || in("attempt") != 0 {
		t.Error("rows are left")
	}
	if dropped, err := q.DropRuns(t.Context(), day); err != nil || !dropped {
		t.Errorf("DropRuns again = %v, %v, want true", dropped, err)
	}

	// Logs of an attempt that is alive stay.
	exec(t, conn, `INSERT INTO live (run_id, number, attempt, executor, lease_token, lane, pipeline_id, revision_id, ready_at, claimed_at)
		VALUES (1, 0, 1, gen_random_uuid(), gen_random_uuid(), 1, 1, 1, $1, $1)`, old)
	if dropped, err := q.DropLogs(t.Context(), day); err != nil || dropped {
		t.Errorf("DropLogs under a live attempt = %v, %v, want false", dropped, err)
	}
	exec(t, conn, "DELETE FROM live")
	if dropped, err := q.DropLogs(t.Context(), day); err != nil || !dropped {
		t.Errorf("DropLogs = %v, %v, want true", dropped, err)
	}
	if dropped, err := q.DropEvents(t.Context(), day); err != nil || !dropped {
		t.Errorf("DropEvents = %v, %v, want true", dropped, err)
	}
	if n := count(t, conn, "SELECT count(*) FROM event WHERE day = $1", day) + count(t, conn, "SELECT count(*) FROM log_chunk WHERE day = $1", day); n != 0 {
		t.Errorf("%d events and chunks are left", n)
	}

	// The ledger keeps the newer ticks and can still take old ones.
	before := count(t, conn, "SELECT count(*) FROM tick WHERE fire_at >= $1", day.AddDate(0, 0, 1))
	if _, err := q.DropTicks(t.Context(), day); err != nil {
		t.Fatal(err)
	}
	if n := count(t, conn, "SELECT count(*) FROM tick WHERE fire_at < $1", day.AddDate(0, 0, 1)); n != 0 {
		t.Errorf("%d old ticks are left", n)
	}
	if n := count(t, conn, "SELECT count(*) FROM tick"); n != before || n == 0 {
		t.Errorf("%d newer ticks are left, want %d", n, before)
	}
	exec(t, conn, "INSERT INTO tick (schedule_id, fire_at, state, until) VALUES (9, '1999-01-01', 'missed', now())")

	// What is young is not dropped, whoever asks.
	for _, err := range []error{
		second(q.DropRuns(t.Context(), today)), second(q.DropTicks(t.Context(), today)),
		second(q.DropLogs(t.Context(), today)), second(q.DropEvents(t.Context(), today.AddDate(0, 0, -1))),
	} {
		if err == nil || !strings.Contains(err.Error(), "too young") {
			t.Errorf("dropping the present: %v, want a refusal", err)
		}
	}
	days, err := q.PartitionsBefore(t.Context(), "run", today.AddDate(0, 0, -38))
	if err != nil || len(days) != 2 || !days[0].Before(days[1]) {
		t.Errorf("PartitionsBefore = %v, %v, want the two days that are left, oldest first", days, err)
	}
}

func second[T any](_ T, err error) error { return err }

// A rerun takes its open_run row first. Whichever comes first, a run is either
// kept whole or gone when the rerun looks.
func TestDroppingWaitsForARerunAndNobodyWaitsForLong(t *testing.T) {
	t.Parallel()
	u := dbtest.URL(t)
	pool, conn, rerun := dbtest.Open(t, db.Config{URL: u, Purpose: db.Upkeep}), connect(t, u), connect(t, u)
	q := pool.Queries()
	day := now(t, conn).AddDate(0, 0, -20).Truncate(24 * time.Hour)
	if _, err := q.EnsurePartitions(t.Context(), &day, 1); err != nil {
		t.Fatal(err)
	}
	if err := insertDay(conn, t, day); err != nil {
		t.Fatal(err)
	}
	begin := func() pgx.Tx {
		tx, err := rerun.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state) SELECT id, 1, 1, 1, 'queued' FROM run"); err != nil {
			t.Fatal(err)
		}
		return tx
	}

	tx := begin()
	if _, err := tx.Exec(t.Context(), "UPDATE run SET state = 'queued', ended_at = NULL"); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	if _, err := q.DropRuns(t.Context(), day); !db.IsBusy(err) {
		t.Errorf("DropRuns during a rerun: %v, want busy", err)
	}
	if d := time.Since(at); d > 5*time.Second {
		t.Errorf("everybody waited %v behind the drop", d)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dropped, err := q.DropRuns(t.Context(), day); err != nil || dropped {
		t.Errorf("DropRuns after a rerun = %v, %v, want false", dropped, err)
	}

	exec(t, conn, "DELETE FROM open_run")
	tx = begin()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dropped, err := q.DropRuns(t.Context(), day); err != nil || !dropped {
		t.Errorf("DropRuns = %v, %v, want true", dropped, err)
	}
}

func TestRunIDsCarryTheirDayAndFitJSON(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.URL(t))
	if n := count(t, conn, "SELECT count(*) FROM generate_series(timestamptz '2026-01-01 00:00+00', '2109-01-01', interval '17 days 7 hours') AS at WHERE (run_day(at) << 38) + 274877906943 >= 9007199254740992"); n != 0 {
		t.Errorf("%d days have ids beyond 2^53", n)
	}
	exec(t, conn, "SET timezone = 'Pacific/Kiritimati'")
	if n := count(t, conn, "SELECT run_day('2026-03-01 23:59:59+00') - run_day('2026-03-02 00:00:00+00')"); n != -1 {
		t.Errorf("a session's time zone moves the day: %d", n)
	}
	if n := count(t, conn, "WITH ids AS MATERIALIZED (SELECT next_run_id() AS id, n FROM generate_series(1, 100) AS n) SELECT count(*) FROM ids AS a JOIN ids AS b ON b.n = a.n + 1 WHERE b.id <= a.id"); n != 0 {
		t.Errorf("%d ids are not above the one before", n)
	}
}

func TestHistoryIsAnalysedAsAWhole(t *testing.T) {
	t.Parallel()
	u := dbtest.URL(t)
	pool, conn := dbtest.Open(t, db.Config{URL: u, Purpose: db.Upkeep}), connect(t, u)
	exec(t, conn, "INSERT INTO event (kind) SELECT 'run' FROM generate_series(1, 500)")
	if err := pool.Queries().AnalyzeHistory(t.Context(), "event"); err != nil {
		t.Fatal(err)
	}
	if n := count(t, conn, "SELECT reltuples::int FROM pg_class WHERE oid = 'event'::regclass"); n != 500 {
		t.Errorf("the planner expects %d events, want 500", n)
	}
	if err := pool.Queries().AnalyzeHistory(t.Context(), "session"); err == nil {
		t.Error("any table may be analysed")
	}
}
