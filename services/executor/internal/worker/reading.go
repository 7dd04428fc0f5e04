package worker

import (
	"context"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/given"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A reading collects what a batch of attempts reads, secrets included, and reads
// it in one round trip.
type reading struct {
	w       *Worker
	batch   *given.Batch
	wants   map[*held]given.Want
	secrets map[secretKey]bool // that are named
	sealed  map[secretKey]db.NewestSecretsRow
}

func newReading(w *Worker) *reading {
	return &reading{
		w: w, batch: w.given.Batch(), wants: map[*held]given.Want{},
		secrets: map[secretKey]bool{}, sealed: map[secretKey]db.NewestSecretsRow{},
	}
}

// need adds what one attempt reads.
func (r *reading) need(h *held, rev *revision.Revision) {
	want := given.Want{Run: h.live.RunID, Number: h.live.Number, Revision: rev, Reads: h.plan.Reads()}
	r.wants[h] = want
	r.batch.Need(want)
	for _, name := range h.plan.Secrets() {
		r.secrets[secretKey{rev.Graph.Pipeline().Namespace, name}] = true
	}
}

// read reads it all.
func (r *reading) read(ctx context.Context) error {
	asks := append(r.batch.Asks(ctx), r.askSecrets(ctx)...)
	if err := db.InOneTrip(ctx, r.w.cfg.Control, asks...); err != nil {
		return fmt.Errorf("read what tasks are given: %w", err)
	}
	r.w.reads.noted(r.sealed)
	return r.batch.Take()
}

// give puts together what one attempt is rendered from.
func (r *reading) give(h *held) error {
	c, err := r.batch.Give(r.wants[h])
	if err != nil {
		return err
	}
	c.Attempt, c.Path = h.attempt, r.w.cfg.Path
	h.given = c
	for _, name := range h.plan.Secrets() {
		if row, ok := r.sealed[secretKey{c.Run.Namespace, name}]; ok {
			if h.sealed == nil {
				h.sealed = map[string]db.NewestSecretsRow{}
			}
			h.sealed[name] = row
		}
	}
	return nil
}
