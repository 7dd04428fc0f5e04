package dbtest

import (
	"context"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/synthesizer-dev/synthesizer/db"
)

// Before gives queries that call do with the name of each query before they send
// it: the place where another transaction gets in between.
func Before(conn db.DBTX, do func(name string)) *db.Queries {
	return db.New(interposed{conn, do})
}

type interposed struct {
	db.DBTX
	do func(string)
}

var queryName = regexp.MustCompile(`^-- name: (\w+)`)

func (i interposed) before(sql string) {
	name := ""
	if m := queryName.FindStringSubmatch(sql); m != nil {
		name = m[1]
	}
	i.do(name)
}

// Exec is db.DBTX's.
func (i interposed) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	i.before(sql)
	return i.DBTX.Exec(ctx, sql, args...)
}

// Query is db.DBTX's.
func (i interposed) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	i.before(sql)
	return i.DBTX.Query(ctx, sql, args...)
}

// QueryRow is db.DBTX's.
func (i interposed) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	i.before(sql)
	return i.DBTX.QueryRow(ctx, sql, args...)
}
