package executor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
)

// A report that the database refuses holds up no other, and is told without
// what it refuses.
func TestOneBadReportHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, `
name: p
tasks:
  a: {for_each: [x], run: 'true'}
  bad: {run: 'echo poison > "$SYN_SUMMARY"; echo n=1 >> "$SYN_OUTPUT"', outputs: {n: {type: integer}}}
`)
	w.Exec(`CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.summary LIKE '%poison%' THEN RAISE EXCEPTION 'poison' USING ERRCODE = 'data_exception'; END IF; RETURN NEW; END $$`)
	w.Exec(`CREATE TRIGGER refuse_poison BEFORE INSERT ON attempt FOR EACH ROW EXECUTE FUNCTION refuse_poison()`)
	run := w.Run("p")
	w.ReleaseItems(run, "p", "a", 40)
	w.Release(run, "p", "bad")
	start(t, w, func(c *executor.Config) { c.Slots = 20 })
	w.UntilEnded()
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt WHERE state = 'succeeded'`); n != 40 {
		t.Errorf("%d attempts succeeded, want the 40 that have nothing to do with it", n)
	}
	if got, want := w.TaskState(run, "p", "bad"), "failed:outputs_syntax"; got != want {
		t.Errorf("bad is %q, want %q", got, want)
	}
	w.Check()
}

// What was claimed ahead and gets no slot goes back, for others to run.
func TestWhatWasClaimedAheadGoesBack(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  quick: {for_each: [x], run: 'true'}\n  slow: {for_each: [x], run: 'sleep 4'}\n")
	run := w.Run("p")
	w.ReleaseItems(run, "p", "quick", 200)
	w.ReleaseItems(run, "p", "slow", 20)
	start(t, w, func(c *executor.Config) { c.Slots = 2 })
	w.Until("two slow ones run and nothing is held ahead", func() bool {
		return exectest.Value[int64](w, `SELECT count(*) FROM live`) == 2 &&
			exectest.Value[int64](w, `SELECT count(*) FROM live WHERE number >= 16384 AND state = 'running' AND started_at < now() - interval '1500 ms'`) > 0
	})
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt WHERE state = 'lost' AND (reason <> 'drained' OR started_at IS NOT NULL)`); n != 0 {
		t.Errorf("%d attempts were lost otherwise than by going back unstarted", n)
	}
}

// An operator drains an executor: it claims no more, and goes on when it is
// wanted again.
func TestOperatorsDrain(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: 'true'}\n")
	run := w.Run("p")
	r := start(t, w, brisk)
	w.Until("it is there", func() bool { return r.parts.Ready(t.Context()) == nil })
	beat := func() int64 { return exectest.Value[int64](w, `SELECT beat FROM executor`) }
	w.Exec(`UPDATE executor SET draining_at = now(), drained_by = 'somebody'`)
	seen := beat()
	// The renewal after the one that was told: by then it has taken that to heart.
	w.Until("it has heard", func() bool { return beat() > seen+1 })
	w.Release(run, "p", "a")
	w.Exec(`SELECT pg_notify('syn_ready', '')`)
	seen = beat()
	w.Until("some time has passed", func() bool { return beat() > seen+1 })
	if n := exectest.Value[int64](w, `SELECT count(*) FROM ready`); n != 1 {
		t.Fatal("it claimed although it drains")
	}
	w.Exec(`UPDATE executor SET draining_at = NULL, drained_by = NULL`)
	w.UntilEnded()
}

// An executor with nothing to do hardly asks.
func TestIdleExecutorIsQuiet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel() // it counts in a database of its own
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: 'true'}\n")
	r := start(t, w, nil)
	w.Until("it is there", func() bool { return r.parts.Ready(t.Context()) == nil })
	transactions := func() int64 {
		return exectest.Value[int64](w, `SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()`)
	}
	time.Sleep(13 * time.Second) // until it is idle, and the counts are told
	// One query a second; a connection that has been idle is pinged first, which counts here too. On a
	// machine that is too busy to renew in time, renewals are repeated, and Postgres' own upkeep of the
	// database counts as well: one quiet stretch of three is enough.
	var n int64
	for range 3 {
		before := transactions()
		time.Sleep(20 * time.Second)
		if n = transactions() - before; n <= 60 {
			t.Logf("%d transactions in 20 s", n)
			return
		}
	}
	t.Errorf("%d transactions in 20 s of idleness, want 60 at most", n)
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*executor.Config)
		want   string
	}{
		"slots":   {func(c *executor.Config) { c.Slots = -1 }, "slots"},
		"lease":   {func(c *executor.Config) { c.Lease, c.Renew = time.Second, time.Second }, "two tries"},
		"secrets": {func(c *executor.Config) { c.SecretsFile = "/nowhere" }, "secrets"},
		"url":     {func(c *executor.Config) { c.DatabaseURL = "postgres://[" }, "database URL"},
	} {
		cfg := executor.Config{DatabaseURL: "postgres://127.0.0.1:1/x", WorkDir: t.TempDir()}
		c.change(&cfg)
		if err := executor.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Run = %v, want %q in it", name, err, c.want)
		}
	}
	if got := executor.List([]string{"a, b", "", "c,"}); strings.Join(got, "|") != "a|b|c" {
		t.Errorf("List = %q", got)
	}
}
