package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestHelperInit is not a test: it runs as process 1.
func TestHelperInit(t *testing.T) {
	ready := os.Getenv("HELPER_READY")
	if ready == "" {
		t.Skip("run by another test")
	}
	if status, done := Init(); done {
		os.Exit(status)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	for range 5 {
		r := Run(t.Context(), Command{Argv: Shell("sh", "setsid sh -c 'sleep 0.02' & setsid sh -c 'sleep 0.02' & exit 3"), Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/"})
		if r.ExitCode == nil || *r.ExitCode != 3 {
			os.Exit(9)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if err := os.WriteFile(ready, []byte(fmt.Sprint(os.Getpid())), 0o600); err != nil {
		os.Exit(8)
	}
	<-term
	os.Exit(7)
}

// P9
func TestProcessOneReapsOrphans(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperInit$")
	cmd.Env = []string{"HELPER_READY=" + ready}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Skipf("NOT TESTED: a PID namespace needs root: %v", err)
	}
	defer cmd.Process.Kill()
	waitFor(t, "the tasks", func() bool { b, _ := os.ReadFile(ready); return len(b) > 0 })
	if b, _ := os.ReadFile(ready); string(b) == "1" {
		t.Error("the work is done by process 1")
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, d := range dirs {
		if b, _ := os.ReadFile(d); bytes.Contains(b, fmt.Appendf(nil, ") Z %d ", cmd.Process.Pid)) {
			t.Errorf("zombie: %s", b)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit status %d, want the child's 7", code)
	}
}

// P3
func TestForkBombIsContained(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		limit := filepath.Join("/sys/fs/cgroup/pids", "syn-test-"+filepath.Base(filepath.Dir(t.TempDir())))
		if err := os.Mkdir(limit, 0o755); err != nil {
			t.Skipf("NOT TESTED: a limit of processes: %v", err)
		}
		t.Cleanup(func() {
			waitFor(t, "the bomb's end", func() bool { return syscall.Rmdir(limit) == nil })
		})
		if err := os.WriteFile(limit+"/pids.max", []byte("60"), 0); err != nil {
			t.Skipf("NOT TESTED: a limit of processes: %v", err)
		}
		c := command("echo $$ > " + limit + "/cgroup.procs; exec bash -c ':(){ :|:& };:; sleep 7009'")
		c.Timeout = 500 * time.Millisecond
		at := time.Now()
		r := Run(t.Context(), c)
		if took := time.Since(at); took > 10*time.Second || r.Survivors > 0 {
			t.Errorf("%+v after %v", r, took)
		}
		if left := alive(c.Dir); len(left) > 0 {
			t.Errorf("%d processes left", len(left))
		}
		if again := Run(t.Context(), Command{Argv: []string{"true"}, Env: c.Env, Dir: c.Dir}); again.State != Succeeded {
			t.Errorf("another command: %+v", again)
		}
	})
}

func BenchmarkTrue(b *testing.B) {
	base, err := findCgroups()
	for _, with := range []bool{false, true} {
		b.Run(map[bool]string{false: "group", true: "cgroup"}[with], func(b *testing.B) {
			if with && err != nil {
				b.Skip(err)
			}
			i := 0
			for b.Loop() {
				c := Command{Argv: []string{"/bin/true"}, Env: []string{"PATH=/bin"}, Dir: "/", Output: sinkFunc(func(Stream, []byte) {})}
				if with {
					i++
					if c.Cgroup, err = newCgroup(filepath.Join(base, fmt.Sprintf("syn-bench-%d", i)), Limits{}); err != nil {
						b.Fatal(err)
					}
				}
				if r := Run(b.Context(), c); r.State != Succeeded {
					b.Fatal(r)
				}
			}
		})
	}
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			var p, q [2]int
			_ = syscall.Pipe2(p[:], syscall.O_CLOEXEC)
			_ = syscall.Pipe2(q[:], syscall.O_CLOEXEC)
			pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Dir: "/", Files: []uintptr{0, uintptr(p[1]), uintptr(q[1])}, Sys: &syscall.SysProcAttr{Setsid: true}})
			if err != nil {
				b.Fatal(err)
			}
			closeAll([]int{p[1], q[1]})
			var buf [16]byte
			_, _ = syscall.Read(p[0], buf[:])
			_, _ = syscall.Read(q[0], buf[:])
			closeAll([]int{p[0], q[0]})
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
	})
}

func TestManyAtOnceLeaveNothing(t *testing.T) {
	h := openHome(t, t.TempDir())
	count := func() int { e, _ := os.ReadDir("/proc/self/fd"); return len(e) }
	run := func(n int) {
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				a, err := h.Attempt(fmt.Sprint("many-", n, "-", i), Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				var out record
				c := Command{
					Argv: Shell("sh", fmt.Sprintf("echo %d; sleep 0.05; echo e%d >&2; exit %d", i, i, i%3)), Dir: a.Dir, Cgroup: a.Cgroup, Output: &out,
					Env: []string{"PATH=/bin:/usr/bin", "SYN_DIR=" + a.Dir},
				}
				if i%7 == 0 {
					c.Argv = []string{"sleep", "7011"}
					c.Timeout, c.Grace = 10*time.Millisecond, time.Second
				}
				r := Run(t.Context(), c)
				switch {
				case i%7 == 0:
					if r.State != Timeout {
						t.Errorf("%d: %+v", i, r)
					}
				case r.ExitCode == nil || *r.ExitCode != i%3 || out.String() != fmt.Sprintf("%d\ne%d\n", i, i):
					t.Errorf("%d: %+v, output %q", i, r, out.String())
				}
				if err := a.Remove(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	run(5)
	fds, routines := count(), runtime.NumGoroutine()
	run(200)
	waitFor(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() <= routines })
	if after := count(); after > fds {
		t.Errorf("%d descriptors, %d before", after, fds)
	}
	if entries, _ := os.ReadDir(h.Dir()); len(entries) > 2 {
		t.Errorf("%d entries in the home, want lock and cgroup", len(entries))
	}
}

// No thread may wait for a command: an executor runs hundreds.
func TestWaitingTakesNoThreads(t *testing.T) {
	threads := func() int { e, _ := os.ReadDir("/proc/self/task"); return len(e) }
	before := threads()
	var running []*Process
	for range 60 {
		p, err := Start(t.Context(), Command{Argv: []string{"sleep", "7010"}, Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/"})
		if err != nil {
			t.Fatal(err)
		}
		running = append(running, p)
	}
	if grown := threads() - before; grown > 15 {
		t.Errorf("%d more threads for %d commands", grown, len(running))
	}
	for _, p := range running {
		p.Kill(Canceled)
	}
	for _, p := range running {
		p.Wait()
	}
}

func TestMemoryIsTheCommandsOwn(t *testing.T) {
	run := func(argv ...string) Result {
		return Run(t.Context(), Command{Argv: argv, Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/"})
	}
	if r := run("true"); r.MaxRSS > 8<<20 {
		t.Errorf("true took %d MiB: that is the caller's", r.MaxRSS>>20)
	}
	if r := run("dd", "if=/dev/zero", "of=/dev/null", "bs=150M", "count=1"); r.MaxRSS < 150<<20 || r.MaxRSS > 200<<20 {
		t.Errorf("dd took %d MiB, want about 150", r.MaxRSS>>20)
	}
}

func TestCgroupThatTakesNoChildren(t *testing.T) {
	base, err := findCgroups()
	if err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	dir := t.TempDir()
	c := testCgroup(t, base)
	bad, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Close(c.fd)
	c.fd = bad
	r := Run(t.Context(), Command{
		Argv: Shell("sh", "setsid sleep 7012 >/dev/null 2>&1 & sleep 0.1"), Dir: dir, Cgroup: c,
		Env: []string{"PATH=/bin:/usr/bin", "SYN_DIR=" + dir},
	})
	if left := alive(dir); r.State != Succeeded || len(left) > 0 {
		t.Errorf("%+v, alive: %v", r, left)
	}
}
