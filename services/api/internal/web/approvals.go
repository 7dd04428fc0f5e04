package web

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// ApprovalsPage is the list of questions that wait for a person.
type ApprovalsPage struct {
	Base
	List ApprovalList
}

// ApprovalList is the region #approvals.
type ApprovalList struct {
	Rows  []Ask
	More  string // address of the next page
	Later bool   // it is not the first page
	Zone  string
	Live  string // its stream
}

// An Ask is a question of a task, with the form that answers it. Text that was
// typed stays only where the whole page is an answer to that.
type Ask struct {
	Ref       Ref
	Number    int64
	Task      string
	URL       string // of the page that asks it
	Prompt    string
	Asked     Moment
	Until     *Moment
	Otherwise string // what follows from no answer
	No        string // what follows from a no
	Who       string // who may answer
	May       May
	Key       string // makes a form that is sent twice one answer
	From      string // where the reader comes from, and is led back to
	Problem   string
	Typed     string
	Commands  []string
	// Of one that is not open any more: how it came out, or why it stays without an answer.
	Look    Look
	Closed  string
	At      *Moment
	Comment string
}

// Open tells whether it may still be answered.
func (a Ask) Open() bool { return a.Closed == "" }

// AskList is the region #run-ask: the open questions of a run, or that of a task.
type AskList struct {
	Asks []Ask
	More int    // that are not shown
	Key  string // which they are; a form is not sent again while it stays the same
}

// AnswerPage asks one question.
type AnswerPage struct {
	Base
	Ask  Ask
	Back string
}

// maxAsks is how many questions the page of a run shows.
const maxAsks = 10

// fromList leads back to the list of approvals.
const fromList = "approvals"

// approvals lists the questions that nobody has answered.
func (s *Server) approvals(c echo.Context) error {
	p, err := s.approvalsPage(c)
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, ApprovalsMain(p), p.Base, regions{"approvals": Approvals(p.List)})
}

func (s *Server) approvalsPage(c echo.Context) (ApprovalsPage, error) {
	var p ApprovalsPage
	if err := known(c, "after"); err != nil {
		return p, err
	}
	ctx, who, after := c.Request().Context(), actor(c), c.QueryParam("after")
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return p, err
	}
	list, err := s.app.Approvals(ctx, who, api.ListApprovalsParams{Cursor: after, Limit: listPage})
	if err != nil {
		return p, err
	}
	p.Base = s.base(c, head, "Approvals", "approvals")
	p.JSON, p.Command = "/api/v1/approvals"+query("cursor", after), "synctl approvals"
	p.Live = "/events" + query("page", "approvals", "after", after)
	p.List = ApprovalList{Later: after != "", Zone: p.zone(), Live: p.Live}
	for _, a := range list.Items {
		x := ask(p.Base, who, a, api.TaskStateWaiting)
		x.URL += query("from", fromList)
		p.List.Rows = append(p.List.Rows, x)
	}
	if list.Next != "" {
		p.List.More = "/approvals" + query("after", list.Next)
	}
	return p, nil
}

// ask is a question as pages show it. state is that of its task.
func ask(b Base, who app.Actor, a api.Approval, state api.TaskState) Ask {
	ref := refOf(a.Pipeline, b.Many)
	x := Ask{
		Ref: ref, Number: a.Run, Task: a.Task, URL: ref.Run(a.Run, a.Task, "answer"), Prompt: tidy(cut(strings.TrimSpace(a.Prompt), 10<<10)), Asked: b.ago(a.AskedAt),
		May: may(who, api.RoleOperator, ref.Namespace), Look: lookAsk, Comment: tidy(a.Comment),
	}
	run := shellWord(fmt.Sprintf("%s#%d", ref.Command(), a.Run)) + " " + shellWord(a.Task)
	x.Commands = []string{"synctl approve " + run, "synctl reject " + run}
	var by []string
	for _, w := range a.Approvers {
		by = append(by, strings.Replace(w, "role:", "role ", 1)+" in "+ref.Namespace)
	}
	x.Who = strings.Join(by, ", ")
	if !a.DeadlineAt.IsZero() {
		x.Until = b.maybe(&a.DeadlineAt)
		switch a.OnTimeout {
		case "approve":
			x.Otherwise = "then it is approved"
		case "reject":
			x.Otherwise = "then it is rejected"
		}
	}
	switch a.OnReject {
	case "fail":
		x.No = "A no fails the task."
	case "skip":
		x.No = "A no skips the task."
	case "continue":
		x.No = "After a no the run goes on and may read the decision."
	}
	switch {
	case a.Decision != "":
		x.Closed, x.At = a.Decision+" by "+tidy(cut(a.DecidedBy, 80)), b.maybe(&a.DecidedAt)
		if a.DecidedBy == "" {
			x.Closed = a.Decision + ": nobody answered in time"
		}
		x.Look = lookSucceeded
		if a.Decision == app.Rejected {
			x.Look = lookFailed
		}
	case state != api.TaskStateWaiting:
		x.Closed, x.Look = "nobody answered: the task is "+string(state), lookCanceled
	}
	return x
}

// asks are the open questions of tasks, to be answered on a page.
func asks(b Base, who app.Actor, tasks []api.Task) AskList {
	var l AskList
	for _, t := range tasks {
		if t.Approval == nil || t.Approval.Decision != "" || t.State != api.TaskStateWaiting {
			continue
		}
		l.Key += t.Name + "@" + strconv.FormatInt(t.Approval.AskedAt.UnixMilli(), 36) + " "
		if len(l.Asks) == maxAsks {
			l.More++
			continue
		}
		x := ask(b, who, *t.Approval, t.State)
		x.Key = rand.Text()
		l.Asks = append(l.Asks, x)
	}
	l.Key = strings.TrimSuffix(l.Key, " ")
	return l
}

// answerPage shows one question.
func (s *Server) answerPage(c echo.Context) error {
	page, err := s.question(c, c.QueryParam("from"))
	if err != nil {
		return s.orDefault(c, err)
	}
	return s.render(c, http.StatusOK, AnswerMain(page), page.Base, nil)
}

func (s *Server) question(c echo.Context, from string) (AnswerPage, error) {
	var page AnswerPage
	if err := known(c, "from"); err != nil {
		return page, err
	}
	got, err := s.taskPage(c)
	if err != nil {
		return page, err
	}
	name := got.Task.Name
	page.Base = s.base(c, got.Head, "", "pipelines")
	ref := refOf(got.Run.Pipeline, page.Many)
	if got.Task.Approval == nil {
		return page, api.Errorf(api.NotFound, "%s of run %s#%d asks nothing", name, ref, got.Run.Number).WithHint("it may not have come to that yet, or it is no approval")
	}
	page.Ask = ask(page.Base, actor(c), *got.Task.Approval, got.Task.State)
	page.Ask.Key, page.Back = rand.Text(), ref.Run(got.Run.Number)
	if from == fromList {
		page.Nav, page.Ask.From, page.Back = fromList, from, "/approvals"
	}
	page.Title, page.Symbol = fmt.Sprintf("%s asks · %s #%d", name, ref, got.Run.Number), page.Ask.Look.Symbol
	page.Command = page.Ask.Commands[0]
	return page, nil
}

// answer approves or rejects. Whoever was slower reads who was faster.
func (s *Server) answer(c echo.Context) error {
	name, _, err := taskRef(c)
	if err != nil {
		return err
	}
	decision, comment, from := c.FormValue("decision"), c.FormValue("comment"), c.FormValue("from")
	refused := api.Errorf(api.Unprocessable, "approved or rejected?")
	if decision == app.Approved || decision == app.Rejected {
		a, err := s.app.Answer(c.Request().Context(), actor(c), runRef(c), name, decision, c.FormValue("key"), api.AnswerRequest{Comment: comment})
		if err == nil {
			s.flash(c, fmt.Sprintf("%s of %s #%d is %s.", a.Task, refOf(a.Pipeline, false), a.Run, a.Decision))
			if from == fromList {
				return c.Redirect(http.StatusSeeOther, "/approvals")
			}
			return c.Redirect(http.StatusSeeOther, refOf(a.Pipeline, false).Run(a.Run))
		}
		if refused = explain(err); refused.Code != api.Conflict && refused.Code != api.Unprocessable {
			return err
		}
	}
	page, err := s.question(c, from)
	if err != nil {
		return err
	}
	page.Ask.Problem, page.Ask.Typed = sentence(refused.Message), comment
	return s.render(c, refused.Code.Status(), AnswerMain(page), page.Base, nil)
}

// answered says on one line how a question came out.
func answered(a api.Approval) string {
	if a.Decision == "" {
		return ""
	}
	words := a.Decision + ": nobody answered in time"
	if a.DecidedBy != "" {
		words = a.Decision + " by " + tidy(cut(a.DecidedBy, 60))
	}
	if a.Comment != "" {
		words += " “" + tidy(cut(strings.ReplaceAll(a.Comment, "\n", " "), 120)) + "”"
	}
	return words
}

// questionWords are a question on one line.
func questionWords(prompt string) string {
	first, _, more := strings.Cut(strings.TrimSpace(prompt), "\n")
	line := cut(first, 120)
	if more && line == first {
		line += " …"
	}
	return tidy(line)
}
