package backfill

import (
	"context"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
)

// write stores the runs, and what became of the ticks.
func (d *decisions) write(ctx context.Context, q *db.Queries) error {
	if err := d.writeRuns(ctx, q); err != nil {
		return err
	}
	n := len(d.ticks.States)
	if n == 0 {
		return nil
	}
	decided, err := q.DecideBackfillTicks(ctx, d.ticks)
	if err != nil {
		return fmt.Errorf("store ticks: %w", err)
	}
	if decided != int64(n) {
		return fmt.Errorf("%d ticks of backfills were decided by somebody without the lock", int64(n)-decided)
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
		pipelines[i] = w.of.row.PipelineID
	}
	numbers, err := newrun.Numbers(ctx, q, pipelines)
	if err != nil {
		return err
	}
	var runs db.InsertBackfillRunsParams
	var open db.InsertBackfillOpenRunsParams
	var told db.InsertRunEventsParams
	var wake []int64
	for i, w := range d.wants {
		s := w.of
		w.run.ID, w.run.Number = ids[i], numbers[i]
		s.moved.open-- // counted by admit; tick counts it for good
		d.tick(s, w.tick.FireAt, "open", w.run.ID, "")
		params, vars, err := newrun.Inputs(w.created.Params, w.run.Vars)
		if err != nil {
			return fmt.Errorf("a run of %s/%s: %w", w.run.Namespace, w.run.Pipeline, err)
		}
		runs.Ids = append(runs.Ids, w.run.ID)
		runs.Pipelines = append(runs.Pipelines, s.row.PipelineID)
		runs.Revisions = append(runs.Revisions, s.rev.ID)
		runs.Numbers = append(runs.Numbers, w.run.Number)
		runs.Namespaces = append(runs.Namespaces, w.run.Namespace)
		runs.Names = append(runs.Names, w.run.Pipeline)
		runs.Schedules = append(runs.Schedules, s.row.ScheduleID)
		runs.FireAts = append(runs.FireAts, w.tick.FireAt)
		runs.IntervalStarts = append(runs.IntervalStarts, w.run.IntervalStart)
		runs.Params = append(runs.Params, string(params))
		runs.Vars = append(runs.Vars, string(vars))
		runs.Notes = append(runs.Notes, s.row.Note)
		runs.RequestedBys = append(runs.RequestedBys, s.row.RequestedBy)
		runs.Backfills = append(runs.Backfills, s.row.ID)
		runs.Groups = append(runs.Groups, w.group)
		runs.GroupNames = append(runs.GroupNames, w.created.Group)
		runs.Limits = append(runs.Limits, int32(w.created.Limit))
		runs.States = append(runs.States, string(w.state))

		open.RunIds = append(open.RunIds, w.run.ID)
		open.Pipelines = append(open.Pipelines, s.row.PipelineID)
		open.Groups = append(open.Groups, w.group)
		open.Revisions = append(open.Revisions, s.rev.ID)
		open.States = append(open.States, string(w.state))
		open.Backfills = append(open.Backfills, s.row.ID)

		told.Pipelines = append(told.Pipelines, s.row.PipelineID)
		told.RunIds = append(told.RunIds, w.run.ID)
		told.Froms = append(told.Froms, "")
		told.States = append(told.States, string(w.state))
		told.Reasons = append(told.Reasons, "")
		if w.state == flow.Queued {
			wake = append(wake, w.group)
		}
	}
	if err := q.InsertBackfillRuns(ctx, runs); err != nil {
		return fmt.Errorf("insert runs: %w", err)
	}
	if err := q.InsertBackfillOpenRuns(ctx, open); err != nil {
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

// count stores where the backfills stand now, ends those that are done, and
// leaves wakes for those that are not.
func (d *decisions) count(ctx context.Context, q *db.Queries) error {
	var p db.CountBackfillsParams
	for _, s := range d.subjects {
		if s.cancel != "" {
			n, err := q.CancelBackfill(ctx, db.CancelBackfillParams{ID: s.row.ID, By: "scheduler", Reason: s.cancel})
			if err != nil {
				return fmt.Errorf("end backfill %d: %w", s.row.ID, err)
			}
			if n > 0 {
				s.row.State = "canceled"
				if err := q.InsertBackfillEvents(ctx, db.InsertBackfillEventsParams{
					Pipelines: []int64{s.row.PipelineID}, Ids: []int64{s.row.ID}, States: []string{"canceled"}, Reasons: []string{s.cancel},
				}); err != nil {
					return fmt.Errorf("tell of a backfill: %w", err)
				}
			}
		}
		p.Ids = append(p.Ids, s.row.ID)
		p.Waitings = append(p.Waitings, s.moved.waiting)
		p.Opens = append(p.Opens, s.moved.open)
		p.Succeededs = append(p.Succeededs, s.moved.succeeded)
		p.Faileds = append(p.Faileds, s.moved.failed)
		p.Canceleds = append(p.Canceleds, s.moved.canceled)
		p.Skippeds = append(p.Skippeds, s.moved.skipped)
		p.Passeds = append(p.Passeds, s.moved.passed)
		p.Mades = append(p.Mades, s.made)
	}
	rows, err := q.CountBackfills(ctx, p)
	if err != nil {
		return fmt.Errorf("count ticks of backfills: %w", err)
	}
	var told db.InsertBackfillEventsParams
	for _, row := range rows {
		s := d.byID[row.ID]
		if row.State == "done" && s.row.State != "done" {
			told.Pipelines, told.Ids = append(told.Pipelines, row.PipelineID), append(told.Ids, row.ID)
			told.States, told.Reasons = append(told.States, "done"), append(told.Reasons, "")
		}
		s.row.State = row.State
	}
	if len(told.Ids) > 0 {
		if err := q.InsertBackfillEvents(ctx, told); err != nil {
			return fmt.Errorf("tell of backfills: %w", err)
		}
	}
	return d.wakeAgain(ctx, q)
}

func (d *decisions) wakeAgain(ctx context.Context, q *db.Queries) error {
	var ids, delays []int64
	for _, s := range d.subjects {
		waiting, open := s.row.Waiting+s.moved.waiting, s.row.Open+s.moved.open
		again := s.again
		switch {
		case s.row.State == "running" && waiting > 0:
			if again < 0 && s.made {
				again = 0 // its group has taken all that one turn makes
			}
			if again == 0 && open >= s.row.Most {
				again = againAnyway
			}
		case open > 0: // to see how they end
			again = againAnyway
		default:
			continue
		}
		if again < 0 {
			again = againAnyway
		}
		d.more = d.more || again == 0
		ids, delays = append(ids, s.row.ID), append(delays, again.Milliseconds())
	}
	if len(ids) == 0 {
		return nil
	}
	if err := q.LeaveBackfillWakes(ctx, ids, delays); err != nil {
		return fmt.Errorf("leave wakes: %w", err)
	}
	return nil
}
