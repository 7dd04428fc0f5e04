package expr

import (
	"strings"
	"testing"
)

var hostile = []string{
	``, `1`, `params.day == "x" && needs.load.result != "failed"`, `${{ params.day }}`, `a ${{ 1 }} b ${{ "}}" }} $${{ x }}`,
	`${{ unknown.x }}`, `${{`, `${{ ${{ 1 }} }}`, strings.Repeat(`${{a}}`, 200), `{{ .Env.X }}`, `{% import os %}`, `$(rm -rf /)`,
	`${{ {"a": {"b": [1, {"c": "}}"}]}}}}`, `"\u0000\ud800"`, "\"\xff\"", `'` + strings.Repeat("a", 5000), strings.Repeat("(", 600), strings.Repeat("-", 600) + "1",
	strings.Repeat("1+", 300) + "1", `regex("aaaa", "(a*)*{1000}")`, `replace(d.id, "", d.id)`, `format_time(interval.start, "2006.000000000 MST")`,
	`has_key(needs.load.outputs, "rows") && needs.load.outputs.rows > 1`, `1 < 2 < 3`, `0x1f + 1_000`, `d[d[d[0]]]`, `needs.a-b-c.d`,
	`lookup(d, "x", null) ?? 1`, `9223372036854775807 * -1 - 2`, `-9223372036854775808 % -1`, `1e309`, `1.0 / 3`, `from_json("[1,[2,{\"a\":1e5}]]")`,
	`timestamp("2026-10-25T02:30") + duration("1w2d3h4m5s6ms")`, `$$${{`, `${{}}`, `${{ }`, `secrets.TOKEN + d`, `integer(secrets.TOKEN)`,
}

// FuzzTemplate: any text compiles or not, evaluates or not; every error has its
// place, and literal text stays what it is.
func FuzzTemplate(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
		f.Add("${{ " + s + " }}")
	}
	scope, vars := testScope(), testVars()
	f.Fuzz(func(t *testing.T, text string) {
		tm, err := CompileTemplate(text, scope)
		if err != nil {
			checkErrors(t, text, err)
			return
		}
		v, err := tm.Eval(vars)
		if err != nil {
			checkErrors(t, text, err)
		} else if !strings.Contains(text, "${{") && v != text {
			t.Errorf("Eval(%q) = %q", text, v)
		}
	})
}

// FuzzCompile: the same for a condition; what a program reads is in its text.
func FuzzCompile(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	scope, vars := testScope(), testVars()
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Compile(text, scope)
		if err != nil {
			checkErrors(t, text, err)
			return
		}
		for _, r := range p.Refs() {
			if _, ok := scope.Names[r.Path[0]]; !ok {
				t.Errorf("%q reads %v", text, r)
			}
		}
		if v, err := p.Eval(vars); err != nil {
			checkErrors(t, text, err)
		} else if !trueTo(p.Type(), v) {
			t.Errorf("%q is %v but gave %T %v", text, p.Type(), v, v)
		}
		// Braces around a condition change nothing.
		if !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "${{") && len(text) < maxText-10 {
			if _, err := Compile("${{ "+text+" }}", scope); err != nil {
				t.Errorf("%q compiles, in braces it does not: %v", text, err)
			}
		}
	})
}

// FuzzJSON: what is read is written again as the same value.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,1.10,1e3,-0.0,null,"\u00e9\ud83d\ude00"],"b":{}}`, `[[[[]]]]`, `1e999`, `"\ud800"`, `{"a":1,"a":1}`, ` 12 `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := FromJSON(data)
		if err != nil {
			return
		}
		out, err := ToJSON(v)
		if err != nil {
			t.Fatalf("ToJSON of %q: %v", data, err)
		}
		again, err := FromJSON(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", data, out, err)
		}
		if twice, _ := ToJSON(again); string(twice) != string(out) {
			t.Errorf("%q became %q and then %q", data, out, twice)
		}
	})
}

func TestProgramsAreShared(t *testing.T) {
	t.Parallel()
	p, err := Compile(`regex(params.day, "^2026-") && date(interval.start, "UTC") in split("2026-11-21,x", ",") && 0.1 + params.x > 1`, testScope())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range 8 {
		go func() {
			var failed error
			vars := testVars()
			for range 200 {
				if v, err := p.Eval(vars); err != nil || v != true {
					failed = err
				}
			}
			done <- failed
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkCondition(b *testing.B) {
	p, err := Compile(`needs.extract.result == "succeeded" && params.day != "" && params.n > 3`, testScope())
	if err != nil {
		b.Fatal(err)
	}
	vars := testVars()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Eval(vars); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	tm, err := CompileTemplate(`s3://${{ vars.BUCKET }}/${{ params.day }}/${{ params.n }}.csv`, testScope())
	if err != nil {
		b.Fatal(err)
	}
	vars := testVars()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tm.String(vars); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecimals(b *testing.B) {
	p, err := Compile(`params.x * 100 + 0.25 > 150 && params.x / 3 < 1`, testScope())
	if err != nil {
		b.Fatal(err)
	}
	vars := testVars()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Eval(vars); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	scope := testScope()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(`needs.extract.result == "succeeded" && params.day != "" && params.n > 3`, scope); err != nil {
			b.Fatal(err)
		}
	}
}
