package target

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/services/internal/egress"
)

func TestRead(t *testing.T) {
	t.Parallel()
	got, err := parse("t.yaml", []byte(`
targets:
  http/spark:
    kind: http
    hosts: [Spark.example.com, "10.0.0.5:8080"]
    auth: {bearer: {secret: SPARK_TOKEN, namespace: finance}}
    poll_rps: 2.5
    timeout: 1m30s
  src: {kind: http, hosts: [localhost:8080], allow_http: true, allow_private: true, auth: {basic: {user: me, secret: PW}}}
  key: {kind: http, hosts: [a.example.com], auth: {header: {name: X-Api-Key, secret: KEY}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Target{
		{
			Name: "http/spark", Kind: "http", Rules: egress.Rules{Hosts: []string{"spark.example.com", "10.0.0.5:8080"}},
			Auth:     Auth{Header: "Authorization", Scheme: "Bearer", Namespace: "finance", Secret: "SPARK_TOKEN"},
			PollRate: 2.5, Timeout: 90 * time.Second,
		},
		{
			Name: "key", Kind: "http", Rules: egress.Rules{Hosts: []string{"a.example.com"}},
			Auth:     Auth{Header: "X-Api-Key", Namespace: "default", Secret: "KEY"},
			PollRate: DefaultPollRate, Timeout: DefaultTimeout,
		},
		{
			Name: "src", Kind: "http", Rules: egress.Rules{Hosts: []string{"localhost:8080"}, AllowHTTP: true, AllowPrivate: true},
			Auth:     Auth{Header: "Authorization", Scheme: "Basic", User: "me", Namespace: "default", Secret: "PW"},
			PollRate: DefaultPollRate, Timeout: DefaultTimeout,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesAreToldWithTheirPlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       "t.yaml:1:1: it is empty",
		"targets: [":             "t.yaml: line 1",
		"a: 1":                   `t.yaml:1:1: unknown key "a" in the file; there are targets`,
		"targets: {}\n---\na: 1": "one document is wanted",
		"targets: []":            "t.yaml:1:10: targets is a map",
		"targets:\n  A: {kind: http, hosts: [a]}":                                                   `t.yaml:2:3: target "A"`,
		"targets:\n  a/b/c: {kind: http, hosts: [a]}":                                               `t.yaml:2:3: target "a/b/c"`,
		"targets:\n  a: {hosts: [a]}":                                                               "t.yaml:2:3: kind is missing in target a",
		"targets:\n  a: {kind: kubernetes}":                                                         "t.yaml:2:13: targets of kind kubernetes are not built yet; there is http",
		"targets:\n  a: {kind: ftp}":                                                                `t.yaml:2:13: unknown kind "ftp"`,
		"targets:\n  a: {kind: http}":                                                               "t.yaml:2:3: hosts is missing in target a",
		"targets:\n  a: {kind: http, hosts: []}":                                                    "hosts: 1 to 100",
		"targets:\n  a: {kind: http, hosts: [169.254.169.254]}":                                     `t.yaml:2:27: host "169.254.169.254": nobody may ask for this address`,
		"targets:\n  a: {kind: http, hosts: [a, A]}":                                                "host a is there twice",
		"targets:\n  a: {kind: http, hosts: a}":                                                     "hosts is a list",
		"targets:\n  a: {kind: http, hosts: [a], host: b}":                                          `t.yaml:2:31: unknown key "host" in target a; there are allow_http, allow_private, auth, hosts, kind, poll_rps, timeout`,
		"targets:\n  a: {kind: http, hosts: [a], allow_http: yes}":                                  "allow_http is true or false",
		"targets:\n  a: {kind: http, hosts: [a], allow_http: \"true\"}":                             "allow_http is true or false",
		"targets:\n  a: {kind: http, hosts: [a], poll_rps: 0}":                                      "poll_rps is a number, 0.01 to 1000",
		"targets:\n  a: {kind: http, hosts: [a], poll_rps: NaN}":                                    "poll_rps is a number",
		"targets:\n  a: {kind: http, hosts: [a], timeout: 10}":                                      "timeout is a duration, 1s to 5m",
		"targets:\n  a: {kind: http, hosts: [a], auth: {}}":                                         "auth has one of bearer, basic, header",
		"targets:\n  a: {kind: http, hosts: [a], auth: {bearer: {}}}":                               "secret is missing in auth.bearer",
		"targets:\n  a: {kind: http, hosts: [a], auth: {bearer: {token: x}}}":                       `unknown key "token" in auth.bearer; there are namespace, secret`,
		"targets:\n  a: {kind: http, hosts: [a], auth: {basic: {secret: X}}}":                       "user is missing in auth.basic",
		"targets:\n  a: {kind: http, hosts: [a], auth: {basic: {secret: X, user: \"a:b\"}}}":        "user may not hold a colon",
		"targets:\n  a: {kind: http, hosts: [a], auth: {header: {secret: X, name: \"A B\"}}}":       "name is a name, this is none",
		"targets:\n  a: {kind: http, hosts: [a]}\n  a: {kind: http, hosts: [b]}":                    `t.yaml:3:3: key "a" is already there (line 2)`,
		"targets:\n  a: &x {kind: http, hosts: [a]}\n  b: *x":                                       "anchors and aliases are not supported",
		"targets:\n  a: {kind: !!str http, hosts: [a]}":                                             "tags are not supported",
		"targets:\n  a: {kind: http, hosts: [a], auth: {bearer: {secret: \"s3cr3t in the file\"}}}": "secret is a name, this is none",
	} {
		_, err := parse("t.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: the message repeats a credential: %v", text, err)
		}
	}
}

func TestAFileThatAnybodyMayChangeIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "targets.yaml")
	if err := os.WriteFile(file, []byte("targets: {a: {kind: http, hosts: [a]}}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if list, err := Read(file); err != nil || len(list) != 1 {
		t.Fatalf("Read = %v, %v, want one target", list, err)
	}
	if err := os.Chmod(file, 0o646); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file); err == nil || !strings.Contains(err.Error(), "anybody may change it") {
		t.Errorf("Read of a file with mode 0646: %v, want it refused", err)
	}
	if list, err := Read(""); list != nil || err != nil {
		t.Errorf("Read of no file = %v, %v", list, err)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	all := []Target{{Name: "http/a"}, {Name: "http/b"}, {Name: "c"}}
	for _, test := range []struct {
		patterns   string
		want, fail string
	}{
		{"", "http/a http/b c", ""},
		{"http/*", "http/a http/b", ""},
		{"c http/b", "http/b c", ""},
		{"http/x", "", "serves http/x, but the targets file has only http/a, http/b, c"},
		{"[", "", "syntax error"},
	} {
		got, err := Serve(all, strings.Fields(test.patterns))
		if test.fail != "" {
			if err == nil || !strings.Contains(err.Error(), test.fail) {
				t.Errorf("Serve(%q) = %v, want %q", test.patterns, err, test.fail)
			}
			continue
		}
		var names []string
		for _, t := range got {
			names = append(names, t.Name)
		}
		if err != nil || strings.Join(names, " ") != test.want {
			t.Errorf("Serve(%q) = %v, %v, want %q", test.patterns, names, err, test.want)
		}
	}
	if _, err := Serve(nil, []string{"http/*"}); err == nil || !strings.Contains(err.Error(), "no targets file") {
		t.Errorf("Serve without a file: %v", err)
	}
}
