package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/services/api/internal/rest"
)

// A request that is sent twice does one thing. How, for each that changes
// something: by its Idempotency-Key, or because of what it asks for. A route that
// is not here fails the test; docs/api.md says the same to people.
const (
	byKey    = "key"
	sameText = "what is there already stays as it is: files of the same text make no revision"
	setState = "it says how something is to be, and it is so already"
	setValue = "it says what a value is to be; a secret gets another version of the same value"
	removes  = "what is gone is gone"
)

var repeats = map[string]string{
	"POST /api/v1/register":                                sameText,
	"POST /api/v1/pipelines/:ns/:name/pause":               setState,
	"POST /api/v1/pipelines/:ns/:name/resume":              setState, // what is not paused is not caught up with
	"POST /api/v1/pipelines/:ns/:name/runs":                byKey,
	"POST /api/v1/pipelines/:ns/:name/backfill":            byKey,
	"POST /api/v1/runs/:ns/:name/:run/cancel":              setState,
	"POST /api/v1/runs/:ns/:name/:run/rerun":               byKey,
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/approve": byKey,
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/reject":  byKey,
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/mark":    byKey,
	"PUT /api/v1/secrets/:ns/:name":                        setValue,
	"DELETE /api/v1/secrets/:ns/:name":                     removes,
	"PUT /api/v1/vars/:ns/:name":                           setValue,
	"DELETE /api/v1/vars/:ns/:name":                        removes,
	"POST /api/v1/tokens":                                  byKey,
	"DELETE /api/v1/tokens/:id":                            removes,
	"PATCH /api/v1/backfills/:id":                          setValue,
	"POST /api/v1/backfills/:id/pause":                     setState,
	"POST /api/v1/backfills/:id/resume":                    setState,
	"POST /api/v1/backfills/:id/cancel":                    setState,
}

func TestEveryChangeSaysWhatARepeatDoes(t *testing.T) {
	t.Parallel()
	s := start(t)
	fill := strings.NewReplacer(":ns", "nowhere", ":name", "nothing", ":run", "latest", ":task", "t", ":id", "999999")
	seen := map[string]bool{}
	for _, r := range rest.Routes(rest.Config{}) {
		route := r.Method + " " + r.Path
		if r.Method == http.MethodGet {
			continue
		}
		seen[route] = true
		how := repeats[route]
		if how == "" {
			t.Errorf("%s is in no table: what does it do when it is sent twice?", route)
		}
		if how != byKey {
			continue
		}
		// Only who looks at keys refuses one that is too long.
		status, _, text := s.post(fill.Replace(r.Path), strings.NewReader("{}"), "Idempotency-Key", strings.Repeat("k", 256))
		if !strings.Contains(text, "Idempotency-Key") {
			t.Errorf("%s with a key of 256 characters: %d %s, want the key refused", route, status, text)
		}
	}
	for route := range repeats {
		if !seen[route] {
			t.Errorf("%s is in the table and no route", route)
		}
	}
}

// What needs no key does not: sent again, nothing is there twice.
func TestRepeatsWithoutAKeyMakeNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	pool := s.pool()
	count := func() (n int) {
		t.Helper()
		if err := pool.PGX().QueryRow(t.Context(), `SELECT (SELECT count(*) FROM revision) + (SELECT count(*) FROM pipeline) + (SELECT count(*) FROM var) + (SELECT count(*) FROM backfill) + (SELECT count(*) FROM run)`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	file := `{"source": "a", "files": [{"name": "p.yaml", "text": "name: p\nschedule: \"* * * * *\"\ntasks: {a: {run: x}}\n"}]}`
	steps := []struct{ method, path, body, before string }{
		{"POST", "/api/v1/register", file, ""},
		{"PUT", "/api/v1/vars/default/REGION", `{"value": "emea"}`, ""},
		{"POST", "/api/v1/pipelines/default/p/pause", `{"reason": "x"}`, ""},
		{"POST", "/api/v1/pipelines/default/p/resume", `{"catchup": "all"}`, `UPDATE pipeline SET paused_at = now() - interval '1 hour'; UPDATE schedule SET next_at = now() - interval '1 hour'`},
	}
	for _, step := range steps {
		if step.before != "" {
			if _, err := pool.PGX().Exec(t.Context(), step.before); err != nil {
				t.Fatal(err)
			}
		}
		once := 0
		for try := range 2 {
			req, err := http.NewRequestWithContext(t.Context(), step.method, s.url+step.path, strings.NewReader(step.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+s.token)
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode >= 300 {
				t.Fatalf("%s %s, time %d: %s", step.method, step.path, try+1, resp.Status)
			}
			if try == 0 {
				once = count()
			} else if n := count(); n != once {
				t.Errorf("%s %s a second time left %d things, want the %d of the first", step.method, step.path, n, once)
			}
		}
	}
	if n := count(); n != 4 { // pipeline, revision, var and the backfill of what the pause held back
		t.Errorf("%d things, want 4", n)
	}
}

// A token's secret is told once. A second request with its key makes no other.
func TestAKeyMakesOneToken(t *testing.T) {
	t.Parallel()
	s := start(t)
	ask := func(name string) (int, string) {
		t.Helper()
		status, _, text := s.post("/api/v1/tokens", strings.NewReader(`{"name": "`+name+`", "role": "viewer"}`), "Idempotency-Key", "k")
		return status, text
	}
	if status, text := ask("ci"); status != http.StatusCreated {
		t.Fatalf("the first: %d %s", status, text)
	}
	if status, text := ask("ci"); status != http.StatusConflict || !strings.Contains(text, "has made token") {
		t.Errorf("the same again: %d %q, want a conflict that names the token", status, text)
	}
	if status, text := ask("cd"); status != http.StatusConflict || !strings.Contains(text, "other content") {
		t.Errorf("another with its key: %d %q, want a conflict", status, text)
	}
	var n int
	if err := s.pool().PGX().QueryRow(t.Context(), `SELECT count(*) FROM api_token WHERE name IN ('ci', 'cd')`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d tokens, %v, want 1", n, err)
	}
}
