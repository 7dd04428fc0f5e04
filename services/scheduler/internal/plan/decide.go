package plan

import (
	"errors"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// States of a tick.
const (
	tickRun     = "run"
	tickSkipped = "skipped"
	tickMissed  = "missed"
	tickFailed  = "failed"
)

// decisions are what one batch of schedules comes to.
type decisions struct {
	now    time.Time
	pace   gate.Pace
	ticks  db.InsertTicksParams
	wants  []*want
	moved  []int64
	nexts  []time.Time
	broken map[int64]string // schedule → why
}

func (d *decisions) tick(s due, r schedule.Range, state, reason, detail string) int {
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
func (d *decisions) schedule(s due, rev *revision.Revision, vars map[string]string) {
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

func (d *decisions) due(s due, rev *revision.Revision, vars map[string]string) error {
	if rev == nil {
		return errors.New("its definition cannot be read")
	}
	sched, entry, err := rev.Schedule(s.Name)
	if err != nil {
		return err
	}
	paused, now := s.Paused && (s.PausedUntil == nil || s.PausedUntil.After(d.now)), d.now
	if s.Paused && !paused && !s.NextAt.After(*s.PausedUntil) {
		// The pause is over and nobody has noticed yet. What came due in it is
		// decided now, what came later by itself.
		paused, now = true, *s.PausedUntil
	}
	ticks := sched.Due(s.NextAt, now, schedule.Policy{Catchup: schedule.Catchup(entry.Catchup), Window: time.Duration(entry.CatchupWindow)})
	if held := string(gate.Ticks(paused, s.Frozen)); held != "" {
		if len(ticks.Missed) > 0 || len(ticks.Run) > 0 {
			for _, r := range ticks.Missed {
				d.tick(s, r, tickSkipped, held, "")
			}
			for _, at := range ticks.Run {
				d.tick(s, one(at), tickSkipped, held, "")
			}
		}
	} else {
		for _, r := range ticks.Missed {
			d.tick(s, r, tickMissed, "", "")
		}
		for _, at := range ticks.Run {
			d.want(s, rev, sched, entry.ID, at, vars)
		}
	}
	d.moved = append(d.moved, s.ID)
	d.nexts = append(d.nexts, ticks.Next)
	return nil
}

// want prepares the run of a tick. Params or a group that cannot be evaluated
// fail the tick.
func (d *decisions) want(s due, rev *revision.Revision, sched *schedule.Schedule, id string, at time.Time, vars map[string]string) {
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
