package executor_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
)

// alive counts the processes that have a mark of this test in their command
// line.
func alive(t *testing.T, mark string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), mark) && !strings.Contains(string(line), ".test") {
			n++
		}
	}
	return n
}

func TestCanceledWithinTheGrace(t *testing.T) {
	t.Parallel()
	const mark = "8990.317"
	w := exectest.New(t, `
name: p
tasks:
  stubborn: {run: "trap '' TERM; setsid sleep `+mark+` & sleep `+mark+`; sleep `+mark+`", cancel_grace: 1s}
`)
	run := w.Run("p")
	w.Release(run, "p", "stubborn")
	start(t, w, nil)
	w.Until("the processes run", func() bool { return alive(t, mark) >= 2 })
	asked := time.Now()
	w.Stop(run, "canceled")
	w.UntilEnded()
	if took := time.Since(asked); took < time.Second || took > 3*time.Second {
		t.Errorf("it took %s, want the grace of 1s and no more than 2s on top", took)
	}
	if n := alive(t, mark); n != 0 {
		t.Errorf("%d processes outlived the attempt", n)
	}
	if got, want := w.Attempts(run)+", "+w.TaskState(run, "p", "stubborn"), "stubborn#1 canceled:canceled, canceled:canceled"; got != want {
		t.Errorf("attempts, task = %q, want %q", got, want)
	}
	w.Check()
}

func TestStoppedForOtherReasons(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, `
name: p
tasks:
  slow: {run: sleep 60, cancel_grace: 1s}
  late: {run: sleep 60, timeout: 1s, cancel_grace: 0s}
`)
	one, two := w.Run("p"), w.Run("p")
	w.Release(one, "p", "slow")
	w.Release(two, "p", "late")
	start(t, w, nil)
	w.Until("it runs", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 2 })
	w.Stop(one, "fail_fast")
	w.UntilEnded()
	if got, want := w.Attempts(one), "slow#1 canceled:fail_fast"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	if got, want := w.Attempts(two), "late#1 timed_out:timed_out"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	w.Check()
}

// What is asked to stop before it has a slot never starts.
func TestStoppedBeforeItStarts(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: sleep 0.3}\n  b: {run: 'echo b'}\n")
	run := w.Run("p")
	w.Release(run, "p", "a")
	hold := w.Hold("live")
	start(t, w, func(c *executor.Config) { c.Slots = 1 })
	// The claim waits for the table; the request is there when it gets it.
	w.Until("the claim waits", hold.Waiting)
	hold.Exec(`CREATE FUNCTION stop_at_birth() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.stop_reason = 'canceled'; NEW.stop_requested_at = now(); RETURN NEW; END $$`)
	hold.Exec(`CREATE TRIGGER stop_at_birth BEFORE INSERT ON live FOR EACH ROW EXECUTE FUNCTION stop_at_birth()`)
	hold.Release()
	w.UntilEnded()
	if got := w.Attempts(run); got != "a#1 canceled:canceled" && got != "a#1 succeeded" {
		t.Errorf("attempts = %q", got)
	}
	w.Check()
}

func TestTasksGetOnlyWhatIsTheirs(t *testing.T) {
	const canary = "c4n4ry"
	t.Setenv("SYN_CANARY", canary)
	w := exectest.New(t, `
name: p
env: {MINE: yes please}
tasks:
  env: {command: [env]}
  fds: {command: [ls, /proc/self/fd]}
  cmd: {run: 'tr "\0" "\n" < /proc/$PPID/cmdline'}
`)
	u, err := url.Parse(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	run := w.Run("p")
	w.Release(run, "p", "env", "fds", "cmd")
	start(t, w, nil)
	w.UntilEnded()
	log := func(number int) string {
		return string(exectest.Value[[]byte](w, `SELECT coalesce(string_agg(data, '' ORDER BY seq), '') FROM log_chunk WHERE run_id = $1 AND number = $2`, run, number*16384))
	}
	if strings.Contains(w.Log(run), canary) || password != "" && strings.Contains(w.Log(run), password) {
		t.Errorf("the task saw what is the executor's:\n%s", w.Log(run))
	}
	var names []string
	for line := range strings.Lines(log(0)) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	want := "PATH HOME LANG SYN_RUN_ID SYN_PIPELINE SYN_TASK SYN_ATTEMPT SYN_IDEMPOTENCY_KEY SYN_SCHEDULED_AT SYN_INTERVAL_START SYN_INTERVAL_END SYN_DIR SYN_OUTPUT SYN_SUMMARY MINE"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("environment = %s, want %s", got, want)
	}
	// ls itself has the directory open.
	if got, want := log(1), "0\n1\n2\n3\n"; got != want {
		t.Errorf("descriptors = %q, want %q", got, want)
	}
}

func TestSecretsReachTheTaskAndNothingElse(t *testing.T) {
	t.Parallel()
	const value = "s3cr3t-v4lue"
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte("TOKEN="+value+"\nother/TOKEN=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := exectest.New(t, `
name: p
tasks:
  uses: {run: 'test ${#T} = 12; echo "it is $T"; echo "<$T>" > "$SYN_SUMMARY"', secrets: {T: TOKEN}}
  leaks: {run: 'echo "x=pre${T}post" >> "$SYN_OUTPUT"', secrets: {T: TOKEN}, outputs: {x: {type: string}}}
  fails: {run: 'echo "x=$T" >> "$SYN_OUTPUT"; exit 1', secrets: {T: TOKEN}}
  none: {run: 'true', secrets: {T: NOPE}}
`)
	run := w.Run("p")
	w.Release(run, "p", "uses", "leaks", "fails", "none")
	start(t, w, func(c *executor.Config) { c.SecretsFile = file })
	w.UntilEnded()
	if got, want := w.Attempts(run), "uses#1 succeeded leaks#1 failed:outputs_secret fails#1 failed:exit none#1 failed:secret"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	if got, want := w.Log(run), "it is •••(TOKEN)\n"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt a JOIN task t USING (run_id, number) WHERE (to_jsonb(a)::text || to_jsonb(t)::text) LIKE '%'||$1||'%'`, value); n != 0 {
		t.Errorf("%d rows hold the secret", n)
	}
	if got, want := exectest.Value[string](w, `SELECT summary FROM attempt WHERE number = 0`), "<•••(TOKEN)>\n"; got != want {
		t.Errorf("summary = %q, want %q", got, want)
	}
}

// That a task that runs at most once is about to start is stored before it does.
func TestTheStartOfAtMostOnceIsStoredFirst(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  x: {run: 'true'}\n")
	psql := "/usr/lib/postgresql/15/bin/psql"
	if _, err := os.Stat(psql); err != nil {
		t.Skip("no psql for the task to look with")
	}
	look := fmt.Sprintf(`{command: [%s, %q, -Atc, "SELECT state || ' ' || (started_at IS NOT NULL)::text FROM live WHERE run_id = ${{ run.id }} AND number = 0"], lost: `, psql, w.URL)
	w.Register("name: once\ntasks:\n  a: " + look + "0}\n---\nname: more\ntasks:\n  a: " + look + "1}\n")
	once, more := w.Run("once"), w.Run("more")
	w.Release(once, "once", "a")
	w.Release(more, "more", "a")
	start(t, w, nil)
	w.UntilEnded()
	if got, want := w.Log(once), "running true\n"; got != want {
		t.Errorf("lost: 0 saw %q, want %q", got, want)
	}
	if got, want := w.Log(more), "claimed false\n"; got != want {
		t.Errorf("lost: 1 saw %q, want %q", got, want)
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt WHERE started_at IS NOT NULL AND state = 'succeeded'`); n != 2 {
		t.Errorf("%d attempts have a start, want 2", n)
	}
	w.Check()
}

func TestOutputIsKeptWhole(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, `
name: p
tasks:
  much: {run: 'seq 1 300000'}
  more: {run: 'seq 1 300000', log_limit: 256KiB}
  nuls: {run: 'printf "a\000b\377c"; printf "\000" > "$SYN_SUMMARY"'}
  bad: {run: 'printf "{\"x\": \"\\\\u0000\"}\n" >> "$SYN_OUTPUT"'}
`)
	run := w.Run("p")
	w.Release(run, "p", "much", "more", "nuls", "bad")
	start(t, w, nil)
	w.UntilEnded()
	if got, want := w.Attempts(run), "much#1 succeeded more#1 succeeded nuls#1 succeeded bad#1 failed:outputs_syntax"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	var want strings.Builder
	for i := range 300_000 {
		fmt.Fprintln(&want, i+1)
	}
	if got := exectest.Value[[]byte](w, `SELECT string_agg(data, '' ORDER BY seq) FROM log_chunk WHERE number = 0`); string(got) != want.String() {
		t.Errorf("stored %d bytes, want the %d that were printed", len(got), want.Len())
	}
	if got := exectest.Value[int64](w, `SELECT log_stored FROM attempt WHERE number = 16384 AND log_seen = $1 AND log_cut_at IS NOT NULL`, want.Len()); got != 256<<10 {
		t.Errorf("stored %d bytes, want the limit", got)
	}
	if got := exectest.Value[[]byte](w, `SELECT data FROM log_chunk WHERE number = 32768`); string(got) != "a\x00b\xffc" {
		t.Errorf("stored %q", got)
	}
	w.Check()
}

// What is put below the mark that claims start from, such as a task of higher
// priority, waits for the next claim from the start and no longer.
func TestLaterTasksOfHigherRankAreFound(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  low: {command: ['true']}\n  high: {command: ['true'], priority: 100}\n")
	start(t, w, nil)
	for range 3 {
		run := w.Run("p")
		w.Release(run, "p", "low")
		w.UntilEnded()
		w.Release(run, "p", "high")
		began := time.Now()
		w.UntilEnded()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the task below the mark waited %s", took)
		}
	}
}

func TestLanesAreServedByLabels(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  any: {command: ['true']}\n  gpu: {command: ['true'], runs_on: [gpu]}\n  both: {command: ['true'], runs_on: [gpu, big]}\n")
	run := w.Run("p")
	w.Release(run, "p", "any", "gpu", "both")
	plain := start(t, w, nil)
	w.Until("the plain task has ended", func() bool { return w.Attempts(run) == "any#1 succeeded" })
	plain.stop(t)
	start(t, w, func(c *executor.Config) { c.Labels = []string{"gpu", "other"}; c.Lease = 3 * time.Second })
	w.Until("the labelled task has ended", func() bool { return w.Attempts(run) == "any#1 succeeded gpu#1 succeeded" })
	// A lane that is made later is served with the next renewal.
	w.Register("name: q\ntasks:\n  new: {command: ['true'], runs_on: [other]}\n")
	next := w.Run("q")
	w.Release(next, "q", "new")
	w.Until("the task of the new lane has ended", func() bool { return w.Attempts(next) == "new#1 succeeded" })
	if n := exectest.Value[int64](w, `SELECT count(*) FROM ready`); n != 1 {
		t.Errorf("%d tasks are left, want the one that needs another label", n)
	}
}
