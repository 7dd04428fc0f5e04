package schedule

import "time"

const (
	beginning = -1 << 62
	forever   = 1 << 62

	// correction is the offset change from which on a clock change is taken
	// for a correction of the calendar: what it leaves out is not made up
	// for, and what it brings again does not fire again.
	correction = 3 * hour
)

// clock reads a zone as stretches of constant offset.
type clock struct {
	loc   *time.Location
	fixed bool // UTC: no stretch ever ends
}

func newClock(loc *time.Location) clock { return clock{loc: loc, fixed: loc == time.UTC} }

// stretch is the time between two changes of the offset, [start, end) in Unix
// seconds, with the offsets on its other sides (its own where it has no side).
type stretch struct {
	start, end         int64
	off, before, after int64
}

// wall is the local time at an instant of the stretch.
func (s stretch) wall(unix int64) int64 { return unix + s.off }

// stretch finds the stretch that holds an instant. The zone's own pieces may
// be shorter: a change of the abbreviation alone, or a new year, ends them.
func (c clock) stretch(unix int64) stretch {
	if c.fixed {
		return stretch{start: beginning, end: forever}
	}
	start, end, off := c.piece(unix)
	s := stretch{start: start, end: end, off: off, before: off, after: off}
	for s.start != beginning {
		start, _, before := c.piece(s.start - 1)
		if before != off {
			s.before = before
			break
		}
		s.start = start
	}
	for s.end != forever {
		_, end, after := c.piece(s.end)
		if after != off {
			s.after = after
			break
		}
		s.end = end
	}
	return s
}

func (c clock) piece(unix int64) (start, end, off int64) {
	t := time.Unix(unix, 0).In(c.loc)
	from, to := t.ZoneBounds()
	_, o := t.Zone()
	start, end = beginning, forever
	if !from.IsZero() {
		start = from.Unix()
	}
	if !to.IsZero() {
		end = to.Unix()
	}
	// The standard library takes every year of a zone's closing rule to have
	// 365 days: on 31 December of a leap year the bound it names is past.
	if end <= unix {
		end = (floorDiv(unix, day) + 1) * day
	}
	return start, end, int64(o)
}

// changes tells whether the zone's offset changes between two instants.
func (c clock) changes(from, to int64) bool { return c.stretch(from).end <= to }

// instant finds the first instant at which the wall shows a local time. Where
// it never does, it answers the first instant after the gap, and false.
func (c clock) instant(wall int64) (int64, bool) {
	// No offset is a day and two hours away from UTC.
	s := c.stretch(wall - 26*hour)
	for {
		unix := wall - s.off
		if unix < s.start {
			return s.start, false
		}
		if unix < s.end {
			return unix, true
		}
		s = c.stretch(s.end)
	}
}
