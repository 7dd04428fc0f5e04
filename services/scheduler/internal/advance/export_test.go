package advance

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/db"
)

// Runs decides about runs in the caller's transaction.
func (a *Advancer) Runs(ctx context.Context, q *db.Queries, ids ...int64) error {
	_, err := a.runs(ctx, q, ids)
	return err
}

// Pools decides about pools in the caller's transaction.
func (a *Advancer) Pools(ctx context.Context, q *db.Queries, ids ...int64) error {
	_, err := a.pools(ctx, q, ids)
	return err
}
