package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

const rows = `name: rows
manual: false
params: {day: {type: string, default: today}}
concurrency: {limit: 1, max_queued: 1, on_conflict: skip}
tasks:
  extract: {run: x, outputs: {n: {type: integer}, note: {type: string, required: false}}}
  load: {needs: extract, run: x}
  each: {for_each: [a, b], run: x, outputs: {n: {type: integer}}}
finally:
  clean: {run: x}
`

// ended makes a run of default/rows that has ended as its tasks are said to have.
func (s *server) ended(ctx context.Context, extract, load string) (ref client.RunRef, id int64) {
	s.t.Helper()
	pool := s.pool()
	reason := map[string]string{"failed": "exit", "skipped": "upstream"}
	state := "succeeded"
	if extract == "failed" || load == "failed" {
		state = "failed"
	}
	var number int64
	err := pool.PGX().QueryRow(ctx, `
WITH p AS (
	SELECT p.id, p.namespace, p.name, p.revision_id, g.id AS group_id FROM pipeline p JOIN run_group g ON g.pipeline_id = p.id WHERE p.name = 'rows'
), n AS (
	INSERT INTO pipeline_counter AS c (pipeline_id, last) SELECT id, 1 FROM p ON CONFLICT (pipeline_id) DO UPDATE SET last = c.last + 1 RETURNING c.last
)
INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, scheduled_at, interval_start, interval_end, params, group_id, state, reason, started_at, ended_at)
SELECT next_run_id(), p.id, p.revision_id, n.last, p.namespace, p.name, 'manual', now(), now() - interval '2 d', now() - interval '1 d', '{"day": "old"}', p.group_id,
	$1, CASE WHEN $1 = 'failed' THEN 'tasks' ELSE '' END, now(), now() FROM p, n
RETURNING id, number`, state).Scan(&id, &number)
	if err != nil {
		s.t.Fatal(err)
	}
	for i, t := range []struct{ name, state string }{{"extract", extract}, {"load", load}, {"each", "succeeded"}, {"clean", "succeeded"}} {
		if _, err := pool.PGX().Exec(ctx, `
INSERT INTO task (run_id, number, name, state, reason, attempt, failures, ready_at, ended_at, outputs, items, released, unfinished, ok, failed, canceled, skipped)
SELECT $1, $2 * 16384, $3, $4, $5, 1, 1, now(), now(), '{"n": 1}', k, k, k * 0, k, k * 0, k * 0, k * 0 FROM (SELECT CASE WHEN $3 = 'each' THEN 2 END AS k) AS k`, id, i, t.name, t.state, reason[t.state]); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := pool.PGX().Exec(ctx, `INSERT INTO task (run_id, number, name, item, state, attempt, ready_at, ended_at, outputs)
SELECT $1, 32768 + n, 'each', '"a"', 'succeeded', 1, now(), now(), '{"n": 1}' FROM generate_series(1, 2) AS n`, id); err != nil {
		s.t.Fatal(err)
	}
	return client.RunRef{Namespace: "default", Pipeline: "rows", Run: fmt.Sprint(number)}, id
}

// tasks are the states of a run's tasks and items.
func (s *server) tasks(ctx context.Context, id int64) string {
	s.t.Helper()
	var text string
	if err := s.pool().PGX().QueryRow(ctx, `SELECT string_agg(state || CASE WHEN reason <> '' THEN ':' || reason ELSE '' END, ' ' ORDER BY number) FROM task WHERE run_id = $1`, id).Scan(&text); err != nil {
		s.t.Fatal(err)
	}
	return text
}

func refused(t *testing.T, what string, err error, code api.Code, words ...string) {
	t.Helper()
	e := api.As(err)
	if err == nil || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(e.Message+" → "+e.Hint, word) {
			t.Errorf("%s: %q → %q does not say %q", what, e.Message, e.Hint, word)
		}
	}
}

func TestRerun(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo", "rows.yaml", rows)
	ref, id := s.ended(ctx, "failed", "skipped")

	run, created, err := c.Rerun(ctx, ref, "k1", api.RerunRequest{Mode: "failed", Note: "again"})
	if err != nil || created || run.State != "queued" || run.EndedAt != nil || run.StartedAt != nil || run.Reason != "" {
		t.Fatalf("rerun: %+v, %v, %v", run, created, err)
	}
	if got, want := s.tasks(ctx, id), "waiting waiting succeeded succeeded succeeded waiting"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	var detail map[string]any
	if err := s.pool().PGX().QueryRow(ctx, `SELECT detail FROM event WHERE kind = 'run' AND entity_id = $1 AND cause = 'rerun' AND from_state = 'failed' AND actor <> ''`, id).Scan(&detail); err != nil {
		t.Fatal(err)
	}
	for k := range detail {
		if k == "started_at" || k == "ended_at" {
			delete(detail, k)
		}
	}
	if diff := cmp.Diff(map[string]any{"mode": "failed", "note": "again", "reason": "tasks", "tasks": 3.0, "items": 0.0}, detail); diff != "" {
		t.Errorf("the event keeps (-want +got):\n%s", diff)
	}
	// The same key does nothing more, whatever has happened since.
	if again, _, err := c.Rerun(ctx, ref, "k1", api.RerunRequest{Mode: "failed", Note: "again"}); err != nil || again.ID != id {
		t.Errorf("the same key: %+v, %v", again, err)
	}
	_, _, err = c.Rerun(ctx, ref, "k1", api.RerunRequest{Mode: "all"})
	refused(t, "the key with other content", err, api.Conflict, "idempotency key")
	_, _, err = c.Rerun(ctx, ref, "", api.RerunRequest{Mode: "all"})
	refused(t, "an open run", err, api.Conflict, "has not ended", "synctl cancel default/rows#1")
	_, err = c.Mark(ctx, ref, "load", "", api.MarkRequest{State: "skipped", Reason: "x"})
	refused(t, "a mark in an open run", err, api.Conflict, "has not ended")
	_, _, err = c.Rerun(ctx, ref, "", api.RerunRequest{Latest: true})
	refused(t, "a new run of an open one", err, api.Conflict, "has not ended")

	// The queue of its group is full: max_queued holds for a rerun as for any request.
	if _, err := s.pool().PGX().Exec(ctx, `UPDATE open_run SET state = 'running', admitted_at = now()`); err != nil {
		t.Fatal(err)
	}
	second, _ := s.ended(ctx, "succeeded", "failed")
	third, _ := s.ended(ctx, "succeeded", "failed")
	if _, _, err := c.Rerun(ctx, second, "", api.RerunRequest{Mode: "failed"}); err != nil {
		t.Errorf("one that fits: %v", err)
	}
	_, _, err = c.Rerun(ctx, third, "", api.RerunRequest{Mode: "failed"})
	refused(t, "one too many", err, api.QueueFull, "max_queued")
}

func TestRerunsThatCannotBe(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo", "rows.yaml", rows)
	fine, _ := s.ended(ctx, "succeeded", "succeeded")
	broken, _ := s.ended(ctx, "failed", "skipped")
	never, id := s.ended(ctx, "succeeded", "succeeded")
	if _, err := s.pool().PGX().Exec(ctx, `DELETE FROM task WHERE run_id = $1`, id); err != nil {
		t.Fatal(err)
	}
	unparamed, id := s.ended(ctx, "succeeded", "succeeded")
	if _, err := s.pool().PGX().Exec(ctx, `UPDATE run SET trigger = 'pipeline', state = 'failed', reason = 'params', started_at = NULL WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	deep, id := s.ended(ctx, "succeeded", "succeeded")
	if _, err := s.pool().PGX().Exec(ctx, `UPDATE run SET trigger = 'pipeline', state = 'failed', reason = 'trigger_depth', params = '{}', started_at = NULL WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	unseen, id := s.ended(ctx, "failed", "skipped")
	if _, err := s.pool().PGX().Exec(ctx, `INSERT INTO child_run (parent_run_id, parent_number, attempt, namespace, pipeline, waits, depth, run_id, number) VALUES (1, 0, 1, 'default', 'rows', true, 1, $1, $2)`, id, unseen.Run); err != nil {
		t.Fatal(err)
	}
	gone, id := s.ended(ctx, "succeeded", "succeeded")
	if _, err := s.pool().PGX().Exec(ctx, `DELETE FROM run WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		ref   client.RunRef
		req   api.RerunRequest
		code  api.Code
		words []string
	}{
		"nothing failed":  {fine, api.RerunRequest{Mode: "failed"}, api.Conflict, []string{"nothing of run default/rows#1 failed", "--all"}},
		"no mode":         {fine, api.RerunRequest{}, api.Unprocessable, []string{"failed, from or all"}},
		"another mode":    {fine, api.RerunRequest{Mode: "some"}, api.Unprocessable, []string{`"some"`}},
		"no task":         {fine, api.RerunRequest{Mode: "from"}, api.NotFound, []string{"no task"}},
		"unknown task":    {fine, api.RerunRequest{Mode: "from", Task: "lod"}, api.NotFound, []string{`did you mean "load"`}},
		"task without":    {fine, api.RerunRequest{Mode: "all", Task: "load"}, api.Unprocessable, []string{"mode from"}},
		"latest and mode": {fine, api.RerunRequest{Mode: "all", Latest: true}, api.Unprocessable, []string{"do not go with it"}},
		"blocked":         {broken, api.RerunRequest{Mode: "from", Task: "load"}, api.Conflict, []string{"load would be skipped again: extract did not succeed"}},
		"never started":   {never, api.RerunRequest{Mode: "failed"}, api.Conflict, []string{"never started", "--all"}},
		"no params":       {unparamed, api.RerunRequest{Mode: "all"}, api.Conflict, []string{"could not be worked out", "synctl run default/rows"}},
		"nor here":        {deep, api.RerunRequest{Mode: "all"}, api.Conflict, []string{"could not be worked out", "synctl run default/rows"}},
		"unseen":          {unseen, api.RerunRequest{Mode: "failed"}, api.Conflict, []string{"its caller has not looked at its end yet", "try again in a moment"}},
		"gone":            {gone, api.RerunRequest{Mode: "all"}, api.Gone, []string{"no longer kept"}},
		"not there":       {client.RunRef{Namespace: "default", Pipeline: "rows", Run: "99"}, api.RerunRequest{Mode: "all"}, api.NotFound, []string{"does not exist"}},
		"long note":       {fine, api.RerunRequest{Mode: "all", Note: strings.Repeat("x", 1001)}, api.Unprocessable, []string{"1001 characters"}},
	} {
		_, _, err := c.Rerun(ctx, x.ref, "", x.req)
		refused(t, name, err, x.code, x.words...)
	}
	if _, _, err := c.Rerun(ctx, never, "", api.RerunRequest{Mode: "all"}); err != nil {
		t.Errorf("all of a run that never started: %v", err)
	}
	var n int
	if err := s.pool().PGX().QueryRow(ctx, `SELECT count(*) FROM event WHERE cause = 'rerun'`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d events tell of reruns, want 1; %v", n, err)
	}
}

// Of many who rerun one run at once, one does, and the others learn that it is open.
func TestParallelReruns(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo", "rows.yaml", rows)
	ref, id := s.ended(ctx, "failed", "skipped")
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { _, _, errs[i] = c.Rerun(ctx, ref, "", api.RerunRequest{Mode: "failed"}) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			refused(t, "another", err, api.Conflict, "has not ended")
		}
	}
	if won != 1 {
		t.Errorf("%d of 8 reran it, want 1", won)
	}
	var n int
	if err := s.pool().PGX().QueryRow(ctx, `SELECT count(*) FROM event WHERE entity_id = $1 AND cause = 'rerun'`, id).Scan(&n); err != nil || n != 4 {
		t.Errorf("%d events, want 4; %v", n, err)
	}
}

func TestRerunAsANewRun(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo", "rows.yaml", rows)
	ref, id := s.ended(ctx, "failed", "skipped")
	s.register("repo", "rows.yaml", strings.Replace(rows, "  clean: {run: x}", "  clean: {run: y}", 1))
	run, created, err := c.Rerun(ctx, ref, "new", api.RerunRequest{Latest: true, Note: "mended"})
	if err != nil || !created {
		t.Fatalf("rerun: %v, %v", created, err)
	}
	old, err := c.Run(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	if run.ID == id || run.Number != 2 || run.Revision != 2 || run.Trigger != "rerun" || run.RerunOf != id || run.Note != "mended" || string(run.Params["day"]) != `"old"` ||
		!run.Interval.Start.Equal(old.Interval.Start) || run.State != "queued" || old.State != "failed" {
		t.Errorf("the new run is %+v", run)
	}
	if again, created, err := c.Rerun(ctx, ref, "new", api.RerunRequest{Latest: true, Note: "mended"}); err != nil || created || again.ID != run.ID {
		t.Errorf("the same key: %+v, %v, %v", again, created, err)
	}
	// The newest revision has the say about params.
	if _, err := s.pool().PGX().Exec(ctx, `DELETE FROM open_run`); err != nil {
		t.Fatal(err)
	}
	s.register("repo", "rows.yaml", strings.Replace(rows, "params: {day: {type: string, default: today}}\n", "", 1))
	_, _, err = c.Rerun(ctx, ref, "", api.RerunRequest{Latest: true})
	refused(t, "a param that is no more", err, api.Unprocessable, "day")
}

func TestMark(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo", "rows.yaml", rows)

	// Nothing runs because of it: the result is another, and the end stays where it was.
	ref, id := s.ended(ctx, "succeeded", "failed")
	run, err := c.Mark(ctx, ref, "load", "m", api.MarkRequest{State: "succeeded", Reason: "loaded by hand"})
	if err != nil || run.State != "succeeded" || run.EndedAt == nil {
		t.Fatalf("mark: %+v, %v", run, err)
	}
	whole, err := c.Run(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	who, _ := c.Whoami(ctx)
	if task := whole.Tasks[1]; task.Reason != "marked" || task.Detail != "marked succeeded by "+who.Name+": loaded by hand" {
		t.Errorf("the task says %q, %q", task.Reason, task.Detail)
	}
	if again, err := c.Mark(ctx, ref, "load", "m", api.MarkRequest{State: "succeeded", Reason: "loaded by hand"}); err != nil || again.State != "succeeded" {
		t.Errorf("the same key: %+v, %v", again, err)
	}
	zero, nine := 0, 9
	for name, x := range map[string]struct {
		task  string
		req   api.MarkRequest
		code  api.Code
		words []string
	}{
		"no reason":            {"load", api.MarkRequest{State: "failed", Reason: " "}, api.Unprocessable, []string{"reason is missing"}},
		"no such state":        {"load", api.MarkRequest{State: "running", Reason: "x"}, api.Unprocessable, []string{"succeeded, failed or skipped"}},
		"as it is":             {"load", api.MarkRequest{State: "succeeded", Reason: "x"}, api.Conflict, []string{"load of run default/rows#1 is succeeded already"}},
		"no task":              {"lod", api.MarkRequest{State: "failed", Reason: "x"}, api.NotFound, []string{`did you mean "load"`}},
		"no items":             {"load", api.MarkRequest{State: "failed", Reason: "x", Index: &zero}, api.Unprocessable, []string{"no items"}},
		"no such item":         {"each", api.MarkRequest{State: "failed", Reason: "x", Index: &nine}, api.NotFound, []string{"each[9]"}},
		"outputs of a failure": {"extract", api.MarkRequest{State: "failed", Reason: "x", Outputs: map[string]string{"n": "1"}}, api.Unprocessable, []string{"outputs are of what succeeded"}},
	} {
		_, err := c.Mark(ctx, ref, x.task, "", x.req)
		refused(t, name, err, x.code, x.words...)
	}
	if got, want := s.tasks(ctx, id), "succeeded succeeded:marked succeeded succeeded succeeded succeeded"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}

	// What it held up runs now.
	ref, id = s.ended(ctx, "failed", "skipped")
	for name, outputs := range map[string]map[string]string{"wrong type": {"n": "x"}, "unknown": {"n": "1", "m": "1"}, "one is missing": {"note": "a"}} {
		_, err := c.Mark(ctx, ref, "extract", "", api.MarkRequest{State: "succeeded", Reason: "x", Outputs: outputs})
		refused(t, name, err, api.Unprocessable)
	}
	run, err = c.Mark(ctx, ref, "extract", "", api.MarkRequest{State: "succeeded", Reason: "by hand", Outputs: map[string]string{"n": "42"}})
	if err != nil || run.State != "queued" {
		t.Fatalf("mark: %+v, %v", run, err)
	}
	if got, want := s.tasks(ctx, id), "succeeded:marked waiting succeeded succeeded succeeded waiting"; got != want {
		t.Errorf("tasks = %q, want %q", got, want)
	}
	var outputs json.RawMessage
	if err := s.pool().PGX().QueryRow(ctx, `SELECT outputs FROM task WHERE run_id = $1 AND number = 0`, id).Scan(&outputs); err != nil || string(outputs) != `{"n": 42}` {
		t.Errorf("outputs %s, %v", outputs, err)
	}
}
