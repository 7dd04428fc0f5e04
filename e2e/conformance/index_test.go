package conformance

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
)

const (
	indexBegins = "<!-- index -->\n"
	indexEnds   = "<!-- end of index -->\n"
)

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
	want := before + indexBegins + index(read(t, ".")) + indexEnds + after
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
			fmt.Fprintf(&b, "\n**%s**\n\n", strings.ReplaceAll(subject, "_", " "))
		}
		fmt.Fprintf(&b, "- [%s](%s)\n", c.Title, c.Path)
	}
	return b.String() + "\n"
}
