package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/boottime"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// Saved is how an attempt ended, kept for a successor that may have to report
// it.
type Saved struct {
	RunID  int64         `json:"run_id"`
	Number int32         `json:"number"`
	Token  uuid.UUID     `json:"token"`
	Began  time.Duration `json:"began"` // of boottime
	Seen   int64         `json:"seen"`  // bytes of output
	Report ending.Report `json:"report"`
}

func (h *held) saved(r ending.Report) Saved {
	s := Saved{RunID: h.live.RunID, Number: h.live.Number, Token: h.live.Token, Began: h.began, Report: r}
	if h.log != nil {
		s.Seen = h.log.Stats().Seen
	}
	return s
}

// durableAfter is how long an attempt has run whose result is to outlive the
// machine's power, not only this process.
const durableAfter = time.Second

// save keeps how an attempt ended beside its directory.
func (w *Worker) save(h *held, place *process.Attempt, ran time.Duration) error {
	data, err := json.Marshal(h.result)
	if err != nil {
		return fmt.Errorf("save result: %w", err)
	}
	// A machine that lost its power is rarely back before the lease is over:
	// worth the wait for the disk only where much would be done again, or
	// nothing may be.
	return place.SaveResult(data, ran >= durableAfter || h.once())
}

// ReadSaved reads what save wrote.
func ReadSaved(content []byte) (Saved, error) {
	var s Saved
	if err := json.Unmarshal(content, &s); err != nil {
		return s, fmt.Errorf("read a saved result: %w", err)
	}
	return s, nil
}

// Recover reports ends that a predecessor on this host did not get to report,
// if their attempts are still alive for the database. It returns how many were.
func Recover(ctx context.Context, pool *db.Pool, revisions *revision.Cache, saved []Saved) (int, error) {
	if len(saved) == 0 {
		return 0, nil
	}
	byToken := make(map[uuid.UUID]Saved, len(saved))
	var k db.LiveByKeyParams
	for _, s := range saved {
		byToken[s.Token] = s
		k.RunIds, k.Numbers, k.Tokens = append(k.RunIds, s.RunID), append(k.Numbers, s.Number), append(k.Tokens, s.Token)
	}
	rows, err := pool.Queries().LiveByKey(ctx, k)
	if err != nil {
		return 0, fmt.Errorf("look for attempts whose results were saved: %w", err)
	}
	slices.SortFunc(rows, func(a, b db.LiveByKeyRow) int { return compareKeys(a.RunID, a.Number, b.RunID, b.Number) })
	ids := make([]int64, 0, len(rows))
	for _, row := range rows {
		ids = append(ids, row.RevisionID)
	}
	found, broken, err := revisions.Load(ctx, pool.Queries(), ids)
	if err != nil {
		return 0, err
	}
	for _, err := range broken {
		return 0, err
	}
	var (
		b     ending.Batch
		notes db.NoteLogsParams
	)
	for _, row := range rows {
		s := byToken[row.LeaseToken]
		r := s.Report
		r.StartedAgo = -1
		if row.StartedAt == nil && s.Began > 0 {
			r.StartedAgo = max(0, (boottime.Now() - s.Began).Milliseconds())
		}
		if row.StopReason != nil {
			if r.StopReason = *row.StopReason; r.State == flow.AttemptCanceled {
				r.Reason = r.StopReason
			}
		}
		ordinal, _ := flow.Split(int(row.Number))
		b.Add(found[row.RevisionID].Graph.Task(ordinal), ending.Live{
			RunID: row.RunID, Number: row.Number, Token: row.LeaseToken, Executor: row.Executor,
			Failures: row.Failures, Losses: row.Losses, Handbacks: row.Handbacks, LastLoser: row.LastLoser, Losers: row.Losers,
		}, r, rand.Float64())

		seen, cut := max(s.Seen, row.LogSeen), int64(-1)
		if row.LogCutAt != nil {
			cut = *row.LogCutAt
		} else if seen > row.LogStored {
			cut = row.LogStored // what was to follow died with the executor
		}
		notes.RunIds, notes.Numbers, notes.Tokens = append(notes.RunIds, row.RunID), append(notes.Numbers, row.Number), append(notes.Tokens, row.LeaseToken)
		notes.Seens, notes.Storeds, notes.CutAts = append(notes.Seens, seen), append(notes.Storeds, row.LogStored), append(notes.CutAts, cut)
	}
	if b.Len() == 0 {
		return 0, nil
	}
	var ended map[uuid.UUID]bool
	err = db.InOneTrip(ctx, pool, func(q *db.Queries) error {
		return q.LockLive(ctx, notes.RunIds, notes.Numbers)
	}, func(q *db.Queries) error {
		return q.NoteLogs(ctx, notes)
	}, func(q *db.Queries) (err error) {
		ended, err = b.Write(ctx, q)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("report saved results: %w", err)
	}
	return len(ended), nil
}
