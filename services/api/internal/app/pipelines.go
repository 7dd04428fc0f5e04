package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
)

// recentRuns is how many of its newest runs a pipeline shows.
const recentRuns = 14

// Pipelines is a page of pipelines, by namespace and name.
func (a *App) Pipelines(ctx context.Context, by Actor, p api.ListPipelinesParams) (api.PipelinePage, error) {
	page := api.PipelinePage{Items: []api.Pipeline{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return page, err
	}
	arg := db.ListPipelinesParams{Namespace: p.Namespace, Pattern: likePattern(p.Q), Source: p.Source, State: string(p.State), Page: int32(limit + 1)}
	switch p.State {
	case "", api.PipelineStatePaused, api.PipelineStateNever, api.PipelineStateQueued, api.PipelineStateRunning, api.PipelineStateSucceeded,
		api.PipelineStateFailed, api.PipelineStateCanceled, api.PipelineStateSkipped:
	default:
		return page, api.Errorf(api.Unprocessable, "state %s is not known", show(string(p.State))).WithHint("paused, never, queued, running, succeeded, failed, canceled, skipped")
	}
	if len(p.Label) > 0 {
		labels := map[string]string{}
		for _, l := range p.Label {
			key, value, ok := strings.Cut(l, "=")
			if !ok || key == "" {
				return page, api.Errorf(api.Unprocessable, "label %s has no value", show(l)).WithHint("write it as key=value")
			}
			labels[key] = value
		}
		b, err := json.Marshal(labels)
		if err != nil {
			return page, err
		}
		arg.Labels = string(b)
	}
	if p.Cursor != "" {
		parts, err := parseCursor(p.Cursor, 2)
		if err != nil {
			return page, err
		}
		arg.AfterNamespace, arg.AfterName = parts[0], parts[1]
	}
	visible, ok := by.visible(p.Namespace)
	if !ok {
		return page, nil
	}
	arg.Visible = visible
	q := a.queries()
	rows, err := q.ListPipelines(ctx, arg)
	if err != nil {
		return page, fmt.Errorf("list pipelines: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		page.Next = cursor(rows[limit-1].Namespace, rows[limit-1].Name)
	}
	page.Items, err = a.fill(ctx, q, rows)
	return page, err
}

// Pipeline is one pipeline, also one that was removed.
func (a *App) Pipeline(ctx context.Context, by Actor, ref PipelineRef) (api.Pipeline, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Pipeline{}, err
	}
	q := a.queries()
	p, err := a.find(ctx, q, by, ref)
	if err != nil {
		return api.Pipeline{}, err
	}
	return a.pipeline(ctx, q, p.ID)
}

func (a *App) pipeline(ctx context.Context, q *db.Queries, id int64) (api.Pipeline, error) {
	rows, err := q.ListPipelines(ctx, db.ListPipelinesParams{ID: id, Visible: []string{}, Page: 1})
	if err != nil {
		return api.Pipeline{}, fmt.Errorf("read a pipeline: %w", err)
	}
	if len(rows) == 0 {
		return api.Pipeline{}, fmt.Errorf("pipeline %d is gone", id)
	}
	list, err := a.fill(ctx, q, rows)
	if err != nil {
		return api.Pipeline{}, err
	}
	return list[0], nil
}

// likePattern is a part of a name, or a pattern with *, as SQL has it.
func likePattern(q string) string {
	if q == "" {
		return ""
	}
	escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(q)
	if strings.Contains(escaped, "*") {
		return strings.ReplaceAll(escaped, "*", "%")
	}
	return "%" + escaped + "%"
}

// fill adds what other tables know of the pipelines of a page.
func (a *App) fill(ctx context.Context, q *db.Queries, rows []db.ListPipelinesRow) ([]api.Pipeline, error) {
	ids, revisions := make([]int64, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		ids[i], revisions[i] = r.ID, r.RevisionID
	}
	defs, broken, err := a.revisions.Load(ctx, q, revisions)
	if err != nil {
		return nil, err
	}
	schedules, err := q.SchedulesOf(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read schedules: %w", err)
	}
	byPipeline := map[int64][]db.SchedulesOfRow{}
	for _, s := range schedules {
		byPipeline[s.PipelineID] = append(byPipeline[s.PipelineID], s)
	}
	recent, err := q.RecentRuns(ctx, ids, recentRuns)
	if err != nil {
		return nil, fmt.Errorf("read recent runs: %w", err)
	}
	runs := map[int64][]api.RunSummary{}
	for _, r := range recent {
		runs[r.PipelineID] = append(runs[r.PipelineID], api.RunSummary{
			ID: r.ID, Pipeline: r.Namespace + "/" + r.Pipeline, Number: r.Number, State: api.RunState(r.State), Reason: r.Reason, Trigger: r.Trigger,
			CreatedAt: r.CreatedAt.UTC(), StartedAt: utc(r.StartedAt), EndedAt: utc(r.EndedAt),
		})
	}
	out := make([]api.Pipeline, 0, len(rows))
	for _, r := range rows {
		p := api.Pipeline{
			Namespace: r.Namespace, Name: r.Name, Description: r.Description, Owner: r.Owner, Labels: map[string]string{}, Source: r.Source,
			Revision: int(r.Revision), GitCommit: r.GitCommit, Manual: true, Schedules: []api.Schedule{}, Params: []api.Param{},
			Recent: orEmpty(runs[r.ID]), Running: int(r.Running), Queued: int(r.Queued), CreatedAt: r.CreatedAt.UTC(), RemovedAt: orZero(r.RemovedAt),
			URL: a.pipelineURL(r.Namespace, r.Name),
		}
		if err := json.Unmarshal(r.Labels, &p.Labels); err != nil {
			return nil, fmt.Errorf("read labels of %s: %w", r.Name, err)
		}
		if r.PausedAt != nil {
			p.Paused = &api.Pause{At: r.PausedAt.UTC(), By: text(r.PausedBy), Reason: text(r.PauseReason), Until: utc(r.PausedUntil)}
		}
		if len(p.Recent) > 0 {
			p.LastRun = &p.Recent[0]
		}
		if def := defs[r.RevisionID]; def != nil {
			describe(&p, def.Graph.Pipeline(), byPipeline[r.ID])
		} else {
			a.log.WarnContext(ctx, "a stored definition cannot be read", "pipeline", r.Namespace+"/"+r.Name, "err", broken[r.RevisionID])
		}
		out = append(out, p)
	}
	return out, nil
}

// describe adds what the definition says.
func describe(p *api.Pipeline, def *pipeline.Pipeline, rows []db.SchedulesOfRow) {
	p.Manual = def.Manual
	for _, s := range def.Schedules {
		item := api.Schedule{ID: s.ID, Text: ruleText(s), Timezone: s.Timezone, Catchup: s.Catchup}
		for _, row := range rows {
			if row.Name == s.ID && row.EndedAt == nil && p.RemovedAt.IsZero() {
				item.NextTick, item.Broken = utc(row.NextAt), text(row.Broken)
				if row.NextAt != nil {
					p.NextTick = earlier(p.NextTick, *row.NextAt)
				}
			}
		}
		p.Schedules = append(p.Schedules, item)
	}
	for _, param := range def.Params {
		p.Params = append(p.Params, describeParam(param))
	}
}

// Pause holds back the ticks of a pipeline from now on.
func (a *App) Pause(ctx context.Context, by Actor, ref PipelineRef, req api.PauseRequest) (api.Pipeline, error) {
	reason, err := note("reason", req.Reason, 500)
	if err != nil {
		return api.Pipeline{}, err
	}
	if reason == "" {
		return api.Pipeline{}, api.Errorf(api.Unprocessable, "a pause needs a reason: whoever finds it asks why").WithHint("--reason TEXT")
	}
	return a.change(ctx, by, ref, "paused", reason, func(q *db.Queries, p db.FindPipelineRow) error {
		arg := db.PausePipelineParams{ID: p.ID, By: by.Name, Reason: reason}
		if !req.Until.IsZero() {
			if !req.Until.After(p.Now) {
				return api.Errorf(api.Unprocessable, "until %s has passed", req.Until.UTC().Format(time.RFC3339))
			}
			arg.Until = &req.Until
		}
		return q.PausePipeline(ctx, arg)
	})
}

// Resume lets the ticks of a pipeline run again. What was due meanwhile is
// decided, and stays so; a catch-up makes it up by a backfill.
func (a *App) Resume(ctx context.Context, by Actor, ref PipelineRef, req api.ResumeRequest) (api.Pipeline, error) {
	switch req.Catchup {
	case "", api.ResumeRequestCatchupNone, api.ResumeRequestCatchupLatest, api.ResumeRequestCatchupAll:
	default:
		return api.Pipeline{}, api.Errorf(api.Unprocessable, "catchup %s is not known", show(string(req.Catchup))).WithHint("none, latest or all")
	}
	out, err := a.change(ctx, by, ref, "resumed", "", func(q *db.Queries, p db.FindPipelineRow) error {
		return a.resume(ctx, q, by, p, req.Catchup)
	})
	if db.Constraint(err) == "backfill_overlap" {
		return out, api.Errorf(api.Conflict, "a backfill of %s makes runs for ticks of this pause already", ref).WithHint("resume without catchup")
	}
	return out, err
}

// change does something to a pipeline while none of its ticks is being decided.
func (a *App) change(ctx context.Context, by Actor, ref PipelineRef, state, cause string, do func(*db.Queries, db.FindPipelineRow) error) (api.Pipeline, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Pipeline{}, err
	}
	var out api.Pipeline
	err := db.InTx(ctx, a.pool, func(q *db.Queries) error {
		p, err := a.find(ctx, q, by, ref)
		if err != nil {
			return err
		}
		if err := by.need(api.RoleOperator, ref.Namespace); err != nil {
			return err
		}
		if p.RemovedAt != nil {
			return errRemoved(ref)
		}
		if _, err := q.LockSchedulesOf(ctx, []int64{p.ID}); err != nil {
			return fmt.Errorf("lock schedules: %w", err)
		}
		if err := do(q, p); err != nil {
			return err
		}
		if err := event(ctx, q, by, "pipeline", p.ID, p.ID, state, cause); err != nil {
			return err
		}
		out, err = a.pipeline(ctx, q, p.ID)
		return err
	})
	if err == nil {
		a.notifier.Notify(db.ChannelSchedule)
		a.notifier.Notify(db.ChannelEvent)
	}
	return out, err
}

func errRemoved(ref PipelineRef) *api.Error {
	return api.Errorf(api.Conflict, "pipeline %s was removed from its source; its runs are kept", ref).WithHint("register it again")
}

// Revisions is a page of a pipeline's revisions, newest first.
func (a *App) Revisions(ctx context.Context, by Actor, ref PipelineRef, p api.ListRevisionsParams) (api.RevisionPage, error) {
	page := api.RevisionPage{Items: []api.Revision{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return page, err
	}
	below := int64(math.MaxInt32)
	if p.Cursor != "" {
		if below, err = parseCursorNumber(p.Cursor); err != nil {
			return page, err
		}
	}
	q := a.queries()
	row, err := a.find(ctx, q, by, ref)
	if err != nil {
		return page, err
	}
	rows, err := q.ListRevisions(ctx, db.ListRevisionsParams{PipelineID: row.ID, Below: int32(min(below, math.MaxInt32)), Page: int32(limit + 1)})
	if err != nil {
		return page, fmt.Errorf("list revisions: %w", err)
	}
	for i, r := range rows {
		if i == limit {
			page.Next = cursor(strconv.Itoa(int(rows[i-1].Number)))
			break
		}
		page.Items = append(page.Items, api.Revision{Number: int(r.Number), CreatedAt: r.CreatedAt.UTC(), Author: r.Author, GitCommit: r.GitCommit, File: r.File, Line: int(r.Line)})
	}
	return page, nil
}

// Revision is one revision with its text; its number, or latest.
func (a *App) Revision(ctx context.Context, by Actor, ref PipelineRef, number string) (api.Revision, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Revision{}, err
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if number == "latest" {
		n, err = 0, nil
	} else if err == nil && n < 1 {
		err = strconv.ErrRange
	}
	if err != nil {
		return api.Revision{}, api.Errorf(api.NotFound, "%s is no revision of %s", show(number), ref).WithHint("a number, or latest")
	}
	q := a.queries()
	p, err := a.find(ctx, q, by, ref)
	if err != nil {
		return api.Revision{}, err
	}
	r, err := q.GetRevision(ctx, p.ID, int32(n))
	if errors.Is(err, db.ErrNoRows) {
		newest, err := q.GetRevision(ctx, p.ID, 0)
		if err != nil {
			return api.Revision{}, fmt.Errorf("read a revision: %w", err)
		}
		return api.Revision{}, api.Errorf(api.NotFound, "%s has no revision %d; the newest is %d", ref, n, newest.Number)
	}
	if err != nil {
		return api.Revision{}, fmt.Errorf("read a revision: %w", err)
	}
	return api.Revision{
		Number: int(r.Number), CreatedAt: r.CreatedAt.UTC(), Author: r.Author, GitCommit: r.GitCommit, File: r.File, Line: int(r.Line),
		Text: r.SourceText, Spec: r.Spec,
	}, nil
}
