package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

func TestOneTripIsOneTransaction(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ctx, id := t.Context(), uuid.New()
	register := func(q *db.Queries) error {
		_, err := q.RegisterExecutor(ctx, db.RegisterExecutorParams{ID: id, Name: "x", Labels: []string{}, Serves: []string{}, LeaseMs: 1000})
		return err
	}
	var epoch uuid.UUID
	renew := func(q *db.Queries) error {
		row, err := q.RenewLease(ctx, 1000, id)
		if err == nil {
			epoch = row.Epoch
		}
		return err
	}
	// The second of two that violate a key takes the first back.
	if err := db.InOneTrip(ctx, pool, register, register); !db.IsDuplicate(err) || errors.Is(err, db.ErrOutcomeUnknown) {
		t.Fatalf("InOneTrip = %v, want a duplicate key", err)
	}
	if err := db.InOneTrip(ctx, pool, renew); !errors.Is(err, db.ErrNoRows) {
		t.Fatalf("InOneTrip = %v, want ErrNoRows: the first insert was not taken back", err)
	}
	// Each sees what those before it did, and an ask's own error undoes nothing.
	if err := db.InOneTrip(ctx, pool, register, renew, func(q *db.Queries) error {
		_, err := q.RenewLease(ctx, 1000, uuid.New())
		return err
	}); !errors.Is(err, db.ErrNoRows) || errors.Is(err, db.ErrOutcomeUnknown) {
		t.Fatalf("InOneTrip = %v, want ErrNoRows", err)
	}
	installation, err := pool.Queries().Installation(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if epoch != installation.Epoch {
		t.Errorf("epoch = %v, want %v", epoch, installation.Epoch)
	}
	if err := db.InOneTrip(ctx, pool, func(q *db.Queries) error { return nil }); err == nil {
		t.Error("an ask without a query passed")
	}
}

func TestOneTripCutOffIsUnknown(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	pool := dbtest.Open(t, db.Config{URL: url, Purpose: db.Control})
	blocker := connect(t, url)
	id := uuid.New()
	if _, err := pool.Queries().RegisterExecutor(t.Context(), db.RegisterExecutorParams{ID: id, Name: "x", Labels: []string{}, Serves: []string{}, LeaseMs: 1000}); err != nil {
		t.Fatal(err)
	}
	exec(t, blocker, "BEGIN")
	exec(t, blocker, "SELECT FROM executor FOR UPDATE")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := db.InOneTrip(ctx, pool, func(q *db.Queries) error { return q.LeaveFleet(ctx, id) })
	if !errors.Is(err, db.ErrOutcomeUnknown) {
		t.Errorf("InOneTrip = %v, want ErrOutcomeUnknown", err)
	}
	exec(t, blocker, "ROLLBACK")
}
