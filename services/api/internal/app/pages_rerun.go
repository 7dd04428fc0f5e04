package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/reopen"
)

// Again counts what a rerun would run again: what is to blame, or was asked for,
// what comes after it, and what is under finally.
type Again struct{ Chosen, After, Finally int }

// Any says that something would.
func (a Again) Any() bool { return a.Chosen+a.After+a.Finally > 0 }

func again(g *flow.Graph, mode flow.RerunMode, rows []flow.Row) Again {
	r := g.Rerun(mode, 0, slices.Values(rows))
	var out Again
	out.Chosen, out.After, out.Finally = r.Counts(g)
	return out
}

// A Reopening is an earlier end of a run, and who opened it again, or said
// afterwards how it ended.
type Reopening struct {
	At                     time.Time
	By, Mode, Task, Note   string
	Was, Reason            string
	Marked                 bool
	EndedAt                *time.Time
	CanceledBy, CancelNote string
}

// reopenings are the earlier ends of a run, oldest first.
func reopenings(ctx context.Context, q *db.Queries, run db.Run) ([]Reopening, error) {
	rows, err := q.PageReopenings(ctx, run.ID, run.CreatedAt)
	if err != nil {
		return nil, fmt.Errorf("read what people did with a run: %w", err)
	}
	var list []Reopening
	for _, row := range rows {
		var told struct {
			Mode         string     `json:"mode"`
			Task         string     `json:"task"`
			Note         string     `json:"note"`
			Reason       string     `json:"reason"`
			EndedAt      *time.Time `json:"ended_at"`
			CanceledBy   string     `json:"canceled_by"`
			CancelReason string     `json:"cancel_reason"`
		}
		if len(row.Detail) > 0 {
			if err := json.Unmarshal(row.Detail, &told); err != nil {
				return nil, fmt.Errorf("read an event of run %d: %w", run.ID, err)
			}
		}
		list = append(list, Reopening{
			At: row.At.UTC(), By: row.Actor, Mode: told.Mode, Task: told.Task, Note: told.Note, Was: text(row.FromState), Reason: told.Reason,
			Marked: row.Cause == "mark", EndedAt: told.EndedAt, CanceledBy: told.CanceledBy, CancelNote: told.CancelReason,
		})
	}
	return list, nil
}

// A RerunPage is what is shown before a run runs again.
type RerunPage struct {
	Head PageHead
	Run  api.Run // without its tasks
	// Names of the tasks that would run again; of a fan-out of which some items stay,
	// with how many do not.
	Chosen, After, Finally []string
	// Newest is the newest revision of the pipeline; 0: it was removed.
	Newest int
	// Refused says why none would.
	Refused *api.Error
}

// RerunLatest is the mode of a page about a new run of the newest revision.
const RerunLatest = "latest"

// RerunPage works out what a rerun would do. Nothing is changed.
func (a *App) RerunPage(ctx context.Context, by Actor, ref RunRef, mode, task string) (RerunPage, error) {
	var page RerunPage
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	q := a.queries()
	row, err := a.findRun(ctx, q, by, ref)
	if err != nil {
		return page, err
	}
	if page.Head, err = a.PageHead(ctx, by); err != nil {
		return page, err
	}
	page.Run = a.runHead(row)
	def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
	if err != nil {
		return page, err
	}
	p, err := a.find(ctx, q, by, ref.of())
	if err != nil {
		return page, err
	}
	if p.RemovedAt == nil {
		newest, err := a.revisions.One(ctx, q, p.RevisionID)
		if err != nil {
			return page, err
		}
		page.Newest = newest.Number
	}
	m, from := flow.RerunMode(mode), 0
	switch m {
	case RerunLatest:
		if row.Run.EndedAt == nil {
			page.Refused, _ = errors.AsType[*api.Error](reopenError(reopen.ErrOpen, row, ""))
		} else if page.Newest == 0 {
			page.Refused = errRemoved(ref.of())
		}
		return page, nil
	case flow.RerunFailed, flow.RerunAll:
	case flow.RerunFrom:
		if from, err = ordinalOf(def, exactly(row), task); err != nil {
			return page, err
		}
	default:
		return page, api.Errorf(api.Malformed, "mode %s is no way to rerun", show(mode)).WithHint("failed, from, all or latest")
	}
	refuse := func(err error) (RerunPage, error) {
		if e, ok := errors.AsType[*api.Error](reopenError(err, row, m)); ok {
			page.Refused = e
			return page, nil
		}
		return page, err
	}
	if row.Run.EndedAt == nil {
		return refuse(reopen.ErrOpen)
	}
	unseen, err := q.EndUnseen(ctx, row.Run.ID)
	if err != nil {
		return page, fmt.Errorf("look who waits for a run: %w", err)
	}
	if unseen {
		return refuse(reopen.ErrUnseen)
	}
	rows, err := reopen.Rows(ctx, q, row.Run.ID)
	if err != nil {
		return page, err
	}
	if len(rows) == 0 {
		if m != flow.RerunAll {
			return refuse(reopen.ErrNoTasks)
		}
		return page, nil
	}
	if m == flow.RerunFrom {
		if err := blocked(def.Graph, rows, row, from); err != nil {
			return refuse(err)
		}
	}
	reset := def.Graph.Rerun(m, from, slices.Values(rows))
	if len(reset.Tasks) == 0 {
		return refuse(reopen.ErrNothing)
	}
	tasks, _ := def.Graph.Size()
	for _, t := range reset.Tasks {
		name := def.Graph.Task(t.Ordinal).Name
		if t.Again != nil && t.Fan != nil {
			name = fmt.Sprintf("%s: %d of %s", name, len(t.Again), plural(t.Fan.Items, "item"))
		}
		switch {
		case t.Ordinal >= tasks:
			page.Finally = append(page.Finally, name)
		case t.Chosen:
			page.Chosen = append(page.Chosen, name)
		default:
			page.After = append(page.After, name)
		}
	}
	return page, nil
}
