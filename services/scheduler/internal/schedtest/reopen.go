package schedtest

import (
	"context"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/reopen"
)

// Reopenable is what has to be known of a run to open it again.
func (w *World) Reopenable(ctx context.Context, id int64) (reopen.Run, error) {
	q := w.Pool.Queries()
	row, err := q.RunByID(ctx, id)
	if err != nil {
		return reopen.Run{}, err
	}
	rev, err := w.Cache.One(ctx, q, row.Run.RevisionID)
	if err != nil {
		return reopen.Run{}, err
	}
	return reopen.Run{ID: id, PipelineID: row.Run.PipelineID, GroupID: row.Run.GroupID, RevisionID: row.Run.RevisionID, Graph: rev.Graph}, nil
}

// TryRerun opens a run again as the api does. from is the task's name, for
// flow.RerunFrom.
func TryRerun(w *World, id int64, mode flow.RerunMode, from string) (reset flow.Reset, err error) {
	run, err := w.Reopenable(w.T.Context(), id)
	if err != nil {
		return reset, err
	}
	ordinal, _ := run.Graph.Ordinal(from)
	err = db.InTx(w.T.Context(), w.Pool, func(q *db.Queries) (err error) {
		if err := q.LockGroups(w.T.Context(), []int64{run.GroupID}); err != nil {
			return err
		}
		reset, err = reopen.Rerun(w.T.Context(), q, run, reopen.Request{Mode: mode, From: ordinal, By: "test"})
		return err
	})
	return reset, err
}

// Rerun is TryRerun that has to work.
func (w *World) Rerun(id int64, mode flow.RerunMode, from string) flow.Reset {
	w.T.Helper()
	reset, err := TryRerun(w, id, mode, from)
	if err != nil {
		w.T.Fatal(err)
	}
	return reset
}

// TryMark says by hand how a task ended; index is that of an item, or -1.
func TryMark(w *World, id int64, task string, index int, state flow.State) (m flow.Marked, err error) {
	run, err := w.Reopenable(w.T.Context(), id)
	if err != nil {
		return m, err
	}
	ordinal, _ := run.Graph.Ordinal(task)
	number := flow.Number(ordinal)
	if index >= 0 {
		number = flow.ItemNumber(ordinal, index)
	}
	err = db.InTx(w.T.Context(), w.Pool, func(q *db.Queries) (err error) {
		if err := q.LockGroups(w.T.Context(), []int64{run.GroupID}); err != nil {
			return err
		}
		m, err = reopen.Mark(w.T.Context(), q, run, 1, reopen.Marking{Number: number, State: state, By: "test", Why: "seen"})
		return err
	})
	return m, err
}

// Mark is TryMark that has to work.
func (w *World) Mark(id int64, task string, index int, state flow.State) flow.Marked {
	w.T.Helper()
	m, err := TryMark(w, id, task, index, state)
	if err != nil {
		w.T.Fatal(err)
	}
	return m
}
