package executor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
)

const waitText = `
name: p
tasks:
  a: {wait: {http: {target: http/src, url: "BASE/ready"}, until: response.status == 200, every: 5s}}
  b: {run: 'true'}
`

// waitFor is a run that waits for a server of the test's own, and the file that
// lets executors ask it.
func waitFor(t *testing.T, handler http.HandlerFunc, more string) (w *exectest.World, run int64, targets string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	w = exectest.New(t, strings.ReplaceAll(waitText, "BASE", server.URL))
	run = w.Run("p")
	w.Exec(`UPDATE task SET reason = 'wait' WHERE run_id = $1 AND number = 0`, run)
	w.Exec(`INSERT INTO http_wait (run_id, number, revision_id, target, every_ms) SELECT run_id, 0, revision_id, 'http/src', 5000 FROM open_run`)
	targets = filepath.Join(t.TempDir(), "targets.yaml")
	text := fmt.Sprintf("targets:\n  http/src: {kind: http, hosts: [%q], allow_http: true%s}\n", strings.TrimPrefix(server.URL, "http://"), more)
	if err := os.WriteFile(targets, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return w, run, targets
}

// The executor that asks is killed: another goes on as soon as its lease in
// time is over, and the wait ends once.
func TestAKilledExecutorsWaitsAreAskedByOthers(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	w, run, targets := waitFor(t, func(_ http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			<-r.Context().Done()
		}
	}, ", timeout: 1s")
	_ = run
	s := spawn(t, w, t.TempDir(), "SYN_TEST_TARGETS="+targets)
	w.Until("it asks", func() bool { return asked.Load() == 1 })
	s.kill()
	spawn(t, w, t.TempDir(), "SYN_TEST_TARGETS="+targets)
	w.Until("another has ended the wait", func() bool {
		return exectest.Value[bool](w, `SELECT coalesce(state = 'succeeded' AND tries = 2, false) FROM http_wait`)
	})
	if n := exectest.Value[int64](w, `SELECT count(*) FROM wake WHERE number = 0`); n != 1 {
		t.Errorf("%d wakes, want 1", n)
	}
}

// A server that does not answer holds no slot; the target's credentials come
// from the secrets, and the database knows who serves it.
func TestAWaitHoldsNoSlot(t *testing.T) {
	t.Parallel()
	var credentials atomic.Value
	asked, release := make(chan struct{}), make(chan struct{})
	w, run, targets := waitFor(t, func(_ http.ResponseWriter, r *http.Request) {
		credentials.Store(r.Header.Get("Authorization"))
		close(asked)
		<-release
	}, ", auth: {bearer: {secret: TOKEN, namespace: ops}}")
	t.Cleanup(func() { close(release) })
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte("ops/TOKEN=s3cr3t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, w, func(c *executor.Config) { c.Slots, c.TargetsFile, c.SecretsFile = 1, targets, secrets })
	<-asked
	w.Release(run, "p", "b")
	w.Until("the task has run", func() bool { return w.Attempts(run) == "b#1 succeeded" })
	if got := credentials.Load(); got != "Bearer s3cr3t" {
		t.Errorf("the service saw %q, want the target's credentials", got)
	}
	known := exectest.Value[string](w, `SELECT t.name || ' ' || t.kind || ' ' || (t.allows ->> 'allow_http') || ' ' || (t.name = ANY (e.serves)) FROM target AS t, executor AS e`)
	if known != "http/src http true true" {
		t.Errorf("the database knows %q", known)
	}
	if all := exectest.Value[string](w, `SELECT to_jsonb(t)::text || (SELECT string_agg(to_jsonb(h)::text, '') FROM http_wait AS h) FROM target AS t`); strings.Contains(all, "s3cr3t") {
		t.Errorf("a credential is in the database: %s", all)
	}
}

func TestWhatAnExecutorCannotServeIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "targets.yaml")
	if err := os.WriteFile(file, []byte("targets: {a: {kind: docker}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]executor.Config{
		"targets of kind docker are not built yet":         {TargetsFile: file},
		"serves http/*, but there is no targets file":      {Serves: []string{"http/*"}},
		"read the targets: open /nowhere: no such file or": {TargetsFile: "/nowhere"},
	} {
		cfg.WorkDir = t.TempDir()
		if err := executor.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v, want %q", err, want)
		}
	}
}
