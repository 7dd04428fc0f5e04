package expr

import (
	"errors"
	"strings"
	"testing"
)

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text, code, want string
		offset           int
	}{
		// Syntax.
		{``, CodeSyntax, `expression: there is nothing in it`, 0},
		{`  `, CodeSyntax, `expression: there is nothing in it`, 2},
		{`params.day ==`, CodeSyntax, `expression: expected a value after "=="`, 13},
		{`1 +`, CodeSyntax, `expression: expected a value after "+"`, 3},
		{`== 1`, CodeSyntax, `expression: expected a value`, 0},
		{`(1`, CodeSyntax, `expression: "(" without its ")"`, 0},
		{`1)`, CodeSyntax, `expression: ")" closes nothing`, 1},
		{`[1, 2`, CodeSyntax, `expression: "[" without its "]"`, 0},
		{`[1, ]`, CodeSyntax, `expression: expected a value after ","`, 4},
		{`[1 2]`, CodeSyntax, `expression: expected "," or "]" after "1"`, 3},
		{`{"a" 1}`, CodeSyntax, `expression: expected ":" after "a"`, 5},
		{`{a: 1}`, CodeSyntax, `expression: the key of a map is a quoted string → {"a": …}`, 1},
		{`{"a": 1, "a": 2}`, CodeSyntax, `expression: the key "a" comes twice`, 9},
		{`params.`, CodeSyntax, `expression: expected a name after "."`, 7},
		{`true ? 1`, CodeSyntax, `expression: expected ":" and the other value of "? :" after "1"`, 8},
		{`"abc`, CodeSyntax, `expression: a string without its closing "`, 0},
		{`"a\x"`, CodeSyntax, `expression: a backslash begins \\ \" \' \n \t \r or \uXXXX → \\ for a backslash itself`, 2},
		{`"\ud83d"`, CodeSyntax, `expression: a backslash begins \\ \" \' \n \t \r or \uXXXX → \\ for a backslash itself`, 1},
		{"\"a\nb\"", CodeSyntax, `expression: a control character in a string → \n, \t, \r or \uXXXX`, 2},
		{`params.day "x"`, CodeSyntax, `expression: expected an operator before "x"`, 11},
		{`prüfung`, CodeSyntax, `expression: unexpected character "ü" → names are of letters, digits and _; other keys stand as map["…"]`, 2},
		{`9223372036854775808`, CodeSyntax, `expression: 9223372036854775808 does not fit in 64 bits → number("…")`, 0},
		{`lower()`, CodeSyntax, `expression: lower is called as lower(text)`, 0},
		{`date(interval.start, "UTC", 1)`, CodeSyntax, `expression: date is called as date(t) or date(t, zone)`, 0},
		{`success(1)`, CodeSyntax, `expression: success is called as success()`, 0},
		{`${{ true }} && false`, CodeSyntax, `expression: there is more behind the }} → braces hold the whole condition, or leave them out`, 12},
		{`true && ${{ false }}`, CodeSyntax, `expression: ${{ inside an expression → one pair of braces holds the whole expression`, 8},
		{`${{ true`, CodeNotClosed, `${{ without }} → $${{ writes a literal ${{`, 0},

		// Unknown names.
		{`parms.day`, CodeUnknown, `unknown name "parms"; did you mean "params"?`, 0},
		{`1 + zzz`, CodeUnknown, `unknown name "zzz"`, 4},
		{`None == 1`, CodeUnknown, `unknown name "None" → null`, 0},
		{`success && true`, CodeUnknown, `unknown name "success" → success()`, 0},
		{`params.dya`, CodeUnknown, `no param "dya" in params; did you mean "day"?`, 7},
		{`params["dya"]`, CodeUnknown, `no param "dya" in params; did you mean "day"?`, 7},
		{`needs.extrct.result`, CodeUnknown, `no task "extrct" in needs; did you mean "extract"?`, 6},
		{`needs.report.result`, CodeUnknown, `read needs.report: add report to needs`, 6},
		{`needs.extract.outputs.rwos`, CodeUnknown, `no output "rwos" in needs.extract.outputs; did you mean "rows"?`, 22},
		{`needs.extract.state`, CodeUnknown, `no member "state" in needs.extract`, 14},
		{`has_key(params, "dya")`, CodeUnknown, `no param "dya" in params; did you mean "day"?`, 16},
		{`lookup(needs.extract.outputs, "rwos", 1)`, CodeUnknown, `no output "rwos" in needs.extract.outputs; did you mean "rows"?`, 30},

		// Contexts that cannot be read here.
		{`event.body`, CodeContext, `event can be read in triggers only → take it over as a param`, 0},
		{`tasks.a`, CodeContext, `tasks cannot be read here`, 0},

		// Types.
		{`"a" + 1`, CodeType, `"+" adds two numbers, two texts, or times, not string and integer → string(…), integer(…) or number(…)`, 0},
		{`"1" == 1`, CodeType, `string and integer are never equal → string(…), integer(…) or number(…)`, 0},
		{`params.day == interval.start`, CodeType, `string and instant are never equal → timestamp(…)`, 0},
		{`[1] == {"a": 1}`, CodeType, `list of integers and map are never equal`, 0},
		{`true < false`, CodeType, `"<" compares two numbers, texts, instants or durations, not boolean and boolean`, 0},
		{`null < 1`, CodeType, `"<" compares two numbers, texts, instants or durations, not null and integer`, 0},
		{`null + 1`, CodeType, `"+" adds two numbers, two texts, or times, not null and integer`, 0},
		{`1.5 % 2`, CodeType, `"%" takes two integers, not number and integer`, 0},
		{`"a" * 2`, CodeType, `"*" takes two numbers, not string and integer → string(…), integer(…) or number(…)`, 0},
		{`interval.start + interval.end`, CodeType, `"+" adds two numbers, two texts, or times, not instant and instant`, 0},
		{`duration("1h") * 2`, CodeType, `"*" takes two numbers, not duration and integer`, 0},
		{`-"a"`, CodeType, `"-" takes a number, not a string`, 0},
		{`!1`, CodeType, `"!" takes booleans, not an integer`, 1},
		{`params.day && true`, CodeType, `"&&" takes booleans, not a string`, 0},
		{`1 ? 2 : 3`, CodeType, `"?:" takes booleans, not an integer`, 0},
		{`"a" in "abc"`, CodeType, `"in" looks into a list, not into a string → includes(text, part)`, 0},
		{`"a" in params.free == true`, CodeNotLanguage, `comparisons do not chain → a < b && b < c, or parentheses`, 19},
		{`"a" in {"a": 1}`, CodeType, `"in" looks into a list, not into a map → has_key(map, key)`, 0},
		{`1 in params.regions`, CodeType, `integer is never in a list of strings → string(…), integer(…) or number(…)`, 0},
		{`params.day.x`, CodeType, `a string has no members`, 11},
		{`params.day[0]`, CodeType, `a string has no index`, 0},
		{`params.regions["a"]`, CodeType, `an index into a list is an integer`, 15},
		{`params.regions[1.5]`, CodeType, `an index into a list is an integer, not a number`, 15},
		{`params.regions[-1]`, CodeType, `an index counts from 0 → a[size(a) - 1] is the last one`, 15},
		{`params[params.day]`, CodeType, `an index into params must be a constant string`, 7},
		{`needs[params.day].result`, CodeType, `an index into needs must be a constant string`, 6},
		{`secrets[params.day]`, CodeType, `an index into secrets must be a constant string`, 8},
		{`has_key(secrets, params.day)`, CodeType, `a key of secrets must be a constant string`, 17},
		{`to_json(secrets)`, CodeType, `secrets is no value by itself → read a member of it`, 8},
		{`keys(needs)`, CodeType, `needs is no value by itself → read a member of it`, 5},
		{`needs`, CodeType, `needs is no value by itself → read a member of it`, 0},
		{`sum(params.regions)`, CodeType, `sum takes a list of integers or numbers, not a list of strings`, 4},
		{`lower(1)`, CodeType, `lower takes a string here, not an integer → string(…)`, 6},
		{`date(params.day)`, CodeType, `date takes an instant here, not a string → timestamp(…)`, 5},
		{`date(interval.start, "Mars/Base")`, CodeType, `the zone of date: it is not an IANA time zone like Europe/Berlin`, 21},
		{`date(interval.start, "Local")`, CodeType, `the zone of date: it is not an IANA time zone like Europe/Berlin`, 21},
		{`string([1])`, CodeType, `a list of integers cannot be made a string → to_json(…)`, 0},
		{`integer(true)`, CodeType, `a boolean cannot be made an integer`, 0},
		{`size(1)`, CodeType, `size takes a string, a list or a map, not an integer`, 5},
		{`join([[1]], ",")`, CodeType, `join writes no list of integers into text → to_json(…)`, 5},
		{`split("a", "")`, CodeType, `split wants a separator`, 11},
		{`regex("a", "(")`, CodeType, `the pattern of regex: missing closing ) → RE2 syntax; a backslash is written twice in a string`, 11},
		{`regex("a", "x{1000}x{1000}x{1000}x{1000}x{1000}x{1000}x{1000}x{1000}x{1000}x{1000}x{1000}")`, CodeType, `the pattern of regex: its repetitions are too many → RE2 syntax; a backslash is written twice in a string`, 11},

		// Not in the language.
		{`filter(params.regions, 1)`, CodeNotLanguage, `"filter" is not a function here`, 0},
		{`hass_key(params, "day")`, CodeNotLanguage, `"hass_key" is not a function here; did you mean "has_key"?`, 0},
		{`len("a")`, CodeNotLanguage, `"len" is not a function here → size(x)`, 0},
		{`now()`, CodeNotLanguage, `"now" is not a function here → run.created_at, or interval`, 0},
		{`needs.build-image.outputs.tag`, CodeNotLanguage, `needs.build-image reads as a minus → needs["build-image"]`, 0},
		{`d.job-run-id`, CodeNotLanguage, `d.job-run-id reads as a minus → d["job-run-id"]`, 0},
		{`1 < 2 < 3`, CodeNotLanguage, `comparisons do not chain → a < b && b < c, or parentheses`, 6},
		{`1 == 2 == true`, CodeNotLanguage, `comparisons do not chain → a < b && b < c, or parentheses`, 7},
		{`1_000`, CodeNotLanguage, `1_000 is not a number here → digits with an optional fraction: 12, 0.5`, 0},
		{`0x1f`, CodeNotLanguage, `0x1f is not a number here → digits with an optional fraction: 12, 0.5`, 0},
		{`1e3`, CodeNotLanguage, `1e3 is not a number here → digits with an optional fraction: 12, 0.5`, 0},
		{`012`, CodeNotLanguage, `012 is not a number here → digits with an optional fraction: 12, 0.5`, 0},
		{`1.`, CodeNotLanguage, `1. is not a number here → digits with an optional fraction: 12, 0.5`, 0},
		{`1..3`, CodeNotLanguage, `1..3 is not a number here → digits with an optional fraction: 12, 0.5`, 0},
		{`.5`, CodeSyntax, `expression: expected a value`, 0},
		{`d?.id`, CodeNotLanguage, `"?." is not in the language → has_key(…) or lookup(…)`, 1},
		{`d.id ?? "x"`, CodeNotLanguage, `"??" is not in the language → lookup(map, key, fallback)`, 5},
		{`2 ** 3`, CodeNotLanguage, `"**" is not in the language`, 2},
		{`1 // comment`, CodeNotLanguage, `"//" is not in the language`, 2},
		{`1 /* c */ + 1`, CodeNotLanguage, `"/*" is not in the language`, 2},
		{`1 # c`, CodeNotLanguage, `"#" is not in the language`, 2},
		{"`x`", CodeNotLanguage, "\"`\" is not in the language → quotes: \"…\" or '…'", 0},
		{`d.id = "x"`, CodeNotLanguage, `"=" is not in the language → "=="`, 5},
		{`d.id === "x"`, CodeNotLanguage, `"===" is not in the language → "=="`, 5},
		{`d.list | size`, CodeNotLanguage, `"|" is not in the language → "||"`, 7},
		{`true & false`, CodeNotLanguage, `"&" is not in the language → "&&"`, 5},
		{`true and false`, CodeNotLanguage, `"and" is not an operator here → &&`, 5},
		{`not true`, CodeNotLanguage, `"not" is not an operator here → !`, 0},
		{`not d.on`, CodeNotLanguage, `"not" is not an operator here → !`, 0},
		{`d.id contains "x"`, CodeNotLanguage, `"contains" is not an operator here → includes(text, part)`, 5},
		{`let x = 1; x`, CodeSyntax, `expression: expected an operator before "x"`, 4},
		{`d.id.lower()`, CodeNotLanguage, `calls on values are not in the language → lower(d.id)`, 0},
		{`(1)(2)`, CodeNotLanguage, `calls on values are not in the language`, 1},
		{`d.list[0:1]`, CodeNotLanguage, `slices are not in the language`, 8},
		{`d.list[:1]`, CodeNotLanguage, `slices are not in the language`, 7},
		{`$params`, CodeNotLanguage, `"$" is not in the language → names stand without $`, 0},
		{`map(d, {# + 1})`, CodeNotLanguage, `"map" is not a function here; did you mean "max"?`, 0},

		// Size.
		{`"` + strings.Repeat("a", 5000) + `"`, CodeSize, `expression longer than 4 KiB`, 0},
		{strings.Repeat("1+", 600) + "1", CodeSize, `expression of more than 500 parts`, 0},
		{strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000), CodeSize, `expression nested deeper than 500 levels`, 500},
		{strings.Repeat("!", 4000) + "true", CodeSize, `expression nested deeper than 500 levels`, -1},
		{strings.Repeat("[", 4000), CodeSize, `expression nested deeper than 500 levels`, -1},
		{strings.Repeat("d[", 400) + "0" + strings.Repeat("].b-c", 400), CodeSize, ``, -1},
	}
	for _, c := range cases {
		_, err := Compile(c.text, testScope())
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("Compile(%s) error = %v, want %s %s", c.text, err, c.code, c.want)
			continue
		}
		if c.want != "" && e.Error() != c.want || e.Code != c.code {
			t.Errorf("Compile(%s)\n got %s %s\nwant %s %s", c.text, e.Code, e, c.code, c.want)
		}
		if c.offset >= 0 && e.Offset != c.offset {
			t.Errorf("Compile(%s) error at %d, want %d (%s)", c.text, e.Offset, c.offset, e)
		}
	}
}

func TestStatusOnlyInConditions(t *testing.T) {
	t.Parallel()
	s := testScope()
	s.Status = false
	_, err := Compile(`params.on || failure()`, s)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != CodeContext || e.Message != "failure() can be used in task conditions only" || e.Offset != 13 {
		t.Errorf("Compile error = %#v", err)
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	cases := []struct{ text, want string }{
		{`1`, "an integer"},
		{`1 + 1.0`, "a number"},
		{`1 / 1`, "a number"},
		{`d.x`, "a dynamic value"},
		{`d.x + 1`, "a dynamic value"},
		{`d.x + "a"`, "a string"},
		{`d.x == 1`, "a boolean"},
		{`true ? 1 : 2.5`, "a number"},
		{`true ? null : "x"`, "a dynamic value"},
		{`[1, 2.5]`, "a list of numbers"},
		{`[1, "a"]`, "a list"},
		{`["a"]`, "a list of strings"},
		{`{"a": 1}.a`, "an integer"},
		{`params.regions[0]`, "a string"},
		{`sum(needs.extract.outputs.counts)`, "an integer"},
		{`lookup(needs.extract.outputs, "rows", 0)`, "an integer"},
		{`lookup(needs.extract.outputs, "rows", null)`, "a dynamic value"},
		{`interval.end - interval.start`, "a duration"},
		{`interval.end - duration("1h")`, "an instant"},
		{`from_json("1")`, "a dynamic value"},
		{`split("a", ",")`, "a list of strings"},
	}
	for _, c := range cases {
		p, err := Compile(c.text, testScope())
		if err != nil {
			t.Errorf("Compile(%s): %v", c.text, err)
			continue
		}
		if got := p.Type().String(); got != c.want {
			t.Errorf("Compile(%s).Type() = %s, want %s", c.text, got, c.want)
		}
	}
}

func TestRefs(t *testing.T) {
	t.Parallel()
	guards := []string{"", "?result", "?key"}
	cases := []struct {
		text, want      string
		status, outcome bool
	}{
		{`params.day == vars["A"]`, "params.day@0 vars.A@14", false, false},
		{`needs.extract.outputs.rows > 1`, "needs.extract.outputs.rows@0", false, false},
		{`needs.load.result == "succeeded" && needs.load.outputs.rows > 1`, "needs.load.result@0 needs.load.outputs.rows@36?result", false, true},
		{`needs.load.result != "succeeded" || needs.load.outputs.rows > 1`, "needs.load.result@0 needs.load.outputs.rows@36?result", false, true},
		{`needs.load.result == "failed" && needs.load.outputs.rows > 1`, "needs.load.result@0 needs.load.outputs.rows@33", false, true},
		{`has_key(needs.extract.outputs, "uri") ? needs.extract.outputs.uri : "-"`, "needs.extract.outputs.uri@0?key needs.extract.outputs.uri@40?key", false, false},
		{`!has_key(needs.extract.outputs, "uri") ? "-" : needs.extract.outputs.uri`, "needs.extract.outputs.uri@1?key needs.extract.outputs.uri@47?key", false, false},
		{`lookup(needs.load.outputs, "rows", 0) > 1`, "needs.load.outputs.rows@0?key", false, false},
		{`success() && needs.load.outputs.rows > 1`, "needs.load.outputs.rows@13?result", true, false},
		{`failure()`, "", true, false},
		{`params.regions[params.n]`, "params.n@15 params.regions@0", false, false},
		{`d.deep[vars.X].c`, "vars.X@7 d.deep@0", false, false},
		{`["ö", secrets.TOKEN]`, "secrets.TOKEN@6", false, false},
	}
	for _, c := range cases {
		p, err := Compile(c.text, testScope())
		if err != nil {
			t.Errorf("Compile(%s): %v", c.text, err)
			continue
		}
		var got []string
		for _, r := range p.Refs() {
			got = append(got, r.String()+"@"+itoa(r.Offset)+guards[r.Guard])
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("Refs(%s)\n got %s\nwant %s", c.text, s, c.want)
		}
		if p.UsesStatus() != c.status || p.ReadsOutcome() != c.outcome {
			t.Errorf("%s: UsesStatus %v, ReadsOutcome %v", c.text, p.UsesStatus(), p.ReadsOutcome())
		}
	}
}
