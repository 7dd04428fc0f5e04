package pipeline

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A File is a file as it travels: its name, for messages only, and its text.
type File struct {
	Name string
	Text []byte
}

// text is a file's content that has passed the first gate: UTF-8, no control
// characters, line ends that YAML and we count alike.
type text struct {
	name  string
	body  string   // without a byte-order mark
	lines []string // without their ends
}

// openText is the first gate.
func (p *parse) openText(f File) (*text, bool) {
	at := func(line, col int, code, message, hint string) (*text, bool) {
		p.report(Problem{File: f.Name, Line: line, Col: col, Severity: SeverityError, Code: code, Message: message, Hint: hint})
		return nil, false
	}
	if len(f.Text) > p.limits.FileBytes {
		return at(1, 1, "SYN1003", fmt.Sprintf("the file has more than %s bytes", grouped(p.limits.FileBytes)), "split it")
	}
	body := strings.TrimPrefix(string(f.Text), "\ufeff")
	line, col := 1, 1
	for i := 0; i < len(body); {
		r, n := utf8.DecodeRuneInString(body[i:])
		if r == utf8.RuneError && n == 1 {
			if i < 2 && len(f.Text) > 1 && (f.Text[0] == 0xff && f.Text[1] == 0xfe || f.Text[0] == 0xfe && f.Text[1] == 0xff) {
				return at(1, 1, "SYN1002", "not UTF-8 at byte 0: it looks like UTF-16", "save the file as UTF-8")
			}
			return at(line, col, "SYN1002", fmt.Sprintf("not UTF-8 at byte %d", len(f.Text)-len(body)+i), "save the file as UTF-8")
		}
		if why := badRune(r); why != "" {
			return at(line, col, "SYN1002", why, "")
		}
		i += n
		switch {
		case r == '\n', r == '\r' && (i >= len(body) || body[i] != '\n'):
			line, col = line+1, 1
		case r != '\r':
			col++
		}
	}
	return &text{name: f.Name, body: body, lines: splitLines(body)}, true
}

// badRune says why a character may not stand in a file. Those that YAML, and
// not we, would take for a line end are among them: they would move lines.
func badRune(r rune) string {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return ""
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return fmt.Sprintf("control character U+%04X", r)
	case r == '\ufeff':
		return "byte-order mark U+FEFF inside the text"
	case r == '\u2028', r == '\u2029':
		return fmt.Sprintf("line separator U+%04X", r)
	case r >= 0xfffe && r <= 0xffff:
		return fmt.Sprintf("U+%04X is no character", r)
	}
	return ""
}

// A chunk is the text of one document.
type chunk struct {
	first int // line of the file its text begins at, from 1
	lines []string
	body  string
}

// split cuts a file at the markers of YAML: a line that begins with --- begins
// a document, one that begins with ... ends it, wherever they stand.
func (t *text) split() []chunk {
	var chunks []chunk
	first := 0
	end := func(last int) {
		if blankLines(t.lines[first:last]) {
			first = last
			return
		}
		lines := t.lines[first:last]
		body := strings.Join(lines, "\n")
		if last < len(t.lines) {
			body += "\n"
		}
		chunks = append(chunks, chunk{first: first + 1, lines: lines, body: body})
		first = last
	}
	for i, line := range t.lines {
		switch {
		case marker(line, "---"):
			end(i)
		case marker(line, "..."):
			end(i)
			first = i + 1
		}
	}
	end(len(t.lines))
	return chunks
}

func marker(line, mark string) bool {
	return strings.HasPrefix(line, mark) && (len(line) == 3 || line[3] == ' ' || line[3] == '\t')
}

// blankLines says whether the lines hold nothing but blanks, comments and the
// marker at their start.
func blankLines(lines []string) bool {
	for i, line := range lines {
		if i == 0 && marker(line, "---") {
			line = line[3:]
		}
		line = strings.TrimLeft(line, " \t")
		if line != "" && line[0] != '#' {
			return false
		}
	}
	return true
}
