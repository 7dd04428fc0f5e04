package advance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// cancel does in bulk what a decision asks for: everything in a range that
// never started ends canceled, live attempts are asked to stop. It returns what
// ended, for the next decision.
//
// The order matters: the rows in the queues go first, so that no claim takes
// them any more; what a claim took just before is live by then, and is asked to
// stop; only what is neither ends here.
func cancel(ctx context.Context, q *db.Queries, s *subject) (ends []flow.End, stopped bool, err error) {
	type span struct {
		first, last int
		reason      string
	}
	var spans []span
	for _, ordinal := range s.decision.CancelItems {
		spans = append(spans, span{flow.ItemNumber(ordinal, 0), flow.Number(ordinal+1) - 1, flow.ReasonFailFast})
	}
	if p := s.decision.CancelPhase; p != nil {
		spans = append(spans, span{p.From, p.To - 1, p.Reason})
	}
	items := map[int]int{} // ordinal of a fan-out → how many of its items ended
	for _, sp := range spans {
		if err := q.WithdrawRange(ctx, db.WithdrawRangeParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last)}); err != nil {
			return nil, false, fmt.Errorf("withdraw tasks: %w", err)
		}
		live, err := q.StopRange(ctx, db.StopRangeParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last), Reason: sp.reason})
		if err != nil {
			return nil, false, fmt.Errorf("stop attempts: %w", err)
		}
		stopped = stopped || len(live) > 0
		gone, err := q.CancelRange(ctx, db.CancelRangeParams{RunID: s.in.Run.ID, First: int32(sp.first), Last: int32(sp.last), Reason: sp.reason})
		if err != nil {
			return nil, false, fmt.Errorf("cancel tasks: %w", err)
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
	return ends, stopped, nil
}

// Finish ends runs that never started, in the caller's transaction.
func Finish(ctx context.Context, q *db.Queries, runs map[int64]flow.Finish) (Outcome, error) {
	b := newBatch()
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		if err := b.finish(id, runs[id]); err != nil {
			return Outcome{}, err
		}
	}
	return b.write(ctx, q)
}

// finishRuns ends runs and moves the rollups on.
func (b *batch) finishRuns(ctx context.Context, q *db.Queries, out *Outcome) error {
	rows, err := q.FinishRuns(ctx, b.ends)
	if err != nil {
		return err
	}
	if err := q.DropWakes(ctx, "r", b.ends.RunIds); err != nil {
		return fmt.Errorf("drop wakes: %w", err)
	}
	out.Woken = true // their groups

	type key struct {
		hour     time.Time
		pipeline int64
		state    string
	}
	hours := map[key]int{}
	var count db.CountRunsParams
	var last db.NoteLastRunsParams
	newest := map[int64]int{}
	for _, row := range rows {
		out.Finished = append(out.Finished, End{RunID: row.ID, State: flow.State(row.State), Seconds: row.Seconds})
		k := key{row.EndedAt.UTC().Truncate(time.Hour), row.PipelineID, row.State}
		i, ok := hours[k]
		if !ok {
			i = len(count.Hours)
			hours[k] = i
			count.Hours = append(count.Hours, k.hour)
			count.Pipelines = append(count.Pipelines, k.pipeline)
			count.States = append(count.States, k.state)
			count.Runs = append(count.Runs, 0)
			count.Seconds = append(count.Seconds, 0)
		}
		count.Runs[i]++
		count.Seconds[i] += row.Seconds

		if i, ok = newest[row.PipelineID]; !ok {
			newest[row.PipelineID] = len(last.Pipelines)
			last.Pipelines = append(last.Pipelines, row.PipelineID)
			last.RunIds = append(last.RunIds, row.ID)
			last.States = append(last.States, row.State)
			last.EndedAts = append(last.EndedAts, row.EndedAt)
		} else if last.RunIds[i] < row.ID {
			last.RunIds[i], last.States[i], last.EndedAts[i] = row.ID, row.State, row.EndedAt
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := q.CountRuns(ctx, count); err != nil {
		return fmt.Errorf("count runs: %w", err)
	}
	if err := q.NoteLastRuns(ctx, last); err != nil {
		return fmt.Errorf("note last runs: %w", err)
	}
	return nil
}
