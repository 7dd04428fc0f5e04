package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/synthesizer-dev/synthesizer/db/localpg"
)

// settings of the one Postgres that all contenders share. What a crash may lose
// is left as it is: nothing. A checkpoint in the middle of somebody's turn would
// be luck, so there is room for a turn's WAL, and one is made before every turn.
var settings = map[string]string{
	"shared_buffers":  "256MB",
	"max_wal_size":    "4GB",
	"max_connections": "200",
	"log_line_prefix": "%m [%p] %a ",
}

// A postgres is the server under test.
type postgres struct {
	server *localpg.Server
	dir    string
	pid    int
	admin  *pgx.Conn
}

// startPostgres starts a fresh server in dir, which looks at itself as closely as
// the options ask.
func startPostgres(ctx context.Context, dir string, o options) (*postgres, error) {
	s := maps.Clone(settings)
	if o.statement {
		s["shared_preload_libraries"] = "pg_stat_statements"
		s["pg_stat_statements.track_utility"] = "off"
	}
	if explain := o.explain; explain > 0 {
		s["session_preload_libraries"] = "auto_explain"
		s["auto_explain.log_min_duration"] = strconv.FormatInt(explain.Milliseconds(), 10)
		s["auto_explain.log_analyze"] = "on"
		s["auto_explain.log_buffers"] = "on"
		s["auto_explain.log_timing"] = "off"
	}
	server, err := localpg.Start(ctx, localpg.Config{Dir: dir, Settings: s})
	if err != nil {
		return nil, err
	}
	p := &postgres{server: server, dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err == nil {
		first, _, _ := strings.Cut(string(text), "\n")
		p.pid, err = strconv.Atoi(strings.TrimSpace(first))
	}
	if err == nil {
		p.admin, err = pgx.Connect(ctx, server.URL)
	}
	if err != nil {
		_ = server.Stop()
		return nil, fmt.Errorf("look at the server: %w", err)
	}
	return p, nil
}

func (p *postgres) stop() {
	_ = p.admin.Close(context.Background())
	if err := p.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// logFile is where the server writes what it has to say.
func (p *postgres) logFile() string { return filepath.Join(p.dir, "postgres.log") }

// database makes an empty database and gives its URL.
func (p *postgres) database(ctx context.Context, name string) (string, error) {
	if _, err := p.admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("make database %s: %w", name, err)
	}
	return strings.Replace(p.server.URL, "/postgres?", "/"+name+"?", 1), nil
}

// checkpoint writes out what is dirty, so that it is not written in the next turn.
func (p *postgres) checkpoint(ctx context.Context) error {
	_, err := p.admin.Exec(ctx, "CHECKPOINT")
	return err
}

// wal is how many bytes of WAL have been written since the server was made.
func (p *postgres) wal(ctx context.Context) (int64, error) {
	var n int64
	err := p.admin.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&n)
	return n, err
}

// version is what the server says of itself, with the settings that matter.
func (p *postgres) version(ctx context.Context) (string, error) {
	var v string
	err := p.admin.QueryRow(ctx, `SELECT 'Postgres ' || current_setting('server_version') || ', fsync ' || current_setting('fsync') ||
		', synchronous_commit ' || current_setting('synchronous_commit') || ', shared_buffers ' || current_setting('shared_buffers')`).Scan(&v)
	return v, err
}

// open makes a pool of the bench's own connections.
func open(ctx context.Context, url string, conns int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = int32(conns)
	cfg.ConnConfig.RuntimeParams["application_name"] = "bench"
	return pgxpool.NewWithConfig(ctx, cfg)
}

// value gives the one value that a statement asks for.
func value[V any](ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) (V, error) {
	var v V
	if err := pool.QueryRow(ctx, sql, args...).Scan(&v); err != nil {
		return v, fmt.Errorf("%s: %w", sql, err)
	}
	return v, nil
}
