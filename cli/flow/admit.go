package flow

import (
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
)

// RunningRun is a run of a group that has been admitted and has not ended.
type RunningRun struct {
	ID              int64
	CancelRequested bool
}

// QueuedRun is a run that waits for its group, judged by its own revision.
type QueuedRun struct {
	ID               int64
	Limit, MaxQueued int
	OnConflict       string // queue, skip, cancel_running, fail
	FromTick         bool
	Counted          bool // towards max_queued
	// Frozen runs wait for the thaw of their pipeline, and hold nobody back.
	Frozen bool
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
func Admit(running []RunningRun, queued []QueuedRun) Admission {
	var a Admission
	var waiting []int64 // queued runs that stay
	leaving := 0        // running ones that were asked to stop
	for _, r := range running {
		if r.CancelRequested {
			leaving++
		}
	}
	for _, q := range queued {
		if gate.Starts(q.Frozen) != "" {
			continue
		}
		if gate.Room(len(running)+len(a.Start), len(waiting), q.Limit) {
			a.Start = append(a.Start, q.ID)
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
			a.makeRoom(running, q.Limit, &leaving)
			// What never started is gone at once, so it may do already.
			if gate.Room(len(running)+len(a.Start), 0, q.Limit) {
				a.Start = append(a.Start, q.ID)
			} else {
				waiting = append(waiting, q.ID)
			}
		default:
			waiting = append(waiting, q.ID)
		}
	}
	return a
}

// makeRoom cancels the oldest runs until one more fits under limit.
func (a *Admission) makeRoom(running []RunningRun, limit int, leaving *int) {
	for _, r := range running {
		if len(running)+len(a.Start)-*leaving < limit {
			return
		}
		if !r.CancelRequested && !slices.Contains(a.Cancel, r.ID) {
			a.Cancel = append(a.Cancel, r.ID)
			*leaving++
		}
	}
	for len(a.Start) > 0 && len(running)+len(a.Start)-*leaving >= limit {
		a.Cancel = append(a.Cancel, a.Start[0])
		a.Start = a.Start[1:]
	}
}

// AdmitTick says what becomes of a tick whose run would be q, in a group as it
// is now: how many of its runs run, wait, and of those waiting count towards
// max_queued.
func AdmitTick(running, queued, counted int, q QueuedRun) TickVerdict {
	if gate.Room(running, queued, q.Limit) {
		return TickVerdict{Run: true, Start: true}
	}
	switch q.OnConflict {
	case OnConflictSkip:
		return TickVerdict{Reason: ReasonOverlap}
	case OnConflictQueue, "":
		if q.Counted && counted >= q.MaxQueued {
			return TickVerdict{Reason: ReasonQueueFull}
		}
	}
	return TickVerdict{Run: true}
}
