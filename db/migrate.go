package db

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Text that is made anew whenever it changes, instead of by one migration after
// the other: what it makes holds no data.
var (
	//go:embed rights.sql
	rightsSQL string
	//go:embed invariants.sql
	invariantsSQL string
)

// minSchema is the oldest schema this program works with. It lags behind the
// newest by a release, so that a program can be rolled out before its migration
// and back after it.
const minSchema = 1

// DaysAhead is how many days of partitions there are after a migration and after
// every turn of the scheduler's upkeep.
const DaysAhead = 14

// A MigrateReport says what Migrate did.
type MigrateReport struct {
	// Applied are the names of the migrations that were applied, in order.
	Applied []string
	// Version is the schema's version now.
	Version int64
	// Partitions is how many were made.
	Partitions int
	// Warnings are for the operator; everything works nevertheless.
	Warnings []string
}

// Migrate brings the schema up to date, makes the roles and their rights, the
// views and the partitions. It may be killed at any moment and run again, and
// run several times at once: one works, the others wait.
func Migrate(ctx context.Context, url string) (MigrateReport, error) {
	var report MigrateReport
	cfg, err := connConfig(url, "synthesizer migrate")
	if err != nil {
		return report, err
	}
	// Not server settings of the URL's role but ours: DDL never queues behind a long
	// read for longer than this, and is tried again.
	cfg.RuntimeParams["lock_timeout"] = "2000"
	cfg.RuntimeParams["statement_timeout"] = "0"
	pool := stdlib.OpenDB(*cfg)
	defer pool.Close()

	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600), lock.WithUnlockTimeout(1, 10))
	if err != nil {
		return report, fmt.Errorf("migrate: %w", err)
	}
	// goose locks around its own work only; we hold the same lock around all of it.
	conn, err := pool.Conn(ctx)
	if err != nil {
		return report, fmt.Errorf("migrate: connect: %w", err)
	}
	defer conn.Close()
	if err := locker.SessionLock(ctx, conn); err != nil {
		return report, fmt.Errorf("migrate: wait for another migration: %w", err)
	}
	defer func() { _ = locker.SessionUnlock(context.WithoutCancel(ctx), conn) }()

	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return report, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, pool, files)
	if err != nil {
		return report, fmt.Errorf("read the migrations: %w", err)
	}
	if err := clearTheWay(ctx, conn, provider); err != nil {
		return report, fmt.Errorf("migrate: %w", err)
	}
	for {
		applied, err := provider.Up(ctx)
		if e, ok := errors.AsType[*goose.PartialError](err); ok {
			applied = e.Applied
		}
		for _, r := range applied {
			report.Applied = append(report.Applied, r.Source.Path)
		}
		if err == nil {
			break
		}
		if !busy(err) || ctx.Err() != nil {
			return report, fmt.Errorf("migrate: %w", err)
		}
		// Each migration is a transaction: what was applied stays.
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return report, fmt.Errorf("migrate: %w", err)
		}
	}
	if report.Version, err = provider.GetDBVersion(ctx); err != nil {
		return report, fmt.Errorf("migrate: read the version: %w", err)
	}
	if report.Warnings, err = remake(ctx, conn); err != nil {
		return report, fmt.Errorf("migrate: %w", err)
	}
	err = conn.QueryRowContext(ctx, "SELECT ensure_partitions((now() AT TIME ZONE 'UTC')::date, $1)", DaysAhead).Scan(&report.Partitions)
	if err != nil {
		return report, fmt.Errorf("migrate: make partitions: %w", err)
	}
	return report, nil
}

// clearTheWay drops what remake will make again before migrations run: views on a
// column keep it from being changed.
func clearTheWay(ctx context.Context, conn *sql.Conn, provider *goose.Provider) error {
	pending, err := provider.HasPending(ctx)
	if err != nil || !pending {
		return err
	}
	version, err := provider.GetDBVersion(ctx)
	if err != nil || version == 0 {
		return err
	}
	_, err = conn.ExecContext(ctx, "DELETE FROM made AS m WHERE m.name = 'invariants'; DROP SCHEMA IF EXISTS inv CASCADE")
	return err
}

// remake makes roles, rights and views anew where their text has changed.
func remake(ctx context.Context, conn *sql.Conn) ([]string, error) {
	for {
		warnings, err := remakeOnce(ctx, conn)
		// Catalogs are shared with other databases of the cluster, whose migrations our
		// lock does not know.
		if !busy(err) && !concurrentCatalog(err) || ctx.Err() != nil {
			return warnings, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func remakeOnce(ctx context.Context, conn *sql.Conn) ([]string, error) {
	warnings, err := ensureRoles(ctx, conn, serviceRoles)
	if err != nil {
		return nil, err
	}
	roles, err := presentRoles(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct{ name, text, with string }{
		{"invariants", invariantsSQL, ""},
		{"rights", rightsSQL, roles + invariantsSQL},
	} {
		sum := sha256.Sum256([]byte(part.text + part.with))
		if err := remakePart(ctx, conn, part.name, part.text, hex.EncodeToString(sum[:])); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return warnings, nil
}

// remakePart runs text in a transaction unless the database has just that.
func remakePart(ctx context.Context, conn *sql.Conn, name, text, hash string) error {
	var present string
	err := conn.QueryRowContext(ctx, "SELECT m.hash FROM made AS m WHERE m.name = $1", name).Scan(&present)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if present == hash {
		return nil
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, text); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO made (name, hash) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, made_at = now()", name, hash); err != nil {
		return err
	}
	return tx.Commit()
}

// The group roles that services log in as members of; they cannot log in
// themselves and belong to the whole cluster.
var serviceRoles = []string{"syn_api", "syn_scheduler", "syn_executor"}

// ensureRoles makes the roles that are missing. Where it may not, everything
// works with one URL for all services, and a warning says so.
func ensureRoles(ctx context.Context, conn *sql.Conn, roles []string) ([]string, error) {
	for _, role := range roles {
		var there bool
		if err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = $1)", role).Scan(&there); err != nil {
			return nil, err
		}
		if there {
			continue
		}
		_, err := conn.ExecContext(ctx, "CREATE ROLE "+role+" NOLOGIN")
		switch sqlState(err) {
		case "42710", "23505": // another database of the cluster was faster
			continue
		case "42501":
			return []string{fmt.Sprintf("this login may not create the role %s, so services have no rights of their own and need one URL for all; to separate them, let a login with CREATEROLE run migrate", role)}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("create role %s: %w", role, err)
		}
	}
	return nil, nil
}

func presentRoles(ctx context.Context, conn *sql.Conn) (string, error) {
	var roles string
	err := conn.QueryRowContext(ctx, "SELECT coalesce(string_agg(r.rolname, ',' ORDER BY r.rolname), '') FROM pg_roles AS r WHERE r.rolname = ANY ($1)", serviceRoles).Scan(&roles)
	return roles, err
}

func busy(err error) bool { return retryable(err) }

func concurrentCatalog(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "XX000" && e.Message == "tuple concurrently updated"
}

// newestSchema is the version that the embedded migrations lead to.
func newestSchema() int64 {
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil || len(entries) == 0 {
		panic("no migrations are embedded")
	}
	version, err := goose.NumericComponent(entries[len(entries)-1].Name())
	if err != nil {
		panic(err)
	}
	return version
}

// SchemaText is everything that Migrate makes a database from.
func SchemaText() string {
	text := rightsSQL + invariantsSQL
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		b, err := migrationFiles.ReadFile("migrations/" + e.Name())
		if err != nil {
			panic(err)
		}
		text += string(b)
	}
	return text
}
