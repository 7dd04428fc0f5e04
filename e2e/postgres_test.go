package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db/localpg"
	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// A postgres is a durable server of one test's own, to be broken.
type postgres struct {
	t      testing.TB
	config localpg.Config
	server *localpg.Server
}

func newPostgres(t testing.TB) *postgres {
	t.Helper()
	p := &postgres{t: t, config: localpg.Config{
		Dir: filepath.Join(t.TempDir(), "pg"), Port: programs.FreePort(t), Database: "synthesizer",
		// A crash of the server is what is tested, not one of the machine.
		Settings: map[string]string{"fsync": "off", "full_page_writes": "off", "max_connections": "200"},
	}}
	p.start()
	t.Cleanup(func() {
		if err := p.server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *postgres) start() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), 2*time.Minute)
	defer cancel()
	s, err := localpg.Start(ctx, p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.server = s
}

// crash is `pg_ctl -m immediate restart`: sessions are cut off, nothing is
// written that was not, and the start recovers from the log.
func (p *postgres) crash() {
	p.t.Helper()
	pid := p.postmaster()
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		p.t.Fatal(err)
	}
	programs.Eventually(p.t, 30*time.Second, "the end of Postgres", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
	if err := p.server.Stop(); err != nil {
		p.t.Fatal(err)
	}
	p.start()
}

func (p *postgres) postmaster() int {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.config.Dir, "data", "postmaster.pid"))
	if err != nil {
		p.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		p.t.Fatal(err)
	}
	return pid
}

// zombie reports whether a process is dead and nobody has asked how it ended.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, ok := strings.Cut(string(stat), ") ")
	return ok && strings.HasPrefix(state, "Z")
}
