package schedule

import (
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// everyTicks is anchor + k × every for all whole k, of elapsed time.
type everyTicks struct {
	anchor time.Time
	every  time.Duration
}

func (s *Schedule) initEvery() error {
	every := s.spec.Every
	if every < minEvery || every > maxEvery {
		side := "above 52w"
		if every < minEvery {
			side = "below 1s"
		}
		return &Error{Code: "SYN1203", Field: "every", Message: fmt.Sprintf("every %s is %s", FormatDuration(every), side), Hint: "1s to 52w"}
	}
	anchor := s.spec.Anchor
	if anchor.IsZero() {
		unix, _ := s.clock.instant(daysTo(2001, 1, 1) * day)
		anchor = time.Unix(unix, 0)
	}
	s.ticks = everyTicks{anchor: anchor.UTC(), every: every}
	return nil
}

// since is how long ago the last tick at or before a moment was.
func (e everyTicks) since(t time.Time) time.Duration {
	seconds := t.Unix() - e.anchor.Unix()
	// Nanoseconds of more than 292 years do not fit 64 bits, their remainder does.
	high, low := bits.Mul64(uint64(max(seconds, -seconds)), uint64(time.Second))
	rest := time.Duration(bits.Rem64(high, low, uint64(e.every)))
	if seconds < 0 {
		rest = -rest
	}
	rest += time.Duration(t.Nanosecond() - e.anchor.Nanosecond())
	return ((rest % e.every) + e.every) % e.every
}

func (e everyTicks) next(after time.Time) (time.Time, bool) {
	after = clamp(after)
	t := after.Add(e.every - e.since(after)).UTC()
	return t, t.Unix() <= maxInstant
}

func (e everyTicks) prev(before time.Time) (time.Time, bool) {
	before = clamp(before)
	since := e.since(before)
	if since == 0 {
		since = e.every
	}
	t := before.Add(-since).UTC()
	return t, t.Unix() >= minInstant
}

func (e everyTicks) count(first, last time.Time) int64 {
	first, last = clamp(first), clamp(last)
	if since := e.since(first); since > 0 {
		first = first.Add(e.every - since)
	}
	if last.Before(first) {
		return 0
	}
	// From a tick on, so the whole steps that fit, and the tick itself.
	high, low := bits.Mul64(uint64(last.Unix()-first.Unix()), uint64(time.Second))
	nanos := last.Nanosecond() - first.Nanosecond()
	if nanos < 0 {
		var borrow uint64
		low, borrow = bits.Sub64(low, uint64(-nanos), 0)
		high -= borrow
	} else {
		var carry uint64
		low, carry = bits.Add64(low, uint64(nanos), 0)
		high += carry
	}
	n, _ := bits.Div64(high, low, uint64(e.every))
	return int64(n) + 1
}

// listTicks are instants in order, each once.
type listTicks []time.Time

func (s *Schedule) initList() error {
	if n := len(s.spec.At); n > MaxInstants {
		return &Error{Code: "SYN1203", Field: "at", Message: fmt.Sprintf("at has %d instants; %d at most", n, MaxInstants), Hint: "several schedules, or a cron"}
	}
	list := make(listTicks, 0, len(s.spec.At))
	for _, t := range s.spec.At {
		if u := t.Unix(); u < minInstant || u > maxInstant {
			return &Error{Code: "SYN1203", Field: "at", Message: fmt.Sprintf("year %d is not between 1 and 9999", t.UTC().Year()), Hint: "a year from 1 to 9999"}
		}
		list = append(list, t.UTC())
	}
	slices.SortFunc(list, time.Time.Compare)
	s.ticks = slices.CompactFunc(list, time.Time.Equal)
	return nil
}

func (l listTicks) next(after time.Time) (time.Time, bool) {
	i, found := slices.BinarySearchFunc(l, after, time.Time.Compare)
	if found {
		i++
	}
	if i == len(l) {
		return time.Time{}, false
	}
	return l[i], true
}

func (l listTicks) prev(before time.Time) (time.Time, bool) {
	i, _ := slices.BinarySearchFunc(l, before, time.Time.Compare)
	if i == 0 {
		return time.Time{}, false
	}
	return l[i-1], true
}

func (l listTicks) count(first, last time.Time) int64 {
	lo, _ := slices.BinarySearchFunc(l, first, time.Time.Compare)
	hi, found := slices.BinarySearchFunc(l, last, time.Time.Compare)
	if found {
		hi++
	}
	return int64(max(hi-lo, 0))
}
