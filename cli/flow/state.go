package flow

// A State is where a task or a run stands.
type State string

// The states. A task is never Queued or Running in the rows that flow reads:
// that an attempt of it is alive is a row of its own.
const (
	Queued    State = "queued"
	Running   State = "running"
	Waiting   State = "waiting"
	Ready     State = "ready"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
	Skipped   State = "skipped"
)

// Ended says whether s is final.
func (s State) Ended() bool {
	switch s {
	case Succeeded, Failed, Canceled, Skipped:
		return true
	}
	return false
}

// Reasons that flow gives or looks at. Others come from attempts.
const (
	ReasonMarked          = "marked" // somebody said so by hand
	ReasonUpstream        = "upstream"
	ReasonCondition       = "condition"
	ReasonExpression      = "expression"
	ReasonExitCode        = "exit_code"
	ReasonTooManyItems    = "too_many_items"
	ReasonOutputsTooLarge = "outputs_too_large"
	ReasonCanceled        = "canceled"
	ReasonRunTimedOut     = "run_timed_out"
	ReasonFailFast        = "fail_fast"
	ReasonBackoff         = "backoff"
	ReasonMaxParallel     = "max_parallel"
	ReasonLost            = "lost"
	ReasonDrained         = "drained"
	ReasonPoison          = "poison"
	ReasonTimedOut        = "timed_out"
	ReasonOverlap         = "overlap"
	ReasonQueueFull       = "queue_full"
	ReasonParams          = "params"
	ReasonRejected        = "rejected"
	ReasonOutputsMissing  = "outputs_missing"
	ReasonOutputsType     = "outputs_type"

	// Of tasks that wait for what no executor does.
	ReasonWait     = "wait"
	ReasonApproval = "approval"
	ReasonChild    = "child"

	// Of runs.
	ReasonTasks        = "tasks"
	ReasonCanceledTask = "canceled_task"
	ReasonFinally      = "finally"
	ReasonOutputs      = "outputs"
)

// ItemSpan is how many numbers one task of a run has: its own and those of its
// items.
const ItemSpan = 16384

// Limits of what a fan-out may make.
const (
	MaxItems = 10_000 // of one task
	MaxRows  = 20_000 // tasks and items of one run
)

// Number is the number of a task in its run.
func Number(ordinal int) int { return ordinal * ItemSpan }

// ItemNumber is the number of an item of a fan-out.
func ItemNumber(ordinal, index int) int { return ordinal*ItemSpan + index + 1 }

// Split tells whose number it is; index is -1 for the task itself.
func Split(number int) (ordinal, index int) { return number / ItemSpan, number%ItemSpan - 1 }

// A Phase is one of the two halves of a run.
type Phase string

// The phases, in order.
const (
	PhaseTasks   Phase = "tasks"
	PhaseFinally Phase = "finally"
)

// A Trail is what a task knows of those before it, complete once all its needs
// have ended.
type Trail uint8

// The bits of a Trail. Failed and canceled are passed on to whoever comes
// later; the other two speak of the task's direct needs only.
const (
	TrailFailed   Trail = 1 << iota // a task before this one, directly or through others, failed
	TrailCanceled                   // … was canceled
	TrailMissed                     // a direct need did not succeed
	TrailMet                        // a direct need succeeded

	trailPassedOn = TrailFailed | TrailCanceled
)

// trailOf is what the end of a task leaves with those that need it.
func trailOf(s State) Trail {
	switch s {
	case Succeeded:
		return TrailMet
	case Failed:
		return TrailMissed | TrailFailed
	case Canceled:
		return TrailMissed | TrailCanceled
	default:
		return TrailMissed
	}
}
