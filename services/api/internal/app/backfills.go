package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// Backfills is a page of backfills, newest first.
func (a *App) Backfills(ctx context.Context, by Actor, p api.ListBackfillsParams) (api.BackfillPage, error) {
	page := api.BackfillPage{Items: []api.Backfill{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return page, err
	}
	arg := db.ListBackfillsParams{Below: math.MaxInt64, State: string(p.State), Page: int32(limit + 1)}
	switch p.State {
	case "", api.ListBackfillsParamsStateRunning, api.ListBackfillsParamsStatePaused, api.ListBackfillsParamsStateCanceled, api.ListBackfillsParamsStateDone:
	default:
		return page, api.Errorf(api.Unprocessable, "state %s is not one of a backfill", show(string(p.State))).WithHint("running, paused, canceled or done")
	}
	if p.Cursor != "" {
		if arg.Below, err = parseCursorNumber(p.Cursor); err != nil {
			return page, err
		}
	}
	q := a.queries()
	if p.Pipeline != "" {
		ns, name, ok := strings.Cut(p.Pipeline, "/")
		if !ok {
			ns, name = p.Namespace, ns
			if ns == "" {
				ns = "default"
			}
		}
		row, err := a.find(ctx, q, by, PipelineRef{ns, name})
		if err != nil {
			return page, err
		}
		arg.PipelineID = row.ID
	}
	visible, ok := by.visible(p.Namespace)
	if !ok {
		return page, nil
	}
	arg.Visible = visible
	rows, err := q.ListBackfills(ctx, arg)
	if err != nil {
		return page, fmt.Errorf("list backfills: %w", err)
	}
	for i, row := range rows {
		if i == limit {
			page.Next = cursor(strconv.FormatInt(rows[i-1].Backfill.ID, 10))
			break
		}
		b, err := a.backfill(ctx, q, row)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, b)
	}
	return page, nil
}

// Backfill is one backfill with a page of its ticks.
func (a *App) Backfill(ctx context.Context, by Actor, id int64, p api.GetBackfillParams) (api.Backfill, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Backfill{}, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return api.Backfill{}, err
	}
	switch p.Tick {
	case "", api.GetBackfillParamsTickWaiting, api.GetBackfillParamsTickOpen, api.GetBackfillParamsTickSucceeded, api.GetBackfillParamsTickFailed,
		api.GetBackfillParamsTickCanceled, api.GetBackfillParamsTickSkipped, api.GetBackfillParamsTickPassed:
	default:
		return api.Backfill{}, api.Errorf(api.Unprocessable, "tick %s is not a state of one", show(string(p.Tick))).WithHint("waiting, open, succeeded, failed, canceled, skipped or passed")
	}
	before := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if p.Cursor != "" {
		parts, err := parseCursor(p.Cursor, 1)
		if err != nil {
			return api.Backfill{}, err
		}
		if before, err = time.Parse(time.RFC3339Nano, parts[0]); err != nil {
			return api.Backfill{}, errCursor()
		}
	}
	q := a.queries()
	row, err := a.findBackfill(ctx, q, by, id)
	if err != nil {
		return api.Backfill{}, err
	}
	out, err := a.backfill(ctx, q, row)
	if err != nil {
		return out, err
	}
	ticks, err := q.TicksOfBackfill(ctx, db.TicksOfBackfillParams{BackfillID: id, Before: before, State: string(p.Tick), Page: int32(limit + 1)})
	if err != nil {
		return out, fmt.Errorf("read ticks of a backfill: %w", err)
	}
	zone, err := time.LoadLocation(out.Timezone)
	if err != nil {
		zone = time.UTC
	}
	out.Items = []api.BackfillTick{}
	for i, t := range ticks {
		if i == limit {
			out.Next = cursor(ticks[i-1].FireAt.UTC().Format(time.RFC3339Nano))
			break
		}
		item := api.BackfillTick{At: t.FireAt.UTC(), Local: t.FireAt.In(zone).Format("2006-01-02T15:04"), State: t.State, Detail: t.Detail}
		if t.Number != nil {
			item.RunNumber, item.Run, item.RunState = *t.Number, fmt.Sprintf("%s#%d", out.Pipeline, *t.Number), *t.RunState
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

func (a *App) findBackfill(ctx context.Context, q *db.Queries, by Actor, id int64) (db.ListBackfillsRow, error) {
	rows, err := q.ListBackfills(ctx, db.ListBackfillsParams{Below: math.MaxInt64, ID: id, Visible: []string{}, Page: 1})
	if err != nil {
		return db.ListBackfillsRow{}, fmt.Errorf("find a backfill: %w", err)
	}
	if len(rows) == 0 || !by.sees(rows[0].Namespace) {
		return db.ListBackfillsRow{}, api.Errorf(api.NotFound, "there is no backfill %d", id).WithHint("synctl backfill ls")
	}
	return rows[0], nil
}

func (a *App) backfill(ctx context.Context, q *db.Queries, row db.ListBackfillsRow) (api.Backfill, error) {
	b := row.Backfill
	out := api.Backfill{
		ID: b.ID, Pipeline: row.Namespace + "/" + row.Pipeline, Schedule: row.Schedule, Timezone: "UTC", From: b.FromAt.UTC(), Until: b.UntilAt.UTC(),
		Where: b.Which, Order: "oldest", Max: int(b.Most), PoolShare: int(b.PoolShare), Params: values(b.Params), Note: b.Note, RequestedBy: b.RequestedBy,
		State: api.BackfillState(b.State), Reason: b.Reason, CreatedAt: b.CreatedAt.UTC(), EndedAt: orZero(utc(b.EndedAt)),
		Ticks: int(b.Ticks), Waiting: int(b.Waiting), Open: int(b.Open), Succeeded: int(b.Succeeded), Failed: int(b.Failed), Canceled: int(b.Canceled),
		Skipped: int(b.Skipped), Passed: int(b.Passed), URL: fmt.Sprintf("%s/backfills/%d", a.base, b.ID),
	}
	if b.NewestFirst {
		out.Order = "newest"
	}
	def, err := a.revisions.One(ctx, q, row.RevisionID)
	if err != nil {
		return out, err
	}
	if s, _, err := def.Schedule(row.Schedule); err == nil {
		out.Timezone = s.Zone().String()
	}
	if b.EndedAt != nil {
		return out, nil
	}
	pace, err := q.BackfillPace(ctx, b.PipelineID)
	if err != nil {
		return out, fmt.Errorf("read how long runs take: %w", err)
	}
	side := max(1, min(out.Max, def.Graph.Pipeline().Concurrency.Limit))
	out.Seconds = pace * math.Ceil(float64(out.Waiting+out.Open)/float64(side))
	return out, nil
}

// ChangeBackfill says how much of a backfill runs at once. Fewer than there are
// stops nothing: no more are made until some have ended.
func (a *App) ChangeBackfill(ctx context.Context, by Actor, id int64, req api.BackfillQuota) (api.Backfill, error) {
	if err := checkQuota(req.Max, req.PoolShare); err != nil {
		return api.Backfill{}, err
	}
	return a.steer(ctx, by, id, "", func(q *db.Queries, b db.LockBackfillRow, _ string) error {
		err := q.SetBackfillQuota(ctx, db.SetBackfillQuotaParams{
			ID: id, Most: cmp.Or(int32(req.Max), b.Most), PoolShare: cmp.Or(int32(req.PoolShare), b.PoolShare), By: by.Name,
		})
		if err != nil {
			return err
		}
		pools, err := q.PoolsOfBackfill(ctx, id)
		if err != nil {
			return err
		}
		if err := q.LeaveWakes(ctx, "p", pools); err != nil {
			return err
		}
		return q.LeaveWakes(ctx, "b", []int64{id})
	}, "changed")
}

// checkQuota checks how much of a backfill runs at once; 0 is not said.
func checkQuota(most, share int) error {
	switch {
	case most < 0 || most > 1000:
		return api.Errorf(api.Unprocessable, "max is 1 to 1000, found %d", most)
	case share < 0 || share > 100:
		return api.Errorf(api.Unprocessable, "pool_share is 1 to 100 percent, found %d", share)
	}
	return nil
}

// PauseBackfill makes no more runs for now.
func (a *App) PauseBackfill(ctx context.Context, by Actor, id int64, req api.BackfillChange) (api.Backfill, error) {
	return a.steer(ctx, by, id, req.Reason, func(q *db.Queries, b db.LockBackfillRow, reason string) error {
		if b.State == "paused" {
			return nil
		}
		_, err := q.SteerBackfill(ctx, db.SteerBackfillParams{ID: id, Was: "running", State: "paused", By: by.Name, Reason: reason})
		return err
	}, "paused")
}

// ResumeBackfill goes on after a pause.
func (a *App) ResumeBackfill(ctx context.Context, by Actor, id int64) (api.Backfill, error) {
	return a.steer(ctx, by, id, "", func(q *db.Queries, b db.LockBackfillRow, _ string) error {
		if b.State == "running" {
			return nil
		}
		if _, err := q.SteerBackfill(ctx, db.SteerBackfillParams{ID: id, Was: "paused", State: "running", By: by.Name}); err != nil {
			return err
		}
		return q.LeaveWakes(ctx, "b", []int64{id})
	}, "resumed")
}

// CancelBackfill makes no more runs ever, and cancels those that run where that
// is wanted.
func (a *App) CancelBackfill(ctx context.Context, by Actor, id int64, req api.BackfillChange) (api.Backfill, error) {
	return a.steer(ctx, by, id, req.Reason, func(q *db.Queries, _ db.LockBackfillRow, reason string) error {
		if _, err := q.CancelBackfill(ctx, db.CancelBackfillParams{ID: id, By: by.Name, Reason: reason}); err != nil {
			return err
		}
		if !req.Runs {
			return nil
		}
		runs, err := q.OpenRunsOfBackfill(ctx, id)
		if err != nil || len(runs) == 0 {
			return err
		}
		why := "backfill " + strconv.FormatInt(id, 10) + " was canceled"
		_, err = q.RequestCancel(ctx, db.RequestCancelParams{Ids: runs, By: by.Name, Why: why})
		return err
	}, "canceled")
}

// steer changes a backfill that has not ended, under its lock.
func (a *App) steer(ctx context.Context, by Actor, id int64, why string, do func(q *db.Queries, b db.LockBackfillRow, reason string) error, state string) (api.Backfill, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Backfill{}, err
	}
	reason, err := note("reason", why, 500)
	if err != nil {
		return api.Backfill{}, err
	}
	err = db.InTx(ctx, a.pool, func(q *db.Queries) error {
		row, err := a.findBackfill(ctx, q, by, id)
		if err != nil {
			return err
		}
		if err := by.need(api.RoleOperator, row.Namespace); err != nil {
			return err
		}
		b, err := q.LockBackfill(ctx, id)
		if errors.Is(err, db.ErrNoRows) {
			return api.Errorf(api.NotFound, "there is no backfill %d", id)
		}
		if err != nil {
			return fmt.Errorf("lock a backfill: %w", err)
		}
		if b.State == "done" || b.State == "canceled" {
			return api.Errorf(api.Conflict, "backfill %d is %s", id, b.State)
		}
		if err := do(q, b, reason); err != nil {
			return fmt.Errorf("change a backfill: %w", err)
		}
		return event(ctx, q, by, "backfill", id, row.Backfill.PipelineID, state, reason)
	})
	if err != nil {
		return api.Backfill{}, err
	}
	a.notifier.Notify(db.ChannelWake)
	a.notifier.Notify(db.ChannelEvent)
	return a.Backfill(ctx, by, id, api.GetBackfillParams{Limit: 1})
}
