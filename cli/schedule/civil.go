package schedule

import "time"

// Wall clocks are kept as seconds since 1970-01-01T00:00 on the wall, as if
// the wall were UTC. Instants are kept as Unix seconds.

const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
	week   = 7 * 24 * time.Hour
)

// The years 1 to 9999, in Unix seconds: what RFC 3339 can write.
const (
	minInstant = -62135596800
	maxInstant = 253402300799
)

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// date is the civil date of a day number (0 is 1970-01-01), and daysTo its
// inverse. Both count years from 1 March, so that the leap day comes last.
func date(days int64) (year, month, dom int) {
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	year, month, dom = int(yoe+era*400), int(mp)+3, int(doy-(153*mp+2)/5)+1
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, dom
}

func daysTo(year, month, dom int) int64 {
	y, m := int64(year), int64(month)-3
	if m < 0 {
		m += 12
		y--
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	doy := (153*m+2)/5 + int64(dom) - 1
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

func leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func monthLen(year, month int) int {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// weekday counts from Sunday, 0.
func weekday(days int64) int { return int((days%7 + 7 + 4) % 7) }

// wallText writes a wall clock, with seconds only where there are some.
func wallText(wall int64) string {
	t := time.Unix(wall, 0).UTC()
	if wall%minute != 0 {
		return t.Format("2006-01-02T15:04:05")
	}
	return t.Format("2006-01-02T15:04")
}

// clamp keeps a moment within the years that ticks can have.
func clamp(t time.Time) time.Time {
	switch u := t.Unix(); {
	case u < minInstant:
		return time.Unix(minInstant, 0).UTC()
	case u > maxInstant:
		return time.Unix(maxInstant, 0).UTC()
	}
	return t
}
