package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// A run that failed runs again from its failed task: what came before keeps its
// outputs and does not run, the revision is the run's own whatever has been
// registered since, numbers of attempts go on and idempotency keys stay. A rerun
// as a new run is a request of its own.
func TestRerunFromTheFailedTask(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	dir := t.TempDir()
	trace, mended := filepath.Join(dir, "trace"), filepath.Join(dir, "mended")
	file := func(mark string) string {
		return fmt.Sprintf(`name: again
params: {day: {type: string, default: monday}}
tasks:
  extract:
    outputs: {n: {type: integer}}
    run: |
      echo "n=41" >> "$SYN_OUTPUT"
      echo "extract $SYN_ATTEMPT $SYN_IDEMPOTENCY_KEY %[3]s" >> %[1]s
  load:
    needs: [extract]
    env: {N: "${{ needs.extract.outputs.n }}"}
    run: |
      echo "load $SYN_ATTEMPT $SYN_IDEMPOTENCY_KEY %[3]s $N $SYN_PARAM_DAY" >> %[1]s
      test -e %[2]s
  report:
    needs: [load]
    run: echo "report $SYN_ATTEMPT $SYN_IDEMPOTENCY_KEY %[3]s" >> %[1]s
`, trace, mended, mark)
	}
	f.register("again.yaml", file("old"))
	run := f.awaitEnd(f.run("again"), 60*time.Second)
	if run.State != api.RunStateFailed {
		t.Fatalf("the run is %s, want failed", run.State)
	}
	f.register("again.yaml", file("new"))
	if err := os.WriteFile(mended, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, created, err := f.Rerun(t.Context(), ref(run), "", api.RerunRequest{Mode: "from", Task: "load"})
	if err != nil || created || again.ID != run.ID {
		t.Fatalf("rerun: %+v, %v, %v", again, created, err)
	}
	again = f.awaitEnd(again, 60*time.Second)
	if again.State != api.RunStateSucceeded || again.Revision != 1 || again.Number != run.Number {
		t.Errorf("the run is %s, #%d of revision %d; want succeeded, #%d of revision 1", again.State, again.Number, again.Revision, run.Number)
	}
	lines := readTrace(t, trace)
	if len(lines) != 4 {
		t.Fatalf("what ran:\n%q", lines)
	}
	key := lines[1][2]
	for i, want := range [][]string{{"extract", "1", lines[0][2], "old"}, {"load", "1", key, "old", "41", "monday"}, {"load", "2", key, "old", "41", "monday"}, {"report", "1", lines[3][2], "old"}} {
		if got := strings.Join(lines[i], " "); got != strings.Join(want, " ") {
			t.Errorf("%d: %q, want %q", i, got, strings.Join(want, " "))
		}
	}
	if key == "" || key == lines[0][2] {
		t.Errorf("the key of load is %q, that of extract %q", key, lines[0][2])
	}

	fresh, created, err := f.Rerun(t.Context(), ref(run), "", api.RerunRequest{Latest: true})
	if err != nil || !created {
		t.Fatalf("rerun as a new run: %v, %v", created, err)
	}
	fresh = f.awaitEnd(fresh, 60*time.Second)
	lines = readTrace(t, trace)
	if fresh.State != api.RunStateSucceeded || fresh.Revision != 2 || fresh.RerunOf != run.ID || len(lines) != 7 {
		t.Fatalf("the new run is %+v; what ran:\n%q", fresh, lines)
	}
	if load := lines[5]; load[0] != "load" || load[1] != "1" || load[2] == key || load[3] != "new" || load[5] != "monday" {
		t.Errorf("load of the new run: %q", load)
	}
	f.end()
}

// readTrace gives the words of each line.
func readTrace(t *testing.T, file string) [][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}
