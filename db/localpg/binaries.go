package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// EnvBinDir names the directory of the Postgres binaries that tests run on, to
// try another major version than the machine's.
const EnvBinDir = "SYN_TEST_PG_BIN"

// oldest is the first major version whose SQL we use.
const oldest = 15

// downloaded is the version fetched where none is installed.
const downloaded = embedded.V17

// Binaries are an installed Postgres.
type Binaries struct {
	Dir   string
	Major int
}

// ErrNone says that this machine has no usable Postgres and how to get one.
var ErrNone = errors.New("no Postgres of version 15 or newer was found")

// Find looks for Postgres binaries: dir if it is given, then $SYN_TEST_PG_BIN,
// PATH, the places where packages put them (newest first), and last a download.
// A major other than 0 accepts that version only, for data it has written.
func Find(ctx context.Context, dir string, major int) (Binaries, error) {
	if dir == "" {
		dir = os.Getenv(EnvBinDir)
	}
	if dir != "" {
		b, err := inspect(ctx, dir)
		if err != nil {
			return Binaries{}, fmt.Errorf("find postgres in %s: %w", dir, err)
		}
		if !b.fits(major) {
			return Binaries{}, fmt.Errorf("find postgres in %s: it is version %d, want %s", dir, b.Major, wanted(major))
		}
		return b, nil
	}
	for _, dir := range candidates() {
		if b, err := inspect(ctx, dir); err == nil && b.fits(major) {
			return b, nil
		}
	}
	if major != 0 && major != 17 {
		return Binaries{}, fmt.Errorf("the data was written by Postgres %d, which is not installed here: install it, or use another directory: %w", major, ErrNone)
	}
	b, err := download(ctx)
	if err != nil {
		return Binaries{}, fmt.Errorf("%w; install it with:\n    %s\nor set SYN_DATABASE_URL to a server you have (downloading one did not work either: %w)", ErrNone, installLine(), err)
	}
	return b, nil
}

func (b Binaries) fits(major int) bool {
	return b.Major >= oldest && (major == 0 || b.Major == major)
}

func (b Binaries) tool(name string) string { return filepath.Join(b.Dir, name) }

func wanted(major int) string {
	if major == 0 {
		return fmt.Sprintf("%d or newer", oldest)
	}
	return strconv.Itoa(major)
}

// candidates lists directories that may hold the binaries, best first.
func candidates() []string {
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                   // the RPMs of postgresql.org
		"/opt/homebrew/opt/postgresql@*/bin", // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		slices.SortFunc(found, func(a, b string) int { return number(b) - number(a) })
		dirs = append(dirs, found...)
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

// number is the last number in a path: the version in all of our patterns.
func number(path string) int {
	all := digits.FindAllString(path, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1]) // digits only
	return n
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect asks the binaries in dir for their version.
func inspect(ctx context.Context, dir string) (Binaries, error) {
	b := Binaries{Dir: dir}
	for _, name := range []string{"initdb", "pg_ctl", "postgres"} {
		if _, err := os.Stat(b.tool(name)); err != nil {
			return Binaries{}, err
		}
	}
	out, err := exec.CommandContext(ctx, b.tool("postgres"), "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("ask postgres for its version: %w", err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return Binaries{}, fmt.Errorf("ask postgres for its version: it says %q", strings.TrimSpace(string(out)))
	}
	b.Major, err = strconv.Atoi(string(m[1]))
	return b, err
}

// download fetches binaries into the user's cache directory. The library has no
// call for that alone: it starts a server too, which is stopped at once, and
// which root may not start; what counts is that the binaries are there.
func download(ctx context.Context) (Binaries, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Binaries{}, err
	}
	home := filepath.Join(cache, "synthesizer", "postgres-"+string(downloaded))
	bin := filepath.Join(home, "bin")
	if b, err := inspect(ctx, bin); err == nil {
		return b, nil
	}
	scratch, err := os.MkdirTemp("", "synthesizer-download-")
	if err != nil {
		return Binaries{}, err
	}
	defer os.RemoveAll(scratch)
	port, err := freePort()
	if err != nil {
		return Binaries{}, err
	}
	server := embedded.NewDatabase(embedded.DefaultConfig().
		Version(downloaded).
		Port(uint32(port)).
		CachePath(filepath.Join(home, "download")).
		BinariesPath(home).
		RuntimePath(filepath.Join(scratch, "runtime")).
		DataPath(filepath.Join(scratch, "data")).
		Logger(io.Discard))
	startErr := server.Start()
	if startErr == nil {
		_ = server.Stop() // its data is thrown away
	}
	b, err := inspect(ctx, bin)
	if err != nil {
		return Binaries{}, errors.Join(startErr, err)
	}
	return b, nil
}

// installLine is the one line that installs Postgres here.
func installLine() string {
	sudo := "sudo "
	if os.Getuid() == 0 {
		sudo = ""
	}
	for _, m := range []struct{ tool, line string }{
		{"apt-get", sudo + "apt-get install -y postgresql"},
		{"dnf", sudo + "dnf install -y postgresql-server"},
		{"apk", sudo + "apk add postgresql"},
		{"pacman", sudo + "pacman -S postgresql"},
		{"brew", "brew install postgresql@17"},
	} {
		if _, err := exec.LookPath(m.tool); err == nil {
			return m.line
		}
	}
	if runtime.GOOS == "darwin" {
		return "brew install postgresql@17"
	}
	return "install the server package of PostgreSQL"
}
