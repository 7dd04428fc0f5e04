package lease_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/lease"
)

// kept is a lease that is being kept.
type kept struct {
	*lease.Lease
	pool    *db.Pool
	id      uuid.UUID
	renewed chan bool
	ended   chan error
	stop    context.CancelFunc
}

func keep(t *testing.T) *kept {
	t.Helper()
	k := &kept{pool: dbtest.New(t), id: uuid.New(), renewed: make(chan bool, 1000), ended: make(chan error, 1)}
	installation, err := k.pool.Queries().Installation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k.Lease, err = lease.Take(t.Context(), lease.Config{
		Pool: k.pool, ID: k.id, Name: "test", Slots: 1, Labels: []string{}, Serves: []string{}, Epoch: installation.Epoch,
		Length: 1500 * time.Millisecond, Renew: 300 * time.Millisecond, Margin: 200 * time.Millisecond,
		Renewed: func(draining bool) { k.renewed <- draining }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	go func() { k.ended <- k.Keep(ctx) }()
	t.Cleanup(cancel)
	return k
}

func (k *kept) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := k.pool.PGX().Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func (k *kept) lost(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-k.ended:
		if !errors.Is(err, want) || !errors.Is(k.Err(), want) || k.Held() {
			t.Errorf("Keep = %v, Err = %v, Held = %v, want %v", err, k.Err(), k.Held(), want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the lease was not lost")
	}
}

func TestLeaseIsRenewedAndLeft(t *testing.T) {
	t.Parallel()
	k := keep(t)
	for range 6 {
		if <-k.renewed {
			t.Error("draining, and nobody asked for it")
		}
	}
	if !k.Held() || k.Err() != nil || k.Guarded() != nil || !k.Certain() {
		t.Errorf("Held = %v, Err = %v, Guarded = %v", k.Held(), k.Err(), k.Guarded())
	}
	k.exec(t, "UPDATE executor SET draining_at = now()")
	for !<-k.renewed {
	}
	k.stop()
	if err := <-k.ended; err != nil {
		t.Errorf("Keep = %v, want nil", err)
	}
	if err := k.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	var stopped bool
	if err := k.pool.PGX().QueryRow(t.Context(), "SELECT stopped_at IS NOT NULL AND beat > 5 FROM executor").Scan(&stopped); err != nil || !stopped {
		t.Errorf("stopped = %v, %v", stopped, err)
	}
}

func TestLeaseIsLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  string
		want error
	}{
		"declared dead": {"UPDATE executor SET stopped_at = now()", lease.ErrTaken},
		"row gone":      {"DELETE FROM executor", lease.ErrTaken},
		"restored":      {"UPDATE installation SET epoch = gen_random_uuid()", lease.ErrRestored},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keep(t)
			<-k.renewed
			k.exec(t, c.sql)
			k.lost(t, c.want)
		})
	}
}

// A renewal that hangs does not hide that the lease is over, and its answer, if
// it comes late, is not believed.
func TestLeaseRunsOutWhileARenewalHangs(t *testing.T) {
	t.Parallel()
	k := keep(t)
	<-k.renewed
	tx, err := k.pool.PGX().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM executor FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	k.lost(t, lease.ErrExpired)
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("noticed after %s, want before the lease is over", took)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}
