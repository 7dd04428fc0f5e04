package pipeline

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// scalar gives the text of a scalar as it stands in the file.
func (d *document) scalar(v value, want string) (string, bool) {
	if v.Kind != yaml.ScalarNode || isNull(v.Node) {
		if isNull(v.Node) && want == "a string" {
			d.fail(d.at(v.Node), "SYN1010", v.name+" has no value", `"" for empty, or remove the key`)
			return "", false
		}
		d.wrongShape(v, want)
		return "", false
	}
	return v.Value, true
}

// fixed refuses an expression in a field that is not evaluated.
func (d *document) fixed(v value, text string) bool {
	if i := strings.Index(text, "${{"); i >= 0 {
		d.fail(d.within(v.Node, len([]rune(text[:i])), 3), "SYN1508", v.name+" may not hold ${{ }}", "")
		return false
	}
	return true
}

// plainScalar gives the text of a scalar that must not be quoted.
func (d *document) plainScalar(v value, want string) (string, bool) {
	text, ok := d.scalar(v, want)
	if !ok || !d.fixed(v, text) {
		return "", false
	}
	if !isPlain(v.Node) {
		d.fail(d.at(v.Node), "SYN1009", fmt.Sprintf("%s is %s, found text %s", v.name, want, show(text)), "remove the quotes")
		return "", false
	}
	return text, true
}

// textOf is text that is not evaluated, of at most limit bytes. literal says
// that ${{ means nothing in it.
func textOf(limit int, literal bool) kind[string] {
	return kind[string]{
		read: func(d *document, v value, to *string) bool {
			text, ok := d.scalar(v, "a string")
			if !ok || !literal && !d.fixed(v, text) {
				return false
			}
			if len(text) > limit {
				d.failf(d.at(v.Node), "SYN1009", "%s has %s bytes, %s at most", v.name, grouped(len(text)), grouped(limit))
				return false
			}
			*to = text
			return true
		},
		schema: func() jsonSchema { return anyText() },
	}
}

// shortText is plain text of at most limit characters.
func shortText(limit int) kind[string] {
	return kind[string]{
		read: func(d *document, v value, to *string) bool {
			text, ok := d.scalar(v, "a string")
			if !ok {
				return false
			}
			if n := utf8.RuneCountInString(text); n > limit {
				d.failf(d.at(v.Node), "SYN1009", "%s has %s characters, %d at most", v.name, grouped(n), limit)
				return false
			}
			*to = text
			return true
		},
		schema: func() jsonSchema {
			s := anyText()
			s["maxLength"] = limit
			return s
		},
	}
}

// anyText is what a field of text takes: every scalar, as it is written.
func anyText() jsonSchema { return jsonSchema{"type": []any{"string", "number", "boolean"}} }

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

func boolean() kind[bool] {
	return kind[bool]{
		read: func(d *document, v value, to *bool) bool {
			if v.Kind != yaml.ScalarNode || isNull(v.Node) {
				d.wrongShape(v, "true or false")
				return false
			}
			if !d.fixed(v, v.Value) {
				return false
			}
			if !isPlain(v.Node) || v.Value != "true" && v.Value != "false" {
				hint := ""
				if v.Value == "true" || v.Value == "false" {
					hint = "remove the quotes"
				}
				d.fail(d.at(v.Node), "SYN1009", fmt.Sprintf("%s is true or false, found %s", v.name, show(v.Value)), hint)
				return false
			}
			*to = v.Value == "true"
			return true
		},
		schema: func() jsonSchema { return jsonSchema{"type": "boolean"} },
	}
}

// lengthOf is a duration in a range.
func lengthOf(low, high time.Duration) kind[Duration] {
	return kind[Duration]{
		read: func(d *document, v value, to *Duration) bool {
			text, ok := d.scalar(v, "a duration")
			if !ok || !d.fixed(v, text) {
				return false
			}
			n, err := schedule.ParseDuration(text)
			if err != nil {
				d.scheduleError(v, err, "SYN1009")
				return false
			}
			if n < low || n > high {
				d.failf(d.at(v.Node), codeOfRange(v.name), "%s %s: %s to %s", v.name, clip(text, 40), Duration(low), Duration(high))
				return false
			}
			*to = Duration(n)
			return true
		},
		schema: func() jsonSchema { return jsonSchema{"type": "string", "pattern": durationPattern} },
	}
}

const durationPattern = `^([0-9]+(\.[0-9]+)?w)?([0-9]+(\.[0-9]+)?d)?([0-9]+(\.[0-9]+)?h)?([0-9]+(\.[0-9]+)?m)?([0-9]+(\.[0-9]+)?s)?([0-9]+(\.[0-9]+)?ms)?$`

// scheduleError reports what the package schedule says about a value.
func (d *document) scheduleError(v value, err error, code string) {
	e, ok := errors.AsType[*schedule.Error](err)
	if !ok {
		d.fail(d.at(v.Node), code, v.name+": "+err.Error(), "")
		return
	}
	s := d.at(v.Node)
	if e.Len > 0 {
		s = d.within(v.Node, e.Offset, e.Len)
	}
	if e.Code != "" {
		code = e.Code
	}
	message := e.Message
	if !strings.HasPrefix(message, v.name) && code == "SYN1009" {
		message = v.name + " " + strings.TrimPrefix(message, e.Field+" ")
	}
	d.fail(s, code, message, e.Hint)
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

// word is one of a few words.
func word[V ~string](words ...V) kind[V] {
	return kind[V]{
		read: func(d *document, v value, to *V) bool {
			text, ok := d.scalar(v, "one of "+joinWords(words))
			if !ok || !d.fixed(v, text) {
				return false
			}
			if !slices.Contains(words, V(text)) {
				known := make([]string, len(words))
				for i, w := range words {
					known[i] = string(w)
				}
				d.fail(d.at(v.Node), "SYN1009", fmt.Sprintf("%s is %s, found %s", v.name, joinWords(words), show(text)), didYouMean(text, known))
				return false
			}
			*to = V(text)
			return true
		},
		schema: func() jsonSchema {
			enum := make([]any, len(words))
			for i, w := range words {
				enum[i] = string(w)
			}
			return jsonSchema{"enum": enum}
		},
	}
}

func joinWords[V ~string](words []V) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// The patterns of names.
const (
	namePattern     = `^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$`
	memberPattern   = `^[a-z][a-z0-9_]{0,62}$`
	variablePattern = `^[A-Za-z_][A-Za-z0-9_]{0,127}$`
	labelPattern    = `^[a-z0-9]([a-z0-9._/-]{0,126}[a-z0-9])?$`
)

var (
	nameRE     = regexp.MustCompile(namePattern)
	memberRE   = regexp.MustCompile(memberPattern)
	variableRE = regexp.MustCompile(variablePattern)
	labelRE    = regexp.MustCompile(labelPattern)
)

const (
	nameRule     = `may hold a-z, 0-9, "_" and "-", begin and end with a letter or digit, 64 at most`
	memberRule   = `may hold a-z, 0-9 and "_", begin with a letter, 63 at most`
	variableRule = `may hold letters, digits and "_", begin with a letter or "_", 128 at most`
	labelRule    = `may hold a-z, 0-9, ".", "_", "/" and "-", begin and end with a letter or digit, 128 at most`
)

// ValidName says whether text can name a pipeline, a namespace, a task …
func ValidName(text string) bool { return nameRE.MatchString(text) }

// aName is a name of the first kind.
func aName() kind[string] {
	return kind[string]{
		read: func(d *document, v value, to *string) bool {
			text, ok := d.scalar(v, "a name")
			if !ok || !d.fixed(v, text) || !d.named(d.at(v.Node), v.name, text, nameRE, nameRule) {
				return false
			}
			*to = text
			return true
		},
		schema: func() jsonSchema { return nameSchema(namePattern) },
	}
}

// nameSchema also takes numbers: "name: 123" is the name "123".
func nameSchema(pattern string) jsonSchema {
	return jsonSchema{"type": []any{"string", "number", "boolean"}, "pattern": pattern}
}

// named checks a name against its pattern. what is what the name is of.
func (d *document) named(s spot, what, text string, re *regexp.Regexp, rule string) bool {
	if re.MatchString(text) {
		return true
	}
	message := fmt.Sprintf("%s %s %s", what, show(text), rule)
	for _, r := range text {
		if r > unicode.MaxASCII {
			message += fmt.Sprintf("; it has U+%04X", r)
			break
		}
	}
	d.fail(s, "SYN1101", message, closestName(text, re))
	return false
}

// closestName makes a name of text that is nearly one.
func closestName(text string, re *regexp.Regexp) string {
	if len(text) > 128 || re == variableRE {
		return ""
	}
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_', r == '-' && re != memberRE:
			return r
		case r >= 'A' && r <= 'Z':
			return unicode.ToLower(r)
		case r == ' ', r == '-', r == '.', r == '/':
			return '_'
		}
		return -1
	}, text)
	mapped = strings.Trim(mapped, "_-")
	if len(mapped) > 1 && mapped != text && re.MatchString(mapped) {
		return mapped
	}
	return ""
}

// free reads any YAML as the JSON value it looks like. Numbers keep their
// digits; as text, if numbers is false.
func (d *document) free(n *yaml.Node, numbers bool) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for key, e := range d.pairs(value{Node: n}) {
			m[key.Value] = d.free(e.Node, numbers)
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, e := range n.Content {
			list = append(list, d.free(e, numbers))
		}
		return list
	}
	if !isPlain(n) {
		return n.Value
	}
	switch {
	case isNull(n):
		return nil
	case n.Value == "true":
		return true
	case n.Value == "false":
		return false
	case numbers && plainNumber(n.Value, true):
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i
		}
		if number, err := expr.ParseNumber(n.Value); err == nil {
			return number
		}
	}
	return n.Value
}
