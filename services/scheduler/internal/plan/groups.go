package plan

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
)

// admit settles which of the wanted runs start at once, which are queued, and
// which ticks the rules of their group skip. The groups are locked from here to
// the end of the transaction, all of them before the first is decided.
func (d *decisions) admit(ctx context.Context, q *db.Queries) error {
	if len(d.wants) == 0 {
		return nil
	}
	list := make([]newrun.Group, len(d.wants))
	for i, w := range d.wants {
		list[i] = newrun.Group{Pipeline: w.schedule.PipelineID, Namespace: w.schedule.Namespace, Name: w.created.Group}
	}
	groups, err := newrun.Groups(ctx, q, list)
	if err != nil {
		return err
	}
	loads, err := newrun.LockGroups(ctx, q, groups)
	if err != nil {
		return err
	}
	kept := d.wants[:0]
	for i, w := range d.wants {
		w.group = groups[i]
		l := loads[w.group]
		v := flow.AdmitTick(*l, flow.QueuedRun{
			Limit: w.created.Limit, MaxQueued: w.created.MaxQueued, OnConflict: w.created.OnConflict, FromTick: true, Counted: !w.late(d.now),
		})
		switch {
		case !v.Run:
			d.ticks.States[w.scheduled], d.ticks.Reasons[w.scheduled] = tickSkipped, v.Reason
			continue
		case v.Start && (d.pace == 0 || !w.late(d.now)):
			w.state = flow.Running
			l.Running++
		default:
			w.state = flow.Queued
			l.Queued++
			if w.late(d.now) {
				l.Late++
			} else {
				l.Counted++
			}
		}
		kept = append(kept, w)
	}
	d.wants = kept
	return nil
}
