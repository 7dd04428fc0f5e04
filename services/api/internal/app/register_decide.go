package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A change is what becomes of one pipeline.
type change struct {
	*draft // nil: removed or kept
	row    db.LockPipelinesRow
	kind   api.RegisteredPipelineChange
	number int32 // of the revision that is the newest afterwards
}

// guardShare and guardLeast say how many pipelines a register may remove unasked:
// a share of those the source has, and so many in any case.
const (
	guardShare = 30 // percent
	guardLeast = 5
)

// decide says what becomes of each pipeline, refuses what may not be, and stores
// the rest.
func (r *register) decide(ctx context.Context, q *db.Queries, b before) (api.Registration, error) {
	if err := r.owners(b); err != nil {
		return api.Registration{}, err
	}
	changes := r.changes(b)
	if err := r.guard(changes); err != nil {
		return api.Registration{}, err
	}
	pools, err := r.checkPools(ctx, q, b.source, changes)
	if err != nil {
		return api.Registration{}, err
	}
	if err := r.checkReferences(ctx, q, changes, pools); err != nil {
		return api.Registration{}, err
	}
	vars, err := r.checkVars(ctx, q, b.source)
	if err != nil {
		return api.Registration{}, err
	}
	if err := r.checkVarReads(ctx, q, vars); err != nil {
		return api.Registration{}, err
	}
	if err := r.checkTargets(ctx, q); err != nil {
		return api.Registration{}, err
	}
	if len(r.errors) > 0 {
		return api.Registration{}, r.failed(api.Unprocessable)
	}
	if err := r.warnAbout(ctx, q, changes); err != nil {
		return api.Registration{}, err
	}
	if err := r.warnOfUsers(ctx, q, changes); err != nil {
		return api.Registration{}, err
	}
	if err := r.warnOfCallers(ctx, q, changes); err != nil {
		return api.Registration{}, err
	}
	for _, c := range changes {
		if c.draft != nil && c.kind != api.RegisteredPipelineChangeUnchanged {
			if err := c.compile(); err != nil {
				return api.Registration{}, err
			}
		}
	}
	if !r.req.DryRun {
		if err := r.store(ctx, q, b, changes, pools, vars); err != nil {
			return api.Registration{}, err
		}
	}
	return r.answer(b, changes, pools, vars), nil
}

// owners refuses what other sources own.
func (r *register) owners(b before) error {
	for _, d := range r.drafts {
		p, ok := b.pipelines[d.ref()]
		if ok && p.RemovedAt == nil && p.SourceID != b.source {
			r.fail("SYN1703", d.where(), "register it from there, or remove it there first", "pipeline %s belongs to source %q", d.ref(), p.Source)
		}
	}
	if len(r.errors) > 0 {
		return r.failed(api.Guarded)
	}
	return nil
}

// changes compares the files with what is registered.
func (r *register) changes(b before) []change {
	var list []change
	inFiles := map[PipelineRef]bool{}
	for _, d := range r.drafts {
		inFiles[d.ref()] = true
		p, there := b.pipelines[d.ref()]
		c := change{draft: d, row: p, number: p.Revision}
		same := bytes.Equal(p.ContentHash, d.doc.ContentHash[:])
		switch {
		case !there:
			c.kind, c.number = api.RegisteredPipelineChangeNew, 1
		case p.RemovedAt != nil: // it comes back, with its numbers and its history
			c.kind = api.RegisteredPipelineChangeNew
			c.number++
		case same:
			c.kind = api.RegisteredPipelineChangeUnchanged
		default:
			c.kind = api.RegisteredPipelineChangeChanged
			c.number++
		}
		list = append(list, c)
	}
	for ref, p := range b.pipelines {
		if inFiles[ref] || p.SourceID != b.source || p.RemovedAt != nil || !r.by.sees(ref.Namespace) {
			continue
		}
		kind := api.RegisteredPipelineChangeKept
		if r.req.Prune {
			kind = api.RegisteredPipelineChangeRemoved
		}
		list = append(list, change{row: p, kind: kind, number: p.Revision})
	}
	slices.SortFunc(list, func(a, b change) int {
		ar, br := a.ref(), b.ref()
		return cmp.Or(strings.Compare(ar.Namespace, br.Namespace), strings.Compare(ar.Name, br.Name))
	})
	return list
}

func (c change) ref() PipelineRef {
	if c.draft != nil {
		return c.draft.ref()
	}
	return PipelineRef{c.row.Namespace, c.row.Name}
}

// guard refuses to remove many pipelines, or all of them, by mistake.
func (r *register) guard(changes []change) error {
	var names []string
	stay := 0
	for _, c := range changes {
		if c.kind == api.RegisteredPipelineChangeRemoved {
			names = append(names, c.ref().String())
		} else {
			stay++
		}
	}
	removed := len(names)
	limit := max(guardLeast, (removed+stay)*guardShare/100)
	if removed == 0 || r.req.Confirm == removed || r.req.DryRun || removed <= limit && len(r.req.Files) > 0 {
		return nil
	}
	const shown = 20
	list := strings.Join(names[:min(shown, removed)], ", ")
	if removed > shown {
		list += fmt.Sprintf(" and %d more", removed-shown)
	}
	return api.Errorf(api.Guarded, "this would remove %s of %s that source %q has: %s", plural(removed, "pipeline"), plural(removed+stay, "pipeline"), r.req.Source, list).
		WithHint("if that is meant: synctl register --prune --yes-really %d", removed)
}

// A variable is one of a namespace.
type variable struct{ namespace, name, value string }

// varChanges are the variables that a register sets and deletes, and the
// documents they are in.
type varChanges struct {
	set, drop []variable
	docs      map[string]api.RegisteredOtherChange // by namespace/name of the document
}

// checkVars finds out which variables of the files change.
func (r *register) checkVars(ctx context.Context, q *db.Queries, source int64) (varChanges, error) {
	c := varChanges{docs: map[string]api.RegisteredOtherChange{}}
	spaces := map[string]bool{}
	for _, doc := range r.vars {
		spaces[doc.Namespace] = true
	}
	type key struct{ namespace, name string }
	stored := map[key]db.VarsOfRow{}
	if len(spaces) > 0 && !r.req.DryRun {
		if err := q.LockVars(ctx, keys(spaces)); err != nil {
			return c, fmt.Errorf("lock vars: %w", err)
		}
	}
	if len(spaces) > 0 {
		rows, err := q.VarsOf(ctx, keys(spaces))
		if err != nil {
			return c, fmt.Errorf("read vars: %w", err)
		}
		for _, v := range rows {
			stored[key{v.Namespace, v.Name}] = v
		}
	}
	inFiles := map[key]string{}
	for _, doc := range r.vars {
		where := api.Where{File: doc.File, Line: doc.Line, Col: 1}
		kind, known := api.RegisteredOtherChangeUnchanged, 0
		for _, name := range keys(doc.Vars.Values) {
			k, value := key{doc.Namespace, name}, doc.Vars.Values[name]
			if other, ok := inFiles[k]; ok {
				r.fail("SYN1102", where, "keep one of them", "variable %s of %s is also in %s", name, doc.Namespace, other)
				continue
			}
			inFiles[k] = doc.File
			v, ok := stored[k]
			switch {
			case ok && v.SourceID == nil:
				r.fail("SYN1703", where, "remove it first: synctl var rm "+name+" -n "+doc.Namespace, "variable %s of %s was set by hand", name, doc.Namespace)
			case ok && *v.SourceID != source:
				r.fail("SYN1703", where, "change it there", "variable %s of %s belongs to source %q", name, doc.Namespace, v.Source)
			case ok && v.Value == value:
				known++
			default:
				if ok {
					known++
				}
				kind = api.RegisteredOtherChangeChanged
				c.set = append(c.set, variable{doc.Namespace, name, value})
			}
		}
		if known == 0 {
			kind = api.RegisteredOtherChangeNew
		}
		c.docs[doc.Namespace+"/"+doc.Name] = kind
	}
	if r.req.Prune && source != 0 {
		rows, err := q.VarsOfSource(ctx, source)
		if err != nil {
			return c, fmt.Errorf("read vars: %w", err)
		}
		for _, v := range rows {
			if _, ok := inFiles[key{v.Namespace, v.Name}]; !ok {
				c.drop = append(c.drop, variable{namespace: v.Namespace, name: v.Name})
			}
		}
	}
	return c, nil
}

// warnAbout tells what cannot work now: secrets that are not set, labels that no
// executor has.
func (r *register) warnAbout(ctx context.Context, q *db.Queries, changes []change) error {
	spaces := map[string]bool{}
	var tasks bool
	for _, c := range changes {
		if c.draft == nil || c.kind == api.RegisteredPipelineChangeUnchanged {
			continue
		}
		tasks = true
		if slices.ContainsFunc(c.doc.Reads, isSecret) {
			spaces[c.doc.Namespace] = true
		}
	}
	if !tasks {
		return nil
	}
	secrets := map[PipelineRef]bool{}
	if len(spaces) > 0 {
		rows, err := q.SecretNames(ctx, keys(spaces))
		if err != nil {
			return fmt.Errorf("read names of secrets: %w", err)
		}
		for _, s := range rows {
			secrets[PipelineRef{s.Namespace, s.Name}] = true
		}
	}
	executors, err := q.LiveLabels(ctx)
	if err != nil {
		return fmt.Errorf("read labels: %w", err)
	}
	said := map[string]bool{}
	for _, c := range changes {
		if c.draft == nil || c.kind == api.RegisteredPipelineChangeUnchanged {
			continue
		}
		for _, read := range c.doc.Reads {
			if isSecret(read) && !secrets[PipelineRef{c.doc.Namespace, read.Name}] && !said["secret "+c.doc.Namespace+"/"+read.Name] {
				said["secret "+c.doc.Namespace+"/"+read.Name] = true
				r.warn("SYN1707", c.at(read), fmt.Sprintf("synctl secret set %s -n %s", read.Name, c.doc.Namespace),
					"secret %s is not set in %s; task %s of %s names it", read.Name, c.doc.Namespace, read.Task, c.ref())
			}
		}
		for _, t := range allTasks(c.doc.Pipeline) {
			labels := strings.Join(t.RunsOn, ", ")
			has := func(own []string) bool {
				return !slices.ContainsFunc(t.RunsOn, func(l string) bool { return !slices.Contains(own, l) })
			}
			if len(t.RunsOn) > 0 && !slices.ContainsFunc(executors, has) && !said["labels "+labels] {
				said["labels "+labels] = true
				r.warn("SYN1708", c.where(), "start one with --labels "+strings.Join(t.RunsOn, ","), "no live executor has the labels [%s]; task %s of %s asks for them", labels, t.Name, c.ref())
			}
		}
	}
	return nil
}

// answer says what was done, or with a dry run what would be.
func (r *register) answer(b before, changes []change, pools poolChanges, vars varChanges) api.Registration {
	out := api.Registration{Source: r.req.Source, DryRun: r.req.DryRun, Pipelines: []api.RegisteredPipeline{}, Others: []api.RegisteredOther{}, Problems: orEmpty(r.warnings)}
	for _, c := range changes {
		ref := c.ref()
		p := api.RegisteredPipeline{Namespace: ref.Namespace, Name: ref.Name, Change: c.kind, Revision: int(c.number)}
		if c.row.ID != 0 && c.number != c.row.Revision {
			p.Previous = int(c.row.Revision)
		}
		if c.draft != nil {
			p.File, p.Line = c.doc.File, c.doc.Line
			p.Schedule = scheduleText(c.doc.Pipeline)
		}
		switch c.kind {
		case api.RegisteredPipelineChangeRemoved:
		case api.RegisteredPipelineChangeUnchanged, api.RegisteredPipelineChangeKept:
			for _, s := range b.schedules[c.row.ID] {
				if s.NextAt != nil && s.EndedAt == nil {
					p.FirstTick = earlier(p.FirstTick, *s.NextAt)
				}
			}
		default:
			for _, s := range c.schedules {
				if at, ok := s.NextAt(b.now); ok {
					p.FirstTick = earlier(p.FirstTick, at)
				}
			}
		}
		out.Pipelines = append(out.Pipelines, p)
	}
	out.Others = append(out.Others, pools.changes...)
	for _, doc := range r.vars {
		out.Others = append(out.Others, api.RegisteredOther{Kind: api.RegisteredOtherKindVars, Namespace: doc.Namespace, Name: doc.Name, Change: vars.docs[doc.Namespace+"/"+doc.Name]})
	}
	return out
}

func earlier(a *time.Time, b time.Time) *time.Time {
	if a != nil && a.Before(b) {
		return a
	}
	b = b.UTC()
	return &b
}

// scheduleText is the schedules of a pipeline for people.
func scheduleText(p *pipeline.Pipeline) string {
	var parts []string
	for _, s := range p.Schedules {
		text := ruleText(s)
		if s.Timezone != "" && s.Timezone != "UTC" {
			text += " " + s.Timezone
		}
		parts = append(parts, text)
	}
	const shown = 3
	if len(parts) > shown {
		parts = append(parts[:shown], fmt.Sprintf("and %d more", len(parts)-shown))
	}
	return strings.Join(parts, "; ")
}

// ruleText is when a schedule fires, without its zone.
func ruleText(s pipeline.Schedule) string {
	switch {
	case s.Cron != "":
		return s.Cron
	case s.Every != 0:
		return "every " + s.Every.String()
	case len(s.At) == 1:
		return "at " + s.At[0].UTC().Format(time.RFC3339)
	case len(s.At) > 1:
		return fmt.Sprintf("at %s and %d more", s.At[0].UTC().Format(time.RFC3339), len(s.At)-1)
	}
	return ""
}

// timing is what decides when a schedule fires, as text to compare.
func timing(s pipeline.Schedule) string {
	b, _ := json.Marshal([]any{s.Cron, s.Every, s.At, s.Anchor, s.Timezone, s.Gap, s.Overlap})
	return string(b)
}
