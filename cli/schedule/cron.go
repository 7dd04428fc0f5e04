package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxCron is the longest cron text, in code points.
const maxCron = 256

// unit is one of the five fields of a cron text.
type unit struct {
	one, many string
	lo, hi    int
	names     []string // from lo on
}

const (
	inMinute = iota
	inHour
	inDay
	inMonth
	inWeekday
)

func units() [5]unit {
	return [5]unit{
		{one: "minute", many: "minutes", lo: 0, hi: 59},
		{one: "hour", many: "hours", lo: 0, hi: 23},
		{one: "day", many: "days", lo: 1, hi: 31},
		{one: "month", many: "months", lo: 1, hi: 12, names: []string{
			"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
		}},
		{one: "weekday", many: "weekdays", lo: 0, hi: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
	}
}

// expression is a cron text that holds to our grammar.
type expression struct {
	text   string    // as written
	fields [5]string // upper case, as written (a macro's expansion)
	star   [5]bool   // the field begins with "*"
	asked  [5]string // normalised: digits, "*", L, W and # only, what the library is asked about
	odd    []Warning
}

// followsClock tells whether the star rule makes it fire minute by minute.
func (e *expression) followsClock() bool { return e.star[inMinute] || e.star[inHour] }

// field is one field on its way through the parser.
type field struct {
	unit
	place int    // inMinute …
	text  string // upper case
	at    int    // offset in the cron text, in code points
}

// parseCron is the complete check of a cron text. What it lets through is what
// the library may be asked about.
func parseCron(text string) (*expression, error) {
	e := &expression{text: text}
	if n := utf8.RuneCountInString(text); n > maxCron {
		return nil, cronError("SYN1202", 0, 0, fmt.Sprintf("cron has %d characters; %d at most", n, maxCron), "several schedules, each with a part of it")
	}
	if err := checkCharacters(text); err != nil {
		return nil, err
	}
	words, offsets := splitFields(text)
	if len(words) == 0 {
		return nil, cronError("SYN1202", 0, 0, "cron is empty", `five fields, like "0 2 * * *"`)
	}
	if err := checkPrefix(words, offsets); err != nil {
		return nil, err
	}
	if strings.HasPrefix(words[0], "@") {
		expanded, err := expandMacro(words, offsets)
		if err != nil {
			return nil, err
		}
		words, offsets = strings.Fields(expanded), make([]int, 5)
	}
	if len(words) != 5 {
		return nil, wrongCount(text, len(words))
	}
	for i, u := range units() {
		f := field{unit: u, place: i, text: strings.ToUpper(words[i]), at: offsets[i]}
		asked, odd, err := f.parse()
		if err != nil {
			return nil, err
		}
		e.fields[i], e.asked[i], e.star[i] = f.text, asked, strings.HasPrefix(f.text, "*")
		e.odd = append(e.odd, odd...)
	}
	return e, nil
}

func cronError(code string, at, length int, message, hint string) *Error {
	return &Error{Code: code, Message: message, Hint: hint, Field: "cron", Offset: at, Len: length}
}

// checkCharacters refuses what is neither printable ASCII nor a tab, and shows it.
func checkCharacters(text string) error {
	at := 0
	for i, r := range text {
		if r != '\t' && (r < ' ' || r > '~') {
			message := fmt.Sprintf("character U+%04X has no place in a cron", r)
			hint := "digits, names and * , - / L W #"
			switch {
			case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
				message, hint = "cron is not UTF-8", "save the file as UTF-8"
			case r == '\n' || r == '\r':
				message, hint = "cron is one line; found a line break", "remove it"
			case unicode.IsSpace(r):
				message, hint = fmt.Sprintf("space U+%04X between fields", r), "an ordinary space"
			case unicode.IsDigit(r) || unicode.IsNumber(r):
				message, hint = fmt.Sprintf("digit U+%04X", r), "0 to 9"
			}
			return cronError("SYN1203", at, 1, message, hint)
		}
		at++
	}
	return nil
}

// splitFields splits at spaces and tabs. The text is ASCII by now, so bytes
// are code points.
func splitFields(text string) (words []string, offsets []int) {
	for i := 0; i < len(text); {
		if text[i] == ' ' || text[i] == '\t' {
			i++
			continue
		}
		start := i
		for i < len(text) && text[i] != ' ' && text[i] != '\t' {
			i++
		}
		words, offsets = append(words, text[start:i]), append(offsets, start)
	}
	return words, offsets
}

func checkPrefix(words []string, offsets []int) error {
	name, zone, found := strings.Cut(words[0], "=")
	if !found {
		return nil
	}
	if name = strings.ToUpper(name); name != "TZ" && name != "CRON_TZ" {
		return cronError("SYN1204", offsets[0], len(words[0]), fmt.Sprintf("%s is not part of a cron", quote(words[0])), "five fields, like \"0 2 * * *\"")
	}
	return cronError("SYN1204", offsets[0], len(words[0]), strings.TrimSpace("put the zone in timezone: "+short(zone)), "remove "+short(words[0]))
}

func macros() []string {
	return []string{"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"}
}

func expandMacro(words []string, offsets []int) (string, error) {
	name, at := words[0], offsets[0]
	known := "there are @hourly @daily @weekly @monthly @yearly"
	var expanded string
	switch name {
	case "@hourly":
		expanded = "0 * * * *"
	case "@daily", "@midnight":
		expanded = "0 0 * * *"
	case "@weekly":
		expanded = "0 0 * * 0"
	case "@monthly":
		expanded = "0 0 1 * *"
	case "@yearly", "@annually":
		expanded = "0 0 1 1 *"
	case "@every":
		hint := "every: 10s"
		if len(words) == 2 {
			if _, err := ParseDuration(words[1]); err == nil {
				hint = "every: " + words[1]
			}
		}
		return "", cronError("SYN1204", at, len(name), "@every is not a macro; "+known, hint)
	case "@reboot":
		return "", cronError("SYN1204", at, len(name), "@reboot is not a macro: a scheduler has no boot; "+known, `a time, like "0 2 * * *"`)
	default:
		hint := `one of them, or five fields like "0 2 * * *"`
		if near := nearest(strings.ToLower(name), macros(), 2); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return "", cronError("SYN1204", at, len(name), fmt.Sprintf("unknown macro %s; %s", short(name), known), hint)
	}
	if len(words) > 1 {
		return "", cronError("SYN1204", offsets[1], len(words[1]), name+" stands alone", "remove what follows it")
	}
	return expanded, nil
}

func wrongCount(text string, n int) *Error {
	count := strconv.Itoa(n)
	if small := []string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}; n < len(small) {
		count = small[n]
	}
	plural := "s"
	if n == 1 {
		plural = ""
	}
	message := fmt.Sprintf("cron %s has %s field%s; ", quote(text), count, plural)
	if n < 5 {
		return cronError("SYN1202", 0, len(text), message+"there are five", "minute hour day month weekday")
	}
	return cronError("SYN1202", 0, len(text), message+"there is no seconds field", "every: 10s, or five fields")
}

// quote shows a text in double quotes, cut where it is long.
func quote(s string) string { return `"` + short(s) + `"` }

// short cuts a text from outside to what a message can carry and makes odd
// characters visible.
func short(s string) string {
	q := strconv.Quote(s)
	q = q[1 : len(q)-1]
	q = strings.ReplaceAll(q, `\"`, `"`)
	if utf8.RuneCountInString(q) <= 64 {
		return q
	}
	return string([]rune(q)[:60]) + "…"
}
