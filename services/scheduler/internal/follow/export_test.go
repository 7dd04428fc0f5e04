package follow

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

// Make makes what is asked for in the caller's transaction.
func (f *Follower) Make(ctx context.Context, q *db.Queries) error {
	wants, err := lock(ctx, q, batchSize)
	if err != nil || len(wants) == 0 {
		return err
	}
	return f.make(ctx, q, wants, &advance.Outcome{})
}
