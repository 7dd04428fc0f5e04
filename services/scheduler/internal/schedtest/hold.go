package schedtest

import (
	"context"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// A Side is one side of a race, held still: a transaction that a test moves on
// statement by statement.
type Side struct {
	w                *World
	tx               db.DBTX
	commit, rollback func(context.Context) error
}

// Begin opens a side. It is rolled back when the test ends, if it is still open.
func (w *World) Begin() *Side {
	w.T.Helper()
	tx, err := w.Pool.PGX().Begin(w.T.Context())
	if err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(w.T.Context())) })
	return &Side{w: w, tx: tx, commit: tx.Commit, rollback: tx.Rollback}
}

// Queries are those of package db, in this transaction.
func (s *Side) Queries() *db.Queries { return db.New(s.tx) }

// Before are queries in this transaction that call do with the name of each
// before they send it.
func (s *Side) Before(do func(name string)) *db.Queries { return dbtest.Before(s.tx, do) }

// Exec runs SQL in this transaction.
func (s *Side) Exec(sql string, args ...any) {
	s.w.T.Helper()
	if _, err := s.tx.Exec(s.w.T.Context(), sql, args...); err != nil {
		s.w.T.Fatalf("%s: %v", sql, err)
	}
}

// Commit ends the side, and what it did becomes true.
func (s *Side) Commit() {
	s.w.T.Helper()
	if err := s.commit(s.w.T.Context()); err != nil {
		s.w.T.Fatal(err)
	}
}

// Rollback ends the side as a crash would.
func (s *Side) Rollback() {
	s.w.T.Helper()
	if err := s.rollback(s.w.T.Context()); err != nil {
		s.w.T.Fatal(err)
	}
}

// Blocked starts what has to wait for a lock, and returns when it does. The
// function it gives waits for the end.
func (w *World) Blocked(do func() error) (wait func()) {
	w.T.Helper()
	wait, blocked := w.aside(do)
	if !blocked {
		wait()
		w.T.Fatal("nothing waited for a lock")
	}
	return wait
}

// aside starts do and returns when it has ended, or waits for a lock.
func (w *World) aside(do func() error) (wait func(), blocked bool) {
	w.T.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	wait = func() {
		w.T.Helper()
		if err := <-done; !IsMore(err) {
			w.T.Error(err)
		}
	}
	for {
		select {
		case err := <-done:
			done <- err
			return wait, false
		case <-time.After(time.Millisecond):
		}
		if Value[bool](w, `SELECT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.wait_event_type = 'Lock')`) {
			return wait, true
		}
	}
}

// Interleave runs step, a transaction of many queries, again and again, and
// lets another transaction commit before its first query, before its second, and
// so on; before each, prepare makes both anew and says how it has to end. What
// the other waits for a lock for, it does when step has committed.
func (w *World) Interleave(prepare func() (step func(context.Context, *db.Queries) error, other func() error, check func(before string))) {
	w.T.Helper()
	for place := 0; ; place++ {
		step, other, check := prepare()
		queries, before := 0, "the end"
		var wait func()
		side := w.Begin()
		err := step(w.T.Context(), side.Before(func(name string) {
			if queries == place {
				before = name
				wait, _ = w.aside(other)
			}
			queries++
		}))
		if err != nil {
			w.T.Fatalf("with another transaction before %s: %v", before, err)
		}
		side.Commit()
		if wait == nil {
			wait, _ = w.aside(other)
		}
		wait()
		check(before)
		if w.T.Failed() || queries <= place {
			return
		}
	}
}

// Check fails the test if an invariant of the database does not hold. Nothing
// may be going on.
func (w *World) Check() {
	w.T.Helper()
	pool, err := db.Open(w.T.Context(), db.Config{URL: w.URL, Purpose: db.Upkeep})
	if err != nil {
		w.T.Fatal(err)
	}
	defer pool.Close()
	broken, err := db.SelfCheck(w.T.Context(), pool, true)
	if err != nil {
		w.T.Fatal(err)
	}
	for _, b := range broken {
		w.T.Errorf("%s: %d rows, such as %s", b.Name, b.Rows, b.Example)
	}
}
