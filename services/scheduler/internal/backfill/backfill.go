// Package backfill makes the runs of backfills, a few at a time and while others have what they need.
package backfill

import (
	"context"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

const (
	// batchSize is how many wakes at once mean that there may be more.
	batchSize = 500
	// maxRuns is how many runs one backfill gets in one transaction.
	maxRuns = 100
	// maxBorn is about how many tasks one transaction gives birth to.
	maxBorn = 20_000
)

// How soon a backfill is looked at again by itself. What changes wakes it
// earlier, except that its group has got room: that is found out.
const (
	againForRoom  = 2 * time.Second
	againIfFrozen = 30 * time.Second
	againAnyway   = time.Minute
)

// A Backfiller makes runs of backfills. Backfillers may work side by side: a
// backfill that one has locked is passed over by the others and keeps its wakes.
type Backfiller struct {
	revisions *revision.Cache
	advancer  *advance.Advancer
	told      func(advance.Outcome)
}

// New makes a Backfiller that gives birth to tasks through advancer. told hears
// what each turn did, once it is committed.
func New(revisions *revision.Cache, advancer *advance.Advancer, told func(advance.Outcome)) *Backfiller {
	return &Backfiller{revisions: revisions, advancer: advancer, told: told}
}

// Step looks at one batch of backfills that have been woken.
func (b *Backfiller) Step(ctx context.Context) error {
	out, err := b.advancer.Due(ctx, "b", b.told, b.backfills)
	if err != nil {
		return fmt.Errorf("backfill: %w", err)
	}
	if out.Full {
		return loop.ErrMore
	}
	return nil
}

// backfills decides about backfills, in the order that keeps wakes from being
// lost: lock, take the wakes, then read.
func (b *Backfiller) backfills(ctx context.Context, q *db.Queries, ids []int64) (advance.Outcome, error) {
	var out advance.Outcome
	locked, err := q.LockDueBackfills(ctx, ids)
	if err != nil {
		return out, fmt.Errorf("lock backfills: %w", err)
	}
	if len(locked) < len(ids) {
		if err := q.DropWakesOfGone(ctx, ids); err != nil {
			return out, fmt.Errorf("drop wakes of backfills that are gone: %w", err)
		}
	}
	if len(locked) == 0 {
		return out, nil
	}
	held := make([]int64, len(locked))
	for i, row := range locked {
		held[i] = row.ID
	}
	wakes, err := q.TakeWakes(ctx, db.TakeWakesParams{Kind: "b", Subjects: held})
	if err != nil {
		return out, fmt.Errorf("take wakes: %w", err)
	}
	d, err := b.load(ctx, q, locked)
	if err != nil {
		return out, err
	}
	if err := d.settle(ctx, q, held); err != nil {
		return out, err
	}
	for _, s := range d.subjects {
		if err := d.choose(ctx, q, s); err != nil {
			return out, err
		}
	}
	if err := d.admit(ctx, q); err != nil {
		return out, err
	}
	if err := d.write(ctx, q); err != nil {
		return out, err
	}
	if err := d.count(ctx, q); err != nil {
		return out, err
	}
	var born []advance.Born
	for _, w := range d.wants {
		if w.state == flow.Running {
			born = append(born, advance.Born{PipelineID: w.of.row.PipelineID, Revision: w.of.rev, Run: w.run})
		} else {
			out.Woken = true
		}
	}
	started, err := b.advancer.Start(ctx, q, born)
	out.Add(started)
	if err != nil {
		return out, err
	}
	out.Full = out.Full || d.more || len(wakes) >= batchSize
	return out, out.Roll(ctx, q)
}
