package api_test

import (
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// What no column of the database can hold is refused in words, wherever it comes in.
func TestTextThatCannotBeStored(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register("repo", "a.yaml", "name: a\nparams:\n  s: {type: string, default: x}\n  o: {type: object, required: false}\ntasks: {a: {run: x}}\n")
	for _, body := range []string{
		`{"params":{"s":"a\u0000b"}}`, `{"texts":{"s":"a\u0000b"}}`, `{"params":{"o":{"k\u0000":1}}}`, `{"params":{"o":{"k":"\ud800"}}}`,
		`{"note":"a\u0000b"}`, `{"texts":{"a\u0000b":"c"}}`,
	} {
		status, _, text := s.post("/api/v1/pipelines/default/a/runs", strings.NewReader(body))
		if status < 400 || status >= 500 {
			t.Errorf("run with %s: %d %s", body, status, text)
		}
	}
	for _, file := range []string{
		"name: b\ndescription: \"a\\0b\"\ntasks: {a: {run: x}}\n", "name: b\nowner: \"a\\0b\"\ntasks: {a: {run: x}}\n",
		"name: b\nlabels: {k: \"a\\0b\"}\ntasks: {a: {run: x}}\n", "name: b\ntasks: {a: {run: \"x\\0\"}}\n", "name: b\nenv: {A: \"\\0\"}\ntasks: {a: {run: x}}\n",
		"kind: vars\nname: v\nvalues: {A: \"\\0\"}\n", "name: b\nparams: {p: {type: string, default: \"\\0\"}}\ntasks: {a: {run: x}}\n",
		"name: b\ntasks: {a: {run: x, for_each: [\"\\0\"]}}\n", "name: b\ntasks: {a: {run: x, description: \"\\0\"}}\n",
	} {
		status, _, text := s.post("/api/v1/register", strings.NewReader(string(wire(t, request("repo2", "b.yaml", file)))))
		if status != 422 {
			t.Errorf("register of %q: %d %s", file, status, text)
		}
	}
	for path, body := range map[string]string{
		"/api/v1/pipelines/default/a/pause":                  `{"reason":"a\u0000b"}`,
		"/api/v1/runs/default/a/1/cancel":                    `{"reason":"a\u0000b"}`,
		"/api/v1/tokens":                                     `{"name":"a\u0000b","role":"viewer"}`,
		"/api/v1/register":                                   `{"source":"a\u0000b","files":[{"name":"a","text":"b"}]}`,
		"/api/v1/pipelines/default/a%00/pause":               `{"reason":"x"}`,
		"/api/v1/runs/default/a/99999999999999999999/cancel": `{}`,
	} {
		if status, _, text := s.post(path, strings.NewReader(body)); status < 400 || status >= 500 {
			t.Errorf("POST %s %s: %d %s", path, body, status, text)
		}
	}
	for _, path := range []string{
		"/api/v1/pipelines?q=%00", "/api/v1/pipelines?label=a%00=b", "/api/v1/pipelines?source=%00", "/api/v1/pipelines?namespace=%00", "/api/v1/runs?namespace=%ff",
		"/api/v1/pipelines/default/a/ticks?schedule=%00", "/api/v1/runs/999999999999999999", "/api/v1/runs?pipeline=%00", "/api/v1/pipelines?cursor=WyJcdTAwMDAiLCJcdTAwMDAiXQ",
		"/api/v1/pipelines/default/a/next?from=9999-12-31T23:59:59Z", "/api/v1/runs?since=9999-12-31T23:59:59Z", "/api/v1/runs?since=0001-01-01T00:00:00Z",
		"/api/v1/pipelines/default/a/next?from=-0001-01-01T00:00:00Z", "/api/v1/pipelines/default/a/revisions/99999999999",
		"/api/v1/runs?since=294277-01-01T00:00:00Z",
	} {
		if status, _, text := s.get(path); status >= 500 {
			t.Errorf("GET %s: %d %s", path, status, text)
		}
	}
	if _, _, err := s.admin().CreateRun(t.Context(), "default", "a", "k\x00", api.RunRequest{}); err == nil {
		t.Error("a key with NUL was taken")
	}
}
