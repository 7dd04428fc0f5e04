package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func TestReadsAreWhatIsSetOutside(t *testing.T) {
	t.Parallel()
	text := `name: a
env: {REGION: "${{ vars.REGION }}", SAME: "${{ vars.REGION }} ${{ vars[\"OTHER\"] }}"}
params:
  day: {type: string, default: "${{ vars.DAY }}"}
defaults: {working_dir: "/data/${{ vars.ROOT }}"}
concurrency: {group: "${{ vars[params.day] }}"}
tasks:
  load:
    if: vars.ON == "yes" && has_key(vars, "MAYBE")
    command: [x, "${{ vars.REGION }}"]
    secrets: {DSN: WAREHOUSE}
    env: {URL: "https://${{ secrets.USER }}:${{ secrets.PASSWORD }}@host", V: vars.NOT}
  next:
    run: echo vars.NOT secrets.NOT
    needs: load
    secrets: {DSN: WAREHOUSE}
`
	src, problems := pipeline.Parse([]pipeline.File{{Name: "a.yaml", Text: []byte("# before\n---\nname: zero\ntasks: {a: {run: x}}\n---\n" + text)}}, pipeline.Options{})
	if problems.HasErrors() {
		t.Fatal(problems.List)
	}
	want := []pipeline.Read{
		{Kind: "secret", Name: "PASSWORD", Task: "load", Line: 17, Col: 49},
		{Kind: "secret", Name: "USER", Task: "load", Line: 17, Col: 29},
		{Kind: "secret", Name: "WAREHOUSE", Task: "load", Line: 16, Col: 20},
		{Kind: "var", Name: "DAY", Line: 9, Col: 37},
		{Kind: "var", Name: "MAYBE", Maybe: true, Task: "load", Line: 14, Col: 29},
		{Kind: "var", Name: "ON", Task: "load", Line: 14, Col: 9},
		{Kind: "var", Name: "OTHER", Line: 7, Col: 44},
		{Kind: "var", Name: "REGION", Line: 7, Col: 20},
		{Kind: "var", Name: "ROOT", Task: "load", Line: 10, Col: 36},
	}
	if diff := cmp.Diff(want, src.Documents[1].Reads); diff != "" {
		t.Errorf("Reads (-want +got):\n%s", diff)
	}
	if got := src.Documents[0].Reads; len(got) != 0 {
		t.Errorf("a document that reads nothing reads %v", got)
	}
}

func TestLooksLikeCredential(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"DB_PASSWORD", "hunter2", true},
		{"REGION", "eu-west-1", false},
		{"TOKEN", "x", false},
		{"ANY", "-----BEGIN RSA PRIVATE KEY-----", true},
		{"ANY", "AKIAIOSFODNN7EXAMPLE", true},
	} {
		if got := pipeline.LooksLikeCredential(c.name, c.value); got != c.want {
			t.Errorf("LooksLikeCredential(%q, %q) = %v, want %v", c.name, c.value, got, c.want)
		}
	}
}
