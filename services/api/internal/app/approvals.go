package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// Answers to a task that asks for approval.
const (
	Approved = "approved"
	Rejected = "rejected"
)

// Approvals is a page of questions that nobody has answered, oldest first.
func (a *App) Approvals(ctx context.Context, by Actor, p api.ListApprovalsParams) (api.ApprovalPage, error) {
	page := api.ApprovalPage{Items: []api.Approval{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return page, err
	}
	visible, ok := by.visible(p.Namespace)
	if !ok {
		return page, nil
	}
	var after int64
	if p.Cursor != "" {
		if after, err = parseCursorNumber(p.Cursor); err != nil {
			return page, err
		}
	}
	rows, err := a.queries().OpenApprovals(ctx, db.OpenApprovalsParams{After: after, Visible: visible, Page: int32(limit + 1)})
	if err != nil {
		return page, fmt.Errorf("list approvals: %w", err)
	}
	if len(rows) > limit {
		page.Next = cursor(strconv.FormatInt(rows[limit-1].ID, 10))
		rows = rows[:limit]
	}
	var revisions []int64
	for _, r := range rows {
		revisions = append(revisions, r.RevisionID)
	}
	defs, _, err := a.revisions.Load(ctx, a.queries(), revisions)
	if err != nil {
		return page, err
	}
	for _, r := range rows {
		x := api.Approval{
			Pipeline: r.Namespace + "/" + r.Pipeline, Run: r.Number, Task: r.Name, Prompt: r.Prompt, AskedAt: r.AskedAt.UTC(), DeadlineAt: orZero(utc(r.DeadlineAt)),
			URL: a.runURL(r.Namespace, r.Pipeline, r.Number),
		}
		ordinal, _ := flow.Split(int(r.Task))
		asking(&x, by, defs[r.RevisionID], ordinal, true)
		page.Items = append(page.Items, x)
	}
	return page, nil
}

// asking adds to a question who may answer it, and what follows from no answer
// and from a no.
func asking(x *api.Approval, by Actor, def *revision.Revision, ordinal int, open bool) {
	namespace, _, _ := strings.Cut(x.Pipeline, "/")
	x.Approvers, x.MayAnswer = []string{"role:" + string(api.RoleOperator)}, open && by.May(api.RoleOperator, namespace)
	if def == nil { // its text cannot be read any more
		return
	}
	if t := def.Graph.Task(ordinal); t != nil && t.Approval != nil {
		x.OnTimeout, x.OnReject = t.Approval.OnTimeout, t.Approval.OnReject
	}
}

// Answer decides a task that asks for approval. Of two answers the first counts.
// With a key, the same answer sent again is the one given before.
func (a *App) Answer(ctx context.Context, by Actor, ref RunRef, task, decision, key string, req api.AnswerRequest) (api.Approval, error) {
	var out api.Approval
	if err := by.need(api.RoleViewer, ""); err != nil {
		return out, err
	}
	comment, err := note("comment", req.Comment, 1000)
	if err != nil {
		return out, err
	}
	if err := checkKey(key); err != nil {
		return out, err
	}
	content, err := contentHash(decision+" "+task, req)
	if err != nil {
		return out, err
	}
	err = db.InTx(ctx, a.pool, func(q *db.Queries) error {
		row, err := a.findRun(ctx, q, by, ref)
		if err != nil {
			return err
		}
		if err := by.need(api.RoleOperator, ref.Namespace); err != nil {
			return err
		}
		def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
		if err != nil {
			return err
		}
		ordinal, err := ordinalOf(def, exactly(row), task)
		if err != nil {
			return err
		}
		if def.Graph.Task(ordinal).Approval == nil {
			return api.Errorf(api.Unprocessable, "task %s of %s does not ask for approval", task, exactly(row))
		}
		number := int32(flow.Number(ordinal))
		before, err := keyed{runScope(row.Run.ID), key, content}.take(ctx, q, &row.Run.ID)
		if err != nil {
			return err
		}
		if before == nil {
			_, err = q.DecideApproval(ctx, db.DecideApprovalParams{RunID: row.Run.ID, Number: number, Decision: decision, By: by.Name, Comment: comment})
			if err != nil && !errors.Is(err, db.ErrNoRows) {
				return fmt.Errorf("answer a question: %w", err)
			}
		}
		refused := errors.Is(err, db.ErrNoRows)
		all, err := a.questions(ctx, q, by, row, def)
		if err != nil {
			return err
		}
		question, asked := all[number]
		if refused {
			tasks, err := q.AwaitedTasks(ctx, []int64{row.Run.ID}, []int32{number})
			if err != nil {
				return fmt.Errorf("read a task: %w", err)
			}
			if len(tasks) == 1 && flow.State(tasks[0].State) == flow.Waiting && tasks[0].Reason != flow.ReasonApproval {
				question, asked = api.Approval{}, false // that one is from before a rerun
			}
			return notOpen(row, task, question, asked)
		}
		out = question
		return nil
	})
	if err == nil {
		a.notifier.Notify(db.ChannelWake)
		a.notifier.Notify(db.ChannelEvent)
	}
	return out, err
}

// notOpen says why there is nothing to answer.
func notOpen(row runRow, task string, q api.Approval, asked bool) error {
	switch {
	case q.Decision != "" && q.DecidedBy == "":
		return api.Errorf(api.Conflict, "%s of run %s was %s already, by its time-out", task, exactly(row), q.Decision)
	case q.Decision != "":
		return api.Errorf(api.Conflict, "%s of run %s was %s already, by %s", task, exactly(row), q.Decision, q.DecidedBy)
	case row.Run.EndedAt != nil:
		return api.Errorf(api.Conflict, "run %s has ended: %s", exactly(row), row.Run.State)
	case asked:
		return api.Errorf(api.Conflict, "%s of run %s was canceled", task, exactly(row))
	}
	return api.Errorf(api.Conflict, "%s of run %s does not ask yet", task, exactly(row)).WithHint("it waits for the tasks before it")
}

// questions are the last ones that tasks of a run have asked, by number.
func (a *App) questions(ctx context.Context, q *db.Queries, by Actor, row runRow, def *revision.Revision) (map[int32]api.Approval, error) {
	if !def.Graph.Asks() {
		return nil, nil
	}
	rows, err := q.ApprovalsOf(ctx, row.Run.ID)
	if err != nil {
		return nil, fmt.Errorf("read approvals: %w", err)
	}
	all := make(map[int32]api.Approval, len(rows))
	for _, r := range rows {
		ordinal, _ := flow.Split(int(r.Number))
		x := api.Approval{
			Pipeline: row.Run.Namespace + "/" + row.Run.Pipeline, Run: row.Run.Number, Task: def.Graph.Task(ordinal).Name, Prompt: r.Prompt,
			AskedAt: r.AskedAt.UTC(), DeadlineAt: orZero(utc(r.DeadlineAt)), Decision: r.Decision, DecidedAt: orZero(utc(r.DecidedAt)),
			DecidedBy: r.DecidedBy, Comment: r.Comment, URL: a.runURL(row.Run.Namespace, row.Run.Pipeline, row.Run.Number),
		}
		asking(&x, by, def, ordinal, r.Decision == "" && !r.Closed)
		all[r.Number] = x
	}
	return all, nil
}
