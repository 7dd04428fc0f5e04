package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// querier is what a pool and a transaction of pgx have in common.
type querier interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
	CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
}

// deadline gives a deadline to every call whose context has none, so that a path
// that was cut never leaves one hanging.
type deadline struct {
	db      querier
	timeout time.Duration
}

func (d deadline) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.timeout)
}

func (d deadline) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	return d.db.Exec(ctx, sql, args...)
}

func (d deadline) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	return d.db.CopyFrom(ctx, table, columns, src)
}

func (d deadline) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	ctx, cancel := d.bound(ctx)
	rows, err := d.db.Query(ctx, sql, args...)
	if err != nil {
		cancel()
		return nil, err
	}
	return boundRows{rows, cancel}, nil
}

func (d deadline) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	ctx, cancel := d.bound(ctx)
	return boundRow{d.db.QueryRow(ctx, sql, args...), cancel}
}

func (d deadline) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	ctx, cancel := d.bound(ctx)
	return boundBatch{d.db.SendBatch(ctx, b), cancel}
}

// boundRows ends its deadline when it has been read.
type boundRows struct {
	pgx.Rows
	cancel context.CancelFunc
}

func (r boundRows) Close() {
	r.Rows.Close()
	r.cancel()
}

type boundRow struct {
	pgx.Row
	cancel context.CancelFunc
}

func (r boundRow) Scan(dest ...any) error {
	defer r.cancel()
	return r.Row.Scan(dest...)
}

type boundBatch struct {
	pgx.BatchResults
	cancel context.CancelFunc
}

func (b boundBatch) Close() error {
	defer b.cancel()
	return b.BatchResults.Close()
}
