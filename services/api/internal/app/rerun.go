package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
	"github.com/synthesizer-dev/synthesizer/services/internal/reopen"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// rerun is the trigger of new runs that have the params of another.
const rerun = "rerun"

// Rerun lets an ended run run again, as a whole or in part; or makes a new run of
// the newest revision with its params, and created is true. With a key, the same
// request does it once.
func (a *App) Rerun(ctx context.Context, by Actor, ref RunRef, key string, req api.RerunRequest) (run api.Run, created bool, err error) {
	row, def, err := a.endedRun(ctx, by, ref, key)
	if err != nil {
		return run, false, err
	}
	if req.Note, err = note("note", req.Note, 1000); err != nil {
		return run, false, err
	}
	switch {
	case req.Latest && (req.Mode != "" || req.Task != ""):
		return run, false, api.Errorf(api.Unprocessable, "latest makes a new run, which runs as a whole: mode and task do not go with it").WithHint("leave them out, or leave out latest")
	case req.Latest:
		return a.rerunLatest(ctx, by, row, key, req.Note)
	}
	r := reopen.Request{Mode: flow.RerunMode(req.Mode), By: by.Name, Note: req.Note}
	switch r.Mode {
	case flow.RerunFailed, flow.RerunAll:
		if req.Task != "" {
			return run, false, api.Errorf(api.Unprocessable, "task goes with mode from").WithHint("mode: from, or leave out task")
		}
	case flow.RerunFrom:
		if r.From, err = ordinalOf(def, exactly(row), req.Task); err != nil {
			return run, false, err
		}
	default:
		return run, false, api.Errorf(api.Unprocessable, "mode %s is no way to rerun", show(string(req.Mode))).WithHint("failed, from or all; or latest for a new run")
	}
	content, err := contentHash("rerun", req)
	if err != nil {
		return run, false, err
	}
	err = a.reopening(ctx, row, def, key, content, func(q *db.Queries, run reopen.Run) error {
		if row.Run.EndedAt == nil { // before anything is said about what cannot be yet
			return reopenError(reopen.ErrOpen, row, r.Mode)
		}
		if unparamed(row.Run, def) {
			return api.Errorf(api.Conflict, "run %s has no params: those that a trigger gives could not be worked out", exactly(row)).
				WithHint("synctl run %s starts a run with params by hand", exactly(row).of())
		}
		if err := a.roomToRerun(ctx, q, def, row); err != nil {
			return err
		}
		if r.Mode == flow.RerunFrom {
			rows, err := reopen.Rows(ctx, q, run.ID)
			if err != nil {
				return err
			}
			if err := blocked(run.Graph, rows, row, r.From); err != nil {
				return err
			}
		}
		_, err := reopen.Rerun(ctx, q, run, r)
		return reopenError(err, row, r.Mode)
	})
	if err != nil {
		return run, false, err
	}
	run, err = a.head(ctx, row.Run.ID)
	return run, false, err
}

// endedRun finds the run that somebody wants to open again, and its definition.
// That it has ended is looked at later, when nobody can change it any more.
func (a *App) endedRun(ctx context.Context, by Actor, ref RunRef, key string) (runRow, *revision.Revision, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return runRow{}, nil, err
	}
	if err := checkKey(key); err != nil {
		return runRow{}, nil, err
	}
	q := a.queries()
	row, err := a.findRun(ctx, q, by, ref)
	if err != nil {
		return runRow{}, nil, err
	}
	if err := by.need(api.RoleOperator, ref.Namespace); err != nil {
		return runRow{}, nil, err
	}
	p, err := a.find(ctx, q, by, ref.of())
	if err != nil {
		return runRow{}, nil, err
	}
	if p.RemovedAt != nil {
		return runRow{}, nil, errRemoved(ref.of())
	}
	def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
	return row, def, err
}

// reopening does something to an ended run, under the lock of its group, in a
// transaction; what a key has done before is not done again.
func (a *App) reopening(ctx context.Context, row runRow, def *revision.Revision, key string, content []byte, do func(*db.Queries, reopen.Run) error) error {
	id := row.Run.ID
	done := false
	err := db.InTx(ctx, a.pool, func(q *db.Queries) error {
		done = false
		if before, err := (keyed{runScope(id), key, content}).take(ctx, q, &id); before != nil || err != nil {
			return err
		}
		if err := q.LockGroups(ctx, []int64{row.Run.GroupID}); err != nil {
			return fmt.Errorf("lock a group: %w", err)
		}
		done = true
		return do(q, reopen.Run{ID: id, PipelineID: row.Run.PipelineID, GroupID: row.Run.GroupID, RevisionID: row.Run.RevisionID, Graph: def.Graph})
	})
	if err == nil && done {
		a.notifier.Notify(db.ChannelWake)
		a.notifier.Notify(db.ChannelEvent)
	}
	return err
}

// unparamed is a run that a trigger has made to fail at once, for there is nothing
// to run it with.
func unparamed(r db.Run, def *revision.Revision) bool {
	switch {
	case r.StartedAt != nil:
		return false
	case r.Reason == flow.ReasonTriggerDepth: // which says nothing about the params
		return len(def.Graph.Pipeline().Params) > 0 && len(values(r.Params)) == 0
	}
	return r.Reason == flow.ReasonParams || r.Reason == flow.ReasonExpression
}

// roomToRerun refuses a rerun that the queue of the run's group has no room for.
// The caller holds the group. What on_conflict says is for runs that come by
// themselves: a rerun waits.
func (a *App) roomToRerun(ctx context.Context, q *db.Queries, def *revision.Revision, row runRow) error {
	limits := def.Graph.Pipeline().Concurrency
	made := flow.Created{Group: row.Run.ConcurrencyGroup, Limit: max(1, limits.Limit), MaxQueued: limits.MaxQueued, OnConflict: flow.OnConflictQueue}
	loads, err := newrun.LockGroups(ctx, q, []int64{row.Run.GroupID})
	if err != nil {
		return err
	}
	return room(*loads[row.Run.GroupID], db.FindPipelineRow{Namespace: row.Run.Namespace, Name: row.Run.Pipeline}, made)
}

// blocked refuses a rerun from a task that would be skipped again at once.
func blocked(g *flow.Graph, rows []flow.Row, row runRow, from int) error {
	if len(rows) == 0 {
		return nil // it never started, which is said elsewhere
	}
	needs := g.Blocked(from, slices.Values(rows))
	if len(needs) == 0 {
		return nil
	}
	return api.Errorf(api.Conflict, "%s would be skipped again: %s did not succeed", g.Task(from).Name, strings.Join(needs, ", ")).
		WithHint("rerun from %s, or what failed: synctl rerun %s --failed", needs[0], exactly(row))
}

// reopenError says why a run cannot be opened again.
func reopenError(err error, row runRow, mode flow.RerunMode) error {
	ref := exactly(row)
	switch {
	case errors.Is(err, reopen.ErrOpen):
		return api.Errorf(api.Conflict, "run %s has not ended", ref).WithHint("wait for it (synctl watch %s), or cancel it (synctl cancel %s)", ref, ref)
	case errors.Is(err, reopen.ErrUnseen):
		return api.Errorf(api.Conflict, "run %s has just ended, and its caller has not looked at its end yet", ref).WithHint("try again in a moment")
	case errors.Is(err, reopen.ErrGone):
		return api.Errorf(api.Gone, "run %s is no longer kept", ref).WithHint("synctl run %s starts a new one; retention says how long runs stay", ref.of())
	case errors.Is(err, reopen.ErrNoTasks) && mode == "":
		return api.Errorf(api.Conflict, "run %s never started, so none of its tasks has ended", ref)
	case errors.Is(err, reopen.ErrNoTasks):
		return api.Errorf(api.Conflict, "run %s never started: there is no task to go on from", ref).WithHint("all of it runs with --all (mode all)")
	case errors.Is(err, reopen.ErrNothing):
		return api.Errorf(api.Conflict, "nothing of run %s failed, was canceled or was skipped because of that", ref).WithHint("--from TASK (mode from) or --all (mode all) runs it again all the same")
	}
	return err
}

// exactly is a run by its number, whatever it was asked for by.
func exactly(row runRow) RunRef {
	return RunRef{Namespace: row.Run.Namespace, Pipeline: row.Run.Pipeline, Run: fmt.Sprint(row.Run.Number)}
}

// head is a run as it is now, without its tasks.
func (a *App) head(ctx context.Context, id int64) (api.Run, error) {
	row, err := a.queries().RunByID(ctx, id)
	if errors.Is(err, db.ErrNoRows) {
		return api.Run{}, api.Errorf(api.Gone, "the run is no longer kept")
	}
	if err != nil {
		return api.Run{}, fmt.Errorf("read a run: %w", err)
	}
	return a.runHead(runRow(row)), nil
}

// rerunLatest makes a new run of the newest revision with the params and the
// interval of another: a request of its own, checked as any other.
func (a *App) rerunLatest(ctx context.Context, by Actor, row runRow, key, note string) (api.Run, bool, error) {
	r := row.Run
	if r.EndedAt == nil {
		return api.Run{}, false, reopenError(reopen.ErrOpen, row, "")
	}
	from := origin{trigger: rerun, rerunOf: &r.ID, interval: &api.Interval{Start: r.IntervalStart, End: r.IntervalEnd}}
	return a.create(ctx, by, PipelineRef{r.Namespace, r.Pipeline}, key, api.RunRequest{Params: values(r.Params), Note: note}, from)
}
