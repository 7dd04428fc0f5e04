package follow_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

const upstream = `name: up
concurrency: {limit: 100}
params: {region: {type: string, default: eu}}
tasks: {work: {run: x, outputs: {rows: {type: integer}}}}
outputs: {rows: "${{ tasks.work.outputs.rows }}"}
---
`

func down(trigger string) string {
	return upstream + `name: down
concurrency: {limit: 100}
triggers: {pipelines: [` + trigger + `]}
params: {n: {type: integer, default: 1}, from: {type: string, default: none}}
tasks: {work: {run: x}}
`
}

func fail(string, int) (string, string) { return "failed", "" }

// runs are the runs of a pipeline, oldest first.
func runs(w *schedtest.World, name string) []int64 {
	w.T.Helper()
	return schedtest.Value[[]int64](w, `SELECT coalesce(array_agg(id ORDER BY number), '{}') FROM run WHERE pipeline = $1`, name)
}

func wantRuns(w *schedtest.World, when, name string, n int) []int64 {
	w.T.Helper()
	list := runs(w, name)
	if len(list) != n {
		w.T.Fatalf("%s: %d runs of %s, want %d", when, len(list), name, n)
	}
	return list
}

func TestTheEndOfARunStartsAnother(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up, if: event.run.outputs.rows == 7, params: {n: "${{ event.run.outputs.rows + integer(vars.plus) }}", from: "${{ event.run.pipeline }} ${{ event.run.result }} ${{ date(interval.start) }}"}}`))
	w.Exec(`INSERT INTO var (namespace, name, value) VALUES ('default', 'plus', '3')`)
	run := w.Trigger("up")
	w.Exec(`UPDATE run SET scheduled_at = '2026-01-03T06:00:00Z', interval_start = '2026-01-02T00:00:00Z', interval_end = '2026-01-03T00:00:00Z' WHERE id = $1`, run)
	w.Settle()
	wantRuns(w, "before the end", "down", 0)
	w.RunAll(run, succeed)
	w.Settle()
	id := wantRuns(w, "after the end", "down", 1)[0]
	want(t, "run", w.RunState(id), "running")
	want(t, "row", schedtest.Value[string](w, `SELECT format('%s|%s|%s', trigger, params, note) FROM run WHERE id = $1`, id),
		`pipeline|{"n": 10, "from": "default/up succeeded 2026-01-02"}|`)
	want(t, "inherited", schedtest.Value[string](w, `SELECT ((d.scheduled_at, d.interval_start, d.interval_end) = (u.scheduled_at, u.interval_start, u.interval_end))::text FROM run d, run u WHERE d.id = $1 AND u.id = $2`, id, run), "true")
	want(t, "counted", schedtest.Value[string](w, `SELECT counted::text FROM open_run WHERE run_id = $1`, id), "false")
	w.RunAll(id, succeed)
	w.Check()
}

func TestATriggerWaitsForAResult(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		trigger                     string
		succeeded, failed, canceled int
	}{
		{`{name: up}`, 1, 0, 0},
		{`{name: up, result: failed}`, 0, 1, 0},
		{`{name: up, result: canceled}`, 0, 0, 1},
		{`{name: up, result: any}`, 1, 1, 1},
		{`{name: up, result: any, if: event.run.result == "failed"}`, 0, 1, 0},
		{`{name: up}, {name: up, result: any}`, 2, 1, 1},
	} {
		t.Run(c.trigger, func(t *testing.T) {
			t.Parallel()
			w := world(t, down(c.trigger))
			n := 0
			ends := func(how string, result func(string, int) (string, string), cancel bool, more int) {
				t.Helper()
				run := w.Trigger("up")
				if cancel {
					w.Cancel(run)
					w.Settle()
				} else {
					w.RunAll(run, result)
					w.Settle()
				}
				if got := w.RunState(run); !strings.HasPrefix(got, how) {
					t.Fatalf("the run is %s, want %s", got, how)
				}
				n += more
				wantRuns(w, how, "down", n)
			}
			ends("succeeded", succeed, false, c.succeeded)
			ends("failed", fail, false, c.failed)
			ends("canceled", nil, true, c.canceled)
			if left := schedtest.Value[int](w, `SELECT count(*)::int FROM follow_up`); left != n {
				t.Errorf("%d rows of triggers, want one for each of %d runs", left, n)
			}
			w.Check()
		})
	}
}

// A trigger that is not answered with a run is asked at the next end; one that
// was is never asked again.
func TestARerunStartsNoSecondRun(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up}, {name: up, result: any, params: {n: 2}}`))
	run := w.Trigger("up")
	w.RunAll(run, fail)
	w.Settle()
	wantRuns(w, "after the failure", "down", 1)
	for range 2 {
		if _, err := schedtest.TryRerun(w, run, flow.RerunAll, ""); err != nil {
			t.Fatal(err)
		}
		w.Settle()
		w.RunAll(run, succeed)
		w.Settle()
		want(t, "run", w.RunState(run), "succeeded")
		wantRuns(w, "after a rerun", "down", 2)
	}
	w.Check()
}

// A trigger stays the one that it is when others, for other pipelines, come before it.
func TestARerunStartsNoSecondRunWhereTriggersHaveMoved(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up}`)+"---\nname: other\ntasks: {work: {run: x}}\n")
	run := w.Trigger("up")
	w.RunAll(run, succeed)
	w.Settle()
	w.RunAll(wantRuns(w, "after the end", "down", 1)[0], succeed)
	// Register it with triggers: {pipelines: [{name: other}, {name: up}]}.
	w.Exec(`INSERT INTO revision (pipeline_id, number, content_hash, file, source_text, spec)
		SELECT pipeline_id, 2, '2', file, '', jsonb_set(spec, '{triggers}', jsonb_build_array(jsonb_set(spec -> 'triggers' -> 0, '{name}', '"other"'), spec -> 'triggers' -> 0))
		FROM revision WHERE spec ? 'triggers'`)
	w.Exec(`UPDATE pipeline SET revision_id = (SELECT id FROM revision WHERE number = 2) WHERE name = 'down'`)
	w.Exec(`DELETE FROM pipeline_trigger`)
	id, rev := schedtest.Value[int64](w, `SELECT id FROM pipeline WHERE name = 'down'`), schedtest.Value[int64](w, `SELECT id FROM revision WHERE number = 2`)
	if err := w.Pool.Queries().PutTriggers(t.Context(), db.PutTriggersParams{
		Pipelines: []int64{id, id}, Revisions: []int64{rev, rev}, Namespaces: []string{"default", "default"}, Names: []string{"other", "up"},
	}); err != nil {
		t.Fatal(err)
	}
	w.Rerun(run, flow.RerunAll, "")
	w.RunAll(run, succeed)
	w.Settle()
	wantRuns(w, "after a rerun", "down", 1)
	w.RunAll(w.Trigger("up"), succeed)
	w.Settle()
	wantRuns(w, "after another run", "down", 2)
	w.RunAll(w.Trigger("other"), succeed)
	w.Settle()
	wantRuns(w, "after a run of the other", "down", 3)
	w.Check()
}

func TestAPausedPipelineIsNotStartedByATrigger(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up}`))
	w.Exec(`UPDATE pipeline SET paused_at = now(), paused_by = 'ann' WHERE name = 'down'`)
	w.RunAll(w.Trigger("up"), succeed)
	w.Settle()
	wantRuns(w, "while it is paused", "down", 0)
	want(t, "event", schedtest.Value[string](w, `SELECT string_agg(format('%s of %s: %s', e.kind, p.name, e.cause), ', ' ORDER BY e.kind) FROM event AS e JOIN pipeline AS p ON p.id = e.pipeline_id WHERE e.reason = 'trigger_dropped'`), "pipeline of down: paused, run of up: paused")
	w.Exec(`UPDATE pipeline SET paused_at = NULL, paused_by = NULL WHERE name = 'down'`)
	w.Settle()
	wantRuns(w, "what was dropped stays so", "down", 0)
	w.RunAll(w.Trigger("up"), succeed)
	w.Settle()
	wantRuns(w, "later", "down", 1)
	// A pause that is over is none, though nobody has taken it away yet.
	w.Exec(`UPDATE pipeline SET paused_at = now() - interval '1 hour', paused_by = 'ann', paused_until = now() - interval '1 minute' WHERE name = 'down'`)
	w.RunAll(w.Trigger("up"), succeed)
	w.Settle()
	wantRuns(w, "after the end of a pause", "down", 2)
	w.Exec(`UPDATE pipeline SET paused_until = now() + interval '1 hour' WHERE name = 'down'`)
	w.RunAll(w.Trigger("up"), succeed)
	w.Settle()
	wantRuns(w, "before the end of a pause", "down", 2)
	w.Check()
}

func TestARemovedPipelineIsNotStartedByATrigger(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up}`))
	ended(w)
	w.Exec(`WITH p AS (UPDATE pipeline SET removed_at = now() WHERE name = 'down' RETURNING id) DELETE FROM pipeline_trigger USING p WHERE pipeline_id = p.id`)
	w.Settle()
	wantRuns(w, "removed", "down", 0)
	w.Check()
}

// What cannot be worked out is a run that failed, for all to see; its own end
// is an end like any other.
func TestARunOfATriggerThatFailsAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, trigger, state, says string }{
		{"if", `{name: up, if: event.run.outputs.nothing > 1}`, "failed:expression", "if of trigger default/up"},
		{"an expression in params", `{name: up, params: {n: "${{ event.run.outputs.nothing }}"}}`, "failed:expression", "params of trigger default/up"},
		{"a param that does not fit", `{name: up, params: {n: "${{ event.run.params.region }}"}}`, "failed:params", "param n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := world(t, down(c.trigger)+"---\nname: alarm\ntriggers: {pipelines: [{name: down, result: failed}]}\ntasks: {work: {run: x}}\n")
			run := w.Trigger("up")
			w.Exec(`UPDATE run SET params = '{"region": "eu"}' WHERE id = $1`, run)
			w.RunAll(run, succeed)
			w.Settle()
			id := wantRuns(w, "after the end", "down", 1)[0]
			want(t, "state", w.RunState(id), c.state)
			if note := schedtest.Value[string](w, `SELECT note FROM run WHERE id = $1`, id); !strings.Contains(note, c.says) || strings.Contains(note, "up #1") {
				t.Errorf("the note is %q", note)
			}
			want(t, "counted", schedtest.Value[string](w, `SELECT format('%s %s', s.last_state, s.failures_in_row) FROM pipeline_stat s JOIN pipeline p ON p.id = s.pipeline_id WHERE p.name = 'down'`), "failed 1")
			wantRuns(w, "after the failure", "alarm", 1)
			w.Check()
		})
	}
}

func TestRunsStartEachOtherTenTimesInARowAtMost(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 14 {
		if i > 0 {
			fmt.Fprintf(&text, "---\nname: p%d\ntriggers: {pipelines: [{name: p%d, result: any}]}\ntasks: {go: {run: x}}\n", i, i-1)
		} else {
			text.WriteString("name: p0\ntasks: {go: {run: x}}\n")
		}
	}
	w := world(t, text.String())
	w.RunAll(w.Trigger("p0"), succeed)
	for i := range 10 {
		w.Settle()
		w.RunAll(wantRuns(w, "in the chain", fmt.Sprintf("p%d", i+1), 1)[0], succeed)
	}
	w.Settle()
	id := wantRuns(w, "after ten", "p11", 1)[0]
	want(t, "the one after ten", w.RunState(id), "failed:trigger_depth")
	wantRuns(w, "after it", "p12", 0)
	want(t, "depths", schedtest.Value[string](w, `SELECT string_agg(depth::text, ' ' ORDER BY depth) FROM follow_up`), "1 2 3 4 5 6 7 8 9 10 11")
	w.Check()
}

// A call in between changes nothing: what a triggered run has called is as deep as
// that run.
func TestRunsStartEachOtherTenTimesInARowThroughCalls(t *testing.T) {
	t.Parallel()
	text := "name: p0\ntasks: {go: {pipeline: {name: c0}}}\n---\nname: c0\ntasks: {go: {run: x}}\n"
	for i := 1; i <= 12; i++ {
		text += fmt.Sprintf("---\nname: p%[1]d\ntriggers: {pipelines: [{name: c%[2]d}]}\ntasks: {go: {pipeline: {name: c%[1]d, wait: %[3]t}}}\n---\nname: c%[1]d\ntasks: {go: {run: x}}\n", i, i-1, i%2 == 0)
	}
	w := world(t, text)
	w.Trigger("p0")
	for i := range 11 {
		w.Settle()
		w.RunAll(wantRuns(w, "called in the chain", fmt.Sprintf("c%d", i), 1)[0], succeed)
	}
	w.Settle()
	want(t, "the one after ten", w.RunState(wantRuns(w, "after ten", "p11", 1)[0]), "failed:trigger_depth")
	wantRuns(w, "after it", "c11", 0)
	wantRuns(w, "after it", "p12", 0)
	w.Check()
}

// Those that fail at once count like all others.
func TestRunsThatFailAtOnceStartEachOtherTenTimesInARow(t *testing.T) {
	t.Parallel()
	text := "name: p0\ntasks: {go: {run: x}}\n"
	for i := 1; i <= 13; i++ {
		text += fmt.Sprintf("---\nname: p%d\nparams: {n: {type: integer, default: 1}}\ntriggers: {pipelines: [{name: p%d, result: any, params: {n: \"${{ event.run.outputs.nothing }}\"}}]}\ntasks: {go: {run: x}}\n", i, i-1)
	}
	w := world(t, text)
	w.RunAll(w.Trigger("p0"), succeed)
	w.Settle()
	want(t, "the last of ten", w.RunState(wantRuns(w, "after nine", "p10", 1)[0]), "failed:expression")
	want(t, "the one after ten", w.RunState(wantRuns(w, "after ten", "p11", 1)[0]), "failed:trigger_depth")
	wantRuns(w, "after it", "p12", 0)
	want(t, "depths", schedtest.Value[string](w, `SELECT string_agg(depth::text, ' ' ORDER BY depth) FROM follow_up`), "1 2 3 4 5 6 7 8 9 10 11")
	w.Check()
}

// ended has a run of up end, and leaves the rest to the test.
func ended(w *schedtest.World) {
	w.T.Helper()
	run := w.Trigger("up")
	asked(w)
	for _, c := range w.Claims(10) {
		w.End(c, "succeeded", `{"rows": 7}`)
	}
	if err := w.Advancer.Step(w.T.Context()); !schedtest.IsMore(err) {
		w.T.Fatal(err)
	}
	want(w.T.(*testing.T), "run", w.RunState(run), "succeeded")
	wantRuns(w, "before somebody follows", "down", 0)
}

func TestTwoFollowersAnswerATriggerOnce(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up}`))
	ended(w)
	side := w.Begin()
	if err := w.Follower.Make(t.Context(), side.Queries()); err != nil {
		t.Fatal(err)
	}
	if err := w.Apart().Follower.Step(t.Context()); !schedtest.IsMore(err) { // and it does not wait
		t.Fatal(err)
	}
	side.Commit()
	w.Settle()
	w.RunAll(wantRuns(w, "after both", "down", 1)[0], succeed)
	w.Check()
}

// A scheduler that dies between the end and what follows from it loses nothing.
func TestATriggerSurvivesItsFollower(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up}`))
	ended(w)
	side := w.Begin()
	if err := w.Follower.Make(t.Context(), side.Queries()); err != nil {
		t.Fatal(err)
	}
	side.Rollback()
	wantRuns(w, "after the death", "down", 0)
	w.Settle()
	w.RunAll(wantRuns(w, "after another came", "down", 1)[0], succeed)
	w.Check()
}

// A trigger that the newest revision has no more is not answered.
func TestATriggerThatHasGone(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up}`))
	ended(w)
	w.Exec(`WITH r AS (
			INSERT INTO revision (pipeline_id, number, content_hash, file, source_text, spec)
			SELECT pipeline_id, 2, '2', file, '', spec - 'triggers' FROM revision WHERE spec ? 'triggers' RETURNING id, pipeline_id
		), gone AS (
			DELETE FROM pipeline_trigger USING r WHERE pipeline_trigger.pipeline_id = r.pipeline_id
		) UPDATE pipeline SET revision_id = r.id FROM r WHERE pipeline.id = r.pipeline_id`)
	w.Settle()
	wantRuns(w, "without the trigger", "down", 0)
	w.Check()
}

// A run that was opened again before anybody followed its end asks anew.
func TestARerunBeforeTheTriggerIsAnswered(t *testing.T) {
	t.Parallel()
	w := world(t, down(`{name: up}`))
	ended(w)
	run := runs(w, "up")[0]
	if _, err := schedtest.TryRerun(w, run, flow.RerunAll, ""); err != nil {
		t.Fatal(err)
	}
	w.Settle()
	wantRuns(w, "while it runs again", "down", 0)
	w.RunAll(run, succeed)
	w.Settle()
	wantRuns(w, "after its end", "down", 1)
	w.Check()
}
