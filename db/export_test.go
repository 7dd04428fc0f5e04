package db

import (
	"context"

	"github.com/jackc/pgx/v5/stdlib"
)

// LockSource locks a row by a statement that no service has.
func LockSource(ctx context.Context, q *Queries, name string) error {
	var id int64
	return q.db.QueryRow(ctx, "SELECT s.id FROM source AS s WHERE s.name = $1 FOR UPDATE", name).Scan(&id)
}

// What tests look at from outside.
var (
	InRange      = inRange
	Judge        = judge
	NewestSchema = newestSchema
)

// EnsureRoles makes roles as migrate does.
func EnsureRoles(ctx context.Context, url string, roles []string) ([]string, error) {
	cfg, err := connConfig(url, "test")
	if err != nil {
		return nil, err
	}
	pool := stdlib.OpenDB(*cfg)
	defer pool.Close()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return ensureRoles(ctx, conn, roles)
}

// RemoteWithoutTLS judges a URL.
func RemoteWithoutTLS(url string) (bool, error) {
	cfg, err := connConfig(url, "test")
	if err != nil {
		return false, err
	}
	return remoteWithoutTLS(cfg), nil
}
