package web

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// prefix stands before the names of params in a form, so that none of them meets
// a field of ours.
const prefix = "param."

// runForm shows the form that starts a run.
func (s *Server) runForm(c echo.Context) error {
	if err := known(c, "like"); err != nil {
		return err
	}
	ctx, who, name := c.Request().Context(), actor(c), pipelineRef(c)
	given := url.Values{}
	if like := c.QueryParam("like"); like != "" {
		run, err := s.app.Run(ctx, who, app.RunRef{Namespace: name.Namespace, Pipeline: name.Name, Run: like})
		if err != nil {
			return s.orDefault(c, err)
		}
		for param, v := range run.Params {
			given[prefix+param] = formValues(v)
		}
		given.Set("note", run.Note)
	}
	page, err := s.runFormPage(c, given)
	if err != nil {
		return s.orDefault(c, err)
	}
	page.Key = rand.Text()
	return s.render(c, http.StatusOK, RunFormMain(page), page.Base, nil)
}

// formValues are what a form's field sends for a value.
func formValues(v json.RawMessage) []string {
	var list []any
	if json.Unmarshal(v, &list) == nil && list != nil {
		out := []string{}
		for _, e := range list {
			if text, ok := e.(string); ok {
				out = append(out, text)
				continue
			}
			b, _ := json.Marshal(e)
			out = append(out, string(b))
		}
		return append(out, string(v)) // the last is the whole, for fields that hold it
	}
	var text string
	if json.Unmarshal(v, &text) == nil {
		return []string{text}
	}
	return []string{string(v)}
}

// runFormPage is the form with what was given, or with the defaults.
func (s *Server) runFormPage(c echo.Context, given url.Values) (RunForm, error) {
	var page RunForm
	ctx, who, name := c.Request().Context(), actor(c), pipelineRef(c)
	p, err := s.app.Pipeline(ctx, who, name)
	if err != nil {
		return page, err
	}
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, head, "Run "+p.Name, "pipelines")
	ref := Ref{p.Namespace, p.Name, page.Many}
	page.Ref, page.Revision, page.Manual, page.MayRun = ref, p.Revision, p.Manual, may(who, api.RoleOperator, p.Namespace)
	page.JSON = "/api/v1/pipelines/" + strings.TrimPrefix(ref.URL(), "/p/")
	page.Command = "synctl run " + ref.Command()
	page.Note, page.At, page.AtZone = given.Get("note"), given.Get("at"), page.zone()
	if p.Running > 0 || p.Queued > 0 {
		page.Busy = fmt.Sprintf("%d running and %d queued now: it may have to wait its turn.", p.Running, p.Queued)
	}
	if p.Paused != nil {
		page.Busy = "The pipeline is paused: that holds its ticks back, not runs by hand."
	}
	shell := "synctl run " + ref.Command()
	for i, param := range p.Params {
		f := field(i, param, given)
		page.Fields = append(page.Fields, f)
		switch {
		case f.Value != "" && f.Value != f.Default:
			shell += " -p " + shellWord(f.Name+"="+f.Value)
		case f.Required && f.Default == "":
			shell += " -p " + f.Name + "=…"
		}
	}
	page.Shell = shell + " --watch"
	recent, err := s.app.Runs(ctx, who, api.ListRunsParams{Pipeline: ref.Namespace + "/" + ref.Name, Limit: 20})
	if err != nil {
		return page, err
	}
	seen := map[string]bool{}
	for _, r := range recent.Items {
		text := paramsText(r.Params, 120)
		if len(r.Params) == 0 || seen[text] || len(page.Recent) == 5 {
			continue
		}
		seen[text] = true
		page.Recent = append(page.Recent, RecentParams{Number: r.Number, URL: ref.URL("run") + query("like", strconv.FormatInt(r.Number, 10)), Text: text, Look: runLook(r.State, r.Reason)})
	}
	return page, nil
}

// schema is what a widget needs of a param's schema.
type schema struct {
	Type      string            `json:"type"`
	Format    string            `json:"format"`
	Minimum   json.Number       `json:"minimum"`
	Maximum   json.Number       `json:"maximum"`
	MinLength int               `json:"minLength"`
	MaxLength int               `json:"maxLength"`
	Pattern   string            `json:"pattern"`
	Items     *schema           `json:"items"`
	Enum      []json.RawMessage `json:"enum"`
}

// field chooses the widget of a param by its schema.
func field(i int, p api.Param, given url.Values) Field {
	var sc schema
	_ = json.Unmarshal(p.Schema, &sc)
	f := Field{
		ID: "p" + strconv.Itoa(i), Name: p.Name, Label: tidy(cmp.Or(p.Title, p.Name)), Description: tidy(cut(p.Description, 500)), Required: p.Required && len(p.Default) == 0,
		Default: plain(p.Default), Widget: "text", Bounds: bounds(sc),
	}
	values, set := given[prefix+p.Name]
	f.Value = f.Default
	if set && len(values) > 0 {
		f.Value = values[len(values)-1]
	}
	switch {
	case len(p.Enum) > 0 && len(p.Enum) <= 5:
		f.Widget = "radio"
	case len(p.Enum) > 0:
		f.Widget = "select"
	case p.Type == "boolean":
		f.Widget = "boolean"
	case p.Type == "integer":
		f.Widget, f.Mode = "text", "numeric"
	case p.Type == "number":
		f.Widget, f.Mode = "text", "decimal"
	case p.Format == "date" && !strings.Contains(f.Value, "${{"):
		f.Widget = "date"
	case p.Type == "array" && sc.Items != nil && len(sc.Items.Enum) > 0:
		f.Widget, f.Bounds = "check", ""
		if !set {
			values = formValues(p.Default)
		}
		for _, v := range sc.Items.Enum {
			text := plain(v)
			f.Options = append(f.Options, Option{Value: text, Label: tidy(text), Chosen: slices.Contains(values, text)})
		}
	case p.Type == "array" || p.Type == "object":
		f.Widget = "json"
	case sc.MaxLength > 200 || strings.Contains(f.Value, "\n"):
		f.Widget = "area"
	}
	for _, v := range p.Enum {
		text := plain(v)
		f.Options = append(f.Options, Option{Value: text, Label: tidy(text), Chosen: text == f.Value})
	}
	return f
}

// plain is a JSON value as a form shows it: text without its quotes.
func plain(v json.RawMessage) string {
	var text string
	if len(v) > 0 && v[0] == '"' && json.Unmarshal(v, &text) == nil {
		return text
	}
	if string(v) == "null" {
		return ""
	}
	return string(v)
}

// bounds say what values a param may have.
func bounds(sc schema) string {
	var parts []string
	switch sc.Type {
	case "integer", "number", "array", "object":
		parts = append(parts, sc.Type)
	}
	if sc.Type == "array" || sc.Type == "object" {
		parts[0] += ", written as JSON"
	}
	switch {
	case sc.Minimum != "" && sc.Maximum != "":
		parts = append(parts, string(sc.Minimum)+" to "+string(sc.Maximum))
	case sc.Minimum != "":
		parts = append(parts, "at least "+string(sc.Minimum))
	case sc.Maximum != "":
		parts = append(parts, "at most "+string(sc.Maximum))
	}
	if sc.MaxLength > 0 {
		parts = append(parts, fmt.Sprintf("at most %d characters", sc.MaxLength))
	}
	if sc.Format != "" {
		parts = append(parts, sc.Format)
	}
	if sc.Pattern != "" {
		parts = append(parts, "pattern "+tidy(cut(sc.Pattern, 80)))
	}
	return strings.Join(parts, ", ")
}

// startRun makes a run from a form. The same form sent twice makes one.
func (s *Server) startRun(c echo.Context) error {
	form, err := c.FormParams()
	if err != nil {
		return api.Errorf(api.Malformed, "the form cannot be read")
	}
	ctx, who, name := c.Request().Context(), actor(c), pipelineRef(c)
	page, err := s.runFormPage(c, form)
	if err != nil {
		return err
	}
	page.Key = cut(form.Get("key"), 64)
	if page.Key == "" {
		page.Key = rand.Text()
	}
	req, wrong := runRequest(page, form)
	if len(wrong) > 0 {
		return s.formAgain(c, page, http.StatusUnprocessableEntity, wrong, nil)
	}
	run, _, err := s.app.CreateRun(ctx, who, name, page.Key, req)
	if err != nil {
		e := explain(err)
		switch e.Code {
		case api.Unprocessable, api.Conflict, api.QueueFull:
			if e.Code == api.Conflict {
				page.Key = rand.Text()
			}
			return s.formAgain(c, page, e.Code.Status(), problemsOf(page, e), e)
		}
		return err
	}
	s.flash(c, fmt.Sprintf("Started %s #%d.", name.Name, run.Number))
	return c.Redirect(http.StatusSeeOther, refOf(run.Pipeline, false).Run(run.Number))
}

// runRequest reads a form as a request. A field left empty is one not given.
func runRequest(page RunForm, form url.Values) (api.RunRequest, []FormError) {
	req := api.RunRequest{Params: api.Values{}, Texts: map[string]string{}, Note: form.Get("note")}
	var wrong []FormError
	if n, err := strconv.Atoi(form.Get("revision")); err == nil {
		req.ExpectRevision = n
	}
	for _, f := range page.Fields {
		values := form[prefix+f.Name]
		switch f.Widget {
		case "boolean":
			value := "false"
			if slices.Contains(values, "true") {
				value = "true"
			}
			if f.Default != "" || value == "true" || f.Required {
				req.Texts[f.Name] = value
			}
		case "check":
			list, err := json.Marshal(append([]string{}, values...))
			if err == nil && (len(values) > 0 || f.Default != "") {
				req.Params[f.Name] = list
			}
		default:
			if len(values) == 0 || values[0] == "" {
				continue
			}
			if values[0] != f.Default || !strings.Contains(f.Default, "${{") {
				req.Texts[f.Name] = strings.ReplaceAll(values[0], "\r\n", "\n")
			}
		}
	}
	if at := form.Get("at"); at != "" {
		zone := page.Zone
		if form.Get("at_utc") == "on" {
			zone = time.UTC
		}
		t, err := time.ParseInLocation("2006-01-02T15:04", at, zone)
		if err != nil || t.In(zone).Format("2006-01-02T15:04") != at {
			wrong = append(wrong, FormError{ID: "at", Message: "scheduled for: " + tidy(cut(at, 40)) + " is no time in " + zone.String()})
		} else {
			req.At = t
		}
	}
	return req, wrong
}

// problemsOf turns an error about a request into lines beside fields.
func problemsOf(page RunForm, e *api.Error) []FormError {
	var out []FormError
	for _, p := range e.Problems {
		id := ""
		for _, f := range page.Fields {
			if f.Name == p.Param {
				id = f.ID
			}
		}
		out = append(out, FormError{ID: id, Message: tidy(p.Message), Hint: tidy(p.Hint)})
	}
	return out
}

// formAgain shows the form once more, with what is wrong and all that was typed.
func (s *Server) formAgain(c echo.Context, page RunForm, status int, wrong []FormError, e *api.Error) error {
	page.Errors = wrong
	for _, w := range wrong {
		for i := range page.Fields {
			if page.Fields[i].ID == w.ID {
				page.Fields[i].Error = w.Message
			}
		}
	}
	if e != nil && len(wrong) == 0 {
		page.Problem, page.Hint = sentence(e.Message), tidy(e.Hint)
	}
	return s.render(c, status, RunFormMain(page), page.Base, nil)
}
