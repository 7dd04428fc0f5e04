package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
)

// A turn is what one round trip to the database does: reports of ends, starts
// to be stored, and a claim for the slots that will be free.
type turn struct {
	ends   []*held
	batch  ending.Batch
	notes  db.NoteLogsParams
	starts []*held
	mark   db.MarkRunningParams
	claim  *db.ClaimReadyParams
	rescan bool

	reported map[uuid.UUID]bool
	marked   []uuid.UUID
	claimed  []db.ClaimReadyRow
}

// turnPatience bounds one turn: on a path that was cut, ends wait that are to
// be reported while the lease holds.
const turnPatience = 7 * time.Second

// Step does one turn: it compares lists when that is due, reports what has
// ended and claims for the slots that are free, in one transaction and one
// round trip.
func (w *Worker) Step(ctx context.Context) error {
	if !w.cfg.Lease.Held() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, max(min(w.cfg.Lease.Left(), turnPatience), time.Millisecond))
	defer cancel()
	if w.compare.Swap(false) {
		if err := w.reconcile(ctx); err != nil {
			w.compare.Store(true)
			return err
		}
	}
	if w.stops.Swap(false) {
		if err := w.askStops(ctx); err != nil {
			w.stops.Store(true)
			return err
		}
	}
	t := w.collect()
	asks := w.asks(ctx, t)
	if len(asks) == 0 {
		return nil
	}
	began := time.Now()
	if err := db.InOneTrip(ctx, w.cfg.Control, asks...); err != nil {
		w.failed(t, err)
		return fmt.Errorf("one turn: %w", err)
	}
	took := time.Since(began)
	w.pace.trip += (took - w.pace.trip) / 4
	if t.claim != nil {
		if t.rescan {
			w.lanes.last, w.lanes.took = began, took
		}
		w.lanes.claimed(t.claimed, len(t.claimed) == int(t.claim.Free), t.rescan)
		w.pace.claim(int(t.claim.Free), len(t.claimed), t.rescan, began)
	}
	w.done(t, took)
	return nil
}

// collect takes what the next round trip is about.
func (w *Worker) collect() *turn {
	now := time.Now()
	t := &turn{}
	room := w.cfg.Room()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.giveBackStale(now)
	w.dispatch()
	t.ends = w.ends[:min(len(w.ends), w.endLimit)]
	w.ends = w.ends[len(t.ends):]
	w.pace.ended(len(t.ends), now)
	// Rows are locked in the order of their keys.
	slices.SortFunc(t.ends, byKey)
	for _, h := range t.ends {
		if h.slot > 0 {
			w.pace.ran += (h.slot - w.pace.ran) / 8
		}
		r := h.report
		if h.stored {
			r.StartedAgo = -1
		} else if !h.start.IsZero() {
			r.StartedAgo = now.Sub(h.start).Milliseconds()
		}
		if r.StopReason = h.stop; h.stop != "" && r.State == flow.AttemptCanceled {
			r.Reason = h.stop
		}
		t.batch.Add(h.task, h.live, r, rand.Float64())
		if h.log != nil {
			t.note(h)
		}
	}
	for len(w.unmarked) > 0 && now.Sub(w.unmarked[0].start) >= markAfter && len(t.starts) < maxEnds {
		if h := w.unmarked[0]; h.phase == running && !h.stored {
			t.starts = append(t.starts, h)
		}
		w.unmarked = w.unmarked[1:]
	}
	slices.SortFunc(t.starts, byKey)
	for _, h := range t.starts {
		t.mark.RunIds = append(t.mark.RunIds, h.live.RunID)
		t.mark.Numbers = append(t.mark.Numbers, h.live.Number)
		t.mark.Tokens = append(t.mark.Tokens, h.live.Token)
		t.mark.Agos = append(t.mark.Agos, now.Sub(h.start).Milliseconds())
	}
	w.pace.claimed = false
	if n := w.wantLocked(room); n > 0 {
		t.rescan = now.After(w.lanes.due())
		t.claim = &db.ClaimReadyParams{
			Executor: w.cfg.Executor, Lanes: w.lanes.ids, Lows: w.lanes.starts(t.rescan), Free: int32(n),
			Look: int32(2*n + 64),
		}
		// The tokens are ours before anybody else has heard of them: if the
		// answer is lost, the rows can still be told to be ours.
		for range n {
			t.claim.Tokens = append(t.claim.Tokens, uuid.New())
		}
	}
	return t
}

// note takes the final totals of a log along.
func (t *turn) note(h *held) {
	n := &t.notes
	n.RunIds = append(n.RunIds, h.live.RunID)
	n.Numbers = append(n.Numbers, h.live.Number)
	n.Tokens = append(n.Tokens, h.live.Token)
	n.Seens = append(n.Seens, h.stats.Seen)
	n.Storeds = append(n.Storeds, h.stats.Stored)
	n.CutAts = append(n.CutAts, h.stats.CutAt)
}

// freeLocked is how many slots nothing is claimed for.
func (w *Worker) freeLocked() int { return w.cfg.Slots - w.running - w.loading - len(w.queue) }

// wantLocked is how many tasks to claim now.
func (w *Worker) wantLocked(room error) int {
	if w.draining || w.lost || w.paused.Load() || room != nil || len(w.lanes.ids) == 0 || w.cfg.Lease.Guarded() != nil {
		return 0
	}
	var age time.Duration
	if w.running > 0 {
		age = time.Since(w.epoch) - w.begun/time.Duration(w.running)
	}
	return min(w.freeLocked()+w.pace.ahead(w.cfg.Slots, age, time.Now()), maxClaim)
}

// asks are the queries of a turn, in the order of their effects.
func (w *Worker) asks(ctx context.Context, t *turn) []func(*db.Queries) error {
	var asks []func(*db.Queries) error
	if len(t.ends)+len(t.starts) > 0 {
		k := keysOf(slices.Concat(t.ends, t.starts))
		asks = append(asks, func(q *db.Queries) error { return q.LockLive(ctx, k.runs, k.numbers) })
	}
	if len(t.notes.RunIds) > 0 {
		asks = append(asks, func(q *db.Queries) error { return q.NoteLogs(ctx, t.notes) })
	}
	if len(t.ends) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) {
			t.reported, err = t.batch.Write(ctx, q)
			return err
		})
	}
	if len(t.starts) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) {
			t.marked, err = q.MarkRunning(ctx, t.mark)
			return err
		})
	}
	if t.claim != nil {
		asks = append(asks, func(q *db.Queries) (err error) {
			t.claimed, err = q.ClaimReady(ctx, *t.claim)
			return err
		})
	}
	return asks
}

// failed puts back what a turn could not do.
func (w *Worker) failed(t *turn, err error) {
	unknown := errors.Is(err, db.ErrOutcomeUnknown)
	// A report that the database does not take would hold up all others: find
	// out which it is.
	poison := !unknown && !db.IsUnavailable(err) && !db.IsNoPartition(err) && !db.IsBusy(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if poison && len(t.ends) == 1 {
		t.ends[0].strip()
	}
	if poison && len(t.ends) > 0 {
		w.endLimit = max(1, len(t.ends)/2)
	}
	for _, h := range t.ends {
		h.doubt = h.doubt || unknown
	}
	w.ends = slices.Concat(t.ends, w.ends)
	w.unmarked = slices.Concat(t.starts, w.unmarked)
	if t.claim != nil {
		w.compare.Store(true) // it may have been granted
	}
}

// strip leaves of a report what any database takes.
func (h *held) strip() {
	r := &h.report
	if r.Outputs != "" && r.State == "succeeded" {
		r.State, r.Reason, r.Detail = "failed", "outputs_syntax", "the database does not take these outputs"
	} else {
		r.Detail = ""
	}
	r.Outputs, r.RawOutputs, r.Summary = "", "", ""
}

// done takes over what a turn did.
func (w *Worker) done(t *turn, took time.Duration) {
	now := time.Now()
	w.mu.Lock()
	if len(t.ends) > 0 {
		w.endLimit = min(2*w.endLimit, maxEnds)
		w.settle(t)
	}
	for _, h := range t.starts {
		if !slices.Contains(t.marked, h.live.Token) {
			w.lose(h)
			continue
		}
		h.stored = true
	}
	w.dispatch()
	w.out.Claimed += len(t.claimed)
	if len(t.claimed) > 0 {
		w.out.Claim = took
	}
	batch := make([]*held, 0, len(t.claimed))
	for _, row := range t.claimed {
		h := newHeld(row, w.cfg.Executor, now)
		w.all[h.live.Token] = h
		batch = append(batch, h)
	}
	w.loading += len(batch)
	w.mu.Unlock()
	if len(batch) > 0 {
		w.work.Go(func() { w.load(batch) })
	}
	if len(t.ends) > 0 {
		w.cfg.Notify(db.ChannelWake)
	}
	if len(t.ends)+len(t.starts)+len(t.claimed) > 0 {
		w.cfg.Notify(db.ChannelEvent)
	}
}

// settle takes over which reports were accepted. The caller holds mu.
func (w *Worker) settle(t *turn) {
	if w.out.Ended == nil {
		w.out.Ended = map[string]int{}
	}
	for _, h := range t.ends {
		delete(w.all, h.live.Token)
		h.phase = reported
		switch {
		case t.reported[h.live.Token] || h.doubt:
			w.out.Ended[h.report.State]++
			if h.report.Drained {
				w.out.HandedBack++
			}
		default:
			w.out.Refused++
			w.cfg.Log.Warn("a report was refused: the attempt is somebody else's", "run", h.live.RunID, "number", h.live.Number, "attempt", h.attempt, "state", h.report.State)
		}
		if h.log != nil {
			w.out.Dropped += h.stats.Seen - h.stats.Stored
		}
	}
	w.clean(t.ends...)
	w.checkIdle()
}

// stale is how long a claimed task waits for a slot behind tasks that turned
// out to take long, before it is handed back for others.
const stale = time.Second

// giveBackStale hands back what was claimed ahead and did not get a slot. The
// caller holds mu.
func (w *Worker) giveBackStale(now time.Time) {
	for len(w.queue) > 0 && w.running >= w.cfg.Slots && now.Sub(w.queue[len(w.queue)-1].since) > stale {
		h := w.queue[len(w.queue)-1]
		w.queue = w.queue[:len(w.queue)-1]
		w.end(h, handBack("no slot was free after all"))
	}
}
