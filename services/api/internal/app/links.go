package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// maxFollowUps is how many triggers a run tells of; a pipeline that starts more
// is told of in part.
const maxFollowUps = 200

// kin adds to a run those that it comes from and those that its end has started,
// as far as the actor may see them.
func (a *App) kin(ctx context.Context, q *db.Queries, by Actor, row runRow, run *api.Run) error {
	var err error
	if run.Parent, err = a.caller(ctx, q, by, row); err != nil {
		return err
	}
	if run.TriggeredBy, err = upstream(ctx, q, by, row.Run.ID); err != nil {
		return err
	}
	if row.Run.EndedAt != nil {
		run.FollowUps, err = followUps(ctx, q, by, row)
	}
	return err
}

// caller is the run and the task that called a run; nil: nobody did.
func (a *App) caller(ctx context.Context, q *db.Queries, by Actor, row runRow) (*api.RunLink, error) {
	if row.Run.ParentRunID == nil || row.Run.ParentNumber == nil {
		return nil, nil
	}
	r, err := q.CallerOf(ctx, *row.Run.ParentNumber, *row.Run.ParentRunID)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil // it is no longer kept
	}
	if err != nil {
		return nil, fmt.Errorf("read the run that called: %w", err)
	}
	if !by.sees(r.Namespace) {
		return nil, nil
	}
	link := &api.RunLink{Pipeline: r.Namespace + "/" + r.Pipeline, Number: r.Number, State: r.State, Task: r.Name}
	if _, index := flow.Split(int(r.TaskNumber)); index >= 0 {
		link.Task = fmt.Sprintf("%s[%d]", r.Name, index)
	}
	return link, nil
}

// upstream is the run whose end a trigger answered with a run; nil: there is none.
func upstream(ctx context.Context, q *db.Queries, by Actor, run int64) (*api.RunLink, error) {
	r, err := q.UpstreamOf(ctx, &run)
	if errors.Is(err, db.ErrNoRows) || err == nil && !by.sees(r.Namespace) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the run that started one: %w", err)
	}
	return &api.RunLink{Pipeline: r.Namespace + "/" + r.Pipeline, Number: r.Number, State: r.State}, nil
}

// followUps are what triggers made of the end of a run: the runs that it started,
// those that are yet to be made, and those that were dropped and not made since.
func followUps(ctx context.Context, q *db.Queries, by Actor, row runRow) ([]api.FollowUp, error) {
	type key struct {
		pipeline int64
		ordinal  int16
	}
	visible, _ := by.visible("")
	made, err := q.FollowUpsOf(ctx, db.FollowUpsOfParams{RunID: row.Run.ID, Visible: visible, Page: maxFollowUps})
	if err != nil {
		return nil, fmt.Errorf("read what the end of a run started: %w", err)
	}
	var list []api.FollowUp
	asked := map[key]bool{}
	for _, r := range made {
		asked[key{r.PipelineID, r.Ordinal}] = true
		list = append(list, api.FollowUp{Pipeline: r.Namespace + "/" + r.Pipeline, Number: r.Number, State: r.State, At: r.AskedAt.UTC()})
	}
	dropped, err := q.DroppedOf(ctx, db.DroppedOfParams{RunID: row.Run.ID, Since: row.Run.CreatedAt.UTC(), Visible: visible, Page: maxFollowUps})
	if err != nil {
		return nil, fmt.Errorf("read what the end of a run did not start: %w", err)
	}
	for _, r := range dropped {
		if !asked[key{r.PipelineID, r.Ordinal}] {
			list = append(list, api.FollowUp{Pipeline: r.Namespace + "/" + r.Pipeline, Dropped: r.Reason, At: r.At.UTC()})
		}
	}
	slices.SortStableFunc(list, func(a, b api.FollowUp) int { return cmp.Compare(a.Pipeline, b.Pipeline) })
	return list, nil
}

// linked adds to the tasks of a run what they ask, and the runs that they have
// called. numbers are those of the tasks.
func (a *App) linked(ctx context.Context, q *db.Queries, by Actor, row runRow, def *revision.Revision, tasks []api.Task, numbers []int32) error {
	if len(tasks) == 0 || !def.Graph.Asks() && !def.Graph.Calls() {
		return nil
	}
	questions, err := a.questions(ctx, q, by, row, def)
	if err != nil {
		return err
	}
	children := map[int32]api.RunLink{}
	if def.Graph.Calls() {
		rows, err := q.ChildrenOf(ctx, db.ChildrenOfParams{RunID: row.Run.ID, Low: slices.Min(numbers), High: slices.Max(numbers)})
		if err != nil {
			return fmt.Errorf("read child runs: %w", err)
		}
		for _, r := range rows {
			if by.sees(r.Namespace) {
				children[r.ParentNumber] = api.RunLink{Pipeline: r.Namespace + "/" + r.Pipeline, Number: r.Number, State: r.State}
			}
		}
	}
	for i, n := range numbers {
		if x, ok := questions[n]; ok {
			tasks[i].Approval = &x
		}
		if x, ok := children[n]; ok {
			tasks[i].Child = &x
		}
	}
	return nil
}
