package db_test

import (
	"errors"
	"testing"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// All statements of a snapshot see the same, whatever commits between them, and
// none may write.
func TestSnapshotStandsStillAndWritesNothing(t *testing.T) {
	t.Parallel()
	url := dbtest.URL(t)
	pool := dbtest.Open(t, configFor(url))
	conn := connect(t, url)
	err := db.InSnapshot(t.Context(), pool, func(q *db.Queries) error {
		if _, err := q.SourceID(t.Context(), "late"); !errors.Is(err, db.ErrNoRows) {
			t.Errorf("SourceID = %v before there is one", err)
		}
		exec(t, conn, "INSERT INTO source (name) VALUES ('late')")
		if _, err := q.SourceID(t.Context(), "late"); !errors.Is(err, db.ErrNoRows) {
			t.Errorf("SourceID = %v: the snapshot has moved", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.InSnapshot(t.Context(), pool, func(q *db.Queries) error { return q.LeaveWakes(t.Context(), "g", []int64{1}) })
	if err == nil {
		t.Error("a snapshot wrote")
	}
}
