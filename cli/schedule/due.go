package schedule

import (
	"slices"
	"time"
)

// Catchup says what becomes of ticks nobody decided in time. The zero value
// means CatchupLatest.
type Catchup string

const (
	CatchupLatest Catchup = "latest"
	CatchupNone   Catchup = "none"
	CatchupAll    Catchup = "all"
)

const (
	// DefaultWindow is how far back a missed tick is made up for.
	DefaultWindow = 24 * time.Hour
	// MaxCatchup is how many ticks one catch-up turns into runs.
	MaxCatchup = 1000

	punctual = 60 * time.Second
)

// Policy is how a schedule catches up. Its zero value is the default.
type Policy struct {
	Catchup Catchup
	Window  time.Duration // 0: DefaultWindow
}

// Range is a stretch of ticks, both ends included.
type Range struct {
	From, Until time.Time
	Count       int64
}

// Due is what has to be decided now.
type Due struct {
	Run    []time.Time // ticks that become runs, oldest first, MaxCatchup at most
	Missed []Range     // ticks that do not, all older than those that do
	Next   time.Time   // the first tick after now, and not before next; zero: never
}

// Due decides about every tick from next, the first one that nobody has
// decided yet, up to now. The newest is on time if it is no older than a
// minute, or than half the distance to the tick after it; an on-time tick
// runs whatever the policy says, and with CatchupLatest it is the latest.
// The cost does not depend on how many ticks were missed.
func (s *Schedule) Due(next, now time.Time, p Policy) Due {
	var d Due
	next, now = next.UTC(), now.UTC()
	// A clock that went back makes nothing due again.
	after := now
	if now.Before(next) {
		after = next.Add(-1)
	}
	following, ok := s.ticks.next(after)
	if ok {
		d.Next = following
	}
	newest, found := s.ticks.prev(now.Add(1)) // at or before now
	if !found || newest.Before(next) {
		return d
	}
	window := p.Window
	if window <= 0 {
		window = DefaultWindow
	}
	grace := punctual
	if ok {
		grace = min(grace, following.Sub(newest)/2)
	}
	late := now.Sub(newest)
	runs := 0
	switch p.Catchup {
	case CatchupNone:
	case CatchupAll:
		if late <= window {
			runs = MaxCatchup
		}
	default:
		if late <= window {
			runs = 1
		}
	}
	if late <= grace {
		runs = max(runs, 1)
	}

	// Back from the newest: first what runs, then, in one piece, what does not.
	oldest := now.Add(-window)
	rest, more := newest, true
	for more && len(d.Run) < runs {
		d.Run = append(d.Run, rest)
		rest, more = s.ticks.prev(rest)
		more = more && !rest.Before(next)
		if rest.Before(oldest) {
			break
		}
	}
	slices.Reverse(d.Run)
	if more {
		first, _ := s.ticks.next(next.Add(-1))
		d.Missed = []Range{{From: first, Until: rest, Count: s.ticks.count(first, rest)}}
	}
	return d
}
