package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// planKey names a task of a revision.
type planKey struct {
	revision int64
	ordinal  int
}

// load reads what a batch of claimed attempts is given, and queues them. While
// the database is away it tries again, as long as the lease holds.
func (w *Worker) load(batch []*held) {
	ctx := w.ctx
	broken := map[*held]error{}
	for try := 0; ; try++ {
		err := w.loadOnce(ctx, batch, broken)
		if err == nil {
			break
		}
		if ctx.Err() != nil || !w.cfg.Lease.Held() {
			break // whoever loses the lease drops what is held
		}
		if !db.IsUnavailable(err) && try >= 3 {
			w.cfg.Log.Error("read what tasks are given", "err", err)
			for _, h := range batch {
				if broken[h] == nil {
					broken[h] = errLoad
				}
			}
			break
		}
		clear(broken)
		if !sleep(ctx, min(50*time.Millisecond<<min(try, 10), time.Second)/2+rand.N(25*time.Millisecond)) {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loading -= len(batch)
	for _, h := range batch {
		h.phase = queued
		if h.task == nil { // its definition cannot be read: nobody can run it
			h.task = &pipeline.Task{}
		}
		switch err := broken[h]; {
		case errors.Is(err, errLoad):
			w.end(h, handBack(err.Error()))
		case err != nil:
			w.end(h, unstarted(flow.AttemptFailed, process.ReasonStart, err.Error()))
		case h.lost || w.lost:
			w.end(h, handBack(""))
		case h.stop != "":
			w.end(h, unstarted(flow.AttemptCanceled, h.stop, ""))
		case w.draining:
			w.end(h, handBack("the executor shuts down"))
		default:
			w.queue = append(w.queue, h)
		}
	}
	w.dispatch()
}

var errLoad = errors.New("what it is given could not be read")

// loadOnce is one try. Attempts that can never be given what they need are in
// broken.
func (w *Worker) loadOnce(ctx context.Context, batch []*held, broken map[*held]error) error {
	ids := make([]int64, 0, len(batch))
	for _, h := range batch {
		ids = append(ids, h.revision)
	}
	slices.Sort(ids)
	found, bad, err := w.cfg.Revisions.Load(ctx, w.cfg.Control.Queries(), slices.Compact(ids))
	if err != nil {
		return err
	}
	r := newReading(w)
	ready := make([]*held, 0, len(batch))
	for _, h := range batch {
		rev := found[h.revision]
		if rev == nil {
			broken[h] = fmt.Errorf("its definition cannot be read: %w", bad[h.revision])
			continue
		}
		if h.task = rev.Graph.Task(h.ordinal); h.task == nil {
			broken[h] = fmt.Errorf("its definition has no task %d", h.ordinal)
			continue
		}
		if h.plan, err = w.plan(rev, h.ordinal); err != nil {
			broken[h] = err
			continue
		}
		r.need(h, rev)
		ready = append(ready, h)
	}
	if err := r.read(ctx); err != nil {
		return err
	}
	for _, h := range ready {
		if err := r.give(h); err != nil {
			broken[h] = err
		}
	}
	return nil
}

// plan is a task's compiled fields.
func (w *Worker) plan(rev *revision.Revision, ordinal int) (*attempt.Plan, error) {
	key := planKey{rev.ID, ordinal}
	if p, ok := w.plans.Get(key); ok {
		return p, nil
	}
	p, err := attempt.Compile(rev.Graph, ordinal)
	if err != nil {
		return nil, err
	}
	w.plans.Add(key, p)
	return p, nil
}
