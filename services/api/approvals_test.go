package api_test

import (
	"slices"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// A question is answered once; the same key gives the same answer again, and
// whoever comes late learns who was faster.
func TestApprovalsAreAnsweredOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo", "asks.yaml", "name: asks\ntasks:\n  first: {run: x}\n  ask: {needs: first, approval: {prompt: \"Load it?\"}}\n")
	run, _, err := c.CreateRun(ctx, "default", "asks", "", api.RunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ref := client.RunRef{Namespace: "default", Pipeline: "asks", Run: "1"}
	_, err = c.Answer(ctx, ref, "ask", true, "", api.AnswerRequest{})
	refused(t, "before it asks", err, api.Conflict, "does not ask yet")
	_, err = c.Answer(ctx, ref, "first", true, "", api.AnswerRequest{})
	refused(t, "a task that does not ask", err, api.Unprocessable, "does not ask for approval")

	for _, sql := range []string{
		`UPDATE open_run SET state = 'running', admitted_at = now()`,
		`UPDATE run SET state = 'running', started_at = now()`,
		`INSERT INTO task (run_id, number, name, state, reason, ended_at) SELECT id, 0, 'first', 'succeeded', '', now() FROM run UNION ALL SELECT id, 16384, 'ask', 'waiting', 'approval', NULL FROM run`,
		`INSERT INTO approval (run_id, number, pipeline_id, prompt) SELECT id, 16384, pipeline_id, 'Load it?' FROM run`,
	} {
		if _, err := s.pool().PGX().Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	page, err := c.Approvals(ctx, api.ListApprovalsParams{})
	if err != nil || len(page.Items) != 1 || page.Items[0].Task != "ask" || page.Items[0].Prompt != "Load it?" || page.Items[0].Run != run.Number {
		t.Fatalf("approvals: %+v, %v", page, err)
	}
	made, err := c.CreateToken(ctx, api.TokenRequest{Name: "reader", Role: api.RoleViewer})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := s.as(made.Secret).Approvals(ctx, api.ListApprovalsParams{})
	if err != nil || len(theirs.Items) != 1 || theirs.Items[0].MayAnswer || !page.Items[0].MayAnswer {
		t.Errorf("who may answer: a viewer %+v, an admin %+v, %v", theirs, page, err)
	}
	if x := page.Items[0]; !slices.Equal(x.Approvers, []string{"role:operator"}) || x.OnTimeout != "reject" || x.OnReject != "fail" {
		t.Errorf("a question with its defaults: %+v", x)
	}
	a, err := c.Answer(ctx, ref, "ask", true, "k", api.AnswerRequest{Comment: "looks fine"})
	if err != nil || a.Decision != "approved" || a.Comment != "looks fine" || a.DecidedBy == "" {
		t.Fatalf("answer: %+v, %v", a, err)
	}
	if again, err := c.Answer(ctx, ref, "ask", true, "k", api.AnswerRequest{Comment: "looks fine"}); err != nil || again.DecidedAt != a.DecidedAt {
		t.Errorf("the same key: %+v, %v", again, err)
	}
	_, err = c.Answer(ctx, ref, "ask", false, "k", api.AnswerRequest{})
	refused(t, "the key with other content", err, api.Conflict, "idempotency key")
	_, err = c.Answer(ctx, ref, "ask", false, "", api.AnswerRequest{})
	refused(t, "a second answer", err, api.Conflict, "was approved already, by "+a.DecidedBy)
	if page, err := c.Approvals(ctx, api.ListApprovalsParams{}); err != nil || len(page.Items) != 0 {
		t.Errorf("approvals after the answer: %+v, %v", page, err)
	}
	whole, err := c.Run(ctx, ref)
	if err != nil || len(whole.Tasks) != 2 || whole.Tasks[1].Approval == nil || whole.Tasks[1].Approval.Decision != "approved" {
		t.Errorf("the run: %+v, %v", whole.Tasks, err)
	}
	var n int
	if err := s.pool().PGX().QueryRow(ctx, `SELECT count(*) FROM event AS e JOIN wake AS w ON w.subject = e.entity_id AND w.number = e.number
		WHERE e.kind = 'task' AND e.cause = 'approval' AND e.reason = 'approved' AND e.actor <> '' AND e.detail ->> 'comment' = 'looks fine'`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d events with a wake, %v", n, err)
	}

	// It may have to ask once more, after a rerun: what was said before counts no more.
	for _, sql := range []string{
		`UPDATE approval SET closed_at = now()`,
		`UPDATE task SET state = 'waiting', reason = '', ended_at = NULL WHERE run_id IN (SELECT id FROM run)`,
	} {
		if _, err := s.pool().PGX().Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.Answer(ctx, ref, "ask", true, "", api.AnswerRequest{})
	refused(t, "before it asks again", err, api.Conflict, "does not ask yet")
}
