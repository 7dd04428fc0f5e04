package pipeline

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// integer is a whole number in a range.
func integer[V ~int | ~int64](low, high V) kind[V] {
	return kind[V]{
		read: func(d *document, v value, to *V) bool {
			text, ok := d.plainScalar(v, "an integer")
			if !ok {
				return false
			}
			n, err := parseInteger(text)
			if err != nil {
				d.fail(d.at(v.Node), "SYN1009", v.name+": "+err.Error(), fmt.Sprintf("a whole number, %s to %s", grouped(int(low)), grouped(int(high))))
				return false
			}
			if n < int64(low) || n > int64(high) {
				d.failf(d.at(v.Node), codeOfRange(v.name), "%s %d: %s to %s", v.name, n, grouped(int(low)), grouped(int(high)))
				return false
			}
			*to = V(n)
			return true
		},
		schema: func() jsonSchema { return jsonSchema{"type": "integer", "minimum": low, "maximum": high} },
	}
}

// codeOfRange keeps the numbers of a budget together under one code.
func codeOfRange(name string) string {
	switch name {
	case "limit", "retry", "lost", "backoff", "jitter", "delay", "max_delay":
		return "SYN1410"
	}
	return "SYN1009"
}

func parseInteger(text string) (int64, error) {
	if !plainNumber(text, false) {
		return 0, notInteger(text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is beyond 64 bits", clip(text, 40))
	}
	return n, nil
}

func notInteger(text string) error {
	t := strings.TrimPrefix(text, "-")
	switch {
	case digits(t):
		return fmt.Errorf("%s is not an integer: leading zero", clip(text, 40))
	case plainNumber(text, true):
		return fmt.Errorf("%s is not a whole number", clip(text, 40))
	default:
		return fmt.Errorf("%s is not an integer", show(text))
	}
}

// decimal is a number in a range.
func decimal(low, high float64) kind[float64] {
	return kind[float64]{
		read: func(d *document, v value, to *float64) bool {
			text, ok := d.plainScalar(v, "a number")
			if !ok {
				return false
			}
			if !plainNumber(text, true) {
				d.failf(d.at(v.Node), "SYN1009", "%s is a number like 2 or 0.5, found %s", v.name, show(text))
				return false
			}
			n, err := strconv.ParseFloat(text, 64)
			if err != nil || n < low || n > high || math.IsInf(n, 0) {
				d.failf(d.at(v.Node), codeOfRange(v.name), "%s %s: %v to %v", v.name, clip(text, 40), low, high)
				return false
			}
			*to = n
			return true
		},
		schema: func() jsonSchema { return jsonSchema{"type": "number", "minimum": low, "maximum": high} },
	}
}

// sizes of text: 16MiB.
func sizeOf(low, high int64) kind[int64] {
	return kind[int64]{
		read: func(d *document, v value, to *int64) bool {
			text, ok := d.scalar(v, "a size")
			if !ok || !d.fixed(v, text) {
				return false
			}
			n, err := parseSize(text)
			if err != nil {
				d.fail(d.at(v.Node), "SYN1009", fmt.Sprintf("%s %s is not a size", v.name, show(text)), err.Error())
				return false
			}
			if n < low || n > high {
				d.failf(d.at(v.Node), "SYN1009", "%s %s: %s to %s", v.name, clip(text, 40), formatSize(low), formatSize(high))
				return false
			}
			*to = n
			return true
		},
		schema: func() jsonSchema { return jsonSchema{"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$"} },
	}
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

func parseSize(text string) (int64, error) {
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(text, u.name); ok && plainNumber(number, false) && number[0] != '-' {
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n > math.MaxInt64/u.bytes {
				return 0, errors.New("it is too large")
			}
			return n * u.bytes, nil
		}
	}
	number := strings.TrimRight(text, "KkMmGgTtiIBb ")
	unit := strings.ToUpper(strings.TrimSpace(text[len(number):]))
	if plainNumber(number, false) && number[0] != '-' && unit != "" && strings.ContainsRune("KMG", rune(unit[0])) {
		return 0, errors.New(number + unit[:1] + "iB")
	}
	return 0, errors.New("like 64KiB, 16MiB, 1GiB")
}

func formatSize(n int64) string {
	for _, u := range slices.Backward(sizeUnits[:3]) {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
