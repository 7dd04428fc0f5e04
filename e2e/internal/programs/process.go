package programs

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

// A Process is a program of ours that runs beside the test. Its output is kept
// over restarts, and shown when the test fails.
type Process struct {
	Name string
	Dir  string // where it runs; "": where the test does
	Log  string // the file that its output goes to
	UID  int    // 0: the test's own user

	t    testing.TB
	path string
	args []string
	env  []string

	mu   sync.Mutex // guards what follows
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended; nil before the first start
	err  error
}

// NewProcess prepares a process; Start starts it.
func NewProcess(t testing.TB, name, path string, env []string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, Name: name, path: path, args: args, env: env, Log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.Name, p.Said())
		}
	})
	return p
}

// Start starts the program, again if it has ended.
func (p *Process) Start() {
	p.t.Helper()
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "--- %s %s\n", p.Name, strings.Join(p.args, " "))
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Dir = p.env, p.Dir
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: what a terminal sends to the test is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.UID), Gid: uint32(p.UID)}
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.Name, err)
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
func (p *Process) current() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.done
}

// PID is the number of the running program.
func (p *Process) PID() int {
	cmd, _ := p.current()
	return cmd.Process.Pid
}

// Running tells whether the program has been started and has not ended.
func (p *Process) Running() bool {
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

// Signal sends a signal. One that comes too late is no mistake.
func (p *Process) Signal(sig syscall.Signal) {
	if cmd, _ := p.current(); cmd != nil {
		_ = cmd.Process.Signal(sig) // it may just have ended
	}
}

// Kill is kill -9; it waits for the end. Killing twice is harmless.
func (p *Process) Kill() {
	cmd, done := p.current()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-done
}

// Stop is what a supervisor does: SIGTERM, and a failure if it has not ended well
// in time.
func (p *Process) Stop(within time.Duration) {
	p.t.Helper()
	_, done := p.current()
	if done == nil {
		return
	}
	p.Signal(syscall.SIGTERM)
	select {
	case <-done:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err != nil {
			p.t.Errorf("%s ended with %v after SIGTERM, want 0", p.Name, p.err)
		}
	case <-time.After(within):
		p.t.Errorf("%s still runs %s after SIGTERM", p.Name, within)
		p.Kill()
	}
}

// Interrupt is Ctrl-C in a terminal: all that runs there gets it.
func (p *Process) Interrupt(within time.Duration) {
	cmd, done := p.current()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	select {
	case <-done:
	case <-time.After(within):
		p.t.Errorf("%s still runs %s after Ctrl-C", p.Name, within)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}

// Said is the end of what the process printed.
func (p *Process) Said() string {
	f, err := os.Open(p.Log)
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

// Eventually waits until a condition holds. It fails the test when that takes too
// long.
func Eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", within, what)
		}
	}
}

// FreePort is a port on 127.0.0.1 that nobody listens on at the moment.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
