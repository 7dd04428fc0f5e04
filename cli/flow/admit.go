package flow

import (
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
)

// RunningRun is a run of a group that has been admitted and has not ended.
type RunningRun struct {
	ID              int64
	CancelRequested bool
	Backfill        bool // of a backfill
}

// QueuedRun is a run that waits for its group, judged by its own revision.
type QueuedRun struct {
	ID               int64
	Limit, MaxQueued int
	OnConflict       string // queue, skip, cancel_running, fail
	FromTick         bool
	Counted          bool // towards max_queued
	// Frozen runs wait for the thaw of their pipeline, and hold nobody back.
	Frozen   bool
	Backfill bool // of a backfill: it waits, whatever OnConflict says
	// Held is the run of a late tick whose turn has not come: ticks behind it stay
	// behind, and nobody else.
	Held bool
	// Beside says that a run of the group waits for this one: it starts beside
	// it, or both would wait for ever.
	Beside bool
}

// GroupLoad is how many runs of a group run and wait, and how many of each are
// of backfills.
type GroupLoad struct {
	Running, Queued                   int
	Counted                           int // of those that wait, towards max_queued
	RunningBackfills, QueuedBackfills int
	Late                              int // of those that wait, runs of late ticks
}

// Admission is what becomes of a group's queue. A run that is in none of the
// lists stays queued.
type Admission struct {
	Start  []int64 // become running
	Cancel []int64 // queued runs that end canceled, running ones that are asked to
	Skip   []int64 // end skipped, reason overlap
	Fail   []int64 // end failed, reason overlap
}

// TickVerdict says what becomes of a tick that wants a run.
type TickVerdict struct {
	Run    bool   // a run is made, queued
	Start  bool   // … and may start at once
	Reason string // why not: overlap, queue_full
}

// What runs of a group do when it is full.
const (
	OnConflictQueue  = "queue"
	OnConflictSkip   = "skip"
	OnConflictCancel = "cancel_running"
	OnConflictFail   = "fail"
)

// Admit decides the queue of a group: running and queued are all its runs, each
// in order of creation. A run starts when fewer than its own limit run and
// nobody waits before it.
//
// Backfills stand outside of conflicts: a run that only they keep from starting
// waits for them, whatever its OnConflict, and they are not canceled for others.
// Late ticks that are held are not there for anybody but later ticks.
func Admit(running []RunningRun, queued []QueuedRun) Admission {
	var a Admission
	var waiting, patient []int64 // queued runs that stay; patient are those of backfills
	leaving := 0                 // running ones that were asked to stop
	others := 0                  // running or started, and of no backfill
	ours := map[int64]bool{}     // started, and of a backfill
	held := false                // a tick waits for its turn
	for _, r := range running {
		if r.CancelRequested {
			leaving++
		}
		if !r.Backfill {
			others++
		}
	}
	for _, q := range queued {
		if gate.Starts(q.Frozen) != "" {
			continue
		}
		if q.Held || held && q.FromTick {
			held = true
			continue
		}
		if q.Beside || gate.Room(len(running)+len(a.Start), len(waiting)+len(patient), q.Limit) {
			a.Start = append(a.Start, q.ID)
			if q.Backfill {
				ours[q.ID] = true
			} else {
				others++
			}
			continue
		}
		if q.Backfill {
			patient = append(patient, q.ID)
			continue
		}
		if len(waiting) == 0 && others < q.Limit {
			waiting = append(waiting, q.ID)
			continue
		}
		switch q.OnConflict {
		case OnConflictSkip:
			a.Skip = append(a.Skip, q.ID)
		case OnConflictFail:
			a.Fail = append(a.Fail, q.ID)
		case OnConflictCancel:
			a.Cancel = append(a.Cancel, waiting...)
			waiting = waiting[:0]
			others -= a.makeRoom(running, q.Limit, &leaving, ours)
			// What never started is gone at once, so it may do already.
			if gate.Room(len(running)+len(a.Start), len(patient), q.Limit) {
				a.Start = append(a.Start, q.ID)
				others++
			} else {
				waiting = append(waiting, q.ID)
			}
		default:
			waiting = append(waiting, q.ID)
		}
	}
	return a
}

// makeRoom cancels the oldest runs until one more fits under limit, and says how
// many of them had only been started here. Those of backfills stay.
func (a *Admission) makeRoom(running []RunningRun, limit int, leaving *int, ours map[int64]bool) (gone int) {
	for _, r := range running {
		if len(running)+len(a.Start)-*leaving < limit {
			return gone
		}
		if !r.Backfill && !r.CancelRequested && !slices.Contains(a.Cancel, r.ID) {
			a.Cancel = append(a.Cancel, r.ID)
			*leaving++
		}
	}
	for i := 0; i < len(a.Start) && len(running)+len(a.Start)-*leaving >= limit; {
		if ours[a.Start[i]] {
			i++
			continue
		}
		a.Cancel = append(a.Cancel, a.Start[i])
		a.Start = slices.Delete(a.Start, i, i+1)
		gone++
	}
	return gone
}

// AdmitTick says what becomes of a tick whose run would be q, in a group as it
// is now.
func AdmitTick(g GroupLoad, q QueuedRun) TickVerdict {
	if gate.Room(g.Running, g.Queued, q.Limit) {
		return TickVerdict{Run: true, Start: true}
	}
	conflict := q.OnConflict
	if g.Queued == g.QueuedBackfills+g.Late && g.Running-g.RunningBackfills < q.Limit {
		conflict = OnConflictQueue // only backfills are in its way, and late ticks that are about to start
	}
	switch conflict {
	case OnConflictSkip:
		return TickVerdict{Reason: ReasonOverlap}
	case OnConflictQueue, "":
		if q.Counted && g.Counted >= q.MaxQueued {
			return TickVerdict{Reason: ReasonQueueFull}
		}
	}
	return TickVerdict{Run: true}
}
