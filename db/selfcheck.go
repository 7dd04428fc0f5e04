package db

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Broken is an invariant that does not hold.
type Broken struct {
	Name string // of the view in schema inv
	Rows int64  // how many rows say so
	// Example is one of them, as JSON.
	Example string
}

// SelfCheck looks at every invariant that can be judged from the database alone.
// It reads the last days of history and takes its time: give it a pool for
// Upkeep. Those that mean something only when nothing is going on are left out
// unless quiet is set.
func SelfCheck(ctx context.Context, p *Pool, quiet bool) ([]Broken, error) {
	rows, err := p.pgx.Query(ctx, `
		SELECT c.relname, coalesce(obj_description(c.oid, 'pg_class'), '')
		FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = 'inv' AND c.relname LIKE 'inv\_%'
		ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("list the invariants: %w", err)
	}
	type view struct{ Name, Comment string }
	views, err := pgx.CollectRows(rows, pgx.RowToStructByPos[view])
	if err != nil {
		return nil, fmt.Errorf("list the invariants: %w", err)
	}
	var broken []Broken
	for _, v := range views {
		if strings.HasPrefix(v.Comment, "Q") && !quiet {
			continue
		}
		b := Broken{Name: v.Name}
		// A view of its own transaction each: one snapshot held for all of them would
		// keep the hot tables from being cleaned.
		err := p.pgx.QueryRow(ctx, "SELECT count(*), coalesce(min(to_jsonb(v)::text), '') FROM "+pgx.Identifier{"inv", v.Name}.Sanitize()+" AS v").Scan(&b.Rows, &b.Example)
		if err != nil {
			return broken, fmt.Errorf("check %s: %w", v.Name, err)
		}
		if b.Rows > 0 {
			broken = append(broken, b)
		}
	}
	return broken, nil
}
