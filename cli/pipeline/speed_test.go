package pipeline_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/internal/cputime"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func fleet(b testing.TB, like string, n int) []pipeline.File {
	b.Helper()
	text, err := os.ReadFile("testdata/valid/" + like + ".yaml")
	if err != nil {
		b.Fatal(err)
	}
	files := make([]pipeline.File, n)
	for i := range files {
		name := fmt.Sprintf("p%03d", i)
		files[i] = pipeline.File{Name: name + ".yaml", Text: []byte(strings.Replace(string(text), "name: "+like, "name: "+name, 1))}
	}
	return files
}

func BenchmarkParse200Files(b *testing.B) {
	for _, like := range []string{"hello", "nightly", "everything"} {
		b.Run(like, func(b *testing.B) {
			files := fleet(b, like, 200)
			for b.Loop() {
				if source, problems := pipeline.Parse(files, pipeline.Options{Now: now}); problems.HasErrors() || len(source.Documents) != 200 {
					b.Fatal(problems.Error())
				}
			}
		})
	}
}

// TestLargeTextsAreReadInLinearTime: each text is as large as a file may be
// and made to be slow.
func TestLargeTextsAreReadInLinearTime(t *testing.T) {
	const size = 256 << 10
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	numbered := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < size-32; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	head := "name: a\ntasks: {t: {run: x}}\n"
	texts := map[string]string{
		"one line of keys":     "{" + numbered("k%d: 1, ") + "}",
		"one line, not ASCII":  "{" + numbered("é%d: 1, ") + "}",
		"19000 nodes in a row": head + "labels: {" + strings.Repeat("é: é, ", 9_000) + "}",
		"comments":             head + fill("# x\n"),
		"blanks":               head + fill("\n"),
		"comments in lists":    head + "env:\n" + fill("# x\n - 1\n"),
		"env":                  head + "env: {" + numbered("A%d: x, ") + "}",
		"tasks":                "name: a\ntasks:\n" + numbered("  t%d: {run: x}\n"),
		"needs":                "name: a\ntasks:\n" + numbered("  t%d: {run: x, needs: [t1, t2, t3]}\n"),
		"expressions":          "name: a\ntasks: {t: {run: x, env: {A: \"" + strings.Repeat("${{ run.id }}", 2_500) + "\"}}}",
		"many expressions":     "name: a\ntasks:\n" + strings.ReplaceAll(numbered("  t%d: {command: ['${{ run.id }}', '${{ params.x }}']}\n")[:30_000], "t500", "u500"),
		"block":                "name: a\ntasks: {t: {run: x}}\ndescription: |\n" + fill("  é ${{ x }}\n"),
		"run with braces":      "name: a\ntasks:\n  t:\n    run: |\n" + strings.Repeat("      é ${ {{ \n", 4_000) + "      ${{ x }}\n",
		"escapes":              head + "owner: \"" + fill(`\u00e9`) + "\"",
		"quotes that are open": head + "owner: '" + fill("'' "),
		"open brackets":        head + "owner: " + strings.Repeat("[", 31) + fill("a, "),
		"dashes":               fill("- "),
		"question marks":       fill("? "),
		"tags":                 fill("!a "),
		"anchors":              fill("- &a x\n"),
		"documents":            fill("---\n"),
		"small documents":      fill("--- x\n"),
		"carriage returns":     fill("a\r"),
		"colons":               "a: " + fill(": "),
		"dedents":              numbered("a%d:\n  b:\n c: 1\n"),
		"cron":                 head + "schedule: '" + strings.Repeat("1,", 30_000) + " * * * *'",
		"schedules":            head + "schedule:\n" + strings.Repeat("  - {id: a, cron: '0 0 29 2 MON#5', timezone: Europe/Berlin}\n", 50),
		"matrix":               head + strings.Replace("X", "X", "finally: {u: {run: x, matrix: {a: ["+strings.Repeat("é, ", 9_000)+"]}}}", 1),
		"nested free values":   head + "params: {p: {type: object, default: {a: [" + strings.Repeat("{a: 1}, ", 4_000) + "]}}}",
		"unknown keys":         head + numbered("kez%d: 1\n")[:100_000],
	}
	for name, text := range texts {
		if len(text) > size {
			text = text[:size]
		}
		files := []pipeline.File{{Name: "a.yaml", Text: []byte(text)}}
		took := cputime.Of(func() {
			_, problems := pipeline.Parse(files, pipeline.Options{Now: now})
			_ = problems.Text(files, true)
		})
		t.Logf("%-22s %7d bytes  %s", name, len(text), took.Round(time.Millisecond))
		// Each takes less than 100 ms; what is not linear takes many seconds.
		if took > 2*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}
