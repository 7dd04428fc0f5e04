package advance

import (
	"context"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// polled collects what is written about tasks that wait for what services answer.
type polled struct {
	begin db.InsertHTTPWaitsParams
	over  keys
}

// add has a task begin to wait.
func (p *polled) add(s *subject, number int) {
	ordinal, _ := flow.Split(number)
	w := s.rev.Graph.Task(ordinal).Wait.HTTP
	b := &p.begin
	b.RunIds = append(b.RunIds, s.in.Run.ID)
	b.Numbers = append(b.Numbers, int32(number))
	b.Revisions = append(b.Revisions, s.rev.ID)
	b.Targets = append(b.Targets, w.Target)
	b.EveriesMs = append(b.EveriesMs, int32(w.Every.Std().Milliseconds()))
}

// settle removes the wait of a task that ends.
func (p *polled) settle(s *subject, number int) {
	if ordinal, _ := flow.Split(number); polls(s, ordinal) {
		p.over.add(s.in.Run.ID, number)
	}
}

func polls(s *subject, ordinal int) bool {
	t := s.rev.Graph.Task(ordinal)
	return t.Wait != nil && t.Wait.HTTP != nil
}

// drop removes waits, before their tasks end.
func (p *polled) drop(ctx context.Context, q *db.Queries) error {
	if len(p.over.runs) == 0 {
		return nil
	}
	p.over.sort()
	if err := q.DropHTTPWaits(ctx, p.over.runs, p.over.numbers); err != nil {
		return fmt.Errorf("remove what waits for answers: %w", err)
	}
	return nil
}

// write stores the new waits.
func (p *polled) write(ctx context.Context, q *db.Queries, out *Outcome) error {
	if len(p.begin.RunIds) == 0 {
		return nil
	}
	out.Polls = true
	if err := q.InsertHTTPWaits(ctx, p.begin); err != nil {
		return fmt.Errorf("store what waits for answers: %w", err)
	}
	return nil
}

// loadAnswers reads which waits an answer has ended, and locks them.
func loadAnswers(ctx context.Context, q *db.Queries, byRun map[int64]*subject, k keys) error {
	if len(k.runs) == 0 {
		return nil
	}
	k.sort()
	rows, err := q.LockHTTPAnswers(ctx, k.runs, k.numbers)
	if err != nil {
		return fmt.Errorf("lock what waits for answers: %w", err)
	}
	for _, row := range rows {
		if row.State == nil {
			continue
		}
		answer := &flow.Answer{State: flow.State(*row.State), Reason: row.Reason, Detail: row.Detail}
		if row.Outputs != nil {
			outputs, err := expr.FromJSON(row.Outputs)
			if err != nil {
				return fmt.Errorf("read outputs of run %d: %w", row.RunID, err)
			}
			answer.Outputs, _ = outputs.(map[string]any)
		}
		known := byRun[row.RunID].in.Awaited
		a := known[int(row.Number)]
		a.Answer = answer
		known[int(row.Number)] = a
	}
	return nil
}
