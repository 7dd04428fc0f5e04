package command

import (
	"fmt"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// A look is how a state is shown: a hue for its family, a glyph for itself, and
// beside them a word.
type look struct {
	shade shade
	glyph string
	ascii string
}

var (
	lookQueued    = look{blue, "⋯", "queue"}
	lookRunning   = look{blue, "▶", "run"}
	lookRemote    = look{blue, "☁", "rem"}
	lookStopping  = look{slate, "■", "stop"}
	lookSucceeded = look{green, "✓", "ok"}
	lookMarked    = look{green, "✓", "ok*"}
	lookFailed    = look{red, "✕", "FAIL"}
	lookTimedOut  = look{red, "⏱", "TIME"}
	lookLost      = look{red, "!", "LOST"}
	lookUpstream  = look{red, "⇡", "up"}
	lookSkipped   = look{plain, "–", "skip"}
	lookCanceled  = look{slate, "■", "stop"}
	lookWaiting   = look{plain, "·", "wait"}
	lookGate      = look{blue, "⋯", "wait"}
	lookBackoff   = look{amber, "↻", "retry"}
	lookAsk       = look{amber, "?", "ask"}
	lookReady     = look{blue, "⋯", "ready"}
	lookPaused    = look{plain, "‖", "||"}
	lookNever     = look{plain, " ", " "}
)

func lookOfRun(state api.RunState, reason string) look {
	switch state {
	case api.RunStateQueued:
		return lookQueued
	case api.RunStateRunning:
		return lookRunning
	case api.RunStateSucceeded:
		return lookSucceeded
	case api.RunStateFailed:
		return lookOfFailure(reason)
	case api.RunStateCanceled:
		return lookCanceled
	case api.RunStateSkipped:
		return lookSkipped
	default:
		return lookNever
	}
}

func lookOfFailure(reason string) look {
	switch reason {
	case "timed_out", "run_timed_out", "queue_timeout":
		return lookTimedOut
	case "lost", "poison":
		return lookLost
	default:
		return lookFailed
	}
}

func lookOfTask(t api.Task) look {
	if atWork(t) {
		return lookRunning
	}
	switch t.State {
	case api.TaskStateWaiting:
		switch t.Reason {
		case "backoff":
			return lookBackoff
		case "pool", "rate", "group":
			return lookGate
		case "approval", "event":
			return lookAsk
		default:
			return lookWaiting
		}
	case api.TaskStateReady:
		return lookReady
	case api.TaskStateRunning:
		switch lastAttempt(t).State {
		case api.AttemptStateStopping:
			return lookStopping
		case api.AttemptStateRemote, api.AttemptStateSubmitting:
			return lookRemote
		default:
			return lookRunning
		}
	case api.TaskStateSucceeded:
		if t.Reason == "marked" {
			return lookMarked
		}
		return lookSucceeded
	case api.TaskStateFailed:
		return lookOfFailure(t.Reason)
	case api.TaskStateSkipped:
		if t.Reason == "upstream" {
			return lookUpstream
		}
		return lookSkipped
	case api.TaskStateCanceled:
		return lookCanceled
	default:
		return lookNever
	}
}

// mark is a look's glyph as the locale has it.
func (u *ui) mark(l look) string {
	if u.utf8 {
		return l.glyph
	}
	return l.ascii
}

func lastAttempt(t api.Task) api.Attempt {
	if n := len(t.Attempts); n > 0 {
		return t.Attempts[n-1]
	}
	return api.Attempt{}
}

// atWork says that a fan-out has begun: what it does its items do.
func atWork(t api.Task) bool {
	return t.Items != nil && t.Items.Total > 0 && t.State == api.TaskStateReady
}

// taskWords is a task's state as a person would say it.
func taskWords(t api.Task) string {
	switch {
	case atWork(t):
		return "running"
	case t.Reason == "marked" && t.Detail != "":
		return cleanLine(t.Detail)
	case t.State == api.TaskStateFailed && t.Reason == "exit" && lastAttempt(t).ExitCode != nil:
		return failureWords(t.Reason, lastAttempt(t))
	case t.Detail != "" && t.State != api.TaskStateSucceeded && t.State != api.TaskStateRunning:
		return cleanLine(t.Detail)
	case t.State == api.TaskStateFailed:
		return failureWords(t.Reason, lastAttempt(t))
	case t.State == api.TaskStateSkipped && t.Reason == "upstream":
		return "upstream failed"
	case t.State == api.TaskStateWaiting && t.Reason == "backoff":
		return "waiting to retry"
	case t.State == api.TaskStateWaiting && t.Reason == "approval":
		return "needs approval"
	case t.State == api.TaskStateWaiting && t.Reason == "child":
		return "waits for its run"
	case t.State == api.TaskStateReady:
		return "ready, no free executor"
	case t.Reason != "" && t.Reason != string(t.State):
		return string(t.State) + ": " + strings.ReplaceAll(cleanLine(t.Reason), "_", " ")
	default:
		return string(t.State)
	}
}

// failureWords says which kind of end it was.
func failureWords(reason string, a api.Attempt) string {
	switch {
	case reason == "exit" && a.ExitCode != nil:
		return fmt.Sprintf("exit %d", *a.ExitCode)
	case (reason == "signal" || reason == "oom") && a.Signal != "":
		text := "killed by " + cleanLine(a.Signal)
		if reason == "oom" {
			text += ", out of memory"
		}
		return text
	case reason == "timed_out":
		return "timed out"
	case reason == "lost":
		return "executor lost"
	case reason == "":
		return "failed"
	default:
		return strings.ReplaceAll(cleanLine(reason), "_", " ")
	}
}
