package db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// InOneTrip runs several queries in one transaction and one round trip, in the
// order given. Each ask calls exactly one query, whose parameters do not depend
// on the answers of the others. It is called twice or more: first to learn what
// it asks, when its query returns an error that it must return, then with the
// answer; so it must have no effect before its query has returned without one.
//
// A transaction that lost against another is run again, as by InTx. An error is
// an ErrOutcomeUnknown unless the database said that it failed, or nothing was
// sent. What an ask says of its answer, such as ErrNoRows, undoes nothing.
func InOneTrip(ctx context.Context, p *Pool, asks ...func(*Queries) error) error {
	if len(asks) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, ask := range asks {
		before := batch.Len()
		if err := ask(New(recorder{batch})); !errors.Is(err, errRecorded) && err != nil {
			return err
		}
		if batch.Len() != before+1 {
			return fmt.Errorf("one trip: an ask made %d queries, want 1", batch.Len()-before)
		}
	}
	for try := 0; ; try++ {
		err := p.trip(ctx, batch, asks)
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

// trip is one try.
func (p *Pool) trip(ctx context.Context, batch *pgx.Batch, asks []func(*Queries) error) error {
	ctx, cancel := deadline{timeout: p.timeout}.bound(ctx)
	defer cancel()
	conn, err := p.pgx.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	results := conn.SendBatch(ctx, batch)
	for _, ask := range asks {
		if err = ask(New(player{results})); err != nil {
			break
		}
	}
	// The end of the pipeline is the commit.
	ended := results.Close()
	if ended == nil {
		return err // of an ask, such as ErrNoRows
	}
	err = errors.Join(err, ended)
	if code := sqlState(err); code != "" && !strings.HasPrefix(code, "57P0") || pgconn.SafeToRetry(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// errRecorded is what a recorder answers to every query.
var errRecorded = errors.New("recorded")

// recorder notes what is asked.
type recorder struct{ batch *pgx.Batch }

func (r recorder) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	r.batch.Queue(sql, args...)
	return pgconn.CommandTag{}, errRecorded
}

func (r recorder) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.batch.Queue(sql, args...)
	return nil, errRecorded
}

func (r recorder) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	r.batch.Queue(sql, args...)
	return failedRow{}
}

type failedRow struct{}

func (failedRow) Scan(...any) error { return errRecorded }

// player answers with the results of the trip, in order.
type player struct{ results pgx.BatchResults }

func (p player) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return p.results.Exec()
}

func (p player) Query(context.Context, string, ...any) (pgx.Rows, error) { return p.results.Query() }

func (p player) QueryRow(context.Context, string, ...any) pgx.Row { return p.results.QueryRow() }
