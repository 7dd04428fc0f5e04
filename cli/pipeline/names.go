package pipeline

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

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
