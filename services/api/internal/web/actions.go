package web

import (
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// cancelPage asks before a run is canceled.
func (s *Server) cancelPage(c echo.Context) error {
	page, err := s.confirmCancel(c)
	if err != nil {
		return s.orDefault(c, err)
	}
	return s.render(c, http.StatusOK, ConfirmMain(page), page.Base, nil)
}

func (s *Server) confirmCancel(c echo.Context) (ConfirmPage, error) {
	var page ConfirmPage
	who := actor(c)
	got, err := s.app.RunPage(c.Request().Context(), who, runRef(c), "", "")
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, got.Head, "", "pipelines")
	ref := refOf(got.Run.Pipeline, page.Many)
	page.Ref, page.Number = ref, got.Run.Number
	page.Title = fmt.Sprintf("Cancel %s #%d", ref, got.Run.Number)
	page.Heading, page.Button, page.Danger = page.Title+"?", "Cancel the run", true
	page.Action, page.Back = ref.Act(got.Run.Number, "cancel"), ref.Run(got.Run.Number)
	page.Reason, page.May = "Reason", may(who, api.RoleOperator, ref.Namespace)
	page.Command = fmt.Sprintf("synctl cancel %s#%d", ref.Command(), got.Run.Number)
	if got.Run.EndedAt != nil {
		page.Sentence = []string{"The run has ended: " + runLook(got.Run.State, got.Run.Reason).Word + ". There is nothing left to cancel."}
		page.Button = ""
		return page, nil
	}
	running, rest := 0, 0
	for _, t := range got.Run.Tasks {
		switch {
		case t.State == api.TaskStateRunning:
			running++
			if len(page.Names) < 20 {
				page.Names = append(page.Names, t.Name)
			}
		case t.EndedAt == nil && !t.Finally:
			rest++
		}
	}
	page.Sentence = []string{fmt.Sprintf("%s will be stopped, %d will not start.", plural(running, "running task"), rest), "Tasks under finally still run."}
	if !got.Run.CancelRequestedAt.IsZero() {
		page.Sentence = []string{"It was asked to stop already. Asked again, it stops its finally tasks too."}
		page.Button = "Stop finally too"
	}
	return page, nil
}

func (s *Server) cancel(c echo.Context) error {
	ref := runRef(c)
	run, err := s.app.Cancel(c.Request().Context(), actor(c), ref, api.CancelRequest{Reason: c.FormValue("reason")})
	if e := explain(err); e != nil {
		if e.Code != api.Conflict && e.Code != api.Unprocessable {
			return err
		}
		page, other := s.confirmCancel(c)
		if other != nil {
			return other
		}
		page.Problem, page.Typed = sentence(e.Message), c.FormValue("reason")
		return s.render(c, e.Code.Status(), ConfirmMain(page), page.Base, nil)
	}
	s.flash(c, fmt.Sprintf("%s #%d was asked to stop.", ref.Pipeline, run.Number))
	return c.Redirect(http.StatusSeeOther, refOf(run.Pipeline, false).Run(run.Number))
}

// pausePage asks why a pipeline is to be paused.
func (s *Server) pausePage(c echo.Context) error {
	page, err := s.confirmPause(c)
	if err != nil {
		return s.orDefault(c, err)
	}
	return s.render(c, http.StatusOK, ConfirmMain(page), page.Base, nil)
}

func (s *Server) confirmPause(c echo.Context) (ConfirmPage, error) {
	var page ConfirmPage
	ctx, who := c.Request().Context(), actor(c)
	p, err := s.app.Pipeline(ctx, who, pipelineRef(c))
	if err != nil {
		return page, err
	}
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return page, err
	}
	page.Base = s.base(c, head, "Pause "+p.Name, "pipelines")
	ref := Ref{p.Namespace, p.Name, page.Many}
	page.Ref, page.Heading, page.Button = ref, "Pause "+ref.String(), "Pause"
	page.Action, page.Back = ref.URL("pause"), ref.URL()
	page.Sentence = []string{"Its ticks are skipped until it is resumed. Runs that go on now go on, and runs by hand still start."}
	page.Reason, page.Required, page.Until, page.May = "Reason", true, true, may(who, api.RoleOperator, p.Namespace)
	page.Command = "synctl pause " + ref.Command() + " --reason TEXT"
	return page, nil
}

func (s *Server) pause(c echo.Context) error {
	ctx, who, name := c.Request().Context(), actor(c), pipelineRef(c)
	req := api.PauseRequest{Reason: c.FormValue("reason")}
	until := c.FormValue("until")
	var problem *api.Error
	if until != "" {
		zone := s.zoneOf(c)
		t, err := time.ParseInLocation("2006-01-02T15:04", until, zone)
		if err != nil || t.In(zone).Format("2006-01-02T15:04") != until {
			problem = api.Errorf(api.Unprocessable, "%s is no time in %s", tidy(cut(until, 40)), zone)
		}
		req.Until = t
	}
	if problem == nil {
		_, err := s.app.Pause(ctx, who, name, req)
		if err == nil {
			s.flash(c, name.Name+" is paused.")
			return c.Redirect(http.StatusSeeOther, Ref{Namespace: name.Namespace, Name: name.Name}.URL())
		}
		problem = explain(err)
		if problem.Code != api.Unprocessable && problem.Code != api.Conflict {
			return err
		}
	}
	page, err := s.confirmPause(c)
	if err != nil {
		return err
	}
	page.Problem, page.Typed, page.UntilAt = sentence(problem.Message), req.Reason, until
	return s.render(c, problem.Code.Status(), ConfirmMain(page), page.Base, nil)
}

func (s *Server) resume(c echo.Context) error {
	name := pipelineRef(c)
	if _, err := s.app.Resume(c.Request().Context(), actor(c), name, api.ResumeRequest{}); err != nil {
		return err
	}
	s.flash(c, name.Name+" goes on: its next ticks run again.")
	return c.Redirect(http.StatusSeeOther, Ref{Namespace: name.Namespace, Name: name.Name}.URL())
}
