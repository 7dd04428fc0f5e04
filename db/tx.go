package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
)

// retries is how often a transaction is tried again that lost against another.
const retries = 5

// InTx runs decide in one transaction (READ COMMITTED) and commits when it
// returns nil. A transaction that lost against another one (serialization,
// deadlock, lock timeout) is run again from the start, up to five times, so
// decide must change nothing outside the database before InTx has returned.
//
// One decision is one transaction: InTx inside decide panics. What decide calls
// takes the *Queries instead.
func InTx(ctx context.Context, p *Pool, decide func(*Queries) error) error {
	if inTx() {
		panic(errNested)
	}
	for try := 0; ; try++ {
		err := p.once(ctx, pgx.TxOptions{}, decide)
		if err == nil || try == retries || !retryable(err) {
			return err
		}
		wait := time.NewTimer(backoff(try))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return err
		}
	}
}

// InSnapshot runs read in a transaction that writes nothing and in which every
// statement sees the same: what was committed when the first one began. Keep it
// short: nothing that dies meanwhile can be cleaned up.
func InSnapshot(ctx context.Context, p *Pool, read func(*Queries) error) error {
	if inTx() {
		panic(errNested)
	}
	return p.once(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, read)
}

// once is one try.
func (p *Pool) once(ctx context.Context, kind pgx.TxOptions, decide func(*Queries) error) error {
	begin, cancel := deadline{timeout: p.timeout}.bound(ctx)
	tx, err := p.pgx.BeginTx(begin, kind)
	cancel()
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	done := false
	defer func() {
		if done {
			return
		}
		// Also after a panic, and whatever has become of ctx.
		rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_ = tx.Rollback(rollback)
	}()
	if err := decide(New(deadline{db: tx, timeout: p.timeout})); err != nil {
		return err
	}
	done = true
	commit, cancel := deadline{timeout: p.timeout}.bound(ctx)
	defer cancel()
	if err := tx.Commit(commit); err != nil {
		if errors.Is(err, pgx.ErrTxCommitRollback) || sqlState(err) != "" {
			return fmt.Errorf("commit: %w", err)
		}
		return fmt.Errorf("commit: %w: %w", ErrOutcomeUnknown, err)
	}
	return nil
}

// backoff is 5, 10, 20, 40, 80 ms, each between half of it and all.
func backoff(try int) time.Duration {
	full := 5 * time.Millisecond << min(try, 10)
	return full/2 + rand.N(full/2)
}

// inTx reports whether a caller of this function's caller is in a transaction. A
// second one on the same goroutine would wait for a connection that the first
// never gives back.
func inTx() bool {
	var pcs [64]uintptr
	n := runtime.Callers(3, pcs[:])
	frames := runtime.CallersFrames(pcs[:n])
	for {
		f, more := frames.Next()
		if f.Function == "github.com/synthesizer-dev/synthesizer/db.(*Pool).once" {
			return true
		}
		if !more {
			return false
		}
	}
}
