package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// runRow is a run as every query of runs gives it.
type runRow db.RunByIDRow

// runHead is a run without its tasks.
func (a *App) runHead(row runRow) api.Run {
	r := row.Run
	return api.Run{
		ID: r.ID, Pipeline: r.Namespace + "/" + r.Pipeline, Number: r.Number, Revision: int(row.Revision), Trigger: r.Trigger, Schedule: row.Schedule,
		State: api.RunState(r.State), Reason: r.Reason, Params: values(r.Params), Outputs: values(r.Outputs), Note: r.Note, RequestedBy: r.RequestedBy,
		ConcurrencyGroup: r.ConcurrencyGroup, ScheduledAt: r.ScheduledAt.UTC(), CreatedAt: r.CreatedAt.UTC(), StartedAt: utc(r.StartedAt), EndedAt: utc(r.EndedAt),
		CancelRequestedAt: orZero(r.CancelRequestedAt), CanceledBy: text(r.CanceledBy), CancelReason: text(r.CancelReason),
		Interval: api.Interval{Start: r.IntervalStart.UTC(), End: r.IntervalEnd.UTC()}, URL: a.runURL(r.Namespace, r.Pipeline, r.Number), Tasks: []api.Task{}, RerunOf: deref(r.RerunOf), Backfill: deref(r.BackfillID),
	}
}

// values is a JSON object by its names. What is none counts as empty: the
// database keeps only objects here.
func values(raw json.RawMessage) api.Values {
	var v api.Values
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return api.Values{}
	}
	return v
}

// Runs is a page of runs, newest first, without their tasks.
func (a *App) Runs(ctx context.Context, by Actor, p api.ListRunsParams) (api.RunPage, error) {
	page := api.RunPage{Items: []api.Run{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	f, err := a.runFilter(by, p)
	if err != nil || f.nothing {
		return page, err
	}
	q := a.queries()
	if p.Pipeline != "" {
		row, err := a.find(ctx, q, by, f.pipeline)
		if err != nil {
			return page, err
		}
		f.pipelineID = row.ID
	}
	if f.since != nil {
		if f.low, err = q.RunDayStart(ctx, *f.since); err != nil {
			return page, fmt.Errorf("read a day: %w", err)
		}
	}
	rows, err := f.page(ctx, q)
	if err != nil {
		return page, fmt.Errorf("list runs: %w", err)
	}
	for i, r := range rows {
		if i == f.limit {
			last := rows[i-1].Run
			key := last.ID
			if f.pipelineID != 0 {
				key = last.Number
			}
			page.Next = cursor(strconv.FormatInt(key, 10))
			break
		}
		page.Items = append(page.Items, a.runHead(r))
	}
	return page, nil
}

// runFilter is which runs are asked for.
func (a *App) runFilter(by Actor, p api.ListRunsParams) (runFilter, error) {
	f := runFilter{below: math.MaxInt64, low: 0, states: []string{}}
	var err error
	if f.limit, err = pageSize(p.Limit); err != nil {
		return f, err
	}
	if p.Cursor != "" {
		if f.below, err = parseCursorNumber(p.Cursor); err != nil {
			return f, err
		}
	}
	for _, s := range p.State {
		switch s {
		case api.RunStateQueued, api.RunStateRunning, api.RunStateSucceeded, api.RunStateFailed, api.RunStateCanceled, api.RunStateSkipped:
			f.states = append(f.states, string(s))
		default:
			return f, api.Errorf(api.Unprocessable, "state %s is not one of a run", show(string(s))).WithHint("queued, running, succeeded, failed, canceled, skipped")
		}
	}
	if !p.Since.IsZero() {
		f.since = &p.Since
	}
	if !p.Until.IsZero() {
		f.until = &p.Until
	}
	namespace := p.Namespace
	if p.Pipeline != "" {
		ns, name, ok := strings.Cut(p.Pipeline, "/")
		if !ok {
			ns, name = namespace, ns
			if ns == "" {
				ns = "default"
			}
		}
		if namespace != "" && namespace != ns {
			return f, api.Errorf(api.Unprocessable, "namespace %s and pipeline %s differ", show(namespace), show(p.Pipeline))
		}
		f.pipeline = PipelineRef{ns, name}
		return f, nil
	}
	visible, ok := by.visible(namespace)
	f.visible, f.nothing = visible, !ok
	return f, nil
}

type runFilter struct {
	pipeline     PipelineRef
	pipelineID   int64
	visible      []string
	nothing      bool // nothing the actor may see
	states       []string
	since, until *time.Time
	low, below   int64
	limit        int
}

// page reads a page by the index that serves its filter.
func (f runFilter) page(ctx context.Context, q *db.Queries) ([]runRow, error) {
	n := int32(f.limit + 1)
	only := func(states ...string) bool {
		return len(f.states) > 0 && !slices.ContainsFunc(f.states, func(s string) bool { return !slices.Contains(states, s) })
	}
	switch {
	case f.pipelineID != 0:
		rows, err := q.RunsOfPipeline(ctx, db.RunsOfPipelineParams{PipelineID: f.pipelineID, Below: f.below, Low: f.low, High: math.MaxInt64, States: f.states, Since: f.since, Until: f.until, Page: n})
		return asRuns(rows, err, func(r db.RunsOfPipelineRow) runRow { return runRow(r) })
	case only("queued", "running"):
		rows, err := q.OpenRunsPage(ctx, db.OpenRunsPageParams{Below: f.below, Visible: f.visible, States: f.states, Since: f.since, Until: f.until, Page: n})
		return asRuns(rows, err, func(r db.OpenRunsPageRow) runRow { return runRow(r) })
	case only("failed"):
		rows, err := q.FailedRunsPage(ctx, db.FailedRunsPageParams{Below: f.below, Low: f.low, High: math.MaxInt64, Visible: f.visible, Since: f.since, Until: f.until, Page: n})
		return asRuns(rows, err, func(r db.FailedRunsPageRow) runRow { return runRow(r) })
	default:
		rows, err := q.RunsPage(ctx, db.RunsPageParams{Below: f.below, Low: f.low, High: math.MaxInt64, Visible: f.visible, States: f.states, Since: f.since, Until: f.until, Page: n})
		return asRuns(rows, err, func(r db.RunsPageRow) runRow { return runRow(r) })
	}
}

func asRuns[T any](rows []T, err error, as func(T) runRow) ([]runRow, error) {
	out := make([]runRow, len(rows))
	for i, r := range rows {
		out[i] = as(r)
	}
	return out, err
}

// findRun finds a run that the actor may see.
func (a *App) findRun(ctx context.Context, q *db.Queries, by Actor, ref RunRef) (runRow, error) {
	p, err := a.find(ctx, q, by, ref.of())
	if err != nil {
		return runRow{}, err
	}
	var number int64
	switch ref.Run {
	case "latest", "failed":
		number, err = q.NewestRun(ctx, p.ID, ref.Run == "failed")
		if errors.Is(err, db.ErrNoRows) {
			if ref.Run == "failed" {
				return runRow{}, api.Errorf(api.NotFound, "%s has no run that failed", ref.of())
			}
			return runRow{}, api.Errorf(api.NotFound, "%s has never run", ref.of()).WithHint("synctl run %s", ref.Pipeline)
		}
		if err != nil {
			return runRow{}, fmt.Errorf("find the newest run: %w", err)
		}
	default:
		if number, err = strconv.ParseInt(ref.Run, 10, 64); err != nil || number < 1 {
			return runRow{}, api.Errorf(api.NotFound, "%s is no run of %s", show(ref.Run), ref.of()).WithHint("a number, latest or failed")
		}
	}
	row, err := q.RunByNumber(ctx, p.ID, number)
	if errors.Is(err, db.ErrNoRows) {
		return runRow{}, noRun(ctx, q, p.ID, ref, number)
	}
	if err != nil {
		return runRow{}, fmt.Errorf("find a run: %w", err)
	}
	return runRow(row), nil
}

// noRun says why there is none: its number is yet to come, or it is gone.
func noRun(ctx context.Context, q *db.Queries, pipeline int64, ref RunRef, number int64) error {
	last, err := q.LastNumber(ctx, pipeline)
	if err != nil {
		return fmt.Errorf("read the last number: %w", err)
	}
	switch {
	case last == 0:
		return api.Errorf(api.NotFound, "%s has never run", ref.of()).WithHint("synctl run %s", ref.Pipeline)
	case number <= last:
		return api.Errorf(api.Gone, "run %s is no longer kept", ref).WithHint("the newest is %s#%d; retention says how long runs stay", ref.of(), last)
	default:
		return api.Errorf(api.NotFound, "run %s does not exist; the newest is #%d", ref, last)
	}
}

// Run is a run with its tasks and their attempts.
func (a *App) Run(ctx context.Context, by Actor, ref RunRef) (api.Run, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Run{}, err
	}
	q := a.queries()
	row, err := a.findRun(ctx, q, by, ref)
	if err != nil {
		return api.Run{}, err
	}
	return a.whole(ctx, q, by, row)
}

// RunByID is Run by the id that its tasks know.
func (a *App) RunByID(ctx context.Context, by Actor, id int64) (api.Run, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Run{}, err
	}
	q := a.queries()
	row, err := q.RunByID(ctx, id)
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return api.Run{}, fmt.Errorf("find a run: %w", err)
	}
	if err != nil || !by.sees(row.Run.Namespace) {
		return api.Run{}, api.Errorf(api.NotFound, "there is no run with id %d", id)
	}
	return a.whole(ctx, q, by, runRow(row))
}

// whole is a run with the first of its tasks.
func (a *App) whole(ctx context.Context, q *db.Queries, by Actor, row runRow) (api.Run, error) {
	run := a.runHead(row)
	def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
	if err != nil {
		return run, err
	}
	page, err := a.tasks(ctx, q, by, row, def, taskFilter{high: math.MaxInt32, limit: api.MaxRunTasks})
	if err != nil {
		return run, err
	}
	run.Tasks, run.NextTasks = page.Items, page.Next
	err = a.kin(ctx, q, by, row, &run)
	return run, err
}

// Cancel asks a run to stop; asked again, it stops what the run does finally too.
func (a *App) Cancel(ctx context.Context, by Actor, ref RunRef, req api.CancelRequest) (api.Run, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Run{}, err
	}
	why, err := note("reason", req.Reason, 500)
	if err != nil {
		return api.Run{}, err
	}
	var run api.Run
	err = db.InTx(ctx, a.pool, func(q *db.Queries) error {
		row, err := a.findRun(ctx, q, by, ref)
		if err != nil {
			return err
		}
		if err := by.need(api.RoleOperator, ref.Namespace); err != nil {
			return err
		}
		_, err = q.CancelRun(ctx, db.CancelRunParams{RunID: row.Run.ID, By: by.Name, Why: why})
		if errors.Is(err, db.ErrNoRows) {
			if row, err := q.RunByID(ctx, row.Run.ID); err == nil && row.Run.EndedAt != nil {
				return api.Errorf(api.Conflict, "run %s/%s#%d has ended: %s", row.Run.Namespace, row.Run.Pipeline, row.Run.Number, row.Run.State)
			}
			return api.Errorf(api.Conflict, "run %s has ended", ref)
		}
		if err != nil {
			return fmt.Errorf("cancel a run: %w", err)
		}
		after, err := q.RunByID(ctx, row.Run.ID)
		if err != nil {
			return fmt.Errorf("read a run: %w", err)
		}
		run = a.runHead(runRow(after))
		return nil
	})
	if err == nil {
		a.notifier.Notify(db.ChannelWake)
		a.notifier.Notify(db.ChannelEvent)
	}
	return run, err
}
