package flow

import (
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
)

// BackfillPatience is how long a backfill waits for others before it is let
// past once: a task of it at a pool, or a run of it at its group. Its tasks
// also rank as if they had become ready that much later.
const BackfillPatience = 15 * time.Minute

// Pool is a pool as it is now.
type Pool struct {
	Slots   int
	Reserve int // slots that backfills never take
	Used    int // slots held, by whomever
	// Backfills is what each backfill with a waiter holds and may hold. One that
	// is not there holds nothing and may hold all.
	Backfills map[int64]BackfillUse
	// BackfillsUsed counts the slots that all backfills hold together, also those
	// without a waiter.
	BackfillsUsed int
	// SinceFloor is how long ago a backfill was last let past others.
	SinceFloor time.Duration
}

// BackfillUse is what a backfill holds of a pool.
type BackfillUse struct {
	Used  int
	Share int // percent of the pool's slots that it may hold; 0 means 100
}

// PoolWaiter is a task that waits for slots of a pool.
type PoolWaiter struct {
	Slots    int
	Backfill int64 // of whose run it is a task; 0: none
	Waited   time.Duration
}

// Reasons why a waiter stays.
const (
	PoolFull    = "full"    // fewer slots are free than it asks for
	PoolBehind  = "behind"  // somebody waits before it
	PoolReserve = "reserve" // the rest is kept for runs that are of no backfill
	PoolShare   = "share"   // its backfill holds its share
)

// PoolDecision is what becomes of a pool's waiters.
type PoolDecision struct {
	// Stay says for each waiter why it stays; "" says that it is released.
	Stay []string
	// Floor says that a backfill was let past others.
	Floor bool
}

// ReleaseFromPool decides which waiters get slots of a pool. They are given in
// order of their ranks; those that are not given come after all others.
//
// Tasks that belong to no backfill go first, strictly in order: a large one at
// the front is not overtaken, so nothing starves. Backfills get what is left,
// none of them more than its share of the pool, though one slot at least, and
// all together never the reserve. One that holds its share is passed over by the
// others. So that a backfill comes to its end at a pool that is always full, one
// that has waited for BackfillPatience goes before everybody, one task at a time
// and at most once in that time.
func ReleaseFromPool(p Pool, waiters []PoolWaiter) PoolDecision {
	d := PoolDecision{Stay: make([]string, len(waiters))}
	held := make(map[int64]int, len(p.Backfills))
	for id, b := range p.Backfills {
		held[id] = b.Used
	}
	ours := p.BackfillsUsed
	take := func(i int) {
		w := waiters[i]
		p.Used += w.Slots
		if w.Backfill != 0 {
			ours += w.Slots
			held[w.Backfill] += w.Slots
		}
	}
	floor := p.floor(waiters)
	if floor >= 0 {
		if why := p.fits(waiters[floor].Slots); why != "" {
			// It is at the front now, and what gets free is its.
			for i := range d.Stay {
				d.Stay[i] = PoolBehind
			}
			d.Stay[floor] = why
			return d
		}
		take(floor)
		d.Floor = true
	}

	blocked := false
	for i, w := range waiters {
		if w.Backfill != 0 {
			continue
		}
		if blocked {
			d.Stay[i] = PoolBehind
		} else if why := p.fits(w.Slots); why != "" {
			d.Stay[i], blocked = why, true
		} else {
			take(i)
		}
	}
	capped := map[int64]bool{}
	for i, w := range waiters {
		switch {
		case w.Backfill == 0 || i == floor:
		case blocked || capped[w.Backfill]:
			d.Stay[i] = PoolBehind
		case w.Slots > p.ForBackfills():
			// Never, as the pool is: it holds nobody else up.
			d.Stay[i], capped[w.Backfill] = PoolReserve, true
		case held[w.Backfill] > 0 && held[w.Backfill]+w.Slots > p.share(w.Backfill):
			d.Stay[i], capped[w.Backfill] = PoolShare, true
		case ours+w.Slots > p.ForBackfills():
			d.Stay[i], blocked = PoolReserve, true
		default:
			if why := p.fits(w.Slots); why != "" {
				d.Stay[i], blocked = why, true
			} else {
				take(i)
			}
		}
	}
	return d
}

// fits says why so many slots cannot be given now. What asks for more than the
// pool has (it was made smaller since) takes it alone.
func (p Pool) fits(slots int) string {
	if gate.Fits(p.Slots, p.Used, slots) {
		return ""
	}
	return PoolFull
}

// ForBackfills is how many slots backfills may hold together. A task of one that
// asks for more never gets them.
func (p Pool) ForBackfills() int { return p.Slots - p.Reserve }

// share is how many slots a backfill may hold.
func (p Pool) share(backfill int64) int {
	percent := p.Backfills[backfill].Share
	if percent <= 0 || percent > 100 {
		percent = 100
	}
	return max(1, p.Slots*percent/100)
}

// floor finds the waiter of a backfill that goes before everybody, if there is
// one: others wait too, backfills hold nothing, and their patience is at its
// end. -1: none.
func (p Pool) floor(waiters []PoolWaiter) int {
	if p.BackfillsUsed > 0 || p.SinceFloor < BackfillPatience {
		return -1
	}
	first, others := -1, false
	for i, w := range waiters {
		if w.Backfill == 0 {
			others = true
		} else if first < 0 && w.Waited >= BackfillPatience && w.Slots <= p.ForBackfills() {
			first = i
		}
	}
	if !others {
		return -1
	}
	return first
}
