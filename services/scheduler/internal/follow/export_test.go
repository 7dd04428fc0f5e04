package follow

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

// Make makes what is asked for in the caller's transaction.
func (f *Follower) Make(ctx context.Context, q *db.Queries) error {
	for _, k := range []queue{f.calls, f.triggers} {
		wants, err := k.lock(ctx, q, batchSize)
		if err != nil {
			return err
		}
		if len(wants) == 0 {
			continue
		}
		if err := f.make(ctx, q, wants, &advance.Outcome{}); err != nil {
			return err
		}
		if err := k.answer(ctx, q, wants); err != nil {
			return err
		}
	}
	return nil
}
