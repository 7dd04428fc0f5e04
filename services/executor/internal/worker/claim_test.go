package worker_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
)

const fan = "name: p\ntasks:\n  a: {for_each: [x], run: 'true'}\n"

func newExecutor(w *exectest.World) uuid.UUID {
	w.T.Helper()
	id := uuid.New()
	w.Exec(`INSERT INTO executor (id, name, slots, lease_until) VALUES ($1, 'test', 1000, now() + interval '1 hour')`, id)
	return id
}

func claim(w *exectest.World, executor uuid.UUID, n int) ([]db.ClaimReadyRow, error) {
	p := db.ClaimReadyParams{Executor: executor, Lanes: []int32{1}, Lows: []int64{-1 << 62}, Free: int32(n), Look: int32(2*n + 64)}
	for range n {
		p.Tokens = append(p.Tokens, uuid.New())
	}
	return w.Pool.Queries().ClaimReady(w.T.Context(), p)
}

func TestClaimersNeverTakeMoreThanTheyAsk(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, fan)
	w.ReleaseItems(w.Run("p"), "p", "a", 2000)
	const most = 5
	var (
		claimers sync.WaitGroup
		left     atomic.Int64
		mu       sync.Mutex
		tokens   = map[uuid.UUID]bool{}
	)
	left.Store(2000)
	deadline := time.Now().Add(time.Minute)
	for range 16 {
		id := newExecutor(w)
		claimers.Go(func() {
			for left.Load() > 0 && time.Now().Before(deadline) {
				rows, err := claim(w, id, most)
				if err != nil {
					t.Error(err)
					return
				}
				if len(rows) > most {
					t.Errorf("a claim of %d gave %d", most, len(rows))
				}
				left.Add(-int64(len(rows)))
				mu.Lock()
				for _, row := range rows {
					if tokens[row.LeaseToken] {
						t.Errorf("token %v twice", row.LeaseToken)
					}
					tokens[row.LeaseToken] = true
				}
				mu.Unlock()
			}
		})
	}
	claimers.Wait()
	if len(tokens) != 2000 {
		t.Errorf("%d tasks were claimed, want 2000", len(tokens))
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM live`); n != 2000 {
		t.Errorf("%d live, want 2000", n)
	}
}

func TestTheLowestRanksAreClaimedFirst(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, fan)
	w.ReleaseItems(w.Run("p"), "p", "a", 20)
	w.Exec(`UPDATE ready SET rank = (number * 7) % 20`)
	id := newExecutor(w)
	var ranks []int64
	for range 4 {
		rows, err := claim(w, id, 5)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			ranks = append(ranks, row.Rank)
		}
	}
	if len(ranks) != 20 || !slices.IsSorted(ranks) {
		t.Errorf("claimed in the order %v", ranks)
	}
}

// Nobody waits for what another claimer holds, and nobody takes it.
func TestClaimersSkipWhatOthersHold(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, fan)
	w.ReleaseItems(w.Run("p"), "p", "a", 20)
	other := w.Begin()
	other.Exec(`SELECT FROM ready ORDER BY rank, number LIMIT 10 FOR UPDATE`)
	rows, err := claim(w, newExecutor(w), 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 10 {
		t.Errorf("%d claimed beside ten that are held, want 10", len(rows))
	}
	other.Release()
}

// Work that is being withdrawn is not claimed, and what was claimed is not
// withdrawn: whoever comes second sees what the first did.
func TestClaimAndWithdrawalMeet(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, fan)
	id := newExecutor(w)
	run := w.Run("p")
	w.ReleaseItems(run, "p", "a", 4)

	withdrawal := w.Begin()
	withdrawal.Exec(`DELETE FROM ready WHERE number <= 2`)
	rows, err := claim(w, id, 4)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 {
		t.Errorf("%d claimed while two of four are being withdrawn, want 2", len(rows))
	}
	withdrawal.Release()
	if rows, err := claim(w, id, 4); err != nil || len(rows) != 0 {
		t.Errorf("claim after the withdrawal = %v, %v, want nothing", rows, err)
	}

	w.ReleaseItems(w.Run("p"), "p", "a", 1)
	claimed := make(chan int, 1)
	slow := w.Begin()
	slow.Exec(`LOCK TABLE live IN SHARE MODE`) // the claim has its ready row, and waits to write the other
	go func() {
		rows, err := claim(w, id, 4)
		if err != nil {
			t.Error(err)
		}
		claimed <- len(rows)
	}()
	w.Until("the claim waits", slow.Waiting)
	withdrawn := make(chan int64, 1)
	go func() {
		tag, err := w.Pool.PGX().Exec(t.Context(), `DELETE FROM ready`)
		if err != nil {
			t.Error(err)
		}
		withdrawn <- tag.RowsAffected()
	}()
	slow.Release()
	if c, d := <-claimed, <-withdrawn; int64(c)+d != 1 {
		t.Errorf("%d claimed and %d withdrawn of one task", c, d)
	}
	if n := exectest.Value[int64](w, `SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM live)`); n != 2+1 && n != 2 {
		t.Errorf("%d rows in ready and live", n)
	}
}

// An executor that was declared dead claims nothing.
func TestTheDeadClaimNothing(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, fan)
	w.ReleaseItems(w.Run("p"), "p", "a", 1)
	dead := newExecutor(w)
	w.Exec(`UPDATE executor SET stopped_at = now()`)
	for _, id := range []uuid.UUID{dead, uuid.New()} {
		rows, err := claim(w, id, 1)
		if err != nil || len(rows) != 0 {
			t.Errorf("claim = %v, %v, want nothing", rows, err)
		}
	}
}

// The claim keeps its plan whether the table was empty or full when it was
// looked at last.
func TestPlansOfTheClaimer(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, fan)
	w.Exec(`VACUUM (ANALYZE) ready, live, executor, task, log_chunk`)
	names := []string{"ClaimReady", "EndAttempts", "LockLive", "MarkRunning", "NoteLogs", "NoteStopsSent", "StopsAsked", "Held", "LiveByKey", "StoreLog", "RenewLease", "ItemsOf", "AttemptFacts", "Standings"}
	dbtest.WantIndexPlans(t, w.Pool, names...)
	w.ReleaseItems(w.Run("p"), "p", "a", 10_000)
	dbtest.WantIndexPlans(t, w.Pool, names...)
	w.Exec(`VACUUM (ANALYZE) ready, live, executor, task, log_chunk`)
	dbtest.WantIndexPlans(t, w.Pool, names...)
}
