package plan

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/db"
)

// Decide decides what is due in the caller's transaction.
func (p *Planner) Decide(ctx context.Context, q *db.Queries) error {
	due, err := lock(ctx, q, batchSize)
	if err != nil || len(due) == 0 {
		return err
	}
	return p.batch(ctx, q, due, &Outcome{Ticks: map[string]int{}})
}
