package web

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// BackfillsPage is the list of all backfills.
type BackfillsPage struct {
	Base
	State  string
	States []Option
	List   BackfillList
}

// BackfillList is the region #backfills.
type BackfillList struct {
	Rows  []BackfillRow
	Whose bool // the pipeline is named in each row
	Empty string
	Hint  string // the command that fills it
	Clear string // the list without its filter
	More  string
	Zone  string
	Live  string // its stream
}

// A BackfillRow is one backfill in the list.
type BackfillRow struct {
	ID     int64
	Ref    Ref
	URL    string
	Look   Look
	Word   string
	Done   string
	Failed string
	Bar    []BarPart
	Range  string
	By     string
	Asked  Moment
}

// BackfillPage is the page of one backfill.
type BackfillPage struct {
	Base
	Head     BackfillHead
	Progress BackfillProgress
	Failed   BackfillTicks // empty: none has failed, or the list below has them anyway
	Ticks    BackfillTicks
	Facts    []Fact
}

// BackfillHead is the region #backfill-head.
type BackfillHead struct {
	ID     int64
	Ref    Ref
	Look   Look
	Word   string
	Over   bool // it makes nothing more
	Paused bool
	By     string
	Asked  Moment
	Ended  *Moment
	Note   string
	Reason string // why it is paused or canceled
	Again  string // where what failed is run once more; empty: nothing, or not yet
	May    May
}

// URL is the backfill's page, or one below it.
func (h BackfillHead) URL(below ...string) string { return backfillURL(h.ID, below...) }

// BackfillProgress is the region #backfill-progress.
type BackfillProgress struct {
	Done   string // "5 of 8 done"
	Left   string // how long it takes still, or why it does not go on
	Counts []Count
	Bar    []BarPart
}

// BackfillTicks is a list of ticks: the region #backfill-failed or #backfill-ticks.
type BackfillTicks struct {
	ID, Heading string
	Rows        []PreviewRow
	All         string // the list without its filter
	Zone        string
	Empty       string
	More, Again string
}

// QuotaPage asks how much of a backfill runs at once.
type QuotaPage struct {
	Base
	ID         int64
	Ref        Ref
	Max, Share Input
	Errors     []FormError
	Problem    string
	Over       bool
	May        May
}

// backfillRows is how many ticks a backfill's page lists, failedRows how many of
// those that failed it puts before them.
const (
	backfillRows = 50
	failedRows   = 10
)

func backfillURL(id int64, below ...string) string {
	u := "/backfills/" + strconv.FormatInt(id, 10)
	for _, b := range below {
		u += "/" + b
	}
	return u
}

func backfillID(c echo.Context) (int64, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, api.Errorf(api.NotFound, "there is no backfill %s", quoted(param(c, "id"))).WithHint("synctl backfill ls")
	}
	return id, nil
}

// backfillLook is the look of a backfill, with its word.
func backfillLook(b api.Backfill) (look Look, word string) {
	bad := b.Failed + b.Canceled
	switch {
	case b.State == api.BackfillStatePaused:
		return lookPaused, lookPaused.Word
	case b.State == api.BackfillStateCanceled:
		return lookCanceled, lookCanceled.Word
	case b.State == api.BackfillStateDone && bad > 0:
		return lookFailed, fmt.Sprintf("done, %s failed", number64(bad))
	case b.State == api.BackfillStateDone:
		return lookSucceeded, "done"
	case b.Open == 0:
		return lookQueued, "waiting for room"
	}
	return lookRunning, lookRunning.Word
}

// lookToCome is that of a tick whose run is yet to be made.
var lookToCome = Look{"neutral", "hollow", "dot", "·", "wait", "to come"}

// tickStates are the states of a backfill's ticks, in the order in which they are
// shown: what failed first.
var tickStates = []struct {
	state, word string
	look        Look
	count       func(b api.Backfill) int
}{
	{"failed", "failed", lookFailed, func(b api.Backfill) int { return b.Failed }},
	{"canceled", "canceled", lookCanceled, func(b api.Backfill) int { return b.Canceled }},
	{"succeeded", "succeeded", lookSucceeded, func(b api.Backfill) int { return b.Succeeded }},
	{"skipped", "skipped", lookSkipped, func(b api.Backfill) int { return b.Skipped }},
	{"passed", "done by others", lookTickSkip, func(b api.Backfill) int { return b.Passed }},
	{"open", "under way", lookRunning, func(b api.Backfill) int { return b.Open }},
	{"waiting", "to come", lookToCome, func(b api.Backfill) int { return b.Waiting }},
}

func progress(b api.Backfill) (counts []Count, parts []BarPart) {
	var sizes []int
	for _, t := range tickStates {
		if n := t.count(b); n > 0 {
			counts, sizes = append(counts, Count{Look: t.look, N: number64(n), Word: t.word}), append(sizes, n)
		}
	}
	return counts, bar(counts, sizes, b.Ticks)
}

func done(b api.Backfill) string {
	return fmt.Sprintf("%s of %s done", number64(b.Ticks-b.Waiting-b.Open), number64(b.Ticks))
}

// backfills lists the backfills of all pipelines.
func (s *Server) backfills(c echo.Context) error {
	p, err := s.backfillsPage(c)
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, BackfillsMain(p), p.Base, regions{"backfills": Backfills(p.List)})
}

func (s *Server) backfillsPage(c echo.Context) (BackfillsPage, error) {
	if err := known(c, "pipeline", "state", "after"); err != nil {
		return BackfillsPage{}, err
	}
	head, err := s.app.PageHead(c.Request().Context(), actor(c))
	if err != nil {
		return BackfillsPage{}, err
	}
	pipeline, state := c.QueryParam("pipeline"), c.QueryParam("state")
	p := BackfillsPage{Base: s.base(c, head, "Backfills", "runs"), State: state}
	p.JSON, p.Command = "/api/v1/backfills"+query("pipeline", pipeline, "state", state), "synctl backfill ls"
	p.Live = "/events" + query("page", "backfills", "pipeline", pipeline, "state", state, "after", c.QueryParam("after"))
	for _, v := range []string{"", "running", "paused", "done", "canceled"} {
		p.States = append(p.States, Option{Value: v, Label: cmp.Or(v, "any state"), Chosen: v == state})
	}
	p.List, err = s.backfillList(c, p.Base, api.ListBackfillsParams{Pipeline: pipeline, State: api.ListBackfillsParamsState(state)}, "/backfills")
	if p.List.Whose = pipeline == ""; p.List.Whose {
		p.List.Live = p.Live
	}
	return p, err
}

// backfillList is a page of backfills.
func (s *Server) backfillList(c echo.Context, b Base, params api.ListBackfillsParams, path string) (BackfillList, error) {
	l := BackfillList{Zone: b.zone(), Empty: "Nothing has been made up for yet. A backfill makes runs for ticks of the past, a few at a time.", Hint: "synctl backfill NAME --from 2026-10-20 --to 2026-10-27"}
	state, after := string(params.State), c.QueryParam("after")
	if state != "" || after != "" {
		l.Empty, l.Hint, l.Clear = "No backfills like that.", "", path
	}
	params.Cursor, params.Limit = after, listPage
	list, err := s.app.Backfills(c.Request().Context(), actor(c), params)
	if err != nil {
		return l, err
	}
	for _, x := range list.Items {
		row := BackfillRow{ID: x.ID, Ref: refOf(x.Pipeline, b.Many), URL: backfillURL(x.ID), Done: done(x), By: tidy(cut(x.RequestedBy, 60)), Asked: b.ago(x.CreatedAt)}
		row.Look, row.Word = backfillLook(x)
		_, row.Bar = progress(x)
		if n := x.Failed + x.Canceled; n > 0 && x.State != api.BackfillStateDone {
			row.Failed = number64(n) + " failed"
		}
		zone := zoneNamed(x.Timezone)
		row.Range = b.wall(x.From, zone) + " – " + b.wall(x.Until, zone)
		l.Rows = append(l.Rows, row)
	}
	if list.Next != "" {
		l.More = path + query("state", state, "after", list.Next)
	}
	return l, nil
}

func zoneNamed(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	return zone
}

// pipelineBackfills lists the backfills of a pipeline.
func (s *Server) pipelineBackfills(c echo.Context) error {
	page, err := s.pipelineFrame(c, "backfills", "after")
	if err != nil {
		return s.orDefault(c, err)
	}
	ref := page.Header.Ref
	page.Backfills, err = s.backfillList(c, page.Base, api.ListBackfillsParams{Pipeline: ref.Namespace + "/" + ref.Name}, ref.URL("backfills"))
	if err != nil {
		return err
	}
	if page.Backfills.Hint != "" {
		page.Backfills.Hint = "synctl backfill " + ref.Command() + " --from 2026-10-20 --to 2026-10-27"
	}
	name := ref.Namespace + "/" + ref.Name
	page.JSON, page.Command = "/api/v1/backfills"+query("pipeline", name), "synctl backfill ls "+ref.Command()
	page.Live = "/events" + query("page", "backfills", "pipeline", name, "after", c.QueryParam("after"))
	return s.render(c, http.StatusOK, PipelineMain(page), page.Base, regions{"backfills": Backfills(page.Backfills)})
}

// backfill shows one backfill.
func (s *Server) backfill(c echo.Context) error {
	p, err := s.backfillPage(c)
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, BackfillMain(p), p.Base, regions{
		"backfill-head": BackfillHeader(p.Head), "backfill-progress": BackfillBar(p.Progress), "backfill-failed": BackfillTickList(p.Failed), "backfill-ticks": BackfillTickList(p.Ticks),
	})
}

func (s *Server) backfillPage(c echo.Context) (BackfillPage, error) {
	var p BackfillPage
	if err := known(c, "state", "after"); err != nil {
		return p, err
	}
	id, err := backfillID(c)
	if err != nil {
		return p, err
	}
	ctx, who := c.Request().Context(), actor(c)
	state, after := c.QueryParam("state"), c.QueryParam("after")
	x, err := s.app.Backfill(ctx, who, id, api.GetBackfillParams{Tick: api.GetBackfillParamsTick(state), Cursor: after, Limit: backfillRows})
	if err != nil {
		return p, err
	}
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return p, err
	}
	p.Base = s.base(c, head, "", "pipelines")
	p.Head = backfillHead(p.Base, who, x)
	p.Title, p.Symbol = fmt.Sprintf("Backfill %d of %s", x.ID, p.Head.Ref), p.Head.Look.Symbol
	p.JSON, p.Command = fmt.Sprintf("/api/v1/backfills/%d", x.ID), fmt.Sprintf("synctl backfill show %d", x.ID)
	p.Live = "/events" + query("page", "backfill", "id", strconv.FormatInt(x.ID, 10), "ns", p.Head.Ref.Namespace, "name", p.Head.Ref.Name, "state", state, "after", after)
	p.Progress = backfillProgress(x, state)
	p.Facts = backfillFacts(p.Base, x)
	p.Ticks = backfillTicks(p.Base, p.Head.Ref, x)
	p.Ticks.ID, p.Ticks.Heading = "backfill-ticks", "Ticks"
	for _, t := range tickStates {
		if t.state == state {
			p.Ticks.Heading, p.Ticks.All = "Ticks: "+t.word, p.Head.URL()
		}
	}
	p.Ticks.Empty = "No tick of it is like that."
	if x.Next != "" {
		p.Ticks.More = p.Head.URL() + query("state", state, "after", x.Next)
	}
	if after != "" {
		p.Ticks.Again = p.Head.URL() + query("state", state)
	}
	p.Failed = BackfillTicks{ID: "backfill-failed"}
	if x.Failed > 0 && state == "" && after == "" && x.Ticks > failedRows {
		bad, err := s.app.Backfill(ctx, who, id, api.GetBackfillParams{Tick: api.GetBackfillParamsTickFailed, Limit: failedRows})
		if err != nil {
			return p, err
		}
		p.Failed = backfillTicks(p.Base, p.Head.Ref, bad)
		p.Failed.ID, p.Failed.Heading = "backfill-failed", "Failed"
		if bad.Next != "" {
			p.Failed.More = p.Head.URL() + query("state", "failed")
		}
	}
	return p, nil
}

func backfillHead(b Base, who app.Actor, x api.Backfill) BackfillHead {
	ref := refOf(x.Pipeline, b.Many)
	h := BackfillHead{
		ID: x.ID, Ref: ref, By: tidy(cut(x.RequestedBy, 80)), Asked: b.ago(x.CreatedAt), Note: tidy(cut(x.Note, 1000)), Reason: tidy(cut(x.Reason, 500)),
		Over: !x.EndedAt.IsZero(), Paused: x.State == api.BackfillStatePaused, May: may(who, api.RoleOperator, ref.Namespace),
	}
	h.Look, h.Word = backfillLook(x)
	if h.Over {
		ended := b.ago(x.EndedAt)
		h.Ended = &ended
	}
	if h.Over && x.Failed+x.Canceled > 0 {
		again := []string{"schedule", x.Schedule, "from", x.From.Format(time.RFC3339Nano), "to", x.Until.Format(time.RFC3339Nano), "where", "failed", "order", x.Order, "max", strconv.Itoa(x.Max), "share", strconv.Itoa(x.PoolShare)}
		if len(x.Params) > 0 {
			again = append(again, "params", "own")
			for name, v := range x.Params {
				values := formValues(v)
				again = append(again, prefix+name, values[len(values)-1])
			}
		}
		h.Again = ref.URL("backfill") + query(again...)
	}
	return h
}

func backfillProgress(x api.Backfill, shown string) BackfillProgress {
	p := BackfillProgress{Done: done(x)}
	p.Counts, p.Bar = progress(x)
	for i := range p.Counts {
		for _, t := range tickStates {
			if t.word == p.Counts[i].Word {
				p.Counts[i].URL, p.Counts[i].Now = backfillURL(x.ID)+query("state", t.state)+"#backfill-ticks", t.state == shown
			}
		}
	}
	switch {
	case !x.EndedAt.IsZero() && x.Open > 0:
		p.Left = plural(x.Open, "run") + " that it has made went on when it was canceled."
	case !x.EndedAt.IsZero():
	case x.State == api.BackfillStatePaused:
		p.Left = "It makes no more runs until it is resumed."
	case x.Open == 0 && x.Waiting > 0:
		p.Left = "Its next run is made when the pipeline's group has room after all that waits there."
	case x.Seconds > 0:
		p.Left = "About " + about(x.Seconds) + " left."
	default:
		p.Left = "How long it takes nobody knows: no run of this pipeline has ended yet."
	}
	return p
}

func backfillFacts(b Base, x api.Backfill) []Fact {
	zone := zoneNamed(x.Timezone)
	facts := []Fact{
		{Name: "Pipeline", Value: refOf(x.Pipeline, b.Many).String(), URL: refOf(x.Pipeline, b.Many).URL()},
		{Name: "Schedule", Value: tidy(x.Schedule) + ", " + x.Timezone},
		{Name: "From", Value: b.wall(x.From, zone)},
		{Name: "To", Value: b.wall(x.Until, zone)},
		{Name: "Which ticks", Value: map[string]string{"missing": "missing", "failed": "missing and failed", "all": "all"}[x.Where]},
		{Name: "Order", Value: x.Order + " first"},
		{Name: "Runs at once", Value: number64(x.Max)},
		{Name: "Share of pools", Value: fmt.Sprintf("%d %%", x.PoolShare)},
	}
	params := "as scheduled"
	if len(x.Params) > 0 {
		params = paramsText(x.Params, 400)
	}
	return append(facts, Fact{Name: "Params", Value: params})
}

func backfillTicks(b Base, ref Ref, x api.Backfill) BackfillTicks {
	l := BackfillTicks{Zone: x.Timezone}
	zone := zoneNamed(x.Timezone)
	for _, t := range x.Items {
		row := PreviewRow{At: b.tickMoment(t.At, zone), Run: t.RunNumber, Detail: tidy(cut(t.Detail, 300))}
		row.Look, row.Word = unknown(t.State), tidy(t.State)
		for _, s := range tickStates {
			if s.state == t.State {
				row.Look, row.Word = s.look, s.word
			}
		}
		if t.State == "open" && t.RunState == string(api.RunStateQueued) {
			row.Look, row.Word = lookQueued, lookQueued.Word
		}
		if t.RunNumber > 0 {
			row.URL = ref.Run(t.RunNumber)
		}
		if t.RunState != "" && t.RunState != t.State && t.State != "open" {
			row.Detail = "run again since: " + tidy(t.RunState)
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}

// oneBackfill is the backfill that the address names, without its ticks.
func (s *Server) oneBackfill(c echo.Context) (x api.Backfill, head app.PageHead, err error) {
	id, err := backfillID(c)
	if err != nil {
		return x, head, err
	}
	ctx, who := c.Request().Context(), actor(c)
	if x, err = s.app.Backfill(ctx, who, id, api.GetBackfillParams{Limit: 1}); err != nil {
		return x, head, err
	}
	head, err = s.app.PageHead(ctx, who)
	return x, head, err
}

// confirmBackfill is a page that asks before a backfill is paused or canceled.
func (s *Server) confirmBackfill(c echo.Context, verb string) (ConfirmPage, error) {
	var page ConfirmPage
	x, head, err := s.oneBackfill(c)
	if err != nil {
		return page, err
	}
	id, who := x.ID, actor(c)
	page.Base = s.base(c, head, fmt.Sprintf("%s backfill %d", sentenceCase(verb), id), "pipelines")
	page.Ref, page.Backfill = refOf(x.Pipeline, page.Many), id
	page.Heading, page.Button = page.Title+"?", page.Title
	page.Action, page.Back = backfillURL(id, verb), backfillURL(id)
	page.Reason, page.ReasonHint, page.May = "Reason", "shown on the backfill", may(who, api.RoleOperator, page.Ref.Namespace)
	page.Command = fmt.Sprintf("synctl backfill %s %d", verb, id)
	switch {
	case !x.EndedAt.IsZero():
		_, word := backfillLook(x)
		page.Sentence, page.Button = []string{"It has ended: " + word + ". There is nothing left to " + verb + "."}, ""
	case verb == "pause":
		page.Sentence = []string{fmt.Sprintf("%s to come wait until it is resumed. Runs that go on now go on: %s.", plural(x.Waiting, "tick"), number64(x.Open))}
	default:
		page.Danger = true
		page.Sentence = []string{plural(x.Waiting, "tick") + " to come get no run. What it has done stays."}
		if x.Open > 0 {
			page.Check = fmt.Sprintf("Cancel %s that it has open, too", plural(x.Open, "run"))
		}
	}
	return page, nil
}

func sentenceCase(word string) string { return string(word[0]-'a'+'A') + word[1:] }

// askBackfill asks before a backfill is paused or canceled.
func (s *Server) askBackfill(verb string) echo.HandlerFunc {
	return func(c echo.Context) error {
		page, err := s.confirmBackfill(c, verb)
		if err != nil {
			return err
		}
		return s.render(c, http.StatusOK, ConfirmMain(page), page.Base, nil)
	}
}

// steerBackfill pauses or cancels a backfill.
func (s *Server) steerBackfill(verb string) echo.HandlerFunc {
	return func(c echo.Context) error {
		id, err := backfillID(c)
		if err != nil {
			return err
		}
		ctx, who := c.Request().Context(), actor(c)
		req := api.BackfillChange{Reason: c.FormValue("reason"), Runs: c.FormValue("check") == "on"}
		said := "is paused."
		if verb == "pause" {
			_, err = s.app.PauseBackfill(ctx, who, id, req)
		} else {
			said = "is canceled."
			_, err = s.app.CancelBackfill(ctx, who, id, req)
		}
		if e := explain(err); e != nil {
			if e.Code != api.Conflict && e.Code != api.Unprocessable {
				return err
			}
			page, other := s.confirmBackfill(c, verb)
			if other != nil {
				return other
			}
			page.Problem, page.Typed = sentence(e.Message), req.Reason
			return s.render(c, e.Code.Status(), ConfirmMain(page), page.Base, nil)
		}
		s.flash(c, fmt.Sprintf("Backfill %d %s", id, said))
		return c.Redirect(http.StatusSeeOther, backfillURL(id))
	}
}

// resumeBackfill lets a backfill go on.
func (s *Server) resumeBackfill(c echo.Context) error {
	id, err := backfillID(c)
	if err != nil {
		return err
	}
	if _, err := s.app.ResumeBackfill(c.Request().Context(), actor(c), id); err != nil {
		return err
	}
	s.flash(c, fmt.Sprintf("Backfill %d goes on.", id))
	return c.Redirect(http.StatusSeeOther, backfillURL(id))
}

// quotaPage asks how much of a backfill runs at once.
func (s *Server) quotaPage(c echo.Context) error {
	page, err := s.backfillQuota(c)
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, QuotaMain(page), page.Base, nil)
}

func (s *Server) backfillQuota(c echo.Context) (QuotaPage, error) {
	var page QuotaPage
	x, head, err := s.oneBackfill(c)
	if err != nil {
		return page, err
	}
	id, who := x.ID, actor(c)
	page.Base = s.base(c, head, fmt.Sprintf("Change backfill %d", id), "pipelines")
	page.ID, page.Ref, page.Over = id, refOf(x.Pipeline, page.Many), !x.EndedAt.IsZero()
	page.Max.Value, page.Share.Value = strconv.Itoa(x.Max), strconv.Itoa(x.PoolShare)
	page.May = may(who, api.RoleOperator, page.Ref.Namespace)
	page.Command = fmt.Sprintf("synctl backfill change %d --max %d --pool-share %d", id, x.Max, x.PoolShare)
	return page, nil
}

// changeBackfill says how much of a backfill runs at once.
func (s *Server) changeBackfill(c echo.Context) error {
	id, err := backfillID(c)
	if err != nil {
		return err
	}
	form, err := c.FormParams()
	if err != nil {
		return api.Errorf(api.Malformed, "the form cannot be read")
	}
	asked := BackfillForm{}
	req, wrong := asked.request(form)
	var refused *api.Error
	status := http.StatusUnprocessableEntity
	if len(wrong) == 0 {
		_, err := s.app.ChangeBackfill(c.Request().Context(), actor(c), id, api.BackfillQuota{Max: req.Max, PoolShare: req.PoolShare})
		if err == nil {
			s.flash(c, fmt.Sprintf("Backfill %d is changed.", id))
			return c.Redirect(http.StatusSeeOther, backfillURL(id))
		}
		if refused = explain(err); refused.Code != api.Unprocessable && refused.Code != api.Conflict {
			return err
		}
		status = refused.Code.Status()
	}
	page, err := s.backfillQuota(c)
	if err != nil {
		return err
	}
	asked.complain(wrong, refused)
	page.Errors, page.Problem = asked.Errors, asked.Problem
	page.Max, page.Share = Input{form.Get("max"), asked.Max.Error}, Input{form.Get("share"), asked.Share.Error}
	return s.render(c, status, QuotaMain(page), page.Base, nil)
}
