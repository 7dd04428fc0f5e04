package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// The test binary is guard and executor, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "guard":
			os.Exit(Main(os.Args[2:], os.Stdin, os.Stdout))
		case "executor":
			os.Exit(standIn(os.Args[2], os.Args[3] == "group"))
		}
	}
	os.Exit(m.Run())
}

const (
	lease  = 1500 * time.Millisecond
	margin = 300 * time.Millisecond
)

// standIn is an executor that runs one task and renews its lease.
func standIn(root string, group bool) int {
	ctx := context.Background()
	h, err := process.OpenHome(ctx, root)
	if err != nil {
		return fail(err)
	}
	g, err := Start(ctx, os.Args[0], []string{"guard"}, Config{Home: h, Margin: margin, Killed: func(n int) {
		fmt.Println("killed", n)
	}})
	if err != nil {
		return fail(err)
	}
	fmt.Println("guard", g.Pid())
	a, err := h.Attempt("1-1-1", process.Limits{})
	if err != nil {
		return fail(err)
	}
	if group {
		a.Cgroup = nil
	}
	if err := g.Renewed(Now() + lease); err != nil {
		return fail(err)
	}
	_, err = process.Start(ctx, process.Command{
		Argv: process.Shell("sh", "setsid sh -c 'setsid sleep 998 & sleep 998' & sleep 0.1; echo x > started; sleep 998"),
		Env:  []string{"PATH=/usr/bin:/bin", "SYN_DIR=" + a.Dir}, Dir: a.Dir, Cgroup: a.Cgroup,
	})
	if err != nil {
		return fail(err)
	}
	for {
		select {
		case <-g.Done():
			fmt.Println("dead 0")
			time.Sleep(time.Hour)
		case <-time.After(lease / 3):
		}
		if err := g.Renewed(Now() + lease); err != nil {
			fmt.Println("silent 0")
		}
	}
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// executor is a running stand-in.
type executor struct {
	t    *testing.T
	cmd  *exec.Cmd
	root string
	out  *os.File
}

// start starts a stand-in and waits until its task has four processes.
func start(t *testing.T, mode string) *executor {
	t.Helper()
	e := &executor{t: t, root: t.TempDir()}
	var err error
	if e.out, err = os.Create(filepath.Join(t.TempDir(), "out")); err != nil {
		t.Fatal(err)
	}
	e.cmd = exec.Command(os.Args[0], "executor", e.root, mode)
	e.cmd.Stdout, e.cmd.Stderr = e.out, os.Stderr
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait()
		e.until("the guard's end", func() bool { return e.said("guard") == 0 || !running(e.said("guard")) })
		// A process that is just dying holds its lock until its last thread is gone.
		e.until("the sweep", func() bool {
			_, err := process.SweepLeftovers(context.Background(), e.root, nil)
			left, _ := filepath.Glob(e.root + "/[0-9a-f]*")
			return err == nil && len(left) == 0
		})
		e.out.Close()
	})
	e.until("the task", func() bool {
		m, _ := filepath.Glob(e.root + "/*/1-1-1/started")
		return len(m) == 1
	})
	// The last of them may still be on their way from fork to exec.
	e.until("four processes of the task", func() bool { return e.tasks() >= 4 })
	return e
}

// tasks counts living processes that belong to the executor's tasks.
func (e *executor) tasks() int {
	n := 0
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, _ := os.ReadFile(d + "/environ")
		if bytes.Contains(env, []byte("SYN_DIR="+e.root+"/")) {
			n++
		}
	}
	return n
}

// said returns the number that the stand-in printed last after a word.
func (e *executor) said(word string) int {
	b, _ := os.ReadFile(e.out.Name())
	n := 0
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, word+" "); ok {
			n, _ = strconv.Atoi(strings.TrimSpace(rest))
		}
	}
	return n
}

// heard reports whether the stand-in printed a word.
func (e *executor) heard(word string) bool {
	b, _ := os.ReadFile(e.out.Name())
	return bytes.Contains(b, []byte(word+" "))
}

func (e *executor) until(what string, ok func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("waited 15s for %s", what)
		}
	}
}

// running reports whether a process is there and no zombie.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}

func modes(t *testing.T, f func(t *testing.T, mode string)) {
	for _, mode := range []string{"cgroup", "group"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f(t, mode)
		})
	}
}

// E1
func TestKilledExecutorTakesItsTasksAlong(t *testing.T) {
	modes(t, func(t *testing.T, mode string) {
		e := start(t, mode)
		at := time.Now()
		_ = e.cmd.Process.Kill()
		e.until("the tasks' end", func() bool { return e.tasks() == 0 })
		if took := time.Since(at); took > lease/2 {
			t.Errorf("took %v, want at once", took)
		}
		e.until("the guard's end", func() bool { return !running(e.said("guard")) })
	})
}

// E6
func TestStoppedExecutorLosesItsTasksAtLeaseEnd(t *testing.T) {
	modes(t, func(t *testing.T, mode string) {
		e := start(t, mode)
		at := time.Now()
		_ = e.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(lease/3 - margin/2) // no renewal is older than lease/3: it must still live
		if e.tasks() == 0 {
			t.Error("killed long before the end of the lease")
		}
		e.until("the tasks' end", func() bool { return e.tasks() == 0 })
		if took := time.Since(at); took > lease {
			t.Errorf("took %v, want less than the lease of %v", took, lease)
		}
		_ = e.cmd.Process.Signal(syscall.SIGCONT)
		e.until("the report", func() bool { return e.said("killed") >= 4 })
		if !running(e.said("guard")) {
			t.Error("the guard is gone")
		}
	})
}

func TestRenewalsKeepTasksAlive(t *testing.T) {
	e := start(t, "cgroup")
	for end := time.Now().Add(2 * lease); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if n := e.tasks(); n < 4 {
			t.Fatalf("%d processes left", n)
		}
	}
}

func TestDeadGuardIsNoticed(t *testing.T) {
	e := start(t, "cgroup")
	_ = syscall.Kill(e.said("guard"), syscall.SIGKILL)
	e.until("the notice", func() bool { return e.heard("dead") })
}

func TestStoppedGuardIsNoticedWithinARenewal(t *testing.T) {
	e := start(t, "cgroup")
	at := time.Now()
	_ = syscall.Kill(e.said("guard"), syscall.SIGSTOP)
	e.until("the notice", func() bool { return e.heard("silent") })
	if took := time.Since(at); took > lease {
		t.Errorf("took %v", took)
	}
	_ = syscall.Kill(e.said("guard"), syscall.SIGCONT)
}

func TestGuardOutlivesPoliteSignals(t *testing.T) {
	e := start(t, "cgroup")
	pid := e.said("guard")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		_ = syscall.Kill(pid, sig)
	}
	time.Sleep(100 * time.Millisecond)
	if !running(pid) {
		t.Error("the guard is gone")
	}
	env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if len(env) != 0 {
		t.Errorf("environment %q, want none", env)
	}
	if sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0); int(sid) != pid {
		t.Errorf("session %d, want its own", sid)
	}
}

func TestGuardHoldsTheLock(t *testing.T) {
	e := start(t, "cgroup")
	pid := e.said("guard")
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
	if swept, err := process.SweepLeftovers(t.Context(), e.root, nil); err != nil || len(swept.Homes) != 0 {
		t.Errorf("swept %+v, %v; want nothing while the guard lives", swept, err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	e.until("the sweep", func() bool {
		swept, err := process.SweepLeftovers(t.Context(), e.root, nil)
		return err == nil && len(swept.Homes) == 1
	})
	if n := e.tasks(); n != 0 {
		t.Errorf("%d tasks left", n)
	}
}

func TestCloseAndKill(t *testing.T) {
	h, err := process.OpenHome(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := Start(t.Context(), os.Args[0], []string{"guard"}, Config{Home: h})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	g.Close()
	if err := g.Renewed(Now() + time.Second); !errors.Is(err, ErrSilent) {
		t.Errorf("renewed after the end: %v", err)
	}
	if g, err = Start(t.Context(), os.Args[0], []string{"guard"}, Config{Home: h}); err != nil {
		t.Fatal(err)
	}
	g.Kill()
	g.Kill()
	g.Close()
	if _, err := Start(t.Context(), "/bin/false", nil, Config{Home: h}); err == nil {
		t.Error("a guard that ends at once was taken")
	}
	if _, err := Start(t.Context(), "/no/such/thing", nil, Config{Home: h}); err == nil {
		t.Error("a guard that is not there was taken")
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}
