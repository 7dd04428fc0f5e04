package db_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// migrateEnv turns this test program into one that only migrates, to be killed.
const migrateEnv = "SYN_TEST_MIGRATE_URL"

func TestMain(m *testing.M) {
	if u := os.Getenv(migrateEnv); u != "" {
		fmt.Println("begin")
		if _, err := db.Migrate(context.Background(), u); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("done")
		return
	}
	os.Exit(m.Run())
}

func TestMigrateSaysWhatItDidAndDoesItOnce(t *testing.T) {
	t.Parallel()
	u := dbtest.EmptyURL(t)
	first, err := db.Migrate(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Applied) == 0 || first.Version != db.NewestSchema() || len(first.Warnings) != 0 {
		t.Errorf("first: %+v, want all migrations up to %d and no warning", first, db.NewestSchema())
	}
	second, err := db.Migrate(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Applied) != 0 || second.Partitions != 0 || second.Version != first.Version {
		t.Errorf("second: %+v, want nothing done", second)
	}
	checkWhole(t, u)
}

// checkWhole fails unless the database is as a migration leaves it.
func checkWhole(t *testing.T, u string) {
	t.Helper()
	pool := dbtest.Open(t, db.Config{URL: u, Purpose: db.Upkeep})
	if err := db.CheckSchema(t.Context(), pool); err != nil {
		t.Error(err)
	}
	if ahead, err := pool.Queries().PartitionsAhead(t.Context(), nil); err != nil || ahead < db.DaysAhead {
		t.Errorf("%d days of partitions ahead (%v), want %d", ahead, err, db.DaysAhead)
	}
	conn := connect(t, u)
	var tables, made int
	if err := conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM inv.report()), (SELECT count(*) FROM made)").Scan(&tables, &made); err != nil || tables < 40 || made != 2 {
		t.Errorf("%d invariants, %d texts made (%v), want more than 40 and 2", tables, made, err)
	}
	if got, err := dbtest.Invariants(t.Context(), u); err != nil || len(got) != 0 {
		t.Errorf("invariants of an empty database: %v, %v", got, err)
	}
}

func TestMigrationsSideBySide(t *testing.T) {
	t.Parallel()
	u := dbtest.EmptyURL(t)
	var mu sync.Mutex
	applied := 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, err := db.Migrate(t.Context(), u)
			mu.Lock()
			defer mu.Unlock()
			applied += len(r.Applied)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if want := int(db.NewestSchema()); applied != want {
		t.Errorf("%d migrations were applied, want each of %d once", applied, want)
	}
	checkWhole(t, u)
}

func TestMigrationSurvivesKills(t *testing.T) {
	t.Parallel()
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	// One is left alone, to learn how long it takes. On a busy machine that says little of the next one: the
	// time is halved whenever a kill comes too late, and there are more rounds until one was in time.
	took, _ := migrateAndKill(t, dbtest.EmptyURL(t), time.Hour)
	kills, struck, within := 0, 0, took
	for round := 0; round < rounds || struck == 0 && round < 4*rounds; round++ {
		u := dbtest.EmptyURL(t)
		conn := connect(t, u)
		for range 3 {
			kills++
			_, done := migrateAndKill(t, u, rand.N(within))
			// The server ends the statement it is in before it sees that nobody is left.
			eventually(t, "the killed migration's session is gone", func() bool {
				return count(t, conn, "SELECT count(*) FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.application_name = 'synthesizer migrate'") == 0
			})
			if done {
				within /= 2
				break
			}
			struck++
		}
		if _, err := db.Migrate(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, u)
	}
	t.Logf("%d of %d kills came before the end; a migration takes %v", struck, kills, took)
	if struck == 0 {
		t.Error("no kill struck: nothing was tested")
	}
}

// migrateAndKill migrates in a process of its own and kills it after a while.
func migrateAndKill(t *testing.T, u string, after time.Duration) (took time.Duration, done bool) {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), migrateEnv+"="+u)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	killer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	rest, _ := lines.ReadString('\n')
	took = time.Since(begin)
	killer.Stop()
	_ = cmd.Wait()
	return took, strings.Contains(rest, "done")
}

// A login that may neither create roles nor anything outside its database gets
// everything but separate rights.
func TestMigrateAsAnOrdinaryOwner(t *testing.T) {
	t.Parallel()
	u := dbtest.EmptyURL(t)
	admin := connect(t, u)
	owner := fmt.Sprintf("syn_test_owner_%d", rand.Uint32())
	var name string
	if err := admin.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	exec(t, admin, "CREATE ROLE "+owner+" LOGIN PASSWORD 'secret'")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		again, err := pgx.Connect(ctx, u)
		if err != nil {
			t.Error(err)
			return
		}
		defer again.Close(ctx)
		for _, sql := range []string{"REASSIGN OWNED BY " + owner + " TO CURRENT_USER", "DROP OWNED BY " + owner, "DROP ROLE " + owner} {
			if _, err := again.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
	})
	exec(t, admin, "ALTER DATABASE "+name+" OWNER TO "+owner)
	exec(t, admin, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	parsed.User = url.UserPassword(owner, "secret")
	// The roles of the cluster are there or not, whatever other tests do: the
	// warning is tested with names that nobody has.
	if _, err := db.Migrate(t.Context(), parsed.String()); err != nil {
		t.Fatal(err)
	}
	warnings, err := db.EnsureRoles(t.Context(), parsed.String(), []string{"syn_test_role_that_nobody_made"})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "CREATEROLE") {
		t.Errorf("warnings %q, %v; want one that names CREATEROLE", warnings, err)
	}
	pool := dbtest.Open(t, db.Config{URL: parsed.String()})
	if err := db.CheckSchema(t.Context(), pool); err != nil {
		t.Error(err)
	}
}

func TestSchemaRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                           string
		version, oldest, least, newest int64
		want                           error
	}{
		{"the very same", 7, 1, 5, 7, nil},
		{"rolled out before its migration", 6, 1, 5, 7, nil},
		{"rolled back after the migration", 9, 6, 5, 7, nil},
		{"migration missing", 4, 1, 5, 7, db.ErrNotMigrated},
		{"something it needs was taken away", 9, 8, 5, 7, db.ErrTooNew},
	} {
		if err := db.InRange(c.version, c.oldest, c.least, c.newest); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	pool := dbtest.Open(t, db.Config{URL: dbtest.EmptyURL(t)})
	if err := db.CheckSchema(t.Context(), pool); !errors.Is(err, db.ErrNotMigrated) {
		t.Errorf("an empty database: %v, want %v", err, db.ErrNotMigrated)
	}
}
