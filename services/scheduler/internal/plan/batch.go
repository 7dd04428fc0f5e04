package plan

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

// batch decides schedules that are locked: every due tick gets its row, those
// that become runs get their run in the same transaction, and the schedules
// move on.
func (p *Planner) batch(ctx context.Context, q *db.Queries, all []due, out *Outcome) error {
	d := &decisions{now: all[0].Now, pace: p.pace}
	revisions, err := p.load(ctx, q, all)
	if err != nil {
		return err
	}
	namespaces := make([]string, len(all))
	for i, s := range all {
		namespaces[i] = s.Namespace
	}
	vars, err := newrun.Vars(ctx, q, namespaces...)
	if err != nil {
		return err
	}
	for _, s := range all {
		d.schedule(s, revisions[s.RevisionID], vars[s.Namespace])
	}
	if err := d.admit(ctx, q); err != nil {
		return err
	}
	if err := d.write(ctx, q); err != nil {
		return err
	}
	for i, state := range d.ticks.States {
		out.Ticks[state] += int(d.ticks.Counts[i])
	}
	for _, w := range d.wants {
		out.Late = append(out.Late, d.now.Sub(w.fireAt))
	}
	var born []advance.Born
	for _, w := range d.wants {
		if w.state == flow.Running {
			born = append(born, advance.Born{PipelineID: w.schedule.PipelineID, Revision: w.rev, Run: w.run})
		} else {
			out.Woken = true
		}
	}
	started, err := p.advancer.Start(ctx, q, born)
	out.Add(started)
	if err != nil {
		return err
	}
	return out.Roll(ctx, q)
}

// load gives the revisions of schedules. A revision that cannot be read breaks
// its schedules, not the batch.
func (p *Planner) load(ctx context.Context, q *db.Queries, all []due) (map[int64]*revision.Revision, error) {
	ids := make([]int64, len(all))
	for i, s := range all {
		ids[i] = s.RevisionID
	}
	found, broken, err := p.revisions.Load(ctx, q, ids)
	if err != nil {
		return nil, err
	}
	for id, err := range broken {
		p.log.Error("plan: a definition cannot be read", "revision", id, "error", err)
	}
	return found, nil
}
