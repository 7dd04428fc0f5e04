package web

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// runsPage is how many runs a page lists, ticksPage how many decisions.
const (
	runsPage  = 50
	ticksPage = 50
	nextShown = 8
)

func pipelineRef(c echo.Context) app.PipelineRef {
	return app.PipelineRef{Namespace: param(c, "ns"), Name: param(c, "name")}
}

// pipeline shows a pipeline with its runs.
func (s *Server) pipeline(c echo.Context) error {
	page, err := s.pipelineFrame(c, "runs", "state", "after")
	if err != nil {
		return s.orDefault(c, err)
	}
	if err := s.pipelineRuns(c, &page); err != nil {
		return err
	}
	return s.render(c, 200, PipelineMain(page), page.Base, pipelineRegions(page))
}

func pipelineRegions(p PipelinePage) regions {
	return regions{"pipeline-head": PipelineHeader(p.Header), "pipeline-why": PipelineWhy(p.Why), "runs": Runs(p.Runs), "pipeline-next": Next(p.Next)}
}

func (s *Server) pipelineRuns(c echo.Context, page *PipelinePage) error {
	ctx, who, ref := c.Request().Context(), actor(c), page.Header.Ref
	after := c.QueryParam("after")
	list, err := s.app.Runs(ctx, who, api.ListRunsParams{Pipeline: ref.Namespace + "/" + ref.Name, Cursor: after, Limit: runsPage, State: statesOf(c)})
	if err != nil {
		return err
	}
	why, err := s.app.ExplainPipeline(ctx, who, app.PipelineRef{Namespace: ref.Namespace, Name: ref.Name})
	if err != nil {
		return err
	}
	page.Why = whyBox(page.Base, ref, &why, "paused", "removed") // those are above
	page.Runs = RunTable{Zone: page.zone(), Empty: "This pipeline has never run.", Hint: "synctl run " + ref.Command() + " --watch"}
	if len(statesOf(c)) > 0 || after != "" {
		page.Runs.Empty, page.Runs.Hint = "No runs like that.", ""
	}
	for _, r := range list.Items {
		page.Runs.Rows = append(page.Runs.Rows, runRow(page.Base, r))
	}
	if list.Next != "" {
		page.Runs.More = ref.URL() + query("state", c.QueryParam("state"), "after", list.Next)
	}
	return s.upcoming(c, page)
}

func (s *Server) upcoming(c echo.Context, page *PipelinePage) error {
	ref := page.Header.Ref
	next, err := s.app.Upcoming(c.Request().Context(), actor(c), app.PipelineRef{Namespace: ref.Namespace, Name: ref.Name}, nextShown)
	if err != nil {
		return err
	}
	page.Next = nextTicks(page.Base, next, len(page.Header.Schedules) > 1)
	page.Next.Paused = page.Header.Pause != nil
	switch {
	case page.Header.Removed != nil:
		page.Next.None = "It was removed from its source: no ticks come."
	case len(page.Header.Schedules) == 0:
		page.Next.None = "It has no schedule: it runs when somebody asks for it."
	case len(next) == 0:
		page.Next.None = "No more ticks come."
	}
	return nil
}

// statesOf reads the filter of states.
func statesOf(c echo.Context) []api.RunState {
	if v := c.QueryParam("state"); v != "" {
		return []api.RunState{api.RunState(v)}
	}
	return nil
}

func nextTicks(b Base, list []app.Upcoming, several bool) NextTicks {
	out := NextTicks{Zone: b.zone()}
	for _, u := range list {
		row := NextRow{Local: u.Local, LocalZone: u.Zone, UTC: u.At.UTC().Format("15:04") + "Z", In: b.ago(u.At), Note: u.Text, Fires: u.Fires}
		for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
			if wall, err := time.Parse(layout, u.Local); err == nil {
				row.Local = wallText(wall)
			}
		}
		if u.Timezone != b.zone() && u.Fires {
			m := b.moment(u.At)
			m.Text = u.At.In(b.Zone).Format("15:04") + " yours"
			row.Yours = &m
		}
		if several {
			row.Schedule = u.Schedule
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// wallText writes a wall clock; seconds only where there are some.
func wallText(t time.Time) string {
	if t.Second() == 0 {
		return t.Format("Mon 2 Jan 15:04")
	}
	return t.Format("Mon 2 Jan 15:04:05")
}

// pipelineFrame reads what all tabs of a pipeline's page have.
func (s *Server) pipelineFrame(c echo.Context, tab string, filters ...string) (PipelinePage, error) {
	page := PipelinePage{Tab: tab}
	ctx, who, name := c.Request().Context(), actor(c), pipelineRef(c)
	p, err := s.app.Pipeline(ctx, who, name)
	if err != nil {
		return page, err
	}
	if err := known(c, filters...); err != nil {
		return page, err
	}
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, head, p.Name, "pipelines")
	page.Header = pipelineHead(page.Base, who, p)
	ref := page.Header.Ref
	page.Title, page.Symbol = ref.String(), page.Header.Look.Symbol
	page.JSON = "/api/v1/pipelines/" + strings.TrimPrefix(ref.URL(), "/p/")
	page.Live = "/events" + query("page", "pipeline", "ns", p.Namespace, "name", p.Name, "tab", tab, "state", c.QueryParam("state"), "after", c.QueryParam("after"))
	page.Command = "synctl show " + ref.Command()
	page.Facts = pipelineFacts(page.Base, p)
	return page, nil
}

func pipelineFacts(b Base, p api.Pipeline) []Fact {
	created := b.moment(p.CreatedAt)
	facts := []Fact{{Name: "Revision", Value: strconv.Itoa(p.Revision), URL: Ref{p.Namespace, p.Name, false}.URL("definition")}}
	if p.GitCommit != "" {
		facts = append(facts, Fact{Name: "Commit", Value: short(tidy(p.GitCommit), 12), Mono: true})
	}
	facts = append(facts, Fact{Name: "Source", Value: tidy(cut(p.Source, 120))})
	if p.Owner != "" {
		facts = append(facts, Fact{Name: "Owner", Value: tidy(cut(p.Owner, 120))})
	}
	for _, key := range sortedKeys(p.Labels) {
		facts = append(facts, Fact{Name: "Label " + tidy(key), Value: tidy(cut(p.Labels[key], 120))})
	}
	if !p.Manual {
		facts = append(facts, Fact{Name: "By hand", Value: "refused: its file says manual: false"})
	}
	return append(facts, Fact{Name: "Registered", At: &created})
}

func pipelineHead(b Base, who app.Actor, p api.Pipeline) PipelineHead {
	look := pipelineLook(p)
	h := PipelineHead{
		Ref: Ref{p.Namespace, p.Name, b.Many}, Look: look, State: look.Word, Description: tidy(cut(p.Description, 2000)), Revision: p.Revision,
		Commit: short(tidy(p.GitCommit), 7), Owner: tidy(cut(p.Owner, 80)), MayRun: may(who, api.RoleOperator, p.Namespace), MayPause: may(who, api.RoleOperator, p.Namespace),
	}
	if p.Paused == nil && p.LastRun != nil {
		h.State = fmt.Sprintf("%s #%d", look.Word, p.LastRun.Number)
	}
	if !p.Manual {
		h.MayRun = May{Missing: "its file says manual: false"}
	}
	for _, sch := range p.Schedules {
		h.Schedules = append(h.Schedules, ScheduleLine{ID: sch.ID, Text: sch.Text, Words: inWords(sch.Text), Zone: sch.Timezone, Alone: len(p.Schedules) == 1})
		if sch.Broken != "" {
			h.Problems = append(h.Problems, "Schedule "+sch.ID+" is broken: "+tidy(cut(sch.Broken, 500)))
		}
	}
	if p.Paused != nil {
		h.Pause = &PauseLine{By: tidy(cut(p.Paused.By, 80)), Reason: tidy(cut(p.Paused.Reason, 500)), At: b.ago(p.Paused.At), Until: b.maybe(p.Paused.Until)}
	} else {
		h.NextIn = b.maybe(p.NextTick)
	}
	if !p.RemovedAt.IsZero() {
		m := b.ago(p.RemovedAt)
		h.Removed = &m
		h.MayRun, h.MayPause = May{Missing: "it was removed from its source"}, May{Missing: "it was removed from its source"}
	}
	return h
}

func runRow(b Base, r api.Run) RunRow {
	ref := refOf(r.Pipeline, b.Many)
	row := RunRow{
		Ref: ref, Number: r.Number, URL: ref.Run(r.Number), Look: runLook(r.State, r.Reason), Trigger: r.Trigger, By: tidy(cut(r.RequestedBy, 60)),
		Params: paramsText(r.Params, 160), Due: b.ago(r.ScheduledAt), Took: took(r.StartedAt, r.EndedAt, b.Now), Revision: r.Revision,
	}
	if r.Trigger == "manual" {
		row.Due = b.ago(r.CreatedAt)
	}
	if r.StartedAt != nil {
		if d := r.StartedAt.Sub(r.ScheduledAt); d >= time.Second {
			row.Started = "+" + roughly(d)
		}
	}
	return row
}

// pipelineTicks shows what was decided about a pipeline's ticks.
func (s *Server) pipelineTicks(c echo.Context) error {
	page, err := s.pipelineFrame(c, "ticks", "after")
	if err != nil {
		return s.orDefault(c, err)
	}
	ref := page.Header.Ref
	list, err := s.app.Ticks(c.Request().Context(), actor(c), pipelineRef(c), api.ListTicksParams{Cursor: c.QueryParam("after"), Limit: ticksPage})
	if err != nil {
		return err
	}
	page.JSON += "/ticks"
	page.Live, page.Ticks.Zone = "", page.zone()
	for _, t := range list.Items {
		page.Ticks.Rows = append(page.Ticks.Rows, tickRow(page.Base, ref, t, len(page.Header.Schedules) > 1))
	}
	if list.Next != "" {
		page.Ticks.More = ref.URL("ticks") + query("after", list.Next)
	}
	if err := s.upcoming(c, &page); err != nil {
		return err
	}
	return s.render(c, 200, PipelineMain(page), page.Base, pipelineRegions(page))
}

func tickRow(b Base, ref Ref, t api.Tick, several bool) TickRow {
	row := TickRow{Look: tickLook(t.State), At: b.moment(t.At), Decided: b.ago(t.DecidedAt), Run: t.RunNumber}
	switch t.State {
	case api.TickStateRun:
		row.Words = "became a run"
	case api.TickStateSkipped:
		row.Words = "skipped: " + strings.ReplaceAll(t.Reason, "_", " ")
	case api.TickStateFailed:
		row.Words = "tick failed: " + strings.ReplaceAll(t.Reason, "_", " ")
	default:
		row.Words = string(t.State)
	}
	if t.Ticks > 1 {
		row.Words = plural(t.Ticks, "tick") + " " + row.Words
		if !t.Until.IsZero() {
			m := b.moment(t.Until)
			row.Until = &m
		}
	}
	if t.Detail != "" {
		row.Words += " (" + tidy(cut(t.Detail, 300)) + ")"
	}
	if t.RunNumber > 0 {
		row.URL = ref.Run(t.RunNumber)
	}
	if several {
		row.Schedule = t.Schedule
	}
	return row
}

// pipelineDefinition shows the text of a revision.
func (s *Server) pipelineDefinition(c echo.Context) error {
	page, err := s.pipelineFrame(c, "definition", "rev")
	if err != nil {
		return s.orDefault(c, err)
	}
	ctx, who, name, ref := c.Request().Context(), actor(c), pipelineRef(c), page.Header.Ref
	rev, err := s.app.Revision(ctx, who, name, cmp.Or(c.QueryParam("rev"), "latest"))
	if err != nil {
		return err
	}
	older, err := s.app.Revisions(ctx, who, name, api.ListRevisionsParams{Limit: 20})
	if err != nil {
		return err
	}
	page.JSON += "/revisions/" + strconv.Itoa(rev.Number)
	page.Live = ""
	text := strings.Split(strings.TrimSuffix(rev.Text, "\n"), "\n")
	d := Definition{First: max(1, rev.Line), Revision: rev.Number}
	for _, line := range text {
		d.Lines = append(d.Lines, tidy(strings.TrimSuffix(line, "\r")))
	}
	at := page.ago(rev.CreatedAt)
	d.Facts = []Fact{{Name: "Registered", At: &at}, {Name: "By", Value: tidy(cut(rev.Author, 80))}, {Name: "File", Value: tidy(cut(rev.File, 200)), Mono: true}}
	if rev.GitCommit != "" {
		d.Facts = append(d.Facts, Fact{Name: "Commit", Value: tidy(cut(rev.GitCommit, 40)), Mono: true})
	}
	for _, r := range older.Items {
		m := page.moment(r.CreatedAt)
		d.Older = append(d.Older, Option{Value: ref.URL("definition") + query("rev", strconv.Itoa(r.Number)), Label: fmt.Sprintf("%d · %s · %s", r.Number, m.Text, tidy(cut(r.Author, 40))), Chosen: r.Number == rev.Number})
	}
	page.Definition = d
	return s.render(c, http.StatusOK, PipelineMain(page), page.Base, nil)
}

// runs lists the runs of all pipelines.
func (s *Server) runs(c echo.Context) error {
	p, err := s.runsPage(c)
	if err != nil {
		return err
	}
	return s.render(c, 200, RunsMain(p), p.Base, regions{"runs": Runs(p.Runs)})
}

func (s *Server) runsPage(c echo.Context) (RunsPage, error) {
	if err := known(c, "state", "since", "after"); err != nil {
		return RunsPage{}, err
	}
	ctx, who := c.Request().Context(), actor(c)
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return RunsPage{}, err
	}
	state, since, after := c.QueryParam("state"), c.QueryParam("since"), c.QueryParam("after")
	p := RunsPage{Base: s.base(c, head, "Runs", "runs"), State: state, Since: since}
	p.Command = "synctl runs"
	params := api.ListRunsParams{State: statesOf(c), Cursor: after, Limit: runsPage}
	for _, o := range []struct {
		value, label string
		d            time.Duration
	}{{"", "any time", 0}, {"1h", "last hour", time.Hour}, {"24h", "last 24 hours", 24 * time.Hour}, {"7d", "last 7 days", 7 * 24 * time.Hour}} {
		p.Sinces = append(p.Sinces, Option{Value: o.value, Label: o.label, Chosen: o.value == since})
		if o.value == since && o.d > 0 {
			params.Since = head.Now.Add(-o.d)
		}
	}
	for _, v := range []string{"", "queued", "running", "succeeded", "failed", "canceled", "skipped"} {
		p.States = append(p.States, Option{Value: v, Label: cmp.Or(v, "any state"), Chosen: v == state})
	}
	list, err := s.app.Runs(ctx, who, params)
	if err != nil {
		return p, err
	}
	p.JSON = "/api/v1/runs" + query("state", state)
	p.Live = "/events" + query("page", "runs", "state", state, "since", since, "after", after)
	p.Runs = RunTable{Whose: true, Live: p.Live, Zone: p.zone(), Empty: "Nothing has run yet. Runs of all pipelines appear here.", Hint: "synctl run NAME --watch"}
	if state != "" || since != "" || after != "" {
		p.Runs.Empty, p.Runs.Hint = "No runs like that.", ""
	}
	for _, r := range list.Items {
		p.Runs.Rows = append(p.Runs.Rows, runRow(p.Base, r))
	}
	if list.Next != "" {
		p.Runs.More = "/runs" + query("state", state, "since", since, "after", list.Next)
	}
	return p, nil
}
