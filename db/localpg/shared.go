package localpg

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// EnvTestURL names a server that tests use instead of starting one; its user
// must be allowed to create databases and roles.
const EnvTestURL = "SYN_TEST_DATABASE_URL"

// idle is how long the shared server stays when nobody is connected.
const idle = 2 * time.Minute

// lease is this process's hold on the shared server: an open connection, which
// the kernel closes however the process ends. It must outlive every caller, so
// it is the one global of this package.
var lease struct {
	mu   sync.Mutex
	url  string
	conn *pgx.Conn
}

// Shared returns the URL of one fast server for all test processes of this user,
// started by the first that asks. It stays for two minutes after the last of
// them has ended and then stops by itself; its data is thrown away at the next
// start. SYN_TEST_DATABASE_URL, when set, is returned instead.
func Shared(ctx context.Context) (string, error) {
	if url := os.Getenv(EnvTestURL); url != "" {
		return url, nil
	}
	lease.mu.Lock()
	defer lease.mu.Unlock()
	if lease.conn != nil && !lease.conn.IsClosed() {
		return lease.url, nil
	}
	url, conn, err := join(ctx, idle)
	if err != nil {
		return "", fmt.Errorf("share a test server: %w", err)
	}
	lease.url, lease.conn = url, conn
	return url, nil
}

// join connects to the server that runs, or starts it, one process at a time.
func join(ctx context.Context, idle time.Duration) (string, *pgx.Conn, error) {
	bin, err := Find(ctx, "", 0)
	if err != nil {
		return "", nil, err
	}
	home, err := privateDir(fmt.Sprintf("synthesizer-test-%d", os.Getuid()))
	if err != nil {
		return "", nil, err
	}
	// Another version, another directory: SYN_TEST_PG_BIN changes in mid-session.
	dir := filepath.Join(home, fmt.Sprintf("pg%d-%x", bin.Major, sha256.Sum256([]byte(bin.Dir)))[:len("pg15-")+8])
	lock, err := waitLock(ctx, dir+".lock")
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = unlock(lock) }()

	file := filepath.Join(dir, "url")
	if text, err := os.ReadFile(file); err == nil {
		url := strings.TrimSpace(string(text))
		if conn, err := connect(ctx, url); err == nil {
			return url, conn, nil
		}
	}
	old := &installation{dir: dir, bin: bin}
	if old.user, err = serverUser(ctx, bin); err != nil {
		return "", nil, err
	}
	if err := old.stopLeftover(); err != nil {
		return "", nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	s, err := launch(ctx, Config{Dir: dir, BinDir: bin.Dir, Fast: true})
	if err != nil {
		return "", nil, err
	}
	conn, err := connect(ctx, s.URL)
	if err == nil {
		err = stopWhenIdle(ctx, s.URL, idle)
	}
	if err == nil {
		err = os.WriteFile(file, []byte(s.URL+"\n"), 0o600)
	}
	if err != nil {
		return "", nil, errors.Join(err, s.pg.stop())
	}
	return s.URL, conn, nil
}

func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return pgx.Connect(ctx, url)
}

// watchdog counts the other sessions and stops the server when there were none
// for a while. It runs in the server: a session goes on when its client has
// left, so no process of ours has to stay behind. The working directory of a
// session is the data directory. COMMIT ends each turn's snapshot.
const watchdog = `
DO $$
DECLARE
    quiet_since timestamptz := clock_timestamp();
BEGIN
    LOOP
        PERFORM pg_sleep(least(%[1]d, 5000) / 1000.0);
        PERFORM pg_stat_clear_snapshot();
        IF EXISTS (
            SELECT FROM pg_stat_activity AS a
            WHERE a.backend_type = 'client backend'
              AND a.pid <> pg_backend_pid()
        ) THEN
            quiet_since := clock_timestamp();
        ELSIF clock_timestamp() - quiet_since > %[1]d * interval '1 millisecond' THEN
            EXECUTE $stop$ COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; kill -INT $(head -n 1 postmaster.pid)' $stop$;
        END IF;
        COMMIT;
    END LOOP;
END
$$`

// stopWhenIdle leaves the watchdog running in the server.
func stopWhenIdle(ctx context.Context, url string, idle time.Duration) error {
	conn, err := connect(ctx, url)
	if err != nil {
		return err
	}
	pg := conn.PgConn()
	// Sent and not waited for. Closing politely would cancel it, so the socket is
	// closed underneath once the server has begun.
	if _, err := pg.Conn().Write(simpleQuery(fmt.Sprintf(watchdog, idle.Milliseconds()))); err != nil {
		return fmt.Errorf("start the watchdog: %w", err)
	}
	defer pg.Conn().Close()
	seen, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer seen.Close(context.WithoutCancel(ctx))
	for deadline := time.Now().Add(10 * time.Second); ; {
		var running bool
		err := seen.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = $1 AND a.wait_event = 'PgSleep')", pg.PID()).Scan(&running)
		if err != nil || running {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("the watchdog does not start")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// simpleQuery is the Query message of the protocol.
func simpleQuery(sql string) []byte {
	n := 4 + len(sql) + 1
	msg := []byte{'Q', byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return append(append(msg, sql...), 0)
}

// privateDir is a directory of this user under the temporary directory, where
// anybody could have put one of that name first. Others may pass through it: the
// server may be one of them.
func privateDir(name string) (string, error) {
	dir := filepath.Join(os.TempDir(), name)
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o066 != 0 || !ok || int(owner.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s is not a private directory of this user", dir)
	}
	return dir, nil
}

// waitLock takes a lock when its holder has gone.
func waitLock(ctx context.Context, file string) (*os.File, error) {
	for {
		f, err := tryLock(file)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", file, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
