package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// record is a sink that keeps everything.
type record struct {
	mu   sync.Mutex
	out  bytes.Buffer
	err  bytes.Buffer
	both bytes.Buffer
}

func (r *record) Write(s Stream, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.both.Write(p)
	if s == Stderr {
		r.err.Write(p)
	} else {
		r.out.Write(p)
	}
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.both.String()
}

// modes runs a test with a cgroup, where the host has them, and without.
func modes(t *testing.T, f func(t *testing.T, command func(script string) Command)) {
	base, err := findCgroups()
	for _, with := range []bool{true, false} {
		t.Run(map[bool]string{true: "cgroup", false: "group"}[with], func(t *testing.T) {
			t.Parallel()
			if with && err != nil {
				t.Skipf("NOT TESTED: %v; run as root on a host with cgroup v2", err)
			}
			dir := t.TempDir()
			f(t, func(script string) Command {
				c := Command{
					Argv:  Shell("sh", script),
					Env:   []string{"PATH=/usr/bin:/bin", "SYN_DIR=" + dir},
					Dir:   dir,
					Grace: 300 * time.Millisecond,
				}
				if with {
					c.Cgroup = testCgroup(t, base)
				}
				return c
			})
		})
	}
}

// testCgroup makes a cgroup for one command.
func testCgroup(t *testing.T, base string) *Cgroup {
	t.Helper()
	path := filepath.Join(base, "syn-test-"+filepath.Base(filepath.Dir(t.TempDir()))+fmt.Sprint(time.Now().UnixNano()))
	c, err := newCgroup(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("cgroup %s is still there", path)
			removeCgroup(path)
		}
	})
	return c
}

// alive returns the processes whose environment carries the directory's mark.
func alive(dir string) []proc {
	return scan(func(p proc) bool { return p.marked("SYN_DIR=" + dir) })
}

// waitFor polls a condition.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10s for %s", what)
		}
	}
}

func TestSuccess(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("echo out; echo err >&2; pwd; cat")
		var out record
		c.Output = &out
		r := Run(t.Context(), c)
		if r.State != Succeeded || r.Reason != "" || r.ExitCode == nil || *r.ExitCode != 0 {
			t.Errorf("result %+v, want succeeded with code 0", r)
		}
		if want := "out\n" + c.Dir + "\n"; out.out.String() != want || out.err.String() != "err\n" {
			t.Errorf("output %q and %q, want %q and err", out.out.String(), out.err.String(), want)
		}
		if r.Ran <= 0 || r.EndedAt.Before(r.StartedAt) {
			t.Errorf("accounting is missing: %+v", r)
		}
	})
}

func TestStreamsKeepTheirOrder(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("for i in 1 2 3 4 5; do echo o$i; sleep 0.02; echo e$i >&2; sleep 0.02; done")
		var out record
		c.Output = &out
		Run(t.Context(), c)
		if want := "o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\n"; out.String() != want {
			t.Errorf("order %q, want %q", out.String(), want)
		}
	})
}

// P1
func TestIgnoredTermIsFollowedByKill(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("trap '' TERM; echo ready; while :; do sleep 100; done")
		var out record
		c.Output = &out
		p, err := Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the trap", func() bool { return out.String() != "" })
		at := time.Now()
		p.Stop(Canceled)
		r := p.Wait()
		if took := time.Since(at); took < c.Grace || took > c.Grace+3*time.Second {
			t.Errorf("stopping took %v, want about %v", took, c.Grace)
		}
		if r.State != Cancel || r.Reason != "canceled" || r.Signal != "SIGKILL" || r.ExitCode != nil {
			t.Errorf("result %+v, want canceled by SIGKILL", r)
		}
		if left := alive(c.Dir); len(left) > 0 || r.Survivors > 0 {
			t.Errorf("alive: %v, survivors %d", left, r.Survivors)
		}
	})
}

func TestTermIsHeardByTheWholeTree(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command(`setsid sh -c 'trap "echo inner; exit 0" TERM; echo a; while :; do sleep 0.02; done' &
trap 'echo outer; sleep 0.1; exit 7' TERM; echo b; while :; do sleep 0.02; done`)
		c.Grace = 5 * time.Second
		var out record
		c.Output = &out
		p, err := Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, "both traps", func() bool { return len(out.String()) >= 4 })
		p.Stop(Canceled)
		r := p.Wait()
		if s := out.String(); strings.Count(s, "inner") != 1 || strings.Count(s, "outer") != 1 {
			t.Errorf("output %q, want inner and outer once", s)
		}
		if r.State != Cancel || r.ExitCode == nil || *r.ExitCode != 7 {
			t.Errorf("result %+v, want canceled with code 7", r)
		}
	})
}

// P2
func TestGrandchildHoldsStdout(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("(sleep 0.3; echo late; sleep 7001) & echo ok")
		var out record
		c.Output = &out
		at := time.Now()
		r := Run(t.Context(), c)
		if took := time.Since(at); took > 3*time.Second {
			t.Errorf("took %v, want < 3s", took)
		}
		if r.State != Succeeded || !r.Late {
			t.Errorf("result %+v, want succeeded and late", r)
		}
		if out.String() != "ok\nlate\n" {
			t.Errorf("output %q, want the late line too", out.String())
		}
		if left := alive(c.Dir); len(left) > 0 {
			t.Errorf("alive: %v", left)
		}
	})
}

// P8
func TestDaemonsDieWithTheirTask(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("setsid nohup sh -c 'setsid sleep 7002 & sleep 7002' >/dev/null 2>&1 </dev/null & setsid sleep 7003 >/dev/null 2>&1 & sleep 0.1")
		if r := Run(t.Context(), c); r.State != Succeeded || r.Late {
			t.Errorf("result %+v, want succeeded at once", r)
		}
		if left := alive(c.Dir); len(left) > 0 {
			t.Errorf("alive: %v", left)
		}
	})
}

func TestClearedEnvironmentInTheSession(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("env -i /bin/sleep 7004 >/dev/null 2>&1 & echo $!; sleep 0.1")
		var out record
		c.Output = &out
		Run(t.Context(), c)
		var pid int
		fmt.Sscan(out.String(), &pid)
		if _, ok := readProc(pid); pid == 0 || ok {
			t.Errorf("process %d of %q is alive", pid, out.String())
		}
	})
}

func TestTimeout(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("sleep 7005")
		c.Timeout = 100 * time.Millisecond
		r := Run(t.Context(), c)
		if r.State != Timeout || r.Reason != "timed_out" || r.Signal != "SIGTERM" {
			t.Errorf("result %+v, want timed_out by SIGTERM", r)
		}
	})
}

func TestStops(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		for _, tc := range []struct {
			cause  Cause
			state  Outcome
			reason string
		}{
			{Canceled, Cancel, "canceled"},
			{TimedOut, Timeout, "timed_out"},
			{Drained, Lost, "drained"},
			{LeaseLost, Lost, "lost"},
		} {
			c := command("trap '' TERM; while :; do sleep 7006; done")
			p, err := Start(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			p.Kill(tc.cause)
			p.Kill(Canceled) // only the first counts
			if r := p.Wait(); r.State != tc.state || r.Reason != tc.reason {
				t.Errorf("%v: %+v, want %s %s", tc.cause, r, tc.state, tc.reason)
			}
			p.Stop(Canceled) // after the end: nothing
		}
	})
}

func TestContextStops(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		ctx, cancel := context.WithCancelCause(t.Context())
		p, err := Start(ctx, command("sleep 7007"))
		if err != nil {
			t.Fatal(err)
		}
		cancel(Drained)
		if r := p.Wait(); r.Reason != ReasonDrained {
			t.Errorf("result %+v, want drained", r)
		}
	})
}

func TestLeaseLostCutsTheGrace(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("trap '' TERM; echo x; while :; do sleep 7008; done")
		c.Grace = time.Hour
		var out record
		c.Output = &out
		p, err := Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the trap", func() bool { return out.String() != "" })
		p.Stop(Canceled)
		p.Stop(LeaseLost)
		if r := p.Wait(); r.Reason != ReasonLost {
			t.Errorf("result %+v, want lost", r)
		}
	})
}

// P10
func TestReasons(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "#!/bin/sh\n", 0o644)
	noFormat := write("noformat", "echo hi\n", 0o755)
	noInterpreter := write("nointerp", "#!/no/such/interpreter -x\n", 0o755)
	file := write("file", "", 0o644)
	sh := func(s string) []string { return Shell("sh", s) }
	for _, tc := range []struct {
		name   string
		argv   []string
		dir    string
		state  Outcome
		reason string
		code   int // -1: none
		signal string
		detail string
	}{
		{"zero", sh("exit 0"), dir, Succeeded, "", 0, "", ""},
		{"code", sh("exit 3"), dir, Failed, "exit", 3, "", "exited with code 3"},
		{"255", sh("exit 255"), dir, Failed, "exit", 255, "", "exited with code 255"},
		{"126 of a shell", sh("/etc/passwd"), dir, Failed, "exit", 126, "", "not executable"},
		{"127 of a shell", sh("no-such-command-at-all"), dir, Failed, "exit", 127, "", "not found"},
		{"137 of a shell", sh("sh -c 'kill -9 $$'"), dir, Failed, "exit", 137, "", "SIGKILL"},
		{"segmentation fault", sh("kill -SEGV $$"), dir, Failed, "signal", -1, "SIGSEGV", "SIGSEGV"},
		{"killed by somebody", sh("kill -KILL $$"), dir, Failed, "signal", -1, "SIGKILL", "SIGKILL"},
		{"not in PATH", []string{"no-such-command-at-all"}, dir, Failed, "not_found", -1, "", "PATH is /usr/bin"},
		{"no such path", []string{"/no/such/thing"}, dir, Failed, "not_found", -1, "", "/no/such/thing"},
		{"path through a file", []string{file + "/x"}, dir, Failed, "not_found", -1, "", "not found"},
		{"no x bit", []string{plain}, dir, Failed, "not_executable", -1, "", "plain is not executable"},
		{"no x bit, relative", []string{"./plain"}, dir, Failed, "not_executable", -1, "", "plain is not executable"},
		{"a directory", []string{dir}, dir, Failed, "not_executable", -1, "", "is a directory"},
		{"format error", []string{noFormat}, dir, Failed, "not_executable", -1, "", "#!"},
		{"no interpreter", []string{noInterpreter}, dir, Failed, "not_executable", -1, "", "(/no/such/interpreter -x)"},
		{"no directory", sh("true"), dir + "/none", Failed, "no_directory", -1, "", "none does not exist"},
		{"directory is a file", sh("true"), file, Failed, "no_directory", -1, "", "is not a directory"},
		{"not found and no directory", []string{"nothing"}, dir + "/none", Failed, "no_directory", -1, "", "none does not exist"},
		{"relative directory", sh("true"), "tmp", Failed, "no_directory", -1, "", "not absolute"},
		{"empty argv", nil, dir, Failed, "not_found", -1, "", "empty"},
		{"empty name", []string{""}, dir, Failed, "not_found", -1, "", "empty"},
		{"NUL", []string{"echo", "a\x00b"}, dir, Failed, "start", -1, "", "argument 1 holds a NUL"},
		{"too large", []string{"echo", strings.Repeat("x", 4<<20)}, dir, Failed, "start", -1, "", "larger than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := Run(t.Context(), Command{Argv: tc.argv, Dir: tc.dir, Env: []string{"PATH=/usr/bin:/bin"}})
			code := -1
			if r.ExitCode != nil {
				code = *r.ExitCode
			}
			if r.State != tc.state || r.Reason != tc.reason || code != tc.code || r.Signal != tc.signal || !strings.Contains(r.Detail, tc.detail) {
				t.Errorf("got %s %q code %d signal %q %q\nwant %s %q code %d signal %q %q",
					r.State, r.Reason, code, r.Signal, r.Detail, tc.state, tc.reason, tc.code, tc.signal, tc.detail)
			}
		})
	}
}

func TestDirectoryThatMayNotBeEntered(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root enters any directory")
	}
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0); err != nil {
		t.Fatal(err)
	}
	if r := Run(t.Context(), Command{Argv: Shell("sh", "true"), Dir: dir, Env: []string{"PATH=/bin"}}); r.Reason != ReasonNoDirectory {
		t.Errorf("result %+v, want no_directory", r)
	}
}

// E11
func TestChildHasOnlyWhatItDeclares(t *testing.T) {
	t.Setenv("SYN_DATABASE_URL", "postgres://canary@/")
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil { // without CLOEXEC, as if inherited
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(p[0]); syscall.Close(p[1]) })
	sealInherited()
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("env; ls -l /proc/$$/fd; cat /proc/$$/oom_score_adj; cut -d' ' -f5,6,19 /proc/$$/stat; echo $$")
		c.Env = append(c.Env, "A=1", "A=2", "NL=a\nb")
		c.OOMScoreAdj = 500
		c.Nice = 5
		c.Argv[3] = "sleep 0.05;" + c.Argv[3]
		if c.Argv[0] != "sh" {
			t.Fatal(c.Argv)
		}
		var out record
		c.Output = &out
		p, err := Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		p.Wait()
		s := out.String()
		if strings.Contains(s, "canary") || !strings.Contains(s, "A=2\n") || strings.Contains(s, "A=1\n") {
			t.Errorf("environment: %s", s)
		}
		if strings.Contains(s, " 3 -> ") || !strings.Contains(s, " 0 -> /dev/null") || !strings.Contains(s, " 2 -> pipe:") {
			t.Errorf("descriptors: %s", s)
		}
		if want := fmt.Sprintf("\n500\n%d %d 5\n", p.Pid(), p.Pid()); !strings.Contains(s, want) {
			t.Errorf("oom_score_adj, group, session and nice are not %q: %s", want, s)
		}
	})
}

// P4, P5
func TestHugeOutputInConstantMemory(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command("head -c 512M /dev/zero; head -c 50M /dev/zero | tr '\\0' x >&2")
		var n [3]int64
		largest := 0
		c.Output = sinkFunc(func(s Stream, p []byte) { n[s] += int64(len(p)); largest = max(largest, len(p)) })
		before := rss(t)
		r := Run(t.Context(), c)
		if grown := rss(t) - before; grown > 32<<20 {
			t.Errorf("memory grew by %d MiB", grown>>20)
		}
		if r.State != Succeeded || n[Stdout] != 512<<20 || n[Stderr] != 50<<20 || largest > blockSize {
			t.Errorf("%+v: %d and %d bytes in blocks up to %d", r, n[Stdout], n[Stderr], largest)
		}
	})
}

type sinkFunc func(Stream, []byte)

func (f sinkFunc) Write(s Stream, p []byte) { f(s, p) }

// rss returns the resident memory of the test.
func rss(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int
	fmt.Sscan(string(b), &size, &resident)
	return resident * os.Getpagesize()
}

// P6
func TestBytesArriveAsTheyAre(t *testing.T) {
	modes(t, func(t *testing.T, command func(string) Command) {
		c := command(`printf 'a\000\377\303\r\r\033]8;;x\007\n'`)
		var out record
		c.Output = &out
		Run(t.Context(), c)
		if want := "a\x00\xff\xc3\r\r\x1b]8;;x\x07\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func TestWithoutPidfd(t *testing.T) {
	dir := t.TempDir()
	p := &Process{cmd: Command{Argv: Shell("sh", "echo hi; exit 4"), Dir: dir, Env: []string{"PATH=/bin"}}, done: make(chan struct{}), noPidfd: true}
	var out record
	p.cmd.Output = &out
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	if r := p.Wait(); *r.ExitCode != 4 || out.String() != "hi\n" {
		t.Errorf("result %+v, output %q", r, out.String())
	}
}
