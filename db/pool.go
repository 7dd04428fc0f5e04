package db

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Purpose says what connections are for: it chooses their limits and how
// Postgres plans on them. Purposes have pools of their own, so that a slow page
// or a flood of logs never keeps a heartbeat waiting.
type Purpose int

const (
	// Control is for decisions: ticks, claims, heartbeats, ends. Statements are
	// short, and their plans are pinned to indexes, because a plan made while a
	// hot table happened to be empty is a scan that prepared statements keep.
	Control Purpose = iota
	// Pages is for what people and their programs read and write.
	Pages
	// Logs is for storing output.
	Logs
	// Upkeep is for what takes its time: retention, partitions, self-checks.
	Upkeep
)

// limits are what one purpose sets on its sessions.
type limits struct {
	conns     int32
	statement time.Duration
	lock      time.Duration
	settings  map[string]string
}

// idleInTransaction is when the server ends a session that holds a transaction
// open and says nothing: its client is gone, or waits for something it must not
// wait for.
const idleInTransaction = 10 * time.Second

func (p Purpose) limits() limits {
	switch p {
	case Control:
		return limits{conns: 4, statement: 15 * time.Second, lock: 5 * time.Second, settings: map[string]string{
			"enable_seqscan":    "off",
			"enable_bitmapscan": "off",
			"enable_hashjoin":   "off",
			"enable_mergejoin":  "off",
			"enable_material":   "off",
			"random_page_cost":  "0.1",
		}}
	case Pages:
		return limits{conns: 8, statement: 10 * time.Second, lock: 5 * time.Second}
	case Logs:
		return limits{conns: 2, statement: 15 * time.Second, lock: 5 * time.Second}
	case Upkeep:
		return limits{conns: 2, statement: 2 * time.Minute, lock: 5 * time.Second}
	}
	panic(fmt.Sprintf("no such purpose: %d", p))
}

// A Config says where the database is and what the connections are for.
type Config struct {
	// URL is a connection string in either form; passfile, service files and the
	// PG… variables work as in psql.
	URL string
	// AppName names the connections in pg_stat_activity; empty means "synthesizer".
	AppName string
	// Purpose is Control when not set.
	Purpose Purpose
	// MaxConns is at most how many connections there are; 0 leaves it to Purpose.
	MaxConns int
}

// A Pool is a set of connections for one purpose. It is safe for concurrent use.
type Pool struct {
	pgx     *pgxpool.Pool
	queries *Queries
	url     string
	name    string
	timeout time.Duration
}

// Open prepares a pool. It does not connect: a service starts, and says on its
// health page what is missing, whether the database is there or not. Only a
// connection string that cannot be read is an error.
func Open(ctx context.Context, c Config) (*Pool, error) {
	l := c.Purpose.limits()
	cfg, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	if c.AppName == "" {
		c.AppName = "synthesizer"
	}
	configureConn(cfg.ConnConfig, c.URL, c.AppName)
	for name, value := range map[string]string{
		"statement_timeout":                   milliseconds(l.statement),
		"lock_timeout":                        milliseconds(l.lock),
		"idle_in_transaction_session_timeout": milliseconds(idleInTransaction),
		"jit":                                 "off",
		"default_transaction_isolation":       "read committed",
	} {
		cfg.ConnConfig.RuntimeParams[name] = value
	}
	for name, value := range l.settings {
		cfg.ConnConfig.RuntimeParams[name] = value
	}
	cfg.MaxConns = l.conns
	if c.MaxConns > 0 {
		cfg.MaxConns = int32(min(c.MaxConns, 1000))
	}
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	cfg.MaxConnIdleTime = 10 * time.Minute
	cfg.PingTimeout = 3 * time.Second
	// A password that was changed is read again for every new connection.
	cfg.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		if fresh, err := pgx.ParseConfig(c.URL); err == nil {
			conn.Password = fresh.Password
		}
		return nil
	}
	cfg.AfterConnect = registerTypes
	// The pool outlives the call that opened it.
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	p := &Pool{pgx: pool, url: c.URL, name: c.AppName, timeout: l.statement + 5*time.Second}
	p.queries = New(deadline{db: pool, timeout: p.timeout})
	return p, nil
}

// Queries runs each query by itself, on any connection of the pool.
func (p *Pool) Queries() *Queries { return p.queries }

// Ping asks the database for a sign of life.
func (p *Pool) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := p.pgx.Ping(ctx); err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	return nil
}

// PGX hands the pool to a library that needs one, such as a collector of metrics.
// Nobody else looks inside.
func (p *Pool) PGX() *pgxpool.Pool { return p.pgx }

// Close waits for connections in use to come back and closes them all.
func (p *Pool) Close() { p.pgx.Close() }

// configureConn sets what every connection of ours has in common.
func configureConn(cfg *pgx.ConnConfig, url, appName string) {
	cfg.RuntimeParams["application_name"] = appName
	cfg.RuntimeParams["timezone"] = "UTC"
	// The other end's half: without it a server keeps the row locks of a client
	// whose path was cut.
	cfg.RuntimeParams["tcp_user_timeout"] = milliseconds(userTimeout)
	cfg.RuntimeParams["tcp_keepalives_idle"] = "15"
	cfg.RuntimeParams["tcp_keepalives_interval"] = "5"
	cfg.RuntimeParams["tcp_keepalives_count"] = "3"
	cfg.ConnectTimeout = 5 * time.Second
	dialer := &net.Dialer{
		Timeout:         5 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         setUserTimeout,
	}
	cfg.DialFunc = dialer.DialContext
}

// userTimeout is how long sent data may stay unacknowledged before a connection
// counts as broken.
const userTimeout = 10 * time.Second

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// connConfig is for the few connections that are not in a pool: listening and
// migrating.
func connConfig(url, appName string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	configureConn(cfg, url, appName)
	return cfg, nil
}

// remoteWithoutTLS reports whether a password and all data would cross a network
// that others can read.
func remoteWithoutTLS(cfg *pgx.ConnConfig) bool {
	insecure := func(host string, tls *tls.Config) bool {
		if tls != nil && !tls.InsecureSkipVerify || host == "" || host[0] == '/' || host == "localhost" {
			return false
		}
		ip := net.ParseIP(host)
		return ip == nil || !ip.IsLoopback()
	}
	if insecure(cfg.Host, cfg.TLSConfig) {
		return true
	}
	for _, f := range cfg.Fallbacks {
		if insecure(f.Host, f.TLSConfig) {
			return true
		}
	}
	return false
}

var errNested = errors.New("a transaction inside a transaction: pass the *Queries along instead")
