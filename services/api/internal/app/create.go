package app

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// manual is the trigger of runs that somebody asked for.
const manual = "manual"

// CreateRun makes a run by hand. With a key, the same request makes it once:
// repeated, it answers with the run made before, and created is false.
func (a *App) CreateRun(ctx context.Context, by Actor, ref PipelineRef, key string, req api.RunRequest) (run api.Run, created bool, err error) {
	return a.create(ctx, by, ref, key, req, origin{trigger: manual})
}

// create is CreateRun for requests of any origin.
func (a *App) create(ctx context.Context, by Actor, ref PipelineRef, key string, req api.RunRequest, from origin) (run api.Run, created bool, err error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return run, false, err
	}
	if n, err := note("note", req.Note, 1000); err != nil {
		return run, false, err
	} else {
		req.Note = n
	}
	if err := checkKey(key); err != nil {
		return run, false, err
	}
	content, err := requestHash(req, from)
	if err != nil {
		return run, false, err
	}
	var id int64
	decide := func(q *db.Queries) error {
		p, err := a.find(ctx, q, by, ref)
		if err != nil {
			return err
		}
		if err := by.need(api.RoleOperator, ref.Namespace); err != nil {
			return err
		}
		created = false
		ids, err := q.DrawRunIDs(ctx, 1)
		if err != nil {
			return fmt.Errorf("draw an id: %w", err)
		}
		id = ids[0]
		before, err := keyed{fmt.Sprintf("pipeline:%d", p.ID), key, content}.take(ctx, q, &id)
		if err != nil {
			return err
		}
		if before != nil {
			id = *before.RunID
			return nil
		}
		created = true
		return a.request(ctx, q, by, p, req, from, key, id)
	}
	for try := 0; ; try++ {
		if err = db.InTx(ctx, a.pool, decide); !errors.Is(err, errMoved) || try == 10 {
			break
		}
	}
	if err != nil {
		return run, false, err
	}
	if created {
		a.notifier.Notify(db.ChannelWake)
		a.notifier.Notify(db.ChannelEvent)
	}
	row, err := a.queries().RunByID(ctx, id)
	if errors.Is(err, db.ErrNoRows) {
		return run, false, api.Errorf(api.Gone, "the run that this key made is no longer kept").WithHint("use a new key")
	}
	if err != nil {
		return run, false, fmt.Errorf("read a run: %w", err)
	}
	return a.runHead(runRow(row)), created, nil
}

// requestHash is the same for the same request, in whatever order its params are.
func requestHash(req api.RunRequest, from origin) ([]byte, error) {
	values := map[string]any{}
	for name, raw := range req.Params {
		v, err := expr.FromJSON(raw)
		if err != nil {
			return nil, api.Errorf(api.Unprocessable, "param %s: %v", show(name), err)
		}
		values[name] = v
	}
	params, err := expr.ToJSON(values)
	if err != nil {
		return nil, api.Errorf(api.Unprocessable, "params: %v", err)
	}
	whole, err := json.Marshal(struct {
		Params json.RawMessage
		Texts  map[string]string
		At     time.Time
		Note   string
		Of     *int64 `json:",omitempty"`
	}{params, req.Texts, req.At.UTC(), req.Note, from.rerunOf})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(whole)
	return sum[:], nil
}

// An origin is where a request comes from.
type origin struct {
	trigger  string
	interval *api.Interval // nil: worked out
	rerunOf  *int64        // the run whose params it has
}

func (o origin) apply(f *flow.Request) {
	f.Trigger = o.trigger
	if o.interval != nil {
		f.IntervalStart, f.IntervalEnd = o.interval.Start, o.interval.End
	}
}

// errMoved asks for another try: what the run was worked out with has changed.
var errMoved = errors.New("the number of the run changed its group")

// request makes the run: it joins its group, under the group's lock, unless the
// group's queue is full.
func (a *App) request(ctx context.Context, q *db.Queries, by Actor, p db.FindPipelineRow, req api.RunRequest, from origin, key string, id int64) error {
	ref := PipelineRef{p.Namespace, p.Name}
	if p.RemovedAt != nil {
		return errRemoved(ref)
	}
	def, err := a.revisions.One(ctx, q, p.RevisionID)
	if err != nil {
		return err
	}
	if req.ExpectRevision != 0 && req.ExpectRevision != def.Number {
		return api.Errorf(api.Conflict, "%s is now revision %d, the request was made for %d", ref, def.Number, req.ExpectRevision).WithHint("look at the new one and ask again")
	}
	if from.trigger == manual && !def.Graph.Pipeline().Manual {
		return api.Errorf(api.Guarded, "%s may not be run by hand: it says manual: false", ref).WithHint("change the file and register it")
	}
	given, wrong := paramValues(def.Graph.Pipeline(), req)
	f, err := a.flowRequest(ctx, q, p, def, req, given)
	if err != nil {
		return err
	}
	f.ID = id
	from.apply(&f)
	// Expressions may read the number, and the group is locked before the number is
	// drawn: so it is worked out with the number it will most likely have.
	last, err := q.LastNumber(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the last number: %w", err)
	}
	a.numbered(&f, p, last+1)
	made, err := def.Graph.Create(f)
	if err := createError(ref, err, wrong); err != nil {
		return err
	}
	group, err := a.joinGroup(ctx, q, p, made)
	if err != nil {
		return err
	}
	numbers, err := newrun.Numbers(ctx, q, []int64{p.ID})
	if err != nil {
		return err
	}
	if numbers[0] != f.Number {
		a.numbered(&f, p, numbers[0])
		joined := made.Group
		if made, err = def.Graph.Create(f); err != nil {
			return createError(ref, err, nil)
		}
		if made.Group != joined {
			return errMoved
		}
	}
	return a.insertRun(ctx, q, by, p, def, req, from, key, f, made, group)
}

func (a *App) numbered(f *flow.Request, p db.FindPipelineRow, number int64) {
	f.Number, f.URL = number, a.runURL(p.Namespace, p.Name, number)
}

// flowRequest is the request as decisions see it.
func (a *App) flowRequest(ctx context.Context, q *db.Queries, p db.FindPipelineRow, def *revision.Revision, req api.RunRequest, given map[string]any) (flow.Request, error) {
	out := flow.Request{Trigger: manual, Params: given, Revision: def.Number, CreatedAt: p.Now, ScheduledAt: req.At}
	if out.ScheduledAt.IsZero() {
		out.ScheduledAt = p.Now
	}
	if y := out.ScheduledAt.Year(); y < 1970 || y > 9999 {
		return out, api.Errorf(api.Unprocessable, "at is between the years 1970 and 9999, found %s", out.ScheduledAt.Format(time.RFC3339))
	}
	out.IntervalStart, out.IntervalEnd = out.ScheduledAt, out.ScheduledAt
	if list := def.Graph.Pipeline().Schedules; len(list) > 0 {
		s, _, err := def.Schedule(list[0].ID)
		if err != nil {
			return out, err
		}
		// The last interval that was complete: it ends with a tick.
		if at, ok := s.PrevAt(out.ScheduledAt.Add(1)); ok {
			out.IntervalStart, out.IntervalEnd = s.Interval(at)
		}
	}
	vars, err := newrun.Vars(ctx, q, p.Namespace)
	if err != nil {
		return out, err
	}
	out.Vars = vars[p.Namespace]
	return out, nil
}

// joinGroup locks the run's group and refuses a run that its queue has no room for.
func (a *App) joinGroup(ctx context.Context, q *db.Queries, p db.FindPipelineRow, made flow.Created) (int64, error) {
	groups, err := newrun.Groups(ctx, q, []newrun.Group{{Pipeline: p.ID, Namespace: p.Namespace, Name: made.Group}})
	if err != nil {
		return 0, err
	}
	loads, err := newrun.LockGroups(ctx, q, groups)
	if err != nil {
		return 0, err
	}
	return groups[0], room(*loads[groups[0]], p, made)
}

// room refuses a run that the queue of its group has no room for.
func room(g flow.GroupLoad, p db.FindPipelineRow, made flow.Created) error {
	// Those at the head of the queue that have room start within a moment: they
	// count as if they had.
	starting := min(g.Queued, max(0, made.Limit-g.Running))
	g.Running, g.Queued, g.Counted = g.Running+starting, g.Queued-starting, max(0, g.Counted-starting)
	v := flow.AdmitTick(g, flow.QueuedRun{Limit: made.Limit, MaxQueued: made.MaxQueued, OnConflict: made.OnConflict, Counted: true})
	if v.Reason == flow.ReasonQueueFull {
		return api.Errorf(api.QueueFull, "%s has %s running and %d queued, which is all that max_queued allows", groupName(p, made), plural(g.Running, "run"), g.Counted).
			WithHint("wait for one to end, or cancel one")
	}
	return nil
}

func groupName(p db.FindPipelineRow, made flow.Created) string {
	if made.Group == "" {
		return p.Namespace + "/" + p.Name
	}
	return fmt.Sprintf("group %q of %s", made.Group, p.Namespace)
}

func (a *App) insertRun(ctx context.Context, q *db.Queries, by Actor, p db.FindPipelineRow, def *revision.Revision, req api.RunRequest, from origin, key string, f flow.Request, made flow.Created, group int64) error {
	params, vars, err := newrun.Inputs(made.Params, f.Vars)
	if err != nil {
		return err
	}
	arg := db.RequestRunParams{
		ID: f.ID, PipelineID: p.ID, RevisionID: def.ID, Number: f.Number, Namespace: p.Namespace, Pipeline: p.Name, Trigger: f.Trigger,
		ScheduledAt: f.ScheduledAt, IntervalStart: f.IntervalStart, IntervalEnd: f.IntervalEnd, Params: params, Vars: vars, Note: req.Note,
		RequestedBy: by.Name, GroupID: group, ConcurrencyGroup: made.Group, ConcurrencyLimit: int32(made.Limit), CreatedAt: f.CreatedAt, RerunOf: from.rerunOf,
	}
	if key != "" {
		arg.IdempotencyKey = &key
	}
	if err := q.RequestRun(ctx, arg); err != nil {
		return fmt.Errorf("store a run: %w", err)
	}
	return nil
}
