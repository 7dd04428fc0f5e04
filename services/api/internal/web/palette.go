package web

import (
	"fmt"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// A Look is how a state is shown: its hue is the family, its fill the member, the
// glyph its name, and the word stands beside it.
type Look struct {
	Hue    string // of the style sheet: neutral, blue, amber, green, red, slate
	Fill   string // solid, tint, hollow, dash; pulse and corner are solid with more
	Glyph  string // id in the sprite; empty: none
	Symbol string // the glyph as text, for titles
	ASCII  string
	Word   string
}

// class is what the style sheet knows the look by.
func (l Look) class() string { return "h-" + l.Hue + " f-" + l.Fill }

// The looks. There is one for each state of the design; a test compares the two.
var (
	lookScheduled  = Look{"neutral", "dash", "", "", ".", "scheduled"}
	lookTickSkip   = Look{"neutral", "dash", "dash", "–", "skip", "skipped"}
	lookTickMissed = Look{"red", "dash", "bang", "!", "MISS", "missed"}
	lookTickFailed = Look{"red", "dash", "cross", "✕", "FAIL", "tick failed"}
	lookQueued     = Look{"blue", "tint", "dots", "⋯", "queue", "queued"}
	lookWaiting    = Look{"neutral", "hollow", "dot", "·", "wait", "waiting"}
	lookGate       = Look{"blue", "hollow", "dots", "⋯", "wait", "waiting"}
	lookRetry      = Look{"amber", "solid", "retry", "↻", "retry", "retrying"}
	lookAsk        = Look{"amber", "tint", "ask", "?", "ask", "needs approval"}
	lookReady      = Look{"blue", "tint", "dots", "⋯", "ready", "ready, no free executor"}
	lookClaimed    = Look{"blue", "solid", "play", "▶", "run", "claimed"}
	lookRunning    = Look{"blue", "pulse", "play", "▶", "run", "running"}
	lookSubmitting = Look{"blue", "corner", "cloud", "☁", "rem", "submitting"}
	lookRemote     = Look{"blue", "corner", "cloud", "☁", "rem", "running remotely"}
	lookStopping   = Look{"slate", "tint", "square", "■", "stop", "stopping"}
	lookSucceeded  = Look{"green", "solid", "check", "✓", "ok", "succeeded"}
	lookMarked     = Look{"green", "hollow", "check", "✓", "ok*", "marked succeeded"}
	lookFailed     = Look{"red", "solid", "cross", "✕", "FAIL", "failed"}
	lookTimedOut   = Look{"red", "solid", "clock", "⏱", "TIME", "timed out"}
	lookLost       = Look{"red", "solid", "bang", "!", "LOST", "executor lost"}
	lookUpstream   = Look{"red", "tint", "up", "⇡", "up", "upstream failed"}
	lookSkipped    = Look{"neutral", "hollow", "dash", "–", "skip", "skipped"}
	lookCanceled   = Look{"slate", "solid", "square", "■", "stop", "canceled"}
	lookPaused     = Look{"neutral", "plain", "pause", "‖", "||", "paused"}
	lookNever      = Look{"neutral", "dash", "", "", ".", "never run"}
)

// runLook is the look of a run.
func runLook(state api.RunState, reason string) Look {
	switch state {
	case api.RunStateQueued:
		return lookQueued
	case api.RunStateRunning:
		return lookRunning
	case api.RunStateSucceeded:
		return lookSucceeded
	case api.RunStateFailed:
		if reason == "timed_out" {
			return lookTimedOut
		}
		return lookFailed
	case api.RunStateCanceled:
		return lookCanceled
	case api.RunStateSkipped:
		return lookSkipped
	}
	return unknown(string(state))
}

// taskLook is the look of a task, an item or one of their states with its reason.
func taskLook(state api.TaskState, reason string) Look {
	switch state {
	case api.TaskStateWaiting:
		switch reason {
		case "pool", "rate_limit", "concurrency", "max_parallel":
			return lookGate
		case "backoff":
			return lookRetry
		case "approval", "event":
			return lookAsk
		}
		return lookWaiting
	case api.TaskStateReady:
		return lookReady
	case api.TaskStateRunning:
		return lookRunning
	case api.TaskStateSucceeded:
		if reason == "marked" {
			return lookMarked
		}
		return lookSucceeded
	case api.TaskStateFailed:
		switch reason {
		case "timed_out", "queue_timeout":
			return lookTimedOut
		case "lost", "poison":
			return lookLost
		}
		return lookFailed
	case api.TaskStateSkipped:
		if strings.HasPrefix(reason, "upstream") {
			return lookUpstream
		}
		return lookSkipped
	case api.TaskStateCanceled:
		return lookCanceled
	}
	return unknown(string(state))
}

// attemptLook is the look of an attempt.
func attemptLook(state api.AttemptState, reason string) Look {
	switch state {
	case api.AttemptStateClaimed:
		return lookClaimed
	case api.AttemptStateRunning:
		return lookRunning
	case api.AttemptStateSubmitting:
		return lookSubmitting
	case api.AttemptStateRemote:
		return lookRemote
	case api.AttemptStateStopping:
		return lookStopping
	case api.AttemptStateSucceeded:
		return lookSucceeded
	case api.AttemptStateFailed:
		return lookFailed
	case api.AttemptStateTimedOut:
		return lookTimedOut
	case api.AttemptStateCanceled:
		return lookCanceled
	case api.AttemptStateLost:
		return lookLost
	}
	return unknown(string(state))
}

// tickLook is the look of a decision about a tick.
func tickLook(state api.TickState) Look {
	switch state {
	case api.TickStateRun:
		return lookSucceeded
	case api.TickStateSkipped:
		return lookTickSkip
	case api.TickStateMissed:
		return lookTickMissed
	case api.TickStateFailed:
		return lookTickFailed
	}
	return unknown(string(state))
}

// pipelineLook is the look of a pipeline: paused, or that of its newest run.
func pipelineLook(p api.Pipeline) Look {
	switch {
	case p.Paused != nil:
		return lookPaused
	case p.LastRun == nil:
		return lookNever
	}
	return runLook(p.LastRun.State, p.LastRun.Reason)
}

// unknown is for a state that this program is older than.
func unknown(state string) Look {
	return Look{"neutral", "hollow", "ask", "?", "?", fmt.Sprintf("%.40s", state)}
}
