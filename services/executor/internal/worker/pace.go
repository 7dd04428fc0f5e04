package worker

import (
	"context"
	"time"
)

// pace says how soon the next turn comes when nobody asks for one.
type pace struct {
	backoff time.Duration // since something was found last
	active  time.Time     // when something was found or ended last
	newest  time.Time     // when something ended last
	last    time.Time     // when the last turn began
	rate    float64       // ends a second
	trip    time.Duration // how long a turn takes, smoothed
	ran     time.Duration // how long attempts had their slots, smoothed
	full    bool          // the last claim gave all that it was asked for
	claimed bool          // the last turn claimed
	rescan  bool          // … from the start of the lanes
}

const (
	firstPause = time.Millisecond
	busyPause  = 250 * time.Millisecond
	idlePause  = 2500 * time.Millisecond
	idleAfter  = 10 * time.Second
	// markAfter is how long an attempt runs before its start is stored by
	// itself; shorter ones carry it along with their end.
	markAfter = 250 * time.Millisecond
	// Ends that come this often are reported in groups, a few milliseconds
	// apart, as long as others run meanwhile.
	groupRate = 300
	groupGap  = 4 * time.Millisecond
)

// ended takes into account that n attempts ended in the time since the last
// turn.
func (p *pace) ended(n int, now time.Time) {
	dt := now.Sub(p.last).Seconds()
	if p.last.IsZero() || dt > 1 {
		dt = 1
	}
	weight := min(1, dt/0.05)
	p.rate += weight * (float64(n)/max(dt, 1e-6) - p.rate)
	p.last = now
	if n > 0 {
		p.active, p.newest = now, now
	}
}

// ahead is how many tasks to claim beyond the free slots: as many as will have
// ended by the time the claim is back, so that no slot waits for a round trip.
// age is how long those that run have been running on average: as soon as
// tasks take longer than a few round trips nothing is claimed that others might
// run now. How long tasks took a while ago says nothing about those to come.
func (p *pace) ahead(slots int, age time.Duration, now time.Time) int {
	turn, each := p.trip+groupGap, max(p.ran, age, 100*time.Microsecond)
	if each > 10*turn || p.trip == 0 || turn > slowTurn || now.Sub(p.newest) > freshEnd {
		return 0
	}
	return min(int(int64(slots)*int64(turn)/int64(each)), maxAhead*slots)
}

// slowTurn is how long a report may take before its slot counts as taken: what
// ran in it must not look as if it had run beside its successor.
const slowTurn = 100 * time.Millisecond

// freshEnd is how old the newest end may be for claiming ahead.
const freshEnd = 250 * time.Millisecond

// maxAhead is how many tasks are claimed ahead for one slot.
const maxAhead = 4

// claim takes into account what a claim gave.
func (p *pace) claim(asked, got int, rescan bool, now time.Time) {
	p.claimed, p.full, p.rescan = true, got == asked, rescan
	if got > 0 {
		p.backoff, p.active = 0, now
	}
}

// linger waits a moment where ends come in a stream, so that one turn takes
// several. It returns false when ctx is done.
func (w *Worker) linger(ctx context.Context) bool {
	if w.pace.rate < groupRate || w.Running() < 2 {
		return true
	}
	return sleep(ctx, groupGap)
}

// wait is how long until the next turn, unless somebody kicks.
func (w *Worker) wait() time.Duration {
	p, now := &w.pace, time.Now()
	w.mu.Lock()
	free := w.freeLocked()
	busy := len(w.all) > 0 || now.Sub(p.active) < idleAfter
	more := len(w.ends) > 0
	pause := idlePause
	if len(w.unmarked) > 0 {
		pause = max(0, markAfter-now.Sub(w.unmarked[0].start))
	}
	w.mu.Unlock()
	if more {
		return 0
	}
	if !p.claimed || free <= 0 {
		return min(pause, time.Second)
	}
	if p.full {
		return 0
	}
	limit := idlePause
	if busy {
		limit = busyPause
	}
	p.backoff = min(max(2*p.backoff, firstPause), limit)
	if !p.rescan {
		// What was put below the marks is waited for no longer than this.
		pause = min(pause, max(0, w.lanes.due().Sub(now)))
	}
	return min(pause, p.backoff)
}
