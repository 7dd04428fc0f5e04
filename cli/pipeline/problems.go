package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Severity tells a problem that stops a file from one that does not.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// A Problem is one thing that is wrong with a file, and where. Lines and
// columns count from 1, columns in code points.
type Problem struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Col      int      `json:"col"`
	Len      int      `json:"len,omitempty"` // of what is marked, in code points
	Severity Severity `json:"severity"`
	Code     string   `json:"code"` // SYN1203
	Message  string   `json:"message"`
	// Hint is what to do about it, or `did you mean "x"?`. It may be empty.
	Hint string `json:"hint,omitempty"`
}

// Error gives the problem on one line.
func (p Problem) Error() string {
	text := fmt.Sprintf("%s:%d:%d %s %s", showFile(p.File), p.Line, p.Col, p.Severity, p.Message)
	switch {
	case p.Hint == "":
		return text
	case strings.HasPrefix(p.Hint, "did you mean"):
		return text + "; " + p.Hint
	default:
		return text + " → " + p.Hint
	}
}

// Problems are all that is wrong with some files, by file, line and column.
type Problems struct {
	List []Problem `json:"problems"`
	// More counts the problems that List had no room for.
	More int `json:"more,omitempty"`

	errors, files int
}

// MaxProblems is how many problems are told; the rest are counted.
const MaxProblems = 50

const maxMessage = 2 << 10

// HasErrors says whether one of the problems is an error.
func (ps Problems) HasErrors() bool { return ps.errors > 0 }

// Errors counts the errors, those without room in List included.
func (ps Problems) Errors() int { return ps.errors }

// Err gives the problems as one error, nil if there are only warnings.
func (ps Problems) Err() error {
	if !ps.HasErrors() {
		return nil
	}
	return ps
}

// Error gives each problem on a line.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.Error())
	}
	if ps.More > 0 {
		fmt.Fprintf(&b, "\nand %s more", grouped(ps.More))
	}
	return b.String()
}

// counts are numbers of problems by severity.
type counts struct{ errors, warnings int }

func (c *counts) add(s Severity) {
	if s == SeverityError {
		c.errors++
	} else {
		c.warnings++
	}
}

func byPlace(a, b Problem) int {
	return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Col-b.Col)
}

// finish sorts what was collected, drops repetitions and cuts the list.
func finish(all []Problem, dropped counts) Problems {
	slices.SortStableFunc(all, func(a, b Problem) int {
		return cmp.Or(byPlace(a, b), strings.Compare(string(a.Severity), string(b.Severity)))
	})
	all = slices.CompactFunc(all, func(a, b Problem) bool { return a == b })
	total := dropped
	files := map[string]bool{}
	for i, p := range all {
		total.add(p.Severity)
		if p.Severity == SeverityError {
			files[p.File] = true
		}
		all[i].Message, all[i].Hint = cutBytes(p.Message, maxMessage), cutBytes(p.Hint, maxMessage/2)
	}
	// Errors go before warnings where there is no room for both.
	if len(all) > MaxProblems {
		all = dropWarnings(all, len(all)-MaxProblems)
	}
	ps := Problems{List: append([]Problem{}, all[:min(len(all), MaxProblems)]...), errors: total.errors, files: len(files)}
	ps.More = total.errors + total.warnings - len(ps.List)
	return ps
}

// dropWarnings drops the last n warnings, or all if there are fewer.
func dropWarnings(all []Problem, n int) []Problem {
	kept := slices.Clone(all)
	for i := len(kept) - 1; i >= 0 && n > 0; i-- {
		if kept[i].Severity == SeverityWarning {
			kept = slices.Delete(kept, i, i+1)
			n--
		}
	}
	return kept
}

func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// The colors of Text.
const (
	red, yellow, bold, plainColor = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
)

// Text shows each problem with its line of the file and a caret below what is
// wrong, and ends with a line that counts them.
func (ps Problems) Text(files []File, color bool) string {
	if len(ps.List) == 0 {
		return ""
	}
	paint := func(c, s string) string {
		if !color {
			return s
		}
		return c + s + plainColor
	}
	width := 0
	for _, p := range ps.List {
		width = max(width, utf8.RuneCountInString(place(p)))
	}
	lines := ps.excerpts(files)
	var b strings.Builder
	for _, p := range ps.List {
		severity := paint(red, "error  ")
		if p.Severity == SeverityWarning {
			severity = paint(yellow, "warning")
		}
		where := place(p)
		fmt.Fprintf(&b, "%s%s  %s %s\n", paint(bold, where), strings.Repeat(" ", width-utf8.RuneCountInString(where)), severity, p.Message)
		writeExcerpt(&b, lines(p), p, func(s string) string { return paint(red, s) })
	}
	if ps.More > 0 {
		fmt.Fprintf(&b, "and %s more\n", grouped(ps.More))
	}
	b.WriteString(ps.summary(len(files), paint))
	return b.String()
}

func (ps Problems) summary(files int, paint func(c, s string) string) string {
	warnings := len(ps.List) + ps.More - ps.errors
	if ps.errors == 0 {
		return paint(yellow, "!") + " " + count(warnings, "warning") + "\n"
	}
	text := fmt.Sprintf("%s in %d of %s", count(ps.errors, "error"), ps.files, count(files, "file"))
	if warnings > 0 {
		text += ", " + count(warnings, "warning")
	}
	return paint(red, "✕") + " " + text + "\n"
}

func count(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return grouped(n) + " " + word
}

func place(p Problem) string { return fmt.Sprintf("%s:%d:%d", showFile(p.File), p.Line, p.Col) }

// showFile makes a file's name safe to print: names come from people.
func showFile(name string) string {
	clean := len(name) <= 200
	for _, r := range name {
		clean = clean && unicode.IsPrint(r)
	}
	if clean && name != "" {
		return name
	}
	return show(clip(name, 200))
}

// excerpts gives the line that a problem is in, "" if it is not to be had. What
// looks like a credential is not in it.
func (ps Problems) excerpts(files []File) func(Problem) string {
	split := map[string][]string{}
	for _, f := range files {
		split[f.Name] = nil
	}
	for _, f := range files {
		if slices.ContainsFunc(ps.List, func(p Problem) bool { return p.File == f.Name }) {
			split[f.Name] = splitLines(strings.TrimPrefix(string(f.Text), "\ufeff"))
		}
	}
	for _, p := range ps.List {
		if lines := split[p.File]; p.Code == codeCredential && p.Line <= len(lines) {
			r := []rune(lines[p.Line-1])
			for i := max(p.Col-1, 0); i < min(p.Col-1+p.Len, len(r)); i++ {
				r[i] = '•'
			}
			lines[p.Line-1] = string(r)
		}
	}
	return func(p Problem) string {
		if lines := split[p.File]; p.Line >= 1 && p.Line <= len(lines) {
			return lines[p.Line-1]
		}
		return ""
	}
}

// splitLines splits at LF, CRLF and CR.
func splitLines(text string) []string {
	return strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
}

const (
	excerptWidth = 100
	excerptLead  = 60
)

// writeExcerpt shows the part of the line around the mark.
func writeExcerpt(b *strings.Builder, line string, p Problem, mark func(string) string) {
	runes := []rune(line)
	col := max(p.Col-1, 0)
	if strings.TrimSpace(line) == "" || col > len(runes) {
		if p.Hint != "" {
			fmt.Fprintf(b, "      → %s\n", p.Hint)
		}
		return
	}
	cut := 0
	if len(runes) > excerptWidth && col > excerptLead {
		cut = col - excerptLead
	}
	shown := runes[cut:]
	if len(shown) > excerptWidth {
		shown = shown[:excerptWidth]
	}
	var text strings.Builder
	for _, r := range shown {
		switch {
		case r == '\t':
			text.WriteByte(' ')
		case unicode.IsPrint(r):
			text.WriteRune(r)
		default:
			text.WriteRune('�')
		}
	}
	fmt.Fprintf(b, "%5d | %s\n", p.Line, strings.TrimRight(text.String(), " "))
	carets := mark(strings.Repeat("^", max(1, min(p.Len, len(shown)-(col-cut)))))
	fmt.Fprintf(b, "      | %s%s", blank(shown[:min(col-cut, len(shown))]), carets)
	switch {
	case p.Hint == "":
		b.WriteByte('\n')
	case strings.HasPrefix(p.Hint, "did you mean"):
		fmt.Fprintf(b, " %s\n", p.Hint)
	default:
		fmt.Fprintf(b, "\n      → %s\n", p.Hint)
	}
}

// blank is as wide as the characters: those of East Asia take two places.
func blank(runes []rune) string {
	n := 0
	for _, r := range runes {
		n++
		if r >= 0x1100 && (unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana) || r >= 0x1f300 && r <= 0x1faff) {
			n++
		}
	}
	return strings.Repeat(" ", n)
}
