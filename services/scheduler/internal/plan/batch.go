package plan

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

// States of a tick.
const (
	tickRun     = "run"
	tickSkipped = "skipped"
	tickMissed  = "missed"
	tickFailed  = "failed"
)

// batch decides schedules that are locked: every due tick gets its row, those
// that become runs get their run in the same transaction, and the schedules
// move on.
func (p *Planner) batch(ctx context.Context, q *db.Queries, due []db.LockDueSchedulesRow, out *Outcome) error {
	d := &decisions{now: due[0].Now}
	revisions, err := p.load(ctx, q, due)
	if err != nil {
		return err
	}
	vars, err := namespaceVars(ctx, q, due)
	if err != nil {
		return err
	}
	for _, s := range due {
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
	return err
}

// load gives the revisions of schedules. A revision that cannot be read breaks
// its schedules, not the batch.
func (p *Planner) load(ctx context.Context, q *db.Queries, due []db.LockDueSchedulesRow) (map[int64]*revision.Revision, error) {
	ids := make([]int64, len(due))
	for i, s := range due {
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

func namespaceVars(ctx context.Context, q *db.Queries, due []db.LockDueSchedulesRow) (map[string]map[string]string, error) {
	vars := map[string]map[string]string{}
	for _, s := range due {
		vars[s.Namespace] = map[string]string{}
	}
	rows, err := q.NamespaceVars(ctx, slices.Sorted(maps.Keys(vars)))
	if err != nil {
		return nil, fmt.Errorf("read vars: %w", err)
	}
	for _, row := range rows {
		vars[row.Namespace][row.Name] = row.Value
	}
	return vars, nil
}

// decisions are what one batch of schedules comes to.
type decisions struct {
	now    time.Time
	ticks  db.InsertTicksParams
	wants  []*want
	moved  []int64
	nexts  []time.Time
	broken map[int64]string // schedule → why
}

func (d *decisions) tick(s db.LockDueSchedulesRow, r schedule.Range, state, reason, detail string) int {
	p := &d.ticks
	p.Schedules = append(p.Schedules, s.ID)
	p.FireAts = append(p.FireAts, r.From)
	p.States = append(p.States, state)
	p.Reasons = append(p.Reasons, reason)
	until := time.Time{}
	if r.Until.After(r.From) {
		until = r.Until
	}
	p.Untils = append(p.Untils, until)
	p.Counts = append(p.Counts, max(1, r.Count))
	p.RunIds = append(p.RunIds, 0)
	p.Details = append(p.Details, detail)
	return len(p.States) - 1
}

func one(at time.Time) schedule.Range { return schedule.Range{From: at, Until: at, Count: 1} }

// schedule decides the due ticks of one schedule. A panic in the arithmetic of
// one must not take the others down.
func (d *decisions) schedule(s db.LockDueSchedulesRow, rev *revision.Revision, vars map[string]string) {
	ticks, wants := len(d.ticks.States), len(d.wants)
	err := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		return d.due(s, rev, vars)
	}()
	if err == nil {
		return
	}
	d.truncate(ticks)
	d.wants = d.wants[:wants]
	d.tick(s, one(s.NextAt), tickFailed, "broken", err.Error())
	if d.broken == nil {
		d.broken = map[int64]string{}
	}
	d.broken[s.ID] = err.Error()
}

func (d *decisions) truncate(n int) {
	p := &d.ticks
	p.Schedules, p.FireAts, p.States, p.Reasons = p.Schedules[:n], p.FireAts[:n], p.States[:n], p.Reasons[:n]
	p.Untils, p.Counts, p.RunIds, p.Details = p.Untils[:n], p.Counts[:n], p.RunIds[:n], p.Details[:n]
}

func (d *decisions) due(s db.LockDueSchedulesRow, rev *revision.Revision, vars map[string]string) error {
	if rev == nil {
		return errors.New("its definition cannot be read")
	}
	sched, entry, err := rev.Schedule(s.Name)
	if err != nil {
		return err
	}
	due := sched.Due(s.NextAt, d.now, schedule.Policy{Catchup: schedule.Catchup(entry.Catchup), Window: time.Duration(entry.CatchupWindow)})
	held := ""
	switch {
	case s.Paused:
		held = "paused"
	case s.Frozen:
		held = "frozen"
	}
	if held != "" {
		if len(due.Missed) > 0 || len(due.Run) > 0 {
			for _, r := range due.Missed {
				d.tick(s, r, tickSkipped, held, "")
			}
			for _, at := range due.Run {
				d.tick(s, one(at), tickSkipped, held, "")
			}
		}
	} else {
		for _, r := range due.Missed {
			d.tick(s, r, tickMissed, "", "")
		}
		for _, at := range due.Run {
			d.want(s, rev, sched, entry.ID, at, vars)
		}
	}
	d.moved = append(d.moved, s.ID)
	d.nexts = append(d.nexts, due.Next)
	return nil
}

// want prepares the run of a tick. Params or a group that cannot be evaluated
// fail the tick.
func (d *decisions) want(s db.LockDueSchedulesRow, rev *revision.Revision, sched *schedule.Schedule, id string, at time.Time, vars map[string]string) {
	start, end := sched.Interval(at)
	_, entry, err := rev.Schedule(id)
	if err != nil {
		d.tick(s, one(at), tickFailed, "expression", err.Error())
		return
	}
	created, err := rev.Graph.Create(flow.Request{
		Trigger: "schedule", Schedule: entry, ScheduledAt: at, CreatedAt: d.now,
		IntervalStart: start, IntervalEnd: end, Vars: vars,
	})
	if err != nil {
		reason := "expression"
		if refused, ok := errors.AsType[*flow.CreateError](err); ok {
			reason = refused.Reason
		}
		d.tick(s, one(at), tickFailed, reason, err.Error())
		return
	}
	d.wants = append(d.wants, &want{
		schedule: s, rev: rev, fireAt: at, created: created, scheduled: d.tick(s, one(at), tickRun, "", ""),
		run: flow.Run{
			Namespace: s.Namespace, Pipeline: s.Pipeline, Trigger: "schedule", ScheduledAt: at, CreatedAt: d.now,
			IntervalStart: start, IntervalEnd: end, Params: created.Params, Vars: vars, Zone: entry.Timezone,
		},
	})
}

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
	type load struct{ running, queued, counted int }
	loads := make(map[int64]*load, len(ids))
	for _, id := range ids {
		loads[id] = &load{}
	}
	for _, row := range rows {
		*loads[row.GroupID] = load{int(row.Running), int(row.Queued), int(row.Counted)}
	}
	kept := d.wants[:0]
	for _, w := range d.wants {
		l := loads[w.group]
		v := flow.AdmitTick(l.running, l.queued, l.counted, flow.QueuedRun{
			Limit: w.created.Limit, MaxQueued: w.created.MaxQueued, OnConflict: w.created.OnConflict, FromTick: true, Counted: w.counted(d.now),
		})
		switch {
		case !v.Run:
			d.ticks.States[w.scheduled], d.ticks.Reasons[w.scheduled] = tickSkipped, v.Reason
			continue
		case v.Start:
			w.state = flow.Running
			l.running++
		default:
			w.state = flow.Queued
			l.queued++
			if w.counted(d.now) {
				l.counted++
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
		if err := q.MoveSchedules(ctx, d.moved, d.nexts); err != nil {
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
	counts := map[int64]int64{}
	for _, w := range d.wants {
		counts[w.schedule.PipelineID]++
	}
	pipelines := slices.Sorted(maps.Keys(counts))
	each := make([]int64, len(pipelines))
	for i, id := range pipelines {
		each[i] = counts[id]
	}
	drawn, err := q.DrawNumbers(ctx, pipelines, each)
	if err != nil {
		return fmt.Errorf("draw run numbers: %w", err)
	}
	next := map[int64]int64{}
	for _, row := range drawn {
		next[row.PipelineID] = row.Last - counts[row.PipelineID] + 1
	}
	var runs db.InsertRunsParams
	var open db.InsertOpenRunsParams
	var told db.InsertRunEventsParams
	var wake []int64
	for i, w := range d.wants {
		w.run.ID, w.run.Number = ids[i], next[w.schedule.PipelineID]
		next[w.schedule.PipelineID]++
		d.ticks.RunIds[w.scheduled] = w.run.ID
		params, err := expr.ToJSON(w.created.Params)
		if err != nil {
			return fmt.Errorf("store params of %s/%s: %w", w.run.Namespace, w.run.Pipeline, err)
		}
		vars, err := json.Marshal(w.run.Vars)
		if err != nil {
			return fmt.Errorf("store vars: %w", err)
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
		open.Counteds = append(open.Counteds, w.counted(d.now))

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
