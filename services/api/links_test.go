package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// A run tells which run called it, which one's end started it, whose backfill it
// is, and what its own end has started; of namespaces that the reader may not see
// it tells nothing.
func TestARunTellsItsKin(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo",
		"up.yaml", "name: up\nnamespace: finance\ntasks:\n  call: {pipeline: {name: child}}\n",
		"child.yaml", "name: child\nnamespace: finance\ntasks: {work: {run: x}}\n",
		"report.yaml", "name: report\ntriggers: {pipelines: [{name: finance/up}, {name: finance/up, result: any}]}\ntasks: {work: {run: x}}\n",
		"alarm.yaml", "name: alarm\nnamespace: finance\ntriggers: {pipelines: [{name: up}]}\ntasks: {work: {run: x}}\n")
	for _, p := range []string{"finance/up", "finance/child", "default/report"} {
		ns, name, _ := strings.Cut(p, "/")
		if _, _, err := c.CreateRun(ctx, ns, name, "", api.RunRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	pool := s.pool().PGX()
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	const run, pipeline = `(SELECT id FROM run WHERE pipeline = '%s')`, `(SELECT id FROM pipeline WHERE name = '%s')`
	up, child, report := fmt.Sprintf(run, "up"), fmt.Sprintf(run, "child"), fmt.Sprintf(run, "report")
	exec(`DELETE FROM open_run`)
	exec(`UPDATE run SET state = 'succeeded', started_at = now(), ended_at = now()`)
	exec(`INSERT INTO task (run_id, number, name, state, ended_at) VALUES (` + up + `, 0, 'call', 'succeeded', now())`)
	exec(`UPDATE run SET parent_run_id = ` + up + `, parent_number = 0, backfill_id = 5 WHERE pipeline = 'child'`)
	exec(`INSERT INTO child_run (parent_run_id, parent_number, attempt, namespace, pipeline, waits, depth, run_id, number) VALUES (` + up + `, 0, 1, 'finance', 'child', true, 1, ` + child + `, 1)`)
	exec(`INSERT INTO follow_up (upstream_run_id, pipeline_id, ordinal, depth, run_id) VALUES (` + up + `, ` + fmt.Sprintf(pipeline, "report") + `, 0, 1, ` + report + `)`)
	exec(`INSERT INTO follow_up (upstream_run_id, pipeline_id, ordinal, depth) VALUES (` + up + `, ` + fmt.Sprintf(pipeline, "report") + `, 1, 1)`)
	drop := func(name string, ordinal int) {
		exec(fmt.Sprintf(`INSERT INTO event (kind, entity_id, pipeline_id, reason, cause, detail) VALUES ('run', %s, %s, 'trigger_dropped', 'paused', jsonb_build_object('pipeline_id', %s, 'ordinal', %d))`,
			up, fmt.Sprintf(pipeline, "up"), fmt.Sprintf(pipeline, name), ordinal))
	}
	drop("alarm", 0)
	drop("alarm", 0)  // after a rerun once more
	drop("report", 0) // and started by the next end

	tell := func(c *client.Client, ns, name string) string {
		t.Helper()
		r, err := c.Run(ctx, client.RunRef{Namespace: ns, Pipeline: name, Run: "1"})
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		if r.Parent != nil {
			parts = append(parts, fmt.Sprintf("called by %s#%d/%s", r.Parent.Pipeline, r.Parent.Number, r.Parent.Task))
		}
		if r.TriggeredBy != nil {
			parts = append(parts, fmt.Sprintf("triggered by %s#%d %s", r.TriggeredBy.Pipeline, r.TriggeredBy.Number, r.TriggeredBy.State))
		}
		if r.Backfill != 0 {
			parts = append(parts, fmt.Sprint("backfill ", r.Backfill))
		}
		for _, k := range r.Tasks {
			if k.Child != nil {
				parts = append(parts, fmt.Sprintf("calls %s#%d", k.Child.Pipeline, k.Child.Number))
			}
		}
		for _, f := range r.FollowUps {
			parts = append(parts, fmt.Sprintf("%s#%d %s%s", f.Pipeline, f.Number, f.State, f.Dropped))
		}
		return strings.Join(parts, ", ")
	}
	elsewhere := func(ns string) *client.Client {
		made, err := c.CreateToken(ctx, api.TokenRequest{Name: ns, Role: api.RoleViewer, Namespaces: []string{ns}})
		if err != nil {
			t.Fatal(err)
		}
		return s.as(made.Secret)
	}
	finance, other := elsewhere("finance"), elsewhere("default")
	for _, x := range []struct {
		who      *client.Client
		ns, name string
		want     string
	}{
		{c, "finance", "up", "calls finance/child#1, default/report#1 succeeded, default/report#0 , finance/alarm#0 paused"},
		{c, "finance", "child", "called by finance/up#1/call, backfill 5"},
		{c, "default", "report", "triggered by finance/up#1 succeeded"},
		{finance, "finance", "up", "calls finance/child#1, finance/alarm#0 paused"},
		{other, "default", "report", ""},
	} {
		if got := tell(x.who, x.ns, x.name); got != x.want {
			t.Errorf("%s/%s tells %q, want %q", x.ns, x.name, got, x.want)
		}
	}
}
