package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// A ui is what a command says things with. It is safe for concurrent use.
type ui struct {
	env    Env
	format string // table, wide, json, yaml, name
	quiet  bool
	utf8   bool
	// What each stream may be given: colours and repainting.
	colorOut, colorErr bool
	paints             bool

	mu  sync.Mutex
	bad error // why stdout cannot be written any more
	// gone ends the command when nobody reads its output any more.
	gone context.CancelCauseFunc
}

// Formats of output.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

func newUI(env Env, gone context.CancelCauseFunc) *ui {
	dumb := env.Getenv("TERM") == "dumb"
	color := func(tty bool) bool {
		switch {
		case env.Getenv("NO_COLOR") != "":
			return false
		case env.Getenv("CLICOLOR_FORCE") != "" && env.Getenv("CLICOLOR_FORCE") != "0":
			return true
		default:
			return tty && !dumb
		}
	}
	return &ui{
		env: env, format: formatTable, utf8: isUTF8(env.Getenv), gone: gone,
		colorOut: color(env.StdoutTTY), colorErr: color(env.StderrTTY), paints: !dumb,
	}
}

// isUTF8 says whether the locale can show more than ASCII. Systems that have no
// such variables at all can.
func isUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// machine says that stdout is for a program.
func (u *ui) machine() bool {
	return u.format == formatJSON || u.format == formatYAML || u.format == formatName
}

// out writes to stdout.
func (u *ui) out(text string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bad != nil {
		return u.bad
	}
	if _, err := io.WriteString(u.env.Stdout, text); err != nil {
		u.bad = fmt.Errorf("write: %w", err)
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
			u.bad = errClosed
			u.gone(errClosed)
		}
		return u.bad
	}
	return nil
}

// outf writes our own words to stdout, in characters that the locale has.
func (u *ui) outf(format string, args ...any) error {
	return u.out(u.fit(fmt.Sprintf(format, args...)))
}

// note tells something beside the answer, on stderr.
func (u *ui) note(format string, args ...any) {
	if u.quiet {
		return
	}
	u.say(fmt.Sprintf(format, args...))
}

// say writes lines to stderr.
func (u *ui) say(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, _ = io.WriteString(u.env.Stderr, u.fit(text)+"\n")
}

// warn tells what may be wrong and stops nothing.
func (u *ui) warn(format string, args ...any) {
	u.say(u.paintErr(amber, "! ") + fmt.Sprintf(format, args...))
}

// ascii is what our own glyphs become where the locale has no others.
var ascii = strings.NewReplacer("✓", "ok", "✕", "x", "→", "->", "·", "-", "…", "...", "▶", ">", "⋯", "..", "█", "#", "░", ".",
	"│", "|", "–", "-", "↻", "~", "■", "#", "⏱", "!", "⇡", "^", "‖", "||", "☁", "@", "≈", "~", "•", "*", "×", "x", "“", `"`, "”", `"`, "\u00a0", " ")

func (u *ui) fit(text string) string {
	if u.utf8 {
		return text
	}
	return ascii.Replace(text)
}

// A shade is one of the colours of a terminal.
type shade string

const (
	plain shade = ""
	bold  shade = "1"
	dim   shade = "2"
	red   shade = "31"
	green shade = "32"
	amber shade = "33"
	blue  shade = "34"
	slate shade = "90"
)

func paint(on bool, s shade, text string) string {
	if !on || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (u *ui) paintOut(s shade, text string) string { return paint(u.colorOut, s, text) }
func (u *ui) paintErr(s shade, text string) string { return paint(u.colorErr, s, text) }

// clean takes out of a text what a terminal could obey: control characters and
// whole escape sequences, and the marks that turn the direction of text.
func clean(text string) string {
	if isClean(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == 0x1b:
			i += escape(text[i:])
			continue
		case r == 0x9b:
			i += n + finalByte(text[i+n:])
			continue
		case r == '\t' || r == '\n':
			b.WriteRune(r)
		case r == utf8.RuneError && n == 1:
			b.WriteRune(utf8.RuneError)
		case !harmful(r):
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

func isClean(text string) bool {
	for i, r := range text {
		if harmful(r) && r != '\t' && r != '\n' || r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd") {
			return false
		}
	}
	return true
}

func harmful(r rune) bool {
	return unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x2028 || r == 0x2029
}

// escape is the length of an escape sequence at the start of a text.
func escape(text string) int {
	if len(text) < 2 {
		return len(text)
	}
	switch text[1] {
	case '[':
		return 2 + finalByte(text[2:])
	case ']', 'P', 'X', '^', '_': // strings, up to BEL or ST
		for i := 2; i < len(text); i++ {
			if text[i] == 0x07 {
				return i + 1
			}
			if text[i] == 0x1b {
				return min(i+2, len(text))
			}
		}
		return len(text)
	default:
		_, n := utf8.DecodeRuneInString(text[1:])
		return 1 + n
	}
}

// finalByte is where a control sequence ends.
func finalByte(text string) int {
	for i := range len(text) {
		if c := text[i]; c >= 0x40 && c <= 0x7e {
			return i + 1
		} else if c < 0x20 || c > 0x7e {
			return i
		}
	}
	return len(text)
}

// cleanLine is a text made to fit on a line.
func cleanLine(text string) string {
	return strings.Join(strings.FieldsFunc(clean(text), func(r rune) bool { return r == '\n' || r == '\t' }), " ")
}

func quote(text string) string { return strconv.Quote(clean(text)) }

// size is how wide and high the terminal is.
func (u *ui) size() (columns, rows int) {
	if u.env.Size != nil {
		columns, rows = u.env.Size()
	}
	if columns < 20 {
		columns = 80
	}
	if rows < 5 {
		rows = 24
	}
	return columns, rows
}

// raw writes to stderr as it is.
func (u *ui) raw(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, _ = io.WriteString(u.env.Stderr, text)
}
