package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// duration is how long something took: 640 ms, 12 s, 6 m 12 s, 3 h 04 m, 2 d 4 h.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d m %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %02d m", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// roughly is a duration in its largest unit, for "in 4 h" and "12 m ago".
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d m", int(d.Minutes()))
	case d < 48*time.Hour:
		if m := int(d.Minutes()) % 60; m > 0 && d < 10*time.Hour {
			return fmt.Sprintf("%d h %02d m", int(d.Hours()), m)
		}
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours())/24)
}

// plural is a count with its noun.
func plural[N int | int32 | int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(int64(n)) + " " + one + "s"
}

// number groups digits in threes, with a narrow space that does not break.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// size is a number of bytes: 312 MB.
func size(n int64) string {
	switch {
	case n < 1000:
		return plural(n, "byte")
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

var weekdays = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}

// inWords reads a schedule aloud, where it is one of the usual ones; else "".
func inWords(text string) string {
	if rest, ok := strings.CutPrefix(text, "every "); ok {
		return "every " + rest
	}
	switch text {
	case "@hourly":
		return "every hour"
	case "@daily", "@midnight":
		return "every day at 00:00"
	case "@weekly":
		return "every Sunday at 00:00"
	case "@monthly":
		return "on the 1st of every month at 00:00"
	case "@yearly", "@annually":
		return "every 1 January at 00:00"
	}
	f := strings.Fields(text)
	if len(f) != 5 || f[3] != "*" {
		return ""
	}
	minute, hour, day, weekday := f[0], f[1], f[2], f[4]
	when := clockWords(minute, hour)
	if when == "" {
		return ""
	}
	daily := strings.HasPrefix(when, "at ")
	switch {
	case day == "*" && weekday == "*":
		if daily {
			return "every day " + when
		}
		return when
	case day == "*" && weekday == "1-5":
		return join("Monday to Friday", when)
	case day == "*" && (weekday == "0,6" || weekday == "6,0"):
		return join("Saturday and Sunday", when)
	case day == "*":
		if n, err := strconv.Atoi(weekday); err == nil && n >= 0 && n <= 7 {
			return join("every "+weekdays[n%7], when)
		}
	case weekday == "*":
		if n, err := strconv.Atoi(day); err == nil && daily {
			return fmt.Sprintf("on day %d of every month %s", n, when)
		}
		if day == "L" && daily {
			return "on the last day of every month " + when
		}
	}
	return ""
}

func join(days, when string) string {
	if strings.HasPrefix(when, "at ") {
		return days + " " + when
	}
	return days + ", " + when
}

// clockWords reads the minute and the hour of a cron aloud.
func clockWords(minute, hour string) string {
	m, minuteErr := strconv.Atoi(minute)
	h, hourErr := strconv.Atoi(hour)
	if n, ok := strings.CutPrefix(minute, "*/"); ok && hour == "*" && divides(n, 60) {
		return "every " + n + " minutes"
	}
	switch {
	case minute == "*" && hour == "*":
		return "every minute"
	case minuteErr == nil && hourErr == nil:
		return fmt.Sprintf("at %02d:%02d", h, m)
	case minuteErr == nil && hour == "*":
		if m == 0 {
			return "every hour"
		}
		return fmt.Sprintf("every hour at minute %d", m)
	}
	if n, ok := strings.CutPrefix(hour, "*/"); ok && minuteErr == nil && divides(n, 24) {
		return fmt.Sprintf("every %s hours at minute %d", n, m)
	}
	return ""
}

// divides tells whether steps of n are equally far apart.
func divides(n string, whole int) bool {
	k, err := strconv.Atoi(n)
	return err == nil && k > 1 && whole%k == 0
}

// tidy makes odd characters of people's text visible: what changes the direction
// of text, hides, or controls, reads as its code.
func tidy(s string) string {
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == 0x1b:
			b.WriteRune('␛')
		case odd(r) && r < 0x20:
			b.WriteRune('\u2400' + r) // its picture
		case odd(r):
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// odd tells characters that show nothing or deceive.
func odd(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20 || r >= 0x7f && r < 0xa0:
		return true
	case r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x2069, r == 0x061c, r == 0xfeff, r == 0x2028, r == 0x2029, r == 0x00ad:
		return true
	case r >= 0xe0000 && r <= 0xe007f: // tags
		return true
	}
	return false
}
