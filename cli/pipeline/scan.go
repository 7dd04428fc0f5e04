package pipeline

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// syntax reports what YAML did not understand. Its library names a line that is
// up to three off, or none, so the text is searched for the common mistakes.
func (d *document) syntax(err error) {
	s := scanner{d: d}
	if s.scan(); s.found != nil {
		d.fail(s.found.spot, s.found.code, s.found.message, s.found.hint)
		return
	}
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	var rest string
	if n, _ := fmt.Sscanf(message, "line %d:", &line); n == 1 {
		_, rest, _ = strings.Cut(message, ": ")
		message = rest
		if strings.HasPrefix(message, "did not find") {
			line++
		}
	}
	for line > 1 && strings.TrimSpace(d.line(line)) == "" {
		line--
	}
	source := d.line(line)
	col := 1 + len(source) - len(strings.TrimLeft(source, " \t"))
	words, ok := syntaxWords[message]
	if !ok {
		words = "the text does not fit here"
	}
	d.fail(spot{d.first + line - 1, col, utf8.RuneCountInString(source) - col + 1}, "SYN1001", "YAML: "+words, "")
}

// syntaxWords are the library's messages in ours.
var syntaxWords = map[string]string{
	"mapping values are not allowed in this context":         `a ":" is not expected here; is a quote missing, or is the line indented too far?`,
	"block sequence entries are not allowed in this context": `a "-" is not expected here`,
	"did not find expected key":                              "a key was expected here; is the indent that of the keys above?",
	"did not find expected '-' indicator":                    `a "-" was expected here`,
	"did not find expected ',' or ']'":                       `"," or "]" was expected`,
	"did not find expected ',' or '}'":                       `"," or "}" was expected`,
	"could not find expected ':'":                            `a ":" was expected after the key`,
	"found unexpected end of stream":                         "the text ends too early; is a quote or bracket open?",
	"a second document without ---":                          "a second document begins here without ---",
	"found a tab character that violates indentation":        "a tab as indent",
}

// A scanner reads YAML just well enough to find the place of a common mistake.
// It runs only over text that YAML has refused, so it may be wrong about text
// that is fine.
type scanner struct {
	d     *document
	found *finding

	flow  []open // brackets that are open
	quote *open  // the quote that is open
	// block > 0: inside a block scalar, whose lines are indented by as much;
	// before it has begun, by at least as much.
	block, parent int
	begun         bool

	indents []int // of the lines with keys that are open
}

type open struct {
	mark rune
	spot
}

type finding struct {
	spot
	code, message, hint string
}

func (s *scanner) find(line, col, length int, code, message, hint string) {
	if s.found == nil {
		s.found = &finding{spot{s.d.first + line, col + 1, max(length, 1)}, code, message, hint}
	}
}

func (s *scanner) scan() {
	for i, text := range s.d.lines {
		s.line(i, []rune(text))
		if s.found != nil {
			return
		}
	}
	switch {
	case s.quote != nil:
		s.found = &finding{s.quote.spot, "SYN1001", "YAML: the quote is never closed", ""}
	case len(s.flow) > 0:
		last := s.flow[len(s.flow)-1]
		s.found = &finding{last.spot, "SYN1001", fmt.Sprintf("YAML: %q is never closed", last.mark), ""}
	}
}

func (s *scanner) line(no int, r []rune) {
	i := 0
	for i < len(r) && r[i] == ' ' {
		i++
	}
	if s.quote == nil {
		if i == len(r) {
			return
		}
		if s.block > 0 {
			if !s.begun && i >= s.block {
				s.block, s.parent, s.begun = i, s.block, true
			}
			if i >= s.block {
				return
			}
			if s.begun && i >= s.parent {
				s.find(no, i, len(r)-i, "SYN1001", "YAML: this line of a block is indented less than its first", "")
				return
			}
			s.block = 0
		}
		if r[i] == '\t' && len(s.flow) == 0 && strings.TrimSpace(string(r[i:])) != "" {
			s.find(no, i, 1, "SYN1001", "YAML: a tab as indent", "indent with spaces")
			return
		}
		if i == 0 && marker(string(r), "---") {
			for i = 3; i < len(r) && r[i] == ' '; i++ {
			}
			if i == len(r) {
				return
			}
		}
		if len(s.flow) == 0 && r[i] != '#' && keyLine.MatchString(string(r[i:min(len(r), i+200)])) {
			s.indent(no, r, i)
		}
	}
	s.tokens(no, r, i)
}

var keyLine = regexp.MustCompile(`^(- +)*("[^"]*"|'[^']*'|[^\s#&*!|>'"%@{}\[\]-][^#]*?):( |$)|^-( |$)`)

// indent follows the indents of lines with keys; one that goes back to none of
// those above is a mistake.
func (s *scanner) indent(no int, r []rune, i int) {
	popped := false
	for len(s.indents) > 0 && s.indents[len(s.indents)-1] > i {
		s.indents = s.indents[:len(s.indents)-1]
		popped = true
	}
	if popped && (len(s.indents) == 0 || s.indents[len(s.indents)-1] != i) {
		s.find(no, i, len(r)-i, "SYN1001", "YAML: the indent fits none of the lines above", "")
		return
	}
	for {
		if len(s.indents) == 0 || s.indents[len(s.indents)-1] < i {
			s.indents = append(s.indents, i)
		}
		if i+1 >= len(r) || r[i] != '-' || r[i+1] != ' ' {
			return
		}
		for i++; i < len(r) && r[i] == ' '; i++ {
		}
		if i >= len(r) || len(s.indents) > 100 {
			return
		}
	}
}

// tokens reads the rest of a line.
func (s *scanner) tokens(no int, r []rune, i int) {
	indent := i    // of the node that a block scalar would belong to
	value := false // behind "key:" of this line
	dashes := 0
	for s.found == nil {
		if s.quote != nil {
			if i = s.closeQuote(no, r, i); i < 0 {
				return
			}
			i = s.afterQuote(no, r, i, &value)
			continue
		}
		for i < len(r) && (r[i] == ' ' || r[i] == '\t') {
			i++
		}
		if i >= len(r) || r[i] == '#' && (i == 0 || r[i-1] == ' ' || r[i-1] == '\t') {
			return
		}
		c, blank := r[i], i+1 >= len(r) || r[i+1] == ' ' || r[i+1] == '\t'
		switch {
		case c == '"' || c == '\'':
			s.quote = &open{c, spot{s.d.first + no, i + 1, 1}}
			if !value {
				indent = i
			}
			i++
		case c == '[' || c == '{':
			s.flow = append(s.flow, open{c, spot{s.d.first + no, i + 1, 1}})
			if len(s.flow) > s.d.p.limits.Depth {
				s.find(no, i, 1, "SYN1003", fmt.Sprintf("nested deeper than %d levels", s.d.p.limits.Depth), "")
			}
			i++
			value = false
		case c == ']' || c == '}':
			if n := len(s.flow); n == 0 || (s.flow[n-1].mark == '[') != (c == ']') {
				s.find(no, i, 1, "SYN1001", fmt.Sprintf("YAML: %q closes nothing", c), "")
			} else {
				s.flow = s.flow[:n-1]
			}
			i++
			value = true
		case len(s.flow) > 0 && (c == ',' || c == ':' && !value):
			value = false
			i++
		case (c == '-' || c == '?') && blank && len(s.flow) == 0:
			if !value {
				indent = i
			}
			i++
			if dashes++; dashes > s.d.p.limits.Depth {
				s.find(no, i-1, 1, "SYN1003", fmt.Sprintf("nested deeper than %d levels", s.d.p.limits.Depth), "")
			}
		case (c == '|' || c == '>') && len(s.flow) == 0:
			s.block, s.begun = indent+1, false
			if header.MatchString(string(r[i:])) {
				return
			}
			s.find(no, i, 1, "SYN1001", "YAML: the text of a block begins on the next line", "")
		case strings.ContainsRune("*&!@%`", c):
			s.indicator(no, r, i)
		default:
			if !value {
				indent = i
			}
			i = s.plain(no, r, i, &value)
		}
	}
}

var header = regexp.MustCompile(`^[|>][-+0-9]{0,2}([ \t]+#.*|[ \t]*)$`)

// closeQuote looks for the end of the open quote; it gives the place behind it,
// or -1 if the quote goes on in the next line.
func (s *scanner) closeQuote(no int, r []rune, i int) int {
	for ; i < len(r); i++ {
		switch {
		case r[i] == '\\' && s.quote.mark == '"':
			if i+1 < len(r) && !goodEscape(string(r[i+1:min(i+12, len(r))])) {
				s.find(no, i, 2, "SYN1001", "YAML: "+string(r[i:i+2])+" is no escape in a quoted value", "write the character itself, or use single quotes")
				return -1
			}
			i++
		case r[i] == s.quote.mark:
			if s.quote.mark == '\'' && i+1 < len(r) && r[i+1] == '\'' {
				i++
				continue
			}
			return i + 1
		}
	}
	return -1
}

// goodEscape says whether the text behind a backslash is one of YAML's escapes.
func goodEscape(text string) bool {
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[text[0]]
	if digits == 0 {
		return strings.IndexByte("0abt\tnvfre \"'\\N_LP", text[0]) >= 0
	}
	var n uint32
	if len(text) <= digits {
		return false
	}
	if k, err := fmt.Sscanf(text[1:1+digits], "%x", &n); k != 1 || err != nil {
		return false
	}
	return utf8.ValidRune(rune(n))
}

// afterQuote looks at what follows a quoted value.
func (s *scanner) afterQuote(no int, r []rune, i int, value *bool) int {
	s.quote = nil
	j := i
	for j < len(r) && (r[j] == ' ' || r[j] == '\t') {
		j++
	}
	switch {
	case j >= len(r) || r[j] == '#' && j > i:
	case r[j] == ':' && (j+1 >= len(r) || r[j+1] == ' ' || r[j+1] == '\t' || len(s.flow) > 0):
		if *value && len(s.flow) == 0 {
			s.find(no, j, 1, "SYN1001", `YAML: a second ":" in one line`, "quote the whole value")
		}
		*value = true
		return j + 1
	case len(s.flow) > 0 && strings.ContainsRune(",]}", r[j]):
	default:
		s.find(no, j, 1, "SYN1001", "YAML: text after the closing quote", "quote the whole value; inside '…' a quote is written twice")
	}
	return j
}

// indicator finds a value that begins with a sign that means something to YAML.
func (s *scanner) indicator(no int, r []rune, i int) {
	rest := strings.TrimRight(string(r[i:]), " \t")
	if len(s.flow) > 0 {
		if j := strings.IndexAny(rest, ",]}"); j > 0 {
			rest = rest[:j]
		}
	}
	word, _, _ := strings.Cut(rest, " ")
	length := utf8.RuneCountInString(word)
	switch c := r[i]; {
	case c == '&' && anchorName.MatchString(word):
		s.find(no, i, length, "SYN1004", "anchors are not supported", "repeat the value, or use defaults:")
	case c == '*' && anchorName.MatchString(word) && word == rest:
		s.find(no, i, length, "SYN1004", "aliases are not supported", "repeat the value, or use defaults:")
	case c == '!':
		s.find(no, i, length, "SYN1004", tagMessage(word), tagHint(word, leadOf(string(r[:i])), rest))
	default:
		s.find(no, i, utf8.RuneCountInString(rest), "SYN1001", fmt.Sprintf("YAML: a value may not begin with %q unless quoted", string(c)), leadOf(string(r[:i]))+quoteFor(rest))
	}
}

var anchorName = regexp.MustCompile(`^[&*][A-Za-z0-9_-]+:?$`)

// quoteFor writes a value in the quotes that fit it.
func quoteFor(value string) string {
	value = clip(value, 80)
	if strings.ContainsAny(value, `"\`) {
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	}
	return `"` + value + `"`
}

// plain reads an unquoted word or value and gives the place behind it.
func (s *scanner) plain(no int, r []rune, i int, value *bool) int {
	start := i
	for ; i < len(r); i++ {
		next := i+1 >= len(r) || r[i+1] == ' ' || r[i+1] == '\t'
		switch {
		case len(s.flow) > 0 && strings.HasPrefix(string(r[i:min(i+3, len(r))]), "${{"):
			s.find(no, i, 3, "SYN1001", "YAML: ${{ inside {…} or […] must be quoted", `"${{ … }}"`)
			return len(r)
		case len(s.flow) > 0 && strings.ContainsRune(",[]{}", r[i]):
			s.question(no, r, start, i)
			return i
		case r[i] == '#' && i > 0 && (r[i-1] == ' ' || r[i-1] == '\t'):
			return i
		case r[i] == ':' && (next || len(s.flow) > 0 && strings.ContainsRune(",[]{}", r[i+1])):
			if *value {
				text := strings.TrimSpace(string(r[start:]))
				s.find(no, i, 1, "SYN1001", `YAML: ": " inside a value that is not quoted`, quoteFor(text))
				return len(r)
			}
			*value = true
			return i + 1
		}
	}
	return i
}

// question finds a plain value in a flow collection that ends with "?".
func (s *scanner) question(no int, r []rune, start, end int) {
	text := strings.TrimRight(string(r[start:end]), " \t")
	if strings.HasSuffix(text, "?") {
		s.find(no, start, utf8.RuneCountInString(text), "SYN1001", `YAML: a value inside […] or {…} that ends with "?" must be quoted`, quoteFor(text))
	}
}
