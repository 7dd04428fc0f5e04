package app

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// taskFilter is which tasks of a run are asked for, by number.
type taskFilter struct {
	low, high int32
	states    []string
	limit     int
}

// Tasks is a page of the tasks of a run, each followed by its items.
func (a *App) Tasks(ctx context.Context, by Actor, ref RunRef, p api.ListTasksParams) (api.TaskPage, error) {
	page := api.TaskPage{Items: []api.Task{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	f := taskFilter{high: math.MaxInt32}
	var err error
	if f.limit, err = pageSize(p.Limit); err != nil {
		return page, err
	}
	for _, s := range p.State {
		switch s {
		case api.TaskStateWaiting, api.TaskStateReady, api.TaskStateRunning, api.TaskStateSucceeded, api.TaskStateFailed, api.TaskStateCanceled, api.TaskStateSkipped:
			f.states = append(f.states, string(s))
		default:
			return page, api.Errorf(api.Unprocessable, "state %s is not one of a task", show(string(s))).WithHint("waiting, ready, running, succeeded, failed, canceled, skipped")
		}
	}
	q := a.queries()
	row, err := a.findRun(ctx, q, by, ref)
	if err != nil {
		return page, err
	}
	def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
	if err != nil {
		return page, err
	}
	if p.Task != "" {
		ordinal, err := ordinalOf(def, ref, p.Task)
		if err != nil {
			return page, err
		}
		f.low, f.high = int32(flow.Number(ordinal)), int32(flow.Number(ordinal+1)-1)
	}
	if p.Cursor != "" {
		n, err := parseCursorNumber(p.Cursor)
		if err != nil {
			return page, err
		}
		f.low = max(f.low, int32(min(n, math.MaxInt32)))
	}
	return a.tasks(ctx, q, by, row, def, f)
}

// ordinalOf finds a task of a revision by its name.
func ordinalOf(def *revision.Revision, ref RunRef, name string) (int, error) {
	ordinal, ok := def.Graph.Ordinal(name)
	if ok {
		return ordinal, nil
	}
	var names []string
	for _, t := range allTasks(def.Graph.Pipeline()) {
		names = append(names, t.Name)
	}
	e := api.Errorf(api.NotFound, "run %s has no task %s", ref, show(name))
	if near := nearest(name, names); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return 0, e
}

// tasks reads tasks with their attempts; its cursor is the number to go on from.
func (a *App) tasks(ctx context.Context, q *db.Queries, by Actor, row runRow, def *revision.Revision, f taskFilter) (api.TaskPage, error) {
	page := api.TaskPage{Items: []api.Task{}}
	run := row.Run.ID
	rows, err := q.TasksPage(ctx, db.TasksPageParams{RunID: run, Low: f.low, High: f.high, States: orEmpty(f.states), Page: int32(f.limit + 1)})
	if err != nil {
		return page, fmt.Errorf("read tasks: %w", err)
	}
	if len(rows) > f.limit {
		page.Next = cursor(strconv.Itoa(int(rows[f.limit].Number)))
		rows = rows[:f.limit]
	}
	if len(rows) == 0 {
		return page, nil
	}
	attempts, err := q.AttemptsOf(ctx, db.AttemptsOfParams{RunID: run, Low: rows[0].Number, High: rows[len(rows)-1].Number})
	if err != nil {
		return page, fmt.Errorf("read attempts: %w", err)
	}
	byTask := make(map[int32][]api.Attempt, len(rows))
	for _, r := range attempts {
		byTask[r.Number] = append(byTask[r.Number], attempt(r))
	}
	asking, err := polls(ctx, q, run, def, rows[0].Number, rows[len(rows)-1].Number)
	if err != nil {
		return page, err
	}
	normal, _ := def.Graph.Size()
	for _, r := range rows {
		ordinal, index := flow.Split(int(r.Number))
		t := api.Task{
			Name: r.Name, Item: r.Item, State: api.TaskState(r.State), Reason: r.Reason, Detail: r.Detail, Finally: ordinal >= normal, Outputs: values(r.Outputs),
			ReadyAt: utc(r.ReadyAt), EndedAt: utc(r.EndedAt), WakeAt: orZero(r.WakeAt), Attempts: orEmpty(byTask[r.Number]),
		}
		defined(&t, def, ordinal, index)
		if r.Items != nil {
			t.Items = &api.ItemCounts{Total: count(r.Items), Unfinished: count(r.Unfinished), Succeeded: count(r.Ok), Failed: count(r.Failed), Canceled: count(r.Canceled), Skipped: count(r.Skipped)}
		}
		// The task started when its last attempt did, unless a rerun has set it back since.
		if n := len(t.Attempts); n > 0 && r.ReadyAt != nil {
			t.StartedAt = t.Attempts[n-1].StartedAt
		}
		withPoll(&t, asking, r.Number)
		page.Items = append(page.Items, t)
	}
	numbers := make([]int32, len(rows))
	for i, r := range rows {
		numbers[i] = r.Number
	}
	return page, a.linked(ctx, q, by, row, def, page.Items, numbers)
}

// defined says of a task what its run's revision says; of an item, index is 0 or more.
func defined(t *api.Task, def *revision.Revision, ordinal, index int) {
	if index >= 0 {
		t.Index = &index
	}
	d := def.Graph.Task(ordinal)
	if d == nil {
		return
	}
	t.RetryLimit = d.Retry.Limit
	if index < 0 {
		t.Needs = d.Needs
	}
}

func attempt(r db.AttemptsOfRow) api.Attempt {
	out := api.Attempt{
		Number: int(r.Attempt), State: api.AttemptState(r.State), Reason: r.Reason, Detail: r.Detail, Signal: text(r.Signal), Executor: r.Executor,
		ClaimedAt: r.ClaimedAt.UTC(), StartedAt: utc(r.StartedAt), EndedAt: orNil(r.EndedAt), CPUMs: r.CpuMs, MaxRss: r.MaxRss,
		LogBytes: r.LogSeen, LogKept: r.LogStored, Summary: text(r.Summary),
	}
	if r.ExitCode != nil {
		code := int(*r.ExitCode)
		out.ExitCode = &code
	}
	return out
}

func count(n *int32) int {
	if n == nil {
		return 0
	}
	return int(*n)
}
