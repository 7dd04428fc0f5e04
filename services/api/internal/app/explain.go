package app

import (
	"context"
	"strconv"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/explain"
)

// ExplainPipeline says why a pipeline does not run, or that nothing keeps it.
func (a *App) ExplainPipeline(ctx context.Context, by Actor, ref PipelineRef) (api.Explanation, error) {
	return a.explain(ctx, by, func(q *db.Queries, x *explain.Explainer) (api.Explanation, error) {
		p, err := a.find(ctx, q, by, ref)
		if err != nil {
			return api.Explanation{}, err
		}
		return x.Pipeline(ctx, p.ID)
	})
}

// ExplainRun says why a run does not go on.
func (a *App) ExplainRun(ctx context.Context, by Actor, ref RunRef) (api.Explanation, error) {
	return a.explain(ctx, by, func(q *db.Queries, x *explain.Explainer) (api.Explanation, error) {
		row, err := a.findRun(ctx, q, by, ref)
		if err != nil {
			return api.Explanation{}, err
		}
		return x.Run(ctx, row.Run.ID)
	})
}

// ExplainTask says why a task of a run, or an item of it as in load[3], does not
// run.
func (a *App) ExplainTask(ctx context.Context, by Actor, ref RunRef, task string) (api.Explanation, error) {
	return a.explain(ctx, by, func(q *db.Queries, x *explain.Explainer) (api.Explanation, error) {
		name, index, err := splitItem(task)
		if err != nil {
			return api.Explanation{}, err
		}
		row, number, err := a.findTask(ctx, q, by, ref, name, index)
		if err != nil {
			return api.Explanation{}, err
		}
		return x.Task(ctx, row.Run.ID, int(number))
	})
}

// pageWhy explains a run, or the one of its tasks that the page is asked for if
// that has not ended.
func (a *App) pageWhy(ctx context.Context, by Actor, run api.Run, task string) (api.Explanation, error) {
	return a.explain(ctx, by, func(_ *db.Queries, x *explain.Explainer) (api.Explanation, error) {
		for i, t := range run.Tasks {
			if t.Name == task && t.EndedAt == nil && t.Items == nil {
				return x.Task(ctx, run.ID, flow.Number(i))
			}
		}
		return x.Run(ctx, run.ID)
	})
}

// explain answers from one snapshot: what is read in several statements belongs
// together.
func (a *App) explain(ctx context.Context, by Actor, answer func(*db.Queries, *explain.Explainer) (api.Explanation, error)) (api.Explanation, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Explanation{}, err
	}
	var out api.Explanation
	err := db.InSnapshot(ctx, a.pool, func(q *db.Queries) (err error) {
		out, err = answer(q, explain.New(q, a.revisions, by.sees))
		return err
	})
	return out, err
}

// splitItem takes load[3] apart; without an item the index is nil.
func splitItem(task string) (name string, index *int, err error) {
	name, rest, ok := strings.Cut(task, "[")
	if !ok {
		return task, nil, nil
	}
	n, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	if err != nil || !strings.HasSuffix(rest, "]") || n < 0 {
		return "", nil, api.Errorf(api.NotFound, "%s is no task and no item of one", show(task)).WithHint("an item is named by its index: %s[0]", printable(name, 64))
	}
	return name, &n, nil
}
