package command

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReferences(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want ref
	}{
		{"nightly_etl", ref{Pipeline: "nightly_etl"}},
		{"finance/nightly_etl", ref{Namespace: "finance", Pipeline: "nightly_etl"}},
		{"nightly_etl#1841", ref{Pipeline: "nightly_etl", Run: "1841"}},
		{"nightly_etl#0041", ref{Pipeline: "nightly_etl", Run: "41"}},
		{"nightly_etl@latest", ref{Pipeline: "nightly_etl", Run: "latest"}},
		{"finance/nightly_etl@failed", ref{Namespace: "finance", Pipeline: "nightly_etl", Run: "failed"}},
		{"@last", ref{Last: true}},
		{"@last/load:2", ref{Last: true, Task: "load", Attempt: 2}},
		{"692417447591939", ref{ID: 692417447591939}},
		{"692417447591939/load", ref{ID: 692417447591939, Task: "load"}},
		{"2026", ref{Pipeline: "2026"}},
		{"nightly_etl#1841/load", ref{Pipeline: "nightly_etl", Run: "1841", Task: "load"}},
		{"nightly_etl#1841/load:3", ref{Pipeline: "nightly_etl", Run: "1841", Task: "load", Attempt: 3}},
		{"nightly_etl#1841/extract[3]", ref{Pipeline: "nightly_etl", Run: "1841", Task: "extract", Item: "3"}},
		{"nightly_etl#1841/extract[eu]:2", ref{Pipeline: "nightly_etl", Run: "1841", Task: "extract", Item: "eu", Attempt: 2}},
		{"nightly_etl#1841/extract[a:2]", ref{Pipeline: "nightly_etl", Run: "1841", Task: "extract", Item: "a:2"}},
		{"https://s.example.com/p/finance/nightly_etl", ref{Namespace: "finance", Pipeline: "nightly_etl"}},
		{"https://s.example.com/p/finance/nightly_etl/ticks", ref{Namespace: "finance", Pipeline: "nightly_etl"}},
		{"https://s.example.com/p/finance/nightly_etl/1841?task=load#L518", ref{Namespace: "finance", Pipeline: "nightly_etl", Run: "1841", Task: "load"}},
		{"https://s.example.com/p/finance/nightly_etl/1841/extract%5Beu%5D/2", ref{Namespace: "finance", Pipeline: "nightly_etl", Run: "1841", Task: "extract", Item: "eu", Attempt: 2}},
		{"https://s.example.com/synth/p/finance/nightly_etl/1841/", ref{Namespace: "finance", Pipeline: "nightly_etl", Run: "1841"}},
	}
	for _, test := range tests {
		got, err := parseRef(test.text)
		if err != nil {
			t.Errorf("parseRef(%q): %v", test.text, err)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("parseRef(%q) (-want +got):\n%s", test.text, diff)
		}
	}
	for _, text := range []string{
		"", "/", "#1", "a/", "a//b", "a/b/c", "Nightly", "a b", "a#", "a#0", "a#x", "a#-1", "a@", "a@first", "@", "@latest", "a#1/", "a#1/b:", "a#1/b:0", "a#1/b[",
		"a#1/b[]", "a#1/b]", "a#1/b[1", "a#1/../x", "a#9999999999999999999", "99999999999999999999", "0000000000", "0/a", "http://x", "https://x/p/", "https://x/p/a", "https://x/p/A/b",
		"https://x/p/a/b/1/c%5B%5D", "https://x/p/%zz/b", "a#1/b\x1b[31m",
	} {
		if r, err := parseRef(text); err == nil {
			t.Errorf("parseRef(%q) = %+v, want an error", text, r)
		} else if _, ok := errors.AsType[*usageError](err); !ok {
			t.Errorf("parseRef(%q): %T, want one about usage", text, err)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"a", "a/b#12/c[d]:3", "@last", "https://x/p/a/b/1/c%5Bd%5D/2", "12345678901"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRef(text)
		if err != nil {
			if clean(err.Error()) != err.Error() {
				t.Errorf("parseRef(%q): the error is not fit to print: %q", text, err)
			}
			return
		}
		if r.Pipeline == "" && r.ID == 0 && !r.Last {
			t.Errorf("parseRef(%q) names nothing: %+v", text, r)
		}
	})
}

func TestItemLabels(t *testing.T) {
	t.Parallel()
	for item, want := range map[string]string{
		`"eu"`: "eu", `3`: "3", `true`: "true", `null`: "null", `12345678901234567890`: "12345678901234567890",
		`{"region":"eu","size":2}`: "eu,2", `{"z":"1","a":"2"}`: "1,2", `[1,2]`: "[1,2]", ``: "", `{`: "",
	} {
		if got := itemLabel(json.RawMessage(item)); got != want {
			t.Errorf("itemLabel(%s) = %q, want %q", item, got, want)
		}
	}
	three := 3
	for item, want := range map[string]string{`"eu"`: "t[eu]", `"12"`: "t[3]", `"a b"`: "t[3]", `{"a":"x","b":"y"}`: "t[x,y]"} {
		if got := taskName("t", &three, json.RawMessage(item)); got != want {
			t.Errorf("taskName of item %s = %q, want %q", item, got, want)
		}
	}
}
