package expr

import (
	"errors"
	"unicode/utf8"
)

// The codes of the rules an expression can break.
const (
	CodeSyntax      = "SYN1501" // the text does not parse
	CodeUnknown     = "SYN1502" // a name, task, param … that does not exist
	CodeContext     = "SYN1503" // a known context that cannot be read here
	CodeType        = "SYN1504" // a value of the wrong type
	CodeNotLanguage = "SYN1505" // something other languages have
	CodeSize        = "SYN1506" // too long, too many parts, too deep
	CodeNotClosed   = "SYN1507" // ${{ without }}
)

// An Error says what is wrong with an expression, and where. Compiling gives
// errors with a code; errors of evaluation have none.
type Error struct {
	Code    string
	Message string
	// Hint is what to do about it; it may be empty.
	Hint string
	// Offset and Len count code points of the text that was compiled.
	Offset, Len int

	cause error // of a Lazy value that could not be fetched
}

// Unwrap gives the error of the Lazy value that could not be fetched, if any.
func (e *Error) Unwrap() error { return e.cause }

// Error gives the message and, after an arrow, the hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " → " + e.Hint
}

// Errors lists the expression errors that err holds, in the order of the text:
// compiling a text with several expressions reports all of them.
func Errors(err error) []*Error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Error
		for _, e := range joined.Unwrap() {
			all = append(all, Errors(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return []*Error{e}
	}
	return nil
}

// span is a range of bytes of the source text.
type span struct{ start, end int }

// at makes an error at a range of bytes of src.
func (s span) at(src, code, message, hint string) *Error {
	start := min(max(s.start, 0), len(src))
	end := min(max(s.end, start), len(src))
	return &Error{
		Code: code, Message: message, Hint: hint,
		Offset: utf8.RuneCountInString(src[:start]),
		Len:    max(1, utf8.RuneCountInString(src[start:end])),
	}
}
