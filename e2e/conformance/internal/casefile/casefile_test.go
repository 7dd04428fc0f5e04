package casefile

import (
	"slices"
	"strings"
	"testing"
)

const whole = "# A title\n\nA rule.\n\n```yaml a.yaml\nname: a\n```\n\n```steps\nrun a x=\"1 2\"\nends succeeded\n  a  succeeded\n$ synctl ls\n> a\n```\n"

func TestParse(t *testing.T) {
	t.Parallel()
	c, err := Parse("needs/some_case.md", whole)
	if err != nil {
		t.Fatal(err)
	}
	if c.Title != "A title" || c.Name() != "needs/some_case" || c.Subject() != "needs" || c.Namespace() != "needs-some-case" {
		t.Errorf("case = %q, %q, %q, %q", c.Title, c.Name(), c.Subject(), c.Namespace())
	}
	if len(c.Blocks) != 2 || c.Blocks[0].File != "a.yaml" || c.Blocks[0].Text != "name: a\n" {
		t.Fatalf("blocks = %+v", c.Blocks)
	}
	steps := c.Blocks[1].Steps
	if len(steps) != 3 || steps[0].Verb != "run" || steps[0].Line != 10 || len(steps[1].Below) != 1 || steps[2].Below[0].Text != "> a" {
		t.Errorf("steps = %+v", steps)
	}
}

// What is not known, or would be passed over, is an error with its line.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, old, new, want string }{
		{"no title", "# A title\n", "", ":1: a case begins with its title"},
		{"no prose", "A rule.\n", "", ":1: no word says which rule"},
		{"no steps", "```steps", "```text steps.txt", ":1: no steps"},
		{"a step that nobody knows", "ends succeeded", "finishes succeeded", `:11: no step is called "finishes"`},
		{"lines below a step that takes none", "ends succeeded", "runs a 1", ":12: nothing above takes lines"},
		{"a block that is nothing", "```yaml a.yaml", "```yaml", `:5: a block is steps, secrets, or a file`},
		{"a file in a folder", "a.yaml", "../a.yaml", ":5: a block is"},
		{"a block that is not closed", "> a\n```\n", "> a\n", ":9: the block is not closed"},
		{"a secret without a value", "```yaml a.yaml\nname: a", "```secrets\nNAME", ":6: a secret is NAME=VALUE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(whole, test.old, test.new, 1)
			if text == whole {
				t.Fatal("nothing is replaced")
			}
			if _, err := Parse("x/y.md", text); err == nil || !strings.Contains(err.Error(), "x/y.md"+test.want) {
				t.Errorf("Parse = %v, want %s", err, test.want)
			}
		})
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	got, err := Words(`a  b="two words" "\"q\"\n" c`)
	if want := []string{"a", "b=two words", "\"q\"\n", "c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Words = %q, %v, want %q", got, err, want)
	}
	if _, err := Words(`a "open`); err == nil {
		t.Error("a quote that is not closed is taken")
	}
}
