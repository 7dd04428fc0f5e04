package main

import (
	"context"
	"fmt"
	"strings"
)

// countStatements makes the server count what it does from now on.
func (b *bench) countStatements(ctx context.Context, in *installation) error {
	if !b.statement {
		return nil
	}
	if _, err := in.pool.Exec(ctx, `CREATE EXTENSION IF NOT EXISTS pg_stat_statements`); err != nil {
		return fmt.Errorf("count statements: %w", err)
	}
	_, err := in.pool.Exec(ctx, `SELECT pg_stat_statements_reset()`)
	return err
}

// tellStatements tells what the server's time went to, so many tasks sharing it.
func (b *bench) tellStatements(ctx context.Context, in *installation, of string, tasks int) error {
	if !b.statement {
		return nil
	}
	rows, err := in.pool.Query(ctx, `
SELECT s.query, s.calls, s.rows, s.total_exec_time + s.total_plan_time, s.wal_bytes::float8
FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
WHERE d.datname = current_database()
ORDER BY 4 DESC
LIMIT 16`)
	if err != nil {
		return fmt.Errorf("read the counted statements: %w", err)
	}
	defer rows.Close()
	b.say("  %s: µs a task  WAL B a task    calls   rows/call  ms/call", of)
	for rows.Next() {
		var text string
		var calls, n int64
		var ms, wal float64
		if err := rows.Scan(&text, &calls, &n, &ms, &wal); err != nil {
			return err
		}
		text = strings.TrimPrefix(text, "-- name: ")
		b.say("  %14.1f %13.0f %8d %11.1f %8.2f  %.60s", 1000*ms/float64(tasks), wal/float64(tasks), calls, float64(n)/float64(calls), ms/float64(calls),
			strings.Join(strings.Fields(text), " "))
	}
	return rows.Err()
}
