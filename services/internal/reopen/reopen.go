// Package reopen lets runs that have ended run again, and says by hand how their tasks ended.
package reopen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// Why a run cannot be opened again. Nothing has been written that a rollback does
// not undo.
var (
	ErrOpen    = errors.New("the run has not ended")
	ErrUnseen  = errors.New("the task that called the run has not looked at its end yet")
	ErrGone    = errors.New("the run is no longer kept")
	ErrNothing = errors.New("nothing of the run would run again")
	ErrNoTasks = errors.New("the run never started")
)

// A Run is what of a run never changes.
type Run struct {
	ID, PipelineID, GroupID, RevisionID int64
	Graph                               *flow.Graph
}

// A Request is who wants a run to run again, and what of it.
type Request struct {
	Mode flow.RerunMode
	From int // the ordinal of the task, for flow.RerunFrom
	By   string
	Note string
}

// Rerun opens a run again, in the caller's transaction, which holds the lock of
// the run's group. The open row is taken first: retention drops no day with an
// open run, and of two who want the same run one finds it open.
func Rerun(ctx context.Context, q *db.Queries, run Run, req Request) (flow.Reset, error) {
	row, rows, err := open(ctx, q, run)
	if err != nil {
		return flow.Reset{}, err
	}
	told := told{Mode: string(req.Mode), Note: req.Note}
	if req.Mode == flow.RerunFrom {
		told.Task = run.Graph.Task(req.From).Name
	}
	if len(rows) == 0 {
		if req.Mode != flow.RerunAll {
			return flow.Reset{}, ErrNoTasks
		}
		return flow.Reset{}, reopenRun(ctx, q, row, flow.Reset{}, "rerun", req.By, told)
	}
	reset := run.Graph.Rerun(req.Mode, req.From, slices.Values(rows))
	if len(reset.Tasks) == 0 {
		return reset, ErrNothing
	}
	if err := setBack(ctx, q, run, reset, rows, "rerun", req.By); err != nil {
		return reset, err
	}
	return reset, reopenRun(ctx, q, row, reset, "rerun", req.By, told)
}

// open takes the open row of a run and reads what there is of it. A task that
// waits for the run sees its end first: opened again, the run starts beside nobody
// and is stopped by nobody, so nobody may wait for it.
func open(ctx context.Context, q *db.Queries, run Run) (db.Run, []flow.Row, error) {
	n, err := q.OpenAgain(ctx, db.OpenAgainParams{RunID: run.ID, PipelineID: run.PipelineID, GroupID: run.GroupID, RevisionID: run.RevisionID})
	if err != nil {
		return db.Run{}, nil, fmt.Errorf("open a run again: %w", err)
	}
	if n == 0 {
		return db.Run{}, nil, ErrOpen
	}
	unseen, err := q.EndUnseen(ctx, run.ID)
	if err != nil {
		return db.Run{}, nil, fmt.Errorf("look who waits for a run: %w", err)
	}
	if unseen {
		return db.Run{}, nil, ErrUnseen
	}
	row, err := q.RunByID(ctx, run.ID)
	if errors.Is(err, db.ErrNoRows) {
		return db.Run{}, nil, ErrGone
	}
	if err != nil {
		return db.Run{}, nil, fmt.Errorf("read a run: %w", err)
	}
	rows, err := Rows(ctx, q, run.ID)
	return row.Run, rows, err
}

// Rows are all rows of a run, as flow reads them.
func Rows(ctx context.Context, q *db.Queries, id int64) ([]flow.Row, error) {
	list, err := q.RowsOf(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the tasks of a run: %w", err)
	}
	rows := make([]flow.Row, len(list))
	for i, t := range list {
		rows[i] = flow.Row{Number: int(t.Number), State: flow.State(t.State), Reason: t.Reason, Expanded: t.Expanded}
		if t.Again != nil {
			rows[i].Again = []int{}
		}
		for _, index := range t.Again {
			rows[i].Again = append(rows[i].Again, int(index))
		}
	}
	return rows, nil
}

// none stands for an absent number in parameters that are lists.
const none = -1

// setBack makes what runs again wait.
func setBack(ctx context.Context, q *db.Queries, run Run, reset flow.Reset, rows []flow.Row, cause, by string) error {
	p := db.SetBackParams{RunID: run.ID, PipelineID: run.PipelineID, Cause: cause, Actor: by}
	add := func(number int, from flow.State, t flow.Task) {
		f := flow.Fan{Unfinished: none, OK: none, Failed: none, Canceled: none, Skipped: none}
		if t.Fan != nil {
			f = *t.Fan
		}
		p.Numbers = append(p.Numbers, int32(number))
		p.Froms = append(p.Froms, string(from))
		p.NeedsLefts = append(p.NeedsLefts, int16(t.NeedsLeft))
		p.Trails = append(p.Trails, int16(t.Trail))
		p.Agains = append(p.Agains, array(t.Again))
		p.Unfinisheds = append(p.Unfinisheds, int32(f.Unfinished))
		p.Oks = append(p.Oks, int32(f.OK))
		p.Faileds = append(p.Faileds, int32(f.Failed))
		p.Canceleds = append(p.Canceleds, int32(f.Canceled))
		p.Skippeds = append(p.Skippeds, int32(f.Skipped))
	}
	for _, t := range reset.Tasks {
		add(flow.Number(t.Ordinal), t.From, t.Task)
	}
	// Both are in order of their numbers.
	at := 0
	for _, number := range reset.Items {
		for at < len(rows) && rows[at].Number < number {
			at++
		}
		if at == len(rows) || rows[at].Number != number {
			return fmt.Errorf("item %d of run %d has no row", number, run.ID)
		}
		add(number, rows[at].State, flow.Task{})
	}
	n, err := q.SetBack(ctx, p)
	if err != nil {
		return fmt.Errorf("set tasks back: %w", err)
	}
	if n != int64(len(p.Numbers)) {
		return fmt.Errorf("run %d: %d of %d tasks to be set back had changed", run.ID, int64(len(p.Numbers))-n, len(p.Numbers))
	}
	return nil
}

// array writes indexes as the database reads them; "" stands for none.
func array(list []int) string {
	if list == nil {
		return ""
	}
	return "{" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(list)), ","), "[]") + "}"
}

// told is what the event of a reopened run keeps: what was asked for, and the end
// that is no longer the run's.
type told struct {
	Mode  string `json:"mode,omitempty"`
	Task  string `json:"task,omitempty"`
	Note  string `json:"note,omitempty"`
	Tasks int    `json:"tasks"`
	Items int    `json:"items"`

	Reason       string     `json:"reason,omitempty"`
	StartedAt    *time.Time `json:"started_at"`
	EndedAt      *time.Time `json:"ended_at"`
	CanceledBy   *string    `json:"canceled_by,omitempty"`
	CancelReason *string    `json:"cancel_reason,omitempty"`
}

// reopenRun makes the run wait for its group. Its old end no longer counts.
func reopenRun(ctx context.Context, q *db.Queries, row db.Run, reset flow.Reset, cause, by string, t told) error {
	t.Tasks, t.Items = len(reset.Tasks), len(reset.Items)
	t.Reason, t.StartedAt, t.EndedAt, t.CanceledBy, t.CancelReason = row.Reason, row.StartedAt, row.EndedAt, row.CanceledBy, row.CancelReason
	detail, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	r := reset.Run
	n, err := q.ReopenRun(ctx, db.ReopenRunParams{
		RunID: row.ID, Was: row.State, Cause: cause, Actor: by, Detail: detail,
		Unfinished: int32(r.Unfinished), Failed: int32(r.Failed), Canceled: int32(r.Canceled), Skipped: int32(r.Skipped), Rows: int32(r.Rows),
	})
	if err != nil {
		return fmt.Errorf("open a run again: %w", err)
	}
	if n == 0 {
		return ErrOpen
	}
	if err := uncount(ctx, q, row); err != nil {
		return err
	}
	return restat(ctx, q, row.PipelineID)
}

// uncount takes the end of a run out of the hourly rollup.
func uncount(ctx context.Context, q *db.Queries, row db.Run) error {
	if row.EndedAt == nil {
		return nil
	}
	p := db.UncountRunParams{Hour: row.EndedAt.UTC().Truncate(time.Hour), PipelineID: row.PipelineID, State: row.State}
	if row.StartedAt != nil {
		p.Seconds = row.EndedAt.Sub(*row.StartedAt).Seconds()
	}
	if err := q.UncountRun(ctx, p); err != nil {
		return fmt.Errorf("take a run out of the count: %w", err)
	}
	return nil
}

// restat works out anew what a pipeline's newest runs came to. It comes last:
// whoever ends a run of the pipeline waits for the row from here on.
func restat(ctx context.Context, q *db.Queries, pipeline int64) error {
	if err := q.LockStats(ctx, []int64{pipeline}); err != nil {
		return fmt.Errorf("lock what the newest runs came to: %w", err)
	}
	if err := q.RestatPipelines(ctx, []int64{pipeline}); err != nil {
		return fmt.Errorf("look at the newest runs: %w", err)
	}
	return nil
}
