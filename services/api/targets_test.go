package api_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func waiting(target, url string) string {
	return fmt.Sprintf(`name: waits
tasks:
  ready:
    wait:
      http: {target: %s, url: %q}
      until: response.status == 200
`, target, url)
}

// Register knows targets as executors have told of them: what they allow, and
// whether one that is alive serves them.
func TestTargetsAreCheckedAtRegister(t *testing.T) {
	t.Parallel()
	s := start(t)
	exec := func(sql string) {
		t.Helper()
		if _, err := s.pool().PGX().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	try := func(text string) (string, api.Registration) {
		t.Helper()
		got, err := s.admin().Register(t.Context(), request("repo", "waits.yaml", text))
		if err == nil {
			return "", got
		}
		e, ok := errors.AsType[*api.Error](err)
		if !ok {
			t.Fatal(err)
		}
		var all []string
		for _, p := range e.Problems {
			all = append(all, fmt.Sprintf("%s %s:%d:%d %s → %s", p.Code, p.Where.File, p.Where.Line, p.Where.Col, p.Message, p.Hint))
		}
		return strings.Join(all, "\n"), got
	}
	if got, _ := try(waiting("http/src", "https://src.example.com/ready")); got != `SYN1702 waits.yaml:5:22 unknown target "http/src"; known: none → an executor with --targets serves it` {
		t.Errorf("without targets: %s", got)
	}
	exec(`INSERT INTO target (name, kind, allows) VALUES
		('http/src', 'http', '{"hosts": ["src.example.com"]}'), ('ssh/etl', 'ssh', '{}'), ('http/old', 'http', '{"hosts": ["src.example.com"]}')`)
	exec(`UPDATE target SET seen_at = now() - interval '8 days' WHERE name = 'http/old'`)
	for _, c := range []struct{ target, url, want string }{
		{"http/scr", "https://src.example.com/ready", `SYN1702 waits.yaml:5:22 unknown target "http/scr"; known: http/src, ssh/etl → did you mean "http/src"?`},
		{"http/old", "https://src.example.com/ready", `SYN1702 waits.yaml:5:22 unknown target "http/old"; known: http/src, ssh/etl`},
		{"ssh/etl", "https://src.example.com/ready", "SYN1702 waits.yaml:5:22 target ssh/etl is of kind ssh; task ready of default/waits wants one of kind http"},
		{"http/src", "https://169.254.169.254/latest", "SYN1414 waits.yaml:5:38 url: host 169.254.169.254 is not allowed by target http/src"},
		{"http/src", "https://other.example.com/${{ run.id }}", "SYN1414 waits.yaml:5:38 url: host other.example.com is not allowed by target http/src"},
		{"http/src", "http://src.example.com/ready", "SYN1414 waits.yaml:5:38 url: target http/src does not allow http: write https"},
	} {
		if got, _ := try(waiting(c.target, c.url)); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s: %s, want %s", c.target, c.url, got, c.want)
		}
	}
	good := waiting("http/src", "https://src.example.com/ready/${{ run.id }}")
	got, r := try(good)
	if got != "" || len(r.Problems) != 1 || r.Problems[0].Code != "SYN1708" || !strings.Contains(r.Problems[0].Message, "no live executor serves target http/src") {
		t.Errorf("nobody serves it: %s, %+v, want a warning", got, r.Problems)
	}
	exec(`INSERT INTO executor (id, name, slots, serves, lease_until) VALUES (gen_random_uuid(), 'x', 1, '{http/src}', now() + interval '1 h')`)
	if got, r := try(good + "\n# changed"); got != "" || len(r.Problems) != 0 {
		t.Errorf("with an executor: %s, %+v, want no warning", got, r.Problems)
	}
	// What only the run knows is left to the run.
	if got, _ := try(waiting("http/src", "${{ vars.BASE }}/ready")); strings.Contains(got, "SYN1414") {
		t.Errorf("an address that is not written out: %s", got)
	}
}
