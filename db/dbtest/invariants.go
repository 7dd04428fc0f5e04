package dbtest

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/jackc/pgx/v5"
)

//go:embed harness.sql
var harnessSQL string

// InstallHarness adds what witnesses of a fault test write into (the tables
// h_expected_tick, h_effect, h_remote, h_outage, h_canary) and the invariants
// that read it. The database must be migrated.
func InstallHarness(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("install the harness: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, harnessSQL)
		return err
	}); err != nil {
		return fmt.Errorf("install the harness: %w", err)
	}
	return nil
}

// Invariants returns the names of those that do not hold and how many rows say
// so. The database must be migrated.
func Invariants(ctx context.Context, url string) (map[string]int64, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("check the invariants: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT r.inv, r.bad FROM inv.report() AS r WHERE r.bad > 0")
	if err != nil {
		return nil, fmt.Errorf("check the invariants: %w", err)
	}
	broken := map[string]int64{}
	var name string
	var bad int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &bad}, func() error { broken[name] = bad; return nil }); err != nil {
		return nil, fmt.Errorf("check the invariants: %w", err)
	}
	return broken, nil
}
