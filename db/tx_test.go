package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

func TestTransactionsThatLostAreRunAgain(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, code := range []string{"40001", "40P01", "55P03"} {
		runs := 0
		err := db.InTx(t.Context(), pool, func(q *db.Queries) error {
			if runs++; runs < 4 {
				return fmt.Errorf("decide: %w", &pgconn.PgError{Code: code})
			}
			_, err := q.NoteTzdata(t.Context(), "2026a-"+code)
			return err
		})
		if err != nil || runs != 4 {
			t.Errorf("%s: %d runs, %v, want 4 and no error", code, runs, err)
		}
	}
	runs := 0
	err := db.InTx(t.Context(), pool, func(*db.Queries) error { runs++; return &pgconn.PgError{Code: "40001"} })
	if err == nil || runs != 6 {
		t.Errorf("hopeless: %d runs, %v, want 6 and the error", runs, err)
	}
	runs = 0
	err = db.InTx(t.Context(), pool, func(*db.Queries) error { runs++; return errors.New("no") })
	if err == nil || runs != 1 {
		t.Errorf("another error: %d runs, %v, want 1 and the error", runs, err)
	}
}

func TestTransactionsAreWholeOrNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	note := func(version string, after func() error) func(*db.Queries) error {
		return func(q *db.Queries) error {
			if _, err := q.NoteTzdata(t.Context(), version); err != nil {
				return err
			}
			return after()
		}
	}
	if err := db.InTx(t.Context(), pool, note("one", func() error { return nil })); err != nil {
		t.Fatal(err)
	}
	if err := db.InTx(t.Context(), pool, note("two", func() error { return errors.New("no") })); err == nil {
		t.Error("an error of decide was lost")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic of decide was lost")
			}
		}()
		_ = db.InTx(t.Context(), pool, note("three", func() error { panic("no") }))
	}()
	ctx, cancel := context.WithCancel(t.Context())
	if err := db.InTx(ctx, pool, note("four", func() error { cancel(); return nil })); err == nil {
		t.Error("a canceled transaction says that it was committed")
	}
	got, err := pool.Queries().Installation(t.Context())
	if err != nil || got.TzdataVersion != "one" {
		t.Errorf("the row says %q (%v), want %q", got.TzdataVersion, err, "one")
	}
}

func TestTransactionsDoNotNest(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "inside a transaction") {
			t.Errorf("recovered %v, want the refusal to nest", r)
		}
	}()
	_ = db.InTx(t.Context(), pool, func(*db.Queries) error {
		return db.InTx(t.Context(), pool, func(*db.Queries) error { return nil })
	})
}

// Two sides held still: each has locked one of two rows before it wants the other.
func TestDeadlocksResolveThemselves(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	pool := dbtest.Open(t, configFor(url))
	conn := connect(t, url)
	exec(t, conn, "INSERT INTO source (name) VALUES ('a'), ('b')")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	var once [2]sync.Once
	locked := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	var runs atomic.Int32
	var group errgroup.Group
	for side, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		group.Go(func() error {
			return db.InTx(ctx, pool, func(q *db.Queries) error {
				runs.Add(1)
				if err := db.LockSource(ctx, q, order[0]); err != nil {
					return err
				}
				once[side].Do(func() { close(locked[side]) })
				<-locked[1-side]
				return db.LockSource(ctx, q, order[1])
			})
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := runs.Load(); n < 3 {
		t.Errorf("%d runs, want at least 3: nobody lost", n)
	}
}

func TestCallsWithoutADeadlineGetOne(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	pool := dbtest.Open(t, configFor(url))
	var statement, lock, idle, seqscan string
	err := pool.PGX().QueryRow(t.Context(), `SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
		current_setting('idle_in_transaction_session_timeout'), current_setting('enable_seqscan')`).Scan(&statement, &lock, &idle, &seqscan)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := []string{statement, lock, idle, seqscan}, []string{"15s", "5s", "10s", "off"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("control sessions have %v, want %v", got, want)
	}
	pages := dbtest.Open(t, db.Config{URL: url, Purpose: db.Pages})
	if err := pages.PGX().QueryRow(t.Context(), "SELECT current_setting('statement_timeout'), current_setting('enable_seqscan')").Scan(&statement, &seqscan); err != nil {
		t.Fatal(err)
	}
	if statement != "10s" || seqscan != "on" {
		t.Errorf("page sessions have statement_timeout %s, enable_seqscan %s; want 10s, on", statement, seqscan)
	}
}

func TestAnUnreachableDatabaseIsNotAnErrorOfOpen(t *testing.T) {
	t.Parallel()
	pool, err := db.Open(t.Context(), db.Config{URL: "postgres://nobody@127.0.0.1:1/nowhere?sslmode=disable"})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	begin := time.Now()
	if err := pool.Ping(t.Context()); !db.IsUnavailable(err) {
		t.Errorf("Ping = %v, want an error that says unavailable", err)
	}
	err = db.InTx(t.Context(), pool, func(*db.Queries) error { t.Error("decided without a database"); return nil })
	if !db.IsUnavailable(err) {
		t.Errorf("InTx = %v, want an error that says unavailable", err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("it took %v to find out", d)
	}
	if _, err := db.Open(t.Context(), db.Config{URL: "postgres://%zz"}); err == nil {
		t.Error("a URL that cannot be read was accepted")
	}
}
