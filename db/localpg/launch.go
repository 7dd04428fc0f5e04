package localpg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxSocketPath is what the smallest sockaddr_un among our systems holds,
// Postgres's own file name taken off.
const maxSocketPath = 103 - len("/.s.PGSQL.65535.lock")

// maxLog is where an old log is put aside at the next start.
const maxLog = 8 << 20

// An installation is one directory and the binaries that serve it.
type installation struct {
	dir  string
	bin  Binaries
	user account
}

func (pg *installation) data() string { return filepath.Join(pg.dir, "data") }
func (pg *installation) log() string  { return filepath.Join(pg.dir, "postgres.log") }

// dataVersion is the major version that wrote the data in dir, 0 for none.
func dataVersion(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "data", "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, _ := strconv.Atoi(strings.TrimSpace(string(text))) // 0 when it is no number
	return major
}

// init makes the data directory when there is none and returns the password. It
// works in a directory beside and renames, so that a kill in mid-initdb leaves
// nothing that looks like data.
func (pg *installation) init(ctx context.Context) (string, error) {
	passwordFile := filepath.Join(pg.dir, "password")
	if dataVersion(pg.dir) != 0 {
		text, err := os.ReadFile(passwordFile)
		if err != nil {
			return "", fmt.Errorf("read the password of the data in %s: %w", pg.dir, err)
		}
		return strings.TrimSpace(string(text)), nil
	}
	fresh := pg.data() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	password := newPassword()
	if err := os.WriteFile(passwordFile, []byte(password+"\n"), 0o600); err != nil {
		return "", err
	}
	if err := pg.user.own(pg.dir, passwordFile); err != nil {
		return "", err
	}
	// The C locale: the same order everywhere, and no locale needs to be installed.
	out, err := pg.command(ctx, "initdb", "-D", fresh, "-U", superuser, "--pwfile", passwordFile,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	include, err := os.OpenFile(filepath.Join(fresh, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	_, err = include.WriteString("\ninclude = 'synthesizer.conf' # rewritten at every start\n")
	if err := errors.Join(err, include.Close()); err != nil {
		return "", err
	}
	return password, os.Rename(fresh, pg.data())
}

// configure writes the settings of this start. A file, because what stands on
// pg_ctl's command line passes through a shell.
func (pg *installation) configure(port int, c Config) error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": "",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
	}
	socket := filepath.Join(pg.dir, "socket")
	if len(socket) <= maxSocketPath && !strings.ContainsAny(socket, `,"`) { // a list in which a name may be quoted
		if err := os.MkdirAll(socket, 0o700); err != nil {
			return err
		}
		settings["unix_socket_directories"] = socket
	}
	if c.Fast {
		maps.Copy(settings, map[string]string{
			"fsync":              "off",
			"synchronous_commit": "off",
			"full_page_writes":   "off",
			"wal_level":          "minimal",
			"max_wal_senders":    "0",
			"max_connections":    "300", // many test binaries at once, each with its pools
		})
	}
	maps.Copy(settings, c.Settings)

	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(settings[name]))
	}
	file := filepath.Join(pg.data(), "synthesizer.conf")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return err
	}
	return pg.user.own(file, socket)
}

// start waits until the server takes connections. Its log's end is part of the
// error: pg_ctl itself says only "could not start server".
func (pg *installation) start(ctx context.Context) error {
	if info, err := os.Stat(pg.log()); err == nil && info.Size() > maxLog {
		if err := os.Rename(pg.log(), pg.log()+".1"); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(pg.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := log.Stat()
	if err := errors.Join(err, log.Close(), pg.user.own(pg.log())); err != nil {
		return err
	}
	before := info.Size()
	for deadline := time.Now().Add(20 * time.Second); ; {
		out, err := pg.command(ctx, "pg_ctl", "-D", pg.data(), "-l", pg.log(), "-w", "-t", "60", "-s", "start").CombinedOutput()
		if err == nil {
			return nil
		}
		said := tail(pg.log(), before)
		// The children of a server that was killed need a moment to notice.
		if strings.Contains(said, "still in use") && time.Now().Before(deadline) && ctx.Err() == nil {
			before += int64(len(said))
			time.Sleep(200 * time.Millisecond)
			continue
		}
		return fmt.Errorf("pg_ctl start: %w\n%s%s", err, out, said)
	}
}

// tail reads what a file has after an offset, at most the last 4 KiB of it.
func tail(file string, from int64) string {
	text, err := os.ReadFile(file)
	if err != nil || int64(len(text)) < from {
		return ""
	}
	return string(text[max(from, int64(len(text))-4096):])
}

// stop ends the server, in a hurry if it does not end in time.
func (pg *installation) stop() error {
	// Not the caller's context: stopping is what one does when that has ended.
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	out, err := pg.command(ctx, "pg_ctl", "-D", pg.data(), "-m", "fast", "-w", "-t", "30", "-s", "stop").CombinedOutput()
	if err == nil || pg.pid() == 0 {
		return nil
	}
	now, err := pg.command(ctx, "pg_ctl", "-D", pg.data(), "-m", "immediate", "-w", "-t", "30", "-s", "stop").CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_ctl stop: %w\n%s%s", err, out, now)
	}
	return nil
}

// stopLeftover stops a server that nobody owns any more, and removes a pid file
// whose number now belongs to some other process: Postgres would take that for
// itself and refuse to start.
func (pg *installation) stopLeftover() error {
	if pg.pid() != 0 {
		return pg.stop()
	}
	err := os.Remove(filepath.Join(pg.data(), "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// pid is the process that serves this directory, 0 for none.
func (pg *installation) pid() int {
	text, err := os.ReadFile(filepath.Join(pg.data(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 || syscall.Kill(pid, 0) != nil {
		return 0
	}
	// A zombie serves nobody: in a container whose first process does not reap, a
	// server that was killed stays one.
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		if _, state, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(state, "Z") {
			return 0
		}
	}
	// The server's working directory is its data: that tells it from a stranger
	// who got its number. Where that cannot be read we believe the pid file, as
	// Postgres does.
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
		if want, err := filepath.EvalSymlinks(pg.data()); err == nil && cwd != want {
			return 0
		}
	}
	return pid
}

// command runs one of the binaries as the user that may.
func (pg *installation) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, pg.bin.tool(name), args...)
	cmd.Dir = pg.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = pg.user.attr()
	return cmd
}

// tryLock takes a lock that ends with the process, whatever ends that.
func tryLock(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return f, nil
}

// unlock releases a lock now. Closing alone would leave it with a child that this
// process has forked and that has not executed its program yet.
func unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}
