package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A PageHead is what every page shows around its subject.
type PageHead struct {
	Now time.Time // by the database's clock
	// Namespaces says that the reader sees more than one, so that pages name them.
	Namespaces bool
	// Questions is how many of them wait for an answer; 100: at least so many.
	Questions int
}

// PageHead reads what every page shows around its subject.
func (a *App) PageHead(ctx context.Context, by Actor) (PageHead, error) {
	visible, _ := by.visible("")
	row, err := a.queries().PageHead(ctx, visible)
	if err != nil {
		return PageHead{}, fmt.Errorf("read the head of a page: %w", err)
	}
	return PageHead{Now: row.Now.UTC(), Namespaces: row.Several, Questions: int(row.Questions)}, nil
}

// An Upcoming is one line of what a pipeline's schedules will do.
type Upcoming struct {
	Schedule, Timezone string
	schedule.Upcoming
}

// Upcoming previews the next n ticks of a pipeline over all its schedules, and
// says what clock changes do to them. A removed pipeline has none.
func (a *App) Upcoming(ctx context.Context, by Actor, ref PipelineRef, n int) ([]Upcoming, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return nil, err
	}
	q := a.queries()
	row, err := a.find(ctx, q, by, ref)
	if err != nil || row.RemovedAt != nil {
		return nil, err
	}
	def, err := a.revisions.One(ctx, q, row.RevisionID)
	if err != nil {
		return nil, err
	}
	var out []Upcoming
	for _, s := range def.Graph.Pipeline().Schedules {
		compiled, _, err := def.Schedule(s.ID)
		if err != nil {
			return nil, fmt.Errorf("compile schedule %s of %s: %w", s.ID, ref, err)
		}
		for _, u := range compiled.Explain(row.Now, n) {
			out = append(out, Upcoming{Schedule: s.ID, Timezone: s.Timezone, Upcoming: u})
		}
	}
	slices.SortStableFunc(out, func(a, b Upcoming) int { return a.At.Compare(b.At) })
	for i, fires := 0, 0; i < len(out); i++ {
		if out[i].Fires {
			fires++
		}
		if fires == n {
			out = out[:i+1]
		}
	}
	return out, nil
}

// pageItems is how many items of each fan-out a run's page shows folded.
const pageItems = 12

// A RunPage is what the page of a run shows.
type RunPage struct {
	Head PageHead
	// Run has its tasks, without the items of fan-outs, and its kin.
	Run api.Run
	// Waits says by a task's name why it waits, where its reason alone does not.
	Waits map[string]string
	// Due is when all that a task needs had ended, by its name.
	Due map[string]time.Time
	// Items are some items of each fan-out, by its name: those that failed and those
	// at work first. Of the task that was asked for they are a page of all.
	Items map[string][]api.Task
	// NextItems is the cursor for more items of the task that was asked for.
	NextItems string
	// Failure is the task or item that failed first; nil: none did.
	Failure        *api.Task
	Previous, Next int64 // numbers of the runs beside it; 0: none
	// Failed and All are what a rerun of an ended run would run again.
	Failed, All Again
	// Reopenings are its earlier ends.
	Reopenings []Reopening
	// Running and Before are how many runs of its group run and wait before it.
	Running, Before int
	// Why says what holds the run, or the task that was asked for; nil: it has ended.
	Why *api.Explanation
}

// RunPage reads the page of a run; with a task, a page of all its items after a cursor.
func (a *App) RunPage(ctx context.Context, by Actor, ref RunRef, task, cursor string) (RunPage, error) {
	var page RunPage
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
	def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
	if err != nil {
		return page, err
	}
	page.Run = a.runHead(row)
	around, err := q.PageAround(ctx, db.PageAroundParams{PipelineID: row.Run.PipelineID, Number: row.Run.Number, GroupID: row.Run.GroupID, RunID: row.Run.ID})
	if err != nil {
		return page, fmt.Errorf("read what surrounds a run: %w", err)
	}
	page.Previous, page.Next, page.Running, page.Before = around.Previous, around.Next, int(around.Running), int(around.QueuedBefore)
	if err := a.kin(ctx, q, by, row, &page.Run); err != nil {
		return page, err
	}
	if err := a.pageTasks(ctx, q, by, row, def, &page); err != nil {
		return page, err
	}
	if row.Run.EndedAt == nil {
		why, err := a.pageWhy(ctx, by, page.Run, task)
		if err != nil {
			return page, err
		}
		page.Why = &why
	}
	if page.Reopenings, err = reopenings(ctx, q, row.Run); err != nil {
		return page, err
	}
	if task != "" {
		items, err := a.Tasks(ctx, by, ref, api.ListTasksParams{Task: task, Cursor: cursor, Limit: 101})
		if err != nil {
			return page, err
		}
		list := items.Items
		if len(list) > 0 && list[0].Index == nil {
			list = list[1:]
		}
		page.Items[task], page.NextItems = list, items.Next
	}
	return page, nil
}

// pageTasks reads a run's tasks, some items, and what failed, with their attempts.
func (a *App) pageTasks(ctx context.Context, q *db.Queries, by Actor, row runRow, def *revision.Revision, page *RunPage) error {
	id := row.Run.ID
	rows, err := q.PageTasks(ctx, id, api.MaxRunTasks)
	if err != nil {
		return fmt.Errorf("read tasks: %w", err)
	}
	var numbers, fans []int32
	for _, r := range rows {
		numbers = append(numbers, r.Number)
		if r.Items != nil && *r.Items > 0 {
			fans = append(fans, r.Number)
		}
	}
	var items []db.PageItemsRow
	if len(fans) > 0 {
		if items, err = q.PageItems(ctx, db.PageItemsParams{RunID: id, Numbers: fans, Each: pageItems}); err != nil {
			return fmt.Errorf("read items: %w", err)
		}
	}
	failed, err := q.PageFailure(ctx, id)
	if err != nil {
		return fmt.Errorf("find what failed: %w", err)
	}
	for _, r := range items {
		numbers = append(numbers, r.Number)
	}
	for _, r := range failed {
		numbers = append(numbers, r.Number)
	}
	attempts, err := q.PageAttempts(ctx, id, orEmpty(numbers))
	if err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	byTask := map[int32][]api.Attempt{}
	for _, r := range attempts {
		byTask[r.Number] = append(byTask[r.Number], attempt(db.AttemptsOfRow(r)))
	}
	if row.Run.EndedAt != nil {
		own := make([]flow.Row, len(rows))
		for i, r := range rows {
			own[i] = flow.Row{Number: int(r.Number), State: flow.State(r.State), Reason: r.Reason, Expanded: r.Items != nil}
		}
		page.Failed, page.All = again(def.Graph, flow.RerunFailed, own), again(def.Graph, flow.RerunAll, own)
	}
	asking, err := polls(ctx, q, id, def, 0, math.MaxInt32)
	if err != nil {
		return err
	}
	page.Waits, page.Items = map[string]string{}, map[string][]api.Task{}
	page.Due = map[string]time.Time{}
	for _, r := range rows {
		t := pageTask(db.PageFailureRow{
			Number: r.Number, Name: r.Name, Item: r.Item, State: r.State, Reason: r.Reason, Detail: r.Detail, Attempt: r.Attempt,
			ReadyAt: r.ReadyAt, WakeAt: r.WakeAt, EndedAt: r.EndedAt, Outputs: r.Outputs,
		}, def, byTask)
		if r.Items != nil {
			t.Items = &api.ItemCounts{Total: count(r.Items), Unfinished: count(r.Unfinished), Succeeded: count(r.Ok), Failed: count(r.Failed), Canceled: count(r.Canceled), Skipped: count(r.Skipped)}
		}
		if r.SlotPool != "" {
			page.Waits[r.Name] = fmt.Sprintf("waiting: pool %s is full, position %d", r.SlotPool, r.PoolPlace)
		}
		if withPoll(&t, asking, r.Number); t.Poll != nil {
			page.Waits[r.Name] = "waiting: " + t.Poll.Sentence()
		}
		if r.DueAt != nil {
			page.Due[r.Name] = r.DueAt.UTC()
		}
		page.Run.Tasks = append(page.Run.Tasks, t)
	}
	if err := a.linked(ctx, q, by, row, def, page.Run.Tasks, numbers[:len(rows)]); err != nil {
		return err
	}
	shown := make([]api.Task, len(items))
	for i, r := range items {
		shown[i] = pageTask(db.PageFailureRow(r), def, byTask)
		withPoll(&shown[i], asking, r.Number)
	}
	if err := a.linked(ctx, q, by, row, def, shown, numbers[len(rows):len(rows)+len(items)]); err != nil {
		return err
	}
	for i, r := range items {
		page.Items[r.Name] = append(page.Items[r.Name], shown[i])
	}
	for _, r := range failed {
		t := pageTask(r, def, byTask)
		page.Failure = &t
	}
	return nil
}

func pageTask(r db.PageFailureRow, def *revision.Revision, attempts map[int32][]api.Attempt) api.Task {
	normal, _ := def.Graph.Size()
	ordinal, index := flow.Split(int(r.Number))
	t := api.Task{
		Name: r.Name, Item: r.Item, State: api.TaskState(r.State), Reason: r.Reason, Detail: r.Detail, Finally: ordinal >= normal, Outputs: values(r.Outputs),
		ReadyAt: utc(r.ReadyAt), EndedAt: utc(r.EndedAt), WakeAt: orZero(r.WakeAt), Attempts: orEmpty(attempts[r.Number]),
	}
	defined(&t, def, ordinal, index)
	if n := len(t.Attempts); n > 0 && r.ReadyAt != nil { // not set back by a rerun
		t.StartedAt = t.Attempts[n-1].StartedAt
	}
	return t
}

// A TaskPage is what the page of an attempt shows around its log.
type TaskPage struct {
	Head PageHead
	Run  api.Run // without its tasks
	Task api.Task
	// Definition is the task as the run's revision has it, for people.
	Command, Script string
	Limit           int  // extra attempts that its own failures may cost
	Awaits          bool // it runs on no executor: it has no attempts and no log
	// Outputs are those that it declares, where a mark may give them.
	Outputs []api.Param
}

// TaskPage reads a task of a run, or an item, with its attempts.
func (a *App) TaskPage(ctx context.Context, by Actor, ref RunRef, task string, index *int) (TaskPage, error) {
	var page TaskPage
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	q := a.queries()
	row, number, err := a.findTask(ctx, q, by, ref, task, index)
	if err != nil {
		return page, err
	}
	if page.Head, err = a.PageHead(ctx, by); err != nil {
		return page, err
	}
	def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
	if err != nil {
		return page, err
	}
	list, err := a.tasks(ctx, q, by, row, def, taskFilter{low: number, high: number, limit: 1})
	if err != nil {
		return page, err
	}
	if len(list.Items) == 0 {
		what := task
		if index != nil {
			what += "[" + strconv.Itoa(*index) + "]"
		}
		e := api.Errorf(api.NotFound, "run %s has no %s", ref, what)
		if index == nil {
			e = e.WithHint("its tasks are born when the run starts")
		}
		return page, e
	}
	page.Run, page.Task = a.runHead(row), list.Items[0]
	for _, t := range allTasks(def.Graph.Pipeline()) {
		if t.Name == task {
			page.Limit, page.Script, page.Awaits = t.Retry.Limit, t.Run, t.Kind.Awaits()
			if ordinal, ok := def.Graph.Ordinal(task); ok && (index != nil || !def.Graph.Fan(ordinal)) {
				for _, o := range t.Outputs {
					out := describeParam(pipeline.Param{Name: o.Name, Schema: o.Schema})
					out.Required, out.Description = o.Required, o.Description
					page.Outputs = append(page.Outputs, out)
				}
			}
			for i, arg := range t.Command {
				if i > 0 {
					page.Command += " "
				}
				page.Command += string(arg)
			}
		}
	}
	return page, nil
}

// HasPipeline tells whether there is a pipeline that the actor may see.
func (a *App) HasPipeline(ctx context.Context, by Actor, ref PipelineRef) (bool, error) {
	if by.need(api.RoleViewer, "") != nil || !by.sees(ref.Namespace) || !isName(ref.Namespace) || !isName(ref.Name) {
		return false, nil
	}
	_, err := a.queries().FindPipeline(ctx, ref.Namespace, ref.Name)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
