package reopen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/outputs"
)

// Why nothing is marked.
var (
	ErrNoTask = errors.New("the run has no such task or item")
	ErrSame   = errors.New("it has ended so already")
)

// A Marking says by hand how a task, or an item, ended.
type Marking struct {
	Number  int
	State   flow.State // succeeded, failed, skipped
	By, Why string
	Outputs []byte // JSON, of what succeeded; nil: those that are there
}

// Mark makes a marking true, in the caller's transaction, which holds the lock of
// the run's group. If something runs because of it, the run is open again as
// after a rerun; else only how it ended changes, and when it did does not.
func Mark(ctx context.Context, q *db.Queries, run Run, revision int, m Marking) (flow.Marked, error) {
	row, rows, err := open(ctx, q, run)
	if err != nil {
		return flow.Marked{}, err
	}
	if len(rows) == 0 {
		return flow.Marked{}, ErrNoTasks
	}
	at := slices.IndexFunc(rows, func(r flow.Row) bool { return r.Number == m.Number })
	switch {
	case at < 0:
		return flow.Marked{}, ErrNoTask
	case rows[at].State == m.State:
		return flow.Marked{}, ErrSame
	}
	facts, err := factsOf(row, revision)
	if err != nil {
		return flow.Marked{}, err
	}
	marked := run.Graph.Mark(facts, m.Number, m.State, slices.Values(rows))
	if err := write(ctx, q, row, m, rows, rows[at].State, marked); err != nil {
		return marked, err
	}
	if len(marked.Reset.Tasks) > 0 {
		if err := setBack(ctx, q, run, marked.Reset, rows, "mark", m.By); err != nil {
			return marked, err
		}
		return marked, reopenRun(ctx, q, row, marked.Reset, "mark", m.By, told{Task: run.Graph.Task(marked.Task.Ordinal).Name, Note: m.Why})
	}
	if err := q.CloseAgain(ctx, run.ID); err != nil {
		return marked, fmt.Errorf("close a run: %w", err)
	}
	return marked, conclude(ctx, q, run, row, marked, m.By)
}

// factsOf is what a decision knows of a run that has ended.
func factsOf(row db.Run, revision int) (flow.Run, error) {
	run := flow.Run{
		ID: row.ID, Number: row.Number, Namespace: row.Namespace, Pipeline: row.Pipeline, Revision: revision, Trigger: row.Trigger,
		ScheduledAt: row.ScheduledAt, CreatedAt: row.CreatedAt, IntervalStart: row.IntervalStart, IntervalEnd: row.IntervalEnd,
		Phase: flow.PhaseTasks, Reopened: true, CancelRequested: row.CancelRequestedAt != nil,
	}
	switch row.Reason {
	case flow.ReasonTimedOut, flow.ReasonCanceled: // no mark undoes these
		run.Reason = row.Reason
	}
	params, err := expr.FromJSON(row.Params)
	if err != nil {
		return run, fmt.Errorf("read params of run %d: %w", row.ID, err)
	}
	run.Params, _ = params.(map[string]any)
	if err := json.Unmarshal(row.Vars, &run.Vars); err != nil {
		return run, fmt.Errorf("read vars of run %d: %w", row.ID, err)
	}
	return run, nil
}

// write stores the marked row and, of an item, the row of its fan-out.
func write(ctx context.Context, q *db.Queries, row db.Run, m Marking, rows []flow.Row, was flow.State, marked flow.Marked) error {
	why, err := json.Marshal(map[string]string{"reason": m.Why})
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	detail := fmt.Sprintf("marked %s by %s: %s", m.State, m.By, m.Why)
	p := db.MarkTaskParams{
		RunID: row.ID, PipelineID: row.PipelineID, Number: int32(m.Number), Was: string(was), State: string(m.State), Reason: flow.ReasonMarked,
		Detail: detail, Actor: m.By, Outputs: m.Outputs, Told: why,
	}
	_, index := flow.Split(m.Number)
	if index < 0 {
		count(&p, marked.Task.Fan)
		return markTask(ctx, q, p)
	}
	if err := markTask(ctx, q, p); err != nil {
		return err
	}
	own := flow.Number(marked.Task.Ordinal)
	p.Number, p.Was, p.State, p.Outputs = int32(own), string(marked.From), string(marked.Task.State), nil
	p.Detail = marked.Task.Detail
	if i := slices.IndexFunc(rows, func(r flow.Row) bool { return r.Number == own }); p.Was == p.State && i >= 0 {
		p.Reason = rows[i].Reason
	}
	if p.Was != p.State {
		p.Detail = fmt.Sprintf("its item %d was %s", index, detail)
	}
	count(&p, marked.Task.Fan)
	return markTask(ctx, q, p)
}

// count gives the counters of a fan-out.
func count(p *db.MarkTaskParams, f *flow.Fan) {
	if f == nil {
		return
	}
	n := func(n int) *int32 { out := int32(n); return &out }
	p.Ok, p.Failed, p.Canceled, p.Skipped = n(f.OK), n(f.Failed), n(f.Canceled), n(f.Skipped)
}

func markTask(ctx context.Context, q *db.Queries, p db.MarkTaskParams) error {
	n, err := q.MarkTask(ctx, p)
	if err != nil {
		return fmt.Errorf("mark a task: %w", err)
	}
	if n != 1 {
		return fmt.Errorf("run %d: task %d had changed", p.RunID, p.Number)
	}
	return nil
}

// rounds bounds how often a verdict may ask for outputs.
const rounds = 5

// conclude writes how the run has ended now.
func conclude(ctx context.Context, q *db.Queries, run Run, row db.Run, marked flow.Marked, by string) error {
	in := flow.Input{Run: marked.Run, Tasks: marked.Tasks, Outputs: map[int]map[string]any{}, TooLarge: map[int]bool{}}
	var end flow.Finish
	for try := 0; ; try++ {
		var missing flow.Missing
		if end, missing = run.Graph.Verdict(in); missing.None() {
			break
		}
		if try == rounds || len(missing.Outputs) == 0 {
			return fmt.Errorf("run %d: its end cannot be told, %v is missing", row.ID, missing)
		}
		found, err := outputs.Load(ctx, q, []outputs.Wanted{{RunID: row.ID, Graph: run.Graph, Ordinals: missing.Outputs}})
		if err != nil {
			return err
		}
		for _, ordinal := range missing.Outputs {
			in.Outputs[ordinal] = found[row.ID].Outputs[ordinal]
			in.TooLarge[ordinal] = found[row.ID].TooLarge[ordinal]
		}
	}
	written := []byte("{}")
	if len(end.Outputs) > 0 {
		var err error
		if written, err = expr.ToJSON(end.Outputs); err != nil {
			return fmt.Errorf("store outputs of run %d: %w", row.ID, err)
		}
	}
	if string(end.State) == row.State && end.Reason == row.Reason && bytes.Equal(written, row.Outputs) {
		return nil
	}
	n, err := q.MarkRun(ctx, db.MarkRunParams{RunID: row.ID, Was: row.State, State: string(end.State), Reason: end.Reason, Outputs: written, Actor: by})
	if err != nil {
		return fmt.Errorf("mark a run: %w", err)
	}
	if n == 0 {
		return ErrOpen
	}
	if string(end.State) == row.State {
		return nil
	}
	if err := uncount(ctx, q, row); err != nil {
		return err
	}
	counted := db.CountRunsParams{
		Hours: []time.Time{row.EndedAt.UTC().Truncate(time.Hour)}, Pipelines: []int64{row.PipelineID}, States: []string{string(end.State)},
		Runs: []int64{1}, Seconds: []float64{0},
	}
	if row.StartedAt != nil {
		counted.Seconds[0] = row.EndedAt.Sub(*row.StartedAt).Seconds()
	}
	if err := q.CountRuns(ctx, counted); err != nil {
		return fmt.Errorf("count a run: %w", err)
	}
	return restat(ctx, q, row.PipelineID)
}
