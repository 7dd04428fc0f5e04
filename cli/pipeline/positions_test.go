package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// TestPlaceOfExpressions: the line and column of a mistake inside a text,
// however YAML writes the text.
func TestPlaceOfExpressions(t *testing.T) {
	const head = "name: a\ntasks:\n  t:\n    run: x\n    env:\n"
	for name, c := range map[string]struct {
		env       string
		line, col int
	}{
		"plain":            {"      A: x ${{ foo }}\n", 6, 16},
		"single quotes":    {"      A: 'x ${{ foo }}'\n", 6, 17},
		"double quotes":    {"      A: \"x ${{ foo }}\"\n", 6, 17},
		"not ASCII before": {"      A: 'é€😀 ${{ foo }}'\n", 6, 19},
		"block":            {"      A: |\n        one\n\n          two ${{ foo }}\n", 9, 19},
		"block, folded":    {"      A: >-\n        one\n        two ${{ foo }}\n", 8, 17},
		"escapes before":   {"      A: \"\\u00e9\\n ${{ foo }}\"\n", 6, 24},
		"over two lines":   {"      A: 'one\n        two ${{ foo }}'\n", 7, 17},
		"plain, two lines": {"      A: one\n        two ${{ foo }}\n", 7, 17},
		"indent given":     {"      A: |2\n         x ${{ foo }}\n", 7, 16},
		"quoted key":       {"      \"A\" : ${{ foo }}\n", 6, 17},
	} {
		t.Run(name, func(t *testing.T) {
			files := []pipeline.File{{Name: "a.yaml", Text: []byte(head + c.env)}}
			_, problems := pipeline.Parse(files, pipeline.Options{})
			if len(problems.List) != 1 || problems.List[0].Line != c.line || problems.List[0].Col != c.col || problems.List[0].Len != 3 {
				t.Errorf("want %d:%d, found:\n%s", c.line, c.col, problems.Text(files, false))
			}
		})
	}
}

// TestPlacesCountTheFileNotTheDocument, with every way to end a line.
func TestPlacesCountTheFileNotTheDocument(t *testing.T) {
	const text = "\ufeff# first\n---\nname: a\ntasks: {t: {run: x}}\n...\n\n---\nname: b\ntasks: {t: {run: x}}\nowner: ~\n"
	for _, end := range []string{"\n", "\r\n", "\r"} {
		files := []pipeline.File{{Name: "a.yaml", Text: []byte(strings.ReplaceAll(text, "\n", end))}}
		source, problems := pipeline.Parse(files, pipeline.Options{})
		if len(problems.List) != 1 || problems.List[0].Line != 10 || problems.List[0].Col != 8 {
			t.Errorf("%q: want 10:8, found %s", end, problems.Error())
		}
		if len(source.Documents) != 1 {
			t.Fatalf("%q: %d documents, want the first alone", end, len(source.Documents))
		}
		doc := source.Documents[0]
		if doc.Line != 3 || string(doc.Text) != "name: a\ntasks: {t: {run: x}}\n" || doc.Name != "a" {
			t.Errorf("%q: document at line %d: %q", end, doc.Line, doc.Text)
		}
	}
}

func TestContentHashIsOfTheTextAlone(t *testing.T) {
	hash := func(text, file string) [32]byte {
		source, problems := pipeline.Parse([]pipeline.File{{Name: file, Text: []byte(text)}}, pipeline.Options{})
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		return source.Documents[len(source.Documents)-1].ContentHash
	}
	const text = "name: a\ntasks: {t: {run: x}}\n"
	first := hash(text, "a.yaml")
	for name, same := range map[string]string{"CRLF": strings.ReplaceAll(text, "\n", "\r\n"), "blank lines": "\n\n" + text + "\n\n", "second document": "name: z\ntasks: {t: {run: x}}\n---\n" + text} {
		if hash(same, "b.yaml") != first {
			t.Errorf("%s: another hash", name)
		}
	}
	if hash("# now with a comment\n"+text, "a.yaml") == first {
		t.Error("the source text changed and its hash did not")
	}
}

func TestFiftyProblemsAreToldAndTheRestCounted(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: a\nenv: {API_TOKEN: hunter22}\ntasks:\n")
	for i := range 80 {
		fmt.Fprintf(&b, "  t%d: {run: x, timeout: 5}\n", i)
	}
	files := []pipeline.File{{Name: "a.yaml", Text: []byte(b.String())}}
	_, problems := pipeline.Parse(files, pipeline.Options{})
	if len(problems.List) != pipeline.MaxProblems || problems.More != 31 || problems.Errors() != 80 {
		t.Errorf("told %d, more %d, errors %d", len(problems.List), problems.More, problems.Errors())
	}
	for _, p := range problems.List {
		if p.Severity == pipeline.SeverityWarning {
			t.Error("a warning takes the place of an error")
		}
	}
	text := problems.Text(files, false)
	if !strings.HasSuffix(text, "and 31 more\n✕ 80 errors in 1 of 1 file, 1 warning\n") {
		t.Errorf("ends with %q", text[len(text)-100:])
	}
}

func TestNamespaceOfTheCall(t *testing.T) {
	parse := func(text, namespace string) (*pipeline.Source, pipeline.Problems) {
		return pipeline.Parse([]pipeline.File{{Name: "a.yaml", Text: []byte(text)}}, pipeline.Options{Namespace: namespace})
	}
	const text = "name: a\ntasks: {t: {run: x, pool: w}, u: {run: x, pool: other/w}}\n"
	for _, c := range []struct{ text, namespace, want string }{
		{text, "", "default"},
		{text, "sales", "sales"},
		{"namespace: sales\n" + text, "", "sales"},
		{"namespace: sales\n" + text, "sales", "sales"},
	} {
		source, problems := parse(c.text, c.namespace)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		p := source.Pipelines()[0]
		if p.Namespace != c.want || p.Tasks[0].Pool.Namespace != c.want || p.Tasks[1].Pool.Namespace != "other" {
			t.Errorf("-n %q: %s, pools %+v %+v", c.namespace, p.Namespace, p.Tasks[0].Pool, p.Tasks[1].Pool)
		}
	}
	if _, problems := parse(text, "../x"); !problems.HasErrors() {
		t.Error("a namespace that is no name is taken")
	}
}

func TestTheSameFileCountsOnce(t *testing.T) {
	file := pipeline.File{Name: "./a.yaml", Text: []byte("name: a\ntasks: {t: {run: x}}\n")}
	again := pipeline.File{Name: "b/../a.yaml", Text: file.Text}
	if source, problems := pipeline.Parse([]pipeline.File{file, again}, pipeline.Options{}); problems.HasErrors() || len(source.Documents) != 1 {
		t.Error(problems)
	}
	again.Text = []byte("name: b\ntasks: {t: {run: x}}\n")
	if _, problems := pipeline.Parse([]pipeline.File{file, again}, pipeline.Options{}); !problems.HasErrors() {
		t.Error("one of two texts was taken in silence")
	}
}

func TestLimitsCanBeLowered(t *testing.T) {
	text := []byte("name: a\ntasks: {t: {run: x}, u: {run: y}}\n")
	for name, limits := range map[string]pipeline.Limits{
		"bytes": {FileBytes: 20}, "nodes": {Nodes: 5}, "depth": {Depth: 2}, "tasks": {Tasks: 1}, "total": {TotalBytes: 10}, "scalar": {Scalar: 4},
	} {
		_, problems := pipeline.Parse([]pipeline.File{{Name: "a.yaml", Text: text}}, pipeline.Options{Limits: limits})
		if len(problems.List) == 0 || problems.List[0].Code != "SYN1003" {
			t.Errorf("%s: %s", name, problems.Error())
		}
	}
	if _, problems := pipeline.Parse([]pipeline.File{{Name: "a.yaml", Text: text}}, pipeline.Options{Limits: pipeline.Limits{FileBytes: 1 << 30}}); problems.HasErrors() {
		t.Error(problems)
	}
}

// TestCredentialsAreNotRepeated, not by the warning and not by the lines shown
// for other problems.
func TestCredentialsAreNotRepeated(t *testing.T) {
	files := []pipeline.File{{Name: "a.yaml", Text: []byte("name: a\ntasks: {t: {run: x, timeout: 5, env: {PASSWORD: hunter2, B: \"${{ x }}\"}, secrets: {A: hunter-3}}}\n")}}
	_, problems := pipeline.Parse(files, pipeline.Options{})
	all := problems.Error() + problems.Text(files, false)
	if strings.Contains(all, "hunter2") || strings.Contains(problems.Error(), "hunter-3") || !strings.Contains(all, "PASSWORD: •••••••") {
		t.Error(all)
	}
}

// TestDefaultsMergeKeyByKey: the task's own value wins, maps merge, lists and
// scalars replace.
func TestDefaultsMergeKeyByKey(t *testing.T) {
	p := one(t, `name: a
defaults:
  timeout: 30m
  retry: {limit: 2, delay: 30s, when: [oom]}
  exit_codes: {skip: [1], fatal: [2]}
  pool: {name: w, slots: 3}
  runs_on: [b, a, b]
  shell: bash
  lost: 0
  working_dir: "/srv/${{ task.name }}"
tasks:
  plain: {run: x}
  own: {run: x, timeout: 1h, retry: {limit: 5}, exit_codes: {retry: [1]}, pool: other, runs_on: c, shell: sh, lost: {limit: 4}, working_dir: /tmp}
  short: {command: [x], retry: 1}
finally:
  undo: {run: x}
`)
	plain, own, short, undo := p.Tasks[0], p.Tasks[1], p.Tasks[2], p.Finally[0]
	for _, c := range []struct{ name, got, want string }{
		{"timeout", fmt.Sprint(plain.Timeout, own.Timeout, undo.Timeout), "30m 1h 30m"},
		{"retry", fmt.Sprint(plain.Retry.Limit, plain.Retry.Delay, plain.Retry.When, own.Retry.Limit, own.Retry.Delay, short.Retry.Limit, short.Retry.When), "2 30s [oom] 5 30s 1 [oom]"},
		{"exit codes", fmt.Sprint(plain.ExitCodes, own.ExitCodes), "{[1] [75] [2]} {[] [1] [2]}"},
		{"pool", fmt.Sprint(*plain.Pool, *own.Pool), "{default w 3} {default other 3}"},
		{"runs_on", fmt.Sprint(plain.RunsOn, own.RunsOn), "[a b] [c]"},
		{"shell", fmt.Sprint(plain.Shell, own.Shell, short.Shell), "[bash -eo pipefail -c] [sh -e -c] []"},
		{"lost", fmt.Sprint(plain.Lost, own.Lost), "0 4"},
		{"working_dir", fmt.Sprint(plain.WorkingDir, own.WorkingDir), "/srv/${{ task.name }}/tmp"},
		{"ordinals", fmt.Sprint(plain.Ordinal, own.Ordinal, short.Ordinal, undo.Ordinal), "0 1 2 3"},
	} {
		if c.got != c.want {
			t.Errorf("%s = %s, want %s", c.name, c.got, c.want)
		}
	}
}

// TestScalarsKeepTheirText: nothing is a number, a boolean or a time unless a
// field says so.
func TestScalarsKeepTheirText(t *testing.T) {
	p := one(t, "name: no\nowner: 0123\nlabels: {a: 1.10, b: yes}\nenv: {A: 1.10, B: 0123, C: 12e03, D: no, E: 2026-11-22, F: 0x1f, G: true, H: '3'}\n"+
		"tasks: {t: {command: [echo, 1.10, no, 1_000], matrix: {v: [1.9, 1.10, true, {a: 2}]}}}\n")
	var env []string
	for _, v := range p.Env {
		env = append(env, string(v.Value))
	}
	got := fmt.Sprintf("%v %v %v %v %v %v %v", p.Name, p.Owner, p.Labels["a"], p.Labels["b"], env, p.Tasks[0].Command, p.Tasks[0].Matrix[0].List)
	const want = "no 0123 1.10 yes [1.10 0123 12e03 no 2026-11-22 0x1f true 3] [echo 1.10 no 1_000] [1.9 1.10 true map[a:2]]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestGraphsAreJudgedRightly compares cycles with another way to find them.
func TestGraphsAreJudgedRightly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "tasks")
		needs := make([][]int, n)
		var b strings.Builder
		b.WriteString("name: a\ntasks:\n")
		for i := range n {
			needs[i] = rapid.SliceOfNDistinct(rapid.IntRange(0, n-1).Filter(func(k int) bool { return k != i || n == 1 }), 0, min(3, n-1), rapid.ID).Draw(t, "needs")
			var names []string
			for _, k := range needs[i] {
				names = append(names, fmt.Sprintf("t%d", k))
			}
			fmt.Fprintf(&b, "  t%d: {run: x, needs: [%s]}\n", i, strings.Join(names, ", "))
		}
		_, problems := pipeline.Parse([]pipeline.File{{Name: "a.yaml", Text: []byte(b.String())}}, pipeline.Options{})
		// Take away what needs nothing until nothing can be taken away.
		left := n
		gone := make([]bool, n)
		for again := true; again; {
			again = false
			for i := range n {
				free := !gone[i]
				for _, k := range needs[i] {
					free = free && gone[k]
				}
				if free {
					gone[i], again = true, true
					left--
				}
			}
		}
		if problems.HasErrors() != (left > 0) {
			t.Fatalf("%d tasks in cycles, found:\n%s\nin\n%s", left, problems.Error(), b.String())
		}
		for _, p := range problems.List {
			if p.Code != "SYN1405" {
				t.Fatalf("unexpected: %s", p.Error())
			}
		}
	})
}

// TestSchedulesWorkAfterTheirJSON: what is stored makes the same ticks.
func TestSchedulesWorkAfterTheirJSON(t *testing.T) {
	source, _, _ := parse(t, "testdata/valid/everything.yaml")
	for _, s := range source.Pipelines()[0].Schedules {
		if _, err := schedule.New(s.Spec()); err != nil {
			t.Errorf("%s: %v", s.ID, err)
		}
	}
}
