package hostile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/internal/cputime"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline/hostile"
)

// TestHostileInputsGetAClearAnswer: within a second of work, at the place, in few words.
func TestHostileInputsGetAClearAnswer(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range hostile.Cases() {
		if seen[c.ID()] {
			t.Fatalf("%s is twice", c.ID())
		}
		seen[c.ID()] = true
		t.Run(c.ID(), func(t *testing.T) {
			var source *pipeline.Source
			var problems pipeline.Problems
			took := cputime.Of(func() { source, problems = pipeline.Parse(c.Files, pipeline.Options{Now: time.Now()}) })
			if took > time.Second {
				t.Errorf("took %s", took)
			}
			check(t, c, problems)
			if c.OK == problems.HasErrors() {
				t.Errorf("errors = %v, want %v:\n%.2000s", problems.HasErrors(), !c.OK, problems.Error())
			}
			if c.OK && len(source.Documents) == 0 {
				t.Error("no documents")
			}
		})
	}
}

func check(t *testing.T, c hostile.Case, problems pipeline.Problems) {
	t.Helper()
	found := c.Code == "" && c.Line == 0 && c.Word == ""
	for _, p := range problems.List {
		if n := len(p.Error()); n > 4<<10 {
			t.Errorf("a message of %d bytes: %.200s", n, p.Error())
		}
		text := p.Message + " " + p.Hint
		found = found || (c.Code == "" || p.Code == c.Code) && (c.Line == 0 || p.Line == c.Line) &&
			(c.Col == 0 || p.Col == c.Col) && strings.Contains(text, c.Word)
	}
	if !found {
		t.Errorf("want %s at %d:%d with %q, found:\n%.2000s", c.Code, c.Line, c.Col, c.Word, problems.Error())
	}
	shown := problems.Error() + problems.Text(c.Files, false)
	if c.Not != "" && strings.Contains(shown, c.Not) {
		t.Errorf("%q is repeated:\n%s", c.Not, shown)
	}
	if n := len(shown); n > 300<<10 {
		t.Errorf("the answer has %d bytes", n)
	}
}
