package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A RunEvent is one change of a run.
type RunEvent struct {
	Kind string // run, task, end
	Run  *api.Run
	Task *api.Task
}

// taskKey tells the tasks and items of a run apart.
type taskKey struct {
	name  string
	index int // -1: the task itself
}

func keyOf(t api.Task) taskKey {
	if t.Index == nil {
		return taskKey{t.Name, -1}
	}
	return taskKey{t.Name, *t.Index}
}

// Watch sends a run whole, then what changes, until it has ended: the last event
// is end. What is sent is always the state as it is; in between a task may pass
// through states that nobody hears of.
func (a *App) Watch(ctx context.Context, by Actor, ref RunRef, send func(RunEvent) error) error {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return err
	}
	q := a.queries()
	row, err := a.findRun(ctx, q, by, ref)
	if err != nil {
		return err
	}
	def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
	if err != nil {
		return err
	}
	id := row.Run.ID
	var head []byte
	tasks := map[taskKey][]byte{}
	for first := true; ; first = false {
		hint := a.hints.wait()
		// The run before its tasks: when it has ended, so have they.
		row, err := q.RunByID(ctx, id)
		if errors.Is(err, db.ErrNoRows) {
			return api.Errorf(api.Gone, "run %s is no longer kept", ref)
		}
		if err != nil {
			return fmt.Errorf("read a run: %w", err)
		}
		run := a.runHead(runRow(row))
		page, err := a.tasks(ctx, q, by, runRow(row), def, taskFilter{high: math.MaxInt32, limit: api.MaxRunTasks})
		if err != nil {
			return err
		}
		now, err := json.Marshal(run)
		if err != nil {
			return fmt.Errorf("write a run: %w", err)
		}
		changed, err := changedTasks(page.Items, tasks)
		if err != nil {
			return err
		}
		switch {
		case first:
			whole := run
			whole.Tasks, whole.NextTasks = page.Items, page.Next
			if err = a.kin(ctx, q, by, runRow(row), &whole); err != nil {
				return err
			}
			err = send(RunEvent{Kind: "run", Run: &whole})
		default:
			if !bytes.Equal(now, head) {
				err = send(RunEvent{Kind: "run", Run: &run})
			}
			for i := 0; i < len(changed) && err == nil; i++ {
				err = send(RunEvent{Kind: "task", Task: &changed[i]})
			}
		}
		if err != nil {
			return err
		}
		head = now
		if run.EndedAt != nil {
			return send(RunEvent{Kind: "end", Run: &run})
		}
		if !a.pause(ctx, hint) {
			return ctx.Err()
		}
	}
}

// changedTasks are those that are other than they were, and notes how they are.
func changedTasks(now []api.Task, was map[taskKey][]byte) ([]api.Task, error) {
	var changed []api.Task
	for _, t := range now {
		b, err := json.Marshal(t)
		if err != nil {
			return nil, fmt.Errorf("write a task: %w", err)
		}
		if key := keyOf(t); !bytes.Equal(was[key], b) {
			was[key] = b
			changed = append(changed, t)
		}
	}
	// Those who write a line for each read a story: what happened first comes first.
	slices.SortStableFunc(changed, func(a, b api.Task) int { return movedAt(a).Compare(movedAt(b)) })
	return changed, nil
}

// movedAt is when the last thing happened to a task that it tells of.
func movedAt(t api.Task) time.Time {
	var at time.Time
	for _, moment := range []*time.Time{t.ReadyAt, t.StartedAt, t.EndedAt} {
		if moment != nil && moment.After(at) {
			at = *moment
		}
	}
	if n := len(t.Attempts); n > 0 && t.Attempts[n-1].EndedAt != nil && t.Attempts[n-1].EndedAt.After(at) {
		at = *t.Attempts[n-1].EndedAt
	}
	return at
}
