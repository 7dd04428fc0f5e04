package app

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
)

// store writes what was decided: a few statements, however many pipelines.
func (r *register) store(ctx context.Context, q *db.Queries, b before, changes []change, pools poolChanges, vars varChanges) error {
	var touched, gone []change
	for _, c := range changes {
		switch c.kind {
		case api.RegisteredPipelineChangeNew, api.RegisteredPipelineChangeChanged:
			touched = append(touched, c)
		case api.RegisteredPipelineChangeRemoved:
			gone = append(gone, c)
		}
	}
	if len(touched)+len(gone) > 0 {
		if err := r.storePipelines(ctx, q, b, touched, gone); err != nil {
			return err
		}
	}
	if err := r.storePools(ctx, q, b.source, pools); err != nil {
		return err
	}
	return r.storeVars(ctx, q, b.source, vars)
}

func (r *register) storeVars(ctx context.Context, q *db.Queries, source int64, c varChanges) error {
	if len(c.set) > 0 {
		p := db.PutVarsParams{SourceID: source, By: r.by.Name}
		for _, v := range c.set {
			p.Namespaces, p.Names, p.Values = append(p.Namespaces, v.namespace), append(p.Names, v.name), append(p.Values, v.value)
		}
		if err := q.PutVars(ctx, p); err != nil {
			return fmt.Errorf("store vars: %w", err)
		}
	}
	if len(c.drop) > 0 {
		p := db.DropVarsParams{SourceID: source}
		for _, v := range c.drop {
			p.Namespaces, p.Names = append(p.Namespaces, v.namespace), append(p.Names, v.name)
		}
		if err := q.DropVars(ctx, p); err != nil {
			return fmt.Errorf("delete vars: %w", err)
		}
	}
	return nil
}

func (r *register) storePipelines(ctx context.Context, q *db.Queries, b before, touched, gone []change) error {
	ids, err := r.insertNew(ctx, q, b, touched)
	if err != nil {
		return err
	}
	old, err := timings(ctx, q, touched, gone)
	if err != nil {
		return err
	}
	revisions, err := r.insertRevisions(ctx, q, b, touched, ids)
	if err != nil {
		return err
	}
	if err := r.storeSchedules(ctx, q, b, touched, gone, ids, revisions, old); err != nil {
		return err
	}
	if err := r.storeLinks(ctx, q, touched, gone, ids, revisions); err != nil {
		return err
	}
	if err := r.storeReads(ctx, q, touched, gone, ids); err != nil {
		return err
	}
	if len(gone) > 0 {
		list := make([]int64, len(gone))
		for i, c := range gone {
			list[i] = c.row.ID
		}
		if err := q.RemovePipelines(ctx, list); err != nil {
			return fmt.Errorf("remove pipelines: %w", err)
		}
	}
	lanes := map[string]bool{}
	for _, c := range touched {
		for _, t := range allTasks(c.doc.Pipeline) {
			lanes[strings.Join(t.RunsOn, ",")] = true
		}
	}
	if err := q.EnsureLanes(ctx, keys(lanes)); err != nil {
		return fmt.Errorf("store lanes: %w", err)
	}
	return r.events(ctx, q, touched, gone, ids)
}

// insertNew makes the pipelines that are not there and gives the ids of all.
func (r *register) insertNew(ctx context.Context, q *db.Queries, b before, touched []change) (map[PipelineRef]int64, error) {
	ids := map[PipelineRef]int64{}
	p := db.InsertPipelinesParams{SourceID: b.source, Paused: r.req.Paused, By: r.by.Name}
	for _, c := range touched {
		if c.row.ID != 0 {
			ids[c.ref()] = c.row.ID
			continue
		}
		p.Namespaces, p.Names = append(p.Namespaces, c.doc.Namespace), append(p.Names, c.doc.Name)
	}
	if len(p.Names) == 0 {
		return ids, nil
	}
	rows, err := q.InsertPipelines(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("store pipelines: %w", err)
	}
	if len(rows) < len(p.Names) {
		return nil, errRaced
	}
	for _, row := range rows {
		ids[PipelineRef{row.Namespace, row.Name}] = row.ID
	}
	return ids, nil
}

func (r *register) insertRevisions(ctx context.Context, q *db.Queries, b before, touched []change, ids map[PipelineRef]int64) (map[int64]int64, error) {
	if len(touched) == 0 {
		return nil, nil
	}
	author := r.req.Git.Author
	if author == "" {
		author = r.by.Name
	}
	p := db.InsertRevisionsParams{GitCommit: r.req.Git.Commit, Author: author}
	for _, c := range touched {
		p.Pipelines = append(p.Pipelines, ids[c.ref()])
		p.Numbers = append(p.Numbers, c.number)
		p.Hashes = append(p.Hashes, hex.EncodeToString(c.doc.ContentHash[:]))
		p.Files = append(p.Files, printable(c.doc.File, 4096))
		p.Lines = append(p.Lines, int32(c.doc.Line))
		p.Texts = append(p.Texts, string(c.doc.Text))
		p.Specs = append(p.Specs, string(c.spec))
	}
	rows, err := q.InsertRevisions(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("store revisions: %w", err)
	}
	revisions := make(map[int64]int64, len(rows))
	for _, row := range rows {
		revisions[row.PipelineID] = row.ID
	}
	s := db.SetRevisionsParams{SourceID: b.source}
	for _, c := range touched {
		labels, err := json.Marshal(c.doc.Pipeline.Labels)
		if err != nil {
			return nil, err
		}
		if c.doc.Pipeline.Labels == nil {
			labels = []byte("{}")
		}
		id := ids[c.ref()]
		s.Pipelines, s.Revisions = append(s.Pipelines, id), append(s.Revisions, revisions[id])
		s.Descriptions, s.Owners = append(s.Descriptions, c.doc.Pipeline.Description), append(s.Owners, c.doc.Pipeline.Owner)
		s.Labels = append(s.Labels, string(labels))
	}
	if err := q.SetRevisions(ctx, s); err != nil {
		return nil, fmt.Errorf("store pipelines: %w", err)
	}
	return revisions, nil
}

// timings gives the schedules of the revisions that are replaced, by revision.
func timings(ctx context.Context, q *db.Queries, touched, gone []change) (map[int64][]pipeline.Schedule, error) {
	var ids []int64
	for _, c := range slices.Concat(touched, gone) {
		if c.row.RevisionID != 0 {
			ids = append(ids, c.row.RevisionID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := q.RevisionSpecs(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read revisions: %w", err)
	}
	out := make(map[int64][]pipeline.Schedule, len(rows))
	for _, row := range rows {
		var spec struct {
			Schedules []pipeline.Schedule `json:"schedules"`
		}
		// What an old revision says about times is only compared; one that cannot be
		// read any more counts as different.
		if json.Unmarshal(row.Spec, &spec) == nil {
			out[row.ID] = spec.Schedules
		}
	}
	return out, nil
}

// storeSchedules brings the schedules up to date. Those whose times stay keep the
// ticks that are still to be decided; where the times change, the scheduler gets
// a moment to decide what came due before, and what it does not is put down as
// missed.
func (r *register) storeSchedules(ctx context.Context, q *db.Queries, b before, touched, gone []change, ids map[PipelineRef]int64, revisions map[int64]int64, old map[int64][]pipeline.Schedule) error {
	var put db.PutSchedulesParams
	var keep db.KeepSchedulesParams
	var end []int64
	var missed db.MissedByRegisterParams

	replaced := func(s db.SchedulesOfRow) error {
		if s.EndedAt != nil || s.NextAt == nil || s.NextAt.After(b.now) {
			return nil
		}
		if !r.force {
			return errTicksDue
		}
		first, last, n := overdue(old[s.RevisionID], s, b.now)
		missed.Schedules, missed.FireAts = append(missed.Schedules, s.ID), append(missed.FireAts, first)
		missed.Untils, missed.Counts = append(missed.Untils, last), append(missed.Counts, n)
		return nil
	}
	for _, c := range touched {
		id := ids[c.ref()]
		rev := revisions[id]
		inFile := map[string]bool{}
		for i, s := range c.doc.Pipeline.Schedules {
			inFile[s.ID] = true
			was := slices.IndexFunc(b.schedules[id], func(row db.SchedulesOfRow) bool { return row.Name == s.ID })
			if was >= 0 {
				row := b.schedules[id][was]
				k := slices.IndexFunc(old[row.RevisionID], func(o pipeline.Schedule) bool { return o.ID == s.ID })
				if row.EndedAt == nil && row.Broken == nil && k >= 0 && timing(old[row.RevisionID][k]) == timing(s) {
					keep.Ids, keep.Revisions, keep.Catchups = append(keep.Ids, row.ID), append(keep.Revisions, rev), append(keep.Catchups, s.Catchup)
					continue
				}
				if err := replaced(row); err != nil {
					return err
				}
			}
			next, ok := c.schedules[i].NextAt(b.now)
			put.Pipelines, put.Revisions, put.Names = append(put.Pipelines, id), append(put.Revisions, rev), append(put.Names, s.ID)
			put.Catchups, put.NextAts, put.Nevers = append(put.Catchups, s.Catchup), append(put.NextAts, next), append(put.Nevers, !ok)
		}
		for _, row := range b.schedules[id] {
			if !inFile[row.Name] && row.EndedAt == nil {
				if err := replaced(row); err != nil {
					return err
				}
				end = append(end, row.ID)
			}
		}
	}
	for _, c := range gone {
		for _, row := range b.schedules[c.row.ID] {
			if row.EndedAt == nil {
				if err := replaced(row); err != nil {
					return err
				}
				end = append(end, row.ID)
			}
		}
	}
	if len(missed.Schedules) > 0 {
		if err := q.MissedByRegister(ctx, missed); err != nil {
			return fmt.Errorf("store missed ticks: %w", err)
		}
	}
	if len(put.Names) > 0 {
		if err := q.PutSchedules(ctx, put); err != nil {
			return fmt.Errorf("store schedules: %w", err)
		}
	}
	if len(keep.Ids) > 0 {
		if err := q.KeepSchedules(ctx, keep); err != nil {
			return fmt.Errorf("store schedules: %w", err)
		}
	}
	if len(end) > 0 {
		if err := q.EndSchedules(ctx, end); err != nil {
			return fmt.Errorf("end schedules: %w", err)
		}
	}
	return nil
}

// overdue says which ticks of a schedule are due and not decided: the first, the
// last if there are several, and how many.
func overdue(defs []pipeline.Schedule, s db.SchedulesOfRow, now time.Time) (first, last time.Time, n int64) {
	first, n = *s.NextAt, 1
	i := slices.IndexFunc(defs, func(o pipeline.Schedule) bool { return o.ID == s.Name })
	if i < 0 {
		return first, time.Time{}, n
	}
	compiled, err := schedule.New(defs[i].Spec())
	if err != nil {
		return first, time.Time{}, n
	}
	if count := compiled.Count(first, now.Add(1)); count > 1 {
		if at, ok := compiled.PrevAt(now.Add(1)); ok {
			return first, at, count
		}
	}
	return first, time.Time{}, n
}

func (r *register) events(ctx context.Context, q *db.Queries, touched, gone []change, ids map[PipelineRef]int64) error {
	p := db.InsertEventsParams{Actor: r.by.Name}
	for _, c := range slices.Concat(touched, gone) {
		id := c.row.ID
		if id == 0 {
			id = ids[c.ref()]
		}
		state := "registered"
		if c.kind == api.RegisteredPipelineChangeRemoved {
			state = "removed"
		}
		detail, err := json.Marshal(map[string]any{"change": c.kind, "revision": c.number, "source": r.req.Source})
		if err != nil {
			return err
		}
		p.Kinds, p.Entities, p.Pipelines = append(p.Kinds, "pipeline"), append(p.Entities, id), append(p.Pipelines, id)
		p.Namespaces, p.ToStates = append(p.Namespaces, c.ref().Namespace), append(p.ToStates, state)
		p.Reasons, p.Causes, p.Details = append(p.Reasons, ""), append(p.Causes, "register"), append(p.Details, string(detail))
	}
	if err := q.InsertEvents(ctx, p); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return nil
}

// keys gives the keys of a map in order.
func keys[V any](m map[string]V) []string {
	return orEmpty(slices.Sorted(maps.Keys(m)))
}

// allTasks are the tasks of both phases.
func allTasks(p *pipeline.Pipeline) pipeline.Tasks { return slices.Concat(p.Tasks, p.Finally) }
