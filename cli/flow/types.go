package flow

import "time"

// Run is what decisions and expressions know of a run. The counters are those
// of its row and are part of every Decision.
type Run struct {
	ID, Number                                         int64
	Namespace, Pipeline                                string
	Revision                                           int
	Trigger                                            string
	ScheduledAt, CreatedAt, IntervalStart, IntervalEnd time.Time
	Params                                             map[string]any
	Vars                                               map[string]string
	URL                                                string
	// Zone is the IANA name that date() uses: the schedule's, else the
	// pipeline's. Empty: the pipeline's.
	Zone string
	// Backfill is whose run it is; 0: of none.
	Backfill int64

	Phase Phase
	// Unfinished counts tasks (not items) of the present phase. Failed,
	// Canceled and Skipped count ends in the phase tasks and stay as they are
	// while finally runs.
	Unfinished, Failed, Canceled, Skipped int
	Rows                                  int    // tasks and items made so far
	Reason                                string // the first that came true

	CancelRequested, CancelAgain, TimedOut bool

	// Reopened says that a rerun or a mark has set rows back: nothing may be
	// concluded about a row that was not read.
	Reopened bool

	// Active counts what has been released and neither ended nor went back to
	// waiting: rows of waiter, ready and live together, before this decision.
	// It is needed only when Graph.NeedsActive.
	Active int
}

// Task is a task's own row. Rows of items are never needed.
type Task struct {
	Ordinal        int
	State          State
	Reason, Detail string
	NeedsLeft      int
	Trail          Trail
	Fan            *Fan // set once the items of a fan-out have been made
	// Again are the items that run this time, ascending: those that a rerun
	// set back while it kept others. Nil: all.
	Again []int
}

// Fan counts the items of a fan-out.
type Fan struct {
	Items                         int // made
	Released                      int // items 0 … Released-1 have been released at least once; of Again, so many
	Unfinished                    int
	OK, Failed, Canceled, Skipped int
}

// End tells of a row that has changed: it ended in State, or it is to be
// released once more (Waiting: its back-off is over, its executor was lost).
// The row says so already; each End is told exactly once.
type End struct {
	Number int
	State  State
	// Count is for items that ended in bulk: so many of the fan-out that
	// Number belongs to. 0 means 1.
	Count int
}

// Input is what a decision is made from.
type Input struct {
	Run Run
	// Tasks are own rows by ordinal, as they are in the database, Ends
	// included. Rows that are not needed may be left out: Missing asks for
	// what is.
	Tasks map[int]Task
	// Outputs of tasks that succeeded, by ordinal: declared ones that were
	// written. Of a fan-out each name has a list with a place for every item
	// that succeeded, in order, nil where it was not written.
	Outputs map[int]map[string]any
	// Held are the numbers of rows with reason max_parallel, in ascending
	// order: tasks and items that wait, and fan-outs (Ready) that hold items
	// back. The first Graph.MaxParallel are enough. Needed only when
	// Graph.NeedsActive.
	Held []int
	Ends []End
	// Due is what Recount found, after a rerun or a repair: tasks all of whose
	// needs have ended and that nobody has looked at yet, and fan-outs that have
	// begun.
	Due []int
	// TooLarge are fan-outs whose collected outputs are larger than may be
	// read: whoever reads them fails, reason outputs_too_large.
	TooLarge map[int]bool
	// Awaited is what is known of tasks and items that wait for what no executor
	// does, by number. Missing asks for what is needed.
	Awaited map[int]Awaited
	// Now is the time by the clock that decides; needed if Graph.Awaits.
	Now time.Time
	// Random is from [0,1) and moves the back-off of sub-pipelines.
	Random float64
	// Look says that somebody asked to look at the run as a whole: a wake
	// without a number. A cancel or a time-out is acted on only then, because
	// acting on it is work over all rows.
	Look bool
}

// Missing is what a decision lacks, by ordinal. The caller loads it and asks
// again with the same ends. A row that does not exist is a defect.
type Missing struct {
	Tasks   []int
	Outputs []int
	Awaited []int // by number
}

// None says that nothing is missing.
func (m Missing) None() bool {
	return len(m.Tasks) == 0 && len(m.Outputs) == 0 && len(m.Awaited) == 0
}

// Decision is what has to become true, in one transaction.
type Decision struct {
	// Run carries the counters, phase and reason as they now are.
	Run Run
	// Changes are own rows with their new values, in file order. A task that is
	// released for the first time is among them, still Waiting: Release is what
	// moves it on, or the queue of its pool.
	Changes []Change
	// Expand are fan-outs whose items are to be made, in state Waiting. Their
	// own row is Ready from then on, until the last item has ended.
	Expand []Expansion
	// Release are the numbers that may be queued now, ascending: in the pool's
	// queue if the task has a pool (Waiting, reason pool), else for an executor
	// (Ready, reason ""). All of them are Waiting.
	Release []int
	// Hold are the numbers of items that came back while the run's
	// max_parallel was used up: they stay Waiting, reason max_parallel, and
	// come back as Input.Held. (Of tasks, Changes say the same.)
	Hold []int
	// Await are tasks and items that begin to wait for what no executor does.
	// They are Waiting; of a task that is looked at for the first time, Changes
	// say the same.
	Await []Awaiting
	// Settle are those that waited so and end, or go back for another try. The
	// caller tells of each that ended as one End, once it is stored.
	Settle []Settled
	// StopChildren are the numbers of tasks and items whose time is over: their
	// child is asked to stop, for the reason timed_out.
	StopChildren []int
	// Again are timed wakes to be left once more: what they came for is not due
	// yet.
	Again []Later
	// CancelItems are ordinals of fan-outs of which the first item failed: all
	// items that wait or are queued end Canceled, reason fail_fast, and live
	// ones are asked to stop for that reason. The caller does it in bulk and
	// tells the number of those it ended as one End with its Count.
	CancelItems []int
	// SkipItems are fan-outs that do not run although a rerun has set their
	// items back. The items that wait end Skipped for the Reason of the fan-out's
	// own row, which is among Changes and counts them already: nobody is told.
	SkipItems []int
	// CancelPhase is set when the run was canceled or ran out of time. The
	// caller does it in bulk and tells what it ended: tasks as one End each,
	// items as one End per fan-out with its Count.
	CancelPhase *CancelPhase
	// Finish is set when the run has ended.
	Finish *Finish
}

// Change is a task's own row as it is to be.
type Change struct {
	Task
	From     State // the state that the row leaves; "" for one that is born
	Released bool  // it is in Release too
}

// Expansion makes the items of a fan-out.
type Expansion struct {
	Ordinal int
	Items   []any // item i has ItemNumber(Ordinal, i)
}

// CancelPhase says that everything with From ≤ number < To that waits or is
// queued ends Canceled for Reason, and that what is live is asked to stop for
// it; so are the children of what waits for one, which ends with them. The own
// row of a fan-out that has items (state Ready) is left alone: it ends with
// them.
type CancelPhase struct {
	From, To int
	Reason   string // canceled, run_timed_out
	Again    bool   // a person asked for the second time: children stop their finally too
}

// Awaiting begins to wait for what no executor does: for a time to come, for a
// person's decision, or for a run of another pipeline.
type Awaiting struct {
	Number   int
	Reason   string    // wait, approval, child
	WakeAt   time.Time // wait: when it is over
	Deadline time.Time // when its time-out comes; zero: never
	Prompt   string    // approval
	Child    *Child    // child
	HTTP     bool      // wait: for the answer of a service, not for a time
}

// Due is when it is to be looked at again, by an End in state Waiting; zero:
// when something happens.
func (a Awaiting) Due() time.Time { return firstOf(a.WakeAt, a.Deadline) }

func firstOf(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Child is the run that a task asks for.
type Child struct {
	Namespace, Name string
	Params          map[string]any
	Wait            bool // the task ends with it; else as soon as it exists
}

// Awaited is what is known of a task or an item that may wait for what no
// executor does.
type Awaited struct {
	State            State
	Reason           string
	WakeAt, Deadline time.Time
	Failures         int
	Item             any       // of an item: its value
	Decision         *Verdict  // nil: nobody has decided
	Child            *ChildRun // the one it waits for
	Answer           *Answer   // nil: no answer of a service has ended it
}

// Answer is how the answer of a service ended a wait: its condition came true,
// and the outputs could be made of it, or not.
type Answer struct {
	State          State // succeeded, failed
	Reason, Detail string
	Outputs        map[string]any
}

// Verdict is what a person decided.
type Verdict struct {
	Approved bool
	By       string
}

// ChildRun is how the run stands that a task asked for.
type ChildRun struct {
	// Refused is the reason why it was not made, Detail the same for people.
	Refused, Detail string
	Made            bool
	State           State  // how it ended; "" if it has not
	Reason          string // of its end
	Outputs         map[string]any
	Stop            string // why it was asked to stop; "" if it was not
}

// Settled is how waiting for what no executor does ended. In state Waiting the
// task tries again at WakeAt, reason backoff.
type Settled struct {
	Number         int
	State          State
	Reason, Detail string
	Outputs        map[string]any // of one that succeeded
	Failures       int
	WakeAt         time.Time
	// Verdict is set when a time-out decided for the person.
	Verdict *Verdict
}

// Later is a timed wake.
type Later struct {
	Number int
	At     time.Time
}

// Finish is how a run ended.
type Finish struct {
	State   State
	Reason  string
	Detail  string // what was wrong with the outputs, for people
	Outputs map[string]any
}
