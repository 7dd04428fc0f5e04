package executor_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
)

// spawned is an executor in a process of its own.
type spawned struct {
	cmd *exec.Cmd
	log *logBuffer
}

func spawn(t *testing.T, w *exectest.World, dir string, env ...string) *spawned {
	t.Helper()
	s := &spawned{cmd: exec.Command(os.Args[0]), log: &logBuffer{}}
	s.cmd.Env = append(os.Environ(), "SYN_TEST_EXECUTOR="+w.URL, "SYN_TEST_DIR="+dir)
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Stderr = s.log
	s.cmd.WaitDelay = 100 * time.Millisecond
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("executor's log:\n%s", s.log)
		}
		// The next executor on this host would remove what it leaves; here is none.
		for range 100 {
			if homes, _ := filepath.Glob(filepath.Join(dir, "*", "lock")); len(homes) == 0 {
				return
			}
			_, _ = process.SweepLeftovers(context.Background(), dir, nil)
			time.Sleep(20 * time.Millisecond)
		}
	})
	return s
}

func (s *spawned) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *spawned) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// guardOf finds the guard of an executor; 0: it has none.
func guardOf(pid int) int {
	var all []string
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		more, _ := os.ReadFile(file)
		all = append(all, strings.Fields(string(more))...)
	}
	for _, child := range all {
		line, _ := os.ReadFile("/proc/" + child + "/cmdline")
		if strings.Contains(string(line), executor.GuardArg) {
			n, _ := strconv.Atoi(child)
			return n
		}
	}
	return 0
}

func marked(name string) (mark, text string) {
	mark = "8992." + uuid.NewString()[:8]
	return mark, "name: p\ntasks:\n  a: {command: [sh, -c, 'setsid sh -c \"sleep 8992; :\" " + mark + " & sleep 8992; :', " + mark + "]" + name + "}\n  b: {run: 'true'}\n"
}

func TestKilledExecutorsTasksDieAtOnce(t *testing.T) {
	t.Parallel()
	mark, text := marked("")
	w := exectest.New(t, text)
	run := w.Run("p")
	w.Release(run, "p", "a")
	s := spawn(t, w, t.TempDir())
	w.Until("it runs", func() bool { return alive(t, mark) >= 2 })
	s.kill()
	deadline := time.Now().Add(3 * time.Second) // the lease
	for alive(t, mark) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("processes of the dead executor are alive at the end of its lease")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM live`); n != 1 {
		t.Errorf("%d live attempts, want the one that is the reaper's to take back", n)
	}
}

// Executor and guard are killed together: whoever comes next on this host kills
// what they left, before it claims.
func TestLeftoversAreKilledBeforeTheFirstClaim(t *testing.T) {
	t.Parallel()
	mark, text := marked("")
	w := exectest.New(t, text)
	run := w.Run("p")
	w.Release(run, "p", "a")
	dir := t.TempDir()
	s := spawn(t, w, dir)
	w.Until("it runs", func() bool { return alive(t, mark) >= 2 })
	guard := guardOf(s.cmd.Process.Pid)
	// Stopped first: it would notice the death of the executor between the two.
	_ = syscall.Kill(guard, syscall.SIGSTOP)
	s.kill()
	_ = syscall.Kill(guard, syscall.SIGKILL)
	time.Sleep(100 * time.Millisecond)
	if alive(t, mark) < 2 {
		t.Fatal("somebody has killed the leftovers already: the test shows nothing")
	}
	w.Release(run, "p", "b")
	start(t, w, func(c *executor.Config) { brisk(c); c.WorkDir = dir })
	w.Until("the next task was claimed", func() bool { return strings.Contains(w.Attempts(run), "b#1") })
	if n := alive(t, mark); n != 0 {
		t.Errorf("%d leftovers were alive after the first claim", n)
	}
}

// The executor is stopped for longer than its lease: the guard kills its tasks,
// and it reports nothing when it runs again.
func TestFrozenExecutor(t *testing.T) {
	t.Parallel()
	mark, text := marked("")
	w := exectest.New(t, text)
	run := w.Run("p")
	w.Release(run, "p", "a")
	s := spawn(t, w, t.TempDir())
	w.Until("it runs", func() bool { return alive(t, mark) >= 2 })
	old := exectest.Value[uuid.UUID](w, `SELECT id FROM executor`)
	s.signal(t, syscall.SIGSTOP)
	frozen := time.Now()
	w.Until("its tasks are dead", func() bool { return alive(t, mark) == 0 })
	if took := time.Since(frozen); took > 3*time.Second {
		t.Errorf("its tasks lived for %s, longer than the lease", took)
	}
	s.signal(t, syscall.SIGCONT)
	w.Release(run, "p", "b")
	w.Until("it works again", func() bool { return strings.Contains(w.Attempts(run), "b#1 succeeded") })
	if got, want := w.Attempts(run), "b#1 succeeded"; got != want {
		t.Errorf("attempts = %q, want %q: what the guard did is not how the task ended", got, want)
	}
	if now := exectest.Value[uuid.UUID](w, `SELECT executor FROM attempt`); now == old {
		t.Error("it came back under the id whose lease was lost")
	}
	if !strings.Contains(s.log.String(), "lease lost") {
		t.Error("it does not say that the lease was lost")
	}
}

// Without its guard the executor starts nothing until it has another one; what
// runs goes on.
func TestGuardIsReplaced(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mark := "8993." + uuid.NewString()[:8]
			w := exectest.New(t, "name: p\ntasks:\n  a: {command: [sh, -c, 'sleep 4; echo done', "+mark+"]}\n  b: {run: 'true'}\n")
			run := w.Run("p")
			w.Release(run, "p", "a")
			s := spawn(t, w, t.TempDir())
			w.Until("it runs", func() bool { return alive(t, mark) == 1 })
			first := guardOf(s.cmd.Process.Pid)
			if err := syscall.Kill(first, sig); err != nil {
				t.Fatal(err)
			}
			w.Until("there is another guard", func() bool {
				second := guardOf(s.cmd.Process.Pid)
				return second != 0 && second != first
			})
			w.Release(run, "p", "b")
			w.UntilEnded()
			if got, want := w.Attempts(run), "a#1 succeeded b#1 succeeded"; got != want {
				t.Errorf("attempts = %q, want %q", got, want)
			}
			// The new guard does its work.
			second := guardOf(s.cmd.Process.Pid)
			s.kill()
			w.Until("the guard ends with its executor", func() bool { return syscall.Kill(second, 0) != nil })
			w.Check()
		})
	}
}

// An executor dies between the end of a task and its report: the next one on
// this host reports it, while the lease lasts.
func TestSavedResultsAreReported(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, `
name: p
tasks:
  a: {run: 'sleep 2; echo hello; echo n=7 >> "$SYN_OUTPUT"', outputs: {n: {type: integer}}, lost: 0}
  b: {run: 'sleep 2; exit 4'}
`)
	run := w.Run("p")
	w.Release(run, "p", "a", "b")
	dir := t.TempDir()
	s := spawn(t, w, dir)
	w.Until("both run", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 2 })
	hold := w.Hold("attempt") // so that no report gets through
	w.Until("both results are saved", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*", "*.result"))
		return len(files) == 2
	})
	w.Until("the output is stored", func() bool { return w.Log(run) == "hello\n" })
	time.Sleep(50 * time.Millisecond)
	s.kill()
	w.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'synthesizer executor%' AND datname = current_database()`)
	hold.Release()
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt`); n != 0 {
		t.Fatalf("%d attempts were reported before the executor died: the test shows nothing", n)
	}
	start(t, w, func(c *executor.Config) { brisk(c); c.WorkDir = dir })
	w.UntilEnded()
	if got, want := w.Attempts(run), "a#1 succeeded b#1 failed:exit"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	if got, want := exectest.Value[string](w, `SELECT outputs::text FROM task WHERE number = 0`), `{"n": 7}`; got != want {
		t.Errorf("outputs = %q, want %q", got, want)
	}
	w.Check()
}

// An executor dies after the claim and before the start of a task that runs at
// most once: that nothing has run can be told from the row.
func TestDiesBetweenClaimAndStart(t *testing.T) {
	t.Parallel()
	witness := filepath.Join(t.TempDir(), "ran")
	w := exectest.New(t, "name: p\ntasks:\n  a: {command: [touch, "+witness+"], lost: 0}\n")
	// So that the start cannot be stored.
	w.Exec(`CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$`)
	w.Exec(`CREATE TRIGGER hang BEFORE UPDATE ON live FOR EACH ROW EXECUTE FUNCTION hang()`)
	run := w.Run("p")
	w.Release(run, "p", "a")
	s := spawn(t, w, t.TempDir())
	w.Until("it is about to start", func() bool {
		return exectest.Value[bool](w, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%MarkRunning%' AND wait_event = 'PgSleep' AND datname = current_database())`)
	})
	s.kill()
	w.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'synthesizer executor%' AND datname = current_database()`)
	if got, want := exectest.Value[string](w, `SELECT state FROM live`), "claimed"; got != want {
		t.Errorf("live is %q, want %q", got, want)
	}
	if _, err := os.Stat(witness); err == nil {
		t.Error("it ran before its start was stored")
	}
}

// A full disk: nothing new is claimed, and readiness says why.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("SKIPPED: a full disk needs a mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: 'true'}\n")
	run := w.Run("p")
	r := start(t, w, func(c *executor.Config) { c.WorkDir = dir })
	w.Until("it is ready", func() bool { return r.parts.Ready(t.Context()) == nil })
	fill := filepath.Join(dir, "fill")
	_ = os.WriteFile(fill, make([]byte, 9<<20), 0o600) // fails, and leaves it full
	w.Until("it is not ready", func() bool {
		err := r.parts.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "full")
	})
	w.Release(run, "p", "a")
	time.Sleep(600 * time.Millisecond)
	if n := exectest.Value[int64](w, `SELECT count(*) FROM ready`); n != 1 {
		t.Fatal("a task was claimed although the disk is full")
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	w.UntilEnded()
	if got, want := w.Attempts(run), "a#1 succeeded"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	mark := "8994." + uuid.NewString()[:8]
	w := exectest.New(t, "name: p\ntasks:\n  long: {command: [sh, -c, 'sleep 8994; :', "+mark+"]}\n  short: {run: 'sleep 0.7; echo done'}\n  next: {run: 'true'}\n")
	run := w.Run("p")
	w.Release(run, "p", "long", "short")
	r := start(t, w, func(c *executor.Config) { c.Grace, c.Slots = 2*time.Second, 2 })
	w.Until("both run", func() bool {
		return alive(t, mark) == 1 && exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 2
	})
	began := time.Now()
	r.cancel()
	w.Until("it says so", func() bool {
		return exectest.Value[int64](w, `SELECT count(*) FROM executor WHERE draining_at IS NOT NULL`) == 1
	})
	w.Release(run, "p", "next")
	r.stop(t)
	if took := time.Since(began); took < 2*time.Second || took > 5*time.Second {
		t.Errorf("draining took %s, want the grace of 2s and a little", took)
	}
	if got, want := w.Attempts(run), "long#1 lost:drained short#1 succeeded"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	if got, want := exectest.Value[string](w, `SELECT state || ' ' || failures || losses || handbacks FROM task WHERE number = 0`), "waiting 001"; got != want {
		t.Errorf("task = %q, want %q: a hand-back is free", got, want)
	}
	if n := alive(t, mark); n != 0 {
		t.Error("the process outlived the executor")
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM executor WHERE stopped_at IS NOT NULL`); n != 1 {
		t.Error("it did not leave the fleet")
	}
	w.Check()
}

func TestDrainIsHastened(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  long: {run: 'sleep 8995'}\n")
	run := w.Run("p")
	w.Release(run, "p", "long")
	r := start(t, w, func(c *executor.Config) { c.Grace = time.Hour })
	w.Until("it runs", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 1 })
	r.cancel()
	close(r.hasten)
	r.stop(t)
	if got, want := w.Attempts(run), "long#1 lost:drained"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
}

// Executors of one name, on one host and one directory, share the work.
func TestManyExecutorsShareTheWork(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {for_each: [x], run: 'true'}\n")
	run := w.Run("p")
	w.ReleaseItems(run, "p", "a", 400)
	dir := t.TempDir()
	for range 4 {
		start(t, w, func(c *executor.Config) { c.Name, c.WorkDir, c.Log = "same", dir, slog.New(slog.DiscardHandler) })
	}
	w.UntilEnded()
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt WHERE state = 'succeeded' AND attempt = 1`); n != 400 {
		t.Errorf("%d attempts succeeded, want 400", n)
	}
	if n := exectest.Value[int64](w, `SELECT count(DISTINCT executor) FROM attempt`); n < 2 {
		t.Errorf("%d executors did it all", n)
	}
	w.Check()
}
