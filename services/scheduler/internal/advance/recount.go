package advance

import (
	"context"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// stateRecount is what a wake says that asks for a run to be counted anew.
const stateRecount = "recount"

// recountRun counts a run from its rows instead of from what ended: it was opened
// again and goes on now, or the sweep found that nothing would wake it, so its
// counters are not to be believed. The ends that came with the same wakes are in
// the rows already.
func recountRun(ctx context.Context, q *db.Queries, s *subject) error {
	rows, err := q.RunTasks(ctx, s.in.Run.ID)
	if err != nil {
		return fmt.Errorf("read tasks of run %d: %w", s.in.Run.ID, err)
	}
	var stranded []int32
	var look []flow.End // what waits for no executor: whatever woke it may be lost
	all := make([]flow.Row, len(rows))
	for i, row := range rows {
		all[i] = flow.Row{Number: int(row.Number), State: flow.State(row.State), Reason: row.Reason, Started: row.Started, Expanded: row.Expanded, Again: indexes(row.Again)}
		switch {
		case all[i].State == flow.Waiting && row.Reason != "" && s.rev.Graph.Waiting(int(row.Number)):
			look = append(look, flow.End{Number: int(row.Number), State: flow.Waiting})
		case row.Stranded:
			stranded = append(stranded, row.Number)
			all[i].State = flow.Waiting
		}
	}
	counted := s.rev.Graph.Recount(s.in.Run, slices.Values(all))
	if len(stranded) > 0 {
		if err := q.TakeStranded(ctx, s.in.Run.ID, stranded); err != nil {
			return fmt.Errorf("take stranded tasks back: %w", err)
		}
	}
	s.in = flow.Input{Run: counted.Run, Tasks: counted.Tasks, Due: counted.Due, Look: true, Ends: look}
	for _, number := range stranded {
		s.in.Ends = append(s.in.Ends, flow.End{Number: int(number), State: flow.Waiting})
	}
	// The rows have to say what was counted, whatever the decision changes.
	b := newBatch()
	for _, t := range counted.Tasks {
		if t.State.Ended() || t.State == flow.Ready && t.Fan == nil {
			continue // over, or under way: nothing of it is counted
		}
		b.change(s, flow.Change{Task: t, From: t.State}, nil)
	}
	_, err = b.write(ctx, q)
	return err
}
