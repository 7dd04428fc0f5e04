package flow

import "time"

// Budget is what a task has spent so far.
type Budget struct {
	Failures  int    // attempts that failed by themselves
	Losses    int    // attempts that their executor took along
	HandBacks int    // attempts in a row that cost nothing
	LastLoser string // the executor that the last loss was under
	Losers    int    // how many different executors: 0, 1, 2 (or more)
}

// AttemptEnd is how an attempt ended.
type AttemptEnd struct {
	State      string // succeeded, failed, timed_out, canceled, lost
	Reason     string
	ExitCode   *int
	Started    bool   // for a task with lost: 0, false proves that nothing ran
	Drained    bool   // handed back by an executor that stops, or never taken into work
	Executor   string // who had it
	StopReason string // why it was asked to stop, "" if it was not
}

// After is what the end of an attempt makes of its task.
type After struct {
	State          State // Succeeded, Failed, Skipped, Canceled; or Waiting: once more
	Reason, Detail string
	Delay          time.Duration // before it is released again
	Budget         Budget
	// Final says that the task failed although a budget was left, because
	// this failure is not of a kind that a budget is for.
	Final bool
}
