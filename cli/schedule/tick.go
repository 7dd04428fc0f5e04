package schedule

import (
	"iter"
	"time"
)

// Next is the first tick strictly after a moment; false: there is none. It
// never takes long: the search ends with the 400 years after which the
// calendar repeats.
func (s *Schedule) Next(after time.Time) (Tick, bool) {
	t, ok := s.ticks.next(after)
	if !ok {
		return Tick{}, false
	}
	return s.tick(t), true
}

// Prev is the last tick strictly before a moment; false: there is none.
func (s *Schedule) Prev(before time.Time) (Tick, bool) {
	t, ok := s.ticks.prev(before)
	if !ok {
		return Tick{}, false
	}
	return s.tick(t), true
}

// NextAt is Next for callers that need the instant alone: it costs half.
func (s *Schedule) NextAt(after time.Time) (time.Time, bool) { return s.ticks.next(after) }

// PrevAt is Prev for callers that need the instant alone.
func (s *Schedule) PrevAt(before time.Time) (time.Time, bool) { return s.ticks.prev(before) }

// Between yields the ticks in [from, to), oldest first, limit of them at most
// (0: all).
func (s *Schedule) Between(from, to time.Time, limit int) iter.Seq[Tick] {
	return func(yield func(Tick) bool) {
		after := from.Add(-1)
		for n := 0; limit <= 0 || n < limit; n++ {
			t, ok := s.ticks.next(after)
			if !ok || !t.Before(to) || !yield(s.tick(t)) {
				return
			}
			after = t
		}
	}
}

// Count counts the ticks in [from, to) without walking through them.
func (s *Schedule) Count(from, to time.Time) int64 {
	if !from.Before(to) {
		return 0
	}
	return s.ticks.count(from, to.Add(-1))
}

// Interval is what the run of the tick at a moment covers: from the tick
// before it to itself. Listed instants cover nothing, and neither does a tick
// that has none before it: start and end are the same.
func (s *Schedule) Interval(at time.Time) (start, end time.Time) {
	at = at.UTC()
	if len(s.spec.At) > 0 {
		return at, at
	}
	if before, ok := s.ticks.prev(at); ok {
		return before, at
	}
	return at, at
}

func (s *Schedule) tick(t time.Time) Tick {
	if s.cron != nil {
		wall, note := s.cron.note(t.Unix())
		return Tick{At: t, Local: wallText(wall), Note: note}
	}
	_, off := t.In(s.clock.loc).Zone()
	return Tick{At: t, Local: wallText(t.Unix() + int64(off))}
}
