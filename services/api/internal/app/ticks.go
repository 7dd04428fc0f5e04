package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// Ticks is a page of what was decided about a pipeline's ticks, newest first.
func (a *App) Ticks(ctx context.Context, by Actor, ref PipelineRef, p api.ListTicksParams) (api.TickPage, error) {
	page := api.TickPage{Items: []api.Tick{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return page, err
	}
	arg := db.ListTicksParams{Schedule: p.Schedule, Page: int32(limit + 1)}
	if p.Cursor != "" {
		parts, err := parseCursor(p.Cursor, 2)
		if err != nil {
			return page, err
		}
		at, err := time.Parse(time.RFC3339Nano, parts[0])
		if err != nil {
			return page, errCursor()
		}
		if arg.BeforeSchedule, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
			return page, errCursor()
		}
		arg.BeforeAt = &at
	}
	q := a.queries()
	row, err := a.find(ctx, q, by, ref)
	if err != nil {
		return page, err
	}
	arg.PipelineID = row.ID
	rows, err := q.ListTicks(ctx, arg)
	if err != nil {
		return page, fmt.Errorf("list ticks: %w", err)
	}
	for i, t := range rows {
		if i == limit {
			last := rows[i-1]
			page.Next = cursor(last.FireAt.UTC().Format(time.RFC3339Nano), strconv.FormatInt(last.ScheduleID, 10))
			break
		}
		item := api.Tick{
			Schedule: t.Name, At: t.FireAt.UTC(), State: api.TickState(t.State), Reason: t.Reason, Detail: t.Detail, Until: orZero(t.Until),
			Ticks: t.Ticks, DecidedAt: t.DecidedAt.UTC(),
		}
		if t.RunNumber != nil {
			item.RunNumber = *t.RunNumber
			item.Run = fmt.Sprintf("%s#%d", ref, *t.RunNumber)
		}
		page.Items = append(page.Items, item)
	}
	return page, nil
}

// NextTicks are the coming ticks of a pipeline, over all its schedules, whether
// it is paused or not.
func (a *App) NextTicks(ctx context.Context, by Actor, ref PipelineRef, p api.NextTicksParams) (api.NextTicks, error) {
	out := api.NextTicks{Items: []api.NextTick{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return out, err
	}
	limit := p.Limit
	if limit == 0 {
		limit = 5
	}
	if limit < 1 || limit > api.MaxNextTicks {
		return out, api.Errorf(api.Unprocessable, "limit is 1 to %d, found %d", api.MaxNextTicks, limit)
	}
	q := a.queries()
	row, err := a.find(ctx, q, by, ref)
	if err != nil {
		return out, err
	}
	if row.RemovedAt != nil {
		return out, errRemoved(ref)
	}
	from := p.From
	if from.IsZero() {
		from = row.Now
	}
	def, err := a.revisions.One(ctx, q, row.RevisionID)
	if err != nil {
		return out, err
	}
	for _, s := range def.Graph.Pipeline().Schedules {
		compiled, _, err := def.Schedule(s.ID)
		if err != nil {
			return out, fmt.Errorf("compile schedule %s of %s: %w", s.ID, ref, err)
		}
		at := from
		for range limit {
			tick, ok := compiled.Next(at)
			if !ok {
				break
			}
			out.Items = append(out.Items, api.NextTick{At: tick.At.UTC(), Local: tick.Local, Timezone: s.Timezone, Schedule: s.ID, Note: string(tick.Note)})
			at = tick.At
		}
	}
	slices.SortStableFunc(out.Items, func(a, b api.NextTick) int { return a.At.Compare(b.At) })
	out.Items = out.Items[:min(limit, len(out.Items))]
	return out, nil
}
