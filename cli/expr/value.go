package expr

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
)

// Values are nil, bool, int64, Number, string, time.Time, time.Duration, []any
// and map[string]any. A caller may also hand in Go's other integers, floats,
// []string and map[string]string, a Lazy or an Unreadable, at any depth.

// Lazy is a value that is fetched when an expression reads it.
type Lazy func() (any, error)

// Unreadable stands for a value that exists but has nothing to read: the
// outputs of a task that was skipped, an optional output that was not written.
// Using it is an error, has_key says false, and lookup gives its fallback.
type Unreadable struct {
	Why  string // "load was skipped"
	Hint string
}

func (u Unreadable) message(what string) string {
	if u.Why == "" {
		return what + " cannot be read"
	}
	return what + " cannot be read: " + u.Why
}

// Limits of values.
const (
	maxDepth  = 200       // levels of lists and maps
	maxResult = 256 << 10 // bytes of a result
	maxMemory = 16 << 20  // bytes that one evaluation may create
)

// lift turns what a caller handed in into a value of the language.
func lift(v any) any {
	switch x := v.(type) {
	case nil, bool, string, int64, time.Time, time.Duration, []any, map[string]any, Unreadable, failed:
		return v
	case Number:
		if !plainNumber(string(x)) {
			return Unreadable{Why: "it is not a number"}
		}
		return v
	}
	return liftOther(v)
}

func liftOther(v any) any {
	switch x := v.(type) {
	case Lazy:
		return liftLazy(x)
	case func() (any, error):
		return liftLazy(x)
	case json.Number:
		n, err := numberValue(string(x))
		if err != nil {
			return Unreadable{Why: err.Error()}
		}
		return n
	case []string:
		list := make([]any, len(x))
		for i, s := range x {
			list[i] = s
		}
		return list
	case map[string]string:
		m := make(map[string]any, len(x))
		for k, s := range x {
			m[k] = s
		}
		return m
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.String:
		return r.String()
	case reflect.Bool:
		return r.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if r.Uint() <= math.MaxInt64 {
			return int64(r.Uint())
		}
		return Number(strconv.FormatUint(r.Uint(), 10))
	case reflect.Float32, reflect.Float64:
		if n, ok := fromFloat(r.Float()); ok {
			return n
		}
	}
	return Unreadable{Why: fmt.Sprintf("expressions know no %T", v)}
}

// liftLazy fetches the value. What went wrong is told to whoever uses it.
func liftLazy(f func() (any, error)) any {
	v, err := f()
	if err != nil {
		return failed{err}
	}
	switch v.(type) {
	case Lazy, func() (any, error):
		return Unreadable{Why: "it is lazy twice"}
	}
	return lift(v)
}

// failed is a Lazy value that could not be fetched. Unlike Unreadable it is
// never forgiven: nobody knows whether the value is there.
type failed struct{ err error }

// Text writes a value into text: strings as they are, numbers with their
// digits, instants as RFC 3339 in UTC, durations like 1h30m. Lists, maps and
// null have no text.
func Text(v any) (string, error) {
	s, ok := text(lift(v))
	if !ok {
		return "", noText(lift(v))
	}
	return s, nil
}

func text(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case bool:
		return strconv.FormatBool(x), true
	case int64:
		return strconv.FormatInt(x, 10), true
	case Number:
		return string(x), true
	case time.Time:
		return instantText(x), true
	case time.Duration:
		return durationText(x), true
	default:
		return "", false
	}
}

func noText(v any) *Error {
	switch x := v.(type) {
	case nil:
		return &Error{Message: "null inside text", Hint: "lookup(…) with a fallback, or to_json(…)"}
	case Unreadable:
		return &Error{Message: x.message("the value"), Hint: x.Hint}
	case failed:
		return &Error{Message: x.err.Error(), cause: x.err}
	default:
		return &Error{Message: kindOf(v).String() + " inside text", Hint: "to_json(…)"}
	}
}

// checkResult refuses results that are too large, too deep, or hold what
// cannot be read.
func checkResult(v any) *Error {
	left := maxResult
	return measure(v, &left, 0)
}

func measure(v any, left *int, depth int) *Error {
	if depth > maxDepth {
		return &Error{Message: "the result is nested deeper than 200 levels"}
	}
	switch x := v.(type) {
	case string:
		*left -= len(x)
	case Number:
		*left -= len(x)
	case []any:
		*left -= 2
		for _, e := range x {
			*left--
			if err := measure(lift(e), left, depth+1); err != nil {
				return err
			}
			if *left < 0 {
				break
			}
		}
	case map[string]any:
		*left -= 2
		for k, e := range x {
			*left -= len(k) + 4
			if err := measure(lift(e), left, depth+1); err != nil {
				return err
			}
			if *left < 0 {
				break
			}
		}
	case Unreadable, failed:
		return noText(v)
	default:
		*left -= 4
	}
	if *left < 0 {
		return &Error{Message: "the result is larger than 256 KiB", Hint: "pass large data by address"}
	}
	return nil
}

func itoa(i int) string { return strconv.Itoa(i) }

func quote(s string) string { return strconv.Quote(s) }
