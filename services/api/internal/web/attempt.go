package web

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// taskRef reads a task or an item, name[3], from the path.
func taskRef(c echo.Context) (name string, index *int, err error) {
	name = param(c, "task")
	if base, rest, ok := strings.Cut(name, "["); ok {
		n, bad := strconv.Atoi(strings.TrimSuffix(rest, "]"))
		if bad != nil || n < 0 || !strings.HasSuffix(rest, "]") {
			return "", nil, api.Errorf(api.NotFound, "%q names no item of a task", tidy(cut(name, 80))).WithHint("an item is task[3], counted from 0")
		}
		return base, &n, nil
	}
	return name, nil, nil
}

// taskPage is what there is of the task that the address names.
func (s *Server) taskPage(c echo.Context) (app.TaskPage, error) {
	name, index, err := taskRef(c)
	if err != nil {
		return app.TaskPage{}, err
	}
	return s.app.TaskPage(c.Request().Context(), actor(c), runRef(c), name, index)
}

// newestAttempt leads to the newest attempt of a task.
func (s *Server) newestAttempt(c echo.Context) error {
	name, index, err := taskRef(c)
	if err != nil {
		return err
	}
	page, err := s.app.TaskPage(c.Request().Context(), actor(c), runRef(c), name, index)
	if err != nil {
		return s.orDefault(c, err)
	}
	n := len(page.Task.Attempts)
	if n == 0 {
		n = 1
	} else {
		n = page.Task.Attempts[n-1].Number
	}
	return c.Redirect(http.StatusFound, attemptURL(refOf(page.Run.Pipeline, false), page.Run.Number, page.Task, n))
}

// attempt shows an attempt of a task with a page of its log.
func (s *Server) attempt(c echo.Context) error {
	page, err := s.attemptPage(c, app.MaxLogLines)
	if err != nil {
		return s.orDefault(c, err)
	}
	return s.render(c, 200, AttemptMain(page), page.Base, regions{"attempt-head": AttemptHeader(page.Head), "log-region": Log(page.Log)})
}

func attemptNumber(c echo.Context) (int, error) {
	n, err := strconv.Atoi(param(c, "attempt"))
	if err != nil || n < 1 {
		return 0, api.Errorf(api.NotFound, "%q is no number of an attempt", tidy(cut(param(c, "attempt"), 40)))
	}
	return n, nil
}

func (s *Server) attemptPage(c echo.Context, lines int) (AttemptPage, error) {
	var page AttemptPage
	if err := known(c, "from"); err != nil {
		return page, err
	}
	name, index, err := taskRef(c)
	if err != nil {
		return page, err
	}
	number, err := attemptNumber(c)
	if err != nil {
		return page, err
	}
	got, err := s.app.TaskPage(c.Request().Context(), actor(c), runRef(c), name, index)
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, got.Head, "", "pipelines")
	ref := refOf(got.Run.Pipeline, page.Many)
	at, err := find(got, ref, number)
	if err != nil {
		return page, err
	}
	page.Ref, page.Number, page.Task = ref, got.Run.Number, taskName(got.Task)
	page.Head = attemptHead(page.Base, ref, got, at, number)
	page.Title, page.Symbol = fmt.Sprintf("%s · %s #%d", page.Task, ref, got.Run.Number), page.Head.Look.Symbol
	page.JSON = fmt.Sprintf("/api/v1/runs/%s/%d/tasks%s", strings.TrimPrefix(ref.URL(), "/p/"), got.Run.Number, query("task", got.Task.Name))
	page.Command = "synctl logs " + shellWord(fmt.Sprintf("%s#%d/%s:%d", ref.Command(), got.Run.Number, page.Task, number))
	if got.Run.EndedAt != nil {
		page.Head.May = may(actor(c), api.RoleOperator, ref.Namespace)
		page.Head.Rerun = ref.Act(got.Run.Number, "rerun") + query("mode", "from", "task", got.Task.Name)
		page.Head.Mark = ref.Run(got.Run.Number, page.Task, "mark")
	}
	if got.Awaits {
		page.Command = "synctl show " + shellWord(fmt.Sprintf("%s#%d/%s", ref.Command(), got.Run.Number, page.Task))
	}
	page.Script = tidy(strings.TrimRight(got.Script+got.Command, "\n"))
	page.Outputs = valueFacts(got.Task.Outputs)
	here := attemptURL(ref, got.Run.Number, got.Task, number)
	if at == nil {
		page.Log = LogView{Empty: notRun(got), Zone: page.zone()}
	} else {
		page.Facts, page.Download = attemptFacts(page.Base, *at), here+"/log.txt"
		if page.Log, err = s.logView(c, page.Base, ref, got, *at, here, lines); err != nil {
			return page, err
		}
	}
	if got.Awaits {
		page.Await = await(page.Base, actor(c), got)
		page.Ask = asks(page.Base, actor(c), []api.Task{got.Task})
	}
	if page.Log.Live || at == nil && got.Run.EndedAt == nil {
		item := ""
		if index != nil {
			item = strconv.Itoa(*index)
		}
		page.Live = "/events" + query("page", "attempt", "ns", ref.Namespace, "name", ref.Name, "no", strconv.FormatInt(got.Run.Number, 10),
			"task", got.Task.Name, "item", item, "attempt", strconv.Itoa(number), "at", page.Log.Key, "ask", page.Ask.Key)
	}
	return page, nil
}

// find is the attempt of a number; nil: the task has had none, and this is the first.
func find(got app.TaskPage, ref Ref, number int) (*api.Attempt, error) {
	for i, a := range got.Task.Attempts {
		if a.Number == number {
			return &got.Task.Attempts[i], nil
		}
	}
	if len(got.Task.Attempts) == 0 && number == 1 {
		return nil, nil //nolint:nilnil // no attempt is an ordinary answer
	}
	return nil, api.Errorf(api.NotFound, "%s#%d/%s has no attempt %d; it has had %d", ref, got.Run.Number, taskName(got.Task), number, len(got.Task.Attempts))
}

// await says what a task does that runs on no executor.
func await(b Base, who app.Actor, got app.TaskPage) Await {
	t := got.Task
	a := Await{On: true}
	if t.Child != nil {
		link := runLink(b, *t.Child)
		a.Child = &link
	}
	if t.Approval != nil && (t.State != api.TaskStateWaiting || t.Approval.Decision != "") {
		x := ask(b, who, *t.Approval, t.State)
		a.Question = &x
	}
	switch {
	case a.Child != nil || t.Approval != nil:
	case t.State == api.TaskStateWaiting && t.Poll != nil:
		a.Empty = sentence(t.Poll.Sentence())
	case t.State == api.TaskStateWaiting && t.Reason != "" && !t.WakeAt.IsZero():
		a.Empty = "It waits until " + b.moment(t.WakeAt).Text + "."
	case t.State == api.TaskStateSucceeded:
		a.Empty = "What it waited for has come."
	default:
		a.Empty = notRun(got)
	}
	return a
}

// notRun says why there is no log.
func notRun(got app.TaskPage) string {
	t := got.Task
	switch t.State {
	case api.TaskStateSkipped:
		if t.Detail != "" {
			return "It did not run: " + tidy(cut(t.Detail, 300))
		}
		return "It did not run: " + taskLook(t.State, t.Reason).Word + "."
	case api.TaskStateCanceled:
		return "It was canceled before it ran."
	case api.TaskStateReady:
		return "It is ready, and no executor is free yet."
	case api.TaskStateFailed:
		return "It failed without an attempt: " + tidy(cut(t.Detail, 300))
	}
	if t.Items != nil {
		return "It fans out: its items have the logs."
	}
	return "It has not run yet: it waits for what it needs."
}

func attemptHead(b Base, ref Ref, got app.TaskPage, at *api.Attempt, number int) AttemptHead {
	t := got.Task
	h := AttemptHead{Ref: ref, Number: got.Run.Number, Task: taskName(t), Look: taskLook(t.State, t.Reason)}
	if t.Index != nil {
		h.Item = valueText(t.Item, 200)
	}
	for _, a := range t.Attempts {
		h.Attempts = append(h.Attempts, AttemptLink{
			Number: a.Number, Look: attemptLook(a.State, a.Reason), URL: attemptURL(ref, got.Run.Number, t, a.Number), Took: took(a.StartedAt, a.EndedAt, b.Now), Here: a.Number == number,
		})
	}
	if at != nil {
		h.Look, h.Over = attemptLook(at.State, at.Reason), at.EndedAt != nil
		if at.State == api.AttemptStateFailed {
			h.Words = append(h.Words, exitWords(*at))
		}
		h.Words = append(h.Words, tidy(cut(at.Executor, 60)))
		start := at.ClaimedAt
		if at.StartedAt != nil {
			start = *at.StartedAt
		}
		word := "ran "
		if at.EndedAt == nil {
			word = "running for "
		}
		h.Words = append(h.Words, word+took(&start, at.EndedAt, b.Now))
		h.Detail = tidy(cut(at.Detail, 1000))
	} else {
		h.Over = got.Run.EndedAt != nil
	}
	h.Title = fmt.Sprintf("%s %s · %s #%d · Synthesizer", h.Look.Symbol, h.Task, ref, got.Run.Number)
	return h
}

func attemptFacts(b Base, a api.Attempt) []Fact {
	claimed := b.moment(a.ClaimedAt)
	facts := []Fact{{Name: "Executor", Value: tidy(cut(a.Executor, 80))}, {Name: "Claimed", At: &claimed}}
	if a.StartedAt != nil {
		m := b.moment(*a.StartedAt)
		facts = append(facts, Fact{Name: "Started", At: &m})
	}
	if a.EndedAt != nil {
		m := b.moment(*a.EndedAt)
		facts = append(facts, Fact{Name: "Ended", At: &m})
	}
	if a.CPUMs != nil {
		facts = append(facts, Fact{Name: "Processor time", Value: duration(time.Duration(*a.CPUMs) * time.Millisecond)})
	}
	if a.MaxRss != nil {
		facts = append(facts, Fact{Name: "Most memory", Value: size(*a.MaxRss)})
	}
	if a.Summary != "" {
		facts = append(facts, Fact{Name: "Summary", Value: tidy(cut(a.Summary, 4000))})
	}
	return facts
}

// logView is a page of a log: of 2 000 lines from ?from=, the last ones without it.
func (s *Server) logView(c echo.Context, b Base, ref Ref, got app.TaskPage, at api.Attempt, here string, limit int) (LogView, error) {
	view := LogView{Zone: b.zone()}
	from, asked := 0, c.QueryParam("from")
	if asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || n < 1 {
			return view, api.Errorf(api.Malformed, "from is the number of a line, found %q", tidy(cut(asked, 40)))
		}
		from = n
	}
	lines, err := s.app.LogLines(c.Request().Context(), actor(c), logRef(ref, got.Run.Number, got.Task, at.Number), from, limit)
	if err != nil {
		return view, err
	}
	over := at.EndedAt != nil
	if !lines.Complete && lines.Whole < lines.Total && len(lines.Lines) > 0 && lines.Lines[len(lines.Lines)-1].Number > lines.Whole {
		lines.Lines = lines.Lines[:len(lines.Lines)-1]
	}
	view.Lines = logLines(lines.Lines, b.Zone)
	view.Summary = fmt.Sprintf("%s · %s", plural(lines.Total, "line"), size(lines.Size))
	if lines.Missing > 0 && lines.Complete && !lines.Gone {
		view.Missing = size(lines.Missing) + " at the end not kept"
	}
	if !lines.Complete && lines.Size > lines.Kept && len(lines.Lines) > 0 {
		view.Missing = size(lines.Size-lines.Kept) + " more so far: the end of it is stored when the attempt ends"
	}
	first, last := 1, lines.Total
	if n := len(lines.Lines); n > 0 {
		first, last = lines.Lines[0].Number, lines.Lines[n-1].Number
	}
	if first > 1 {
		view.First = here + query("from", "1")
		view.Older = here + query("from", strconv.Itoa(max(1, first-app.MaxLogLines)))
	}
	if last < lines.Whole {
		view.Newer, view.Last = here+query("from", strconv.Itoa(last+1)), here
	}
	switch {
	case lines.Gone:
		view.Empty = "This log is no longer kept; " + size(lines.Size) + " were written."
	case len(view.Lines) > 0:
	case !over:
		view.Empty = "No output yet."
	default:
		view.Empty = "It printed nothing."
	}
	view.Live = !over && view.Newer == ""
	view.Key, view.Ref = logKey(got.Task, at.Number, lines.Whole), logRef(ref, got.Run.Number, got.Task, at.Number)
	if over {
		view.End = attemptLook(at.State, at.Reason).Word
		if at.State == api.AttemptStateFailed {
			view.End = exitWords(at)
		}
		if at.StartedAt != nil {
			view.End += " after " + duration(at.EndedAt.Sub(*at.StartedAt))
		}
		if at.CPUMs != nil {
			view.End += " · cpu " + duration(time.Duration(*at.CPUMs)*time.Millisecond)
		}
		if at.MaxRss != nil {
			view.End += " · max " + size(*at.MaxRss)
		}
	}
	return view, nil
}

// download sends a log as the bytes it is.
func (s *Server) download(c echo.Context) error {
	if err := known(c); err != nil {
		return err
	}
	name, index, err := taskRef(c)
	if err != nil {
		return err
	}
	number, err := attemptNumber(c)
	if err != nil {
		return err
	}
	ref := app.LogRef{RunRef: runRef(c), Task: name, Index: index, Attempt: number}
	part, err := s.app.Log(c.Request().Context(), actor(c), ref, 0, 1<<20)
	if err != nil {
		return s.orDefault(c, err)
	}
	h := c.Response().Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", policy)
	file := fmt.Sprintf("%s-%s-%s-%d.log", ref.Pipeline, ref.Run, ref.Task, number)
	if index != nil {
		file = fmt.Sprintf("%s-%s-%s-%d-%d.log", ref.Pipeline, ref.Run, ref.Task, *index, number)
	}
	h.Set("Content-Disposition", `attachment; filename="`+strings.Map(plainName, file)+`"`)
	h.Set("Cache-Control", "private, no-store")
	c.Response().WriteHeader(http.StatusOK)
	for at := part.Next; ; at = part.Next {
		if _, err := c.Response().Write(part.Data); err != nil {
			return nil // the reader has gone
		}
		if part, err = s.app.Log(c.Request().Context(), actor(c), ref, at, 1<<20); err != nil {
			return err
		}
		if len(part.Data) == 0 {
			return nil
		}
		if part.Offset > at {
			fmt.Fprintf(c.Response(), "\n--- %s not kept ---\n", size(part.Offset-at))
		}
	}
}

func plainName(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
		return r
	}
	return '_'
}
