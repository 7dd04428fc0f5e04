package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// policy lets pages load what this server has, and nothing else run.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// regions are the parts of a page that may be asked for alone, by their id.
type regions map[string]templ.Component

// render answers with a page, or with the region of it that the browser asks for.
func (s *Server) render(c echo.Context, status int, main templ.Component, b Base, parts regions) error {
	whole := Layout(b, main)
	if c.Request().Header.Get("HX-Request-Type") == "partial" {
		_, id, _ := strings.Cut(c.Request().Header.Get("HX-Target"), "#")
		if part, ok := parts[id]; ok {
			whole = part
		}
	}
	var buf bytes.Buffer
	if err := whole.Render(c.Request().Context(), &buf); err != nil {
		return fmt.Errorf("render %s: %w", c.Path(), err)
	}
	return write(c, status, buf.Bytes())
}

// write sends HTML, unless the browser has it already.
func write(c echo.Context, status int, body []byte) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "HX-Request-Type, HX-Target, Cookie, Accept-Encoding")
	if c.Get(noStoreKey) != nil {
		h.Set("Cache-Control", "no-store")
	} else if status == http.StatusOK && c.Request().Method == http.MethodGet && len(h.Values("Set-Cookie")) == 0 {
		sum := sha256.Sum256(body)
		tag := `W/"` + hex.EncodeToString(sum[:12]) + `"`
		h.Set("ETag", tag)
		if c.Request().Header.Get("If-None-Match") == tag {
			return c.NoContent(http.StatusNotModified)
		}
	}
	if len(body) > 1<<10 && strings.Contains(c.Request().Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = squeeze(body, gzip.DefaultCompression)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Response().WriteHeader(status)
	_, err := c.Response().Write(body)
	return err
}

const noStoreKey = "no-store"

// noStore keeps an answer out of every cache: it holds names of secrets.
func noStore(c echo.Context) { c.Set(noStoreKey, true) }

func squeeze(body []byte, level int) []byte {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, level)
	if err != nil {
		return body
	}
	_, _ = w.Write(body) // a buffer takes everything
	_ = w.Close()
	return buf.Bytes()
}

// explain turns whatever a handler or the router returned into what people may read.
func explain(err error) *api.Error {
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch e.Code {
		case http.StatusNotFound:
			return api.Errorf(api.NotFound, "there is nothing at this address")
		case http.StatusMethodNotAllowed:
			return api.Errorf(api.NotAllowed, "this address does not take that method")
		}
		return &api.Error{Code: api.CodeOf(e.Code), Message: http.StatusText(e.Code), Cause: err}
	}
	return app.Explain(err)
}

// requestMark stands in the prepared page where the request's id goes.
const requestMark = "request-id-goes-here"

// brokenPage is the page for errors of ours, made before there are any.
func (s *Server) brokenPage() ([]byte, error) {
	b := Base{Title: "Not available", Zone: s.zone, Assets: s.assets, Version: s.version}
	page := ErrorPage{
		Base: b, Status: http.StatusInternalServerError, Heading: "This page cannot be shown just now", RequestID: requestMark, Retry: true,
		Message: "The server could not put it together. What you started before goes on: runs do not need pages.",
		Hint:    "Try again in a moment. If it stays so, the log of the api says more under this request id.",
	}
	var buf bytes.Buffer
	err := Layout(b, ErrorMain(page)).Render(context.Background(), &buf)
	return buf.Bytes(), err
}

// WriteError answers with an error as a page in the frame. Somebody who is not
// signed in is led to where that is done.
func (s *Server) WriteError(c echo.Context, err error) {
	e := explain(err)
	id := c.Response().Header().Get(echo.HeaderXRequestID)
	if (e.Code == api.Internal || e.Code == api.Unavailable) && c.Request().Context().Err() == nil { // else nobody waits for the answer
		s.log.ErrorContext(c.Request().Context(), "request failed", "request_id", id, "method", c.Request().Method, "route", c.Path(), "err", e.Message, "cause", e.Cause)
	}
	if c.Response().Committed {
		return
	}
	if e.Code == api.Unauthenticated {
		s.leadToLogin(c)
		return
	}
	status := e.Code.Status()
	if status >= 500 {
		_ = write(c, status, bytes.ReplaceAll(s.broken, []byte(requestMark), []byte(id)))
		return
	}
	b := s.base(c, app.PageHead{}, e.Code.Title(), "")
	page := ErrorPage{Base: b, Status: status, Heading: e.Code.Title(), Message: sentence(e.Message), Hint: e.Hint, RequestID: id, Up: "/p", UpText: "All pipelines"}
	if ns, name := param(c, "ns"), param(c, "name"); ns != "" && name != "" && param(c, "no") != "" {
		page.Up, page.UpText = Ref{Namespace: ns, Name: name}.URL(), "All runs of "+tidy(cut(name, 64))
	}
	if err := s.render(c, status, ErrorMain(page), b, nil); err != nil {
		_ = write(c, http.StatusInternalServerError, bytes.ReplaceAll(s.broken, []byte(requestMark), []byte(id)))
	}
}

func (s *Server) leadToLogin(c echo.Context) {
	r := c.Request()
	back := "/"
	if r.Method == http.MethodGet {
		back = r.URL.RequestURI()
	}
	to := "/login"
	if back != "/" {
		to += "?next=" + url.QueryEscape(back)
	}
	h := c.Response().Header()
	h.Del("WWW-Authenticate")
	if r.Header.Get("HX-Request") != "" {
		h.Set("HX-Redirect", to)
		_ = c.NoContent(http.StatusUnauthorized)
		return
	}
	_ = c.Redirect(http.StatusSeeOther, to)
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return tidy(s)
}

// param is a part of the path, decoded once: the router matches the path as it
// was sent where that differs from its plain form.
func param(c echo.Context, name string) string {
	v := c.Param(name)
	if c.Request().URL.RawPath != "" {
		if u, err := url.PathUnescape(v); err == nil {
			return u
		}
	}
	return v
}
