package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a program of ours that runs beside the test. Its output is kept
// over restarts, and shown when the test fails.
type process struct {
	t    testing.TB
	name string
	path string
	args []string
	env  []string
	dir  string
	log  string
	uid  int // 0: the test's own user

	mu   sync.Mutex // guards what follows
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended; nil before the first start
	err  error
}

// newProcess prepares a process; start starts it.
func newProcess(t testing.TB, name, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, path: path, args: args, env: env, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.said())
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "--- %s %s\n", p.name, strings.Join(p.args, " "))
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: what a terminal sends to the test is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.uid)}
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(done)
	}()
}

// current is the running program and the channel that tells its end.
func (p *process) current() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.done
}

func (p *process) pid() int {
	cmd, _ := p.current()
	return cmd.Process.Pid
}

func (p *process) running() bool {
	_, done := p.current()
	if done == nil {
		return false
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig syscall.Signal) {
	if cmd, _ := p.current(); cmd != nil {
		_ = cmd.Process.Signal(sig) // it may just have ended
	}
}

// kill is kill -9; it waits for the end. Killing twice is harmless.
func (p *process) kill() {
	cmd, done := p.current()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-done
}

// stop is what a supervisor does: SIGTERM, and a failure if it has not ended well
// in time.
func (p *process) stop(within time.Duration) {
	p.t.Helper()
	_, done := p.current()
	if done == nil {
		return
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-done:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err != nil {
			p.t.Errorf("%s ended with %v after SIGTERM, want 0", p.name, p.err)
		}
	case <-time.After(within):
		p.t.Errorf("%s still runs %s after SIGTERM", p.name, within)
		p.kill()
	}
}

// said is the end of what the process printed.
func (p *process) said() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 12 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, _ := io.ReadAll(f)
	return string(text)
}

// eventually waits until a condition holds. It fails the test when that takes too
// long.
func eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", within, what)
		}
	}
}

// freePort is a port on 127.0.0.1 that nobody listens on at the moment.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
