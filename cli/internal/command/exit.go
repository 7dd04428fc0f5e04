package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// Exit statuses. Scripts rely on them: they never change their meaning.
const (
	ExitOK          = 0
	ExitError       = 1   // an error; validate found problems
	ExitChanged     = 2   // there are changes
	ExitBlocked     = 2   // explain: something blocks
	ExitRunFailed   = 3   // the run that was followed failed
	ExitNotFound    = 4   // what was named does not exist
	ExitRefused     = 5   // not signed in, no right, a guard
	ExitConflict    = 6   // the server moved, a key came back with other content, a queue is full
	ExitTimeout     = 7   // timed out waiting; the run goes on
	ExitCanceled    = 8   // the run was canceled, or you said no
	ExitRunSkipped  = 9   // the run that was followed was skipped
	ExitUsage       = 64  // the line makes no sense, or needs a terminal
	ExitInterrupted = 130 // Ctrl-C
)

// ExitOf is the status that an error of the server stands for.
func ExitOf(code api.Code) int {
	switch code {
	case api.NotFound, api.Gone:
		return ExitNotFound
	case api.Unauthenticated, api.Refused, api.Guarded:
		return ExitRefused
	case api.Conflict, api.QueueFull:
		return ExitConflict
	default:
		return ExitError
	}
}

// exitOfRun is the status that a run's end stands for.
func exitOfRun(state api.RunState) int {
	switch state {
	case api.RunStateSucceeded:
		return ExitOK
	case api.RunStateFailed:
		return ExitRunFailed
	case api.RunStateCanceled:
		return ExitCanceled
	case api.RunStateSkipped:
		return ExitRunSkipped
	default:
		return ExitError
	}
}

// A usage error is about the line that was typed.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func usage(format string, args ...any) *usageError {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

func (e *usageError) withHint(format string, args ...any) *usageError {
	e.hint = fmt.Sprintf(format, args...)
	return e
}

// A status is an end that everything has been said about.
type status int

func (s status) Error() string { return fmt.Sprintf("exit %d", int(s)) }

// A saying is an end with a status and a word about it.
type saying struct {
	status        int
	message, hint string
}

func (e *saying) Error() string { return e.message }

var (
	errTimeout = errors.New("timed out")
	// errClosed says that nobody reads what is written.
	errClosed = errors.New("closed pipe")
)

// endOf is the status and the words of an error.
func endOf(ctx context.Context, err error) (status int, message, hint string) {
	if s, ok := errors.AsType[statusCarrier](err); ok {
		return s.end()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errInterrupted):
			return ExitInterrupted, "interrupted", ""
		case errors.Is(cause, errClosed):
			return ExitOK, "", ""
		default:
			return ExitTimeout, "timed out", "--timeout says for how long to wait"
		}
	}
	if e, ok := errors.AsType[*api.Error](err); ok {
		hint = e.Hint
		if e.Code == api.Unauthenticated && hint == "" {
			hint = "synctl login"
		}
		return ExitOf(e.Code), e.Message, hint
	}
	return ExitError, err.Error(), ""
}

// A statusCarrier is an error that knows its status.
type statusCarrier interface {
	error
	end() (status int, message, hint string)
}

func (e *usageError) end() (int, string, string) { return ExitUsage, e.message, e.hint }
func (s status) end() (int, string, string)      { return int(s), "", "" }
func (e *saying) end() (int, string, string)     { return e.status, e.message, e.hint }
