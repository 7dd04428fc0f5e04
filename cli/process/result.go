package process

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Outcome is the state in which a command's attempt ends.
type Outcome string

// Outcomes of a command.
const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
	Timeout   Outcome = "timed_out"
	Cancel    Outcome = "canceled"
	Lost      Outcome = "lost"
)

// Reasons of a command's end, beside "" for success.
const (
	ReasonExit          = "exit"
	ReasonSignal        = "signal"
	ReasonOOM           = "oom"
	ReasonTimedOut      = "timed_out"
	ReasonNotFound      = "not_found"
	ReasonNotExecutable = "not_executable"
	ReasonNoDirectory   = "no_directory"
	ReasonStart         = "start"
	ReasonCanceled      = "canceled"
	ReasonLost          = "lost"
	ReasonDrained       = "drained"
)

// Result tells how a command ended. Exit code 0 is success and any other is
// failure; what a code means for the task is decided elsewhere.
type Result struct {
	State    Outcome
	Reason   string
	ExitCode *int   // nil if it did not exit by itself
	Signal   string // "SIGKILL", if a signal ended it
	Detail   string // one clause for people, without a full stop

	StartedAt time.Time
	EndedAt   time.Time     // when the main process ended
	Ran       time.Duration // by the monotonic clock
	CPU       time.Duration // user and system time of the main process and what it waited for
	// MaxRSS is the most memory, in bytes, that the tree (in a cgroup that
	// counts it) or one process of it took; 0 if that is not known. A child
	// starts with what its parent took counted as its own, so a small command
	// of a large caller is not known.
	MaxRSS int64

	// Late says that output was still open a second after the end: what came
	// afterwards is not kept.
	Late bool
	// Survivors counts processes of the tree that could not be killed. As
	// long as there are any, the work is not proven dead.
	Survivors int
}

// failedStart is the result of a command that Start refused.
func failedStart(err error, at time.Time) Result {
	r := Result{State: Failed, Reason: ReasonStart, Detail: err.Error(), StartedAt: at, EndedAt: at}
	if e, ok := errors.AsType[*StartError](err); ok {
		r.Reason = e.Reason
	}
	return r
}

// ended is what the loop learned about the end of the main process.
type ended struct {
	status syscall.WaitStatus
	usage  syscall.Rusage
	at     time.Time
	cause  Cause // of the stop that came before, or 0
	killed bool  // our KILL came before the end
	oom    bool  // the kernel killed one of the tree for its memory
	peak   int64 // of the cgroup's memory, if it is counted
}

// resultOf makes a result of it.
func (p *Process) resultOf(e ended) Result {
	r := Result{
		StartedAt: p.started,
		EndedAt:   e.at,
		Ran:       e.at.Sub(p.started),
		CPU:       time.Duration(e.usage.Utime.Nano() + e.usage.Stime.Nano()),
		MaxRSS:    e.peak,
	}
	var own syscall.Rusage
	if r.MaxRSS == 0 && syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil && e.usage.Maxrss > own.Maxrss {
		r.MaxRSS = int64(e.usage.Maxrss) * maxrssUnit //nolint:unconvert // not an int64 everywhere
	}
	if e.status.Exited() {
		r.ExitCode = new(e.status.ExitStatus())
	} else if e.status.Signaled() {
		r.Signal = unix.SignalName(e.status.Signal())
	}
	switch e.cause {
	case Canceled:
		r.State, r.Reason, r.Detail = Cancel, ReasonCanceled, "canceled"+p.howStopped(e)
	case TimedOut:
		r.State, r.Reason = Timeout, ReasonTimedOut
		r.Detail = "ran longer than its timeout"
		if p.cmd.Timeout > 0 {
			r.Detail += " of " + p.cmd.Timeout.String()
		}
		r.Detail += p.howStopped(e)
	case Drained:
		r.State, r.Reason, r.Detail = Lost, ReasonDrained, "handed back: the executor shuts down"
	case LeaseLost:
		r.State, r.Reason, r.Detail = Lost, ReasonLost, "killed: the executor's lease was lost"
	default:
		r.natural(e)
	}
	return r
}

// howStopped tells whether a stopped command went by itself.
func (p *Process) howStopped(e ended) string {
	if e.killed && p.cmd.Grace > 0 {
		return fmt.Sprintf("; did not stop within %s and was killed", p.cmd.Grace)
	}
	return ""
}

// natural fills in the end of a command that nobody stopped.
func (r *Result) natural(e ended) {
	oomed := e.oom && (e.status.Signaled() && e.status.Signal() == syscall.SIGKILL ||
		e.status.Exited() && e.status.ExitStatus() == 128+int(syscall.SIGKILL))
	switch {
	case oomed:
		r.State, r.Reason, r.Detail = Failed, ReasonOOM, "killed by the kernel: out of memory"
	case r.Signal != "":
		r.State, r.Reason = Failed, ReasonSignal
		r.Detail = fmt.Sprintf("killed by %s (%s)", r.Signal, e.status.Signal())
	case *r.ExitCode == 0:
		r.State = Succeeded
	default:
		r.State, r.Reason = Failed, ReasonExit
		r.Detail = fmt.Sprintf("exited with code %d%s", *r.ExitCode, exitHint(*r.ExitCode))
	}
}

// exitHint says what shells mean by a code.
func exitHint(code int) string {
	switch {
	case code == 126:
		return ", by which shells mean that a command of the script is not executable"
	case code == 127:
		return ", by which shells mean that a command of the script was not found"
	case code > 128 && code <= 128+64:
		if name := unix.SignalName(syscall.Signal(code - 128)); name != "" {
			return ", by which shells mean that a command of the script was killed by " + name
		}
	}
	return ""
}
