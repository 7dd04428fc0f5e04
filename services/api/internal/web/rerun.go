package web

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

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
	page.Choices = rerunChoices(ref, got, mode, task)
	switch flow.RerunMode(mode) {
	case app.RerunLatest:
		page.Heading, page.Command = page.Title+" as a new run?", command+" --rev latest"
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
	if mode == app.RerunLatest {
		page.Sentence = []string{fmt.Sprintf("#%d stays as it is. Revision %d makes a new run, with the interval of this one.", number, got.Newest)}
		if params := paramsText(got.Run.Params, 400); params != "" {
			page.Sentence = append(page.Sentence, "Its params too, if they fit:")
			page.Names = []string{params}
		}
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

// rerunChoices are the ways to run a run again, each with its page.
func rerunChoices(ref Ref, got app.RerunPage, mode, task string) []Option {
	choice := func(of, label string) Option {
		o := Option{Label: label, Value: ref.Run(got.Run.Number, "-", "rerun") + query("mode", of), Chosen: of == mode}
		if of == string(flow.RerunFrom) {
			o.Value += "&task=" + url.QueryEscape(task)
		}
		return o
	}
	same := fmt.Sprintf("revision %d", got.Run.Revision)
	list := []Option{choice("failed", "What failed, "+same)}
	if mode == string(flow.RerunFrom) {
		list = append(list, choice("from", "From "+task+", "+same))
	}
	list = append(list, choice("all", "All, "+same))
	if got.Newest > 0 {
		list = append(list, choice(app.RerunLatest, fmt.Sprintf("A new run, revision %d (newest)", got.Newest)))
	}
	return list
}

func number64(n int) string { return number(int64(n)) }

func (s *Server) rerun(c echo.Context) error {
	ref := runRef(c)
	req := api.RerunRequest{Mode: api.RerunRequestMode(c.QueryParam("mode")), Task: c.QueryParam("task"), Note: c.FormValue("reason")}
	if c.QueryParam("mode") == app.RerunLatest {
		req.Mode, req.Latest = "", true
	}
	run, created, err := s.app.Rerun(c.Request().Context(), actor(c), ref, cut(c.FormValue("key"), 64), req)
	if e := explain(err); e != nil {
		if e.Code != api.Conflict && e.Code != api.Unprocessable && e.Code != api.QueueFull {
			return err
		}
		page, other := s.confirmRerun(c)
		if other != nil {
			return other
		}
		page.Problem, page.Typed = sentence(e.Message), req.Note
		for _, p := range e.Problems {
			page.Problem += " " + sentence(p.Message)
		}
		return s.render(c, e.Code.Status(), ConfirmMain(page), page.Base, nil)
	}
	if created {
		s.flash(c, fmt.Sprintf("Started %s #%d.", ref.Pipeline, run.Number))
	} else {
		s.flash(c, fmt.Sprintf("%s #%d runs again.", ref.Pipeline, run.Number))
	}
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
	got, err := s.taskPage(c)
	if err != nil {
		return page, err
	}
	who := actor(c)
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
	given := url.Values{}
	for name, v := range got.Task.Outputs {
		given[prefix+name] = formValues(v)
	}
	page.outputs(got.Outputs, given)
	return page, nil
}

// outputs makes a field of each declared output, with what was given.
func (p *MarkPage) outputs(declared []api.Param, given url.Values) {
	p.Fields = nil
	for i, o := range declared {
		if o.Type == "boolean" {
			o.Enum = []json.RawMessage{json.RawMessage("true"), json.RawMessage("false")}
		}
		f := field(i, o, given)
		f.Required = false // without any, those that are there stay
		p.Fields = append(p.Fields, f)
	}
}

// texts reads the outputs of the form. What is empty is not given.
func (p *MarkPage) texts(form url.Values) map[string]string {
	out := map[string]string{}
	for _, f := range p.Fields {
		values := form[prefix+f.Name]
		if f.Widget == "check" && len(values) > 0 {
			if list, err := json.Marshal(values); err == nil {
				out[f.Name] = string(list)
			}
		} else if len(values) > 0 && values[0] != "" {
			out[f.Name] = strings.ReplaceAll(values[0], "\r\n", "\n")
		}
	}
	return out
}

// again shows what was typed once more, with what is wrong beside the output that it is about.
func (p *MarkPage) again(form url.Values, e *api.Error) {
	for i := range p.Fields {
		f := &p.Fields[i]
		values := form[prefix+f.Name]
		if f.Value = ""; len(values) > 0 {
			f.Value = values[0]
		}
		for j := range f.Options {
			f.Options[j].Chosen = slices.Contains(values, f.Options[j].Value)
		}
		if strings.HasPrefix(e.Message, "output "+f.Name+" ") || strings.HasPrefix(e.Message, "output "+f.Name+":") {
			f.Error = sentence(e.Message)
		}
	}
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
	form, err := c.FormParams()
	if err != nil {
		return api.Errorf(api.Malformed, "the form cannot be read")
	}
	page, err := s.confirmMark(c)
	if err != nil {
		return err
	}
	req := api.MarkRequest{State: api.MarkRequestState(form.Get("state")), Reason: form.Get("reason"), Index: index}
	if req.State == api.MarkRequestStateSucceeded {
		req.Outputs = page.texts(form)
	}
	run, err := s.app.Mark(c.Request().Context(), actor(c), ref, name, cut(form.Get("key"), 64), req)
	if e := explain(err); e != nil {
		if e.Code != api.Conflict && e.Code != api.Unprocessable {
			return err
		}
		page.Problem, page.Typed = sentence(e.Message), req.Reason
		page.again(form, e)
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
