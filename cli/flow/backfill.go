package flow

// Which ticks a backfill takes.
const (
	BackfillMissing = "missing" // those without a run, or whose run was skipped
	BackfillFailed  = "failed"  // those whose newest run failed or was canceled, too
	BackfillAll     = "all"     // those that succeeded, too
)

// BackfillTakes says whether a backfill takes a tick whose newest run is in
// state newest; "" means that it has none. A tick whose run has not ended is
// never taken.
func BackfillTakes(which string, newest State) bool {
	switch newest {
	case "", Skipped:
		return true
	case Failed, Canceled:
		return which == BackfillFailed || which == BackfillAll
	case Succeeded:
		return which == BackfillAll
	default:
		return false
	}
}

// BackfillAdmits says what becomes of a backfill's next run in a group as it is
// now. It starts while the group has room after all that waits, so that nobody
// queues behind a backfill's backlog. One that has found no room for
// BackfillPatience, and has no run, gets a place in the queue.
func BackfillAdmits(g GroupLoad, limit int, patient bool) TickVerdict {
	switch {
	case g.Running+g.Queued < limit:
		return TickVerdict{Run: true, Start: true}
	case patient:
		return TickVerdict{Run: true}
	default:
		return TickVerdict{}
	}
}
