package schedule

import (
	"fmt"
	"strconv"
	"strings"
)

// parse checks a field and writes it in the words the library understands.
func (f field) parse() (asked string, odd []Warning, err error) {
	var items []string
	all := false
	at := f.at
	for text := range strings.SplitSeq(f.text, ",") {
		if text == "" {
			return "", nil, f.errorAt(max(at-1, f.at), 1, fmt.Sprintf("empty item in %s", quote(f.text)), "remove the comma")
		}
		item, warning, err := f.item(text, at)
		if err != nil {
			return "", nil, err
		}
		if warning != nil {
			odd = append(odd, *warning)
		}
		all = all || item == "*"
		items = append(items, item)
		at += len(text) + 1
	}
	// The library takes a day field for a star only if it is "*" or begins
	// with "*/", so "*,MON" must reach it as "*".
	if all && strings.HasPrefix(f.text, "*") {
		return "*", odd, nil
	}
	return strings.Join(items, ","), odd, nil
}

func (f field) errorAt(at, length int, message, hint string) *Error {
	return cronError("SYN1203", at, length, message, hint)
}

// item checks one item of a list.
func (f field) item(text string, at int) (string, *Warning, error) {
	if special, err := f.special(text, at); special != "" || err != nil {
		return special, nil, err
	}
	base, stepText, stepped := strings.Cut(text, "/")
	lo, hi, span, err := f.span(base, at, stepped)
	if err != nil {
		return "", nil, err
	}
	step := 1
	if stepped {
		if step, err = f.step(stepText, at+len(base)+1); err != nil {
			return "", nil, err
		}
	}
	if hi < lo {
		return "", nil, f.errorAt(at, len(text), fmt.Sprintf("%s %s run backward", f.many, base), f.forward(lo, hi, step))
	}
	var warning *Warning
	if stepped && step > 1 && lo+step > f.last(base, hi) {
		warning = &Warning{
			Code: "SYN1206", Field: "cron", Offset: at, Len: len(text),
			Message: fmt.Sprintf("%s in %s runs only at %s %s", quote(text), f.many, f.one, f.show(lo)),
			Hint:    "write " + f.show(lo),
		}
		if lo == hi {
			warning.Message = fmt.Sprintf("%s in %s has no room for its step", quote(text), f.many)
		}
	}
	return span + suffix(stepped, step), warning, nil
}

// last is the highest value a range reaches; Sunday is not counted twice.
func (f field) last(base string, hi int) int {
	if f.place == inWeekday && base == "*" {
		return 6
	}
	return hi
}

func suffix(stepped bool, step int) string {
	if !stepped {
		return ""
	}
	return "/" + strconv.Itoa(step)
}

// span reads what stands before a step: "*", one value or a range.
func (f field) span(base string, at int, stepped bool) (lo, hi int, text string, err error) {
	if base == "*" {
		return f.lo, f.hi, "*", nil
	}
	first, second, ranged := strings.Cut(base, "-")
	if lo, err = f.value(first, at, base, false); err != nil {
		return 0, 0, "", err
	}
	switch {
	case ranged:
		if hi, err = f.value(second, at+len(first)+1, base, true); err != nil {
			return 0, 0, "", err
		}
	case stepped:
		hi = f.hi
	default:
		return lo, lo, strconv.Itoa(lo), nil
	}
	return lo, hi, strconv.Itoa(lo) + "-" + strconv.Itoa(hi), nil
}

// value reads a number or a name. whole is the item it belongs to.
func (f field) value(text string, at int, whole string, end bool) (int, error) {
	length := max(len(text), 1)
	if text == "" {
		return 0, f.errorAt(at, length, fmt.Sprintf("%s %s has an end missing", f.one, quote(whole)), "a-b, like "+f.example())
	}
	for i, name := range f.names {
		if text == name {
			if end && f.place == inWeekday && i == 0 {
				return 7, nil // FRI-SUN
			}
			return f.lo + i, nil
		}
	}
	if !digits(text) {
		return 0, f.errorAt(at, length, fmt.Sprintf("%s is not %s", quote(text), f.a()), f.mend(text))
	}
	n := number(text)
	if n > f.hi {
		return 0, f.errorAt(at, length, fmt.Sprintf("%s %s is above %d", f.one, short(text), f.hi), f.bounds())
	}
	if n < f.lo {
		return 0, f.errorAt(at, length, fmt.Sprintf("%s %s is below %d", f.one, short(text), f.lo), f.bounds())
	}
	return n, nil
}

// a is the field's word with its article.
func (f field) a() string {
	if f.place == inHour {
		return "an " + f.one
	}
	return "a " + f.one
}

func (f field) bounds() string { return fmt.Sprintf("%d to %d", f.lo, f.hi) }

func (f field) example() string {
	if f.names != nil {
		return f.names[1] + "-" + f.names[4]
	}
	return "1-5"
}

// mend says what to write instead of a text that is no value of the field.
func (f field) mend(text string) string {
	switch {
	case text == "?":
		return `"*"`
	case text[0] == '+' || text[0] == '-':
		return "numbers have no sign"
	case strings.HasPrefix(text, "H"):
		return "a number; jitter: spreads the starts"
	case strings.Contains(text, "L"):
		return "L is a day of the month (the last), FRIL a weekday (the last Friday)"
	case strings.HasSuffix(text, "W"):
		return "15W is a day of the month: the weekday nearest to the 15th"
	case strings.Contains(text, "#"):
		return "FRI#2 is a weekday: the second Friday"
	case strings.Contains(text, "-"):
		return "one range, like " + f.example()
	case strings.HasPrefix(text, "*"):
		return "* stands alone, or with a step: */5"
	}
	if f.names != nil {
		if near := nearest(text, f.names, 1); near != "" {
			return fmt.Sprintf("did you mean %q?", near)
		}
		return fmt.Sprintf("%s, or %s–%s", f.bounds(), f.names[0], f.names[len(f.names)-1])
	}
	return f.bounds()
}

// step reads a step. Steps beyond every field are cut: they all mean "once".
func (f field) step(text string, at int) (int, error) {
	length := max(len(text), 1)
	if !digits(text) {
		return 0, f.errorAt(at, length, fmt.Sprintf("step %s is not a number", quote(text)), "a whole number from 1, like */5")
	}
	n := number(text)
	if n == 0 {
		return 0, f.errorAt(at, length, "step 0", "a whole number from 1, like */5")
	}
	return n, nil
}

// forward rewrites a range that runs backward as one that wraps.
func (f field) forward(lo, hi, step int) string {
	first, last := f.lo, f.hi
	if f.place == inWeekday {
		if lo == 7 { // Sunday begins the week as well as it ends it
			return f.pair(0, hi, step)
		}
		if hi == 0 {
			return f.pair(lo, 7, step)
		}
		first = 1
	}
	if step > 1 {
		var values []string
		size := last - first + 1
		for v := lo; v <= hi+size; v += step {
			values = append(values, f.show((v-first)%size+first))
		}
		return strings.Join(values, ",")
	}
	return f.pair(lo, last, 1) + "," + f.pair(first, hi, 1)
}

func (f field) pair(lo, hi, step int) string {
	if lo == hi {
		return f.show(lo)
	}
	return f.show(lo) + "-" + f.show(hi) + suffix(step > 1, step)
}

// show writes a value as people would: names where there are some.
func (f field) show(v int) string {
	if f.names == nil {
		return strconv.Itoa(v)
	}
	return f.names[(v-f.lo)%len(f.names)]
}

// special reads L, W and #. It answers "" for items without them.
func (f field) special(text string, at int) (string, error) {
	switch f.place {
	case inDay:
		if text == "L" {
			return text, nil
		}
		if text == "LW" || strings.HasPrefix(text, "L-") {
			return "", f.errorAt(at, len(text), fmt.Sprintf("%s is not supported", quote(text)), "L (last day), 15W (weekday nearest to the 15th), or FRIL as weekday (last Friday)")
		}
		if base, ok := strings.CutSuffix(text, "W"); ok && digits(base) {
			n, err := f.value(base, at, text, false)
			return strconv.Itoa(n) + "W", err
		}
	case inWeekday:
		// No name ends in L, so what is left is the weekday.
		if base, ok := strings.CutSuffix(text, "L"); ok {
			if base == "" {
				return "", f.errorAt(at, 1, "L as weekday needs one before it", "FRIL is the last Friday")
			}
			n, err := f.value(base, at, text, false)
			return strconv.Itoa(n%7) + "L", err
		}
		if base, nth, ok := strings.Cut(text, "#"); ok {
			return f.nth(base, nth, text, at)
		}
	}
	return "", nil
}

func (f field) nth(base, nth, text string, at int) (string, error) {
	n, err := f.value(base, at, text, false)
	if err != nil {
		return "", err
	}
	k := 0
	if digits(nth) {
		k = number(nth)
	}
	if k < 1 || k > 5 {
		return "", f.errorAt(at+len(base)+1, max(len(nth), 1), fmt.Sprintf("%s: a month has no weekday number %s", quote(text), short(nth)), "1 to 5, like FRI#2")
	}
	return strconv.Itoa(n%7) + "#" + strconv.Itoa(k), nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// number reads digits; what is beyond every field is cut to 9999.
func number(s string) int {
	n := 0
	for i := range len(s) {
		n = min(n*10+int(s[i]-'0'), 9999)
	}
	return n
}
