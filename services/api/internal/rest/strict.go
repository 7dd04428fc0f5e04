package rest

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
)

// Binder reads bodies: JSON alone, with the names as they are written, each once,
// none unknown.
type Binder struct{}

// Bind reads the body of a request into a value. An empty body is io.EOF.
func (Binder) Bind(into any, c echo.Context) error {
	req := c.Request()
	if req.Body == nil || req.Body == http.NoBody {
		return io.EOF
	}
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		// Nothing to read is no wrong type.
		if n, _ := io.ReadFull(req.Body, make([]byte, 1)); n == 0 {
			return io.EOF
		}
		return api.Errorf(api.Unsupported, "the body is not application/json").WithHint("set Content-Type: application/json")
	}
	err := json.UnmarshalRead(req.Body, into, json.RejectUnknownMembers(true))
	return bodyError(err, c)
}

func bodyError(err error, c echo.Context) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		c.Response().Header().Set("Connection", "close")
		return access.TooLarge(e.Limit)
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		place := pointer(e.JSONPointer)
		switch {
		case errors.Is(err, io.EOF) && e.ByteOffset == 0:
			return io.EOF
		case errors.Is(err, jsontext.ErrDuplicateName):
			return api.Errorf(api.Unprocessable, "%s is given twice", place).WithHint("give it once")
		case errors.Is(err, io.ErrUnexpectedEOF):
			return api.Errorf(api.Malformed, "the body ends within its JSON, after %d bytes", e.ByteOffset)
		}
		return api.Errorf(api.Malformed, "the body is no JSON: byte %d, in %s", e.ByteOffset, place)
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		place := pointer(e.JSONPointer)
		if errors.Is(err, json.ErrUnknownName) {
			return api.Errorf(api.Unprocessable, "unknown or read-only key %s", place).WithHint("names are written exactly as the contract has them")
		}
		return api.Errorf(api.Unprocessable, "%s has the wrong type: found %s", place, e.JSONKind)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return api.Errorf(api.Malformed, "the body ended early")
	}
	return &api.Error{Code: api.Malformed, Message: "the body cannot be read", Cause: err}
}

// pointer is a place in a body for people: files/3/text.
func pointer(p jsontext.Pointer) string {
	text := strings.TrimPrefix(string(p), "/")
	if text == "" {
		return "the body"
	}
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return quote(text)
}
