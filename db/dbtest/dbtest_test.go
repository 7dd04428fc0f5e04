package dbtest_test

import (
	"testing"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

func TestNewDatabasesAreMigratedAndApart(t *testing.T) {
	t.Parallel()
	a, b := dbtest.New(t), dbtest.New(t)
	one, err := a.Queries().Installation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.Queries().Installation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if one.CreatedAt.IsZero() || two.CreatedAt.IsZero() {
		t.Errorf("installations %v, %v: want both with a time", one, two)
	}
	if err := db.InTx(t.Context(), a, func(q *db.Queries) error { _, err := q.Installation(t.Context()); return err }); err != nil {
		t.Error(err)
	}
}
