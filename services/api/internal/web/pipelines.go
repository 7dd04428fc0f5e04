package web

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// listPage is how many pipelines a page lists.
const listPage = 50

var pipelineStates = []string{"running", "queued", "failed", "succeeded", "canceled", "skipped", "paused", "never"}

// pipelines lists pipelines, each with its newest runs and its next tick.
func (s *Server) pipelines(c echo.Context) error {
	page, err := s.pipelinesPage(c)
	if err != nil {
		return err
	}
	return s.render(c, 200, PipelinesMain(page), page.Base, regions{"pipelines": Pipelines(page.List)})
}

func (s *Server) pipelinesPage(c echo.Context) (PipelinesPage, error) {
	if err := known(c, "q", "state", "after"); err != nil {
		return PipelinesPage{}, err
	}
	q, state, after := strings.TrimSpace(c.QueryParam("q")), c.QueryParam("state"), c.QueryParam("after")
	ctx := c.Request().Context()
	head, err := s.app.PageHead(ctx, actor(c))
	if err != nil {
		return PipelinesPage{}, err
	}
	page := PipelinesPage{Base: s.base(c, head, "Pipelines", "pipelines"), Q: q, State: state}
	page.JSON = "/api/v1/pipelines" + query("q", q, "state", state, "cursor", after)
	page.Live = "/events" + query("page", "pipelines", "q", q, "state", state, "after", after)
	page.Command = "synctl ls"
	page.States = append(page.States, Option{Label: "any state", Chosen: state == ""})
	for _, v := range pipelineStates {
		label := v
		if v == "never" {
			label = "never run"
		}
		page.States = append(page.States, Option{Value: v, Label: label, Chosen: state == v})
	}
	page.List, err = s.pipelineList(c, page.Base, q, state, after)
	page.List.Live = page.Live
	return page, err
}

func (s *Server) pipelineList(c echo.Context, b Base, q, state, after string) (PipelineList, error) {
	list := PipelineList{Filtered: q != "" || state != "" || after != "", Clear: "/p", Zone: b.zone()}
	who := actor(c)
	found, err := s.app.Pipelines(c.Request().Context(), who, api.ListPipelinesParams{Q: q, State: api.PipelineState(state), Cursor: after, Limit: listPage})
	if err != nil {
		return list, err
	}
	for _, p := range found.Items {
		list.Rows = append(list.Rows, pipelineRow(b, who, p))
	}
	if found.Next != "" {
		list.More = "/p" + query("q", q, "state", state, "after", found.Next)
	}
	return list, nil
}

func pipelineRow(b Base, who app.Actor, p api.Pipeline) PipelineRow {
	ref := Ref{p.Namespace, p.Name, b.Many}
	row := PipelineRow{Ref: ref, Look: pipelineLook(p), Description: cut(tidy(p.Description), 160), Strip: strip(ref, p.Recent, b.Now), Run: may(who, api.RoleOperator, p.Namespace)}
	if !p.Manual {
		row.Run = May{Missing: "its file says manual: false"}
	}
	switch {
	case p.Paused != nil:
		row.Note = "paused by " + tidy(cut(p.Paused.By, 60)) + " “" + tidy(cut(p.Paused.Reason, 120)) + "”"
		if p.Paused.Until != nil {
			row.Note += " until " + b.moment(*p.Paused.Until).Text
		}
	case p.Queued > 0 && p.Running > 0:
		row.Note = fmt.Sprintf("%s: %d running", plural(p.Queued, "run")+" queued", p.Running)
	}
	for _, sch := range p.Schedules {
		if sch.Broken != "" {
			row.Note, row.NoteBad = "schedule broken: "+tidy(cut(sch.Broken, 160)), true
		}
	}
	if r := p.LastRun; r != nil {
		row.Last = &RunLink{Look: runLook(r.State, r.Reason), Number: r.Number, URL: ref.Run(r.Number), Took: took(r.StartedAt, r.EndedAt, b.Now), At: b.ago(r.CreatedAt)}
	}
	if len(p.Schedules) > 0 {
		first := p.Schedules[0]
		row.Schedule, row.Words = first.Text+" "+first.Timezone, cmp.Or(inWords(first.Text), first.Text)
		if len(p.Schedules) > 1 {
			row.Words += fmt.Sprintf(" and %d more", len(p.Schedules)-1)
		} else if first.Timezone != "" && first.Timezone != b.zone() && strings.Contains(row.Words, ":") {
			row.Words += " " + first.Timezone
		}
	}
	if p.Paused == nil {
		row.Next = b.maybe(p.NextTick)
	}
	return row
}

// took is how long something has taken; empty before it starts.
func took(from, to *time.Time, now time.Time) string {
	switch {
	case from == nil:
		return ""
	case to == nil:
		return duration(now.Sub(*from))
	}
	return duration(to.Sub(*from))
}

// Sizes of a strip of bars.
const (
	stripBars   = 14
	stripPitch  = 10
	stripHeight = 24
)

// strip draws runs, newest first, as bars whose height is how long they took.
func strip(ref Ref, runs []api.RunSummary, now time.Time) Strip {
	var out Strip
	length := func(r api.RunSummary) time.Duration {
		if r.StartedAt == nil {
			return 0
		}
		if r.EndedAt == nil {
			return max(0, now.Sub(*r.StartedAt))
		}
		return max(0, r.EndedAt.Sub(*r.StartedAt))
	}
	longest, failed := time.Duration(1), 0
	for _, r := range runs {
		longest = max(longest, length(r))
		if r.State == api.RunStateFailed {
			failed++
		}
	}
	for i := len(runs) - 1; i >= 0; i-- {
		r := runs[i]
		height := 6 + int(float64(stripHeight-6)*float64(length(r))/float64(longest))
		look := runLook(r.State, r.Reason)
		label := fmt.Sprintf("#%d %s", r.Number, look.Word)
		if r.StartedAt != nil {
			label += " " + duration(length(r))
		}
		out.Bars = append(out.Bars, Bar{Look: look, X: (stripBars - 1 - i) * stripPitch, Y: stripHeight - height, Height: height, URL: ref.Run(r.Number), Label: label})
	}
	out.Label = "last " + plural(len(runs), "run")
	if failed > 0 {
		out.Label += fmt.Sprintf(", %d failed", failed)
	}
	return out
}

// known refuses query parameters that a page does not know.
func known(c echo.Context, names ...string) error {
	for name := range c.QueryParams() {
		ok := false
		for _, n := range names {
			ok = ok || n == name
		}
		if !ok {
			e := api.Errorf(api.Malformed, "this page has no filter called %q", cut(tidy(name), 40))
			if len(names) > 0 {
				e = e.WithHint("it knows: %s", strings.Join(names, ", "))
			}
			return e
		}
	}
	return nil
}

// query is a query string of those pairs that have a value.
func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}
