package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/newrun"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// maxBackfill is how many ticks the range of one backfill may have.
const maxBackfill = 100_000

// defaultOpen is how many runs of a backfill are open at once if nobody says.
const defaultOpen = 3

// A span is a range of ticks of one schedule, with what became of each.
type span struct {
	pipeline    db.FindPipelineRow
	def         *revision.Revision
	row         db.BackfillScheduleRow
	schedule    *schedule.Schedule
	which       string
	from, until time.Time
	ticks       []spanTick // oldest first
	take        int
	counts      map[string]int
}

type spanTick struct {
	tick   schedule.Tick
	state  string // run: it is taken; else why not
	number int64  // of its newest run; 0: none
	detail string
}

// PreviewBackfill says what a backfill would do now.
func (a *App) PreviewBackfill(ctx context.Context, by Actor, ref PipelineRef, p api.PreviewBackfillParams) (api.BackfillPreview, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.BackfillPreview{}, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return api.BackfillPreview{}, err
	}
	before := 0
	if p.Cursor != "" {
		n, err := parseCursorNumber(p.Cursor)
		if err != nil {
			return api.BackfillPreview{}, err
		}
		before = int(min(n, maxBackfill))
	}
	q := a.queries()
	row, err := a.find(ctx, q, by, ref)
	if err != nil {
		return api.BackfillPreview{}, err
	}
	s, err := a.span(ctx, q, row, api.BackfillRequest{Schedule: p.Schedule, From: p.From, To: p.To, Where: api.BackfillRequestWhere(p.Where)})
	if err != nil {
		return api.BackfillPreview{}, err
	}
	pace, err := q.BackfillPace(ctx, row.ID)
	if err != nil {
		return api.BackfillPreview{}, fmt.Errorf("read how long runs take: %w", err)
	}
	out := api.BackfillPreview{
		Pipeline: ref.String(), Schedule: s.row.Name, Timezone: s.schedule.Zone().String(), From: s.from, Until: s.until, Where: s.which,
		Ticks: len(s.ticks), Run: s.take, Counts: s.counts, Seconds: pace * float64(s.take), Limit: max(1, s.def.Graph.Pipeline().Concurrency.Limit),
		Hash: s.hash(), Items: []api.BackfillTick{},
	}
	item := func(t spanTick) api.BackfillTick {
		out := api.BackfillTick{At: t.tick.At, Local: t.tick.Local, Note: string(t.tick.Note), State: t.state, Detail: t.detail, RunNumber: t.number}
		if t.number > 0 {
			out.Run = fmt.Sprintf("%s#%d", ref, t.number)
		}
		return out
	}
	for _, t := range s.ticks {
		if t.state != "run" {
			continue
		}
		chosen := item(t)
		if out.First == nil {
			out.First = &chosen
		}
		out.Last = &chosen
	}
	for i := len(s.ticks) - 1 - before; i >= 0; i-- {
		if len(out.Items) == limit {
			out.Next = cursor(strconv.Itoa(before + limit))
			break
		}
		out.Items = append(out.Items, item(s.ticks[i]))
	}
	return out, nil
}

// span reads the ticks of a range and what the ledger and backfills made of them.
func (a *App) span(ctx context.Context, q *db.Queries, p db.FindPipelineRow, req api.BackfillRequest) (*span, error) {
	ref := PipelineRef{p.Namespace, p.Name}
	if p.RemovedAt != nil {
		return nil, errRemoved(ref)
	}
	s := &span{pipeline: p, which: string(req.Where), counts: map[string]int{}}
	switch s.which {
	case "":
		s.which = flow.BackfillMissing
	case flow.BackfillMissing, flow.BackfillFailed, flow.BackfillAll:
	default:
		return nil, api.Errorf(api.Unprocessable, "where %s is not known", show(s.which)).WithHint("missing, failed or all")
	}
	var err error
	if s.def, err = a.revisions.One(ctx, q, p.RevisionID); err != nil {
		return nil, err
	}
	list := s.def.Graph.Pipeline().Schedules
	name := req.Schedule
	switch {
	case len(list) == 0:
		return nil, api.Errorf(api.Unprocessable, "%s has no schedule, so it has no ticks to make up for", ref).WithHint("synctl run %s --at TIME", ref.Name)
	case name == "" && len(list) > 1:
		names := make([]string, len(list))
		for i, l := range list {
			names[i] = l.ID
		}
		return nil, api.Errorf(api.Unprocessable, "%s has %d schedules: which one?", ref, len(list)).WithHint("schedule %s", strings.Join(names, ", "))
	case name == "":
		name = list[0].ID
	}
	if s.row, err = q.BackfillSchedule(ctx, p.ID, name); errors.Is(err, db.ErrNoRows) {
		return nil, api.Errorf(api.NotFound, "%s has no schedule %s", ref, show(name)).WithHint("synctl show %s", ref)
	} else if err != nil {
		return nil, fmt.Errorf("read a schedule: %w", err)
	}
	if s.schedule, _, err = s.def.Schedule(name); err != nil {
		return nil, err
	}
	if err := s.bounds(req.From, req.To); err != nil {
		return nil, err
	}
	if err := poolsSuffice(ctx, q, ref, s.def); err != nil {
		return nil, err
	}
	return s, s.read(ctx, q)
}

// poolsSuffice refuses what would never end: a task that asks for more slots than
// its pool ever leaves to backfills.
func poolsSuffice(ctx context.Context, q *db.Queries, ref PipelineRef, def *revision.Revision) error {
	var ids []int64
	tasks, finally := def.Graph.Size()
	for ordinal := range tasks + finally {
		if id, _ := def.Pool(ordinal); id != 0 {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := q.PoolLimits(ctx, ids)
	if err != nil {
		return fmt.Errorf("read pools: %w", err)
	}
	for ordinal := range tasks + finally {
		id, wants := def.Pool(ordinal)
		i := slices.IndexFunc(rows, func(p db.PoolLimitsRow) bool { return p.ID == id })
		if i < 0 {
			continue
		}
		p := flow.Pool{Slots: int(rows[i].Slots), Reserve: int(rows[i].ReserveScheduled)}
		if int(wants) > p.ForBackfills() {
			return api.Errorf(api.Unprocessable, "task %s of %s needs %s of pool %s/%s, which has %d and keeps %d of them for scheduled runs: in a backfill it would wait for ever",
				def.Graph.Task(ordinal).Name, ref, plural(int(wants), "slot"), rows[i].Namespace, rows[i].Name, p.Slots, p.Reserve).
				WithHint("give the pool more slots, or let it keep fewer, and register it")
		}
	}
	return nil
}

// bounds reads both ends of a range. What is yet to come is no part of it.
func (s *span) bounds(from, to string) error {
	zone := s.schedule.Zone()
	first, _, err := rangeEnd("from", from, zone)
	if err != nil {
		return err
	}
	last, date, err := rangeEnd("to", to, zone)
	if err != nil {
		return err
	}
	if date {
		// The day as a whole: up to where the next one begins.
		day, err := time.Parse(time.DateOnly, to)
		if err != nil {
			return api.Errorf(api.Unprocessable, "to %s is no date", show(to))
		}
		if last, _, err = rangeEnd("to", day.AddDate(0, 0, 1).Format(time.DateOnly), zone); err != nil {
			return err
		}
		last = last.Add(-time.Nanosecond)
	}
	if last.Before(first) {
		return api.Errorf(api.Unprocessable, "from %s is after to %s", show(from), show(to))
	}
	if first.After(s.row.Now) {
		e := api.Errorf(api.Unprocessable, "from %s is yet to come", show(from))
		if next, ok := s.schedule.Next(s.row.Now); ok {
			return e.WithHint("the next tick is %s", next.At.In(zone).Format("2006-01-02 15:04 MST"))
		}
		return e
	}
	s.from, s.until = first.UTC(), last.UTC()
	if s.until.After(s.row.Now) {
		s.until = s.row.Now.UTC()
	}
	return nil
}

// rangeEnd reads one end, and tells whether it is a date.
func rangeEnd(field, text string, zone *time.Location) (at time.Time, date bool, err error) {
	at, err = schedule.ParseInstant(text, zone)
	if bad, ok := errors.AsType[*schedule.Error](err); ok {
		return at, false, api.Errorf(api.Unprocessable, "%s: %s", field, bad.Message).WithHint("%s", bad.Hint)
	}
	return at, len(text) == len(time.DateOnly), err
}

// read lists the ticks and says of each whether it is taken.
func (s *span) read(ctx context.Context, q *db.Queries) error {
	end := s.until.Add(time.Nanosecond)
	switch n := s.schedule.Count(s.from, end); {
	case n == 0:
		e := api.Errorf(api.Unprocessable, "schedule %s has no tick from %s to %s", s.row.Name, s.from.Format(time.RFC3339), s.until.Format(time.RFC3339))
		if next, ok := s.schedule.Next(s.until); ok {
			return e.WithHint("the next one after it is %s", next.At.In(s.schedule.Zone()).Format("2006-01-02 15:04 MST"))
		}
		return e
	case n > maxBackfill:
		return api.Errorf(api.Unprocessable, "the range has %d ticks, %d at most are taken by one backfill", n, maxBackfill).WithHint("make it shorter")
	}
	type became struct {
		state  string
		number int64
		detail string
	}
	known := map[int64]became{}
	ledger, err := q.LedgerOf(ctx, db.LedgerOfParams{ScheduleID: s.row.ID, First: s.from, Last: s.until})
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	for _, row := range ledger {
		b := became{detail: strings.TrimSpace("the tick was " + row.State + " " + row.Reason)}
		switch {
		case row.RunState != nil:
			b = became{state: *row.RunState, number: orZeroNumber(row.Number)}
		case row.RunID != nil:
			b = became{state: string(flow.Succeeded), detail: "its run is no longer kept"}
		}
		known[row.FireAt.UnixNano()] = b
	}
	done, err := q.BackfilledOf(ctx, db.BackfilledOfParams{ScheduleID: s.row.ID, First: s.from, Last: s.until})
	if err != nil {
		return fmt.Errorf("read earlier backfills: %w", err)
	}
	for _, row := range done {
		known[row.FireAt.UnixNano()] = became{state: row.State, number: row.Number}
	}
	for tick := range s.schedule.Between(s.from, end, maxBackfill) {
		b := known[tick.At.UnixNano()]
		t := spanTick{tick: tick, state: b.state, number: b.number, detail: b.detail}
		switch {
		case s.row.NextAt != nil && !tick.At.Before(*s.row.NextAt):
			t.state, t.detail = "undecided", "the scheduler has not decided it yet"
		case flow.BackfillTakes(s.which, flow.State(b.state)):
			if b.number > 0 {
				t.detail = fmt.Sprintf("run #%d was %s", b.number, b.state)
				if b.state == string(flow.Succeeded) || b.state == string(flow.Failed) {
					t.detail = fmt.Sprintf("run #%d %s", b.number, b.state)
				}
			}
			t.state = "run"
			s.take++
		}
		if t.state != "run" {
			s.counts[t.state]++
		}
		s.ticks = append(s.ticks, t)
	}
	return nil
}

func orZeroNumber(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// hash is the same as long as the same ticks would be taken, by the same
// definition, and none of the others has changed.
func (s *span) hash() string {
	h := sha256.New()
	fmt.Fprintln(h, "backfill 1", s.row.ID, s.def.ID, s.which)
	for _, t := range s.ticks {
		fmt.Fprintln(h, t.tick.At.UnixNano(), t.state, t.number)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// StartBackfill makes a backfill. With a key, the same request makes it once.
func (a *App) StartBackfill(ctx context.Context, by Actor, ref PipelineRef, key string, req api.BackfillRequest) (out api.Backfill, created bool, err error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return out, false, err
	}
	if req.Note, err = note("note", req.Note, 1000); err != nil {
		return out, false, err
	}
	if err := checkQuota(req.Max, req.PoolShare); err != nil {
		return out, false, err
	}
	req.Max, req.PoolShare = cmp.Or(req.Max, defaultOpen), cmp.Or(req.PoolShare, 100)
	if req.Order != "" && req.Order != api.BackfillRequestOrderNewest && req.Order != api.BackfillRequestOrderOldest {
		return out, false, api.Errorf(api.Unprocessable, "order %s is not known", show(string(req.Order))).WithHint("newest or oldest")
	}
	if err := checkKey(key); err != nil {
		return out, false, err
	}
	asked := req
	asked.Hash = "" // of what was there when it was looked at: it differs once the backfill runs
	content, err := contentHash("backfill", asked)
	if err != nil {
		return out, false, err
	}
	var id int64
	err = db.InTx(ctx, a.pool, func(q *db.Queries) error {
		created = false
		p, err := a.find(ctx, q, by, ref)
		if err != nil {
			return err
		}
		if err := by.need(api.RoleOperator, ref.Namespace); err != nil {
			return err
		}
		k := keyed{fmt.Sprintf("backfill:%d", p.ID), key, content}
		before, err := k.take(ctx, q, nil)
		if err != nil {
			return err
		}
		if before != nil {
			id, err = madeBefore(before)
			return err
		}
		if id, err = a.insertBackfill(ctx, q, by, p, req); err != nil {
			return err
		}
		created = true
		return k.made(ctx, q, id)
	})
	if db.Constraint(err) == "backfill_overlap" {
		return out, false, api.Errorf(api.Conflict, "another backfill of %s makes runs for ticks of this range", ref).WithHint("synctl backfill ls %s; wait for it, or cancel it", ref)
	}
	if err != nil {
		return out, false, err
	}
	if created {
		a.notifier.Notify(db.ChannelEvent)
	}
	out, err = a.Backfill(ctx, by, id, api.GetBackfillParams{Limit: 1})
	return out, created, err
}

func (a *App) insertBackfill(ctx context.Context, q *db.Queries, by Actor, p db.FindPipelineRow, req api.BackfillRequest) (int64, error) {
	ref := PipelineRef{p.Namespace, p.Name}
	s, err := a.span(ctx, q, p, req)
	if err != nil {
		return 0, err
	}
	if req.Hash != "" && req.Hash != s.hash() {
		return 0, api.Errorf(api.Conflict, "what this backfill would do has changed since it was looked at: it would make %s now, for %s", plural(s.take, "run"), plural(len(s.ticks), "tick")).
			WithHint("look at it again, then start it")
	}
	if s.take == 0 {
		return 0, api.Errorf(api.Unprocessable, "none of the %s needs a run", plural(len(s.ticks), "tick")).WithHint("where: failed takes those that failed too, all takes every one")
	}
	var chosen []schedule.Tick
	for _, t := range s.ticks {
		if t.state == "run" {
			chosen = append(chosen, t.tick)
		}
	}
	given, wrong := paramValues(s.def.Graph.Pipeline(), api.RunRequest{Params: req.Params, Texts: req.Texts})
	if err := a.tryFirst(ctx, q, s, chosen[0], given, wrong); err != nil {
		return 0, err
	}
	params, err := expr.ToJSON(given)
	if err != nil {
		return 0, fmt.Errorf("write params: %w", err)
	}
	id, err := q.InsertBackfill(ctx, db.InsertBackfillParams{
		PipelineID: p.ID, ScheduleID: s.row.ID, FromAt: s.from, UntilAt: s.until, Which: s.which, NewestFirst: req.Order != api.BackfillRequestOrderOldest,
		Most: int32(req.Max), PoolShare: int32(req.PoolShare), Params: params, Note: req.Note, RequestedBy: by.Name, Ticks: int32(s.take),
	})
	if err != nil {
		return 0, fmt.Errorf("store a backfill of %s: %w", ref, err)
	}
	const chunk = 10_000
	for len(chosen) > 0 {
		n := min(chunk, len(chosen))
		arg := db.InsertBackfillTicksParams{BackfillID: id}
		for _, t := range chosen[:n] {
			start, _ := s.schedule.Interval(t.At)
			arg.FireAts, arg.IntervalStarts = append(arg.FireAts, t.At), append(arg.IntervalStarts, start)
		}
		if err := q.InsertBackfillTicks(ctx, arg); err != nil {
			return 0, fmt.Errorf("store ticks of a backfill: %w", err)
		}
		chosen = chosen[n:]
	}
	if err := q.LeaveWakes(ctx, "b", []int64{id}); err != nil {
		return 0, fmt.Errorf("wake a backfill: %w", err)
	}
	return id, event(ctx, q, by, "backfill", id, p.ID, "running", req.Note)
}

// tryFirst works out the first run of a backfill, so that params that fit no run
// are told at once.
func (a *App) tryFirst(ctx context.Context, q *db.Queries, s *span, t schedule.Tick, given map[string]any, wrong []api.Finding) error {
	_, entry, err := s.def.Schedule(s.row.Name)
	if err != nil {
		return err
	}
	vars, err := newrun.Vars(ctx, q, s.pipeline.Namespace)
	if err != nil {
		return err
	}
	f := flow.Request{Trigger: "backfill", Schedule: entry, Params: given, Revision: s.def.Number, ScheduledAt: t.At, CreatedAt: s.row.Now, Vars: vars[s.pipeline.Namespace]}
	f.IntervalStart, f.IntervalEnd = s.schedule.Interval(t.At)
	_, err = s.def.Graph.Create(f)
	return createError(PipelineRef{s.pipeline.Namespace, s.pipeline.Name}, err, wrong)
}
