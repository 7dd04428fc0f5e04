package expr

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEval(t *testing.T) {
	t.Parallel()
	instant := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	cases := []struct {
		text string
		want any
	}{
		// Literals.
		{`"x"`, "x"},
		{`'it is "so"'`, `it is "so"`},
		{`"\\ \" \' \n \t \r \u00e9"`, "\\ \" ' \n \t \r é"},
		{`1`, int64(1)},
		{`-9223372036854775808`, int64(-9223372036854775808)},
		{`9223372036854775807`, int64(9223372036854775807)},
		{`1.50`, Number("1.50")},
		{`-1.50`, Number("-1.50")},
		{`- -1.50`, Number("1.50")},
		{`true`, true},
		{`null`, nil},
		{`[1, 2]`, []any{int64(1), int64(2)}},
		{`[]`, []any{}},
		{`{}`, map[string]any{}},
		{`{"k": [null]}`, map[string]any{"k": []any{nil}}},
		{" \t\n1\r\n", int64(1)},

		// Members and indexes.
		{`params.day`, "2026-11-22"},
		{`params["day"]`, "2026-11-22"},
		{`needs["build-image"].outputs.tag`, "v1"},
		{`d.deep["a-b"].c[0].x`, int64(7)},
		{`d.list[1]`, Number("2.5")},
		{`params.regions[params.n - 6]`, "us"},
		{`d[vars.BUCKET == "b1" ? "id" : "no"]`, "j-1"},
		{`vars["BUCKET"]`, "b1"},
		{`(d).id`, "j-1"},
		{`d.nothing`, nil},

		// Numbers: integers stay integers, digits stay digits.
		{`1 + 2 * 3`, int64(7)},
		{`(1 + 2) * 3`, int64(9)},
		{`10 - 2 - 3`, int64(5)},
		{`7 % 3`, int64(1)},
		{`-7 % 3`, int64(-1)},
		{`7 / 2`, Number("3.5")},
		{`4 / 2`, Number("2")},
		{`1 / 3`, Number("0.3333333333333333")},
		{`0.1 + 0.2`, Number("0.3")},
		{`1.10 * 1`, Number("1.1")},
		{`1.5 - 1.5`, Number("0")},
		{`d.big`, Number("12345678901234567890")},
		{`d.price`, Number("1.10")},
		{`-d.price`, Number("-1.10")},
		{`params.x`, Number("1.50")},
		{`1 + 1.0`, Number("2")},
		{`2 - -3`, int64(5)},
		{`1.0 * 100000000000000000000.0`, Number("100000000000000000000")},

		// Comparison.
		{`1 == 1.0`, true},
		{`1 != 1.0`, false},
		{`params.x == 1.5`, true},
		{`9007199254740993 == 9007199254740992.0`, false},
		{`d.big > 9223372036854775807`, true},
		{`"a" < "b"`, true},
		{`params.day >= "2026-11-01"`, true},
		{`null == null`, true},
		{`d.nothing == null`, true},
		{`params.day == null`, false},
		{`null != 1`, true},
		{`d.nothing == "x"`, false},
		{`[1, 2.0] == [1.0, 2]`, true},
		{`{"a": 1} == {"a": 1.0}`, true},
		{`{"a": 1} == {"b": 1}`, false},
		{`d.list == [1, 2.5, 3]`, true},
		{`"eu" in params.regions`, true},
		{`4 in d.list`, false},
		{`2.50 in d.list`, true},
		{`"OK" in d.mixed`, true},
		{`null in d.mixed`, true},
		{`1 in []`, false},
		{`true == !false`, true},
		{`interval.end > interval.start`, true},

		// Booleans, from the left, only what is needed.
		{`true || d.missing`, true},
		{`false && d.missing`, false},
		{`params.on ? 1 : d.missing`, int64(1)},
		{`!params.on ? d.missing : 2`, int64(2)},
		{`false ? 1 : true ? 2 : 3`, int64(2)},
		{`d.on && !false || d.missing`, true},
		{`1 < 2 && 2 < 3`, true},
		{`!(1 == 2)`, true},

		// Text and times.
		{`"a" + 'b' + string(1)`, "ab1"},
		{`interval.end - interval.start`, 24 * time.Hour},
		{`interval.start + duration("1h30m")`, instant("2026-11-22T01:00:00Z")},
		{`duration("1h") + interval.start`, instant("2026-11-22T00:30:00Z")},
		{`interval.start - duration("2d") < interval.start`, true},
		{`duration("90s") == duration("1m30s")`, true},
		{`duration("1h") - duration("2h")`, -time.Hour},

		// Functions.
		{`string(1.10)`, "1.10"},
		{`string(true)`, "true"},
		{`string(interval.start)`, "2026-11-21T23:30:00Z"},
		{`string(duration("26h"))`, "1d2h"},
		{`integer("12")`, int64(12)},
		{`integer(vars.LIMIT) + 1`, int64(13)},
		{`integer(4 / 2)`, int64(2)},
		{`integer(3.0)`, int64(3)},
		{`number("1.10")`, Number("1.10")},
		{`number(3)`, Number("3")},
		{`boolean("true")`, true},
		{`boolean(false)`, false},
		{`timestamp("2026-11-22T05:30:00+02:00")`, instant("2026-11-22T05:30:00+02:00")},
		{`timestamp("2026-11-22") == timestamp("2026-11-21T23:00:00Z")`, true}, // in Berlin
		{`timestamp("2026-11-22 05:30") == timestamp("2026-11-22T04:30:00Z")`, true},
		{`timestamp("2026-10-25T02:30") == timestamp("2026-10-25T00:30:00Z")`, true}, // the first of two
		{`size("wörld")`, int64(5)},
		{`size([1, 2])`, int64(2)},
		{`size(d.deep)`, int64(1)},
		{`size(needs.extract.outputs)`, int64(3)}, // uri was not written
		{`lower("ÀB") + upper("c") + trim("  d ")`, "àbCd"},
		{`replace("a-b-c", "-", "+")`, "a+b+c"},
		{`split("a,b,", ",")`, []any{"a", "b", ""}},
		{`join(["a", "b"], "-")`, "a-b"},
		{`join([1, 2.50], ",")`, "1,2.50"},
		{`join([], ",")`, ""},
		{`starts_with("abc", "ab") && ends_with("abc", "bc") && includes("abc", "b")`, true},
		{`regex("sales_2026", "^[a-z]+_[0-9]{4}$")`, true},
		{`regex("x", d.id)`, false},
		{`sum([1, 2, 3])`, int64(6)},
		{`sum([])`, int64(0)},
		{`sum([0.1, 0.2, 1])`, Number("1.3")},
		{`sum(d.list)`, Number("6.5")},
		{`min([3, 1.50, 2])`, Number("1.50")},
		{`max([3, 1.5, 3.0])`, int64(3)},
		{`keys({"b": 1, "a": 2})`, []any{"a", "b"}},
		{`keys(needs.extract.outputs)`, []any{"counts", "files", "rows"}},
		{`has_key(params, "maybe")`, false},
		{`has_key(params, "day")`, true},
		{`has_key(d, "nothing")`, true},
		{`has_key(needs.extract.outputs, "uri")`, false},
		{`has_key(needs.load.outputs, "rows")`, false},
		{`has_key(needs.load.outputs, "rows") && needs.load.outputs.rows > 1`, false},
		{`needs.load.result == "succeeded" && needs.load.outputs.rows > 1`, false},
		{`has_key(secrets, "TOKEN")`, true},
		{`lookup(needs.load.outputs, "rows", 5)`, int64(5)},
		{`lookup(d, "nothing", "x")`, "x"},
		{`lookup(d, "rows", 1)`, int64(42)},
		{`lookup(vars, "NONE", "n")`, "n"},
		{`lookup(params.free, params.day, 0)`, int64(0)},
		{`date(interval.start)`, "2026-11-22"},
		{`date(interval.start, "UTC")`, "2026-11-21"},
		{`date(interval.start, d.id == "j-1" ? "Asia/Tokyo" : "UTC")`, "2026-11-22"},
		{`format_time(interval.start, "02.01.2006 15:04")`, "22.11.2026 00:30"},
		{`format_time(interval.start, "15:04", "UTC")`, "23:30"},
		{`from_json("{\"a\": [1.10, 1e3]}").a`, []any{Number("1.10"), int64(1000)}},
		{`to_json({"b": [1.10, null], "a": "<é\n>", "t": interval.start})`, `{"a":"<é\n>","b":[1.10,null],"t":"2026-11-21T23:30:00Z"}`},
		{`to_json(null)`, "null"},

		// Status.
		{`success() && any_success() && none_failed() && always()`, true},
		{`failure() || canceled()`, false},

		// Braces around the whole change nothing.
		{` ${{ params.day == "}}" }} `, false},
		{`${{ {"a": {"b": 1}} }}`, map[string]any{"a": map[string]any{"b": int64(1)}}},
	}
	for _, c := range cases {
		p, err := Compile(c.text, testScope())
		if err != nil {
			t.Errorf("Compile(%s): %v", c.text, err)
			continue
		}
		got, err := p.Eval(testVars())
		if err != nil {
			t.Errorf("Eval(%s): %v", c.text, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("Eval(%s) (-want +got):\n%s", c.text, diff)
		}
	}
}

func TestEvalErrors(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text, want string
		offset     int
	}{
		{`params.maybe`, `params.maybe is absent → has_key(params, "maybe")`, 0},
		{`1 + d.missing`, `d.missing is absent → has_key(d, "missing")`, 4},
		{`needs.load.outputs.rows + 1`, `needs.load.outputs.rows cannot be read: load was skipped`, 0},
		{`needs.extract.outputs.uri`, `needs.extract.outputs.uri cannot be read: extract did not write it`, 0},
		{`[needs.load.outputs]`, `needs.load.outputs cannot be read: load was skipped`, 1},
		{`to_json(needs.extract.outputs)`, `the value cannot be read: extract did not write it`, 0},
		{`vars.NONE`, `vars.NONE is absent → has_key(vars, "NONE")`, 0},
		{`d.list[3]`, `index 3 is outside of d.list, a list of 3`, 7},
		{`d.list[0 - 1]`, `index -1 is outside of d.list, a list of 3`, 7},
		{`d.list[d.price]`, `an index into a list is an integer, not a number`, 7},
		{`d["k" + "x"]`, `d does not have the key "kx" → has_key(map, key) or lookup(map, key, fallback)`, 0},
		{`d.id.x`, `d.id is a string and has no key "x"`, 0},
		{`d.nothing.x`, `d.nothing is null and has no key "x"`, 0},
		{`9223372036854775807 + 1`, `the result does not fit in 64 bits → number(…) for a number of any size`, 0},
		{`-9223372036854775808 - 1`, `the result does not fit in 64 bits → number(…) for a number of any size`, 0},
		{`4611686018427387904 * 2`, `the result does not fit in 64 bits → number(…) for a number of any size`, 0},
		{`-(-9223372036854775808)`, `the result does not fit in 64 bits`, 0},
		{`1 / 0`, `division by zero`, 0},
		{`1.5 / 0.0`, `division by zero`, 0},
		{`1 % 0`, `division by zero`, 0},
		{`d.price % 2`, `"%" does not go with number and integer`, 0},
		{`d.id == 1`, `"==" does not go with string and integer → string(…), integer(…) or number(…)`, 0},
		{`d.id + 1`, `"+" does not go with string and integer → string(…), integer(…) or number(…)`, 0},
		{`d.nothing + 1`, `d.nothing is null, which "+" does not take → compare it with null, or lookup(…) with a fallback`, 0},
		{`d.nothing < 1`, `d.nothing is null, which "<" does not take → compare it with null, or lookup(…) with a fallback`, 0},
		{`d.id in [1, 2]`, `string is never in a list of integers → string(…), integer(…) or number(…)`, 0},
		{`1 in d.texts`, `integer is never in a list of strings → string(…), integer(…) or number(…)`, 0},
		{`d.id && true`, `"&&" takes booleans, not a string`, 0},
		{`d.nothing || true`, `"||" takes booleans, not null`, 0},
		{`!d.rows`, `"!" takes booleans, not an integer`, 1},
		{`d.rows ? 1 : 2`, `"?:" takes booleans, not an integer`, 0},
		{`sum(needs.extract.outputs.counts)`, `sum takes numbers, and item 1 is null`, 4},
		{`sum([9223372036854775807, 1])`, `the result does not fit in 64 bits`, 0},
		{`min([])`, `min of an empty list → size(list) > 0 ? … : …`, 0},
		{`integer("x1")`, `integer: "x1" is not an integer`, 0},
		{`integer("012")`, `integer: "012" is not an integer`, 0},
		{`integer(1.5)`, `integer: the number is not whole, or not within 64 bits`, 0},
		{`integer(d.big)`, `integer: the number is not whole, or not within 64 bits`, 0},
		{`number("1e3")`, `number: "1e3" is not a number`, 0},
		{`boolean("yes")`, `boolean: "yes" is neither true nor false`, 0},
		{`string(d.nothing)`, `null cannot be made a string → lookup(…) with a fallback`, 0},
		{`string(d.list)`, `a list cannot be made a string`, 0},
		{`timestamp("soon")`, `timestamp("soon"): it is not an instant like 2026-11-22T05:30:00Z, nor a local time or date`, 0},
		{`timestamp("2026-03-29T02:30")`, `timestamp("2026-03-29T02:30"): that local time does not exist in its zone: the clocks went forward over it`, 0},
		{`duration("1m1h")`, `duration("1m1h"): it is not a duration like 90s, 1h30m or 2d`, 0},
		{`date(d.id)`, `date takes an instant here, not a string → timestamp(…)`, 5},
		{`lower(d.rows)`, `lower takes a string here, not an integer → string(…)`, 6},
		{`date(interval.start, d.id)`, `the zone of date: "j-1" is not an IANA time zone like Europe/Berlin`, 21},
		{`from_json("{\"a\":1,\"a\":2}")`, `from_json: the text cannot be read: a key comes twice in one object`, 0},
		{`from_json("{")`, `from_json: the text cannot be read: it is not JSON at byte 1`, 0},
		{`regex("x", d.id + "(")`, `the pattern of regex: missing closing )`, 11},
		{`integer(secrets.TOKEN)`, `integer: the text is not an integer`, 0},
		{`secrets.NONE`, `secrets.NONE is absent → has_key(secrets, "NONE")`, 0},
		{`interval.end + duration("106000d")`, ``, 0},
	}
	for _, c := range cases {
		p, err := Compile(c.text, testScope())
		if err != nil {
			t.Errorf("Compile(%s): %v", c.text, err)
			continue
		}
		got, err := p.Eval(testVars())
		if c.want == "" {
			if err != nil {
				t.Errorf("Eval(%s): %v", c.text, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("Eval(%s) = %v, want error %q", c.text, got, c.want)
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || err.Error() != c.want {
			t.Errorf("Eval(%s) error\n got %s\nwant %s", c.text, err, c.want)
			continue
		}
		if e.Offset != c.offset || e.Len < 1 || e.Code != "" {
			t.Errorf("Eval(%s) error at %d+%d code %q, want at %d without a code", c.text, e.Offset, e.Len, e.Code, c.offset)
		}
	}
}

func TestLazyErrorsAreNotForgiven(t *testing.T) {
	t.Parallel()
	down := errors.New("the secret store does not answer")
	vars := testVars()
	vars.Names["secrets"] = map[string]any{"TOKEN": Lazy(func() (any, error) { return nil, down })}
	for _, text := range []string{`secrets.TOKEN`, `has_key(secrets, "TOKEN")`, `lookup(secrets, "TOKEN", "")`} {
		p, err := Compile(text, testScope())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Eval(vars); !errors.Is(err, down) {
			t.Errorf("Eval(%s) error = %v, want one that unwraps to the store's", text, err)
		}
	}
}

func TestWant(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text string
		want Type
		got  any
		err  string
	}{
		{`d.on`, Of(KindBoolean), true, ""},
		{`d.id`, Of(KindBoolean), nil, "gives string, if wants a boolean"},
		{`d.nothing`, Of(KindBoolean), nil, "gives null, if wants a boolean"},
		{`d.rows`, Of(KindNumber), int64(42), ""},
		{`d.price`, Of(KindInteger), nil, "the value is not a whole number within 64 bits"},
		{`from_json("3.0")`, Of(KindInteger), int64(3), ""},
		{`d.texts`, ListOf(Of(KindString)), []any{"a", "b"}, ""},
		{`d.mixed`, ListOf(Of(KindString)), nil, "the value[0] is an integer, not a string"},
		{`needs.extract.outputs.counts`, ListOf(Of(KindInteger)), nil, "the value[1] is null, not an integer"},
		{`d.deep`, DictOf(Type{}), map[string]any{"a-b": map[string]any{"c": []any{map[string]any{"x": int64(7)}}}}, ""},
		{`1`, Of(KindBoolean), nil, "gives integer, if wants a boolean"},
		{`1.5`, Of(KindInteger), nil, "gives number, if wants an integer"},
		{`[1]`, ListOf(Of(KindString)), nil, "gives list of integers, if wants a list of strings"},
	}
	for _, c := range cases {
		s := testScope()
		s.Field, s.Want = "if", c.want
		p, err := Compile(c.text, s)
		var got any
		if err == nil {
			got, err = p.Eval(testVars())
		}
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s as %v: error %v, want %q", c.text, c.want, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s as %v: %v", c.text, c.want, err)
		} else if diff := cmp.Diff(c.got, got); diff != "" {
			t.Errorf("%s as %v (-want +got):\n%s", c.text, c.want, diff)
		}
	}
}

func TestZeroHasNoSign(t *testing.T) {
	t.Parallel()
	p, err := Compile(`string(-(1 / 2 - 0.5)) + string(-0)`, Scope{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Eval(Vars{}); got != "00" || err != nil {
		t.Errorf("Eval = %v, %v", got, err)
	}
}
