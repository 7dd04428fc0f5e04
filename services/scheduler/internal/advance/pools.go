package advance

import (
	"context"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/db"
)

// pools releases what waits for pools that have been woken, as far as slots
// are free. The lock on a pool's row is what keeps two schedulers from giving
// one slot away twice.
func (a *Advancer) pools(ctx context.Context, q *db.Queries, ids []int64) (Outcome, error) {
	var out Outcome
	locked, err := q.LockPools(ctx, ids)
	if err != nil {
		return out, fmt.Errorf("lock pools: %w", err)
	}
	held := make([]int64, len(locked))
	for i, p := range locked {
		held[i] = p.ID
	}
	if len(held) == 0 {
		return out, nil
	}
	wakes, err := q.TakeWakes(ctx, db.TakeWakesParams{Kind: "p", Subjects: held})
	if err != nil {
		return out, fmt.Errorf("take wakes: %w", err)
	}
	for _, p := range locked {
		n, err := fill(ctx, q, p)
		if err != nil {
			return out, err
		}
		out.Released += n
	}
	out.Full = len(wakes) >= batchSize
	return out, nil
}

// fill gives the free slots of one pool to its first waiters, strictly in
// order: a large one at the front is not overtaken, so nothing starves.
func fill(ctx context.Context, q *db.Queries, p db.LockPoolsRow) (int, error) {
	used, err := q.PoolUse(ctx, p.ID)
	if err != nil {
		return 0, fmt.Errorf("count slots: %w", err)
	}
	free := p.Slots - used
	if free <= 0 {
		return 0, nil
	}
	waiters, err := q.PoolWaiters(ctx, p.ID, free)
	if err != nil {
		return 0, fmt.Errorf("read waiters: %w", err)
	}
	var take keys
	for _, w := range waiters {
		// What asks for more than the pool has (it was made smaller since)
		// takes it alone.
		if w.Slots > free && (used > 0 || len(take.runs) > 0) {
			break
		}
		free -= w.Slots
		take.add(w.RunID, int(w.Number))
		if free <= 0 {
			break
		}
	}
	if len(take.runs) == 0 {
		return 0, nil
	}
	// In order of id: a cancel may be withdrawing some of them.
	take.sort()
	released, err := q.ReleaseWaiters(ctx, take.runs, take.numbers)
	if err != nil {
		return 0, fmt.Errorf("release waiters: %w", err)
	}
	return len(released), nil
}
