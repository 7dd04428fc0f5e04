// Package docs is the documentation, and a test that holds it to the code: examples are valid, links resolve, and nothing that can be set or measured is left out.
package docs_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

const top = ".."

// A page is one Markdown file.
type page struct {
	path string // from the top of the repository
	text string
}

// pages are all Markdown files of the repository.
func pages(t *testing.T) []page {
	t.Helper()
	var list []page
	walk(t, top, func(path string) {
		if filepath.Ext(path) == ".md" {
			list = append(list, page{path, read(t, path)})
		}
	})
	if len(list) < 10 {
		t.Fatalf("only %d pages found", len(list))
	}
	return list
}

// walk visits the files of the source tree below a folder; paths are from the
// top of the repository.
func walk(t *testing.T, below string, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(below, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := filepath.Base(name)
		if d.IsDir() {
			if name != below && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" || base == "results") {
				return fs.SkipDir
			}
			return nil
		}
		path, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		visit(path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A block is a fenced piece of a page.
type block struct {
	info string // what follows the fence
	line int    // of the fence
	text string
}

func blocks(text string) []block {
	var list []block
	var open *block
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open == nil:
			open = &block{info: info, line: n}
		case fence:
			list = append(list, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return list
}

func TestEveryPipelineInTheDocsIsValid(t *testing.T) {
	t.Parallel()
	found := 0
	for _, p := range pages(t) {
		for _, b := range blocks(p.text) {
			if b.info != "yaml" || !regexp.MustCompile(`(?m)^(name|kind):`).MatchString(b.text) {
				continue
			}
			found++
			name := fmt.Sprintf("%s:%d", p.path, b.line)
			file := pipeline.File{Name: name, Text: []byte(b.text)}
			if _, problems := pipeline.Parse([]pipeline.File{file}, pipeline.Options{}); len(problems.List) > 0 {
				t.Errorf("%s", problems.Text([]pipeline.File{file}, false))
			}
		}
	}
	if found < 6 {
		t.Errorf("only %d pipelines found", found)
	}
}

func TestEveryFieldOfTheFormatIsDescribed(t *testing.T) {
	t.Parallel()
	var schema any
	if err := json.Unmarshal(pipeline.JSONSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	fields := map[string]bool{}
	var collect func(any)
	collect = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				properties, ok := inner.(map[string]any)
				if key != "properties" || !ok {
					collect(inner)
					continue
				}
				for name, of := range properties {
					fields[name] = true
					collect(of)
				}
			}
		case []any:
			for _, inner := range v {
				collect(inner)
			}
		}
	}
	collect(schema)
	if len(fields) < 40 {
		t.Fatalf("only %d fields in the schema", len(fields))
	}
	text := read(t, "docs/pipeline-file.md")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !regexp.MustCompile("(?m)[`{ ]" + regexp.QuoteMeta(name) + "[`:,} ]").MatchString(text) {
			t.Errorf("docs/pipeline-file.md does not describe the field %s", name)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	noWord  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the fragments that a page can be linked to by.
func anchors(text string) []string {
	var list []string
	for _, b := range blocks(text) { // a comment of a shell is no heading
		text = strings.Replace(text, b.text, "", 1)
	}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		list = append(list, strings.ReplaceAll(noWord.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return list
}

// Added by hand, from a running installation.
var pictures = []string{"docs/img/run.png"}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		text := p.text
		for _, b := range blocks(text) {
			text = strings.Replace(text, b.text, "", 1)
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target, fragment, _ := strings.Cut(m[1], "#")
			path := p.path
			if target != "" {
				path = filepath.Join(filepath.Dir(p.path), target)
			}
			if _, err := os.Stat(filepath.Join(top, path)); err != nil {
				if !slices.Contains(pictures, path) {
					t.Errorf("%s: %s does not exist", p.path, m[1])
				}
				continue
			}
			if fragment != "" && !slices.Contains(anchors(read(t, path)), fragment) {
				t.Errorf("%s: %s has no heading for #%s", p.path, path, fragment)
			}
		}
	}
}

// inCode gives what a pattern finds in the Go files of some folders, tests and
// generated files left out, with the file it was found in.
func inCode(t *testing.T, pattern string, folders ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	re := regexp.MustCompile(pattern)
	for _, folder := range folders {
		walk(t, filepath.Join(top, folder), func(path string) {
			if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".gen.go") {
				return
			}
			for _, m := range re.FindAllStringSubmatch(read(t, path), -1) {
				found[m[len(m)-1]] = path
			}
		})
	}
	return found
}

// wantMentioned fails for names that a page does not hold as whole words.
func wantMentioned(t *testing.T, path string, names map[string]string, least int) {
	t.Helper()
	if len(names) < least {
		t.Fatalf("only %d found in the code", len(names))
	}
	text := read(t, path)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !regexp.MustCompile(`(^|[^\w-]|--)` + regexp.QuoteMeta(name) + `($|[^\w-])`).MatchString(text) {
			t.Errorf("%s does not mention %s (%s)", path, name, names[name])
		}
	}
}

func TestEverySettingOfTheServicesIsInOperations(t *testing.T) {
	t.Parallel()
	wantMentioned(t, "docs/operations.md", inCode(t, `"(SYN_[A-Z_]*[A-Z])"`, "services/api", "services/scheduler", "services/executor", "services/standalone", "services/internal"), 6)
	wantMentioned(t, "docs/operations.md", inCode(t, `cli\.\w+Flag\{Name: "([a-z-]+)"`, "services"), 4)
}

func TestEveryVariableOfTheComposeFileIsInOperations(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for _, m := range regexp.MustCompile(`\bSYN_[A-Z_]+`).FindAllString(read(t, "docker-compose.yml"), -1) {
		names[m] = "docker-compose.yml"
	}
	wantMentioned(t, "docs/operations.md", names, 5)
}

func TestEveryMetricIsInOperations(t *testing.T) {
	t.Parallel()
	wantMentioned(t, "docs/operations.md", inCode(t, `"(synthesizer_[a-z_]*[a-z])"`, "services"), 12)
	counters := map[string]string{}
	for name, path := range inCode(t, `counter\("([a-z_]+)"`, "services/executor") {
		counters["synthesizer_executor_"+name] = path
	}
	wantMentioned(t, "docs/operations.md", counters, 8)
}

func TestEveryVariableOfTheCommandIsInItsPage(t *testing.T) {
	t.Parallel()
	wantMentioned(t, "docs/cli.md", inCode(t, `"(SYNCTL_[A-Z_]+)"`, "cli/internal/command"), 3)
	wantMentioned(t, "docs/cli.md", inCode(t, `(?:cli\.\w+Flag\{Name: |flag[A-Z]\w* +=  ?)"([a-z-]+)"`, "cli/internal/command"), 10)
	wantMentioned(t, "docs/cli.md", inCode(t, `cli\.Command\{\s*Name:\s*"([a-z]+)"`, "cli/internal/command"), 1)
}

func TestEveryVariableOfATaskIsInItsContract(t *testing.T) {
	t.Parallel()
	wantMentioned(t, "docs/task-contract.md", inCode(t, `set\("([A-Z_]*[A-Z])"`, "cli/attempt"), 10)
}

var (
	update  = flag.Bool("update", false, "rewrite the rows of docs/errors.md")
	codeRow = regexp.MustCompile(`(?m)^\| (SYN1\d{3}) \|.*$`)
)

// An explanation is what `synctl help CODE` says of a code.
type explanation struct{ code, wrong, example, remedy string }

func explanations(t *testing.T) []explanation {
	t.Helper()
	var list []explanation
	for line := range strings.Lines(read(t, "cli/internal/command/codes.txt")) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			t.Fatalf("cli/internal/command/codes.txt: %d columns in %q, want 4", len(f), line)
		}
		list = append(list, explanation{f[0], f[1], f[2], f[3]})
	}
	return list
}

// cell writes text into a table; as code if it is quoted from somewhere.
func cell(text string, quoted bool) string {
	text = strings.ReplaceAll(text, "|", `\|`)
	switch {
	case quoted && strings.Contains(text, "`"):
		return "`` " + text + " ``"
	case quoted:
		return "`" + text + "`"
	}
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`").Replace(text)
}

func (e explanation) row() string {
	return fmt.Sprintf("| %s | %s | %s | %s |", e.code, cell(e.wrong, false), cell(e.example, true), cell(e.remedy, false))
}

// Every code that is told somewhere is explained, by the command and by its page
// in the same words, and the example is what a golden file of that code says.
func TestEveryErrorCodeIsExplained(t *testing.T) {
	t.Parallel()
	known := inCode(t, `"(SYN1\d{3})"`, "cli", "services")
	rows := map[string]string{}
	for _, e := range explanations(t) {
		rows[e.code] = e.row()
		if _, ok := known[e.code]; !ok {
			t.Errorf("codes.txt explains %s, which nothing tells", e.code)
		}
		goldens, err := filepath.Glob(filepath.Join(top, "cli/pipeline/testdata/rules", e.code[3:]+"-*.golden"))
		if err != nil {
			t.Fatal(err)
		}
		said := len(goldens) == 0 // by the server, which has no golden files
		for _, g := range goldens {
			golden, err := os.ReadFile(g)
			if err != nil {
				t.Fatal(err)
			}
			said = said || strings.Contains(string(golden), e.example)
		}
		if !said {
			t.Errorf("codes.txt: no golden file of %s says %s", e.code, e.example)
		}
	}
	text := read(t, "docs/errors.md")
	if *update {
		text = codeRow.ReplaceAllStringFunc(text, func(row string) string { return cmp.Or(rows[codeRow.FindStringSubmatch(row)[1]], row) })
		if err := os.WriteFile("errors.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	listed := map[string]string{}
	for _, m := range codeRow.FindAllStringSubmatch(text, -1) {
		listed[m[1]] = m[0]
	}
	for _, c := range slices.Sorted(maps.Keys(known)) {
		switch {
		case rows[c] == "":
			t.Errorf("codes.txt does not explain %s (%s)", c, known[c])
		case listed[c] == "":
			t.Errorf("docs/errors.md has no row for %s (%s)", c, known[c])
		case listed[c] != rows[c]:
			t.Errorf("docs/errors.md says of %s\n%s\nwant (go test ./docs -update)\n%s", c, listed[c], rows[c])
		}
	}
	for c := range listed {
		if _, ok := known[c]; !ok {
			t.Errorf("docs/errors.md explains %s, which nothing tells", c)
		}
	}
}

func TestEveryDecisionIsListed(t *testing.T) {
	t.Parallel()
	list := read(t, "docs/adr/README.md")
	walk(t, filepath.Join(top, "docs/adr"), func(path string) {
		base := filepath.Base(path)
		if base != "README.md" && !strings.Contains(list, "("+base+")") {
			t.Errorf("docs/adr/README.md does not list %s", base)
		}
	})
}
