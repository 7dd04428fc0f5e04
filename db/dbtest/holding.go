package dbtest

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/db"
)

// Holding names the tables of a database that hold a text in any column of any
// row, as text or as bytes: what a dump would show.
func Holding(ctx context.Context, pool *db.Pool, text string) ([]string, error) {
	rows, err := pool.PGX().Query(ctx, `SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'h_canary' ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	if len(tables) < 20 {
		return nil, fmt.Errorf("only %d tables found", len(tables))
	}
	var found []string
	for _, table := range tables {
		var n int64
		err := pool.PGX().QueryRow(ctx, `SELECT count(*) FROM `+table+` AS t
			WHERE position($1 IN t::text) > 0 OR position(to_jsonb($1::text)::text IN to_jsonb(t)::text) > 0 OR position($2 IN t::text) > 0`,
			text, hex.EncodeToString([]byte(text))).Scan(&n)
		if err != nil {
			return nil, fmt.Errorf("search %s: %w", table, err)
		}
		if n > 0 {
			found = append(found, table)
		}
	}
	return found, nil
}
