package schedule

import "time"

// horizon is how far a search goes: the calendar repeats after 400 years, so
// what has not come by then never will.
const horizon = 146097 * day

// cronTicks maps the wall clocks of an expression to instants, stretch by
// stretch.
type cronTicks struct {
	cal     *calendar
	clock   clock
	follows bool
	skip    bool // dst.gap: skip
	overlap Overlap
}

// window is what a stretch contributes: the ticks on its wall in [lo, hi),
// and perhaps one at its start for the wall in [gapLo, gapHi), which the
// change before it left out.
type window struct {
	lo, hi       int64
	gapLo, gapHi int64
}

func (c *cronTicks) window(s stretch) window {
	w := window{lo: s.wall(s.start), hi: s.wall(s.end)}
	if c.follows {
		return w
	}
	switch shift := s.off - s.before; {
	case shift > 0 && shift < correction && !c.skip:
		w.gapLo, w.gapHi = w.lo-shift, w.lo
	case shift < 0 && (c.overlap == OverlapFirst || -shift >= correction):
		w.lo -= shift // the second time is silent
	}
	if shift := s.after - s.off; shift < 0 && c.overlap == OverlapSecond && -shift < correction {
		w.hi += shift // the first time is silent
	}
	return w
}

// lands tells whether a tick is moved to the start of a stretch.
func (c *cronTicks) lands(w window) bool {
	if w.gapLo == w.gapHi {
		return false
	}
	_, ok := c.cal.next(w.gapLo, w.gapHi)
	return ok
}

func (c *cronTicks) next(after time.Time) (time.Time, bool) {
	after = clamp(after)
	from := after.Unix() + 1
	limit := min(from+horizon, maxInstant+1)
	for s := c.clock.stretch(from - 1); s.start < limit; s = c.clock.stretch(s.end) {
		w := c.window(s)
		if s.start >= from && c.lands(w) {
			return time.Unix(s.start, 0).UTC(), true
		}
		if wall, ok := c.cal.next(max(w.lo, s.wall(from)), min(w.hi, s.wall(limit))); ok {
			return time.Unix(wall-s.off, 0).UTC(), true
		}
		if s.end == forever {
			break
		}
	}
	return time.Time{}, false
}

func (c *cronTicks) prev(before time.Time) (time.Time, bool) {
	before = clamp(before)
	until := before.Unix() // exclusive
	if before.Nanosecond() > 0 {
		until++
	}
	limit := max(until-horizon, minInstant)
	for s := c.clock.stretch(until - 1); s.end > limit; s = c.clock.stretch(s.start - 1) {
		w := c.window(s)
		if wall, ok := c.cal.prev(max(w.lo, s.wall(limit)), min(w.hi, s.wall(until))); ok {
			return time.Unix(wall-s.off, 0).UTC(), true
		}
		if s.start >= limit && s.start < until && c.lands(w) {
			return time.Unix(s.start, 0).UTC(), true
		}
		if s.start == beginning {
			break
		}
	}
	return time.Time{}, false
}

func (c *cronTicks) count(first, last time.Time) int64 {
	first, last = clamp(first), clamp(last)
	from, until := first.Unix(), last.Unix()+1
	if first.Nanosecond() > 0 {
		from++
	}
	var n int64
	for from < until {
		s := c.clock.stretch(from)
		w := c.window(s)
		lo, hi := max(w.lo, s.wall(from)), min(w.hi, s.wall(until))
		n += c.cal.count(lo, hi)
		if s.start == from && c.lands(w) && c.cal.count(lo, min(hi, lo+1)) == 0 {
			n++ // moved to where no tick was anyway
		}
		from = s.end
	}
	return n
}

// note says what a clock change does to the tick at an instant, and for which
// wall clock the tick was meant.
func (c *cronTicks) note(unix int64) (wall int64, note Note) {
	s := c.clock.stretch(unix)
	if w := c.window(s); unix == s.start && w.gapLo < w.gapHi {
		if moved, ok := c.cal.next(w.gapLo, w.gapHi); ok {
			return moved, NoteMoved
		}
	}
	wall = s.wall(unix)
	switch {
	case unix < s.start+s.before-s.off:
		return wall, NoteSecond
	case unix >= s.end-(s.off-s.after):
		return wall, NoteFirst
	}
	return wall, NoteNone
}
