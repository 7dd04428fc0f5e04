package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// resume ends a pause. The caller has locked the pipeline's schedules, so no
// tick is being decided: those that came due in the pause and that nobody has
// looked at are put down as skipped, which is what would have become of them.
// Where it is asked for, a backfill then makes runs for what the pause held back.
func (a *App) resume(ctx context.Context, q *db.Queries, by Actor, p db.FindPipelineRow, catchup api.ResumeRequestCatchup) error {
	rows, err := q.PlannedPipelines(ctx, []int64{p.ID})
	if err != nil || len(rows) != 1 {
		return fmt.Errorf("read a pipeline: %d rows: %w", len(rows), err)
	}
	if !rows[0].Paused || p.PausedAt == nil {
		return nil
	}
	end := p.Now
	if u := rows[0].PausedUntil; u != nil && u.Before(end) {
		end = *u
	}
	def, err := a.revisions.One(ctx, q, p.RevisionID)
	if err != nil {
		return err
	}
	schedules, err := q.SchedulesOf(ctx, []int64{p.ID})
	if err != nil {
		return fmt.Errorf("read schedules: %w", err)
	}
	if err := skipUndecided(ctx, q, def, schedules, end); err != nil {
		return err
	}
	if _, err := q.ResumePipeline(ctx, p.ID); err != nil {
		return fmt.Errorf("end a pause: %w", err)
	}
	most := 0
	switch catchup {
	case api.ResumeRequestCatchupLatest:
		most = 1
	case api.ResumeRequestCatchupAll:
		most = schedule.MaxCatchup
	default:
		return nil
	}
	for _, row := range schedules {
		if row.EndedAt != nil {
			continue
		}
		if err := a.catchUp(ctx, q, by, p, def, row, end, most); err != nil {
			return err
		}
	}
	return nil
}

// skipUndecided decides the ticks of a pause that nobody has decided.
func skipUndecided(ctx context.Context, q *db.Queries, def *revision.Revision, schedules []db.SchedulesOfRow, end time.Time) error {
	var ticks db.InsertTicksParams
	var ids []int64
	var nexts []time.Time
	for _, row := range schedules {
		if row.EndedAt != nil || row.NextAt == nil || row.NextAt.After(end) {
			continue
		}
		s, _, err := def.Schedule(row.Name)
		if err != nil {
			return err
		}
		last, ok := s.PrevAt(end.Add(1))
		if !ok || last.Before(*row.NextAt) {
			last = *row.NextAt
		}
		next, _ := s.NextAt(end) // the zero time: never again
		until := time.Time{}
		if last.After(*row.NextAt) {
			until = last
		}
		ticks.Schedules, ticks.FireAts = append(ticks.Schedules, row.ID), append(ticks.FireAts, *row.NextAt)
		ticks.States, ticks.Reasons = append(ticks.States, "skipped"), append(ticks.Reasons, "paused")
		ticks.Untils, ticks.Counts = append(ticks.Untils, until), append(ticks.Counts, max(1, s.Count(*row.NextAt, last.Add(1))))
		ticks.RunIds, ticks.Details = append(ticks.RunIds, 0), append(ticks.Details, "")
		ids, nexts = append(ids, row.ID), append(nexts, next)
	}
	if len(ids) == 0 {
		return nil
	}
	if _, err := q.InsertTicks(ctx, ticks); err != nil {
		return fmt.Errorf("store ticks: %w", err)
	}
	if err := q.MoveSchedules(ctx, nexts, ids); err != nil {
		return fmt.Errorf("move schedules: %w", err)
	}
	return nil
}

// catchUp makes a backfill of the newest ticks of a pause, as far back as the
// schedule's window goes.
func (a *App) catchUp(ctx context.Context, q *db.Queries, by Actor, p db.FindPipelineRow, def *revision.Revision, row db.SchedulesOfRow, end time.Time, most int) error {
	s, entry, err := def.Schedule(row.Name)
	if err != nil {
		return err
	}
	window := time.Duration(entry.CatchupWindow)
	if window <= 0 {
		window = schedule.DefaultWindow
	}
	first := p.Now.Add(-window)
	if first.Before(*p.PausedAt) {
		first = *p.PausedAt
	}
	var ticks []time.Time
	for at, ok := s.PrevAt(end.Add(1)); ok && !at.Before(first) && len(ticks) < most; at, ok = s.PrevAt(at) {
		ticks = append(ticks, at)
	}
	if len(ticks) == 0 {
		return nil
	}
	slices.Reverse(ticks)
	runs, err := q.RunsOfTicks(ctx, row.ID, ticks)
	if err != nil {
		return fmt.Errorf("read runs of ticks: %w", err)
	}
	have := map[int64]bool{}
	for _, r := range runs {
		have[r.FireAt.UnixNano()] = true
	}
	arg := db.InsertBackfillTicksParams{}
	for _, at := range ticks {
		if have[at.UnixNano()] {
			continue
		}
		start, _ := s.Interval(at)
		arg.FireAts, arg.IntervalStarts = append(arg.FireAts, at), append(arg.IntervalStarts, start)
	}
	if len(arg.FireAts) == 0 {
		return nil
	}
	if err := poolsSuffice(ctx, q, PipelineRef{p.Namespace, p.Name}, def); err != nil {
		return err
	}
	if arg.BackfillID, err = q.InsertBackfill(ctx, db.InsertBackfillParams{
		PipelineID: p.ID, ScheduleID: row.ID, FromAt: arg.FireAts[0], UntilAt: arg.FireAts[len(arg.FireAts)-1], Which: "missing", Most: defaultOpen, PoolShare: 100,
		Params: []byte("{}"), Note: "catch-up after a pause", RequestedBy: by.Name, Ticks: int32(len(arg.FireAts)),
	}); err != nil {
		return fmt.Errorf("store a backfill: %w", err)
	}
	if err := q.InsertBackfillTicks(ctx, arg); err != nil {
		return fmt.Errorf("store ticks of a backfill: %w", err)
	}
	if err := q.LeaveWakes(ctx, "b", []int64{arg.BackfillID}); err != nil {
		return fmt.Errorf("wake a backfill: %w", err)
	}
	return event(ctx, q, by, "backfill", arg.BackfillID, p.ID, "running", "catch-up after a pause")
}
