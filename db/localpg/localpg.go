// Package localpg runs a private Postgres on this machine: for the standalone
// program, for tests and for benchmarks.
//
// It drives initdb and pg_ctl itself and leaves only the download of binaries to
// the embedded-postgres library: that library deletes a data directory whose
// version is not the one it was told, and a newcomer's runs are in there.
package localpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// superuser is the only role of a fresh server.
const superuser = "postgres"

// A Config says where a server keeps its data and how it runs. Only Dir is
// required.
type Config struct {
	// Dir holds the data, the password, the socket and the log. It is created
	// when missing; what is there from an earlier start is used again.
	Dir string
	// Port on 127.0.0.1; 0 picks a free one.
	Port int
	// Database is created when missing; empty means "postgres".
	Database string
	// BinDir holds initdb, pg_ctl and postgres; empty means that Find chooses.
	BinDir string
	// Fast gives up durability for speed: a crash of the machine loses the data.
	// For tests only.
	Fast bool
	// Settings are lines of postgresql.conf and win over everything else.
	Settings map[string]string
}

// A Server is a running Postgres that belongs to this process.
type Server struct {
	// URL connects as superuser to the configured database.
	URL string
	// Version is the major version.
	Version int

	pg   *installation
	lock *os.File
}

// Start starts a server and returns when it answers. A server that an earlier
// process left behind in Dir (it was killed) is stopped first; one that belongs
// to a live process is an error. Data of another major version is never touched.
func Start(ctx context.Context, c Config) (*Server, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil || c.Dir == "" {
		return nil, fmt.Errorf("start postgres: directory %q: %w", c.Dir, errors.Join(err, errNoDir))
	}
	c.Dir = dir
	// The server's user, if it is not this one, must be able to get to the directory.
	err = os.MkdirAll(filepath.Dir(dir), 0o711)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	lock, err := tryLock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("start postgres: %s belongs to another running program (give this one another directory): %w", dir, err)
	}
	s, err := launch(ctx, c)
	if err != nil {
		return nil, errors.Join(err, unlock(lock))
	}
	s.lock = lock
	return s, nil
}

var errNoDir = errors.New("no directory given")

// Stop stops the server: sessions are ended, what they committed is written.
// Stopping twice is harmless.
func (s *Server) Stop() error {
	if s.lock == nil {
		return nil
	}
	err := s.pg.stop()
	err = errors.Join(err, unlock(s.lock))
	s.lock = nil
	if err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	return nil
}

// launch brings the server of c.Dir up; the caller holds the directory's lock.
func launch(ctx context.Context, c Config) (*Server, error) {
	bin, err := Find(ctx, c.BinDir, dataVersion(c.Dir))
	if err != nil {
		return nil, err
	}
	user, err := serverUser(ctx, bin)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	if err := user.reach(c.Dir); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	pg := &installation{dir: c.Dir, bin: bin, user: user}
	if err := pg.stopLeftover(); err != nil {
		return nil, fmt.Errorf("start postgres: stop the server left behind in %s: %w", c.Dir, err)
	}
	password, err := pg.init(ctx)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	port, err := pg.startOnPort(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	database := c.Database
	if database == "" {
		database = "postgres"
	}
	s := &Server{URL: serverURL(port, password, database), Version: bin.Major, pg: pg}
	if database != "postgres" {
		if err := ensureDatabase(ctx, serverURL(port, password, "postgres"), database); err != nil {
			return nil, fmt.Errorf("start postgres: %w", errors.Join(err, pg.stop()))
		}
	}
	return s, nil
}

// startOnPort starts the server, again on another port when the free one was
// taken in the moment between.
func (pg *installation) startOnPort(ctx context.Context, c Config) (int, error) {
	var err error
	for range 5 {
		port := c.Port
		if port == 0 {
			if port, err = freePort(); err != nil {
				return 0, err
			}
		}
		if err = pg.configure(port, c); err != nil {
			return 0, err
		}
		if err = pg.start(ctx); err == nil {
			return port, nil
		}
		if c.Port != 0 || ctx.Err() != nil || !strings.Contains(err.Error(), "could not bind") {
			break
		}
	}
	return 0, err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func serverURL(port int, password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

func ensureDatabase(ctx context.Context, url, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to create database %s: %w", name, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database AS d WHERE d.datname = $1)", name).Scan(&there); err != nil {
		return fmt.Errorf("look for database %s: %w", name, err)
	}
	if there {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// newPassword is random, so that another user of this machine who finds the port
// cannot come in.
func newPassword() string { return rand.Text() }
