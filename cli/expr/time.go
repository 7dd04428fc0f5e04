package expr

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

func instantText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// durationText writes days, hours, minutes and seconds, the largest first, so
// that duration(…) reads it again. Only a difference can be negative.
func durationText(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	left := uint64(d)
	if d < 0 {
		b.WriteByte('-')
		left = -left
	}
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if n := left / uint64(u.size); n > 0 {
			b.WriteString(strconv.FormatUint(n, 10))
			b.WriteString(u.name)
			left %= uint64(u.size)
		}
	}
	if left > 0 {
		whole, fraction := left/1e9, left%1e9
		b.WriteString(strconv.FormatUint(whole, 10))
		if fraction > 0 {
			digits := strconv.FormatUint(fraction+1e9, 10)[1:]
			b.WriteString("." + strings.TrimRight(digits, "0"))
		}
		b.WriteByte('s')
	}
	return b.String()
}

var durationUnits = []struct {
	name string
	size time.Duration
}{
	{"w", 7 * 24 * time.Hour},
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
}

var errDuration = errors.New("it is not a duration like 90s, 1h30m or 2d")

// parseDuration reads number+unit, one or more times, units in falling order.
func parseDuration(s string) (time.Duration, error) {
	if s == "" || len(s) > 100 {
		return 0, errDuration
	}
	var total time.Duration
	from := 0
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if end <= 0 {
			return 0, errDuration
		}
		count := s[:end]
		s = s[end:]
		end = strings.IndexFunc(s, func(r rune) bool { return r < 'a' || r > 'z' })
		if end < 0 {
			end = len(s)
		}
		unit := s[:end]
		s = s[end:]
		d, next, err := oneUnit(count, unit, from)
		if err != nil {
			return 0, err
		}
		from = next
		if total += d; total < 0 {
			return 0, errors.New("the duration is longer than 292 years")
		}
	}
	return total, nil
}

// oneUnit reads one number+unit; units before from have had their turn.
func oneUnit(count, unit string, from int) (time.Duration, int, error) {
	for i := from; i < len(durationUnits); i++ {
		u := durationUnits[i]
		if u.name != unit {
			continue
		}
		whole, fraction, hasFraction := strings.Cut(count, ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		if err != nil || hasFraction && (fraction == "" || len(fraction) > 18 || strings.Contains(fraction, ".")) {
			return 0, 0, errDuration
		}
		if n > math.MaxInt64/int64(u.size) {
			return 0, 0, errors.New("the duration is longer than 292 years")
		}
		d := time.Duration(n) * u.size
		part := u.size
		for _, c := range fraction {
			// Digit by digit in integers: a float would lose nanoseconds.
			d += time.Duration(c-'0') * (part / 10)
			if part%10 != 0 && c != '0' && part < 10 {
				return 0, 0, errors.New("the duration is finer than a nanosecond")
			}
			part /= 10
		}
		if d < 0 {
			return 0, 0, errors.New("the duration is longer than 292 years")
		}
		return d, i + 1, nil
	}
	return 0, 0, errDuration
}

// parseInstant reads RFC 3339, or a local time or date in the zone.
func parseInstant(s string, zone *time.Location) (time.Time, error) {
	// Go's reader also takes a comma before the fraction and one-digit hours.
	if len(s) > 40 || strings.Contains(s, ",") {
		return time.Time{}, errInstant
	}
	shaped := s
	if len(s) > 10 && s[10] == ' ' {
		shaped = s[:10] + "T" + s[11:]
	}
	if t, err := time.Parse(time.RFC3339, shaped); err == nil && s == shaped && s[13] == ':' {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if len(layout) != len(shaped) {
			continue
		}
		wall, err := time.Parse(layout, shaped)
		if err != nil {
			return time.Time{}, errInstant
		}
		return local(wall, zone)
	}
	return time.Time{}, errInstant
}

var errInstant = errors.New("it is not an instant like 2026-11-22T05:30:00Z, nor a local time or date")

// local gives the instant at which a clock of the zone shows wall, the first if
// it does so twice.
func local(wall time.Time, zone *time.Location) (time.Time, error) {
	y, m, d := wall.Date()
	t := time.Date(y, m, d, wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	shows := func(t time.Time) bool {
		_, offset := t.Zone()
		return t.Unix()+int64(offset) == wall.Unix()
	}
	if !shows(t) {
		return time.Time{}, errors.New("that local time does not exist in its zone: the clocks went forward over it")
	}
	if start, _ := t.ZoneBounds(); !start.IsZero() {
		_, now := t.Zone()
		_, before := start.Add(-time.Second).Zone()
		if earlier := t.Add(time.Duration(now-before) * time.Second); earlier.Before(t) && shows(earlier) {
			return earlier, nil
		}
	}
	return t, nil
}

// loadZone reads an IANA zone. The empty name and Local would mean something
// else on every machine.
func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" || len(name) > 64 || strings.HasPrefix(name, "right/") || strings.HasPrefix(name, "posix/") {
		return nil, errZone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errZone
	}
	return zone, nil
}

var errZone = errors.New("it is not an IANA time zone like Europe/Berlin")

// addDuration keeps instants within the years that their text can show.
func addDuration(t time.Time, d time.Duration) (time.Time, bool) {
	t = t.Add(d)
	y := t.UTC().Year()
	return t, y >= 0 && y <= 9999
}

// subInstants is a - b, if a duration can hold it.
func subInstants(a, b time.Time) (time.Duration, bool) {
	d := a.Sub(b)
	return d, d != math.MaxInt64 && d != math.MinInt64
}
