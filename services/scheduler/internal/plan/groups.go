package plan

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// admit settles which of the wanted runs start at once, which are queued, and
// which ticks the rules of their group skip. The groups are locked from here to
// the end of the transaction, all of them before the first is decided.
func (d *decisions) admit(ctx context.Context, q *db.Queries) error {
	if len(d.wants) == 0 {
		return nil
	}
	if err := d.lockGroups(ctx, q); err != nil {
		return err
	}
	ids := make([]int64, 0, len(d.wants))
	for _, w := range d.wants {
		ids = append(ids, w.group)
	}
	rows, err := q.GroupCounts(ctx, ids)
	if err != nil {
		return fmt.Errorf("count groups: %w", err)
	}
	loads := make(map[int64]*flow.GroupLoad, len(ids))
	for _, id := range ids {
		loads[id] = &flow.GroupLoad{}
	}
	for _, row := range rows {
		*loads[row.GroupID] = flow.GroupLoad{
			Running: int(row.Running), Queued: int(row.Queued), Counted: int(row.Counted),
			RunningBackfills: int(row.RunningBackfills), QueuedBackfills: int(row.QueuedBackfills),
		}
	}
	kept := d.wants[:0]
	for _, w := range d.wants {
		l := loads[w.group]
		v := flow.AdmitTick(*l, flow.QueuedRun{
			Limit: w.created.Limit, MaxQueued: w.created.MaxQueued, OnConflict: w.created.OnConflict, FromTick: true, Counted: w.counted(d.now),
		})
		switch {
		case !v.Run:
			d.ticks.States[w.scheduled], d.ticks.Reasons[w.scheduled] = tickSkipped, v.Reason
			continue
		case v.Start:
			w.state = flow.Running
			l.Running++
		default:
			w.state = flow.Queued
			l.Queued++
			if w.counted(d.now) {
				l.Counted++
			}
		}
		kept = append(kept, w)
	}
	d.wants = kept
	return nil
}

func (d *decisions) lockGroups(ctx context.Context, q *db.Queries) error {
	own := map[int64]int64{} // pipeline → group
	type name struct{ namespace, group string }
	named := map[name]int64{}
	for _, w := range d.wants {
		if w.created.Group == "" {
			own[w.schedule.PipelineID] = 0
		} else {
			named[name{w.schedule.Namespace, w.created.Group}] = 0
		}
	}
	if len(own) > 0 {
		rows, err := q.PipelineGroups(ctx, slices.Sorted(maps.Keys(own)))
		if err != nil {
			return fmt.Errorf("read groups: %w", err)
		}
		for _, row := range rows {
			own[row.PipelineID] = row.ID
		}
	}
	if len(named) > 0 {
		keys := slices.SortedFunc(maps.Keys(named), func(a, b name) int {
			return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.group, b.group))
		})
		var namespaces, names []string
		for _, k := range keys {
			namespaces, names = append(namespaces, k.namespace), append(names, k.group)
		}
		if err := q.EnsureGroups(ctx, namespaces, names); err != nil {
			return fmt.Errorf("make groups: %w", err)
		}
		rows, err := q.NamedGroups(ctx, namespaces, names)
		if err != nil {
			return fmt.Errorf("read groups: %w", err)
		}
		for _, row := range rows {
			named[name{row.Namespace, row.Name}] = row.ID
		}
	}
	lock := map[int64]bool{}
	for _, w := range d.wants {
		if w.created.Group == "" {
			w.group = own[w.schedule.PipelineID]
		} else {
			w.group = named[name{w.schedule.Namespace, w.created.Group}]
		}
		if w.group == 0 {
			return fmt.Errorf("pipeline %s/%s has no group", w.schedule.Namespace, w.schedule.Pipeline)
		}
		lock[w.group] = true
	}
	if err := q.LockGroups(ctx, slices.Sorted(maps.Keys(lock))); err != nil {
		return fmt.Errorf("lock groups: %w", err)
	}
	return nil
}
