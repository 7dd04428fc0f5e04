package expr

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/internal/cputime"
)

func TestTemplate(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text  string
		want  any
		alone bool
	}{
		{``, "", false},
		{`plain text, }} and { and $ and $${`, `plain text, }} and { and $ and $${`, false},
		{`{{ .Env.X }} {% import os %} $(date)`, `{{ .Env.X }} {% import os %} $(date)`, false},
		{`$${{ x }}`, `${{ x }}`, false},
		{`$$${{ x }}`, `$${{ x }}`, false},
		{`$${{${{ 1 }}$${{`, `${{1${{`, false},
		{`${{ 1 }}`, int64(1), true},
		{`${{params.x}}`, Number("1.50"), true},
		{`${{ [1, 2] }}`, []any{int64(1), int64(2)}, true},
		{`${{ null }}`, nil, true},
		{` ${{ 1 }}`, " 1", false},
		{"${{ 1 }}\n", "1\n", false},
		{`a ${{ params.day }} b`, `a 2026-11-22 b`, false},
		{`${{ 1 }}${{ 2.50 }}${{ true }}`, `12.50true`, false},
		{`x${{ 4 / 2 }} ${{ 0.1 + 0.2 }} ${{ d.big }}`, `x2 0.3 12345678901234567890`, false},
		{`at ${{ interval.start }}`, `at 2026-11-21T23:30:00Z`, false},
		{`for ${{ interval.end - interval.start }}`, `for 1d`, false},
		{`${{ "}}" }}`, `}}`, true},
		{`${{ "${{ 1 }}" }}!`, `${{ 1 }}!`, false}, // a value is data
		{`${{ {"a": {"b": 1}}}}`, map[string]any{"a": map[string]any{"b": int64(1)}}, true},
		{`${{ {"a": {"b": 1}}.a.b }}}}`, `1}}`, false},
		{`${{ {}}}`, map[string]any{}, true},
		{`[${{ to_json([1, {"a": null}]) }}]`, `[[1,{"a":null}]]`, false},
		{`ö${{ secrets.TOKEN }}`, `ös3cret-value`, false},
		{"${{\n  params.on\n    ? 'a'\n    : 'b'\n}}", `a`, true},
	}
	for _, c := range cases {
		tm, err := CompileTemplate(c.text, testScope())
		if err != nil {
			t.Errorf("CompileTemplate(%q): %v", c.text, err)
			continue
		}
		got, err := tm.Eval(testVars())
		if err != nil {
			t.Errorf("Eval(%q): %v", c.text, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("Eval(%q) (-want +got):\n%s", c.text, diff)
		}
		if tm.Alone() != c.alone {
			t.Errorf("Alone(%q) = %v, want %v", c.text, tm.Alone(), c.alone)
		}
		_, literal := tm.Literal()
		if Contains(c.text) == literal {
			t.Errorf("Contains(%q) = %v, Literal says %v", c.text, Contains(c.text), literal)
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text, code, want string
		offset           int
	}{
		{`ö ${{ 1`, CodeNotClosed, `${{ without }} → $${{ writes a literal ${{`, 2},
		{`${{ 1 }`, CodeSyntax, `expression: "}" closes nothing`, 6},
		{`${{`, CodeNotClosed, `${{ without }} → $${{ writes a literal ${{`, 0},
		{`${{ (1`, CodeSyntax, ``, -1},
		{`${{ }}`, CodeSyntax, `expression: there is nothing in it`, 3},
		{`${{ 1 + }}`, CodeSyntax, `expression: expected a value after "+"`, 8},
		{`${{ ${{ 1 }} }}`, CodeSyntax, `expression: ${{ inside an expression → one pair of braces holds the whole expression`, 4},
		{`ö${{ parms.day }}`, CodeUnknown, `unknown name "parms"; did you mean "params"?`, 5},
		{`a ${{ [1] }}`, CodeType, `a list inside text → to_json(…)`, 6},
		{`a ${{ {} }}`, CodeType, `a map inside text → to_json(…)`, 6},
		{`a ${{ null }}`, CodeType, `null inside text → "" for empty text`, 6},
		{`a ${{ 1 2 }} ${{ zz }}`, CodeSyntax, `expression: expected an operator before "2"`, 8},
		{`${{ ` + strings.Repeat("a", 4096) + ` }}`, CodeSize, `expression longer than 4 KiB`, 3},
		{`${{` + strings.Repeat(" ", 4096) + `}}`, CodeSyntax, `expression: there is nothing in it`, 3},
		{`${{` + strings.Repeat(" ", 4097) + `}}`, CodeSize, `expression longer than 4 KiB`, 3},
	}
	for _, c := range cases {
		_, err := CompileTemplate(c.text, testScope())
		list := Errors(err)
		if len(list) == 0 {
			t.Errorf("CompileTemplate(%.40q) error = %v, want %s", c.text, err, c.want)
			continue
		}
		e := list[0]
		if c.want == "" {
			continue
		}
		if e.Code != c.code || e.Error() != c.want || e.Offset != c.offset {
			t.Errorf("CompileTemplate(%.40q)\n got %s %d %s\nwant %s %d %s", c.text, e.Code, e.Offset, e, c.code, c.offset, c.want)
		}
	}
}

func TestTemplateTellsAllErrors(t *testing.T) {
	t.Parallel()
	_, err := CompileTemplate(`${{ zz }} ${{ 1 + }} ${{ [1] }} ${{ 1 }} ${{ "a" + 1 }} ${{ x`, testScope())
	var got []string
	for _, e := range Errors(err) {
		got = append(got, e.Code)
	}
	want := []string{CodeUnknown, CodeSyntax, CodeType, CodeType, CodeNotClosed}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	_, err = CompileTemplate(strings.Repeat(`${{a}}`, 10_000), testScope())
	if n := len(Errors(err)); n != maxErrors {
		t.Errorf("10 000 mistakes give %d errors, want %d", n, maxErrors)
	}
}

func TestTemplateWant(t *testing.T) {
	t.Parallel()
	s := testScope()
	s.Field, s.Want = "max_parallel", Of(KindInteger)
	for text, want := range map[string]string{
		`${{ 1 }}`:          ``,
		`${{ d.rows }}`:     ``,
		`${{ params.day }}`: `gives string, max_parallel wants an integer`,
		`1${{ 0 }}`:         `gives string, max_parallel wants an integer → the expression alone, without text around it`,
		`1`:                 ``, // how a literal is written is the caller's business
	} {
		_, err := CompileTemplate(text, s)
		if got := message(err); got != want {
			t.Errorf("CompileTemplate(%q) error = %q, want %q", text, got, want)
		}
	}

	s = testScope()
	s.AsText = true
	for text, want := range map[string]string{
		`${{ 1 }}`:         ``,
		`${{ d.rows }}`:    ``,
		`${{ [1] }}`:       `a list inside text → to_json(…)`,
		`${{ d.list }}`:    `a list inside text → to_json(…)`,
		`${{ d.nothing }}`: `null inside text → lookup(…) with a fallback, or to_json(…)`,
		`${{ d.missing }}`: `d.missing is absent → has_key(d, "missing")`,
	} {
		tm, err := CompileTemplate(text, s)
		if err == nil {
			var v any
			if v, err = tm.Eval(testVars()); err == nil {
				if _, ok := v.(string); !ok {
					t.Errorf("Eval(%q) = %T, want a string", text, v)
				}
			}
		}
		if got := message(err); got != want {
			t.Errorf("%q as text: %q, want %q", text, got, want)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSecretsAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`integer(secrets.TOKEN)`, `number(secrets.TOKEN)`, `boolean(secrets.TOKEN)`, `timestamp(secrets.TOKEN)`,
		`duration(secrets.TOKEN)`, `date(interval.start, secrets.TOKEN)`, `d[secrets.TOKEN]`, `from_json(secrets.TOKEN)`,
		`from_json("[" + secrets.TOKEN)`, `regex("a", "(" + secrets.TOKEN)`, `regex("a", "[z-a]" + secrets.TOKEN)`,
		`secrets.TOKEN == 1 || d.list[size(secrets.TOKEN)] == 1`, `[secrets.TOKEN][d.rows]`, `{"a": secrets.TOKEN}["b" + "c"]`,
		`sum([d.missing, secrets.TOKEN])`, `secrets.TOKEN + d.rows`, `d.list[integer("1" + secrets.TOKEN)]`,
	} {
		p, err := Compile(text, testScope())
		if err == nil {
			_, err = p.Eval(testVars())
		}
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error %v, want one without the secret", text, err)
		}
	}
}

func TestResultsAreBounded(t *testing.T) {
	t.Parallel()
	vars := testVars()
	big := strings.Repeat("a", 200<<10)
	long := make([]any, 100_000)
	for i := range long {
		long[i] = int64(i)
	}
	deep := any(int64(1))
	for range 1000 {
		deep = []any{deep}
	}
	vars.Names["d"] = map[string]any{
		"big": big, "long": long, "deep": deep, "commas": strings.Repeat(",", 1<<20), "nines": strings.Repeat("[", 1<<19),
		"holes": strings.Repeat("[],", 300_000),
	}
	cases := []struct{ text, want string }{
		{`d.big`, ``},
		{`d.big + d.big`, `the result is larger than 256 KiB → pass large data by address`},
		{`[d.big, d.big]`, `the result is larger than 256 KiB → pass large data by address`},
		{`{"a": d.big, "b": d.big}`, `the result is larger than 256 KiB → pass large data by address`},
		{`d.long`, `the result is larger than 256 KiB → pass large data by address`},
		{`sum(d.long)`, ``},
		{`size(split(d.commas, ","))`, `the expression needs more than 16 MiB of memory`},
		{`size(replace(d.big, "a", d.big))`, `the expression needs more than 16 MiB of memory`},
		{`size(join(d.long, d.big))`, `the expression needs more than 16 MiB of memory`},
		{`from_json("[" + d.holes + "1]") == 1`, `from_json: the text cannot be read: it needs more than 16 MiB of memory`},
		{`from_json(d.nines)`, `from_json: the text cannot be read: it is not JSON at byte 10001`},
		{`d.deep`, `the result is nested deeper than 200 levels`},
		{`d.deep == d.deep`, `the value is nested deeper than 200 levels`},
		{`to_json(d.deep)`, `the value is nested deeper than 200 levels`},
		{`regex(d.big, "(a|b|c|d|e|f|g|h)*x{200}$")`, `regex would take too long: the pattern is too large for a text of this length`},
		{`regex(d.big, "^a+$")`, ``},
	}
	for _, c := range cases {
		p, err := Compile(c.text, testScope())
		if err != nil {
			t.Errorf("Compile(%s): %v", c.text, err)
			continue
		}
		if _, err = p.Eval(vars); message(err) != c.want {
			t.Errorf("Eval(%s) error = %q, want %q", c.text, message(err), c.want)
		}
	}
	tm, err := CompileTemplate(`${{ d.big }}${{ d.big }}`, testScope())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tm.String(vars); message(err) != `the result is larger than 256 KiB → pass large data by address` {
		t.Errorf("String error = %v", err)
	}
}

func TestErrorUnwraps(t *testing.T) {
	t.Parallel()
	if got := Errors(nil); got != nil {
		t.Errorf("Errors(nil) = %v", got)
	}
	if got := Errors(errors.New("other")); got != nil {
		t.Errorf("Errors(other) = %v", got)
	}
}

// Every hostile text is answered with little work: register has a second for all
// of a file.
func TestHostileTextsTakeLittleWork(t *testing.T) {
	t.Parallel()
	texts := map[string]string{
		"10 000 expressions":    strings.Repeat(`${{ö}}`, 10_000)[:60<<10],
		"10 000 good ones":      strings.Repeat(`${{d}}é`, 64<<10/8),
		"unclosed":              strings.Repeat(`${{ `, 16<<10),
		"quotes":                strings.Repeat(`${{ "`, 12<<10),
		"100 KB":                `${{ ` + strings.Repeat(`d + `, 25_000) + `d }}`,
		"nested indexes":        `${{ ` + strings.Repeat("d[", 120) + "0" + strings.Repeat("].b-c", 120) + ` }}`,
		"nested functions":      `${{ ` + strings.Repeat("lookup(d,'a',", 120) + "0" + strings.Repeat(")", 120) + ` }}`,
		"nested choices":        `${{ ` + strings.Repeat("d?d:", 160) + `d }}`,
		"nested lists":          `${{ ` + strings.Repeat("[", 480) + strings.Repeat("]", 480) + ` }}`,
		"hyphens":               `${{ d.a` + strings.Repeat("-b", 240) + ` }}`,
		"guards":                `${{ ` + strings.Repeat("has_key(d,'a')&&", 120) + `d.a }}`,
		"escapes":               strings.Repeat(`$${{`, 16<<10),
		"a pattern of patterns": `${{ regex(d.id, "` + strings.Repeat("(x?){30}", 60) + `") }}`,
	}
	for name, text := range texts {
		var err error
		took := cputime.Of(func() {
			var tm *Template
			if tm, err = CompileTemplate(text, testScope()); err == nil {
				_, err = tm.Eval(testVars())
			}
		})
		if len(message(err)) > 64<<10 {
			t.Errorf("%s: %d bytes of messages", name, len(message(err)))
		}
		if took > time.Second {
			t.Errorf("%s took %v", name, took)
		}
		t.Logf("%s: %v: %.80s", name, took, message(err))
	}
}
