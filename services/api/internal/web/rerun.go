package web

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// rerunPage asks before a run runs again, and says what of it does.
func (s *Server) rerunPage(c echo.Context) error {
	page, err := s.confirmRerun(c)
	if err != nil {
		return s.orDefault(c, err)
	}
	return s.render(c, http.StatusOK, ConfirmMain(page), page.Base, nil)
}

func (s *Server) confirmRerun(c echo.Context) (ConfirmPage, error) {
	var page ConfirmPage
	if err := known(c, "mode", "task"); err != nil {
		return page, err
	}
	mode, task := c.QueryParam("mode"), c.QueryParam("task")
	who := actor(c)
	got, err := s.app.RerunPage(c.Request().Context(), who, runRef(c), mode, task)
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, got.Head, "", "pipelines")
	ref, number := refOf(got.Run.Pipeline, page.Many), got.Run.Number
	page.Ref, page.Number = ref, number
	page.Title = fmt.Sprintf("Re-run %s #%d", ref, number)
	page.Action, page.Key = ref.Act(number, "rerun")+query("mode", mode, "task", task), rand.Text()
	page.Back, page.May = ref.Run(number), may(who, api.RoleOperator, ref.Namespace)
	page.Reason, page.Button = "Note", "Re-run"
	command := fmt.Sprintf("synctl rerun %s#%d", ref.Command(), number)
	switch flow.RerunMode(mode) {
	case flow.RerunFailed:
		page.Heading, page.Command = page.Title+": what did not go well?", command+" --failed"
	case flow.RerunFrom:
		page.Heading, page.Command = page.Title+" from "+task+"?", command+" --from "+shellWord(task)
	default:
		page.Heading, page.Command = page.Title+" as a whole?", command+" --all"
	}
	if got.Refused != nil {
		page.Sentence = []string{sentence(got.Refused.Message), sentence(got.Refused.Hint)}
		page.Button = ""
		return page, nil
	}
	for _, part := range []struct {
		names []string
		words string
	}{{got.Chosen, ""}, {got.After, " (comes after)"}, {got.Finally, " (finally)"}} {
		for _, name := range part.names {
			page.Names = append(page.Names, tidy(name)+part.words)
		}
	}
	const most = 40
	if n := len(page.Names); n > most {
		page.Names = append(page.Names[:most:most], fmt.Sprintf("and %s more", number64(n-most)))
	}
	page.Sentence = []string{"The run keeps its number, revision and params, and what is not in this list stays as it is, with its outputs."}
	if len(page.Names) == 0 {
		page.Sentence = []string{"The run never started. All its tasks run now."}
	}
	return page, nil
}

func number64(n int) string { return number(int64(n)) }

func (s *Server) rerun(c echo.Context) error {
	ref := runRef(c)
	req := api.RerunRequest{Mode: api.RerunRequestMode(c.QueryParam("mode")), Task: c.QueryParam("task"), Note: c.FormValue("reason")}
	run, _, err := s.app.Rerun(c.Request().Context(), actor(c), ref, cut(c.FormValue("key"), 64), req)
	if e := explain(err); e != nil {
		if e.Code != api.Conflict && e.Code != api.Unprocessable && e.Code != api.QueueFull {
			return err
		}
		page, other := s.confirmRerun(c)
		if other != nil {
			return other
		}
		page.Problem, page.Typed = sentence(e.Message), req.Note
		return s.render(c, e.Code.Status(), ConfirmMain(page), page.Base, nil)
	}
	s.flash(c, fmt.Sprintf("%s #%d runs again.", ref.Pipeline, run.Number))
	return c.Redirect(http.StatusSeeOther, refOf(run.Pipeline, false).Run(run.Number))
}

// markPage asks how a task ended, and why somebody says so.
func (s *Server) markPage(c echo.Context) error {
	page, err := s.confirmMark(c)
	if err != nil {
		return s.orDefault(c, err)
	}
	return s.render(c, http.StatusOK, MarkMain(page), page.Base, nil)
}

func (s *Server) confirmMark(c echo.Context) (MarkPage, error) {
	var page MarkPage
	if err := known(c); err != nil {
		return page, err
	}
	name, index, err := taskRef(c)
	if err != nil {
		return page, err
	}
	who := actor(c)
	got, err := s.app.TaskPage(c.Request().Context(), who, runRef(c), name, index)
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, got.Head, "", "pipelines")
	ref := refOf(got.Run.Pipeline, page.Many)
	page.Ref, page.Number, page.Task = ref, got.Run.Number, taskName(got.Task)
	page.Title = fmt.Sprintf("Mark %s · %s #%d", page.Task, ref, page.Number)
	page.Action, page.Back = ref.Run(page.Number, page.Task, "mark"), attemptURL(ref, page.Number, got.Task, max(1, lastNumber(got.Task)))
	page.Key, page.May = rand.Text(), may(who, api.RoleOperator, ref.Namespace)
	page.Command = "synctl mark " + shellWord(fmt.Sprintf("%s#%d", ref.Command(), page.Number)) + " " + shellWord(page.Task) + " STATE --reason TEXT"
	page.Now = taskLook(got.Task.State, got.Task.Reason)
	page.Open = got.Run.EndedAt == nil
	for _, state := range []api.TaskState{api.TaskStateSucceeded, api.TaskStateFailed, api.TaskStateSkipped} {
		if state != got.Task.State {
			page.States = append(page.States, Option{Value: string(state), Label: string(state)})
		}
	}
	return page, nil
}

// lastNumber is the number of the last attempt of a task.
func lastNumber(t api.Task) int {
	if n := len(t.Attempts); n > 0 {
		return t.Attempts[n-1].Number
	}
	return 0
}

func (s *Server) mark(c echo.Context) error {
	name, index, err := taskRef(c)
	if err != nil {
		return err
	}
	ref := runRef(c)
	req := api.MarkRequest{State: api.MarkRequestState(c.FormValue("state")), Reason: c.FormValue("reason"), Index: index}
	run, err := s.app.Mark(c.Request().Context(), actor(c), ref, name, cut(c.FormValue("key"), 64), req)
	if e := explain(err); e != nil {
		if e.Code != api.Conflict && e.Code != api.Unprocessable {
			return err
		}
		page, other := s.confirmMark(c)
		if other != nil {
			return other
		}
		page.Problem, page.Typed = sentence(e.Message), req.Reason
		for i := range page.States {
			page.States[i].Chosen = page.States[i].Value == string(req.State)
		}
		return s.render(c, e.Code.Status(), MarkMain(page), page.Base, nil)
	}
	what := fmt.Sprintf("%s is marked %s. ", param(c, "task"), req.State)
	if run.EndedAt == nil {
		what += "What it held up runs now."
	} else {
		what += fmt.Sprintf("The run: %s.", runLook(run.State, run.Reason).Word)
	}
	s.flash(c, what)
	return c.Redirect(http.StatusSeeOther, refOf(run.Pipeline, false).Run(run.Number))
}

// rerunLinks are the ways to run an ended run again.
func rerunLinks(ref Ref, got app.RunPage) []RerunLink {
	if got.Run.EndedAt == nil {
		return nil
	}
	var links []RerunLink
	if f := got.Failed; f.Any() {
		label := "Re-run failed: " + strconv.Itoa(f.Chosen)
		switch {
		case f.Chosen == 0 && f.After > 0: // what failed before them was marked
			label = "Re-run skipped: " + strconv.Itoa(f.After)
		case f.Chosen == 0:
			label = "Re-run finally"
		case f.After > 0 && f.Chosen == 1:
			label += fmt.Sprintf(" + %d after it", f.After)
		case f.After > 0:
			label += fmt.Sprintf(" + %d after them", f.After)
		}
		links = append(links, RerunLink{Label: label, URL: ref.Act(got.Run.Number, "rerun") + query("mode", "failed"), Main: true})
	}
	return append(links, RerunLink{Label: "Re-run all", URL: ref.Act(got.Run.Number, "rerun") + query("mode", "all")})
}

// reopenings say what became of a run before, and who opened it again.
func (b Base) reopenings(list []app.Reopening) []Fact {
	var facts []Fact
	for _, r := range list {
		at := b.moment(r.At)
		was := runLook(api.RunState(r.Was), r.Reason).Word
		words := was + "; then "
		switch {
		case r.Marked:
			words += "a mark by " + r.By
		case r.Mode == "from":
			words += "re-run from " + r.Task + " by " + r.By
		case r.Mode == "all":
			words += "re-run by " + r.By
		default:
			words += "what failed re-run by " + r.By
		}
		if r.Note != "" {
			words += " “" + r.Note + "”"
		}
		facts = append(facts, Fact{Name: tidy(cut(words, 300)), At: &at})
	}
	return facts
}
