package worker

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/db"
)

// dispatch gives free slots to what is queued, in order. The caller holds mu.
func (w *Worker) dispatch() {
	free := w.cfg.Slots - w.running - w.late()
	if w.lost || w.draining || len(w.queue) == 0 || free <= 0 || !w.cfg.Lease.Held() || w.cfg.Lease.Guarded() != nil {
		return
	}
	n := min(len(w.queue), free)
	var once []*held
	for _, h := range w.queue[:n] {
		w.occupy(h)
		if h.once() {
			once = append(once, h)
			continue
		}
		w.work.Go(func() { w.run(h) })
	}
	w.queue = append(w.queue[:0], w.queue[n:]...)
	if len(once) > 0 {
		w.work.Go(func() { w.runOnce(once) })
	}
}

// late is how many slots are free here but not for the database, because the
// reports of what ran in them take too long. The caller holds mu.
func (w *Worker) late() int {
	for len(w.owed) > 0 && w.owed[0].phase == reported {
		w.owed = w.owed[1:]
	}
	if len(w.owed) == 0 || time.Since(w.epoch)-w.owed[0].got-w.owed[0].slot < slowTurn {
		return 0
	}
	n := 0
	for _, h := range w.owed {
		if h.phase != reported {
			n++
		}
	}
	return n
}

// occupy and vacate give an attempt a slot and take it back. The caller holds mu.
func (w *Worker) occupy(h *held) {
	h.phase, h.got = running, time.Since(w.epoch)
	w.running++
	w.begun += h.got
}

func (w *Worker) vacate(h *held) {
	w.running--
	w.begun -= h.got
	h.slot = max(time.Since(w.epoch)-h.got, 1)
}

// runOnce runs attempts of tasks that must not run again once they may have
// started: that they are about to is committed before they do.
func (w *Worker) runOnce(list []*held) {
	k := keysOf(list)
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	var ours map[uuid.UUID]bool
	err := db.InTx(ctx, w.cfg.Control, func(q *db.Queries) error {
		if err := q.LockLive(ctx, k.runs, k.numbers); err != nil {
			return err
		}
		rows, err := q.MarkRunning(ctx, db.MarkRunningParams{RunIds: k.runs, Numbers: k.numbers, Tokens: k.tokens, Agos: make([]int64, len(k.runs))})
		ours = make(map[uuid.UUID]bool, len(rows))
		for _, token := range rows {
			ours[token] = true
		}
		return err
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range list {
		switch {
		case err != nil:
			// Whatever has been committed: nothing has run.
			w.vacate(h)
			w.end(h, handBack("its start could not be stored: "+err.Error()))
		case !ours[h.live.Token]:
			w.vacate(h)
			w.lose(h)
			w.end(h, handBack(""))
		default:
			h.stored = true
			w.work.Go(func() { w.run(h) })
		}
	}
	if err != nil {
		w.cfg.Log.Error("store the start of tasks that run at most once", "err", err)
	}
}

// run takes one attempt through its slot.
func (w *Worker) run(h *held) {
	report := w.execute(h)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.vacate(h)
	w.end(h, report)
	w.dispatch()
}

// begin notes that an attempt has started, and stops it again if somebody
// asked for that meanwhile.
func (w *Worker) begin(h *held, proc *process.Process, cancel context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.proc, h.cancel, h.start = proc, cancel, time.Now()
	if !h.stored {
		w.unmarked = append(w.unmarked, h)
		if len(w.unmarked) == 1 {
			time.AfterFunc(markAfter, w.Kick)
		}
	}
	switch {
	case h.lost || w.lost:
		h.halt(process.LeaseLost)
	case h.stop != "":
		h.halt(process.Canceled)
	}
}

// halt stops what runs. The caller holds Worker.mu.
func (h *held) halt(cause process.Cause) {
	if h.proc != nil {
		h.proc.Stop(cause)
	}
	if h.cancel != nil {
		h.cancel(cause)
	}
}

// lose takes note that an attempt is somebody else's: it is killed, and
// nothing more is written for it. The caller holds mu.
func (w *Worker) lose(h *held) {
	if h.lost {
		return
	}
	h.lost = true
	if h.phase >= ended {
		return // the refusal of its report tells
	}
	w.out.Lost++
	h.halt(process.LeaseLost)
	if h.phase == queued {
		w.unqueue(h)
		w.drop(h)
	}
}

// stopLocked acts on a request to stop. The caller holds mu.
func (w *Worker) stopLocked(h *held, reason string) {
	if h.stop == "" {
		h.stop = reason
	}
	switch h.phase {
	case queued:
		w.unqueue(h)
		w.end(h, unstarted(flow.AttemptCanceled, h.stop, ""))
	case running:
		h.halt(process.Canceled)
	}
}

func (w *Worker) unqueue(h *held) {
	for i, q := range w.queue {
		if q == h {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			return
		}
	}
}
