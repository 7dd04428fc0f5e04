package worker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/output"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
)

// A phase is how far an attempt is on its way through the worker.
type phase uint8

const (
	loading  phase = iota // what it is given is being read
	queued                // it waits for a slot
	running               // it has a slot
	ended                 // it waits to be reported
	reported              // … no more
)

// held is an attempt that this executor owns, as far as it knows.
type held struct {
	live     ending.Live
	attempt  int
	revision int64
	ordinal  int
	index    int // of an item, else -1

	// Set while it is loaded.
	task  *pipeline.Task
	plan  *attempt.Plan
	given attempt.Context
	// sealed are the secrets of the database that the attempt names.
	sealed map[string]db.NewestSecretsRow

	place *process.Attempt
	log   *output.Log // nil: it printed nothing that is kept
	began time.Duration

	// Guarded by Worker.mu.
	phase  phase
	stop   string // why it was asked to stop
	noted  bool   // … and the database knows that we know
	lost   bool   // it is somebody else's: nothing is written for it
	doubt  bool   // its report may have been taken already
	proc   *process.Process
	cancel context.CancelCauseFunc // of a Runner
	start  time.Time
	stored bool          // its start is stored
	since  time.Time     // it was claimed
	got    time.Duration // when it got its slot, since Worker.epoch
	slot   time.Duration // how long it had it
	report ending.Report
	stats  output.Stats // of its log, if there was one
	result *Saved       // set once its process has ended
}

func newHeld(row db.ClaimReadyRow, executor uuid.UUID, now time.Time) *held {
	h := &held{
		live: ending.Live{
			RunID: row.RunID, Number: row.Number, Token: row.LeaseToken, Executor: executor,
			Failures: row.Failures, Losses: row.Losses, Handbacks: row.Handbacks, LastLoser: row.LastLoser, Losers: row.Losers,
		},
		attempt: int(row.Attempt), revision: row.RevisionID, since: now,
	}
	h.ordinal, h.index = flow.Split(int(row.Number))
	return h
}

// once says that the task must not run again if its executor is lost, so that
// its start has to be known before it happens.
func (h *held) once() bool { return h.task.Lost == 0 }

// byKey orders attempts as rows are locked.
func byKey(a, b *held) int {
	return compareKeys(a.live.RunID, a.live.Number, b.live.RunID, b.live.Number)
}

func compareKeys(aRun int64, aNumber int32, bRun int64, bNumber int32) int {
	return cmp.Or(cmp.Compare(aRun, bRun), cmp.Compare(aNumber, bNumber))
}

// keys are those of attempts as queries take them.
type keys struct {
	runs    []int64
	numbers []int32
	tokens  []uuid.UUID
}

func keysOf(list []*held) keys {
	list = slices.SortedFunc(slices.Values(list), byKey)
	var k keys
	for _, h := range list {
		k.runs = append(k.runs, h.live.RunID)
		k.numbers = append(k.numbers, h.live.Number)
		k.tokens = append(k.tokens, h.live.Token)
	}
	return k
}

// handBack is the report of an attempt that never started here and costs
// nothing.
func handBack(detail string) ending.Report {
	return ending.Report{
		State: flow.AttemptLost, Reason: flow.ReasonDrained, Detail: detail, Drained: true, StartedAgo: -1, CPU: -1, MaxRSS: -1,
	}
}

// unstarted is the report of an attempt that ended before its process began.
func unstarted(state, reason, detail string) ending.Report {
	return ending.Report{State: state, Reason: reason, Detail: detail, StartedAgo: -1, CPU: -1, MaxRSS: -1}
}

// end takes an attempt to the list of those to be reported, or drops one that
// is not ours any more. The caller holds mu.
func (w *Worker) end(h *held, r ending.Report) {
	if h.phase >= ended {
		return
	}
	h.phase, h.report = ended, r
	if h.lost || w.lost {
		w.drop(h)
		return
	}
	w.ends = append(w.ends, h)
	if h.slot > 0 {
		w.owed = append(w.owed, h)
	}
	w.Kick()
}

// drop forgets an attempt. The caller holds mu.
func (w *Worker) drop(h *held) {
	delete(w.all, h.live.Token)
	w.clean(h)
	w.checkIdle()
}

// clean removes what lies on the disk for attempts, beside the claimer.
func (w *Worker) clean(list ...*held) {
	list = slices.DeleteFunc(slices.Clone(list), func(h *held) bool { return h.place == nil })
	if len(list) == 0 {
		return
	}
	w.work.Go(func() {
		for _, h := range list {
			if err := h.place.Remove(); err != nil {
				w.cfg.Log.Warn("remove the directory of an attempt", "err", err)
			}
		}
	})
}

// checkIdle tells Drain when nothing is left. The caller holds mu.
func (w *Worker) checkIdle() {
	if w.draining && len(w.all) == 0 {
		select {
		case <-w.idle:
		default:
			close(w.idle)
		}
	}
}
