package api_test

import (
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	service "github.com/synthesizer-dev/synthesizer/services/api"
)

// Every use case with the rights of the api's own role and no more.
func TestTheServiceNeedsItsOwnRightsOnly(t *testing.T) {
	t.Parallel()
	database := dbtest.URL(t)
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("role", "syn_api")
	u.RawQuery = q.Encode()
	s := startWith(t, u.String(), func(c *service.Config) { c.SecretKeyFile = keyFile(t) })
	s.db = database
	c, ctx := s.admin(), t.Context()

	text := "name: a\nschedule: {every: 1h}\nconcurrency: {group: \"g\"}\ntasks: {a: {run: x, runs_on: [gpu], pool: wh, secrets: {A: B}}}\n"
	s.register("repo", "a.yaml", text, "p.yaml", "kind: pool\nname: wh\nslots: 2\n---\nkind: pool\nname: gone\nslots: 1\n", "v.yaml", "kind: vars\nname: v\nvalues: {A: b}\n", "b.yaml", hello("b"))
	pool := s.pool()
	if _, err := pool.PGX().Exec(ctx, "UPDATE schedule SET next_at = now() - interval '1 minute'"); err != nil {
		t.Fatal(err)
	}
	prune := request("repo", "a.yaml", strings.Replace(text, "1h", "2h", 1)+"triggers: {pipelines: [{name: c}]}\n", "p.yaml", "kind: pool\nname: wh\nslots: 3\n", "c.yaml", calls("c", "d"), "d.yaml", hello("d"))
	prune.Prune = true
	if _, err := c.Register(ctx, prune); err != nil {
		t.Errorf("prune: %v", err)
	}
	run, _, err := c.CreateRun(ctx, "default", "a", "k", api.RunRequest{})
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	ref := client.RunRef{Namespace: "default", Pipeline: "a", Run: "1"}
	for name, call := range map[string]func() error{
		"cancel":    func() error { _, err := c.Cancel(ctx, ref, api.CancelRequest{}); return err },
		"pause":     func() error { _, err := c.Pause(ctx, "default", "a", api.PauseRequest{Reason: "x"}); return err },
		"resume":    func() error { _, err := c.Resume(ctx, "default", "a", api.ResumeRequest{}); return err },
		"pipelines": func() error { _, err := c.Pipelines(ctx, api.ListPipelinesParams{}); return err },
		"revisions": func() error { _, err := c.Revisions(ctx, "default", "a", api.ListRevisionsParams{}); return err },
		"revision":  func() error { _, err := c.Revision(ctx, "default", "a", "latest"); return err },
		"ticks":     func() error { _, err := c.Ticks(ctx, "default", "a", api.ListTicksParams{}); return err },
		"explain":   func() error { _, err := c.ExplainPipeline(ctx, "default", "a"); return err },
		"why run":   func() error { _, err := c.ExplainRun(ctx, ref); return err },
		"why task":  func() error { _, err := c.ExplainTask(ctx, ref, "a"); return err },
		"next":      func() error { _, err := c.NextTicks(ctx, "default", "a", api.NextTicksParams{}); return err },
		"runs":      func() error { _, err := c.Runs(ctx, api.ListRunsParams{}); return err },
		"failed":    func() error { _, err := c.Runs(ctx, api.ListRunsParams{State: []api.RunState{"failed"}}); return err },
		"by id":     func() error { _, err := c.RunByID(ctx, run.ID); return err },
		"tasks":     func() error { _, err := c.Tasks(ctx, ref, api.ListTasksParams{}); return err },
		"log":       func() error { _, err := c.Log(ctx, client.LogRef{RunRef: ref, Task: "a"}, 0, 0); return err },
		"logs": func() error {
			return c.FollowLogs(ctx, ref, api.FollowLogsParams{}, func(client.LogEvent) error { return nil })
		},
		"executors": func() error { _, err := c.Executors(ctx); return err },
		"pools":     func() error { _, err := c.Pools(ctx, api.ListPoolsParams{}); return err },
		"pool":      func() error { _, err := c.Pool(ctx, "default", "wh", 0); return err },
		"tokens":    func() error { _, err := c.Tokens(ctx, api.ListTokensParams{}); return err },
		"token":     func() error { _, err := c.CreateToken(ctx, api.TokenRequest{Name: "x", Role: "viewer"}); return err },
		"revoke":    func() error { return c.RevokeToken(ctx, 2) },
		"secret":    func() error { _, err := c.SetSecret(ctx, "default", "B", "hunter22"); return err },
		"secrets":   func() error { _, err := c.Secrets(ctx, api.ListSecretsParams{}); return err },
		"unset": func() error {
			if _, err := c.SetSecret(ctx, "default", "C", "hunter22"); err != nil {
				return err
			}
			return c.DeleteSecret(ctx, "default", "C")
		},
		"var": func() error {
			if _, err := c.SetVar(ctx, "default", "B", "x"); err != nil {
				return err
			}
			return c.DeleteVar(ctx, "default", "B")
		},
		"vars":    func() error { _, err := c.Vars(ctx, api.ListVarsParams{}); return err },
		"version": func() error { _, err := c.Version(ctx); return err },
		"ready": func() error {
			status, _, text := s.get("/readyz")
			if status != 200 {
				return api.Errorf(api.Internal, "%s", text)
			}
			return nil
		},
	} {
		if err := call(); err != nil && !(name == "revoke" && api.IsCode(err, api.NotFound)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.register("other", "rows.yaml", rows)
	ref, _ = s.ended(ctx, "succeeded", "failed")
	if _, err := c.Mark(ctx, ref, "load", "", api.MarkRequest{State: "succeeded", Reason: "x"}); err != nil {
		t.Errorf("mark: %v", err)
	}
	if _, _, err := c.Rerun(ctx, ref, "", api.RerunRequest{Mode: "all"}); err != nil {
		t.Errorf("rerun: %v", err)
	}
	ref, _ = s.ended(ctx, "failed", "skipped")
	if _, err := c.Mark(ctx, ref, "extract", "", api.MarkRequest{State: "succeeded", Reason: "x"}); err != nil {
		t.Errorf("mark that reopens: %v", err)
	}
	ref, _ = s.ended(ctx, "failed", "skipped")
	if _, _, err := c.Rerun(ctx, ref, "", api.RerunRequest{Latest: true}); err != nil {
		t.Errorf("rerun as a new run: %v", err)
	}
}

func TestNobodyIsCheckedOnLoopbackAlone(t *testing.T) {
	t.Parallel()
	err := service.Run(t.Context(), service.Config{DatabaseURL: "postgres://127.0.0.1:1/none", Listen: "0.0.0.0:0", InsecureNoAuth: true, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("Run on every address without authentication = %v, want a refusal", err)
	}
}
