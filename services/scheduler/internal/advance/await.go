package advance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// What wakes say by which a run stops those that its tasks called.
const (
	stateCancel      = "cancel"
	stateCancelAgain = "cancel_again"
)

// awaited collects what is written about tasks that wait for no executor.
type awaited struct {
	rows      db.WriteAwaitedParams
	questions db.AskApprovalsParams
	answered  db.CloseApprovalsParams
	children  db.AskChildrenParams
	settled   keys
	timed     db.LeaveTimedWakesParams
	late      []lateChild
	polled    polled
}

// A lateChild is a task whose time is over while its child runs.
type lateChild struct {
	run    int64
	number int
}

// add takes over what the decision about one run says of such tasks.
func (w *awaited) add(s *subject) error {
	d := &s.decision
	for _, a := range d.Await {
		w.row(s, a.Number, flow.Waiting, a.Reason)
		w.rows.WakeAts = append(w.rows.WakeAts, a.WakeAt)
		w.rows.DeadlineAts = append(w.rows.DeadlineAts, a.Deadline)
		w.rows.Failures = append(w.rows.Failures, none)
		w.rows.Attempts = append(w.rows.Attempts, 0)
		w.rows.Details = append(w.rows.Details, "")
		w.rows.Outputs = append(w.rows.Outputs, "")
		w.later(s, a.Number, a.Due())
		if a.HTTP {
			w.polled.add(s, a.Number)
		}
		switch a.Reason {
		case flow.ReasonApproval:
			p := &w.questions
			p.RunIds = append(p.RunIds, s.in.Run.ID)
			p.Numbers = append(p.Numbers, int32(a.Number))
			p.Pipelines = append(p.Pipelines, s.pipelineID)
			p.Prompts = append(p.Prompts, a.Prompt)
			p.DeadlineAts = append(p.DeadlineAts, a.Deadline)
		case flow.ReasonChild:
			params, err := expr.ToJSON(a.Child.Params)
			if err != nil {
				return fmt.Errorf("store params for %s/%s: %w", a.Child.Namespace, a.Child.Name, err)
			}
			p := &w.children
			p.RunIds = append(p.RunIds, s.in.Run.ID)
			p.Numbers = append(p.Numbers, int32(a.Number))
			p.Namespaces = append(p.Namespaces, a.Child.Namespace)
			p.Pipelines = append(p.Pipelines, a.Child.Name)
			p.Params = append(p.Params, string(params))
			p.Waits = append(p.Waits, a.Child.Wait)
		}
	}
	for _, e := range d.Settle {
		if err := w.settle(s, e); err != nil {
			return err
		}
	}
	for _, l := range d.Again {
		w.later(s, l.Number, l.At)
	}
	for _, number := range d.StopChildren {
		w.late = append(w.late, lateChild{s.in.Run.ID, number})
	}
	return nil
}

func (w *awaited) row(s *subject, number int, state flow.State, reason string) {
	w.rows.RunIds = append(w.rows.RunIds, s.in.Run.ID)
	w.rows.Numbers = append(w.rows.Numbers, int32(number))
	w.rows.States = append(w.rows.States, string(state))
	w.rows.Reasons = append(w.rows.Reasons, reason)
}

func (w *awaited) later(s *subject, number int, at time.Time) {
	if at.IsZero() {
		return
	}
	w.timed.RunIds = append(w.timed.RunIds, s.in.Run.ID)
	w.timed.Numbers = append(w.timed.Numbers, int32(number))
	w.timed.Ats = append(w.timed.Ats, at)
}

// settle stores how one ended, or that it tries again later.
func (w *awaited) settle(s *subject, e flow.Settled) error {
	outputs := ""
	if e.State == flow.Succeeded && e.Outputs != nil {
		text, err := expr.ToJSON(e.Outputs)
		if err != nil {
			return fmt.Errorf("store outputs of %d: %w", e.Number, err)
		}
		outputs = string(text)
	}
	was := s.in.Awaited[e.Number].Reason
	attempts := int32(0)
	if was == flow.ReasonChild {
		attempts = 1
		w.settled.add(s.in.Run.ID, e.Number)
	}
	w.row(s, e.Number, e.State, e.Reason)
	w.rows.WakeAts = append(w.rows.WakeAts, e.WakeAt)
	w.rows.DeadlineAts = append(w.rows.DeadlineAts, time.Time{})
	w.rows.Failures = append(w.rows.Failures, int16(e.Failures))
	w.rows.Attempts = append(w.rows.Attempts, attempts)
	w.rows.Details = append(w.rows.Details, e.Detail)
	w.rows.Outputs = append(w.rows.Outputs, outputs)
	w.later(s, e.Number, e.WakeAt)
	w.polled.settle(s, e.Number)
	if was == flow.ReasonApproval {
		decision := ""
		if e.Verdict != nil {
			decision = "rejected"
			if e.Verdict.Approved {
				decision = "approved"
			}
		}
		w.answered.RunIds = append(w.answered.RunIds, s.in.Run.ID)
		w.answered.Numbers = append(w.answered.Numbers, int32(e.Number))
		w.answered.Decisions = append(w.answered.Decisions, decision)
	}
	return nil
}

func (w *awaited) size() int { return len(w.rows.RunIds) + len(w.timed.RunIds) + len(w.late) }

// write stores it all.
func (w *awaited) write(ctx context.Context, q *db.Queries, out *Outcome) error {
	if err := w.polled.drop(ctx, q); err != nil {
		return err
	}
	if len(w.rows.RunIds) > 0 {
		n, err := q.WriteAwaited(ctx, w.rows)
		if err != nil {
			return fmt.Errorf("store tasks that wait: %w", err)
		}
		if n != int64(len(w.rows.RunIds)) {
			return fmt.Errorf("%d of %d tasks did not wait any more", int64(len(w.rows.RunIds))-n, len(w.rows.RunIds))
		}
	}
	if err := w.polled.write(ctx, q, out); err != nil {
		return err
	}
	if len(w.questions.RunIds) > 0 {
		if err := q.AskApprovals(ctx, w.questions); err != nil {
			return fmt.Errorf("ask for approval: %w", err)
		}
	}
	if len(w.answered.RunIds) > 0 {
		if err := q.CloseApprovals(ctx, w.answered); err != nil {
			return fmt.Errorf("close approvals: %w", err)
		}
	}
	if len(w.settled.runs) > 0 {
		if err := q.SettleChildren(ctx, w.settled.runs, w.settled.numbers); err != nil {
			return fmt.Errorf("settle child runs: %w", err)
		}
	}
	if len(w.children.RunIds) > 0 {
		out.Asked = true
		if err := q.AskChildren(ctx, w.children); err != nil {
			return fmt.Errorf("ask for child runs: %w", err)
		}
	}
	for _, l := range w.late {
		if _, err := q.StopChildren(ctx, db.StopChildrenParams{RunID: l.run, First: int32(l.number), Last: int32(l.number), Reason: flow.ReasonTimedOut}); err != nil {
			return fmt.Errorf("stop child runs: %w", err)
		}
		out.Woken = true
	}
	if len(w.timed.RunIds) > 0 {
		if err := q.LeaveTimedWakes(ctx, w.timed); err != nil {
			return fmt.Errorf("leave timed wakes: %w", err)
		}
	}
	return nil
}

// settled are the ends that a decision made of tasks that waited, to be told in
// the next one.
func settled(d flow.Decision) []flow.End {
	var ends []flow.End
	for _, e := range d.Settle {
		if e.State.Ended() {
			ends = append(ends, flow.End{Number: e.Number, State: e.State})
		}
	}
	return ends
}

// stopChildren withdraws what a range of tasks has asked for, and has those runs
// stop that are there already.
func stopChildren(ctx context.Context, q *db.Queries, run int64, first, last int, reason string, again bool) (woken bool, err error) {
	if err := q.WithdrawChildren(ctx, db.WithdrawChildrenParams{RunID: run, First: int32(first), Last: int32(last)}); err != nil {
		return false, fmt.Errorf("withdraw child runs: %w", err)
	}
	n, err := q.StopChildren(ctx, db.StopChildrenParams{RunID: run, First: int32(first), Last: int32(last), Reason: reason, Again: again})
	if err != nil {
		return false, fmt.Errorf("stop child runs: %w", err)
	}
	return n > 0, nil
}

// stopCalled cancels those of the locked runs that the runs which called them
// want to stop.
func stopCalled(ctx context.Context, q *db.Queries, locked []db.LockDueRunsRow, wakes []db.TakeWakesRow) error {
	again := map[int64]bool{}
	for _, w := range wakes {
		if w.State != nil && (*w.State == stateCancel || *w.State == stateCancelAgain) {
			again[w.Subject] = again[w.Subject] || *w.State == stateCancelAgain
		}
	}
	if len(again) == 0 {
		return nil
	}
	p := db.CancelLockedParams{Why: "the task that called it was stopped"}
	now, err := q.ClockNow(ctx)
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	for i := range locked {
		row := &locked[i]
		twice, asked := again[row.RunID]
		if !asked {
			continue
		}
		p.Ids = append(p.Ids, row.RunID)
		if twice {
			p.Agains = append(p.Agains, row.RunID)
		}
		if row.CancelRequestedAt == nil {
			row.CancelRequestedAt = &now
		}
		if twice && row.CancelAgainAt == nil {
			row.CancelAgainAt = &now
		}
	}
	if err := q.CancelLocked(ctx, p); err != nil {
		return fmt.Errorf("cancel child runs: %w", err)
	}
	return nil
}

// loadClock reads the clock for runs in which time is waited for.
func loadClock(ctx context.Context, q *db.Queries, subjects []*subject) error {
	var now time.Time
	for _, s := range subjects {
		if !s.rev.Graph.Awaits() {
			continue
		}
		if now.IsZero() {
			var err error
			if now, err = q.ClockNow(ctx); err != nil {
				return fmt.Errorf("read the clock: %w", err)
			}
		}
		s.in.Now, s.in.Random = now, rand.Float64()
	}
	return nil
}

// loadAwaited reads what decisions ask for about tasks that wait for no executor.
// Questions are locked: from here on nobody answers them.
func loadAwaited(ctx context.Context, q *db.Queries, subjects []*subject) error {
	var all, questions, children, answers keys
	byRun := make(map[int64]*subject, len(subjects))
	for _, s := range subjects {
		byRun[s.in.Run.ID] = s
		for _, number := range s.missing.Awaited {
			all.add(s.in.Run.ID, number)
		}
	}
	if len(all.runs) == 0 {
		return nil
	}
	rows, err := q.AwaitedTasks(ctx, all.runs, all.numbers)
	if err != nil {
		return fmt.Errorf("read tasks that wait: %w", err)
	}
	if len(rows) != len(all.runs) {
		return fmt.Errorf("read tasks that wait: %d of %d rows are not there", len(all.runs)-len(rows), len(all.runs))
	}
	for _, row := range rows {
		a := flow.Awaited{State: flow.State(row.State), Reason: row.Reason, Failures: int(row.Failures)}
		if row.WakeAt != nil {
			a.WakeAt = *row.WakeAt
		}
		if row.DeadlineAt != nil {
			a.Deadline = *row.DeadlineAt
		}
		if row.Item != nil {
			if a.Item, err = expr.FromJSON(row.Item); err != nil {
				return fmt.Errorf("read an item of run %d: %w", row.RunID, err)
			}
		}
		s := byRun[row.RunID]
		if s.in.Awaited == nil {
			s.in.Awaited = map[int]flow.Awaited{}
		}
		s.in.Awaited[int(row.Number)] = a
		switch {
		case a.State != flow.Waiting:
		case a.Reason == flow.ReasonApproval:
			questions.add(row.RunID, int(row.Number))
		case a.Reason == flow.ReasonChild:
			children.add(row.RunID, int(row.Number))
		case a.Reason == flow.ReasonWait:
			if ordinal, _ := flow.Split(int(row.Number)); polls(s, ordinal) {
				answers.add(row.RunID, int(row.Number))
			}
		}
	}
	if err := loadAnswers(ctx, q, byRun, answers); err != nil {
		return err
	}
	if err := loadVerdicts(ctx, q, byRun, questions); err != nil {
		return err
	}
	return loadChildren(ctx, q, byRun, children)
}

func loadVerdicts(ctx context.Context, q *db.Queries, byRun map[int64]*subject, k keys) error {
	if len(k.runs) == 0 {
		return nil
	}
	k.sort()
	rows, err := q.LockApprovals(ctx, k.runs, k.numbers)
	if err != nil {
		return fmt.Errorf("lock approvals: %w", err)
	}
	for _, row := range rows {
		if row.Decision == nil {
			continue
		}
		known := byRun[row.RunID].in.Awaited
		a := known[int(row.Number)]
		a.Decision = &flow.Verdict{Approved: *row.Decision == "approved", By: row.DecidedBy}
		known[int(row.Number)] = a
	}
	return nil
}

func loadChildren(ctx context.Context, q *db.Queries, byRun map[int64]*subject, k keys) error {
	if len(k.runs) == 0 {
		return nil
	}
	rows, err := q.AwaitedChildren(ctx, k.runs, k.numbers)
	if err != nil {
		return fmt.Errorf("read child runs: %w", err)
	}
	for _, row := range rows {
		c := &flow.ChildRun{Refused: row.Refused, Detail: row.Detail, Made: row.RunID != nil, Stop: row.StopReason}
		if row.State != "" {
			c.State, c.Reason = flow.State(row.State), row.EndedReason
			outputs, err := expr.FromJSON(row.Outputs)
			if err != nil {
				return fmt.Errorf("read outputs of run %d: %w", *row.RunID, err)
			}
			c.Outputs, _ = outputs.(map[string]any)
		}
		known := byRun[row.ParentRunID].in.Awaited
		a := known[int(row.ParentNumber)]
		a.Child = c
		known[int(row.ParentNumber)] = a
	}
	return nil
}
