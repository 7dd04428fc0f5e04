package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
)

// reconcile reads the lanes again and compares what the database believes this
// executor holds with what it knows. What it does not know was claimed by a
// call whose answer was lost: it goes back, free. What the database does not
// know is somebody else's: it is killed. It runs between turns, so that nothing
// is on its way meanwhile.
func (w *Worker) reconcile(ctx context.Context) error {
	var (
		lanes []int32
		rows  []db.HeldRow
	)
	if err := db.InOneTrip(ctx, w.cfg.Control, func(q *db.Queries) (err error) {
		lanes, err = q.LocalLanes(ctx, w.cfg.Labels)
		return err
	}, func(q *db.Queries) (err error) {
		rows, err = q.Held(ctx, w.cfg.Executor)
		return err
	}); err != nil {
		return fmt.Errorf("compare what is held: %w", err)
	}
	if w.lanes.serve(lanes) {
		w.pace.backoff = 0
	}
	var strays []db.HeldRow
	var noted []*held
	w.mu.Lock()
	theirs := make(map[uuid.UUID]bool, len(rows))
	for _, row := range rows {
		theirs[row.LeaseToken] = true
		h := w.all[row.LeaseToken]
		if h == nil {
			strays = append(strays, row)
			continue
		}
		if row.StopReason != nil {
			w.stopLocked(h, *row.StopReason)
			if !h.noted {
				noted = append(noted, h)
			}
		}
	}
	for token, h := range w.all {
		if !theirs[token] {
			w.lose(h)
		}
	}
	w.mu.Unlock()
	if err := w.handBackStrays(ctx, strays); err != nil {
		return err
	}
	return w.noteStops(ctx, noted)
}

// handBackStrays gives back what was claimed without our knowledge. None of it
// has started.
func (w *Worker) handBackStrays(ctx context.Context, rows []db.HeldRow) error {
	if len(rows) == 0 {
		return nil
	}
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = row.RevisionID
	}
	found, _, err := w.cfg.Revisions.Load(ctx, w.cfg.Control.Queries(), ids)
	if err != nil {
		return err
	}
	slices.SortFunc(rows, func(a, b db.HeldRow) int { return compareKeys(a.RunID, a.Number, b.RunID, b.Number) })
	var (
		b ending.Batch
		k keys
	)
	for _, row := range rows {
		k.runs, k.numbers = append(k.runs, row.RunID), append(k.numbers, row.Number)
		task := &pipeline.Task{}
		if rev := found[row.RevisionID]; rev != nil {
			ordinal, _ := flow.Split(int(row.Number))
			task = rev.Graph.Task(ordinal)
		}
		r := handBack("claimed by a call whose answer was lost")
		if row.StopReason != nil {
			r.StopReason = *row.StopReason
		}
		b.Add(task, ending.Live{
			RunID: row.RunID, Number: row.Number, Token: row.LeaseToken, Executor: w.cfg.Executor,
			Failures: row.Failures, Losses: row.Losses, Handbacks: row.Handbacks, LastLoser: row.LastLoser, Losers: row.Losers,
		}, r, rand.Float64())
	}
	var back map[uuid.UUID]bool
	if err := db.InOneTrip(ctx, w.cfg.Control, func(q *db.Queries) error {
		return q.LockLive(ctx, k.runs, k.numbers)
	}, func(q *db.Queries) (err error) {
		back, err = b.Write(ctx, q)
		return err
	}); err != nil {
		return fmt.Errorf("hand back what was claimed unknowingly: %w", err)
	}
	w.mu.Lock()
	w.out.HandedBack += len(back)
	w.mu.Unlock()
	w.cfg.Notify(db.ChannelWake)
	w.cfg.Log.Warn("handed back tasks that were claimed by a call whose answer was lost", "tasks", len(back))
	return nil
}

// askStops looks for attempts that are to stop, and stops them.
func (w *Worker) askStops(ctx context.Context) error {
	rows, err := w.cfg.Control.Queries().StopsAsked(ctx, w.cfg.Executor)
	if err != nil {
		return fmt.Errorf("look for stop requests: %w", err)
	}
	var noted []*held
	w.mu.Lock()
	for _, row := range rows {
		if h := w.all[row.LeaseToken]; h != nil {
			w.stopLocked(h, row.StopReason)
			noted = append(noted, h)
		}
	}
	w.mu.Unlock()
	return w.noteStops(ctx, noted)
}

// noteStops stores that stop requests have been acted on.
func (w *Worker) noteStops(ctx context.Context, list []*held) error {
	if len(list) == 0 {
		return nil
	}
	k := keysOf(list)
	if err := db.InOneTrip(ctx, w.cfg.Control, func(q *db.Queries) error {
		return q.LockLive(ctx, k.runs, k.numbers)
	}, func(q *db.Queries) error {
		return q.NoteStopsSent(ctx, db.NoteStopsSentParams{RunIds: k.runs, Numbers: k.numbers, Tokens: k.tokens})
	}); err != nil {
		return fmt.Errorf("note stops: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range list {
		h.noted = true
	}
	return nil
}

// drainPatience is how long a task that has to go gets between TERM and KILL,
// whatever its own cancel_grace says: the executor is about to be killed, too.
const drainPatience = 10 * time.Second

// Drain claims no more, hands back what has not started, lets what runs finish
// for the grace, then stops it and hands it back too. It returns when
// everything was reported, or when the lease is lost. hasten, when closed, ends
// the grace. Run must go on meanwhile: it sends the reports.
func (w *Worker) Drain(grace time.Duration, hasten <-chan struct{}) {
	w.mu.Lock()
	w.draining = true
	for _, h := range w.queue {
		w.end(h, handBack("the executor shuts down"))
	}
	w.queue = nil
	w.checkIdle()
	w.mu.Unlock()
	w.Kick()

	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-w.idle:
		return
	case <-w.cfg.Lease.Lost():
		return
	case <-hasten:
	case <-timer.C:
	}
	w.haltAll(process.Drained, false)
	timer.Reset(drainPatience)
	select {
	case <-w.idle:
		return
	case <-w.cfg.Lease.Lost():
		return
	case <-timer.C:
	}
	w.haltAll(process.Drained, true)
	select {
	case <-w.idle:
	case <-w.cfg.Lease.Lost():
	}
}

func (w *Worker) haltAll(cause process.Cause, now bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.all {
		if h.phase != running {
			continue
		}
		if now && h.proc != nil {
			h.proc.Kill(cause)
		} else {
			h.halt(cause)
		}
	}
}

// Abandon gives everything up because the lease is lost: it kills what runs,
// reports nothing, and returns the results that were still to be reported. If
// their tokens are current a successor may report them.
func (w *Worker) Abandon() []Saved {
	w.cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = true
	var left []Saved
	killed := 0
	for _, h := range w.all {
		switch {
		case h.result != nil && !h.lost && !h.result.Report.Drained:
			left = append(left, *h.result)
		case h.phase == running:
			killed++
		}
		h.lost = true
		h.halt(process.LeaseLost)
	}
	w.cfg.Log.Error("lease lost", "why", w.cfg.Lease.Err(), "killed", killed, "unreported", len(left))
	return left
}

// outlive waits until nothing of an attempt runs any more: as long as some
// process could not be killed, the attempt has not ended.
func (w *Worker) outlive(h *held, place *process.Attempt, result process.Result) {
	if result.Survivors == 0 {
		return
	}
	w.cfg.Log.Error("processes of an attempt cannot be killed; it has not ended until they are gone", "run", h.live.RunID, "number", h.live.Number, "processes", result.Survivors)
	group, _ := w.cfg.Home.Cgroup()
	for sleep(w.ctx, time.Second) {
		if group != "" {
			path := filepath.Join(group, place.Name)
			if procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs")); err == nil && len(procs) > 0 {
				continue
			}
			_ = unix.Rmdir(path)
		}
		if errors.Is(unix.Kill(-h.proc.Pid(), 0), unix.ESRCH) {
			return
		}
	}
}
