package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
)

// write stores runs, then ticks (each names its run), then moves the schedules.
func (d *decisions) write(ctx context.Context, q *db.Queries) error {
	if err := d.writeRuns(ctx, q); err != nil {
		return err
	}
	if n := len(d.ticks.States); n > 0 {
		rows, err := q.InsertTicks(ctx, d.ticks)
		if err != nil {
			return fmt.Errorf("insert ticks: %w", err)
		}
		if len(rows) != n {
			// The schedules are locked and next_at only moves forward, so a tick
			// that is there already means that somebody moved it back by hand.
			return fmt.Errorf("%d ticks were decided before", n-len(rows))
		}
	}
	if len(d.moved) > 0 {
		if err := q.MoveSchedules(ctx, d.nexts, d.moved); err != nil {
			return fmt.Errorf("move schedules: %w", err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(d.broken)) {
		if err := q.BreakSchedule(ctx, d.broken[id], id); err != nil {
			return fmt.Errorf("take schedule %d out of the loop: %w", id, err)
		}
	}
	return nil
}

func (d *decisions) writeRuns(ctx context.Context, q *db.Queries) error {
	if len(d.wants) == 0 {
		return nil
	}
	ids, err := q.DrawRunIDs(ctx, int32(len(d.wants)))
	if err != nil {
		return fmt.Errorf("draw run ids: %w", err)
	}
	pipelines := make([]int64, len(d.wants))
	for i, w := range d.wants {
		pipelines[i] = w.schedule.PipelineID
	}
	numbers, err := newrun.Numbers(ctx, q, pipelines)
	if err != nil {
		return err
	}
	var runs db.InsertRunsParams
	var open db.InsertOpenRunsParams
	var told db.InsertRunEventsParams
	var wake []int64
	for i, w := range d.wants {
		w.run.ID, w.run.Number = ids[i], numbers[i]
		d.ticks.RunIds[w.scheduled] = w.run.ID
		params, vars, err := newrun.Inputs(w.created.Params, w.run.Vars)
		if err != nil {
			return fmt.Errorf("a run of %s/%s: %w", w.run.Namespace, w.run.Pipeline, err)
		}
		runs.Ids = append(runs.Ids, w.run.ID)
		runs.Pipelines = append(runs.Pipelines, w.schedule.PipelineID)
		runs.Revisions = append(runs.Revisions, w.rev.ID)
		runs.Numbers = append(runs.Numbers, w.run.Number)
		runs.Namespaces = append(runs.Namespaces, w.run.Namespace)
		runs.Names = append(runs.Names, w.run.Pipeline)
		runs.Schedules = append(runs.Schedules, w.schedule.ID)
		runs.FireAts = append(runs.FireAts, w.fireAt)
		runs.IntervalStarts = append(runs.IntervalStarts, w.run.IntervalStart)
		runs.IntervalEnds = append(runs.IntervalEnds, w.run.IntervalEnd)
		runs.Params = append(runs.Params, string(params))
		runs.Vars = append(runs.Vars, string(vars))
		runs.Groups = append(runs.Groups, w.group)
		runs.GroupNames = append(runs.GroupNames, w.created.Group)
		runs.Limits = append(runs.Limits, int32(w.created.Limit))
		runs.States = append(runs.States, string(w.state))

		open.RunIds = append(open.RunIds, w.run.ID)
		open.Pipelines = append(open.Pipelines, w.schedule.PipelineID)
		open.Groups = append(open.Groups, w.group)
		open.Revisions = append(open.Revisions, w.rev.ID)
		open.States = append(open.States, string(w.state))
		open.Counteds = append(open.Counteds, !w.late(d.now))

		told.Pipelines = append(told.Pipelines, w.schedule.PipelineID)
		told.RunIds = append(told.RunIds, w.run.ID)
		told.Froms = append(told.Froms, "")
		told.States = append(told.States, string(w.state))
		told.Reasons = append(told.Reasons, "")
		if w.state == flow.Queued {
			wake = append(wake, w.group)
		}
	}
	if err := q.InsertRuns(ctx, runs); err != nil {
		return fmt.Errorf("insert runs: %w", err)
	}
	if err := q.InsertOpenRuns(ctx, open); err != nil {
		return fmt.Errorf("insert open runs: %w", err)
	}
	if err := q.InsertRunEvents(ctx, told); err != nil {
		return fmt.Errorf("tell of runs: %w", err)
	}
	if len(wake) > 0 {
		slices.Sort(wake)
		if err := q.LeaveWakes(ctx, "g", slices.Compact(wake)); err != nil {
			return fmt.Errorf("wake groups: %w", err)
		}
	}
	return nil
}
