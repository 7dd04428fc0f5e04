package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
)

const (
	indexBegins = "<!-- index -->\n"
	indexEnds   = "<!-- end of index -->\n"
)

// subjects say what the folders are for.
var subjects = map[string]string{
	"approval":    "tasks that wait for a person's yes: answers, time-outs, who may",
	"backfill":    "runs for ticks of the past: which, in which order, beside what, and how they are steered",
	"cancel":      "runs that are stopped: with grace, while they wait, twice",
	"catchup":     "what becomes of ticks that nobody could decide in time",
	"children":    "tasks that run another pipeline: params, outputs, results, cancels, limits",
	"concurrency": "groups of runs that share: queue, skip, cancel_running, fail",
	"conditions":  "if, and the functions that ask how other tasks ended",
	"env":         "what a task is given: variables, directory, shell",
	"exit_codes":  "what a code or a signal means",
	"explain":     "why something does not run: each gate that can hold it back",
	"expressions": "the language inside ${{ }}, and its limits",
	"fanout":      "matrix and for_each: items, their results, lists of outputs",
	"finally":     "what runs when all else has ended",
	"labels":      "runs_on, and who takes which task first",
	"logs":        "what is kept of what tasks print",
	"lost":        "executors that die or leave under their tasks",
	"mark":        "how a task counts, said by hand",
	"needs":       "order, and what a failure stops",
	"outputs":     "values that tasks hand on: forms, types, limits",
	"params":      "values that runs are given",
	"pools":       "slots that tasks of many pipelines share",
	"processes":   "what a task's process may do, and leaves behind",
	"register":    "files on their way to the server: what is refused, warned of, kept",
	"requests":    "the API and synctl: roles, keys, exit statuses",
	"rerun":       "ended runs that run again, as a whole or in part",
	"retry":       "further attempts: how many, when, after what",
	"schedule":    "cron, intervals and instants; clock changes; pauses",
	"secrets":     "values that tasks get and nobody reads",
	"timeouts":    "of attempts, of waiting for a place, of runs",
	"triggers":    "runs that the end of another run starts",
	"vars":        "texts that all pipelines of a namespace read",
	"wait":        "tasks that wait for a time or for the answer of a service",
}

// The index in the README lists every case.
func TestIndex(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), indexBegins)
	_, after, ends := strings.Cut(rest, indexEnds)
	if !ok || !ends {
		t.Fatal("README.md has no place for the index")
	}
	cases := read(t, ".")
	for _, c := range cases {
		if subjects[c.Subject()] == "" {
			t.Errorf("nothing says what the folder %s is for", c.Subject())
		}
	}
	for subject := range subjects {
		if !slices.ContainsFunc(cases, func(c *casefile.Case) bool { return c.Subject() == subject }) {
			t.Errorf("there is no case in the folder %s", subject)
		}
	}
	want := before + indexBegins + index(cases) + indexEnds + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatal("the index in README.md is not what is there; go test ./e2e/conformance -run TestIndex -update")
	}
	if err := os.WriteFile("README.md", []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// index lists cases by subject.
func index(cases []*casefile.Case) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cases.\n", len(cases))
	subject := ""
	for _, c := range cases {
		if c.Subject() != subject {
			subject = c.Subject()
			fmt.Fprintf(&b, "\n**%s**: %s\n\n", strings.ReplaceAll(subject, "_", " "), subjects[subject])
		}
		fmt.Fprintf(&b, "- [%s](%s)\n", c.Title, c.Path)
	}
	return b.String() + "\n"
}
