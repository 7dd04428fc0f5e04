package expr

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// plain draws the text of a number, short or long, as people and programs write
// them.
func plain() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.Map(rapid.Int64(), func(i int64) string { return strconv.FormatInt(i, 10) }),
		rapid.Map(rapid.Int64Range(-200, 200), func(i int64) string { return strconv.FormatInt(i, 10) }),
		rapid.Map(rapid.Float64(), func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,4})?`),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?`),
	)
}

func ratOf(t rapid.TB, v any) *big.Rat {
	r, ok := new(big.Rat).SetString(decimalText(v))
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	return r
}

// literalOf writes a value so that it parses as one operand.
func literalOf(v any) string { return "(" + decimalText(v) + ")" }

// operand reads a drawn number as the language would: an integer within 64 bits,
// or a number, given as data because literals of integers stop there.
func operand(t rapid.TB, s string) any {
	v, err := numberValue(s)
	if err != nil {
		t.Fatalf("numberValue(%s): %v", s, err)
	}
	return v
}

func dynamicScope() Scope { return Scope{Names: map[string]Type{"a": {}, "b": {}}} }

func compute(text string, a, b any) (any, error) {
	p, err := Compile(text, dynamicScope())
	if err != nil {
		return nil, err
	}
	return p.Eval(Vars{Names: map[string]any{"a": a, "b": b}})
}

// The oracle: integers as big.Int, everything else as big.Rat rounded once.
func TestArithmeticAgreesWithBig(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := operand(t, plain().Draw(t, "a")), operand(t, plain().Draw(t, "b"))
		x, y := ratOf(t, a), ratOf(t, b)
		_, wholeA := a.(int64)
		_, wholeB := b.(int64)
		for _, op := range []string{"+", "-", "*", "/", "%"} {
			got, err := compute("a "+op+" b", a, b)
			want, fails := oracle(op, x, y, wholeA && wholeB)
			if fails != (err != nil) {
				t.Fatalf("%v %s %v = %v, %v; want %v, error %v", a, op, b, got, err, want, fails)
			}
			if err == nil && fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", want, want) {
				t.Fatalf("%v %s %v = %T %v, want %T %v", a, op, b, got, got, want, want)
			}
		}
	})
}

func oracle(op string, x, y *big.Rat, integers bool) (want any, fails bool) {
	z := new(big.Rat)
	switch op {
	case "+":
		z.Add(x, y)
	case "-":
		z.Sub(x, y)
	case "*":
		z.Mul(x, y)
	case "/":
		if y.Sign() == 0 {
			return nil, true
		}
		z.Quo(x, y)
		integers = false
	case "%":
		if !integers || y.Sign() == 0 {
			return nil, true
		}
		z.SetInt(new(big.Int).Rem(x.Num(), y.Num()))
	}
	if integers {
		return z.Num().Int64(), !z.Num().IsInt64()
	}
	f, _ := z.Float64()
	if math.IsInf(f, 0) {
		return nil, true
	}
	if f == 0 {
		return Number("0"), false
	}
	return Number(strconv.FormatFloat(f, 'f', -1, 64)), false
}

func TestComparisonAgreesWithBig(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := operand(t, plain().Draw(t, "a"))
		b := operand(t, plain().Draw(t, "b"))
		if rapid.Bool().Draw(t, "same value") {
			if strings.Contains(decimalText(a), ".") {
				b = Number(decimalText(a) + "0")
			} else {
				b = Number(decimalText(a) + ".00")
			}
		}
		c := ratOf(t, a).Cmp(ratOf(t, b))
		for op, want := range map[string]bool{"<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0, "==": c == 0, "!=": c != 0} {
			if got, err := compute("a "+op+" b", a, b); err != nil || got != want {
				t.Fatalf("%v %s %v = %v, %v, want %v", a, op, b, got, err, want)
			}
		}
		if got, err := compute("a in [b]", a, b); err != nil || got != (c == 0) {
			t.Fatalf("%v in [%v] = %v, %v", a, b, got, err)
		}
		least, err := compute("min([a, b])", a, b)
		if err != nil || ratOf(t, least).Cmp(ratOf(t, a)) > 0 || ratOf(t, least).Cmp(ratOf(t, b)) > 0 {
			t.Fatalf("min(%v, %v) = %v, %v", a, b, least, err)
		}
	})
}

// Numbers nothing was computed with keep their digits: as literal, as data,
// through JSON and through text.
func TestNumbersKeepTheirDigits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := plain().Draw(t, "number")
		if strings.Trim(s, "-0") == "" {
			s = "0" // -0 is 0
		}
		v, err := FromJSON([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ToJSON(v); err != nil || string(got) != s {
			t.Fatalf("%s through JSON = %s, %v", s, got, err)
		}
		if got, err := compute("from_json(to_json(a))", v, nil); err != nil || decimalText(got) != s {
			t.Fatalf("%s through from_json = %v, %v", s, got, err)
		}
		tm, err := CompileTemplate("${{ number(string(a)) }}", dynamicScope())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tm.String(Vars{Names: map[string]any{"a": v}}); err != nil || got != s {
			t.Fatalf("%s through text = %v, %v", s, got, err)
		}
		if _, isInt := v.(int64); isInt || strings.Contains(s, ".") {
			if got, err := compute(literalOf(v), nil, nil); err != nil || decimalText(got) != s {
				t.Fatalf("%s as literal = %v, %v", s, got, err)
			}
		}
	})
}

func TestLiteralTextIsItself(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[${} a]{0,20}`)).Draw(t, "text")
		for text, want := range map[string]string{s: s, Escape(s): s} {
			if text == s && strings.Contains(s, "${{") {
				continue
			}
			if Contains(text) {
				t.Fatalf("Contains(%q)", text)
			}
			tm, err := CompileTemplate(text, Scope{})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tm.Eval(Vars{}); err != nil || got != want {
				t.Fatalf("Eval(%q) = %q, %v, want %q", text, got, err, want)
			}
		}
	})
}

func TestStringsSurviveQuoting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "string")
		var b strings.Builder
		for _, r := range s {
			switch {
			case r == '"' || r == '\\':
				b.WriteString("\\" + string(r))
			case r < 0x20 || r == 0x7f:
				fmt.Fprintf(&b, "\\u%04x", r)
			default:
				b.WriteRune(r)
			}
		}
		text := `${{ "` + b.String() + `" }}`
		tm, err := CompileTemplate(text, Scope{})
		if err != nil {
			t.Fatalf("CompileTemplate(%q): %v", text, err)
		}
		if got, err := tm.Eval(Vars{}); err != nil || got != s {
			t.Fatalf("Eval(%q) = %q, %v", text, got, err)
		}
		if got, err := compute("from_json(to_json(a))", s, nil); err != nil || got != s {
			t.Fatalf("%q through JSON = %q, %v", s, got, err)
		}
	})
}

func TestDurationsSurviveText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration"))
		if got, err := parseDuration(durationText(d)); err != nil || got != d {
			t.Fatalf("parseDuration(%q) = %v, %v, want %v", durationText(d), got, err, d)
		}
	})
}

// A local time is the first instant at which a clock of the zone shows it.
func TestLocalTimesAgreeWithScan(t *testing.T) {
	t.Parallel()
	zones := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Antarctica/Troll", "Africa/Cairo", "Pacific/Apia", "UTC"}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := loadZone(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		// Near a change of the clocks, if there is one.
		near := time.Unix(rapid.Int64Range(1_280_000_000, 1_900_000_000).Draw(t, "seconds"), 0).In(zone)
		if _, end := near.ZoneBounds(); !end.IsZero() {
			near = end.Add(time.Duration(rapid.IntRange(-180, 180).Draw(t, "minutes")) * time.Minute).In(zone)
		}
		_, offset := near.Zone()
		shift := time.Duration(rapid.IntRange(-3, 3).Draw(t, "shift")) * 30 * time.Minute
		wall := near.Add(time.Duration(offset)*time.Second + shift).UTC().Format("2006-01-02T15:04:05")

		var want *time.Time
		for at := near.Add(-27 * time.Hour); at.Before(near.Add(27 * time.Hour)); at = at.Add(30 * time.Minute) {
			if at.In(zone).Format("2006-01-02T15:04:05") == wall {
				want = &at
				break
			}
		}
		got, err := parseInstant(wall, zone)
		if (want == nil) != (err != nil) || want != nil && !got.Equal(*want) {
			t.Fatalf("parseInstant(%s, %v) = %v, %v, want %v", wall, zone, got, err, want)
		}
	})
}

// drawExpr draws expressions that mostly parse, of any types.
func drawExpr(t *rapid.T, depth int) string {
	leaves := []string{
		"1", "0", "-3", "2.50", "9223372036854775807", `"x"`, `'2026-11-22'`, "true", "false", "null", "[]", "{}",
		"params.day", "params.n", "params.x", "params.on", "params.free", "params.maybe", "params.regions",
		"needs.extract.outputs.rows", "needs.extract.outputs.uri", "needs.load.outputs.rows", "needs.load.result",
		"interval.start", "interval.end", "d", "d.list", "d.nothing", "d.big", "d.price", "d.deep", "d.mixed", "d.id", "vars.LIMIT", "secrets.TOKEN",
		"success()", "failure()", `duration("1h")`, "response.body", "response.status",
	}
	if depth == 0 {
		return rapid.SampledFrom(leaves).Draw(t, "leaf")
	}
	sub := func() string { return drawExpr(t, rapid.IntRange(0, depth-1).Draw(t, "depth")) }
	switch rapid.IntRange(0, 9).Draw(t, "shape") {
	case 0:
		return rapid.SampledFrom(leaves).Draw(t, "leaf")
	case 1:
		return rapid.SampledFrom([]string{"!", "-"}).Draw(t, "unary") + "(" + sub() + ")"
	case 2, 3, 4:
		op := rapid.SampledFrom([]string{"+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"}).Draw(t, "op")
		return "(" + sub() + " " + op + " " + sub() + ")"
	case 5:
		return "(" + sub() + " ? " + sub() + " : " + sub() + ")"
	case 6:
		return sub() + "[" + sub() + "]"
	case 7:
		return "[" + sub() + ", " + sub() + "]"
	case 8:
		return `{"k": ` + sub() + `}.k`
	default:
		f := functions[rapid.SampledFrom(functionNames()).Draw(t, "function")]
		args := make([]string, rapid.IntRange(f.least, f.most).Draw(t, "arguments"))
		for i := range args {
			args[i] = sub()
		}
		return f.name + "(" + strings.Join(args, ", ") + ")"
	}
}

// Whatever compiles evaluates to a value of its type or to an error at a place,
// never to a panic, and always to the same.
func TestEvaluationKeepsItsWord(t *testing.T) {
	t.Parallel()
	compiled := 0
	rapid.Check(t, func(t *rapid.T) {
		text := drawExpr(t, 4)
		p, err := Compile(text, testScope())
		if err != nil {
			checkErrors(t, text, err)
			return
		}
		compiled++
		v, err := p.Eval(testVars())
		if err != nil {
			checkErrors(t, text, err)
		} else if !trueTo(p.Type(), v) {
			t.Fatalf("%s is %v but gave %T %v", text, p.Type(), v, v)
		}
		again, errAgain := p.Eval(testVars())
		if message(err) != message(errAgain) || !cmp.Equal(v, again) {
			t.Fatalf("%s gave %v, %v and then %v, %v", text, v, err, again, errAgain)
		}
	})
	if compiled == 0 {
		t.Error("no drawn expression compiled")
	}
}

// trueTo says whether a value keeps the promise of a type. Lists may hold null
// where an optional output was not written, and sum([]) is the integer 0.
func trueTo(t Type, v any) bool {
	if v == nil {
		return t.is(KindDynamic, KindNull, KindInteger, KindString, KindNumber)
	}
	k := Of(kindOf(v))
	if t.Kind == KindNumber && k.Kind == KindInteger {
		return true
	}
	return outermost(k).Fits(outermost(t))
}

func checkErrors(t rapid.TB, text string, err error) {
	list := Errors(err)
	if len(list) == 0 {
		t.Fatalf("%q: %v is not an *Error", text, err)
	}
	size := utf8.RuneCountInString(text)
	for _, e := range list {
		if e.Offset < 0 || e.Offset > size || e.Len < 1 || e.Message == "" || len(e.Error()) > 4096 {
			t.Fatalf("%q: error at %d+%d of %d: %s", text, e.Offset, e.Len, size, e)
		}
		for _, word := range []string{"invalid", "illegal", "failed to"} {
			if strings.Contains(e.Message, word) && !strings.Contains(text, word) && !errors.Is(err, e.cause) {
				t.Fatalf("%q: %s", text, e)
			}
		}
		if strings.Contains(e.Error(), "s3cret") {
			t.Fatalf("%q repeats a secret: %s", text, e)
		}
	}
}
