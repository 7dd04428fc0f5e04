package expr

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The arguments of the functions were typed as far as they could be; what was
// dynamic is looked at here.

// textArg is an argument that must be a string.
func textArg(r *run, n *call, args []any, i int) (string, *Error) {
	s, ok := args[i].(string)
	if !ok {
		return "", wrongArg(r, n, args, i, KindString)
	}
	return s, nil
}

func wrongArg(r *run, n *call, args []any, i int, want Kind) *Error {
	hint := ""
	if _, ok := text(args[i]); ok && want == KindString {
		hint = "string(…)"
	} else if _, ok := args[i].(string); ok && want == KindInstant {
		hint = "timestamp(…)"
	}
	return r.fail(n.args[i], n.fn.name+" takes "+want.String()+" here, not "+kindOf(args[i]).String(), hint)
}

func texts(r *run, n *call, args []any) (out [3]string, err *Error) {
	for i := range args {
		if out[i], err = textArg(r, n, args, i); err != nil {
			return out, err
		}
	}
	return out, nil
}

func impossible(r *run, n *call, v any) *Error {
	hint := ""
	if v == nil {
		hint = "lookup(…) with a fallback"
	}
	return r.fail(n, kindOf(v).String()+" cannot be made "+kindOfResult(n.fn.name).String(), hint)
}

func kindOfResult(fn string) Kind {
	switch fn {
	case "integer":
		return KindInteger
	case "number":
		return KindNumber
	case "boolean":
		return KindBoolean
	}
	return KindString
}

func evalString(r *run, n *call, args []any) (any, *Error) {
	s, ok := text(args[0])
	if !ok {
		return nil, impossible(r, n, args[0])
	}
	return s, nil
}

func evalInteger(r *run, n *call, args []any) (any, *Error) {
	switch v := args[0].(type) {
	case int64:
		return v, nil
	case Number:
		if i, ok := v.Int(); ok {
			return i, nil
		}
		return nil, r.fail(n, "integer: the number is not whole, or not within 64 bits", "")
	case string:
		if plainNumber(v) {
			if i, err := strconv.ParseInt(v, 10, 64); err == nil {
				return i, nil
			}
		}
		return nil, r.fail(n, "integer: "+r.shown(v)+" is not an integer", "")
	}
	return nil, impossible(r, n, args[0])
}

func evalNumber(r *run, n *call, args []any) (any, *Error) {
	switch v := args[0].(type) {
	case int64:
		return Number(strconv.FormatInt(v, 10)), nil
	case Number:
		return v, nil
	case string:
		if plainNumber(v) {
			return Number(v), nil
		}
		return nil, r.fail(n, "number: "+r.shown(v)+" is not a number", "")
	}
	return nil, impossible(r, n, args[0])
}

func evalBoolean(r *run, n *call, args []any) (any, *Error) {
	switch v := args[0].(type) {
	case bool:
		return v, nil
	case string:
		if v == "true" || v == "false" {
			return v == "true", nil
		}
		return nil, r.fail(n, "boolean: "+r.shown(v)+" is neither true nor false", "")
	}
	return nil, impossible(r, n, args[0])
}

func (r *run) zone() *time.Location {
	if r.vars.Zone == nil {
		return time.UTC
	}
	return r.vars.Zone
}

func evalTimestamp(r *run, n *call, args []any) (any, *Error) {
	s, err := textArg(r, n, args, 0)
	if err != nil {
		return nil, err
	}
	t, wrong := parseInstant(s, r.zone())
	if wrong != nil {
		return nil, r.fail(n, "timestamp("+r.shown(s)+"): "+wrong.Error(), "")
	}
	return t, nil
}

func evalDuration(r *run, n *call, args []any) (any, *Error) {
	s, err := textArg(r, n, args, 0)
	if err != nil {
		return nil, err
	}
	d, wrong := parseDuration(s)
	if wrong != nil {
		return nil, r.fail(n, "duration("+r.shown(s)+"): "+wrong.Error(), "")
	}
	return d, nil
}

func evalSize(r *run, n *call, args []any) (any, *Error) {
	switch v := args[0].(type) {
	case string:
		return int64(utf8.RuneCountInString(v)), nil
	case []any:
		return int64(len(v)), nil
	case map[string]any:
		count := int64(0)
		for _, e := range v {
			if present(e) {
				count++
			}
		}
		return count, nil
	}
	return nil, r.fail(n.args[0], "size takes a string, a list or a map, not "+kindOf(args[0]).String(), "")
}

// present says whether has_key would say yes. A Lazy value is taken to be there:
// nothing is fetched to count it.
func present(v any) bool {
	_, gone := v.(Unreadable)
	return !gone
}

func evalLower(r *run, n *call, args []any) (any, *Error) { return mapped(r, n, args, strings.ToLower) }
func evalUpper(r *run, n *call, args []any) (any, *Error) { return mapped(r, n, args, strings.ToUpper) }
func evalTrim(r *run, n *call, args []any) (any, *Error) {
	return mapped(r, n, args, strings.TrimSpace)
}

func mapped(r *run, n *call, args []any, f func(string) string) (any, *Error) {
	s, err := textArg(r, n, args, 0)
	if err != nil {
		return nil, err
	}
	if err := r.charge(n, len(s)); err != nil {
		return nil, err
	}
	return f(s), nil
}

func evalReplace(r *run, n *call, args []any) (any, *Error) {
	t, err := texts(r, n, args)
	if err != nil {
		return nil, err
	}
	count := strings.Count(t[0], t[1])
	if t[1] == "" {
		return nil, r.fail(n.args[1], "replace wants a text to look for", "")
	}
	if err := r.charge(n, len(t[0])); err != nil {
		return nil, err
	}
	if more := len(t[2]) - len(t[1]); more > 0 {
		if more > maxMemory/max(count, 1) {
			return nil, r.charge(n, maxMemory+1)
		}
		if err := r.charge(n, count*more); err != nil {
			return nil, err
		}
	}
	return strings.ReplaceAll(t[0], t[1], t[2]), nil
}

func evalSplit(r *run, n *call, args []any) (any, *Error) {
	t, err := texts(r, n, args)
	if err != nil {
		return nil, err
	}
	if t[1] == "" {
		return nil, r.fail(n.args[1], "split wants a separator", "")
	}
	if err := r.charge(n, 64*(1+strings.Count(t[0], t[1]))); err != nil {
		return nil, err
	}
	list := []any{}
	for part := range strings.SplitSeq(t[0], t[1]) {
		list = append(list, part)
	}
	return list, nil
}

func evalJoin(r *run, n *call, args []any) (any, *Error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, wrongArg(r, n, args, 0, KindList)
	}
	separator, err := textArg(r, n, args, 1)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, e := range list {
		e, err := r.element(n.args[0], e)
		if err != nil {
			return nil, err
		}
		s, ok := text(e)
		if !ok {
			return nil, r.fail(n.args[0], "item "+itoa(i)+" is "+kindOf(e).String()+", which join writes into no text", "to_json(…)")
		}
		if i > 0 {
			b.WriteString(separator)
		}
		if err := r.charge(n, len(s)+len(separator)); err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func evalPart(r *run, n *call, args []any) (any, *Error) {
	t, err := texts(r, n, args)
	if err != nil {
		return nil, err
	}
	switch n.fn.name {
	case "starts_with":
		return strings.HasPrefix(t[0], t[1]), nil
	case "ends_with":
		return strings.HasSuffix(t[0], t[1]), nil
	default:
		return strings.Contains(t[0], t[1]), nil
	}
}

// A pattern is a compiled regular expression and its size, which times the
// length of the text is the time a match may take.
type pattern struct {
	*regexp.Regexp
	size int
}

const (
	maxPattern     = 500      // bytes of a pattern
	maxPatternSize = 10_000   // instructions it may become: x{1000} is a thousand
	maxMatchSteps  = 32 << 20 // instructions times bytes of text in one evaluation
)

func compilePattern(s string) (*pattern, error) {
	if len(s) > maxPattern {
		return nil, errors.New("it is longer than 500 bytes")
	}
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			// Without the text, which may be data.
			return nil, errors.New(strings.Replace(string(e.Code), "invalid", "wrong", 1))
		}
		return nil, errors.New("it is not RE2")
	}
	size := patternSize(tree)
	if size > maxPatternSize {
		return nil, errors.New("its repetitions are too many")
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, errors.New("it is not RE2")
	}
	return &pattern{re, size}, nil
}

func patternSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)/2
	for _, sub := range re.Sub {
		size += patternSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size = min(size, maxPatternSize+1) * max(re.Min, re.Max, 1)
	}
	return size
}

func evalRegex(r *run, n *call, args []any) (any, *Error) {
	t, err := texts(r, n, args)
	if err != nil {
		return nil, err
	}
	p := n.pattern
	if p == nil {
		var wrong error
		if p, wrong = compilePattern(t[1]); wrong != nil {
			return nil, r.fail(n.args[1], "the pattern of regex: "+wrong.Error(), "")
		}
	}
	if r.steps -= p.size * (len(t[0]) + 1); r.steps < 0 {
		return nil, r.fail(n, "regex would take too long: the pattern is too large for a text of this length", "")
	}
	return p.MatchString(t[0]), nil
}

// numbersOf walks a list of integers or numbers.
func numbersOf(r *run, n *call, args []any, each func(any) *Error) *Error {
	list, ok := args[0].([]any)
	if !ok {
		return wrongArg(r, n, args, 0, KindList)
	}
	for i, e := range list {
		e, err := r.element(n.args[0], e)
		if err != nil {
			return err
		}
		if k := kindOf(e); k != KindInteger && k != KindNumber {
			return r.fail(n.args[0], n.fn.name+" takes numbers, and item "+itoa(i)+" is "+k.String(), "")
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return nil
}

func evalSum(r *run, n *call, args []any) (any, *Error) {
	var total any = int64(0)
	err := numbersOf(r, n, args, func(v any) *Error {
		a, whole := total.(int64)
		b, wholeToo := v.(int64)
		if whole && wholeToo {
			c, ok := computeIntegers("+", a, b)
			if !ok {
				return r.fail(n, "the result does not fit in 64 bits", "")
			}
			total = c
			return nil
		}
		c, wrong := computeNumbers("+", total, v)
		if wrong != "" {
			return r.fail(n, wrong, "")
		}
		total = c
		return nil
	})
	if err != nil {
		return nil, err
	}
	return total, nil
}

func evalExtreme(r *run, n *call, args []any) (any, *Error) {
	want := 1
	if n.fn.name == "min" {
		want = -1
	}
	var best any
	err := numbersOf(r, n, args, func(v any) *Error {
		if best == nil || compareNumbers(v, best) == want {
			best = v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if best == nil {
		return nil, r.fail(n, n.fn.name+" of an empty list", "size(list) > 0 ? … : …")
	}
	return best, nil
}

func evalKeys(r *run, n *call, args []any) (any, *Error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, wrongArg(r, n, args, 0, KindRecord)
	}
	if err := r.charge(n, 64*len(m)); err != nil {
		return nil, err
	}
	list := []any{}
	for _, k := range sortedKeys(m) {
		if present(m[k]) {
			list = append(list, k)
		}
	}
	return list, nil
}

// find looks a key up. What cannot be read has no keys.
func find(r *run, n *call, args []any) (v any, ok bool, err *Error) {
	key, err := textArg(r, n, args, 1)
	if err != nil {
		return nil, false, err
	}
	switch m := args[0].(type) {
	case Unreadable:
		return nil, false, nil
	case map[string]any:
		v, ok = m[key]
		if !ok {
			return nil, false, nil
		}
		if v, err = r.element(n.args[0], v); err != nil {
			if err.cause != nil {
				return nil, false, err
			}
			return nil, false, nil
		}
		return v, true, nil
	}
	return nil, false, wrongArg(r, n, args, 0, KindRecord)
}

func evalHasKey(r *run, n *call, args []any) (any, *Error) {
	_, ok, err := find(r, n, args)
	if err != nil {
		return nil, err
	}
	return ok, nil
}

func evalLookup(r *run, n *call, args []any) (any, *Error) {
	v, ok, err := find(r, n, args)
	if err != nil {
		return nil, err
	}
	if !ok || v == nil {
		return args[2], nil
	}
	return v, nil
}

// zoneArg is the zone of date and format_time: the last argument, if it is there.
func zoneArg(r *run, n *call, args []any) (*time.Location, *Error) {
	if n.zone != nil {
		return n.zone, nil
	}
	if len(args) < n.fn.most {
		return r.zone(), nil
	}
	s, err := textArg(r, n, args, len(args)-1)
	if err != nil {
		return nil, err
	}
	zone, wrong := loadZone(s)
	if wrong != nil {
		return nil, r.fail(n.args[len(args)-1], "the zone of "+n.fn.name+": "+r.shown(s)+" "+strings.TrimPrefix(wrong.Error(), "it "), "")
	}
	return zone, nil
}

func evalDate(r *run, n *call, args []any) (any, *Error) {
	return formatted(r, n, args, time.DateOnly)
}

func evalFormatTime(r *run, n *call, args []any) (any, *Error) {
	layout, err := textArg(r, n, args, 1)
	if err != nil {
		return nil, err
	}
	return formatted(r, n, args, layout)
}

func formatted(r *run, n *call, args []any, layout string) (any, *Error) {
	t, ok := args[0].(time.Time)
	if !ok {
		return nil, wrongArg(r, n, args, 0, KindInstant)
	}
	zone, err := zoneArg(r, n, args)
	if err != nil {
		return nil, err
	}
	if err := r.charge(n, 4*len(layout)); err != nil {
		return nil, err
	}
	return t.In(zone).Format(layout), nil
}

func evalFromJSON(r *run, n *call, args []any) (any, *Error) {
	s, err := textArg(r, n, args, 0)
	if err != nil {
		return nil, err
	}
	if err := r.charge(n, len(s)); err != nil {
		return nil, err
	}
	v, wrong := fromJSON([]byte(s), &r.memory)
	if wrong != nil {
		return nil, r.fail(n, "from_json: the text cannot be read: "+wrong.Error(), "")
	}
	return v, nil
}

func evalToJSON(r *run, n *call, args []any) (any, *Error) {
	out, err := appendJSON(nil, args[0], &r.memory, 0)
	if err != nil {
		return nil, r.placed(n, err)
	}
	return string(out), nil
}
