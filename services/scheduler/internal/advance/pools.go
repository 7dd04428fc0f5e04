package advance

import (
	"context"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
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

// fill gives the free slots of one pool to its waiters, as flow decides.
func fill(ctx context.Context, q *db.Queries, p db.LockPoolsRow) (int, error) {
	used, err := q.PoolUse(ctx, p.ID)
	if err != nil {
		return 0, fmt.Errorf("count slots: %w", err)
	}
	free := p.Slots - used
	if free <= 0 {
		return 0, nil
	}
	// More than there are free slots are never released.
	waiters, err := q.PoolWaiters(ctx, p.ID, free)
	if err != nil {
		return 0, fmt.Errorf("read waiters: %w", err)
	}
	pool := flow.Pool{
		Slots: int(p.Slots), Reserve: int(p.ReserveScheduled), Used: int(used), SinceFloor: time.Duration(p.SinceFloorMs) * time.Millisecond,
	}
	if err := backfills(ctx, q, p.ID, waiters, &pool); err != nil {
		return 0, err
	}
	queue := make([]flow.PoolWaiter, len(waiters))
	for i, w := range waiters {
		queue[i] = flow.PoolWaiter{Slots: int(w.Slots), Backfill: w.BackfillID, Waited: time.Duration(w.WaitedMs) * time.Millisecond}
	}
	d := flow.ReleaseFromPool(pool, queue)
	var take keys
	for i, w := range waiters {
		if d.Stay[i] == "" {
			take.add(w.RunID, int(w.Number))
		}
	}
	if len(take.runs) == 0 {
		return 0, nil
	}
	if d.Floor {
		if err := q.NoteFloor(ctx, p.ID); err != nil {
			return 0, fmt.Errorf("note that a backfill was let past: %w", err)
		}
	}
	// In order of id: a cancel may be withdrawing some of them.
	take.sort()
	released, err := q.ReleaseWaiters(ctx, take.runs, take.numbers)
	if err != nil {
		return 0, fmt.Errorf("release waiters: %w", err)
	}
	return len(released), nil
}

// backfills adds to a pool what backfills hold of it. It is counted only where
// one of them waits.
func backfills(ctx context.Context, q *db.Queries, id int64, waiters []db.PoolWaitersRow, pool *flow.Pool) error {
	shares := map[int64]int{}
	for _, w := range waiters {
		if w.BackfillID != 0 {
			shares[w.BackfillID] = int(w.Share)
		}
	}
	if len(shares) == 0 {
		return nil
	}
	rows, err := q.PoolUseByBackfill(ctx, id)
	if err != nil {
		return fmt.Errorf("count slots of backfills: %w", err)
	}
	pool.Used, pool.Backfills = 0, make(map[int64]flow.BackfillUse, len(shares))
	held := map[int64]int{}
	for _, row := range rows {
		pool.Used += int(row.Used)
		if row.BackfillID != 0 {
			pool.BackfillsUsed += int(row.Used)
			held[row.BackfillID] = int(row.Used)
		}
	}
	for id, share := range shares {
		pool.Backfills[id] = flow.BackfillUse{Used: held[id], Share: share}
	}
	return nil
}
