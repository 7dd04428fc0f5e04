package pipeline_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// now is the moment that warnings are judged at.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var namespaceLine = regexp.MustCompile(`(?m)^# -n (\S+)$`)

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func read(t *testing.T, path string) pipeline.File {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.File{Name: filepath.Base(path), Text: text}
}

func parse(t *testing.T, path string) (*pipeline.Source, pipeline.Problems, []pipeline.File) {
	t.Helper()
	f := read(t, path)
	o := pipeline.Options{Now: now}
	if m := namespaceLine.FindSubmatch(f.Text); m != nil {
		o.Namespace = string(m[1])
	}
	source, problems := pipeline.Parse([]pipeline.File{f}, o)
	return source, problems, []pipeline.File{f}
}

// TestRules holds the words and the place of every rule's message.
func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/rules/*.yaml")
	if err != nil || len(files) < 80 {
		t.Fatalf("found %d rules, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, problems, files := parse(t, path)
			golden(t, strings.TrimSuffix(path, ".yaml")+".golden", problems.Error()+"\n\n"+problems.Text(files, false))
			code, _, _ := strings.Cut(filepath.Base(path), "-")
			if strings.HasSuffix(path, "-silenced.yaml") {
				if len(problems.List) > 0 {
					t.Errorf("found %s, want nothing", problems.Error())
				}
				return
			}
			found := false
			for _, p := range problems.List {
				found = found || strings.HasPrefix(p.Code, "SYN"+code)
				checkWords(t, p)
			}
			if !found {
				t.Errorf("no problem of SYN%s in:\n%s", code, problems.Error())
			}
		})
	}
}

var forbidden = regexp.MustCompile(`(?i)\b(invalid|illegal|failed to|map\[|%!|0x[0-9a-f]{6,}|yaml: line|interface|\*pipeline)`)

// checkWords holds what is true of every message.
func checkWords(t *testing.T, p pipeline.Problem) {
	t.Helper()
	if m := forbidden.FindString(p.Message + " " + p.Hint); m != "" {
		t.Errorf("%s holds %q", p.Error(), m)
	}
	if p.Line < 1 || p.Col < 1 || !strings.HasPrefix(p.Code, "SYN") || len(p.Code) != 7 || p.Message == "" {
		t.Errorf("incomplete: %+v", p)
	}
	if n := len(p.Error()); n > 4<<10 {
		t.Errorf("a message of %d bytes: %.100s", n, p.Error())
	}
}

func TestValidFilesHaveNoProblems(t *testing.T) {
	files, _ := filepath.Glob("testdata/valid/*.yaml")
	for _, path := range files {
		source, problems, files := parse(t, path)
		for _, p := range problems.List {
			if p.Severity == pipeline.SeverityError || filepath.Base(path) != "everything.yaml" {
				t.Errorf("%s", problems.Text(files, false))
				break
			}
		}
		if len(source.Documents) == 0 {
			t.Errorf("%s: no documents", path)
		}
	}
}
