package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// A world is the system that all cases share.
type world struct {
	t *testing.T
	*programs.System
	synctl string
	files  *service

	mu sync.Mutex // guards System.Outages
}

// outage tells the invariants that ticks from before this moment may be late.
func (w *world) outage() {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Outages = append(w.Outages, programs.Outage{What: "scheduler", From: now, To: now})
}

// newWorld starts one api, two schedulers and three executors. All have the label
// linux and one of them also has heavy; nobody has none-has-it. All serve the
// target http/files.
func newWorld(t *testing.T, cases []*casefile.Case) *world {
	t.Helper()
	files := newService(t)
	var secrets strings.Builder
	fmt.Fprintf(&secrets, "operator/FILES_TOKEN=%s\n", filesToken)
	for _, c := range cases {
		for _, line := range c.Secrets {
			fmt.Fprintf(&secrets, "%s/%s\n", c.Namespace(), line)
		}
	}
	dir := t.TempDir()
	file, targets := filepath.Join(dir, "secrets"), filepath.Join(dir, "targets.yaml")
	for name, text := range map[string]string{file: secrets.String(), targets: files.targets()} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, System: programs.NewSystem(t, dbtest.URL(t)), synctl: programs.Path(t, "synctl"), files: files}
	for range 2 {
		w.Scheduler()
	}
	for name, labels := range map[string]string{"north": "linux", "south": "linux", "east": "linux,heavy"} {
		w.Executor("--name", name, "--labels", labels, "--slots", "12", "--secrets-file", file, "--targets", targets)
	}
	return w
}

// end waits until nothing goes on any more, and checks the invariants.
func (w *world) end() {
	w.t.Helper()
	if w.t.Failed() {
		return // what failed is likely to be still at it
	}
	w.AwaitQuiet(60 * time.Second)
	w.Check()
}
