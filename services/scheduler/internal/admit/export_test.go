package admit

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/db"
)

// Decide decides about groups in the caller's transaction.
func (a *Admitter) Decide(ctx context.Context, q *db.Queries, ids ...int64) error {
	_, err := a.groups(ctx, q, ids)
	return err
}
