package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// A queued run's page says who holds its place, in the words that the API and
// the command have, to a viewer and without a script; to a stranger nothing.
func TestPagesSayWhyARunWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register("hello.yaml", simple("hello", "", "", "x"))
	for range 2 {
		if _, _, err := w.client().CreateRun(t.Context(), "default", "hello", "", api.RunRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	w.exec(`UPDATE open_run SET state = 'running', admitted_at = now() WHERE run_id = (SELECT id FROM run WHERE number = 1)`)
	w.exec(`UPDATE run SET state = 'running', started_at = now() WHERE number = 1`)

	e, err := w.client().ExplainRun(t.Context(), client.RunRef{Namespace: "default", Pipeline: "hello", Run: "2"})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Blocked || len(e.Findings) == 0 || e.Findings[0].Gate != "group" || len(e.Findings[0].Holders) != 1 || e.Findings[0].Holders[0].Run != "default/hello#1" {
		t.Fatalf("ExplainRun = %+v", e)
	}
	v := w.as(api.RoleViewer)
	sentence := strings.ReplaceAll(strings.TrimSuffix(e.Findings[0].Summary, "."), "'", "&#39;")
	w.want(v.get("/p/default/hello/2"), http.StatusOK, "Why is #2 waiting?", e.Summary, sentence, `<a href="/p/default/hello/1">`, `href="#run-why"`, "synctl explain hello#2")
	a := v.get("/p/default/hello/2", "HX-Request", "true", "HX-Request-Type", "partial", "HX-Target", "section#run-why")
	if w.want(a, http.StatusOK, sentence); strings.Contains(a.text, "<html") || strings.Contains(a.text, "run-head") {
		t.Errorf("the region alone is more than that: %.200s", a.text)
	}
	w.want(v.get("/p/default/hello"), http.StatusOK, `id="pipeline-why"`, sentence)

	made, err := w.client().CreateToken(t.Context(), api.TokenRequest{Name: "stranger", Role: api.RoleViewer, Namespaces: []string{"finance"}})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := client.New(client.Options{URL: w.url, Token: made.Secret, Patience: -1})
	if err != nil {
		t.Fatal(err)
	}
	for what, ask := range map[string]func() error{
		"pipeline": func() error { _, err := stranger.ExplainPipeline(t.Context(), "default", "hello"); return err },
		"run": func() error {
			_, err := stranger.ExplainRun(t.Context(), client.RunRef{Namespace: "default", Pipeline: "hello", Run: "2"})
			return err
		},
		"task": func() error {
			_, err := stranger.ExplainTask(t.Context(), client.RunRef{Namespace: "default", Pipeline: "hello", Run: "2"}, "work")
			return err
		},
	} {
		if err := ask(); !api.IsCode(err, api.NotFound) {
			t.Errorf("a stranger asks about a %s: %v, want not found", what, err)
		}
	}
	for _, task := range []string{"nope", "a[x]", "a[-1]", "a[99999]", "work[0]", "[0]", "a[0"} {
		if _, err := w.client().ExplainTask(t.Context(), client.RunRef{Namespace: "default", Pipeline: "hello", Run: "2"}, task); !api.IsCode(err, api.NotFound) {
			t.Errorf("task %q: %v, want not found", task, err)
		}
	}
}
