package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A PoolRef names a pool.
type PoolRef struct{ Namespace, Name string }

// String gives namespace/name.
func (r PoolRef) String() string { return r.Namespace + "/" + r.Name }

// How many holders and waiters of a pool are told.
const (
	defaultPoolTasks = 100
	maxPoolTasks     = 1_000
)

// Pools is a page of pools, by namespace and name.
func (a *App) Pools(ctx context.Context, by Actor, p api.ListPoolsParams) (api.PoolPage, error) {
	page := api.PoolPage{Items: []api.Pool{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return page, err
	}
	arg := db.ListPoolsParams{Page: int32(limit + 1)}
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
	rows, err := a.queries().ListPools(ctx, arg)
	if err != nil {
		return page, fmt.Errorf("list pools: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		page.Next = cursor(rows[limit-1].Namespace, rows[limit-1].Name)
	}
	for _, row := range rows {
		pool, err := poolOf(db.PoolNamedRow(row))
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, pool)
	}
	return page, nil
}

func poolOf(row db.PoolNamedRow) (api.Pool, error) {
	p := api.Pool{
		Namespace: row.Namespace, Name: row.Name, Description: row.Description, Slots: int(row.Slots), ReserveScheduled: int(row.ReserveScheduled),
		Used: int(row.Used), Holding: int(row.Holding), Waiting: int(row.Waiting), Source: row.Source,
	}
	if err := json.Unmarshal(row.Labels, &p.Labels); err != nil {
		return p, fmt.Errorf("read the labels of pool %s/%s: %w", row.Namespace, row.Name, err)
	}
	return p, nil
}

// Pool is one pool, with who holds its slots and who waits for them. Both are
// read at one moment.
func (a *App) Pool(ctx context.Context, by Actor, ref PoolRef, limit int) (api.PoolDetail, error) {
	var out api.PoolDetail
	if err := by.need(api.RoleViewer, ""); err != nil {
		return out, err
	}
	switch {
	case limit == 0:
		limit = defaultPoolTasks
	case limit < 1 || limit > maxPoolTasks:
		return out, api.Errorf(api.Unprocessable, "limit is 1 to %d, found %d", maxPoolTasks, limit)
	}
	if !isName(ref.Namespace) || !isName(ref.Name) || !by.sees(ref.Namespace) {
		return out, api.Errorf(api.NotFound, "pool %s does not exist", show(ref.String())).WithHint("synctl pool ls")
	}
	err := db.InSnapshot(ctx, a.pool, func(q *db.Queries) error {
		row, err := q.PoolNamed(ctx, ref.Namespace, ref.Name)
		if errors.Is(err, db.ErrNoRows) {
			return noPool(ctx, q, ref)
		}
		if err != nil {
			return fmt.Errorf("read a pool: %w", err)
		}
		if out.Pool, err = poolOf(row); err != nil {
			return err
		}
		holders, err := q.PoolHolders(ctx, row.ID, int32(limit))
		if err != nil {
			return fmt.Errorf("read who holds a pool: %w", err)
		}
		out.Holders, out.Waiters = make([]api.PoolTask, 0, len(holders)), []api.PoolTask{}
		for _, h := range holders {
			t := poolTask(by, h.Namespace, h.Pipeline, h.RunNumber, h.Name, h.Number, h.Slots, h.Since)
			t.State = api.PoolTaskState(h.State)
			if t.Namespace != "" {
				t.Executor, t.Host = h.Executor, h.Host
			}
			out.Holders = append(out.Holders, t)
		}
		waiters, err := q.PoolQueue(ctx, row.ID, int32(limit))
		if err != nil {
			return fmt.Errorf("read who waits for a pool: %w", err)
		}
		for i, w := range waiters {
			t := poolTask(by, w.Namespace, w.Pipeline, w.RunNumber, w.Name, w.Number, w.Slots, w.Since)
			t.State, t.Position, t.Backfill = api.PoolTaskStateWaiting, i+1, w.Backfill
			out.Waiters = append(out.Waiters, t)
		}
		return nil
	})
	return out, err
}

func noPool(ctx context.Context, q *db.Queries, ref PoolRef) error {
	names, err := q.PoolNames(ctx, ref.Namespace)
	if err != nil {
		return fmt.Errorf("list pools: %w", err)
	}
	e := api.Errorf(api.NotFound, "pool %s does not exist", ref).WithHint("synctl pool ls")
	if near := nearest(ref.Name, names); near != "" {
		e = e.WithHint("did you mean %q?", near)
	}
	return e
}

// poolTask is a task of a pool, as far as somebody may see it.
func poolTask(by Actor, namespace, pipeline string, run int64, task string, number, slots int32, since time.Time) api.PoolTask {
	t := api.PoolTask{Slots: int(slots), Since: since.UTC()}
	if !by.sees(namespace) {
		return t
	}
	t.Namespace, t.Pipeline, t.Run, t.Task = namespace, pipeline, run, task
	if i := int(number) % flow.ItemSpan; i > 0 {
		index := i - 1
		t.Index = &index
	}
	return t
}
