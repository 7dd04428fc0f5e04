package pipeline

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A document is one YAML document on its way to a definition.
type document struct {
	p    *parse
	text *text
	chunk
	root *yaml.Node
	// starts are the first bytes of each character of a line, nil for ASCII.
	starts map[int][]int
	failed bool // an error was reported

	claims []claim
	sites  []site     // expressions to be checked when all names are known
	reads  []Read     // of secrets and variables
	task   *taskDraft // the task that is being read
	refs   []Reference
	group  spot
}

// A spot is a place in a file: a line, a column and how much is marked.
type spot struct{ line, col, len int }

func (d *document) report(s spot, severity Severity, code, message, hint string) {
	d.failed = d.failed || severity == SeverityError
	d.p.report(Problem{
		File: d.text.name, Line: s.line, Col: s.col, Len: s.len,
		Severity: severity, Code: code, Message: message, Hint: hint,
	})
}

// full says that the file has had so many errors that another one is only
// counted, which it then is.
func (d *document) full() bool {
	if d.p.dropped.errors < maxHeld {
		return false
	}
	d.p.dropped.errors++
	d.failed = true
	return true
}

func (d *document) fail(s spot, code, message, hint string) {
	d.report(s, SeverityError, code, message, hint)
}

func (d *document) failf(s spot, code, format string, args ...any) {
	if d.full() {
		return
	}
	d.fail(s, code, fmt.Sprintf(format, args...), "")
}

func (d *document) warn(s spot, code, message, hint string) {
	d.report(s, SeverityWarning, code, message, hint)
}

// decode reads the nodes of the chunk and passes them through the gates: what
// YAML itself refuses, size and depth, what the format refuses of YAML.
func (d *document) decode() bool {
	if line, ok := d.directive(); ok {
		d.fail(spot{d.first + line, 1, 1}, "SYN1004", "directives are not supported", "remove the line")
		return false
	}
	decoder := yaml.NewDecoder(strings.NewReader(d.body))
	var root yaml.Node
	err := decoder.Decode(&root)
	if err == nil {
		var next yaml.Node
		if err = decoder.Decode(&next); err == nil {
			err = errors.New("a second document without ---")
		}
	}
	if !errors.Is(err, io.EOF) {
		d.syntax(err)
		return false
	}
	if len(root.Content) != 1 {
		return false
	}
	d.root = root.Content[0]
	count := 0
	if !d.measure(d.root, 1, &count) {
		return false
	}
	clean := true
	d.refuse(d.root, &clean)
	return clean
}

// directive finds a line that begins with % before the content.
func (d *document) directive() (line int, ok bool) {
	for i, s := range d.lines {
		if strings.HasPrefix(s, "%") {
			return i, true
		}
		if trimmed := strings.TrimLeft(s, " \t"); trimmed != "" && trimmed[0] != '#' {
			return 0, false
		}
	}
	return 0, false
}

// measure counts nodes and depth.
func (d *document) measure(n *yaml.Node, depth int, count *int) bool {
	if *count++; *count > d.p.limits.Nodes {
		d.fail(spot{d.first, 1, 0}, "SYN1003", fmt.Sprintf("more than %s nodes in one document", grouped(d.p.limits.Nodes)), "split it")
		return false
	}
	if len(n.Content) > 0 && depth > d.p.limits.Depth {
		d.failf(d.at(n), "SYN1003", "nested deeper than %d levels", d.p.limits.Depth)
		return false
	}
	if n.Kind == yaml.ScalarNode && len(n.Value) > d.p.limits.Scalar {
		d.failf(d.at(n), "SYN1003", "a text of more than %s bytes", grouped(d.p.limits.Scalar))
		return false
	}
	for _, c := range n.Content {
		if !d.measure(c, depth+1, count) {
			return false
		}
	}
	return true
}

// refuse finds what the format refuses of YAML.
func (d *document) refuse(n *yaml.Node, clean *bool) {
	bad := func(s spot, code, message, hint string) {
		d.fail(s, code, message, hint)
		*clean = false
	}
	switch first := d.firstRune(n); {
	case n.Kind == yaml.AliasNode:
		bad(spot{d.first + n.Line - 1, n.Column, 1 + utf8.RuneCountInString(n.Value)}, "SYN1004", "aliases are not supported", "repeat the value, or use defaults:")
		return
	case n.Anchor != "" || first == '&':
		bad(spot{d.first + n.Line - 1, n.Column, utf8.RuneCountInString(d.word(n))}, "SYN1004", "anchors are not supported", "repeat the value, or use defaults:")
	case first == '!':
		written := d.word(n)
		bad(spot{d.first + n.Line - 1, n.Column, utf8.RuneCountInString(written)}, "SYN1004", tagMessage(written), tagHint(written, d.lead(n), inFlow(d.before(n), d.rest(n))))
	}
	if n.Kind == yaml.ScalarNode {
		for i, r := range []rune(n.Value) {
			if why := badRune(r); why != "" {
				bad(d.within(n, i, 1), "SYN1002", why, "")
				break
			}
		}
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			d.refuseKey(n.Content[i], clean)
		}
		for i := 1; i < len(n.Content); i += 2 {
			d.refuse(n.Content[i], clean)
		}
		return
	}
	for _, c := range n.Content {
		d.refuse(c, clean)
	}
}

func (d *document) refuseKey(key *yaml.Node, clean *bool) {
	before := *clean
	switch {
	case key.Kind == yaml.ScalarNode && key.Style == 0 && key.Value == "<<":
		d.fail(d.at(key), "SYN1004", `merge key "<<" is not supported`, "repeat the keys, or use defaults:")
	case key.Kind == yaml.MappingNode || key.Kind == yaml.SequenceNode:
		d.fail(d.at(key), "SYN1004", "a key is a word, found "+shape(key), "")
	case key.Kind == yaml.ScalarNode && key.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		d.fail(d.at(key), "SYN1004", "a key is a word, found a block of text", "")
	case len(key.Value) > d.p.limits.KeyBytes:
		d.failf(d.at(key), "SYN1003", "a key of more than %d bytes", d.p.limits.KeyBytes)
	default:
		d.refuse(key, &before)
		*clean = before
		return
	}
	*clean = false
}

func tagMessage(written string) string {
	if strings.HasPrefix(written, "!!") || strings.HasPrefix(written, "!<") {
		return "tag " + clip(written, 60) + " is not supported"
	}
	return `a value that begins with "!" is a YAML tag`
}

// tagHint says what to write instead; lead is the key before the value.
func tagHint(written, lead, rest string) string {
	if strings.HasPrefix(written, "!!") || strings.HasPrefix(written, "!<") {
		return "quote the value"
	}
	return lead + quoteFor("!"+strings.TrimLeft(rest[1:], " \t"))
}

// lead is the key that stands before a node on its line, with its colon.
func (d *document) lead(n *yaml.Node) string {
	return leadOf(d.before(n))
}

func (d *document) before(n *yaml.Node) string {
	line := d.line(n.Line)
	return line[:len(line)-len(d.after(n.Line, n.Column))]
}

// inFlow cuts what stands behind a value in {…} or […].
func inFlow(before, rest string) string {
	if strings.ContainsAny(before, "{[") {
		if i := strings.IndexAny(rest, ",]}"); i > 0 {
			return strings.TrimRight(rest[:i], " \t")
		}
	}
	return rest
}

func leadOf(before string) string {
	before = before[strings.LastIndexAny(before, "{[,")+1:]
	before = strings.TrimLeft(before, " \t-")
	if len(before) > 60 || !strings.HasSuffix(strings.TrimRight(before, " "), ":") {
		return ""
	}
	return before
}

// line gives a line of the chunk by a node's own count.
func (d *document) line(n int) string {
	if n < 1 || n > len(d.lines) {
		return ""
	}
	return d.lines[n-1]
}

// rest is what stands in the text from the node to the end of its line.
func (d *document) rest(n *yaml.Node) string {
	return strings.TrimRight(d.after(n.Line, n.Column), " \t")
}

// word is the first word that stands in the text at the node.
func (d *document) word(n *yaml.Node) string {
	rest := d.rest(n)
	if i := strings.IndexAny(rest, " \t,]}"); i > 0 {
		return rest[:i]
	}
	return rest
}

// firstRune is what stands in the text where the node begins.
func (d *document) firstRune(n *yaml.Node) rune {
	r, _ := utf8.DecodeRuneInString(d.after(n.Line, n.Column))
	return r
}

// after gives what stands in a line from a column on. Lines of one file can be
// as long as the file, and are asked for each of their nodes.
func (d *document) after(line, column int) string {
	source := d.line(line)
	starts, ok := d.starts[line]
	if !ok {
		if len(source) != utf8.RuneCountInString(source) {
			for i := range source {
				starts = append(starts, i)
			}
		}
		if d.starts == nil {
			d.starts = map[int][]int{}
		}
		d.starts[line] = starts
	}
	at := max(column-1, 0)
	switch {
	case starts == nil:
		at = min(at, len(source))
	case at < len(starts):
		at = starts[at]
	default:
		at = len(source)
	}
	return source[at:]
}

const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle

// isPlain says whether a scalar stands in the file without quotes.
func isPlain(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style&(quoted|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// isNull says whether a node is YAML's null, or nothing at all.
func isNull(n *yaml.Node) bool {
	if !isPlain(n) {
		return false
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	default:
		if isNull(n) {
			return "nothing"
		}
		return "text " + show(n.Value)
	}
}

// at is where a node is: the first character of its content.
func (d *document) at(n *yaml.Node) spot {
	s := spot{d.first + n.Line - 1, n.Column, 1}
	if n.Kind != yaml.ScalarNode {
		return s
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		for i := n.Line + 1; i <= len(d.lines); i++ {
			if body := strings.TrimLeft(d.line(i), " "); body != "" {
				return spot{d.first + i - 1, len(d.line(i)) - len(body) + 1, utf8.RuneCountInString(body)}
			}
		}
		return s
	}
	if n.Style&quoted != 0 {
		s.col++
	}
	if !strings.Contains(n.Value, "\n") {
		s.len = max(1, utf8.RuneCountInString(n.Value))
	}
	return s
}

// within is where a part of a scalar's text is: offset and length in code
// points of the value.
func (d *document) within(n *yaml.Node, offset, length int) spot {
	start := d.at(n)
	runes := []rune(n.Value)
	offset = min(max(offset, 0), len(runes))
	if n.Style&yaml.LiteralStyle != 0 {
		before := string(runes[:offset])
		k := strings.Count(before, "\n")
		line := strings.Split(n.Value, "\n")[k]
		source := d.line(n.Line + 1 + k)
		if strings.HasSuffix(source, line) {
			inLine := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
			return spot{d.first + n.Line + k, utf8.RuneCountInString(source) - utf8.RuneCountInString(line) + inLine + 1, max(1, length)}
		}
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && strings.HasPrefix(d.after(n.Line, start.col), n.Value) {
		return spot{start.line, start.col + offset, max(1, length)}
	}
	// Folded, escaped or over several lines: the place of the same words.
	part, _, _ := strings.Cut(string(runes[offset:min(offset+max(length, 1), len(runes))]), "\n")
	if strings.TrimSpace(part) == "" {
		return start
	}
	for i := n.Line; i <= min(len(d.lines), n.Line+len(d.lines)); i++ {
		source := d.line(i)
		from := 0
		if i == n.Line {
			from = len(source) - len(d.after(i, n.Column))
		}
		if j := strings.Index(source[from:], part); j >= 0 {
			return spot{d.first + i - 1, utf8.RuneCountInString(source[:from+j]) + 1, max(1, length)}
		}
	}
	return start
}
