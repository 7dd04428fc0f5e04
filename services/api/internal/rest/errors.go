package rest

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// Explain turns whatever a handler or the router returned into an api.Error.
func Explain(err error) *api.Error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	if errors.Is(err, io.EOF) {
		return api.Errorf(api.Malformed, "the body is empty").WithHint("send JSON")
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch e.Code {
		case http.StatusNotFound:
			return api.Errorf(api.NotFound, "there is nothing at this address")
		case http.StatusMethodNotAllowed:
			return api.Errorf(api.NotAllowed, "this address does not take that method")
		case http.StatusBadRequest:
			// From the generated code: which parameter, and what is wrong with it.
			message, _ := e.Message.(string)
			return &api.Error{Code: api.Malformed, Message: wording(message), Cause: err}
		}
		return &api.Error{Code: api.CodeOf(e.Code), Message: http.StatusText(e.Code), Cause: err}
	}
	return app.Explain(err)
}

// WriteProblem answers with an error as problem+json. Where an answer has begun there
// is nothing left to say.
func WriteProblem(c echo.Context, log *slog.Logger, err error) {
	e := Explain(err)
	id := c.Response().Header().Get(echo.HeaderXRequestID)
	Log(c, log, e)
	if c.Response().Committed {
		return
	}
	p := e.Problem()
	p.RequestID = id
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"type":"about:blank","title":"Something went wrong here","status":500,"detail":"","code":"internal"}`)
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "application/problem+json")
	if e.Code == api.QueueFull || e.Code == api.Unavailable || e.Code == api.TooMany {
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(5))
	}
	c.Response().WriteHeader(p.Status)
	if c.Request().Method != http.MethodHead {
		_, _ = c.Response().Write(append(body, '\n'))
	}
}

// Log writes an error that is ours, whole, under the request's id. What a client
// did wrong is no news.
func Log(c echo.Context, log *slog.Logger, e *api.Error) {
	if e.Code != api.Internal && e.Code != api.Unavailable {
		return
	}
	level := slog.LevelError
	if e.Code == api.Unavailable {
		level = slog.LevelWarn
	}
	log.Log(c.Request().Context(), level, "request failed", "request_id", c.Response().Header().Get(echo.HeaderXRequestID),
		"method", c.Request().Method, "route", c.Path(), "err", e.Message, "cause", e.Cause)
}
