package backfill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A subject is one backfill that is locked.
type subject struct {
	row   db.LockDueBackfillsRow
	place db.BackfillPlacesRow
	rev   *revision.Revision
	entry *pipeline.Schedule
	vars  map[string]string

	moved  counts // between its counts, in this transaction
	made   bool
	cancel string        // why nothing more is made
	again  time.Duration // when to look again; negative: somebody will say
}

// counts are ticks of a backfill by state; differences may be negative.
type counts struct {
	waiting, open, succeeded, failed, canceled, skipped, passed int32
}

func (c *counts) add(state string, n int32) {
	switch state {
	case "waiting":
		c.waiting += n
	case "open":
		c.open += n
	case "succeeded":
		c.succeeded += n
	case "failed":
		c.failed += n
	case "canceled":
		c.canceled += n
	case "skipped":
		c.skipped += n
	case "passed":
		c.passed += n
	}
}

// A want is a tick that gets a run, on its way.
type want struct {
	of      *subject
	tick    db.NewestBackfillTicksRow
	created flow.Created
	run     flow.Run
	group   int64
	state   flow.State // running or queued
}

// decisions are what one batch of backfills comes to.
type decisions struct {
	subjects []*subject
	byID     map[int64]*subject
	wants    []*want
	ticks    db.DecideBackfillTicksParams
	more     bool
}

func (d *decisions) tick(s *subject, at time.Time, state string, run int64, detail string) {
	p := &d.ticks
	p.Backfills = append(p.Backfills, s.row.ID)
	p.FireAts = append(p.FireAts, at)
	p.States = append(p.States, state)
	p.RunIds = append(p.RunIds, run)
	p.Details = append(p.Details, detail)
	s.moved.add("waiting", -1)
	s.moved.add(state, 1)
}

// load reads what the backfills are about. One whose schedule is gone makes
// nothing more.
func (b *Backfiller) load(ctx context.Context, q *db.Queries, locked []db.LockDueBackfillsRow) (*decisions, error) {
	d := &decisions{byID: make(map[int64]*subject, len(locked))}
	ids := make([]int64, len(locked))
	for i, row := range locked {
		s := &subject{row: row, again: -1}
		d.subjects, d.byID[row.ID], ids[i] = append(d.subjects, s), s, row.ID
	}
	places, err := q.BackfillPlaces(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read backfills: %w", err)
	}
	var revisions []int64
	var namespaces []string
	for _, p := range places {
		d.byID[p.ID].place = p
		revisions = append(revisions, p.RevisionID)
		namespaces = append(namespaces, p.Namespace)
	}
	found, broken, err := b.revisions.Load(ctx, q, revisions)
	if err != nil {
		return nil, err
	}
	vars, err := newrun.Vars(ctx, q, namespaces...)
	if err != nil {
		return nil, err
	}
	for _, s := range d.subjects {
		s.vars = vars[s.place.Namespace]
		switch {
		case s.place.RemovedAt != nil:
			s.cancel = "its pipeline was removed"
		case s.place.EndedAt != nil:
			s.cancel = "its schedule left the file"
		case broken[s.place.RevisionID] != nil:
			return nil, broken[s.place.RevisionID]
		default:
			s.rev = found[s.place.RevisionID]
			if _, s.entry, err = s.rev.Schedule(s.place.Schedule); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

// settle notes which of the backfills' runs have ended.
func (d *decisions) settle(ctx context.Context, q *db.Queries, ids []int64) error {
	rows, err := q.SettleBackfillTicks(ctx, ids)
	if err != nil {
		return fmt.Errorf("note ends of runs: %w", err)
	}
	for _, row := range rows {
		s := d.byID[row.BackfillID]
		s.moved.add("open", -1)
		s.moved.add(row.State, 1)
	}
	return nil
}

// choose takes the next ticks of a backfill, as many as it may have runs.
func (d *decisions) choose(ctx context.Context, q *db.Queries, s *subject) error {
	if s.row.State != "running" || s.row.Waiting == 0 || s.cancel != "" {
		return nil
	}
	n := min(s.row.Most-s.row.Open-s.moved.open, maxRuns)
	if n <= 0 {
		return nil
	}
	if s.place.Frozen {
		s.again = againIfFrozen
		return nil
	}
	ticks, err := nextTicks(ctx, q, s, n)
	if err != nil {
		return fmt.Errorf("read ticks of backfill %d: %w", s.row.ID, err)
	}
	newest, err := newestRuns(ctx, q, s, ticks)
	if err != nil {
		return err
	}
	given, err := expr.FromJSON(s.row.Params)
	if err != nil {
		return fmt.Errorf("read params of backfill %d: %w", s.row.ID, err)
	}
	params, _ := given.(map[string]any)
	for _, t := range ticks {
		if r, ok := newest[t.FireAt.UnixNano()]; ok && !flow.BackfillTakes(s.row.Which, flow.State(r.State)) {
			d.tick(s, t.FireAt, "passed", 0, fmt.Sprintf("run #%d has %s meanwhile", r.Number, became(r.State)))
			s.again = 0 // it leaves its place to the next
			continue
		}
		d.want(s, t, params)
	}
	return nil
}

func became(state string) string {
	switch state {
	case "queued", "running":
		return "been started"
	default:
		return state
	}
}

func nextTicks(ctx context.Context, q *db.Queries, s *subject, n int32) ([]db.NewestBackfillTicksRow, error) {
	if s.row.NewestFirst {
		return q.NewestBackfillTicks(ctx, s.row.ID, n)
	}
	rows, err := q.OldestBackfillTicks(ctx, s.row.ID, n)
	out := make([]db.NewestBackfillTicksRow, len(rows))
	for i, row := range rows {
		out[i] = db.NewestBackfillTicksRow(row)
	}
	return out, err
}

// newestRuns gives the newest run of each tick that has one.
func newestRuns(ctx context.Context, q *db.Queries, s *subject, ticks []db.NewestBackfillTicksRow) (map[int64]db.RunsOfTicksRow, error) {
	ats := make([]time.Time, len(ticks))
	for i, t := range ticks {
		ats[i] = t.FireAt
	}
	rows, err := q.RunsOfTicks(ctx, s.row.ScheduleID, ats)
	if err != nil {
		return nil, fmt.Errorf("read runs of ticks: %w", err)
	}
	newest := make(map[int64]db.RunsOfTicksRow, len(rows))
	for _, row := range rows { // in order of their ids
		newest[row.FireAt.UnixNano()] = row
	}
	return newest, nil
}

// want prepares the run of a tick. Params or a group that cannot be evaluated
// fail the tick, and nothing else.
func (d *decisions) want(s *subject, t db.NewestBackfillTicksRow, params map[string]any) {
	created, err := s.rev.Graph.Create(flow.Request{
		Trigger: "backfill", Schedule: s.entry, Params: params, Revision: s.rev.Number, ScheduledAt: t.FireAt, CreatedAt: s.row.Now,
		IntervalStart: t.IntervalStart, IntervalEnd: t.FireAt, Vars: s.vars,
	})
	if err != nil {
		detail := err.Error()
		if refused, ok := errors.AsType[*flow.CreateError](err); ok {
			detail = refused.Error()
		}
		d.tick(s, t.FireAt, "failed", 0, detail)
		s.again = 0
		return
	}
	d.wants = append(d.wants, &want{
		of: s, tick: t, created: created,
		run: flow.Run{
			Namespace: s.place.Namespace, Pipeline: s.place.Pipeline, Trigger: "backfill", ScheduledAt: t.FireAt, CreatedAt: s.row.Now,
			IntervalStart: t.IntervalStart, IntervalEnd: t.FireAt, Params: created.Params, Vars: s.vars, Zone: s.entry.Timezone, Backfill: s.row.ID,
		},
	})
}

// admit keeps those of the wanted runs that their groups have room for.
func (d *decisions) admit(ctx context.Context, q *db.Queries) error {
	if len(d.wants) == 0 {
		return nil
	}
	list := make([]newrun.Group, len(d.wants))
	for i, w := range d.wants {
		list[i] = newrun.Group{Pipeline: w.of.row.PipelineID, Namespace: w.of.place.Namespace, Name: w.created.Group}
	}
	groups, err := newrun.Groups(ctx, q, list)
	if err != nil {
		return err
	}
	loads, err := newrun.LockGroups(ctx, q, groups)
	if err != nil {
		return err
	}
	born := 0
	kept := d.wants[:0]
	for i, w := range d.wants {
		w.group = groups[i]
		s, l := w.of, loads[w.group]
		tasks, finally := s.rev.Graph.Size()
		if born > 0 && born+tasks+finally > maxBorn {
			s.again = 0
			continue
		}
		patient := !s.made && s.row.Open+s.moved.open == 0 && time.Duration(s.row.IdleMs)*time.Millisecond >= flow.BackfillPatience
		v := flow.BackfillAdmits(*l, w.created.Limit, patient)
		switch {
		case !v.Run:
			if s.again < 0 {
				s.again = againForRoom
			}
			continue
		case v.Start:
			w.state = flow.Running
			l.Running++
		default:
			w.state = flow.Queued
			l.Queued++
		}
		born += tasks + finally
		s.made = true
		s.moved.open++ // settled by write
		kept = append(kept, w)
	}
	d.wants = kept
	return nil
}
