package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
)

func isSecret(r pipeline.Read) bool { return r.Kind == pipeline.ReadSecret }

// needsVar tells reads of variables that fail if there is none.
func needsVar(r pipeline.Read) bool { return r.Kind == pipeline.ReadVar && !r.Maybe }

// checkVarReads refuses pipelines that read variables which will not be there.
func (r *register) checkVarReads(ctx context.Context, q *db.Queries, c varChanges) error {
	spaces := map[string]bool{}
	for _, d := range r.drafts {
		if slices.ContainsFunc(d.doc.Reads, needsVar) {
			spaces[d.doc.Namespace] = true
		}
	}
	if len(spaces) == 0 {
		return nil
	}
	rows, err := q.NamespaceVars(ctx, keys(spaces))
	if err != nil {
		return fmt.Errorf("read vars: %w", err)
	}
	there := map[string]map[string]bool{}
	for ns := range spaces {
		there[ns] = map[string]bool{}
	}
	for _, v := range rows {
		there[v.Namespace][v.Name] = true
	}
	for _, v := range c.drop {
		delete(there[v.namespace], v.name)
	}
	for _, doc := range r.vars {
		for name := range doc.Vars.Values {
			if there[doc.Namespace] != nil {
				there[doc.Namespace][name] = true
			}
		}
	}
	for _, d := range r.drafts {
		for _, read := range d.doc.Reads {
			if !needsVar(read) || there[d.doc.Namespace][read.Name] {
				continue
			}
			hint := fmt.Sprintf("synctl var set %s VALUE -n %s, or a file of kind vars", read.Name, d.doc.Namespace)
			if near := nearest(read.Name, keys(there[d.doc.Namespace])); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			r.fail("SYN1701", d.at(read), hint, "%s reads variable %s, which %s does not have", d.ref(), read.Name, d.doc.Namespace)
		}
	}
	return nil
}

// storeReads stores which secrets and variables the pipelines name now.
func (r *register) storeReads(ctx context.Context, q *db.Queries, touched, gone []change, ids map[PipelineRef]int64) error {
	var all []int64
	var put db.PutPipelineReadsParams
	for _, c := range slices.Concat(touched, gone) {
		id := c.row.ID
		if id == 0 {
			id = ids[c.ref()]
		}
		all = append(all, id)
		if c.draft == nil {
			continue
		}
		for _, read := range c.doc.Reads {
			put.Pipelines, put.Kinds, put.Names = append(put.Pipelines, id), append(put.Kinds, read.Kind), append(put.Names, read.Name)
		}
	}
	if err := q.ForgetPipelineReads(ctx, all); err != nil {
		return fmt.Errorf("forget what pipelines read: %w", err)
	}
	if len(put.Names) == 0 {
		return nil
	}
	if err := q.PutPipelineReads(ctx, put); err != nil {
		return fmt.Errorf("store what pipelines read: %w", err)
	}
	return nil
}
