package schedule

import (
	"fmt"
	"math/bits"
	"strings"
	"sync/atomic"
	"time"

	"github.com/adhocore/gronx"
)

// calendar answers, for wall clocks, which minutes an expression matches. The
// library decides; the calendar remembers its answers as bits, because it is
// asked the same few questions over and over and each costs a microsecond.
//
// The library goes astray around clock changes, so all it ever sees is a wall
// clock labelled UTC, where there are none.
type calendar struct {
	minutes uint64
	hours   uint32
	months  uint16 // bit 1 is January
	days    []string

	// shapes keeps the matching days of a month by its length and the weekday
	// it begins with: nothing else can make a difference. Bit 0 tells that the
	// library has been asked, bit n is day n.
	shapes [4 * 7]atomic.Uint32
}

// The library's positions: it puts seconds first.
const (
	askMinute = 1 + iota
	askHour
	askDay
	askMonth
	askWeekday
)

func newCalendar(e *expression) (*calendar, error) {
	c := &calendar{days: []string{"*", "*", "*", e.asked[inDay], "*", e.asked[inWeekday]}}
	for n := range 60 {
		due, err := ask(askMinute, e.asked[inMinute], time.Date(2001, 1, 1, 0, n, 0, 0, time.UTC))
		if err != nil {
			return nil, refused(e, err)
		}
		if due {
			c.minutes |= 1 << n
		}
	}
	for n := range 24 {
		due, err := ask(askHour, e.asked[inHour], time.Date(2001, 1, 1, n, 0, 0, 0, time.UTC))
		if err != nil {
			return nil, refused(e, err)
		}
		if due {
			c.hours |= 1 << n
		}
	}
	for n := 1; n <= 12; n++ {
		due, err := ask(askMonth, e.asked[inMonth], time.Date(2001, time.Month(n), 1, 0, 0, 0, 0, time.UTC))
		if err != nil {
			return nil, refused(e, err)
		}
		if due {
			c.months |= 1 << n
		}
	}
	if !c.ever() {
		return nil, e.never(c.months)
	}
	return c, nil
}

func ask(position int, text string, wall time.Time) (bool, error) {
	if text == "*" {
		return true, nil
	}
	var checker gronx.SegmentChecker
	checker.SetRef(wall)
	return checker.CheckDue(text, position)
}

// refused is for what our own check lets through and the library does not; no
// such text is known.
func refused(e *expression, err error) *Error {
	return cronError("SYN1203", 0, len(e.text), fmt.Sprintf("cron %s: %v", quote(e.text), err), "write it with plain numbers")
}

// inMonth gives the matching days of a month, bit n for day n.
func (c *calendar) inMonth(year, month int) uint32 {
	if c.months>>month&1 == 0 {
		return 0
	}
	if c.days[askDay] == "*" && c.days[askWeekday] == "*" {
		return 1<<(monthLen(year, month)+1) - 2
	}
	shape := &c.shapes[(monthLen(year, month)-28)*7+weekday(daysTo(year, month, 1))]
	if known := shape.Load(); known != 0 {
		return known &^ 1
	}
	known := uint32(1)
	library := gronx.Gronx{C: &gronx.SegmentChecker{}}
	for d := 1; d <= monthLen(year, month); d++ {
		library.C.SetRef(time.Date(year, time.Month(month), d, 0, 0, 0, 0, time.UTC))
		if due, err := library.SegmentsDue(c.days); due && err == nil {
			known |= 1 << d
		}
	}
	shape.Store(known)
	return known &^ 1
}

// ever tells whether any date matches: 28 years hold each kind of month.
func (c *calendar) ever() bool {
	for year := 2000; year < 2028; year++ {
		for month := 1; month <= 12; month++ {
			if c.inMonth(year, month) != 0 {
				return true
			}
		}
	}
	return false
}

// never says why no date matches.
func (e *expression) never(months uint16) *Error {
	why := fmt.Sprintf("no day of month %s is a weekday %s", e.fields[inDay], e.fields[inWeekday])
	if first := e.firstDay(); first > 28 {
		names := []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
		var without []string
		all := true
		for m := 1; m <= 12; m++ {
			if months>>m&1 == 1 {
				without = append(without, names[m-1])
				all = all && monthLen(2000, m) < first
			}
		}
		th := fmt.Sprintf("%dth", first)
		if first == 31 {
			th = "31st"
		}
		switch {
		case all && len(without) == 1:
			why = without[0] + " has no " + th
		case all && len(without) == 2:
			why = fmt.Sprintf("neither %s nor %s has a %s", without[0], without[1], th)
		case all:
			last := len(without) - 1
			why = fmt.Sprintf("none of %s and %s has a %s", strings.Join(without[:last], ", "), without[last], th)
		}
	}
	return cronError("SYN1205", 0, len(e.text), fmt.Sprintf("%s never comes: %s", quote(e.text), why), "a date that exists; L is the last day of a month")
}

// firstDay is the lowest day of the month that the day field names outright.
func (e *expression) firstDay() int {
	for d := 1; d <= 31; d++ {
		for item := range strings.SplitSeq(e.asked[inDay], ",") {
			if base, ok := strings.CutSuffix(item, "W"); ok && number(base) == d {
				return d
			}
			// A month of 31 days, so that every day can be asked about.
			if due, err := ask(askDay, item, time.Date(2001, 1, d, 0, 0, 0, 0, time.UTC)); due && err == nil {
				return d
			}
		}
	}
	return 0
}

// next finds the first match in [from, limit).
func (c *calendar) next(from, limit int64) (int64, bool) {
	from = -floorDiv(-from, minute) * minute // the first whole minute
	today := floorDiv(from, day)
	if matched, ok := c.nextDay(today, limit); ok && matched == today {
		if m, ok := c.nextInDay(int(from-today*day) / minute); ok {
			wall := today*day + int64(m)*minute
			return wall, wall < limit
		}
	}
	matched, ok := c.nextDay(today+1, limit)
	if !ok {
		return 0, false
	}
	m, _ := c.nextInDay(0)
	wall := matched*day + int64(m)*minute
	return wall, wall < limit
}

// nextDay finds the first matching day not before a day, and before limit.
func (c *calendar) nextDay(from, limit int64) (int64, bool) {
	year, month, dom := date(from)
	for first := from - int64(dom) + 1; first*day < limit; {
		if rest := c.inMonth(year, month) >> dom << dom; rest != 0 {
			return first + int64(bits.TrailingZeros32(rest)) - 1, true
		}
		first += int64(monthLen(year, month))
		dom = 1
		if month++; month > 12 {
			year, month = year+1, 1
		}
	}
	return 0, false
}

// nextInDay finds the first matching minute of a day not before one.
func (c *calendar) nextInDay(from int) (int, bool) {
	h := from / 60
	if c.hours>>h&1 == 1 {
		if rest := c.minutes >> (from % 60); rest != 0 {
			return from + bits.TrailingZeros64(rest), true
		}
	}
	rest := c.hours >> (h + 1)
	if rest == 0 {
		return 0, false
	}
	return (h+1+bits.TrailingZeros32(rest))*60 + bits.TrailingZeros64(c.minutes), true
}

// prev finds the last match in [limit, before).
func (c *calendar) prev(limit, before int64) (int64, bool) {
	until := floorDiv(before-1, minute) * minute
	today := floorDiv(until, day)
	if matched, ok := c.prevDay(limit, today); ok && matched == today {
		if m, ok := c.prevInDay(int(until-today*day) / minute); ok {
			wall := today*day + int64(m)*minute
			return wall, wall >= limit
		}
	}
	matched, ok := c.prevDay(limit, today-1)
	if !ok {
		return 0, false
	}
	m, _ := c.prevInDay(24*60 - 1)
	wall := matched*day + int64(m)*minute
	return wall, wall >= limit
}

func (c *calendar) prevDay(limit, from int64) (int64, bool) {
	year, month, dom := date(from)
	first := from - int64(dom) + 1
	for (first+31)*day > limit {
		if rest := c.inMonth(year, month) & (1<<(dom+1) - 1); rest != 0 {
			return first + int64(bits.Len32(rest)) - 2, true
		}
		if month--; month < 1 {
			year, month = year-1, 12
		}
		dom = monthLen(year, month)
		first -= int64(dom)
	}
	return 0, false
}

func (c *calendar) prevInDay(from int) (int, bool) {
	h := from / 60
	if c.hours>>h&1 == 1 {
		if rest := c.minutes & (1<<(from%60+1) - 1); rest != 0 {
			return h*60 + bits.Len64(rest) - 1, true
		}
	}
	rest := c.hours & (1<<h - 1)
	if rest == 0 {
		return 0, false
	}
	return (bits.Len32(rest)-1)*60 + bits.Len64(c.minutes) - 1, true
}

// count counts the matches in [from, limit), a month at a time.
func (c *calendar) count(from, limit int64) int64 {
	if from >= limit {
		return 0
	}
	return c.countBefore(limit, from) - c.countBefore(from, from)
}

// countBefore counts the matches before a wall clock, from the beginning of
// the month that holds origin on.
func (c *calendar) countBefore(wall, origin int64) int64 {
	wall = -floorDiv(-wall, minute) * minute
	perDay := int64(bits.OnesCount64(c.minutes)) * int64(bits.OnesCount32(c.hours))
	today := floorDiv(wall, day)
	endYear, endMonth, endDom := date(today)
	year, month, _ := date(floorDiv(origin, day))
	var n int64
	for year < endYear || year == endYear && month < endMonth {
		n += int64(bits.OnesCount32(c.inMonth(year, month))) * perDay
		if month++; month > 12 {
			year, month = year+1, 1
		}
	}
	matched := c.inMonth(endYear, endMonth)
	n += int64(bits.OnesCount32(matched&(1<<endDom-1))) * perDay
	if matched>>endDom&1 == 1 {
		m := int(wall-today*day) / minute
		n += int64(bits.OnesCount32(c.hours&(1<<(m/60)-1))) * int64(bits.OnesCount64(c.minutes))
		if c.hours>>(m/60)&1 == 1 {
			n += int64(bits.OnesCount64(c.minutes & (1<<(m%60) - 1)))
		}
	}
	return n
}
