// Package follow makes the runs that other runs ask for.
package follow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

// batchSize is how many runs one transaction makes.
const batchSize = 200

// MaxDepth is how deep runs may call one another.
const MaxDepth = 5

// Reasons why no run is made.
const (
	reasonNoPipeline = "no_pipeline"
	reasonDepth      = "pipeline_depth"
	reasonBroken     = "broken"
)

// A Follower makes runs on behalf of other runs. Followers may work side by
// side: a request that one has locked is passed over by the others.
type Follower struct {
	pool      *db.Pool
	revisions *revision.Cache
	told      func(advance.Outcome)
	log       *slog.Logger

	calls, triggers queue
}

// A queue is where runs are asked for.
type queue struct {
	lock   func(ctx context.Context, q *db.Queries, n int) ([]*want, error)
	answer func(ctx context.Context, q *db.Queries, wants []*want) error
	alone  int // so many requests are served one by one: a batch has failed
}

// New makes a Follower. told hears what each turn did, once it is committed.
func New(pool *db.Pool, revisions *revision.Cache, log *slog.Logger, told func(advance.Outcome)) *Follower {
	return &Follower{
		pool: pool, revisions: revisions, told: told, log: log,
		calls: queue{lock: lock, answer: answer}, triggers: queue{lock: lockTriggers, answer: answerTriggers},
	}
}

// A want is one run that is asked for, on its way.
type want struct {
	ask            db.LockAskedChildrenRow
	pipeline       db.NewestRevisionsRow
	rev            *revision.Revision
	request        flow.Request
	created        flow.Created
	id, group      int64
	beside         bool
	reason, detail string // why there is none
	trigger        *trigger
}

// ended is a run that ends as soon as it is made.
func (w *want) ended() bool { return w.trigger != nil && w.trigger.failed != "" }

func (w *want) refuse(reason, format string, args ...any) {
	w.reason, w.detail = reason, fmt.Sprintf(format, args...)
}

// errMoved asks for another try: what a run was worked out with has changed.
var errMoved = errors.New("the number of a run changed its group")

// Step makes a batch of the runs that tasks have asked for, and one of those
// that triggers ask for. What is wrong with one of them is the answer, not an
// error.
func (f *Follower) Step(ctx context.Context) error {
	called := f.serve(ctx, &f.calls)
	if called != nil && !errors.Is(called, loop.ErrMore) {
		return called
	}
	if err := f.serve(ctx, &f.triggers); err != nil {
		return err
	}
	return called
}

func (f *Follower) serve(ctx context.Context, k *queue) error {
	size := batchSize
	if k.alone > 0 {
		size = 1
	}
	var out advance.Outcome
	var wants []*want
	err := db.InTx(ctx, f.pool, func(q *db.Queries) (err error) {
		out = advance.Outcome{}
		if wants, err = k.lock(ctx, q, size); err != nil || len(wants) == 0 {
			return err
		}
		if err := f.make(ctx, q, wants, &out); err != nil {
			return err
		}
		return k.answer(ctx, q, wants)
	})
	switch {
	case errors.Is(err, errMoved):
		return loop.ErrMore
	case err != nil && len(wants) > 0 && !advance.Transient(ctx, err) && !db.IsCutShort(err):
		return f.isolate(ctx, k, wants, err)
	case err != nil:
		return fmt.Errorf("make runs that others ask for: %w", err)
	}
	k.alone = max(0, k.alone-len(wants))
	f.told(out)
	if len(wants) == size {
		return loop.ErrMore
	}
	return nil
}

// isolate serves the requests of a batch that failed one by one. One that fails
// alone is answered with no.
func (f *Follower) isolate(ctx context.Context, k *queue, wants []*want, cause error) error {
	if len(wants) > 1 {
		f.log.Warn("follow: a batch of runs cannot be made, trying them one by one", "runs", len(wants), "error", cause)
		k.alone = len(wants)
		return loop.ErrMore
	}
	w := wants[0]
	f.log.Error("follow: a run cannot be made, please report it", "pipeline", w.ask.Namespace+"/"+w.ask.Pipeline, "for", w.cause(), "error", cause)
	k.alone = max(0, k.alone-1)
	w.refuse(reasonBroken, "the run could not be made: %v", cause)
	err := db.InTx(ctx, f.pool, func(q *db.Queries) error { return k.answer(ctx, q, wants) })
	if err != nil {
		return fmt.Errorf("refuse a run: %w", err)
	}
	f.told(advance.Outcome{Woken: true})
	return loop.ErrMore
}

// cause is the run on whose behalf one is made.
func (w *want) cause() int64 {
	if w.trigger != nil {
		return w.trigger.row.UpstreamRunID
	}
	return w.ask.ParentRunID
}

// lock locks up to n requests.
func lock(ctx context.Context, q *db.Queries, n int) ([]*want, error) {
	rows, err := q.LockAskedChildren(ctx, int32(n))
	if err != nil {
		return nil, fmt.Errorf("lock requests: %w", err)
	}
	wants := make([]*want, len(rows))
	for i, row := range rows {
		wants[i] = &want{ask: row}
	}
	return wants, nil
}

func (f *Follower) make(ctx context.Context, q *db.Queries, wants []*want, out *advance.Outcome) error {
	if err := f.find(ctx, q, wants); err != nil {
		return err
	}
	if err := prepare(ctx, q, wants); err != nil {
		return err
	}
	good := slices.DeleteFunc(slices.Clone(wants), func(w *want) bool { return w.reason != "" })
	if len(good) > 0 {
		if err := join(ctx, q, good); err != nil {
			return err
		}
		if err := draw(ctx, q, good); err != nil {
			return err
		}
		if err := insert(ctx, q, good); err != nil {
			return err
		}
		if err := endFailed(ctx, q, good, out); err != nil {
			return err
		}
	}
	out.Woken, out.Runs = true, len(wants)
	for _, w := range wants {
		if w.trigger != nil {
			out.Triggers = append(out.Triggers, w.trigger.answer(w))
		}
	}
	return nil
}

// find finds the definitions that are called: the newest of each pipeline.
func (f *Follower) find(ctx context.Context, q *db.Queries, wants []*want) error {
	type name struct{ namespace, name string }
	found := map[name]db.NewestRevisionsRow{}
	var namespaces, names []string
	for _, w := range wants {
		if n := (name{w.ask.Namespace, w.ask.Pipeline}); found[n].Name == "" {
			found[n] = db.NewestRevisionsRow{Name: n.name}
			namespaces, names = append(namespaces, n.namespace), append(names, n.name)
		}
	}
	rows, err := q.NewestRevisions(ctx, namespaces, names)
	if err != nil {
		return fmt.Errorf("find pipelines: %w", err)
	}
	var ids []int64
	for _, row := range rows {
		found[name{row.Namespace, row.Name}] = row
		ids = append(ids, row.RevisionID)
	}
	revisions, broken, err := f.revisions.Load(ctx, q, ids)
	if err != nil {
		return err
	}
	for _, w := range wants {
		p := found[name{w.ask.Namespace, w.ask.Pipeline}]
		ref := w.ask.Namespace + "/" + w.ask.Pipeline
		switch {
		case w.ask.StopReason != "":
			w.refuse(w.ask.StopReason, "")
		case w.ask.Depth > MaxDepth:
			w.refuse(reasonDepth, "runs call one another %d deep, %d at most", w.ask.Depth, MaxDepth)
		case p.ID == 0:
			w.refuse(reasonNoPipeline, "there is no pipeline %s", ref)
		case p.Removed:
			w.refuse(reasonNoPipeline, "pipeline %s was removed", ref)
		case broken[p.RevisionID] != nil:
			f.log.Error("follow: a definition cannot be read", "pipeline", ref, "error", broken[p.RevisionID])
			w.refuse(reasonBroken, "the definition of %s cannot be read", ref)
		default:
			w.pipeline, w.rev = p, revisions[p.RevisionID]
		}
		if w.trigger != nil && w.reason == "" {
			w.trigger.look(w)
		}
	}
	return nil
}

// prepare works out what each run is made with. Expressions may read the number
// of their run, and groups are made before numbers are drawn: so it is worked
// out with the number that the run will most likely have.
func prepare(ctx context.Context, q *db.Queries, wants []*want) error {
	var namespaces []string
	for _, w := range wants {
		if w.reason == "" {
			namespaces = append(namespaces, w.ask.Namespace)
		}
	}
	vars, err := newrun.Vars(ctx, q, namespaces...)
	if err != nil {
		return err
	}
	last := map[int64]int64{}
	for _, w := range wants {
		if w.reason != "" {
			continue
		}
		n := max(last[w.pipeline.ID], w.pipeline.Last) + 1
		w.request = flow.Request{
			Trigger: "pipeline", Call: w.trigger == nil, Number: n, Revision: w.rev.Number, Vars: vars[w.ask.Namespace], CreatedAt: w.ask.Now,
			ScheduledAt: w.ask.ScheduledAt, IntervalStart: w.ask.IntervalStart, IntervalEnd: w.ask.IntervalEnd,
		}
		if err := w.workOut(); err != nil {
			return err
		}
		if w.reason != "" {
			continue
		}
		last[w.pipeline.ID] = n
	}
	return nil
}

// workOut evaluates what the run is made with.
func (w *want) workOut() error {
	if w.trigger != nil {
		return w.trigger.workOut(w)
	}
	params, err := expr.FromJSON(w.ask.Params)
	if err != nil {
		return fmt.Errorf("read params of a child run: %w", err)
	}
	w.request.Params, _ = params.(map[string]any)
	if w.created, err = w.rev.Graph.Create(w.request); err != nil {
		bad, ok := errors.AsType[*flow.CreateError](err)
		if !ok {
			return err
		}
		w.refuse(bad.Reason, "%s", bad.Error())
	}
	return nil
}

// join finds the group of each run, and whether the run may start beside the
// others: a run that waits for it, directly or through others, is one of them.
func join(ctx context.Context, q *db.Queries, wants []*want) error {
	list, callers := make([]newrun.Group, len(wants)), map[int64]bool{}
	for i, w := range wants {
		list[i] = newrun.Group{Pipeline: w.pipeline.ID, Namespace: w.pipeline.Namespace, Name: w.created.Group}
		if w.ask.Waits {
			callers[w.ask.ParentRunID] = true
		}
	}
	groups, err := newrun.Groups(ctx, q, list)
	if err != nil {
		return err
	}
	held := map[int64][]int64{} // run → its group and those of its callers
	if len(callers) > 0 {
		rows, err := q.CallersGroups(ctx, slices.Sorted(maps.Keys(callers)))
		if err != nil {
			return fmt.Errorf("read groups of callers: %w", err)
		}
		for _, g := range rows {
			held[g.ID] = append(held[g.ID], g.GroupID)
		}
	}
	for i, w := range wants {
		w.group = groups[i]
		w.beside = w.ask.Waits && slices.Contains(held[w.ask.ParentRunID], w.group)
	}
	return nil
}

// draw gives each run its id and its number.
func draw(ctx context.Context, q *db.Queries, wants []*want) error {
	ids, err := q.DrawRunIDs(ctx, int32(len(wants)))
	if err != nil {
		return fmt.Errorf("draw run ids: %w", err)
	}
	pipelines := make([]int64, len(wants))
	for i, w := range wants {
		pipelines[i] = w.pipeline.ID
	}
	numbers, err := newrun.Numbers(ctx, q, pipelines)
	if err != nil {
		return err
	}
	for i, w := range wants {
		w.id = ids[i]
		n := numbers[i]
		moved := n != w.request.Number
		w.request.ID, w.request.Number = w.id, n
		if w.ended() {
			continue // it reads nothing any more
		}
		joined := w.created.Group
		if w.created, err = w.rev.Graph.Create(w.request); err != nil || w.created.Group != joined {
			if err == nil && moved {
				return errMoved
			}
			return fmt.Errorf("work out a run of %s/%s once more: %w", w.pipeline.Namespace, w.pipeline.Name, cmp.Or(err, errMoved))
		}
	}
	return nil
}

// insert stores the runs, queued.
func insert(ctx context.Context, q *db.Queries, wants []*want) error {
	var p db.InsertAskedRunsParams
	for _, w := range wants {
		params, vars, err := newrun.Inputs(w.created.Params, w.request.Vars)
		if err != nil {
			return fmt.Errorf("a run of %s/%s: %w", w.pipeline.Namespace, w.pipeline.Name, err)
		}
		p.Ids = append(p.Ids, w.id)
		p.Pipelines = append(p.Pipelines, w.pipeline.ID)
		p.Revisions = append(p.Revisions, w.rev.ID)
		p.Numbers = append(p.Numbers, w.request.Number)
		p.Namespaces = append(p.Namespaces, w.pipeline.Namespace)
		p.Names = append(p.Names, w.pipeline.Name)
		p.ScheduledAts = append(p.ScheduledAts, w.request.ScheduledAt)
		p.IntervalStarts = append(p.IntervalStarts, w.request.IntervalStart)
		p.IntervalEnds = append(p.IntervalEnds, w.request.IntervalEnd)
		p.Params = append(p.Params, string(params))
		p.Vars = append(p.Vars, string(vars))
		p.Groups = append(p.Groups, w.group)
		p.GroupNames = append(p.GroupNames, w.created.Group)
		p.Limits = append(p.Limits, int32(w.created.Limit))
		p.Parents = append(p.Parents, w.ask.ParentRunID)
		p.ParentNumbers = append(p.ParentNumbers, w.ask.ParentNumber)
		p.Waits = append(p.Waits, w.ask.Waits)
		p.Besides = append(p.Besides, w.beside)
		p.Backfills = append(p.Backfills, w.ask.BackfillID)
		p.Notes = append(p.Notes, w.note())
	}
	if err := q.InsertAskedRuns(ctx, p); err != nil {
		return fmt.Errorf("store child runs: %w", err)
	}
	return nil
}

// answer tells the tasks what they got.
func answer(ctx context.Context, q *db.Queries, wants []*want) error {
	var p db.AnswerChildrenParams
	for _, w := range wants {
		var id, number int64
		if w.reason == "" {
			id, number = w.id, w.request.Number
		}
		p.Parents = append(p.Parents, w.ask.ParentRunID)
		p.ParentNumbers = append(p.ParentNumbers, w.ask.ParentNumber)
		p.Attempts = append(p.Attempts, w.ask.Attempt)
		p.RunIds = append(p.RunIds, id)
		p.Numbers = append(p.Numbers, number)
		p.Reasons = append(p.Reasons, w.reason)
		p.Details = append(p.Details, w.detail)
		p.Besides = append(p.Besides, w.beside)
	}
	if err := q.AnswerChildren(ctx, p); err != nil {
		return fmt.Errorf("answer tasks: %w", err)
	}
	return nil
}
