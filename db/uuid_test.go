package db_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

func TestUUIDsCrossInBinary(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t).PGX()
	want := []uuid.UUID{uuid.New(), uuid.Nil, uuid.New()}
	var got []uuid.UUID
	var one, missing *uuid.UUID
	var plain uuid.UUID
	err := pool.QueryRow(t.Context(), "SELECT $1::uuid[], $2::uuid, $3::uuid, $2::uuid", want, &want[0], (*uuid.UUID)(nil)).Scan(&got, &one, &missing, &plain)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || *one != want[0] || plain != want[0] || missing != nil {
		t.Errorf("got %v, %v, %v, %v; want %v, %v, %v, none", got, one, plain, missing, want, want[0], want[0])
	}
}

// Not parallel: it counts.
func TestTokensOfABatchAreCheap(t *testing.T) {
	pool := dbtest.New(t).PGX()
	if n := testing.AllocsPerRun(20, func() {
		var cardinality int
		if err := pool.QueryRow(t.Context(), "SELECT cardinality($1::uuid[])", make([]uuid.UUID, 100)).Scan(&cardinality); err != nil {
			t.Fatal(err)
		}
	}); n > 800 {
		t.Errorf("%v allocations for 100 tokens: they go through text", n)
	}
}
