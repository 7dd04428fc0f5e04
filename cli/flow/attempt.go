package flow

import (
	"math"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// Budget is what a task has spent so far.
type Budget struct {
	Failures  int    // attempts that failed by themselves
	Losses    int    // attempts that their executor took along
	HandBacks int    // attempts in a row that cost nothing
	LastLoser string // the executor that the last loss was under
	Losers    int    // how many different executors: 0, 1, 2 (or more)
}

// maxHandBacks is how often in a row a task may come back for nothing.
const maxHandBacks = 10

// AttemptEnd is how an attempt ended.
type AttemptEnd struct {
	State      string // succeeded, failed, timed_out, canceled, lost
	Reason     string
	Detail     string
	ExitCode   *int
	Started    bool   // for a task with lost: 0, false proves that nothing ran
	Drained    bool   // lost because its executor handed it back
	Executor   string // who had it
	StopReason string // why it was asked to stop, "" if it was not
}

// Ends of attempts.
const (
	AttemptSucceeded = "succeeded"
	AttemptFailed    = "failed"
	AttemptTimedOut  = "timed_out"
	AttemptCanceled  = "canceled"
	AttemptLost      = "lost"
)

// After is what the end of an attempt makes of its task.
type After struct {
	State          State // Succeeded, Failed, Skipped, Canceled; or Waiting: once more
	Reason, Detail string
	Delay          time.Duration // before it is released again
	Budget         Budget
	// Attempt and AttemptReason are what the attempt's own row says: as told,
	// but that an exit code which means skip is a success.
	Attempt, AttemptReason string
	// Final says that the task failed although a budget was left, because
	// this failure is not of a kind that a budget is for.
	Final bool
}

// AfterAttempt decides what the end of an attempt makes of its task. random is
// from [0,1) and moves the back-off within its jitter.
func AfterAttempt(t *pipeline.Task, b Budget, e AttemptEnd, random float64) After {
	a := After{Budget: b, Attempt: e.State, AttemptReason: e.Reason, Reason: e.Reason, Detail: e.Detail}
	if e.State != AttemptLost {
		a.Budget.HandBacks = 0
	}
	switch {
	case e.State == AttemptSucceeded:
		a.State, a.Reason, a.Detail = Succeeded, "", ""
	case stops(e.StopReason):
		// Whatever the end looked like, it came after the order to stop.
		a.State, a.Reason, a.Detail = Canceled, e.StopReason, ""
	case e.State == AttemptCanceled:
		a.State = Canceled
		if a.Reason == "" {
			a.Reason = ReasonCanceled
		}
	case e.State == AttemptLost:
		a.lost(t, e)
	case skips(t, e):
		a.State, a.Reason, a.Detail = Skipped, ReasonExitCode, ""
		a.Attempt, a.AttemptReason = AttemptSucceeded, ReasonExitCode
	default:
		a.failed(t, e, random)
	}
	return a
}

// stops says whether a stop means that the task is not wanted any more.
func stops(reason string) bool {
	switch reason {
	case ReasonCanceled, ReasonRunTimedOut, ReasonFailFast:
		return true
	}
	return false
}

func skips(t *pipeline.Task, e AttemptEnd) bool {
	return exited(e) && slices.Contains(t.ExitCodes.Skip, *e.ExitCode)
}

// exited says that the attempt ended by an exit code of its own that is not 0.
func exited(e AttemptEnd) bool {
	return e.State == AttemptFailed && e.Reason == "exit" && e.ExitCode != nil && *e.ExitCode != 0
}

// lost spends the budget of lost executors.
func (a *After) lost(t *pipeline.Task, e AttemptEnd) {
	b := &a.Budget
	a.State, a.Reason = Waiting, ""
	// A start is committed first only where nothing may be lost.
	unstarted := t.Lost == 0 && !e.Started
	once := t.Lost == 0 && t.Retry.Limit == 0
	if (unstarted || e.Drained && !(once && e.Started)) && b.HandBacks < maxHandBacks {
		b.HandBacks++
		if !e.Drained {
			b.blame(e.Executor)
		}
		return
	}
	if !e.Drained {
		b.blame(e.Executor)
	}
	if b.HandBacks >= maxHandBacks && unstarted {
		// It takes executors down before it starts, or nobody keeps it.
		a.fail(b.lossReason(), "handed back or lost before its start more than 10 times in a row")
		return
	}
	b.HandBacks = 0
	if b.Losses++; b.Losses > t.Lost {
		a.fail(b.lossReason(), "")
	}
}

func (a *After) fail(reason, detail string) {
	a.State, a.Reason = Failed, reason
	if a.Detail == "" {
		a.Detail = detail
	}
}

func (b *Budget) blame(executor string) {
	if executor != b.LastLoser || b.Losers == 0 {
		b.LastLoser = executor
		b.Losers = min(2, b.Losers+1)
	}
}

func (b *Budget) lossReason() string {
	if b.Losers >= 2 {
		return ReasonPoison
	}
	return ReasonLost
}

// failed spends the budget of the task's own failures.
func (a *After) failed(t *pipeline.Task, e AttemptEnd, random float64) {
	a.State = Failed
	if a.Reason == "" && e.State == AttemptTimedOut {
		a.Reason = ReasonTimedOut
	}
	cause := causeOf(e)
	fatal := exited(e) && slices.Contains(t.ExitCodes.Fatal, *e.ExitCode)
	may := cause != "" && slices.Contains(t.Retry.When, cause) ||
		exited(e) && slices.Contains(t.ExitCodes.Retry, *e.ExitCode)
	spent := a.Budget.Failures >= t.Retry.Limit
	a.Budget.Failures++
	if fatal || !may || spent {
		a.Final = !spent
		return
	}
	a.State, a.Reason = Waiting, ReasonBackoff
	a.Delay = Backoff(t.Retry, a.Budget.Failures, random)
}

// causeOf gives the cause that retry.when speaks of, "" for an end that no
// retry mends.
func causeOf(e AttemptEnd) string {
	if e.State == AttemptTimedOut {
		return "timed_out"
	}
	switch e.Reason {
	case "exit", "signal", "response", "outputs_missing", "outputs_type", "outputs_syntax", "outputs_lost":
		return "exit"
	case "oom", "timed_out":
		return e.Reason
	}
	return ""
}

// Backoff is how long a task waits after its nth failure. The cap holds after
// the jitter too.
func Backoff(r pipeline.Retry, n int, random float64) time.Duration {
	delay := float64(r.Delay) * math.Pow(max(1, r.Backoff), float64(n-1))
	limit := float64(max(r.MaxDelay, r.Delay))
	delay = min(delay, limit) * (1 + r.Jitter*(2*random-1))
	return time.Duration(max(0, min(delay, limit)))
}
