package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
)

// links says whether a pipeline of the files starts others, or is started by
// them.
func (r *register) links() bool {
	return slices.ContainsFunc(r.drafts, func(d *draft) bool {
		return slices.ContainsFunc(d.doc.References, pipeline.Reference.ToPipeline)
	})
}

// checkReferences refuses pipelines that name what is not there or does not fit,
// and those that would start each other for ever.
func (r *register) checkReferences(ctx context.Context, q *db.Queries, changes []change, pools poolChanges) error {
	docs := slices.Clone(r.pools)
	for _, d := range r.drafts {
		docs = append(docs, d.doc)
		if err := r.mayUse(d.doc); err != nil {
			return err
		}
	}
	beside := pipeline.Registered{Pipelines: map[string]*pipeline.Pipeline{}, Pools: map[string]int{}}
	if err := r.poolsBeside(ctx, q, pools, &beside); err != nil {
		return err
	}
	if r.links() {
		if err := r.pipelinesBeside(ctx, q, changes, &beside); err != nil {
			return err
		}
	}
	r.errors = append(r.errors, findings(pipeline.CheckReferences(docs, beside))...)
	return nil
}

// mayUse refuses to reach into namespaces where the author may not.
func (r *register) mayUse(doc pipeline.Document) error {
	for _, ref := range doc.References {
		if ref.Namespace == doc.Namespace {
			continue
		}
		switch {
		case ref.Kind == pipeline.ReferenceCall && !r.by.May(api.RoleOperator, ref.Namespace):
			return r.noRight(doc, ref, fmt.Sprintf("task %s of %s/%s runs a pipeline of namespace %s, where %s may run nothing", ref.Task.Name, doc.Namespace, doc.Name, ref.Namespace, r.by.Name))
		case ref.Kind == pipeline.ReferenceTrigger && !r.by.May(api.RoleViewer, ref.Namespace):
			return r.noRight(doc, ref, fmt.Sprintf("a trigger of %s/%s reads runs of namespace %s, which %s may not see", doc.Namespace, doc.Name, ref.Namespace, r.by.Name))
		}
	}
	return nil
}

func (r *register) noRight(doc pipeline.Document, ref pipeline.Reference, message string) error {
	problem := ref.Problem(doc, "SYN1704", message, "ask for a token that has the namespace")
	e := api.Errorf(api.Refused, "%s", message).WithHint("%s", problem.Hint)
	e.Problems = findings([]pipeline.Problem{problem})
	e.Where = e.Problems[0].Where
	return e
}

// poolsBeside reads the pools that documents name. The names of others are told,
// as suggestions, to those who may see them.
func (r *register) poolsBeside(ctx context.Context, q *db.Queries, pools poolChanges, to *pipeline.Registered) error {
	spaces, named := map[string]bool{}, map[string]bool{}
	for _, d := range r.drafts {
		for _, ref := range d.doc.References {
			if ref.Kind == pipeline.ReferencePool {
				spaces[ref.Namespace] = true
				named[ref.Namespace+"/"+ref.Name] = true
			}
		}
	}
	if len(spaces) == 0 {
		return nil
	}
	rows, err := q.PoolSizes(ctx, keys(spaces))
	if err != nil {
		return fmt.Errorf("read pools: %w", err)
	}
	for _, p := range rows {
		name := p.Namespace + "/" + p.Name
		if pools.removed[name] == 0 && (named[name] || r.by.sees(p.Namespace)) {
			to.Pools[name] = int(p.Slots)
		}
	}
	return nil
}

// pipelinesBeside reads the pipelines that documents name, and what starts what
// beside them.
func (r *register) pipelinesBeside(ctx context.Context, q *db.Queries, changes []change, to *pipeline.Registered) error {
	mine, gone := map[string]bool{}, map[string]bool{}
	for _, c := range changes {
		if c.kind == api.RegisteredPipelineChangeRemoved {
			gone[c.ref().String()] = true
		}
		if c.draft != nil {
			mine[c.ref().String()] = true
		}
	}
	var wanted db.NamedPipelinesParams
	spaces := map[string]bool{}
	asked := map[string]int{}
	for _, d := range r.drafts {
		for _, ref := range d.doc.References {
			name := ref.Namespace + "/" + ref.Name
			if !ref.ToPipeline() || mine[name] || gone[name] {
				continue
			}
			i, ok := asked[name]
			if !ok {
				i = len(wanted.Names)
				asked[name] = i
				wanted.Namespaces, wanted.Names, wanted.Wholes = append(wanted.Namespaces, ref.Namespace), append(wanted.Names, ref.Name), append(wanted.Wholes, false)
			}
			wanted.Wholes[i] = wanted.Wholes[i] || ref.Kind == pipeline.ReferenceCall
			spaces[ref.Namespace] = true
		}
	}
	if len(wanted.Names) > 0 {
		rows, err := q.NamedPipelines(ctx, wanted)
		if err != nil {
			return fmt.Errorf("find pipelines: %w", err)
		}
		for _, row := range rows {
			name := row.Namespace + "/" + row.Name
			to.PipelineNames = append(to.PipelineNames, name)
			if len(row.Spec) == 0 {
				continue
			}
			var p pipeline.Pipeline
			if err := json.Unmarshal(row.Spec, &p); err != nil {
				return fmt.Errorf("read the definition of %s: %w", name, err)
			}
			to.Pipelines[name] = &p
		}
		if len(rows) < len(wanted.Names) {
			if err := r.suggestions(ctx, q, keys(spaces), gone, to); err != nil {
				return err
			}
		}
	}
	links, err := q.PipelineLinks(ctx)
	if err != nil {
		return fmt.Errorf("read what starts what: %w", err)
	}
	for _, l := range links {
		link := pipeline.Link{From: l.FromNamespace + "/" + l.FromName, To: l.ToNamespace + "/" + l.ToName, Call: l.Call}
		owner := link.To // of the definition that says so
		if link.Call {
			owner = link.From
		}
		if !mine[owner] && !gone[owner] {
			to.Links = append(to.Links, link)
		}
	}
	return nil
}

// suggestions adds names that are near one that is not there.
func (r *register) suggestions(ctx context.Context, q *db.Queries, spaces []string, gone map[string]bool, to *pipeline.Registered) error {
	rows, err := q.NamesOfPipelines(ctx, slices.DeleteFunc(spaces, func(ns string) bool { return !r.by.sees(ns) }))
	if err != nil {
		return fmt.Errorf("list pipelines: %w", err)
	}
	for _, row := range rows {
		if name := row.Namespace + "/" + row.Name; !gone[name] {
			to.PipelineNames = append(to.PipelineNames, name)
		}
	}
	return nil
}

// warnOfUsers tells which pipelines still name some that are removed.
func (r *register) warnOfUsers(ctx context.Context, q *db.Queries, changes []change) error {
	var p db.PipelineUsersParams
	for _, c := range changes {
		if c.row.ID != 0 {
			p.Without = append(p.Without, c.row.ID)
		}
		if c.kind == api.RegisteredPipelineChangeRemoved {
			p.Namespaces, p.Names = append(p.Namespaces, c.row.Namespace), append(p.Names, c.row.Name)
		}
	}
	if len(p.Names) == 0 {
		return nil
	}
	rows, err := q.PipelineUsers(ctx, p)
	if err != nil {
		return fmt.Errorf("find who starts what: %w", err)
	}
	users := map[string][]string{}
	for _, row := range rows {
		used := row.UsedNamespace + "/" + row.UsedName
		users[used] = append(users[used], r.shown(row.Namespace, row.Name))
	}
	for _, used := range keys(users) {
		r.warn("SYN1701", api.Where{}, "register it again, or take it out there", "pipeline %s is removed, but %s", used, listed(users[used], "names it", "name it"))
	}
	return nil
}

// warnOfCallers tells which pipelines that are not among the files run one that
// changes, and do not fit it any more.
func (r *register) warnOfCallers(ctx context.Context, q *db.Queries, changes []change) error {
	p := db.PipelineCallersParams{Without: []int64{}}
	changed := map[string]change{}
	for _, c := range changes {
		if c.row.ID != 0 && (c.draft != nil || c.kind == api.RegisteredPipelineChangeRemoved) {
			p.Without = append(p.Without, c.row.ID)
		}
		if c.draft != nil && c.kind != api.RegisteredPipelineChangeUnchanged {
			p.Namespaces, p.Names = append(p.Namespaces, c.doc.Namespace), append(p.Names, c.doc.Name)
			changed[c.doc.Namespace+"/"+c.doc.Name] = c
		}
	}
	if len(p.Names) == 0 {
		return nil
	}
	rows, err := q.PipelineCallers(ctx, p)
	if err != nil {
		return fmt.Errorf("find who runs what: %w", err)
	}
	for _, row := range rows {
		var caller pipeline.Pipeline
		if err := json.Unmarshal(row.Spec, &caller); err != nil {
			return fmt.Errorf("read the definition of %s/%s: %w", row.Namespace, row.Name, err)
		}
		c := changed[row.CalledNamespace+"/"+row.CalledName]
		for _, t := range allTasks(&caller) {
			problems := pipeline.CheckCaller(t, c.doc.Pipeline)
			if len(problems) == 0 {
				continue
			}
			who := "a task of " + r.shown(row.Namespace, row.Name)
			if r.by.sees(row.Namespace) {
				who = "task " + t.Name + " of " + row.Namespace + "/" + row.Name
			}
			r.warn("SYN1705", c.where(), "change it there too: until then its attempts fail", "%s does not fit any more: %s", who, problems[0].Message)
		}
	}
	return nil
}

// shown is the name of a pipeline for somebody who may not see every namespace.
func (r *register) shown(namespace, name string) string {
	if !r.by.sees(namespace) {
		return "a pipeline of another namespace"
	}
	return namespace + "/" + name
}

// listed joins names with their verb, the first few of many.
func listed(names []string, one, many string) string {
	names = slices.Compact(slices.Clone(names))
	const most = 5
	switch n := len(names); {
	case n == 1:
		return names[0] + " " + one
	case n > most:
		return fmt.Sprintf("%s and %d more %s", strings.Join(names[:most], ", "), n-most, many)
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1] + " " + many
	}
}

// storeLinks notes what the newest revisions name.
func (r *register) storeLinks(ctx context.Context, q *db.Queries, touched, gone []change, ids map[PipelineRef]int64, revisions map[int64]int64) error {
	var old []int64
	for _, c := range slices.Concat(touched, gone) {
		if c.row.ID != 0 {
			old = append(old, c.row.ID)
		}
	}
	if len(old) > 0 {
		if err := q.ClearLinks(ctx, old); err != nil {
			return fmt.Errorf("clear what pipelines name: %w", err)
		}
	}
	var triggers db.PutTriggersParams
	var uses db.PutUsesParams
	for _, c := range touched {
		id := ids[c.ref()]
		for _, t := range c.doc.Pipeline.Triggers {
			triggers.Pipelines, triggers.Revisions = append(triggers.Pipelines, id), append(triggers.Revisions, revisions[id])
			triggers.Namespaces, triggers.Names = append(triggers.Namespaces, t.Namespace), append(triggers.Names, t.Name)
		}
		for _, ref := range c.doc.References {
			if ref.Kind != pipeline.ReferencePool && ref.Kind != pipeline.ReferenceCall {
				continue
			}
			uses.Pipelines, uses.Kinds = append(uses.Pipelines, id), append(uses.Kinds, ref.Kind)
			uses.Namespaces, uses.Names = append(uses.Namespaces, ref.Namespace), append(uses.Names, ref.Name)
		}
	}
	if len(triggers.Names) > 0 {
		if err := q.PutTriggers(ctx, triggers); err != nil {
			return fmt.Errorf("store triggers: %w", err)
		}
	}
	if len(uses.Names) > 0 {
		if err := q.PutUses(ctx, uses); err != nil {
			return fmt.Errorf("store what pipelines name: %w", err)
		}
	}
	return nil
}
