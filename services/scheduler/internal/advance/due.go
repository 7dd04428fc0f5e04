package advance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// postponed is how long a subject that cannot be decided is left alone, rested
// one whose decision took longer than it may.
const postponed, rested = time.Minute, 10 * time.Second

// Due lets decide look at one batch of subjects of a kind (r, p, g, b) that have
// been woken, in one transaction. told hears what came of it, once it is
// committed.
//
// A batch that cannot be decided is decided one by one, and a subject that
// cannot be decided by itself is left alone for a while and counted as a defect:
// it must not hold up the others. Nor must one that takes too long; when a second
// one does, too, it is the database that is slow, and the turn ends.
func (a *Advancer) Due(ctx context.Context, kind string, told func(Outcome), decide func(context.Context, *db.Queries, []int64) (Outcome, error)) (Outcome, error) {
	// Outside the transaction: what counts is what is there when the subjects are locked, and mostly
	// there is nothing.
	ids, err := a.pool.Queries().DueSubjects(ctx, db.DueSubjectsParams{Kind: kind, Batch: batchSize})
	if err != nil || len(ids) == 0 {
		return Outcome{}, err
	}
	var out Outcome
	err = db.InTx(ctx, a.pool, func(q *db.Queries) (err error) {
		out, err = decide(ctx, q, ids)
		return err
	})
	if err == nil {
		told(out)
		return out, nil
	}
	if Transient(ctx, err) {
		return Outcome{}, err
	}
	if len(ids) > 1 {
		a.log.Warn("a batch cannot be decided, trying its parts one by one", "kind", kind, "parts", len(ids), "error", err)
	}
	var total Outcome
	slow := false
	for _, id := range ids {
		err := db.InTx(ctx, a.pool, func(q *db.Queries) (err error) {
			out, err = decide(ctx, q, []int64{id})
			return err
		})
		switch {
		case err == nil:
			told(out)
			total.Add(out)
		case db.IsCutShort(err) && ctx.Err() == nil && !slow:
			slow = true
			a.log.Warn("a decision takes too long and is put off", "kind", kind, "id", id, "again_in", rested, "error", err)
			if err := a.putOff(ctx, kind, id, rested, nil); err != nil {
				return total, err
			}
		case Transient(ctx, err) || db.IsCutShort(err):
			return total, err // no fault of its own
		default:
			if err := a.postpone(ctx, kind, id, err); err != nil {
				return total, err
			}
		}
	}
	return total, nil
}

// Transient says whether trying the same again may help: the database was not
// there, or somebody else was in the way.
func Transient(ctx context.Context, err error) bool {
	return ctx.Err() != nil || db.IsUnavailable(err) || db.IsBusy(err) || db.IsNoPartition(err) || errors.Is(err, context.DeadlineExceeded)
}

// postpone puts off the wakes of a subject that cannot be decided. They are not
// lost: whatever is wrong may be mended.
func (a *Advancer) postpone(ctx context.Context, kind string, id int64, cause error) error {
	a.log.Error("this cannot be decided and is left alone for a while, please report it", "kind", kind, "id", id, "again_in", postponed, "error", cause)
	return a.putOff(ctx, kind, id, postponed, func(q *db.Queries) error {
		return q.NoteRepairs(ctx, db.NoteRepairsParams{Kind: "undecidable", RunIds: []int64{id}, Detail: cause.Error()})
	})
}

// putOff moves the wakes of a subject, and does what goes with that.
func (a *Advancer) putOff(ctx context.Context, kind string, id int64, by time.Duration, with func(*db.Queries) error) error {
	err := db.InTx(ctx, a.pool, func(q *db.Queries) error {
		if mine, err := lockOne(ctx, q, kind, id); err != nil || !mine {
			return err
		}
		if err := q.PostponeWakes(ctx, db.PostponeWakesParams{Kind: kind, Subject: id, DelayMs: by.Milliseconds()}); err != nil || with == nil {
			return err
		}
		return with(q)
	})
	if err != nil {
		return fmt.Errorf("put off %s %d: %w", kind, id, err)
	}
	return nil
}

// lockOne locks a subject, unless somebody else has it.
func lockOne(ctx context.Context, q *db.Queries, kind string, id int64) (bool, error) {
	ids := []int64{id}
	n := 0
	var err error
	switch kind {
	case "r":
		var rows []db.LockDueRunsRow
		rows, err = q.LockDueRuns(ctx, ids)
		n = len(rows)
	case "p":
		var rows []db.LockPoolsRow
		rows, err = q.LockPools(ctx, ids)
		n = len(rows)
	case "b":
		var rows []db.LockDueBackfillsRow
		rows, err = q.LockDueBackfills(ctx, ids)
		n = len(rows)
	default:
		var rows []int64
		rows, err = q.LockDueGroups(ctx, ids)
		n = len(rows)
	}
	return n > 0, err
}
