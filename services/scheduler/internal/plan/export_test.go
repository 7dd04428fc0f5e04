package plan

import (
	"context"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// At lets a clock stand still for the planner.
func (p *Planner) At(now time.Time) { p.now = &now }

// Decide decides what is due in the caller's transaction.
func (p *Planner) Decide(ctx context.Context, q *db.Queries) error {
	due, err := lock(ctx, q, p.now, batchSize)
	if err != nil || len(due) == 0 {
		return err
	}
	return p.batch(ctx, q, due, &Outcome{Ticks: map[string]int{}})
}
