package advance

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// cancel does in bulk what a decision asks for: everything in a range that
// never started ends canceled, live attempts are asked to stop. It returns what
// ended, for the next decision.
//
// The order matters, and each is a statement of its own, which sees what has
// committed before it: first the pools' queues are emptied, so that no pool
// releases anything more; then what it released just before is taken back, so
// that no claim takes it; what a claim took just before is live by then, and is
// asked to stop, and so are the runs that tasks have called; only what is none
// of these ends here.
func cancel(ctx context.Context, q *db.Queries, s *subject) (ends []flow.End, out Outcome, err error) {
	type span struct {
		first, last int
		reason      string
		again       bool
	}
	var spans []span
	for _, ordinal := range s.decision.CancelItems {
		spans = append(spans, span{flow.ItemNumber(ordinal, 0), flow.Number(ordinal+1) - 1, flow.ReasonFailFast, false})
	}
	if p := s.decision.CancelPhase; p != nil {
		spans = append(spans, span{p.From, p.To - 1, p.Reason, p.Again})
	}
	items := map[int]int{} // ordinal of a fan-out → how many of its items ended
	for _, sp := range spans {
		if err := q.WithdrawWaiting(ctx, db.WithdrawWaitingParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last)}); err != nil {
			return nil, out, fmt.Errorf("withdraw tasks from pools: %w", err)
		}
		if err := q.WithdrawReady(ctx, db.WithdrawReadyParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last)}); err != nil {
			return nil, out, fmt.Errorf("withdraw tasks: %w", err)
		}
		live, err := q.StopRange(ctx, db.StopRangeParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last), Reason: sp.reason})
		if err != nil {
			return nil, out, fmt.Errorf("stop attempts: %w", err)
		}
		out.Stopped = out.Stopped || len(live) > 0
		if s.rev.Graph.Calls() {
			woken, err := stopChildren(ctx, q, s.in.Run.ID, sp.first, sp.last, sp.reason, sp.again)
			if err != nil {
				return nil, out, err
			}
			out.Woken = out.Woken || woken
		}
		if s.rev.Graph.Polls() {
			if err := q.WithdrawHTTPWaits(ctx, db.WithdrawHTTPWaitsParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last)}); err != nil {
				return nil, out, fmt.Errorf("withdraw what waits for answers: %w", err)
			}
		}
		gone, err := q.CancelRange(ctx, db.CancelRangeParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last), Reason: sp.reason, PipelineID: s.pipelineID})
		if err != nil {
			return nil, out, fmt.Errorf("cancel tasks: %w", err)
		}
		if s.rev.Graph.Asks() {
			if err := q.CloseApprovalsOf(ctx, db.CloseApprovalsOfParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last)}); err != nil {
				return nil, out, fmt.Errorf("close approvals: %w", err)
			}
		}
		for _, number := range gone {
			ordinal, index := flow.Split(int(number))
			if index >= 0 {
				items[ordinal]++
				continue
			}
			ends = append(ends, flow.End{Number: int(number), State: flow.Canceled})
		}
	}
	for ordinal, n := range items {
		ends = append(ends, flow.End{Number: flow.ItemNumber(ordinal, 0), State: flow.Canceled, Count: n})
	}
	return ends, out, nil
}

// Finish ends runs that never started, in the caller's transaction. One that has
// ended already stays as it is.
func Finish(ctx context.Context, q *db.Queries, runs map[int64]flow.Finish) (Outcome, error) {
	if len(runs) == 0 {
		return Outcome{}, nil
	}
	b := newBatch()
	ids := slices.Sorted(maps.Keys(runs))
	if err := q.LockRuns(ctx, ids); err != nil {
		return Outcome{}, fmt.Errorf("lock runs: %w", err)
	}
	for _, id := range ids {
		if err := b.finish(id, runs[id]); err != nil {
			return Outcome{}, err
		}
	}
	return b.end(ctx, q)
}

// end writes the ends of runs that are queued. Of those that were opened again the
// tasks are there: what was to run again ends with them.
func (b *batch) end(ctx context.Context, q *db.Queries) (Outcome, error) {
	if len(b.ends.RunIds) > 0 {
		if err := q.CloseReopened(ctx, b.ends.RunIds); err != nil {
			return Outcome{}, fmt.Errorf("close runs that were opened again: %w", err)
		}
	}
	return b.write(ctx, q)
}

// finishRuns ends runs. The rollups follow at the end of the transaction (Roll).
func (b *batch) finishRuns(ctx context.Context, q *db.Queries, out *Outcome) error {
	rows, err := q.FinishRuns(ctx, b.ends)
	if err != nil {
		return err
	}
	if err := q.DropWakes(ctx, b.ends.RunIds); err != nil {
		return fmt.Errorf("drop wakes: %w", err)
	}
	out.Woken = true // their groups
	out.ended = append(out.ended, rows...)
	for _, row := range rows {
		out.Backfill = out.Backfill || row.BackfillID > 0
		out.Asked = out.Asked || row.Followed
		out.Finished = append(out.Finished, End{RunID: row.ID, State: flow.State(row.State), Seconds: row.Seconds})
	}
	return nil
}
