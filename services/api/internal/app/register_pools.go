package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
)

// poolChanges is what becomes of pools.
type poolChanges struct {
	put     []pipeline.Document
	changes []api.RegisteredOther
	removed map[string]int64 // namespace/name → id
}

// checkPools finds out which pools of the files are new or other than stored, and
// which are in the files no more. It locks them, and those that tasks ask for: a
// pool cannot go while a register finds it there.
func (r *register) checkPools(ctx context.Context, q *db.Queries, source int64, changes []change) (poolChanges, error) {
	out := poolChanges{removed: map[string]int64{}}
	named := map[PipelineRef]bool{}
	for _, doc := range r.pools {
		named[PipelineRef{doc.Namespace, doc.Name}] = true
	}
	for _, d := range r.drafts {
		for _, ref := range d.doc.References {
			if ref.Kind == pipeline.ReferencePool {
				named[PipelineRef{ref.Namespace, ref.Name}] = true
			}
		}
	}
	p := db.LockPoolsNamedParams{SourceID: source, Namespaces: []string{}, Names: []string{}}
	for ref := range named {
		p.Namespaces, p.Names = append(p.Namespaces, ref.Namespace), append(p.Names, ref.Name)
	}
	rows, err := q.LockPoolsNamed(ctx, p)
	if err != nil {
		return out, fmt.Errorf("lock pools: %w", err)
	}
	inFiles := map[int64]bool{}
	for _, doc := range r.pools {
		i := slices.IndexFunc(rows, func(p db.LockPoolsNamedRow) bool { return p.Namespace == doc.Namespace && p.Name == doc.Name })
		kind := api.RegisteredOtherChangeNew
		if i >= 0 {
			p := rows[i]
			inFiles[p.ID] = true
			same, err := samePool(p, doc.Pool)
			switch {
			case err != nil:
				return out, err
			case p.RemovedAt != nil:
			case p.SourceID != nil && *p.SourceID != source:
				r.fail("SYN1703", api.Where{File: doc.File, Line: doc.Line, Col: 1}, "change it there", "pool %s/%s belongs to source %q", doc.Namespace, doc.Name, p.Source)
			case same && p.SourceID != nil:
				kind = api.RegisteredOtherChangeUnchanged
			default:
				kind = api.RegisteredOtherChangeChanged
			}
		}
		if kind != api.RegisteredOtherChangeUnchanged {
			out.put = append(out.put, doc)
		}
		out.changes = append(out.changes, api.RegisteredOther{Kind: api.RegisteredOtherKindPool, Namespace: doc.Namespace, Name: doc.Name, Change: kind})
	}
	for _, p := range rows {
		if inFiles[p.ID] || p.RemovedAt != nil || p.SourceID == nil || *p.SourceID != source || !r.by.sees(p.Namespace) {
			continue
		}
		kind := api.RegisteredOtherChangeKept
		if r.req.Prune {
			kind = api.RegisteredOtherChangeRemoved
			out.removed[p.Namespace+"/"+p.Name] = p.ID
		}
		out.changes = append(out.changes, api.RegisteredOther{Kind: api.RegisteredOtherKindPool, Namespace: p.Namespace, Name: p.Name, Change: kind})
	}
	return out, r.stillUsed(ctx, q, out, changes)
}

func samePool(p db.LockPoolsNamedRow, doc *pipeline.Pool) (bool, error) {
	labels := map[string]string{}
	if err := json.Unmarshal(p.Labels, &labels); err != nil {
		return false, fmt.Errorf("read the labels of pool %s/%s: %w", p.Namespace, p.Name, err)
	}
	stored, err := labelsJSON(labels)
	if err != nil {
		return false, err
	}
	given, err := labelsJSON(doc.Labels)
	return p.Slots == int32(doc.Slots) && p.ReserveScheduled == int32(doc.ReserveScheduled) && p.Description == doc.Description && bytes.Equal(stored, given), err
}

func labelsJSON(labels map[string]string) ([]byte, error) {
	if len(labels) == 0 {
		return []byte("{}"), nil
	}
	return json.Marshal(labels)
}

// stillUsed refuses to remove pools that pipelines ask for. Those of the files
// are looked at with their new definitions, later.
func (r *register) stillUsed(ctx context.Context, q *db.Queries, pools poolChanges, changes []change) error {
	if len(pools.removed) == 0 {
		return nil
	}
	p := db.PoolUsersParams{Without: []int64{}}
	for _, c := range pools.changes {
		if c.Change == api.RegisteredOtherChangeRemoved {
			p.Namespaces, p.Names = append(p.Namespaces, c.Namespace), append(p.Names, c.Name)
		}
	}
	for _, c := range changes {
		if c.row.ID != 0 && c.kind != api.RegisteredPipelineChangeKept {
			p.Without = append(p.Without, c.row.ID)
		}
	}
	rows, err := q.PoolUsers(ctx, p)
	if err != nil {
		return fmt.Errorf("find who asks for pools: %w", err)
	}
	users := map[string][]string{}
	for _, row := range rows {
		pool := row.PoolNamespace + "/" + row.PoolName
		users[pool] = append(users[pool], r.shown(row.Namespace, row.Name))
	}
	for _, pool := range keys(users) {
		r.fail("SYN1703", api.Where{}, "keep the pool in the files, or take it out there first", "pool %s cannot be removed: %s", pool, listed(users[pool], "asks for it", "ask for it"))
	}
	return nil
}

// storePools writes what became of pools. One that has other slots than before is
// woken: there may be room now.
func (r *register) storePools(ctx context.Context, q *db.Queries, source int64, pools poolChanges) error {
	if len(pools.put) > 0 {
		p := db.PutPoolsParams{SourceID: source}
		for _, doc := range pools.put {
			labels, err := labelsJSON(doc.Pool.Labels)
			if err != nil {
				return err
			}
			p.Namespaces, p.Names = append(p.Namespaces, doc.Namespace), append(p.Names, doc.Name)
			p.Slots, p.Reserves = append(p.Slots, int32(doc.Pool.Slots)), append(p.Reserves, int32(doc.Pool.ReserveScheduled))
			p.Descriptions, p.Labels = append(p.Descriptions, doc.Pool.Description), append(p.Labels, string(labels))
		}
		if err := q.PutPools(ctx, p); err != nil {
			return fmt.Errorf("store pools: %w", err)
		}
		r.app.notifier.Notify(db.ChannelWake)
	}
	if len(pools.removed) > 0 {
		var ids []int64
		for _, name := range keys(pools.removed) {
			ids = append(ids, pools.removed[name])
		}
		slices.Sort(ids)
		if err := q.RemovePools(ctx, ids); err != nil {
			return fmt.Errorf("remove pools: %w", err)
		}
	}
	return nil
}
