package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// A Code says what kind of error it is. The list is closed: the server answers
// nothing else, and a client that meets a code it does not know goes by the
// HTTP status.
type Code string

// The codes.
const (
	Malformed       Code = "malformed"       // the request cannot be read
	Unauthenticated Code = "unauthenticated" // not signed in, or the token no longer holds
	Refused         Code = "refused"         // no right
	NotFound        Code = "not_found"
	NotAllowed      Code = "not_allowed"   // the address has no such method
	Conflict        Code = "conflict"      // the server moved, or a key came back with other content
	Guarded         Code = "guarded"       // owned by another source, protected, or over the guard
	Gone            Code = "gone"          // it was there; retention removed it
	TooLarge        Code = "too_large"     // a body, a file, a number of files
	Unsupported     Code = "unsupported"   // a media type or encoding
	Unprocessable   Code = "unprocessable" // well-formed, and wrong; Problems say where
	QueueFull       Code = "queue_full"
	TooMany         Code = "too_many" // requests
	Unavailable     Code = "unavailable"
	Internal        Code = "internal"
)

// codes is the one place where codes and HTTP statuses meet. Where two codes
// share a status, the first is what the status alone means.
var codes = []struct {
	code   Code
	status int
	title  string
}{
	{Malformed, http.StatusBadRequest, "The request cannot be read"},
	{Unauthenticated, http.StatusUnauthorized, "Not signed in"},
	{Refused, http.StatusForbidden, "No right to do this"},
	{NotFound, http.StatusNotFound, "Not found"},
	{NotAllowed, http.StatusMethodNotAllowed, "No such method here"},
	{Conflict, http.StatusConflict, "Conflict"},
	{Guarded, http.StatusConflict, "Refused by a guard"},
	{Gone, http.StatusGone, "No longer kept"},
	{TooLarge, http.StatusRequestEntityTooLarge, "Too large"},
	{Unsupported, http.StatusUnsupportedMediaType, "Not a type that is read here"},
	{Unprocessable, http.StatusUnprocessableEntity, "Something in it is wrong"},
	{QueueFull, http.StatusTooManyRequests, "The queue is full"},
	{TooMany, http.StatusTooManyRequests, "Too many requests"},
	{Unavailable, http.StatusServiceUnavailable, "Not available just now"},
	{Internal, http.StatusInternalServerError, "Something went wrong here"},
}

// Status is the HTTP status of the code.
func (c Code) Status() int {
	for _, e := range codes {
		if e.code == c {
			return e.status
		}
	}
	return http.StatusInternalServerError
}

// Title is the code in words.
func (c Code) Title() string {
	for _, e := range codes {
		if e.code == c {
			return e.title
		}
	}
	return codes[len(codes)-1].title
}

// CodeOf is the code of an HTTP status.
func CodeOf(status int) Code {
	for _, e := range codes {
		if e.status == status {
			return e.code
		}
	}
	switch {
	case status == http.StatusBadGateway || status == http.StatusGatewayTimeout:
		return Unavailable
	case status >= 400 && status < 500:
		return Malformed
	default:
		return Internal
	}
}

// An Error is what a person can act on: one type from the database to the
// terminal. Cause is for logs and -v; no client ever sees it.
type Error struct {
	Code      Code
	Message   string // one sentence: object, problem, value seen, value wanted
	Hint      string // what to do, with a command where there is one
	Where     Where
	Problems  []Finding
	RequestID string
	Cause     error
}

// Errorf makes an Error whose message is formatted. It wraps nothing.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint gives the error a hint and returns it.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error is the message, with its place in front and its hint behind.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Where.File != "" {
		fmt.Fprintf(&b, "%s:%d:%d  ", e.Where.File, e.Where.Line, e.Where.Col)
	}
	b.WriteString(cmp.Or(e.Message, e.Code.Title()))
	if e.Hint != "" {
		b.WriteString(" → ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// As finds the Error in err. What is none is Internal: its text is not for
// clients, so it only stays as the cause.
func As(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Internal, Message: "something went wrong here; the log of the api has it under this request id", Cause: err}
}

// IsCode tells whether err is an Error with this code.
func IsCode(err error, code Code) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}

// docs is where each code is explained.
const docs = "https://synthesizer.dev/errors/"

// Problem is the error as the body of an answer.
func (e *Error) Problem() Problem {
	return Problem{
		Type: docs + string(e.Code), Title: e.Code.Title(), Status: e.Code.Status(), Detail: e.Message, Hint: e.Hint,
		Code: e.Code, Where: e.Where, RequestID: e.RequestID, Problems: e.Problems,
	}
}

// Err is the error that a body stands for.
func (p Problem) Err() *Error {
	code := p.Code
	if code.known() {
		return &Error{Code: code, Message: p.Detail, Hint: p.Hint, Where: p.Where, Problems: p.Problems, RequestID: p.RequestID}
	}
	return &Error{Code: CodeOf(p.Status), Message: cmp.Or(p.Detail, p.Title), Hint: p.Hint, Where: p.Where, Problems: p.Problems, RequestID: p.RequestID}
}

func (c Code) known() bool {
	for _, e := range codes {
		if e.code == c {
			return true
		}
	}
	return false
}
