package schedule

import (
	"fmt"
	"strings"
	"time"
)

// ParseInstant reads RFC 3339 with an offset; or 2026-11-22T05:30, with
// seconds, with a space instead of T, or a date alone, in the zone given (nil:
// UTC). A local time that comes twice is the first; one that does not exist
// is refused. Its error is an *Error.
func ParseInstant(text string, loc *time.Location) (time.Time, error) {
	bad := func(message, hint string) (time.Time, error) {
		return time.Time{}, &Error{Code: "SYN1009", Field: "instant", Len: len([]rune(text)), Message: message, Hint: hint}
	}
	const form = "like 2026-11-22T05:30:00+01:00, 2026-11-22T05:30 or 2026-11-22"
	r := &reader{rest: text}
	year, month, dom := r.number(4), r.then('-').number(2), r.then('-').number(2)
	if r.bad {
		return bad(fmt.Sprintf("%s is not an instant", quote(text)), form)
	}
	if year < 1 || month < 1 || month > 12 || dom < 1 || dom > monthLen(year, month) {
		return bad(fmt.Sprintf("the date %s does not exist", short(text[:10])), form)
	}
	var h, m, s int
	var nanos int64
	clock := r.rest != ""
	if clock {
		if r.rest[0] == ' ' {
			r.rest = "T" + r.rest[1:]
		}
		h, m = r.then('T').number(2), r.then(':').number(2)
		if strings.HasPrefix(r.rest, ":") {
			s = r.then(':').number(2)
			if strings.HasPrefix(r.rest, ".") {
				nanos = r.then('.').fraction()
			}
		}
	}
	if r.bad {
		return bad(fmt.Sprintf("%s is not an instant", quote(text)), form)
	}
	if h > 23 || m > 59 || s > 59 {
		return bad(fmt.Sprintf("the time of day in %s does not exist", quote(text)), "00:00:00 to 23:59:59")
	}
	wall := daysTo(year, month, dom)*day + int64(h*hour+m*minute+s)
	if clock && r.rest != "" {
		off, ok := r.offset()
		if !ok || r.rest != "" {
			return bad(fmt.Sprintf("%s is not an instant", quote(text)), form)
		}
		if len(text) < len("2006-01-02T15:04:05Z") || text[16] != ':' {
			return bad(fmt.Sprintf("%s has an offset and no seconds", quote(text)), text[:16]+":00"+text[16:])
		}
		return time.Unix(wall-off, nanos).UTC(), nil
	}
	if nanos != 0 {
		return bad(fmt.Sprintf("%s has a fraction and no offset", quote(text)), form)
	}
	if loc == nil {
		loc = time.UTC
	}
	unix, ok := newClock(loc).instant(wall)
	if !ok {
		first := time.Unix(unix, 0).In(loc)
		return bad(fmt.Sprintf("%s does not exist in %s: the clock goes from %s to %s", short(text), loc,
			wallText(unix + newClock(loc).stretch(unix).before)[11:], first.Format("15:04")), first.Format("2006-01-02T15:04"))
	}
	return time.Unix(unix, 0).UTC(), nil
}

// ParseTimeOfDay reads HH:MM, 24 hours. Its error is an *Error.
func ParseTimeOfDay(text string) (hours, minutes int, err error) {
	r := &reader{rest: text}
	hours, minutes = r.number(2), r.then(':').number(2)
	if r.bad || r.rest != "" || hours > 23 || minutes > 59 {
		return 0, 0, &Error{
			Code: "SYN1009", Field: "time", Len: len([]rune(text)),
			Message: fmt.Sprintf("%s is not a time of day", quote(text)), Hint: "HH:MM, 00:00 to 23:59",
		}
	}
	return hours, minutes, nil
}

// reader takes a text apart from the left; bad sticks.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) number(width int) int {
	if r.bad || len(r.rest) < width || !digits(r.rest[:width]) {
		r.bad = true
		return 0
	}
	n := number(r.rest[:width])
	r.rest = r.rest[width:]
	return n
}

func (r *reader) then(c byte) *reader {
	if r.bad || r.rest == "" || r.rest[0] != c {
		r.bad = true
		return r
	}
	r.rest = r.rest[1:]
	return r
}

// fraction reads one to nine digits as nanoseconds.
func (r *reader) fraction() int64 {
	n, scale := int64(0), int64(time.Second)
	for r.rest != "" && r.rest[0] >= '0' && r.rest[0] <= '9' && scale > 1 {
		scale /= 10
		n += int64(r.rest[0]-'0') * scale
		r.rest = r.rest[1:]
	}
	r.bad = r.bad || scale == int64(time.Second)
	return n
}

// offset reads Z or ±HH:MM, in seconds.
func (r *reader) offset() (int64, bool) {
	if r.rest[0] == 'Z' {
		r.rest = r.rest[1:]
		return 0, true
	}
	sign := int64(1)
	switch r.rest[0] {
	case '-':
		sign = -1
	case '+':
	default:
		return 0, false
	}
	r.rest = r.rest[1:]
	h, m := r.number(2), r.then(':').number(2)
	return sign * int64(h*hour+m*minute), !r.bad && h < 24 && m < 60
}

// NextTimeOfDay is the first instant after another at which a clock in the zone
// shows a time of day. A time that does not exist on a day counts at the first
// instant after the gap, one that comes twice at its first.
func NextTimeOfDay(after time.Time, hours, minutes int, loc *time.Location) time.Time {
	if loc == nil {
		loc = time.UTC
	}
	c := newClock(loc)
	wall := after.Unix() + c.stretch(after.Unix()).off
	today := floorDiv(wall, day)
	for days := today - 1; ; days++ {
		unix, _ := c.instant(days*day + int64(hours)*hour + int64(minutes)*minute)
		if at := time.Unix(unix, 0).UTC(); at.After(after) {
			return at
		}
	}
}
