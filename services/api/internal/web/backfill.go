package web

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
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

// BackfillForm asks which ticks of the past get runs, and shows what that would do.
type BackfillForm struct {
	Base
	Ref       Ref
	Schedules []Option // empty: there is only one
	Of        string   // whose dates they are: the zone, where it is known
	From, To  Input
	Which     []Option
	Orders    []Option
	Max       Input
	Share     Input
	Own       bool // other params than the schedule's
	Fields    []Field
	Note      string
	Errors    []FormError
	Problem   string
	Hint      string
	None      string // why there can be no backfill
	Preview   *BackfillPreview
	May       May
	Shell     string
}

// An Input is what was typed into a field, and what is wrong with it.
type Input struct{ Value, Error string }

// BackfillPreview is what a backfill would do.
type BackfillPreview struct {
	Range    string // both ends, in the schedule's zone
	UTC      string // the same
	Counts   []Count
	Bar      []BarPart
	Ticks    int
	Run      int
	Span     string // the first and the last tick that get a run
	Estimate string
	Rows     []PreviewRow
	Zone     string
	More     string
	Again    string // without the rows before
	Hidden   []Option
	Button   string
}

// A Count is how many there are of one kind.
type Count struct {
	Look Look
	N    string
	Word string
	URL  string // where they are listed
	Now  bool   // they are listed here
}

// A BarPart is a stretch of a bar, in thousandths of its width.
type BarPart struct {
	Look     Look
	X, Width string
}

// A PreviewRow is a tick and what becomes of it.
type PreviewRow struct {
	Look   Look
	Word   string
	At     Moment
	Note   string
	Run    int64
	URL    string
	Detail string
}

// previewRows is how many ticks a page of a preview lists.
const previewRows = 50

// backfillForm shows the form, and a preview once it says which ticks. It is a GET:
// a preview can be kept and shown to others.
func (s *Server) backfillForm(c echo.Context) error {
	given := c.QueryParams()
	page, err := s.backfillFormPage(c, given)
	if err != nil {
		return s.orDefault(c, err)
	}
	names := []string{"schedule", "from", "to", "where", "order", "max", "share", "params", "note", "after"}
	for _, f := range page.Fields {
		names = append(names, prefix+f.Name)
	}
	if err := known(c, names...); err != nil {
		return err
	}
	status := http.StatusOK
	if page.None == "" && (given.Has("from") || given.Has("to")) {
		_, wrong := page.request(given)
		e, err := s.previewBackfill(c, &page, given)
		if err != nil {
			return err
		}
		if page.complain(wrong, e); len(wrong) > 0 || e != nil {
			status = http.StatusUnprocessableEntity
		}
		if len(wrong) > 0 {
			page.Preview = nil
		}
	}
	return s.render(c, status, BackfillFormMain(page), page.Base, nil)
}

// backfillFormPage is the form with what was given, or with the last week.
func (s *Server) backfillFormPage(c echo.Context, given url.Values) (BackfillForm, error) {
	var page BackfillForm
	ctx, who := c.Request().Context(), actor(c)
	p, err := s.app.Pipeline(ctx, who, pipelineRef(c))
	if err != nil {
		return page, err
	}
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, head, "Backfill "+p.Name, "pipelines")
	page.Ref, page.May = Ref{p.Namespace, p.Name, page.Many}, may(who, api.RoleOperator, p.Namespace)
	page.Note = given.Get("note")
	switch {
	case !p.RemovedAt.IsZero():
		page.None = "It was removed from its source. Once it is registered again, runs can be made for ticks of its past."
		return page, nil
	case len(p.Schedules) == 0:
		page.None = "It has no schedule, so it has no ticks that could be made up for. Run it by hand, for another time if you like."
		return page, nil
	}
	chosen := p.Schedules[0]
	for _, sch := range p.Schedules {
		if sch.ID == given.Get("schedule") {
			chosen = sch
		}
	}
	if len(p.Schedules) > 1 {
		for _, sch := range p.Schedules {
			page.Schedules = append(page.Schedules, Option{Value: sch.ID, Label: sch.ID + ": " + sch.Text + " " + sch.Timezone, Chosen: sch.ID == chosen.ID})
		}
	}
	page.Of = chosen.Timezone
	today := head.Now.UTC()
	if zone, err := time.LoadLocation(chosen.Timezone); err == nil {
		today = head.Now.In(zone)
	}
	page.From.Value, page.To.Value = today.AddDate(0, 0, -7).Format(time.DateOnly), today.Format(time.DateOnly)
	if given.Has("from") || given.Has("to") {
		page.From.Value, page.To.Value = given.Get("from"), given.Get("to")
	}
	page.Which = options(cmp.Or(given.Get("where"), "missing"), "missing", "missing", "failed", "missing and failed", "all", "all, also what succeeded")
	page.Orders = options(cmp.Or(given.Get("order"), "newest"), "newest", "newest first", "oldest", "oldest first")
	page.Max.Value, page.Share.Value = cmp.Or(given.Get("max"), "3"), cmp.Or(given.Get("share"), "100")
	page.Own = given.Get("params") == "own"
	for i, param := range p.Params {
		f := field(i, param, given)
		f.Required = false // the schedule may give it
		page.Fields = append(page.Fields, f)
	}
	page.shell(given)
	page.Command = page.Shell
	return page, nil
}

// options are choices: value, label, value, label …
func options(chosen string, pairs ...string) []Option {
	var list []Option
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, Option{Value: pairs[i], Label: pairs[i+1], Chosen: pairs[i] == chosen})
	}
	return list
}

// shell writes the form as a command.
func (p *BackfillForm) shell(given url.Values) {
	words := []string{"synctl backfill", p.Ref.Command(), "--from", shellWord(p.From.Value), "--to", shellWord(p.To.Value)}
	for _, flag := range []struct{ field, name, usual string }{
		{"schedule", "--schedule", ""}, {"where", "--where", "missing"}, {"order", "--order", "newest"}, {"max", "--max", "3"}, {"share", "--pool-share", "100"}, {"note", "--note", ""},
	} {
		if v := given.Get(flag.field); v != "" && v != flag.usual {
			words = append(words, flag.name, shellWord(v))
		}
	}
	for _, f := range p.Fields {
		if p.Own && f.Value != "" {
			words = append(words, "-p", shellWord(f.Name+"="+f.Value))
		}
	}
	p.Shell = strings.Join(words, " ")
}

// request reads the form. What cannot be sent is a mistake beside its field.
func (p *BackfillForm) request(form url.Values) (api.BackfillRequest, []FormError) {
	req := api.BackfillRequest{
		Schedule: form.Get("schedule"), From: form.Get("from"), To: form.Get("to"), Where: api.BackfillRequestWhere(form.Get("where")),
		Order: api.BackfillRequestOrder(form.Get("order")), Note: form.Get("note"), Hash: form.Get("hash"),
	}
	var wrong []FormError
	whole := func(id, what string, most int) int {
		n, ok := wholeNumber(form.Get(id), most)
		if !ok {
			wrong = append(wrong, FormError{ID: id, Message: fmt.Sprintf("%s is a whole number from 1 to %d, not %s.", what, most, quoted(form.Get(id)))})
		}
		return n
	}
	req.Max, req.PoolShare = whole("max", "How many runs at once", 1000), whole("share", "The share of pools", 100)
	if p.Own {
		run, bad := runRequest(RunForm{Base: p.Base, Fields: p.Fields}, form)
		req.Params, req.Texts, wrong = run.Params, run.Texts, append(wrong, bad...)
	}
	return req, wrong
}

// wholeNumber reads a number from 1 on; an empty text is 0: none was given.
func wholeNumber(text string, most int) (int, bool) {
	if text == "" {
		return 0, true
	}
	n, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil || n < 1 || n > most {
		return 0, false
	}
	return n, true
}

func quoted(text string) string { return "“" + tidy(cut(text, 40)) + "”" }

// complain puts what is wrong beside the fields that it is about.
func (p *BackfillForm) complain(wrong []FormError, e *api.Error) {
	if e != nil {
		list := problemsOf(RunForm{Fields: p.Fields}, e)
		if id := fieldOf(e.Message); len(list) == 0 && id != "" {
			list = []FormError{{ID: id, Message: sentence(e.Message), Hint: tidy(e.Hint)}}
		}
		if len(list) == 0 {
			p.Problem, p.Hint = sentence(e.Message), tidy(e.Hint)
		}
		for _, l := range list {
			if !slices.ContainsFunc(wrong, func(w FormError) bool { return w.ID == l.ID && l.ID != "" }) {
				wrong = append(wrong, l)
			}
		}
	}
	p.Errors = wrong
	for _, w := range wrong {
		switch w.ID {
		case "from":
			p.From.Error = w.Message
		case "to":
			p.To.Error = w.Message
		case "max":
			p.Max.Error = w.Message
		case "share":
			p.Share.Error = w.Message
		}
		for i := range p.Fields {
			if p.Fields[i].ID == w.ID {
				p.Fields[i].Error = w.Message
			}
		}
	}
}

// fieldOf is the field that a message begins with.
func fieldOf(message string) string {
	word, _, _ := strings.Cut(message, " ")
	switch word = strings.TrimSuffix(word, ":"); word {
	case "from", "to", "max":
		return word
	case "pool_share":
		return "share"
	}
	return ""
}

// previewBackfill looks at what the form would do. What is wrong with it is given back.
func (s *Server) previewBackfill(c echo.Context, page *BackfillForm, given url.Values) (*api.Error, error) {
	ctx, who := c.Request().Context(), actor(c)
	params := api.PreviewBackfillParams{
		Schedule: given.Get("schedule"), From: given.Get("from"), To: given.Get("to"), Where: api.PreviewBackfillParamsWhere(given.Get("where")),
		Cursor: given.Get("after"), Limit: previewRows,
	}
	got, err := s.app.PreviewBackfill(ctx, who, pipelineRef(c), params)
	if e := explain(err); e != nil {
		if e.Code != api.Unprocessable {
			return nil, err
		}
		return e, nil
	}
	page.JSON = "/api/v1/pipelines/" + strings.TrimPrefix(page.Ref.URL("backfill"), "/p/") + query("schedule", params.Schedule, "from", params.From, "to", params.To, "where", string(params.Where))
	page.Preview = page.preview(got, given)
	return nil, nil
}

func (p *BackfillForm) preview(got api.BackfillPreview, given url.Values) *BackfillPreview {
	zone, err := time.LoadLocation(got.Timezone)
	if err != nil {
		zone = time.UTC
	}
	v := &BackfillPreview{
		Ticks: got.Ticks, Run: got.Run, Zone: got.Timezone,
		Range: p.wall(got.From, zone) + " – " + p.wall(got.Until, zone), UTC: got.From.Format("2006-01-02 15:04") + " – " + got.Until.Format("2006-01-02 15:04") + " UTC",
	}
	count := func(look Look, n int, word string) {
		if n > 0 {
			v.Counts = append(v.Counts, Count{Look: look, N: number64(n), Word: word})
		}
	}
	count(lookQueued, got.Run, "to run")
	for _, state := range slices.Sorted(maps.Keys(got.Counts)) {
		look, word := previewLook(state)
		if state == "failed" && got.Where == "missing" || state == "canceled" && got.Where == "missing" {
			word += ", not chosen"
		}
		count(look, got.Counts[state], word)
	}
	sizes := []int{got.Run}
	for _, state := range slices.Sorted(maps.Keys(got.Counts)) {
		sizes = append(sizes, got.Counts[state])
	}
	v.Bar = bar(v.Counts, sizes, got.Ticks)
	if got.First != nil && got.Last != nil {
		v.Span = p.wall(got.First.At, zone)
		if !got.Last.At.Equal(got.First.At) {
			v.Span += " to " + p.wall(got.Last.At, zone)
		}
	}
	most, ok := wholeNumber(cmp.Or(given.Get("max"), "3"), 1000)
	if side := max(1, min(most, got.Limit)); ok && got.Run > 0 {
		v.Estimate = "How long it takes nobody knows: no run of this pipeline has ended yet."
		if got.Seconds > 0 {
			each := got.Seconds / float64(got.Run)
			v.Estimate = fmt.Sprintf("About %s: %s each, %s at once", about(each*math.Ceil(float64(got.Run)/float64(side))), about(each), number64(min(side, got.Run)))
			if side < most {
				v.Estimate += fmt.Sprintf(" (its concurrency limit is %d)", got.Limit)
			}
			v.Estimate += ". Scheduled runs go first."
		}
	}
	for _, t := range got.Items {
		look, word := previewLook(t.State)
		row := PreviewRow{Look: look, Word: word, At: p.tickMoment(t.At, zone), Note: clockNote(t.Note), Run: t.RunNumber, Detail: tidy(cut(t.Detail, 300))}
		if t.RunNumber > 0 {
			row.URL = p.Ref.Run(t.RunNumber)
			row.Detail = strings.TrimPrefix(strings.TrimPrefix(row.Detail, fmt.Sprintf("run #%d ", t.RunNumber)), "was ")
		}
		if row.Detail == "" {
			row.Detail = wouldRun(t.State, got.Where)
		}
		v.Rows = append(v.Rows, row)
	}
	address := func(after string) string {
		q := maps.Clone(given)
		for _, name := range []string{"hash", "key", "after"} {
			q.Del(name)
		}
		if after != "" {
			q.Set("after", after)
		}
		return p.Ref.URL("backfill") + "?" + q.Encode()
	}
	if got.Next != "" {
		v.More = address(got.Next)
	}
	if given.Get("after") != "" {
		v.Again = address("")
	}
	if got.Run > 0 {
		v.Button = "Start " + plural(got.Run, "run")
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if name == "hash" || name == "key" || name == "after" || strings.HasPrefix(name, prefix) && !p.Own {
				continue
			}
			for _, value := range given[name] {
				v.Hidden = append(v.Hidden, Option{Label: name, Value: value})
			}
		}
		v.Hidden = append(v.Hidden, Option{Label: "hash", Value: got.Hash}, Option{Label: "key", Value: rand.Text()})
	}
	return v
}

// bar lays counts side by side, each wide enough to be seen.
func bar(counts []Count, sizes []int, all int) []BarPart {
	var parts []BarPart
	x, i := 0.0, 0
	for _, n := range sizes {
		if n <= 0 || all <= 0 {
			continue
		}
		width := float64(n) / float64(all) * 1000
		parts = append(parts, BarPart{Look: counts[i].Look, X: strconv.FormatFloat(x, 'f', 1, 64), Width: strconv.FormatFloat(max(1, width-1), 'f', 1, 64)})
		x += width
		i++
	}
	return parts
}

// about is a length of time that nobody knows exactly.
func about(seconds float64) string {
	d := time.Duration(min(seconds, 1e9) * float64(time.Second))
	if d >= time.Minute {
		return roughly(d)
	}
	return duration(d)
}

// wall is an instant on the wall clock of a schedule, with its year unless that
// is the present one.
func (b Base) wall(t time.Time, zone *time.Location) string {
	local, layout := t.In(zone), "Mon 2 Jan 15:04"
	if local.Second() != 0 && local.Nanosecond() == 0 {
		layout += ":05"
	}
	if local.Year() != b.Now.In(zone).Year() {
		layout = strings.Replace(layout, "Jan", "Jan 2006", 1)
	}
	return local.Format(layout + " MST")
}

// tickMoment is a tick on the wall clock of its schedule.
func (b Base) tickMoment(t time.Time, zone *time.Location) Moment {
	m := b.moment(t)
	m.Text = b.wall(t, zone)
	return m
}

// clockNote says what a clock change does to a tick.
func clockNote(note string) string {
	switch note {
	case "moved":
		return "the clock went forward: moved"
	case "first":
		return "happens twice: the first"
	case "second":
		return "happens twice: the second"
	}
	return tidy(note)
}

// previewLook is what became of a tick, or that it gets a run.
func previewLook(state string) (look Look, word string) {
	switch state {
	case "run":
		return lookQueued, "run"
	case "undecided":
		return lookScheduled, "not decided yet"
	}
	look = runLook(api.RunState(state), "")
	return look, look.Word
}

// wouldRun says with which choice a tick would get a run that gets none.
func wouldRun(state, where string) string {
	switch {
	case (state == "failed" || state == "canceled") && where == "missing":
		return "runs with “missing and failed”"
	case state == "succeeded":
		return "runs with “all”"
	}
	return ""
}

// startBackfill makes a backfill of a preview. The same preview sent twice makes
// one; if it would do something else by now, the new one is shown.
func (s *Server) startBackfill(c echo.Context) error {
	form, err := c.FormParams()
	if err != nil {
		return api.Errorf(api.Malformed, "the form cannot be read")
	}
	page, err := s.backfillFormPage(c, form)
	if err != nil {
		return err
	}
	key := cut(form.Get("key"), 64)
	if key == "" {
		key = rand.Text()
	}
	ref := pipelineRef(c)
	req, wrong := page.request(form)
	var refused *api.Error
	status := http.StatusUnprocessableEntity
	if len(wrong) == 0 {
		b, _, err := s.app.StartBackfill(c.Request().Context(), actor(c), app.PipelineRef{Namespace: ref.Namespace, Name: ref.Name}, key, req)
		if err == nil {
			s.flash(c, fmt.Sprintf("Backfill %d makes %s, a few at a time.", b.ID, plural(b.Ticks, "run")))
			return c.Redirect(http.StatusSeeOther, backfillURL(b.ID))
		}
		if refused = explain(err); refused.Code != api.Unprocessable && refused.Code != api.Conflict {
			return err
		}
		status = refused.Code.Status()
	}
	if _, err := s.previewBackfill(c, &page, form); err != nil {
		return err
	}
	page.complain(wrong, refused)
	return s.render(c, status, BackfillFormMain(page), page.Base, nil)
}
