// Package dbtest gives every test a Postgres database of its own.
package dbtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/localpg"
)

// New returns a pool on a new, migrated database that only this test uses; it is
// dropped when the test ends. Sessions or locks that the test leaves behind fail
// it. It takes about a tenth of a second, so call t.Parallel().
func New(t testing.TB) *db.Pool {
	t.Helper()
	return Open(t, db.Config{URL: URL(t)})
}

// Open opens a pool as c says and closes it before the database is dropped.
func Open(t testing.TB, c db.Config) *db.Pool {
	t.Helper()
	if c.AppName == "" {
		c.AppName = t.Name()
	}
	pool, err := db.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// URL makes a new, migrated database and returns its URL.
func URL(t testing.TB) string {
	t.Helper()
	s := shared(t)
	return s.create(t, s.template(t))
}

// EmptyURL makes a new database without any schema and returns its URL.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return shared(t).create(t, "template0")
}

// A server is the Postgres that all tests of this process share.
type server struct {
	url       string
	admin     *pgx.Conn
	templates func() (string, error)
	// mu guards admin.
	mu sync.Mutex
}

var start = sync.OnceValues(func() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	u, err := localpg.Shared(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := pgx.Connect(ctx, u)
	if err != nil {
		return nil, err
	}
	s := &server{url: u, admin: admin}
	s.templates = sync.OnceValues(s.makeTemplate)
	return s, nil
})

func shared(t testing.TB) *server {
	t.Helper()
	s, err := start()
	if err != nil {
		t.Fatalf("no Postgres for this test: %v", err)
	}
	return s
}

func (s *server) template(t testing.TB) string {
	t.Helper()
	name, err := s.templates()
	if err != nil {
		t.Fatalf("prepare the template database: %v", err)
	}
	return name
}

// makeTemplate migrates a database once per version of the schema and per day
// (partitions), for all test processes.
func (s *server) makeTemplate() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	sum := sha256.Sum256([]byte(db.SchemaText() + time.Now().UTC().Format(time.DateOnly)))
	name := "syn_template_" + hex.EncodeToString(sum[:6])
	s.mu.Lock()
	defer s.mu.Unlock()
	// The lock is the server's, so it holds between processes too.
	if _, err := s.admin.Exec(ctx, "SELECT pg_advisory_lock(hashtext('syn_template'))"); err != nil {
		return "", err
	}
	defer func() { _, _ = s.admin.Exec(ctx, "SELECT pg_advisory_unlock(hashtext('syn_template'))") }()
	var there bool
	if err := s.admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database AS d WHERE d.datname = $1)", name).Scan(&there); err != nil || there {
		return name, err
	}
	// Under another name until it is whole: a process may be killed half-way.
	raw := name + "_raw"
	for _, sql := range []string{
		"DROP DATABASE IF EXISTS " + raw + " WITH (FORCE)",
		"CREATE DATABASE " + raw + " TEMPLATE template0 ENCODING 'UTF8'",
	} {
		if _, err := s.admin.Exec(ctx, sql); err != nil {
			return "", err
		}
	}
	if _, err := db.Migrate(ctx, s.database(raw)); err != nil {
		return "", err
	}
	if err := thin(ctx, s.database(raw)); err != nil {
		return "", err
	}
	_, err := s.admin.Exec(ctx, "ALTER DATABASE "+raw+" RENAME TO "+name)
	return name, err
}

// thin drops partitions of days that no test gets to: every copy pays for them.
func thin(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `
		DO $$
		DECLARE
			part text;
		BEGIN
			FOR part IN
				SELECT c.relname
				FROM pg_inherits AS i
				JOIN pg_class AS c ON c.oid = i.inhrelid
				WHERE c.relkind = 'r' AND right(c.relname, 8) > to_char((now() AT TIME ZONE 'UTC')::date + 4, 'YYYYMMDD')
			LOOP
				EXECUTE format('DROP TABLE %I', part);
			END LOOP;
		END $$`)
	return err
}

func (s *server) create(t testing.TB, template string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name := fmt.Sprintf("syn_test_%d_%s", os.Getpid(), strings.ToLower(rand.Text()[:10]))
	s.mu.Lock()
	_, err := s.admin.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template)
	s.mu.Unlock()
	if err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.checkLeaks(ctx, t, name)
		if _, err := s.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the database: %v", err)
		}
	})
	return s.database(name)
}

// checkLeaks fails a test that leaves an open transaction or a lock behind. A
// session that has just been closed gets a moment to go.
func (s *server) checkLeaks(ctx context.Context, t testing.TB, name string) {
	t.Helper()
	const leaks = `
		SELECT format('pid %s (%s), %s for %s: %s', a.pid, a.application_name, a.state, now() - a.state_change, left(a.query, 100))
		FROM pg_stat_activity AS a
		WHERE a.datname = $1 AND a.backend_type = 'client backend' AND a.xact_start IS NOT NULL
		UNION ALL
		SELECT format('pid %s: %s lock (%s), granted: %s', l.pid, l.locktype, l.mode, l.granted)
		FROM pg_locks AS l
		JOIN pg_database AS d ON d.oid = l.database
		WHERE d.datname = $1 AND (NOT l.granted OR l.locktype = 'advisory')`
	var left []string
	for deadline := time.Now().Add(5 * time.Second); ; {
		rows, err := s.admin.Query(ctx, leaks, name)
		if err == nil {
			left, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			t.Errorf("look for leaks: %v", err)
			return
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the test left behind:\n%s", strings.Join(left, "\n"))
}

func (s *server) database(name string) string {
	u, err := url.Parse(s.url)
	if err != nil {
		panic(err)
	}
	u.Path = "/" + name
	return u.String()
}
