package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
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
