package web

import (
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// logLines makes lines of a log ready to be shown. Colours go on from line to
// line, as on a terminal.
func logLines(lines []app.LogLine, zone *time.Location) []LogLine {
	out := make([]LogLine, 0, len(lines))
	var style ansi
	for _, l := range lines {
		line := LogLine{Number: l.Number, Stderr: l.Stderr}
		if !l.At.IsZero() {
			line.At = l.At.In(zone).Format("15:04:05.0")
		}
		if l.Missing > 0 {
			line.Missing = size(l.Missing) + " not kept before this line"
			style = ansi{}
		}
		if l.Longer > 0 {
			line.Longer = size(l.Longer) + " more in this line"
		}
		line.Spans = style.spans(lastState(l.Text))
		out = append(out, line)
	}
	return out
}

// lastState is what a terminal shows of a line that was written over: a progress
// bar's last state.
func lastState(s string) string {
	s = strings.TrimRight(s, "\r")
	if i := strings.LastIndexByte(s, '\r'); i >= 0 {
		return s[i+1:]
	}
	return s
}

// ansi is the look that escape sequences have set so far.
type ansi struct {
	colour          int // 1 to 16; 0: none
	bold, dim, line bool
}

func (a ansi) class() string {
	var c []string
	if a.colour > 0 {
		c = append(c, "a"+strconv.Itoa(a.colour-1))
	}
	if a.bold {
		c = append(c, "ab")
	}
	if a.dim {
		c = append(c, "ad")
	}
	if a.line {
		c = append(c, "au")
	}
	return strings.Join(c, " ")
}

// spans cuts a line where its look changes. Sequences that set colours become
// classes; of all others the escape character is shown, and does nothing.
func (a *ansi) spans(s string) []Span {
	var out []Span
	add := func(text string) {
		if text == "" {
			return
		}
		text, class := tidy(text), a.class()
		if n := len(out); n > 0 && out[n-1].Class == class {
			out[n-1].Text += text
			return
		}
		out = append(out, Span{class, text})
	}
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			add(s)
			return out
		}
		add(s[:i])
		rest := s[i+2:]
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != ';' })
		if end < 0 || end > 40 || (rest[end] != 'm' && rest[end] != 'K') {
			add(s[i : i+2])
			s = rest
			continue
		}
		if rest[end] == 'm' {
			a.set(strings.Split(rest[:end], ";"))
		} // K clears the rest of the line, where there is nothing
		s = rest[end+1:]
	}
}

func (a *ansi) set(codes []string) {
	for i := 0; i < len(codes); i++ {
		n, err := strconv.Atoi(codes[i])
		if err != nil {
			n = 0 // an empty one resets
		}
		switch {
		case n == 0:
			*a = ansi{}
		case n == 1:
			a.bold = true
		case n == 2:
			a.dim = true
		case n == 4:
			a.line = true
		case n == 22:
			a.bold, a.dim = false, false
		case n == 24:
			a.line = false
		case n >= 30 && n <= 37:
			a.colour = n - 30 + 1
		case n == 39:
			a.colour = 0
		case n >= 90 && n <= 97:
			a.colour = n - 90 + 9
		case n == 38 || n == 48:
			// 5;n is one of 256, 2;r;g;b is any: of the former the first 16 are kept.
			if i+2 < len(codes) && codes[i+1] == "5" {
				if k, err := strconv.Atoi(codes[i+2]); err == nil && n == 38 && k >= 0 && k < 16 {
					a.colour = k + 1
				}
				i += 2
			} else if i+1 < len(codes) && codes[i+1] == "2" {
				i += 4
			}
		}
	}
}
