package follow

import (
	"context"
	"errors"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

// Why a trigger starts no run.
const (
	reasonPaused  = "paused"
	reasonResult  = "result" // another result is waited for, or the run was opened again, or the trigger has gone
	reasonIf      = "if"
	maxNoteLength = 1000
)

// A trigger is what a run is asked for by when no task does.
type trigger struct {
	row    db.LockFollowUpsRow
	event  flow.Event
	failed string // why the run fails at once
	detail string
}

// lockTriggers locks up to n runs that triggers ask for.
func lockTriggers(ctx context.Context, q *db.Queries, n int) ([]*want, error) {
	rows, err := q.LockFollowUps(ctx, int32(n))
	if err != nil {
		return nil, fmt.Errorf("lock runs that triggers ask for: %w", err)
	}
	wants := make([]*want, len(rows))
	for i, row := range rows {
		wants[i] = &want{
			ask: db.LockAskedChildrenRow{
				Namespace: row.Namespace, Pipeline: row.Pipeline,
				ScheduledAt: row.ScheduledAt, IntervalStart: row.IntervalStart, IntervalEnd: row.IntervalEnd, BackfillID: row.BackfillID, Now: row.Now,
			},
			trigger: &trigger{row: row, event: flow.Event{
				ID: row.UpstreamRunID, Number: row.Number, Namespace: row.UpstreamNamespace, Pipeline: row.Upstream,
				State: flow.State(row.State), Reason: row.Reason, IntervalStart: row.IntervalStart, IntervalEnd: row.IntervalEnd,
			}},
		}
	}
	return wants, nil
}

// look decides what can be decided without evaluating anything. The newest
// definition counts: it may have lost the trigger since the run has ended.
func (t *trigger) look(w *want) {
	switch {
	case !w.rev.Graph.Answers(int(t.row.Ordinal), t.event):
		w.refuse(reasonResult, "")
	case t.row.Paused:
		w.refuse(reasonPaused, "")
	}
}

// workOut evaluates the condition and the params of a trigger.
func (t *trigger) workOut(w *want) error {
	var err error
	if t.event.Params, err = object(t.row.Params); err != nil {
		return fmt.Errorf("read params of run %d: %w", t.event.ID, err)
	}
	if t.event.Outputs, err = object(t.row.Outputs); err != nil {
		return fmt.Errorf("read outputs of run %d: %w", t.event.ID, err)
	}
	params, ok, err := w.rev.Graph.Triggered(int(t.row.Ordinal), t.event, w.request.Vars)
	if err == nil && !ok {
		w.refuse(reasonIf, "")
		return nil
	}
	if err == nil {
		w.request.Params = params
		w.created, err = w.rev.Graph.Create(w.request)
	}
	if err != nil {
		bad, ok := errors.AsType[*flow.CreateError](err)
		if !ok {
			return err
		}
		t.fail(w, bad.Reason, bad.Error())
	}
	if t.row.Depth > flow.MaxTriggerDepth {
		t.failed, t.detail = flow.ReasonTriggerDepth, fmt.Sprintf("%d runs have started each other in a row, %d at most", t.row.Depth, flow.MaxTriggerDepth)
	}
	return nil
}

// fail has a run made that fails at once, in its pipeline's own group: what is
// wrong is to be seen, and told like any other failure.
func (t *trigger) fail(w *want, reason, detail string) {
	t.failed, t.detail = reason, detail
	w.request.Params, w.created = nil, flow.Created{Params: map[string]any{}, Limit: max(1, w.rev.Graph.Pipeline().Concurrency.Limit)}
}

// answer is a word for the metrics.
func (t *trigger) answer(w *want) string {
	switch {
	case w.reason != "":
		return w.reason
	case t.failed != "":
		return "failed"
	}
	return "run"
}

func object(data []byte) (map[string]any, error) {
	v, err := expr.FromJSON(data)
	if err != nil {
		return nil, err
	}
	m, _ := v.(map[string]any)
	return m, nil
}

// note says of a run that ends at once what was wrong. Which run it comes after
// is a link, which not everybody may follow.
func (w *want) note() string {
	if !w.ended() {
		return ""
	}
	if r := []rune(w.trigger.detail); len(r) > maxNoteLength {
		return string(r[:maxNoteLength-1]) + "…"
	}
	return w.trigger.detail
}

// endFailed ends the runs that fail at once.
func endFailed(ctx context.Context, q *db.Queries, wants []*want, out *advance.Outcome) error {
	ends := map[int64]flow.Finish{}
	for _, w := range wants {
		if w.ended() {
			ends[w.id] = flow.Finish{State: flow.Failed, Reason: w.trigger.failed}
		}
	}
	if len(ends) == 0 {
		return nil
	}
	done, err := advance.Finish(ctx, q, ends)
	if err != nil {
		return fmt.Errorf("end runs that fail at once: %w", err)
	}
	if err := done.Roll(ctx, q); err != nil {
		return err
	}
	out.Add(done)
	return nil
}

// answerTriggers stores what became of what triggers asked for. People are told
// where they may have expected a run.
func answerTriggers(ctx context.Context, q *db.Queries, wants []*want) error {
	var p db.AnswerFollowUpsParams
	for _, w := range wants {
		var id int64
		if w.reason == "" {
			id = w.id
		}
		p.Upstreams = append(p.Upstreams, w.trigger.row.UpstreamRunID)
		p.Pipelines = append(p.Pipelines, w.trigger.row.PipelineID)
		p.Ordinals = append(p.Ordinals, w.trigger.row.Ordinal)
		p.Depths = append(p.Depths, w.trigger.row.Depth)
		p.RunIds = append(p.RunIds, id)
		p.Reasons = append(p.Reasons, w.reason)
		p.Tolds = append(p.Tolds, w.reason == reasonPaused || w.reason == reasonBroken)
	}
	if err := q.AnswerFollowUps(ctx, p); err != nil {
		return fmt.Errorf("answer triggers: %w", err)
	}
	return nil
}
