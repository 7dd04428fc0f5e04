package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestDataIsFoundAgain(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	config := Config{Dir: dir, Fast: true, Database: "syn thesizer", Settings: map[string]string{"application_name": `it's`}}

	s := start(t, config)
	run(t, s.URL, "CREATE TABLE kept (n int)")
	if got := ask[string](t, s.URL, "SHOW application_name"); got != "it's" {
		t.Errorf("setting = %q, want %q", got, "it's")
	}
	if got := ask[string](t, s.URL, "SHOW listen_addresses"); got != "127.0.0.1" {
		t.Errorf("listen_addresses = %q, want 127.0.0.1", got)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	s = start(t, config)
	run(t, s.URL, "INSERT INTO kept VALUES (1)")
}

func TestOneDirectoryHasOneOwner(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	start(t, Config{Dir: dir, Fast: true})
	_, err := Start(t.Context(), Config{Dir: dir, Fast: true})
	if err == nil || !strings.Contains(err.Error(), "another running program") {
		t.Errorf("second Start = %v, want an error that names the owner", err)
	}
}

// Whoever was killed leaves the server running, or its pid file lying about.
func TestStartAfterKill(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, s *Server){
		"of the owner": func(*testing.T, *Server) {},
		"of the server": func(t *testing.T, s *Server) {
			if err := syscall.Kill(s.pg.pid(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		"of the server, whose number a stranger has now": func(t *testing.T, s *Server) {
			if err := s.pg.stop(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(s.pg.data(), "postmaster.pid")
			if err := os.WriteFile(file, fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), s.pg.data()), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, kill := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tempDir(t)
			s, err := Start(t.Context(), Config{Dir: dir, Fast: true})
			if err != nil {
				t.Fatal(err)
			}
			run(t, s.URL, "CREATE TABLE kept (n int)")
			run(t, s.URL, "CHECKPOINT")
			kill(t, s)
			_ = unlock(s.lock) // the kernel does this when the owner dies

			again := start(t, Config{Dir: dir, Fast: true})
			run(t, again.URL, "INSERT INTO kept VALUES (1)")
		})
	}
}

func TestKilledInitdbIsRepeated(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, Config{Dir: dir, Fast: true})
}

func TestSecretsStayPrivate(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	s := start(t, Config{Dir: dir, Fast: true})
	for _, name := range []string{"password", "postgres.log", "lock", "data/synthesizer.conf"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&fs.FileMode(0o077) != 0 {
			t.Errorf("%s has mode %v, want it private", name, info.Mode())
		}
	}
	config, err := pgx.ParseConfig(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	config.Password = "guessed"
	if conn, err := pgx.ConnectConfig(t.Context(), config); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a wrong password was let in")
	}
}

func TestDeepDirectoryNeedsNoSocket(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: filepath.Join(tempDir(t), strings.Repeat("deep/", 20)), Fast: true})
	if got := ask[string](t, s.URL, "SHOW unix_socket_directories"); got != "" {
		t.Errorf("unix_socket_directories = %q, want none", got)
	}
}

func TestForeignDataIsNotTouched(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	version := filepath.Join(dir, "data", "PG_VERSION")
	if err := os.MkdirAll(filepath.Dir(version), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(version, []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "9") {
		t.Errorf("Start on data of version 9 = %v, want an error that names it", err)
	}
	if text, err := os.ReadFile(version); err != nil || string(text) != "9\n" {
		t.Errorf("PG_VERSION = %q, %v, want it as it was", text, err)
	}
}

func TestMissingBinariesAreNamed(t *testing.T) {
	t.Parallel()
	_, err := Find(t.Context(), t.TempDir(), 0)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Find in an empty directory = %v, want not exist", err)
	}
}

func TestNewestCandidateComesFirst(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{
		"/usr/lib/postgresql/9/bin": 9, "/usr/lib/postgresql/18/bin": 18, "/usr/pgsql-17/bin": 17, "/none": 0,
	} {
		if got := number(path); got != want {
			t.Errorf("number(%q) = %d, want %d", path, got, want)
		}
	}
}

// The shared server is one for all, and ends by itself when all have left.
func TestSharedServerStopsWhenIdle(t *testing.T) {
	t.Setenv("TMPDIR", tempDir(t)) // not the one that the other packages use now
	t.Setenv(EnvTestURL, "")
	url, first, err := join(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	again, second, err := join(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if again != url {
		t.Errorf("second process got another server")
	}
	data := ask[string](t, url, "SHOW data_directory")
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// One of the two is still here for longer than the idle time.
	if _, err := second.Exec(t.Context(), "SELECT pg_sleep(3)"); err != nil {
		t.Errorf("the server left while it was used: %v", err)
	}
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() bool {
		_, err := os.Stat(filepath.Join(data, "postmaster.pid"))
		return errors.Is(err, fs.ErrNotExist)
	})
	if _, err := connect(t.Context(), url); err == nil {
		t.Error("somebody still answers")
	}
	// And comes back for the next who asks.
	_, third, err := join(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() bool {
		_, err := os.Stat(filepath.Join(data, "postmaster.pid"))
		return errors.Is(err, fs.ErrNotExist)
	})
}

func TestGivenServerIsUsed(t *testing.T) {
	t.Setenv(EnvTestURL, "postgres://somewhere/else")
	if got, err := Shared(t.Context()); err != nil || got != "postgres://somewhere/else" {
		t.Errorf("Shared = %q, %v, want the one that was given", got, err)
	}
}

func TestOpenTemporaryDirectoryIsRefused(t *testing.T) {
	t.Setenv("TMPDIR", tempDir(t))
	if err := os.Mkdir(filepath.Join(os.TempDir(), "open"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := privateDir("open"); err == nil {
		t.Error("privateDir took a directory that others can read")
	}
}

// tempDir is a directory that the user of the server can enter.
func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func run(t *testing.T, url, sql string) {
	t.Helper()
	conn := dial(t, url)
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](t *testing.T, url, sql string) T {
	t.Helper()
	conn := dial(t, url)
	defer conn.Close(context.WithoutCancel(t.Context()))
	var got T
	if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func dial(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func eventually(t *testing.T, within time.Duration, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in time")
		}
	}
}
