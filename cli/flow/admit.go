package flow

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
