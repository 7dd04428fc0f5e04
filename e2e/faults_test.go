package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// takeover is how long the tasks of a dead executor may lie idle: its lease of
// 15 s, and the look of the reaper.
const takeover = 20 * time.Second

// E1: kill -9 in the middle of tasks. Their processes die at once, with all they
// have started; the tasks run again elsewhere, in time.
func TestKilledExecutor(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.register("long.yaml", oneTask("long", f.command("hold+family/work=50ms")))
	run := f.run("long")
	first := f.awaitStart(run, 1)
	victim, other := f.holder(run)

	killed := time.Now()
	victim.Kill()
	f.awaitDeath(first, 3*time.Second)
	f.awaitStart(run, 2)
	took := time.Since(killed)
	t.Logf("elsewhere after %v", took.Round(100*time.Millisecond))
	if took > takeover {
		t.Errorf("the task started elsewhere after %v, want %v at most", took, takeover)
	}
	f.awaitEnd(run, 10*time.Second)
	f.wantAttempts(run, "lost", "succeeded")
	if got := f.executorOf(run, 2); got != other.Name {
		t.Errorf("attempt 2 ran on %s, want %s", got, other.Name)
	}
	// What has returned has nothing left of what it was.
	victim.Restart()
	if left := processesBelow(victim.work); len(left) != 0 {
		t.Errorf("processes of the dead executor: %v", left)
	}
	f.end()
}

// E5: executor and guard die together, so nobody kills the tasks, until an
// executor starts on this host: before it claims anything.
func TestKilledExecutorAndGuard(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.register("long.yaml", oneTask("long", f.command("hold+family/work=50ms")))
	run := f.run("long")
	first := f.awaitStart(run, 1)
	victim, _ := f.holder(run)

	victim.Signal(syscall.SIGSTOP) // so that it starts no other guard
	for _, pid := range childrenOf(victim.PID()) {
		if strings.Contains(commandOf(pid), "guard") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	victim.Kill()
	if len(processesBelow(victim.work)) == 0 || f.ended(first) {
		t.Fatal("the task died too: this test shows nothing")
	}
	victim.Restart()
	f.awaitDeath(first, 2*time.Second)
	f.awaitEnd(run, takeover+10*time.Second)
	f.wantAttempts(run, "lost", "succeeded")
	f.end()
}

// E6: an executor that is stopped for longer than its lease. Its guard kills the
// tasks before anybody else may start them; when it wakes, what it says is
// refused.
func TestFrozenExecutor(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.register(
		"long.yaml", oneTask("long", f.command("hold+family/work=50ms")),
		"short.yaml", oneTask("short", f.command("work=2s/work=50ms")),
	)
	long := f.run("long")
	first := f.awaitStart(long, 1)
	victim, other := f.holder(long)
	other.Signal(syscall.SIGSTOP) // so that the second task is the victim's, too
	short := f.run("short")
	f.awaitStart(short, 1)
	other.Signal(syscall.SIGCONT)

	frozen := time.Now()
	victim.Signal(syscall.SIGSTOP)
	f.awaitDeath(first, 16*time.Second)
	f.awaitStart(long, 2)
	if took := time.Since(frozen); took > takeover+5*time.Second { // the last renewal may be as old as one interval: counted from it, not from here
		t.Errorf("the task started elsewhere after %v", took)
	}
	f.awaitEnd(long, 10*time.Second)
	f.awaitEnd(short, 10*time.Second)

	// It wakes with a success to report that is nobody's any more.
	victim.Signal(syscall.SIGCONT)
	programs.Eventually(t, 15*time.Second, "the executor to notice", func() bool {
		return strings.Contains(victim.Said(), "lease") || !victim.Running()
	})
	for _, run := range []api.Run{long, short} {
		f.wantAttempts(run, "lost", "succeeded")
		if got := f.executorOf(run, 2); got != other.Name {
			t.Errorf("attempt 2 of %s ran on %s, want %s", run.Pipeline, got, other.Name)
		}
	}
	if left := processesBelow(victim.work); len(left) != 0 {
		t.Errorf("processes of the frozen executor: %v", left)
	}
	f.end()
}

// E4: SIGTERM. What ends in time ends well; the rest is handed back at once, at
// nobody's expense, and starts elsewhere.
func TestDrain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	f.register(
		"long.yaml", oneTask("long", f.command("hold+stubborn/work=50ms")+", retry: 0, lost: 1, cancel_grace: 1s"),
		"short.yaml", oneTask("short", f.command("work=700ms")),
	)
	long, short := f.run("long"), f.run("short")
	first := f.awaitStart(long, 1)
	f.awaitStart(short, 1)
	victim, _ := f.holder(long)
	other := f.add()

	victim.Signal(syscall.SIGTERM)
	f.Await(30*time.Second, "the hand-back", `SELECT count(*) = 1 FROM attempt AS a WHERE a.run_id = $1 AND a.state = 'lost' AND a.reason = 'drained'`, long.ID)
	f.awaitDeath(first, time.Second) // handed back only when it is proven dead
	f.awaitEnd(long, 10*time.Second)
	f.wantAttempts(long, "lost", "succeeded")
	f.wantAttempts(short, "succeeded")
	if spent := value[int](f.system, `SELECT t.losses FROM task AS t WHERE t.run_id = $1`, long.ID); spent != 0 {
		t.Errorf("the hand-back has spent %d of the task's budget", spent)
	}
	if got := f.executorOf(long, 2); got != other.Name {
		t.Errorf("attempt 2 ran on %s, want %s", got, other.Name)
	}
	if gap := value[time.Duration](f.system, `
		SELECT b.claimed_at - a.ended_at FROM attempt AS a JOIN attempt AS b ON b.run_id = a.run_id AND b.number = a.number AND b.attempt = 2
		WHERE a.run_id = $1 AND a.attempt = 1`, long.ID); gap > 2*time.Second {
		t.Errorf("claimed %v after it was handed back, want 2s at most", gap)
	}
	programs.Eventually(t, 10*time.Second, "the end of the drained executor", func() bool { return !victim.Running() })
	if !f.idle(victim) {
		t.Error("the executor that has ended is not stopped in the database")
	}
	f.end()
}

// P1: twenty tasks that ignore SIGTERM, each with a child in another session: after a
// cancel all are dead within the grace and little more, and none is reported
// canceled while a process of it lives.
func TestCancelOfStubbornTasks(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 0)
	f.add("--slots", "24")
	const many, grace = 20, 1 * time.Second
	f.register("stubborn.yaml", fmt.Sprintf(`name: stubborn
tasks:
  a: {command: %s, cancel_grace: %s, for_each: [%s]}
  b: {command: %s, needs: [a]}
finally:
  clean: {command: %s}
`, f.command("hold+stubborn+family"), grace, strings.TrimSuffix(strings.Repeat("x, ", many), ", "), f.command("work=0s"), f.command("work=0s")))
	run := f.run("stubborn")
	starts := map[int]effect{}
	programs.Eventually(t, 60*time.Second, "the start of all items", func() bool {
		for _, e := range f.all() {
			if e.run == run.ID && e.what == "start" && e.task == "a" {
				starts[e.index] = e
			}
		}
		return len(starts) == many
	})
	asked := time.Now()
	if _, err := f.Cancel(t.Context(), ref(run), api.CancelRequest{Reason: "e2e"}); err != nil {
		t.Fatal(err)
	}
	// Whatever the database says now, the process it speaks of is gone already.
	canceled := map[int]bool{}
	programs.Eventually(t, 60*time.Second, "the end of all items", func() bool {
		numbers, err := programs.Try[[]int32](f.System, `SELECT coalesce(array_agg(t.number), '{}') FROM task AS t WHERE t.run_id = $1 AND t.number % 16384 > 0 AND t.state = 'canceled'`, run.ID)
		if err != nil {
			return false
		}
		for _, number := range numbers {
			index := int(number)%16384 - 1
			if e := starts[index]; !canceled[index] && alive(e.pid) {
				t.Errorf("item %d is reported canceled and process %d lives", index, e.pid)
			}
			canceled[index] = true
		}
		return len(canceled) == many
	})
	for _, e := range starts {
		f.awaitDeath(e, 10*time.Second)
	}
	var last time.Duration
	for _, e := range f.all() {
		if e.what == "end" && e.task == "a" {
			last = max(last, e.at.Sub(asked))
		}
	}
	t.Logf("all dead %v after the cancel, with a grace of %v", last.Round(time.Millisecond), grace)
	if last > grace+5*time.Second { // 2 s on a machine that does nothing else
		t.Errorf("all dead %v after the cancel, want the grace of %v and little more", last, grace)
	}
	run = f.awaitEnd(run, 30*time.Second)
	states := value[string](f.system, `SELECT string_agg(t.name || ' ' || t.state, ', ' ORDER BY t.number) FROM task AS t WHERE t.run_id = $1 AND t.number % 16384 = 0`, run.ID)
	if want := "a canceled, b canceled, clean succeeded"; run.State != api.RunStateCanceled || states != want {
		t.Errorf("the run is %s, its tasks are %s; want canceled, %s", run.State, states, want)
	}
	f.end()
}

// alive says whether a process runs; one that is dead and not yet waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// A crew is a system with executors and a witness.
type crew struct {
	*system
	*witness
	executors []*hand
}

// A hand is one executor.
type hand struct {
	*programs.Service
	work string
}

func newFleet(t *testing.T, executors int) *crew {
	t.Helper()
	f := &crew{system: newSystem(t, dbtest.URL(t)), witness: newWitness(t)}
	f.Scheduler()
	for range executors {
		f.add()
	}
	return f
}

// add starts one more executor, with flags of its own.
func (f *crew) add(flags ...string) *hand {
	f.t.Helper()
	h := &hand{work: filepath.Join(f.t.TempDir(), "work")}
	f.t.Cleanup(func() { // after a failure: nobody may outlive the test
		for _, pid := range processesBelow(h.work) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	name := "executor-" + strconv.Itoa(len(f.executors)+1)
	h.Service = f.Service("executor", append([]string{"--name", name, "--slots", "4", "--grace", "3s", "--work-dir", h.work}, flags...)...)
	h.Name = name
	f.executors = append(f.executors, h)
	return h
}

// command is the witness's, not that of the programs.
func (f *crew) command(plan string) string { return f.witness.command(plan) }

// awaitStart waits until an attempt of the run's first task really runs.
func (f *crew) awaitStart(run api.Run, attempt int) effect {
	f.t.Helper()
	var e effect
	programs.Eventually(f.t, 30*time.Second, fmt.Sprintf("the start of %s#%d, attempt %d", run.Pipeline, run.Number, attempt), func() bool {
		var ok bool
		e, ok = f.find(run.ID, attempt, "start")
		return ok
	})
	return e
}

// awaitDeath waits until no process of an attempt is left.
func (f *crew) awaitDeath(of effect, within time.Duration) {
	f.t.Helper()
	programs.Eventually(f.t, within, fmt.Sprintf("the end of all processes of %s, attempt %d", of.task, of.attempt), func() bool { return f.ended(of) })
}

// holder is the executor that runs a run's task, and another.
func (f *crew) holder(run api.Run) (victim, other *hand) {
	f.t.Helper()
	var name string
	programs.Eventually(f.t, 10*time.Second, "the executor in the database", func() bool {
		var err error
		name, err = programs.Try[string](f.System, `SELECT e.name FROM live AS l JOIN executor AS e ON e.id = l.executor WHERE l.run_id = $1 LIMIT 1`, run.ID)
		return err == nil
	})
	for _, h := range f.executors {
		if h.Name == name {
			victim = h
		} else {
			other = h
		}
	}
	if victim == nil {
		f.t.Fatalf("no executor is called %s", name)
	}
	return victim, other
}

func (f *crew) executorOf(run api.Run, attempt int) string {
	f.t.Helper()
	return value[string](f.system, `SELECT e.name FROM attempt AS a JOIN executor AS e ON e.id = a.executor WHERE a.run_id = $1 AND a.attempt = $2`, run.ID, attempt)
}

func (f *crew) wantAttempts(run api.Run, states ...string) {
	f.t.Helper()
	got := value[[]string](f.system, `SELECT array_agg(a.state ORDER BY a.number, a.attempt) FROM attempt_now AS a WHERE a.run_id = $1`, run.ID)
	if !slices.Equal(got, states) {
		f.t.Errorf("attempts of %s#%d: %v, want %v", run.Pipeline, run.Number, got, states)
	}
}

// idle reports whether an executor's row says that it has stopped and holds
// nothing.
func (f *crew) idle(h *hand) bool {
	f.t.Helper()
	return value[bool](f.system, `SELECT bool_and(e.stopped_at IS NOT NULL) AND NOT EXISTS (SELECT FROM live AS l JOIN executor AS x ON x.id = l.executor WHERE x.name = $1)
		FROM executor AS e WHERE e.name = $1`, h.Name)
}

// end waits until nothing goes on and checks everything.
func (f *crew) end() {
	f.t.Helper()
	f.AwaitQuiet(30 * time.Second)
	programs.Eventually(f.t, 5*time.Second, "the end of all tasks", func() bool { return f.running() == 0 })
	f.check(f.witness)
}

func ref(run api.Run) client.RunRef {
	namespace, name, _ := strings.Cut(run.Pipeline, "/")
	return client.RunRef{Namespace: namespace, Pipeline: name, Run: strconv.FormatInt(run.Number, 10)}
}

// oneTask is a file with one task that runs a command.
func oneTask(name, command string) string {
	return fmt.Sprintf("name: %s\nconcurrency: {limit: 100}\ntasks:\n  t: {command: %s}\n", name, command)
}

// processesBelow are the processes whose SYN_DIR is below a directory.
func processesBelow(dir string) []int {
	var found []int
	for _, pid := range processes() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && bytes.Contains(env, []byte("SYN_DIR="+dir+"/")) && !zombie(pid) {
			found = append(found, pid)
		}
	}
	return found
}

func childrenOf(parent int) []int {
	var found []int
	for _, pid := range processes() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			found = append(found, pid)
		}
	}
	return found
}

func commandOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(bytes.ReplaceAll(text, []byte{0}, []byte{' '}))
}

func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
