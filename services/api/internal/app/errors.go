package app

import (
	"context"
	"errors"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// Explain turns any error of this package into what the outside may see. It is
// the one place where what the database says becomes words.
func Explain(err error) *api.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	var e *api.Error
	switch {
	case errors.Is(err, context.Canceled):
		e = api.Errorf(api.Unavailable, "the request was given up before it was answered")
	case db.IsBusy(err):
		e = api.Errorf(api.Unavailable, "somebody else is changing the same thing; nothing was done").WithHint("try again")
	case state(err) == "22021", state(err) == "22P05": // bytes that are no text, a NUL
		e = api.Errorf(api.Unprocessable, "a text in the request holds a character that cannot be stored")
	case state(err) == "57014": // the statement's time was up
		e = api.Errorf(api.Unavailable, "the database took too long for this").WithHint("ask for less, or try again")
	case db.IsNoPartition(err):
		e = api.Errorf(api.Unavailable, "the database has no room for today: its partitions end before now").WithHint("run a scheduler, or migrate")
	case errors.Is(err, db.ErrOutcomeUnknown):
		e = api.Errorf(api.Unavailable, "the database was lost while this was being stored; nobody knows whether it was").WithHint("look, or repeat the request with its key")
	case db.IsUnavailable(err), errors.Is(err, context.DeadlineExceeded):
		e = api.Errorf(api.Unavailable, "the database cannot be reached or is too slow").WithHint("try again; see /readyz")
	default:
		return api.As(err)
	}
	e.Cause = err
	return e
}

// state is the code that the database gave the error, or "".
func state(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}
