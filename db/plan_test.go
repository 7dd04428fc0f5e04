package db_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// A queue that was empty when it was last analysed looks like one page to the
// planner, for which reading it whole is cheapest; and prepared statements keep
// that plan. Sessions for control are told otherwise.
func TestControlReadsHotTablesByIndexWhateverTheStatistics(t *testing.T) {
	t.Parallel()
	// These look at every row, or at a handful; each is rare or its table tiny.
	whole := map[string]string{
		"Look":             "all executors that there are",
		"StuckGroups":      "the slow sweep",
		"ExplainExecutors": "all executors that there are",
	}
	url := dbtest.URL(t)
	pool := dbtest.Open(t, configFor(url))
	conn := connect(t, url)
	exec(t, conn, "VACUUM (ANALYZE) schedule, wake, open_run, waiter, ready, live, http_wait, executor")

	var names []string
	for _, service := range []string{"scheduler", "executor"} {
		names = append(names, usedBy(t, service, dbtest.Queries())...)
	}
	slices.Sort(names)
	// Answers to "why" are asked while something does not go on, and must not add to it.
	for name := range dbtest.Queries() {
		if strings.HasPrefix(name, "Explain") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(n string) bool { return whole[n] != "" })
	if len(names) < 20 {
		t.Fatalf("only %d queries found: %s", len(names), strings.Join(names, " "))
	}
	dbtest.WantIndexPlans(t, pool, names...)

	exec(t, conn, `INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt)
		SELECT n, 0, 1, n, 1, 1, 1 FROM generate_series(1, 50000) AS n`)
	exec(t, conn, "INSERT INTO wake (kind, subject) SELECT 'r', n FROM generate_series(1, 50000) AS n")
	exec(t, conn, `INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state)
		SELECT n, n, n, n, 'queued' FROM generate_series(1, 20000) AS n`)
	exec(t, conn, `INSERT INTO live (run_id, number, attempt, executor, lease_token, lane, pipeline_id, revision_id, ready_at)
		SELECT n, 0, 1, gen_random_uuid(), gen_random_uuid(), 1, 1, 1, now() FROM generate_series(50001, 70000) AS n`)
	exec(t, conn, `INSERT INTO waiter (run_id, number, pool_id, rank, slots, lane, pipeline_id, revision_id, attempt)
		SELECT n, 0, 1, n, 1, 1, 1, 1, 1 FROM generate_series(70001, 90000) AS n`)
	exec(t, conn, `INSERT INTO http_wait (run_id, number, revision_id, target, every_ms) SELECT n, 0, 1, 'x', 1000 FROM generate_series(90001, 120000) AS n`)
	dbtest.WantIndexPlans(t, pool, names...)
	exec(t, conn, "VACUUM (ANALYZE) schedule, wake, open_run, waiter, ready, live, http_wait, executor")
	dbtest.WantIndexPlans(t, pool, names...)
}
