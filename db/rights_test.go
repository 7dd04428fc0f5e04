package db_test

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

var services = []string{"api", "scheduler", "executor"}

// connect opens a plain connection for statements that are not in queries/.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// usedBy finds the queries that a service's packages call.
func usedBy(t *testing.T, service string, queries map[string]string) []string {
	t.Helper()
	list := osexec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-f", "{{.Dir}}", "../services/"+service+"/...")
	dirs, err := list.Output()
	if err != nil {
		t.Fatalf("list the packages of %s: %v", service, err)
	}
	var code strings.Builder
	for dir := range strings.Lines(string(dirs)) {
		dir = strings.TrimSpace(dir)
		if !strings.Contains(filepath.ToSlash(dir), "/services/") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(text)
		}
	}
	var names []string
	for name := range queries {
		if strings.Contains(code.String(), "."+name+"(") {
			names = append(names, name)
		}
	}
	return names
}

func TestRightsSufficeForEveryQueryOfAService(t *testing.T) {
	t.Parallel()
	all := dbtest.Queries()
	conn := connect(t, dbtest.URL(t))
	exec(t, conn, "SET plan_cache_mode = force_generic_plan")
	for _, service := range services {
		exec(t, conn, "SET ROLE syn_"+service)
		for i, name := range usedBy(t, service, all) {
			sql := all[name]
			params := dbtest.Params(sql)
			prepared := fmt.Sprintf("%s_%d", service, i)
			exec(t, conn, "PREPARE "+prepared+" AS "+sql)
			args := ""
			if params > 0 {
				args = "(" + strings.TrimSuffix(strings.Repeat("NULL, ", params), ", ") + ")"
			}
			// EXPLAIN checks rights and changes nothing.
			if _, err := conn.Exec(t.Context(), "EXPLAIN EXECUTE "+prepared+args); err != nil {
				t.Errorf("%s as syn_%s: %v", name, service, err)
			}
		}
	}
}

func TestRightsEndWhereTheServiceEnds(t *testing.T) {
	t.Parallel()
	conn := connect(t, dbtest.URL(t))
	refused := map[string][]string{
		"syn_api": {
			"SELECT sealed FROM secret",
			"SELECT * FROM secret",
			"UPDATE secret SET version = 2",
			"UPDATE event SET actor = ''",
			"DELETE FROM event",
			"UPDATE revision SET spec = '{}'",
			"DELETE FROM run",
			"UPDATE run SET pipeline_id = 1",
			"INSERT INTO ready SELECT * FROM ready",
			"INSERT INTO live SELECT * FROM live",
			"UPDATE live SET lease_token = gen_random_uuid()",
			"UPDATE tick SET state = 'run'",
			"DELETE FROM tick",
			"INSERT INTO attempt SELECT * FROM attempt",
			"INSERT INTO log_chunk SELECT * FROM log_chunk",
			"SELECT drop_runs('2021-01-01')",
			"SELECT ensure_partitions('2021-01-01', 1)",
		},
		"syn_scheduler": {
			"SELECT * FROM secret",
			"SELECT * FROM api_token",
			"SELECT token FROM session",
			"SELECT data FROM log_chunk",
			"UPDATE event SET actor = ''",
			"DELETE FROM event",
			"UPDATE attempt SET state = 'lost'",
			"UPDATE tick SET state = 'missed'",
			"UPDATE pipeline SET name = ''",
			"INSERT INTO revision (number) VALUES (1)",
			"UPDATE executor SET lease_until = now()",
		},
		"syn_executor": {
			"SELECT * FROM api_token",
			"SELECT * FROM session",
			"SELECT * FROM var",
			"SELECT * FROM schedule",
			"INSERT INTO secret SELECT * FROM secret",
			"UPDATE secret SET sealed = ''",
			"DELETE FROM secret",
			"INSERT INTO ready SELECT * FROM ready",
			"INSERT INTO task SELECT * FROM task",
			"UPDATE task SET name = ''",
			"UPDATE run SET state = 'failed'",
			"UPDATE open_run SET unfinished = 0",
			"DELETE FROM wake",
			"SELECT * FROM event",
			"UPDATE attempt SET state = 'succeeded'",
			"UPDATE log_chunk SET data = ''",
			"SELECT drop_logs('2021-01-01')",
		},
	}
	for role, statements := range refused {
		for _, sql := range append(statements,
			"UPDATE installation SET epoch = gen_random_uuid()",
			"CREATE TABLE mine (x int)",
			"DROP TABLE task",
			"ALTER TABLE live ADD mine int",
			"SELECT * FROM run_"+today(t, conn),
			"DELETE FROM made",
		) {
			exec(t, conn, "SET ROLE "+role)
			_, err := conn.Exec(t.Context(), sql)
			if err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s as %s: %v, want it refused (42501)", sql, role, err)
			}
			exec(t, conn, "RESET ROLE")
		}
	}
	var super int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'syn\\_%' AND (rolsuper OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolbypassrls)").Scan(&super); err != nil || super != 0 {
		t.Errorf("service roles with more than rights on tables: %d (%v), want none", super, err)
	}
}

// today is the suffix of the present day's partitions.
func today(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var day string
	if err := conn.QueryRow(t.Context(), "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')").Scan(&day); err != nil {
		t.Fatal(err)
	}
	return day
}
