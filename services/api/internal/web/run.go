package web

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// Lines of a log that the page of a run shows.
const (
	problemLines = 10
	tailLines    = 14
)

func runRef(c echo.Context) app.RunRef {
	return app.RunRef{Namespace: param(c, "ns"), Pipeline: param(c, "name"), Run: param(c, "no")}
}

// run shows a run: what is wrong first, then its tasks and when they ran.
func (s *Server) run(c echo.Context) error {
	page, err := s.runPage(c, runRef(c))
	if err != nil {
		return s.orDefault(c, err)
	}
	return s.render(c, 200, RunMain(page), page.Base, runRegions(page))
}

func runRegions(p RunPage) regions {
	return regions{
		"run-head": RunHeader(p.Head), "run-problem": RunProblem(p.Problem), "run-why": RunWhy(p.Why), "run-ask": RunAsk(p.Ask), "run-tasks": RunTasks(p.Tasks), "run-started": RunStarted(p.Started), "run-log": RunLog(p.Log), "run-details": RunDetails(p.Details),
	}
}

func (s *Server) runPage(c echo.Context, ref app.RunRef) (RunPage, error) {
	var page RunPage
	if err := known(c, "task", "after", "rows"); err != nil {
		return page, err
	}
	task, rows := c.QueryParam("task"), 0
	if v := c.QueryParam("rows"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return page, api.Errorf(api.Malformed, "rows is the number of a page of tasks, found %q", tidy(cut(v, 40)))
		}
		rows = n
	}
	got, err := s.app.RunPage(c.Request().Context(), actor(c), ref, task, c.QueryParam("after"))
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, got.Head, "", "pipelines")
	if err := s.fillRun(c, &page, got, task, rows); err != nil {
		return page, err
	}
	return page, nil
}

// fillRun turns a run into its page.
func (s *Server) fillRun(c echo.Context, page *RunPage, got app.RunPage, task string, rows int) error {
	run, who := got.Run, actor(c)
	ref := refOf(run.Pipeline, got.Head.Namespaces)
	look := runLook(run.State, run.Reason)
	page.Ref, page.Title, page.Symbol = ref, fmt.Sprintf("%s #%d", ref, run.Number), look.Symbol
	page.JSON = fmt.Sprintf("/api/v1/runs/%s/%d", strings.TrimPrefix(ref.URL(), "/p/"), run.Number)
	page.Command = fmt.Sprintf("synctl show %s#%d", ref.Command(), run.Number)
	page.Head = runHead(page.Base, who, got)
	page.Tasks = gantt(page.Base, ref, got, task, rows)
	page.Head.Reruns = rerunLinks(ref, got)
	page.Ask = asks(page.Base, who, run.Tasks)
	page.Started = followUps(page.Base, run.FollowUps)
	page.Details = runDetails(page.Base, got.Run)
	page.Details.Earlier = page.reopenings(got.Reopenings)
	var shown []string
	if len(page.Ask.Asks) > 0 && page.Ask.More == 0 {
		shown = []string{"approval"}
	}
	page.Why = whyBox(page.Base, ref, got.Why, shown...)
	if got.Why != nil && got.Why.Kind == api.ExplanationKindTask {
		page.Why.Whole = ref.Run(run.Number) + "#run-why"
	}
	var err error
	if page.Problem, err = s.problem(c, page.Base, ref, got); err != nil {
		return err
	}
	page.Problem.Why = page.Problem.Why && page.Why.Heading != ""
	if len(shown) > 0 && got.Why != nil && len(got.Why.Findings) > 0 && slices.Contains(shown, got.Why.Findings[0].Gate) {
		page.Problem.Facts = nil // its form says it
	}
	if run.EndedAt == nil {
		page.Log, err = s.logTail(c, page.Base, ref, got)
	}
	page.Live = "/events" + query("page", "run", "ns", ref.Namespace, "name", ref.Name, "no", strconv.FormatInt(run.Number, 10), "task", task,
		"after", c.QueryParam("after"), "rows", c.QueryParam("rows"), "at", page.Log.Key, "ask", page.Ask.Key)
	return err
}

// kinFacts name the runs that a run comes from.
func kinFacts(b Base, run api.Run) []Fact {
	var facts []Fact
	if p := run.Parent; p != nil {
		row := runLink(b, *p)
		facts = append(facts, Fact{Name: "called by", Value: row.Name + " / " + p.Task, URL: row.URL + "/" + url.PathEscape(p.Task)})
	}
	if up := run.TriggeredBy; up != nil {
		row := runLink(b, *up)
		facts = append(facts, Fact{Name: "after", Value: row.Name, URL: row.URL})
	}
	if run.Backfill != 0 {
		facts = append(facts, Fact{Name: "backfill", Value: "#" + strconv.FormatInt(run.Backfill, 10), URL: backfillURL(run.Backfill)})
	}
	return facts
}

// runLink is another run.
func runLink(b Base, l api.RunLink) FollowUpRow {
	ref := refOf(l.Pipeline, b.Many)
	row := FollowUpRow{Look: runLook(api.RunState(l.State), ""), Name: fmt.Sprintf("%s #%d", ref, l.Number), URL: ref.Run(l.Number)}
	row.Word = row.Look.Word
	if l.State == "" {
		row.Look, row.Word = lookNever, "no longer kept"
	}
	return row
}

// followUps are what triggers made of the end of a run.
func followUps(b Base, list []api.FollowUp) FollowUps {
	var out FollowUps
	for _, f := range list {
		ref := refOf(f.Pipeline, b.Many)
		switch {
		case f.Number != 0:
			out.Rows = append(out.Rows, runLink(b, api.RunLink{Pipeline: f.Pipeline, Number: f.Number, State: f.State}))
		case f.Dropped == "paused":
			out.Rows = append(out.Rows, FollowUpRow{Look: lookTickSkip, Name: ref.String(), URL: ref.URL(), Word: "not started: it was paused"})
		case f.Dropped != "":
			out.Rows = append(out.Rows, FollowUpRow{Look: lookTickFailed, Name: ref.String(), URL: ref.URL(), Word: "not started: its definition could not be read"})
		default:
			out.Open = true
			out.Rows = append(out.Rows, FollowUpRow{Look: lookQueued, Name: ref.String(), URL: ref.URL(), Word: "about to start"})
		}
	}
	return out
}

func runHead(b Base, who app.Actor, got app.RunPage) RunHead {
	run := got.Run
	ref := refOf(run.Pipeline, b.Many)
	look := runLook(run.State, run.Reason)
	h := RunHead{
		Ref: ref, Number: run.Number, Look: look, Previous: got.Previous, Next: got.Next, Over: run.EndedAt != nil,
		Title:     fmt.Sprintf("%s %s #%d · Synthesizer", look.Symbol, ref, run.Number),
		MayCancel: may(who, api.RoleOperator, ref.Namespace), MayRun: may(who, api.RoleOperator, ref.Namespace), Cancelable: run.EndedAt == nil,
		Note: tidy(run.Note),
	}
	scheduled := b.moment(run.ScheduledAt)
	if run.Trigger == "schedule" {
		h.Facts = append(h.Facts, Fact{Name: "tick", At: &scheduled})
	} else {
		created := b.moment(run.CreatedAt)
		h.Facts = append(h.Facts, Fact{Name: run.Trigger, At: &created})
		if run.RequestedBy != "" {
			h.Facts = append(h.Facts, Fact{Name: "by", Value: tidy(cut(run.RequestedBy, 60))})
		}
	}
	h.Facts = append(h.Facts, kinFacts(b, run)...)
	if n := len(got.Reopenings); n > 0 {
		at, last := b.moment(got.Reopenings[n-1].At), got.Reopenings[n-1]
		h.Facts = append(h.Facts, Fact{Name: map[bool]string{true: "marked", false: "re-run"}[last.Marked], At: &at}, Fact{Name: "by", Value: tidy(cut(last.By, 60))})
	}
	if run.StartedAt != nil {
		due := run.ScheduledAt
		if run.Trigger != "schedule" {
			due = run.CreatedAt
		}
		if n := len(got.Reopenings); n > 0 && run.StartedAt.After(got.Reopenings[n-1].At) {
			due = got.Reopenings[n-1].At // a mark that made nothing run is later than the start
		}
		h.Facts = append(h.Facts, Fact{Name: "started", Value: "+" + duration(run.StartedAt.Sub(due))})
		word := "ran"
		if run.EndedAt == nil {
			word = "running for"
		}
		h.Facts = append(h.Facts, Fact{Name: word, Value: took(run.StartedAt, run.EndedAt, b.Now)})
	}
	h.Facts = append(h.Facts, Fact{Name: "rev", Value: strconv.Itoa(run.Revision), URL: ref.URL("definition") + query("rev", strconv.Itoa(run.Revision))})
	if !run.CancelRequestedAt.IsZero() {
		h.Stopping = "asked to stop by " + tidy(cut(run.CanceledBy, 60))
		if run.CancelReason != "" {
			h.Stopping += " “" + tidy(cut(run.CancelReason, 200)) + "”"
		}
	}
	return h
}

// failedAttempt is the last attempt of a task that failed.
func failedAttempt(t *api.Task) *api.Attempt {
	if t == nil || len(t.Attempts) == 0 {
		return nil
	}
	return &t.Attempts[len(t.Attempts)-1]
}

// problem says what is wrong with a run, or what it waits for.
func (s *Server) problem(c echo.Context, b Base, ref Ref, got app.RunPage) (Problem, error) {
	run := got.Run
	switch {
	case got.Failure != nil:
		return s.failure(c, b, ref, got)
	case run.State == api.RunStateFailed:
		return Problem{Kind: "failed", Look: runLook(run.State, run.Reason), Heading: "Run failed: " + reasonWords(run.Reason)}, nil
	case run.State == api.RunStateQueued:
		p := Problem{Kind: "waiting", Look: lookQueued, Heading: fmt.Sprintf("Queued: %d running", got.Running)}
		if got.Before > 0 {
			p.Heading += fmt.Sprintf(", %d before it", got.Before)
		}
		since := run.CreatedAt
		if n := len(got.Reopenings); n > 0 {
			since = got.Reopenings[n-1].At
		}
		p.Facts = append(p.Facts, "waited "+duration(b.Now.Sub(since)))
		p.Why = held(got.Why) != ""
		return p, nil
	case run.State == api.RunStateRunning:
		return running(got), nil
	case run.State == api.RunStateSkipped || len(run.Tasks) == 0:
		return Problem{Kind: "waiting", Look: runLook(run.State, run.Reason), Heading: "No tasks ran: " + cmp.Or(reasonWords(run.Reason), "all were skipped by their conditions")}, nil
	}
	return Problem{}, nil
}

// failed says whether there is something to run again because it did not go well.
func (h RunHead) failed() bool { return len(h.Reruns) > 0 && h.Reruns[0].Main }

func reasonWords(reason string) string {
	switch reason {
	case "":
		return ""
	case "timed_out":
		return "it took longer than its timeout"
	case "upstream":
		return "a task failed"
	}
	return strings.ReplaceAll(reason, "_", " ")
}

// held is the first thing that holds a run, or a task of it; "" if nothing does.
func held(e *api.Explanation) string {
	if e == nil || len(e.Findings) == 0 || e.Findings[0].Standing != api.StandingBlocks {
		return ""
	}
	return tidy(cut(e.Findings[0].Summary, 300))
}

// running says what a run is at, and what it waits for.
func running(got app.RunPage) Problem {
	var run, wait, ready int
	for _, t := range got.Run.Tasks {
		if t.Items != nil && t.EndedAt == nil {
			run++
			continue
		}
		switch t.State {
		case api.TaskStateRunning:
			run++
		case api.TaskStateReady:
			ready++
		case api.TaskStateWaiting:
			wait++
		}
	}
	var parts []string
	if run > 0 {
		parts = append(parts, fmt.Sprintf("%d running", run))
	}
	if ready > 0 {
		parts = append(parts, fmt.Sprintf("%d ready", ready))
	}
	if wait > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting", wait))
	}
	p := Problem{Kind: "running", Look: lookRunning, Heading: sentenceStart(cmp.Or(strings.Join(parts, ", "), "starting"))}
	if why := held(got.Why); why != "" {
		p.Facts, p.Why = append(p.Facts, why), true
	}
	return p
}

func sentenceStart(s string) string {
	if s == "" || s[0] >= 0x80 {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// failure shows the task that failed first, with the end of its log.
func (s *Server) failure(c echo.Context, b Base, ref Ref, got app.RunPage) (Problem, error) {
	t := got.Failure
	a := failedAttempt(t)
	name := taskName(*t)
	run := got.Run.Number
	p := Problem{Kind: "failed", Look: taskLook(t.State, t.Reason), Heading: name + " failed"}
	failed := 0
	for _, other := range got.Run.Tasks {
		if other.State == api.TaskStateFailed {
			failed++
		}
	}
	if failed > 1 {
		p.Others = fmt.Sprintf("and %s failed too", plural(failed-1, "other task"))
	}
	if a == nil {
		p.Heading += ": " + cmp.Or(tidy(cut(t.Detail, 300)), reasonWords(t.Reason))
		return p, nil
	}
	p.Heading = fmt.Sprintf("%s failed on %s", name, api.AttemptWords(a.Number, t.RetryLimit))
	p.Heading += ": " + exitWords(*a)
	if t.Detail != "" && !strings.Contains(p.Heading, t.Detail) {
		p.Facts = append(p.Facts, tidy(cut(t.Detail, 300)))
	}
	if a.EndedAt != nil {
		p.Facts = append(p.Facts, a.EndedAt.In(b.Zone).Format("15:04:05"))
	}
	p.Facts = append(p.Facts, tidy(cut(a.Executor, 60)))
	p.Commands = []string{
		"synctl logs " + shellWord(fmt.Sprintf("%s#%d/%s", ref.Command(), run, name)),
		fmt.Sprintf("synctl rerun %s#%d --failed --watch", ref.Command(), run),
	}
	p.LogURL = attemptURL(ref, run, *t, a.Number)
	lines, err := s.app.LogLines(c.Request().Context(), actor(c), logRef(ref, run, *t, a.Number), 0, problemLines)
	if err != nil && !api.IsCode(err, api.NotFound) && !api.IsCode(err, api.Gone) {
		return p, err
	}
	p.Lines, p.Cut = logLines(lines.Lines, b.Zone), lines.Total > len(lines.Lines)
	p.LogLine = lines.Total
	return p, nil
}

func logRef(ref Ref, run int64, t api.Task, attempt int) app.LogRef {
	return app.LogRef{RunRef: app.RunRef{Namespace: ref.Namespace, Pipeline: ref.Name, Run: strconv.FormatInt(run, 10)}, Task: t.Name, Index: t.Index, Attempt: attempt}
}

func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=./:,@%+#") == "" && s[0] != '#' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// taskName is a task or an item as people name it.
func taskName(t api.Task) string {
	if t.Index == nil {
		return t.Name
	}
	return t.Name + "[" + strconv.Itoa(*t.Index) + "]"
}

func attemptURL(ref Ref, run int64, t api.Task, attempt int) string {
	return ref.Run(run, taskName(t), strconv.Itoa(attempt))
}

// exitWords say how an attempt ended.
func exitWords(a api.Attempt) string {
	switch {
	case a.State == api.AttemptStateTimedOut:
		return "timed out"
	case a.State == api.AttemptStateLost:
		return "executor lost"
	case a.State == api.AttemptStateCanceled:
		return "canceled"
	case a.Signal != "":
		return "killed by " + tidy(cut(a.Signal, 20))
	case a.ExitCode != nil && a.State == api.AttemptStateFailed:
		if a.Reason != "" && a.Reason != "exit" {
			return fmt.Sprintf("exit %d, %s", *a.ExitCode, reasonWords(a.Reason))
		}
		return fmt.Sprintf("exit %d", *a.ExitCode)
	case a.State == api.AttemptStateFailed && a.Reason != "":
		return reasonWords(a.Reason)
	}
	return attemptLook(a.State, a.Reason).Word
}

// logTail is the end of the log of the attempt that runs now, the newest first.
func (s *Server) logTail(c echo.Context, b Base, ref Ref, got app.RunPage) (LogTail, error) {
	var at *api.Attempt
	var of api.Task
	look := func(t api.Task) {
		if n := len(t.Attempts); n > 0 {
			a := &t.Attempts[n-1]
			if a.EndedAt != nil {
				return
			}
			// One that has something to show before one that has not.
			if at == nil || a.LogBytes > 0 && at.LogBytes == 0 || (a.LogBytes > 0) == (at.LogBytes > 0) && a.ClaimedAt.After(at.ClaimedAt) {
				at, of = a, t
			}
		}
	}
	for _, t := range got.Run.Tasks {
		look(t)
	}
	for _, name := range sortedKeys(got.Items) {
		for _, t := range got.Items[name] {
			look(t)
		}
	}
	if at == nil {
		return LogTail{}, nil
	}
	tail := LogTail{
		Heading: fmt.Sprintf("Log tail: %s, attempt %d", taskName(of), at.Number), URL: attemptURL(ref, got.Run.Number, of, at.Number), Live: true, Zone: b.zone(),
	}
	lines, err := s.app.LogLines(c.Request().Context(), actor(c), logRef(ref, got.Run.Number, of, at.Number), 0, tailLines)
	if err != nil {
		if e, ok := errors.AsType[*api.Error](err); ok && (e.Code == api.NotFound || e.Code == api.Gone) {
			return LogTail{}, nil
		}
		return tail, err
	}
	if !lines.Complete && lines.Whole < lines.Total && len(lines.Lines) > 0 {
		lines.Lines = lines.Lines[:len(lines.Lines)-1] // it may still grow: the stream brings it whole
	}
	tail.Lines = logLines(lines.Lines, b.Zone)
	tail.Key, tail.Ref = logKey(of, at.Number, lines.Whole), logRef(ref, got.Run.Number, of, at.Number)
	if len(tail.Lines) == 0 {
		tail.Empty = "No output yet."
	}
	return tail, nil
}

// logKey names a place in a log, for a stream to go on from.
func logKey(t api.Task, attempt, line int) string {
	return taskName(t) + "/" + strconv.Itoa(attempt) + "/" + strconv.Itoa(line)
}

func runDetails(b Base, run api.Run) Details {
	d := Details{Params: valueFacts(run.Params), Outputs: valueFacts(run.Outputs)}
	d.Facts = append(d.Facts, Fact{Name: "Trigger", Value: run.Trigger})
	if run.Schedule != "" {
		d.Facts = append(d.Facts, Fact{Name: "Schedule", Value: tidy(run.Schedule)})
	}
	scheduled, created := b.moment(run.ScheduledAt), b.moment(run.CreatedAt)
	d.Facts = append(d.Facts, Fact{Name: "Scheduled for", At: &scheduled}, Fact{Name: "Created", At: &created})
	if !run.Interval.Start.Equal(run.Interval.End) {
		from, to := b.moment(run.Interval.Start), b.moment(run.Interval.End)
		d.Facts = append(d.Facts, Fact{Name: "Interval from", At: &from}, Fact{Name: "Interval to", At: &to})
	}
	if run.StartedAt != nil {
		m := b.moment(*run.StartedAt)
		d.Facts = append(d.Facts, Fact{Name: "Started", At: &m})
	}
	if run.EndedAt != nil {
		m := b.moment(*run.EndedAt)
		d.Facts = append(d.Facts, Fact{Name: "Ended", At: &m})
	}
	if run.ConcurrencyGroup != "" {
		d.Facts = append(d.Facts, Fact{Name: "Concurrency group", Value: tidy(cut(run.ConcurrencyGroup, 200))})
	}
	d.Facts = append(d.Facts, Fact{Name: "Id", Value: strconv.FormatInt(run.ID, 10), Mono: true})
	return d
}

// valueFacts are named values in the order of their names.
func valueFacts(v api.Values) []Fact {
	var out []Fact
	for _, name := range sortedKeys(v) {
		out = append(out, Fact{Name: tidy(name), Value: valueText(v[name], 4000), Mono: true})
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
