package pipeline_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/internal/cputime"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline/hostile"
)

// FuzzParse: whatever the text, Parse does not panic, every problem is whole
// and stands in the file, and what it accepts survives its own JSON.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"valid", "rules"} {
		files, _ := filepath.Glob("testdata/" + dir + "/*.yaml")
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	for _, c := range hostile.Cases() {
		if len(c.Files) == 1 && len(c.Files[0].Text) < 8<<10 {
			f.Add(c.Files[0].Text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		files := []pipeline.File{{Name: "a.yaml", Text: text}}
		var source *pipeline.Source
		var problems pipeline.Problems
		took := cputime.Of(func() { source, problems = pipeline.Parse(files, pipeline.Options{Now: now}) })
		if took > 2*time.Second {
			t.Errorf("%d bytes took %s", len(text), took)
		}
		lines := strings.Count(strings.ReplaceAll(string(text), "\r", "\n"), "\n") + 1
		for _, p := range problems.List {
			checkWords(t, p)
			if p.Line > lines {
				t.Errorf("line %d of %d: %s", p.Line, lines, p.Error())
			}
		}
		problems.Text(files, true)
		if problems.Err() == nil && len(source.Documents) == 0 {
			t.Error("neither documents nor errors")
		}
		for _, doc := range source.Documents {
			if doc.Pipeline != nil {
				roundTrip(t, doc.Pipeline)
			}
		}
	})
}

// roundTrip holds that a definition and its JSON say the same.
func roundTrip(t *testing.T, p *pipeline.Pipeline) {
	t.Helper()
	first, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back pipeline.Pipeline
	if err := json.Unmarshal(first, &back); err != nil {
		t.Fatalf("%v in %s", err, first)
	}
	second, err := json.Marshal(&back)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(second)); diff != "" {
		t.Errorf("JSON changed on its way (-first +second):\n%s", diff)
	}
}

func TestDefinitionsSurviveTheirJSON(t *testing.T) {
	files, _ := filepath.Glob("testdata/valid/*.yaml")
	for _, path := range files {
		source, _, _ := parse(t, path)
		for _, p := range source.Pipelines() {
			roundTrip(t, p)
			// A database may give keys back in another order.
			data, _ := json.Marshal(p)
			var loose any
			if err := json.Unmarshal(data, &loose); err != nil {
				t.Fatal(err)
			}
			data, _ = json.Marshal(loose)
			var back pipeline.Pipeline
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
			for i, task := range back.Tasks {
				if task.Name != p.Tasks[i].Name || task.Ordinal != i {
					t.Errorf("task %d is %s with ordinal %d, want %s", i, task.Name, task.Ordinal, p.Tasks[i].Name)
				}
			}
		}
	}
}

// TestDefinitionJSON holds what a revision stores.
func TestDefinitionJSON(t *testing.T) {
	source, _, _ := parse(t, "testdata/valid/everything.yaml")
	data, err := json.MarshalIndent(source.Pipelines()[0], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/valid/everything.json", string(data)+"\n")
}

func TestAwaitingDefinitionJSON(t *testing.T) {
	source, _, _ := parse(t, "testdata/valid/await.yaml")
	data, err := json.MarshalIndent(source.Pipelines()[0], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/valid/await.json", string(data)+"\n")
}

func TestMinimalFileHasTheDefaults(t *testing.T) {
	source, _, _ := parse(t, "testdata/valid/hello.yaml")
	data, err := json.MarshalIndent(source.Pipelines()[0], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/valid/hello.json", string(data)+"\n")
}
