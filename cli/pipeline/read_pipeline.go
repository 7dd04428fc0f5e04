package pipeline

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// readPipeline reads a document of kind pipeline, and checks all of it that
// can be checked without a server.
func (d *document) readPipeline(root value) (*Pipeline, value) {
	p := &pipelineDraft{Pipeline: Pipeline{
		Version: 1, Manual: true, Timezone: "UTC", Timeout: Duration(7 * day),
		Concurrency: Concurrency{Limit: 1, OnConflict: "queue", MaxQueued: 10},
		Retention:   Retention{Runs: Duration(90 * day), Logs: Duration(30 * day)},
	}}
	p.own, _ = d.p.tables.pipeline.read(d, root, "", p)
	p.Namespace = d.namespace(p.Namespace, p.own)
	if p.Timezone == "" {
		p.Timezone = "UTC"
	}
	if p.defaults != nil {
		p.defaults.sites, d.sites = taskSites(d.sites, p.defaults)
		if v, ok := p.defaults.own["retry"]; ok {
			d.checkRetry(p.defaults.Retry, v)
		}
	}
	for i, t := range p.allTasks() {
		d.readTask(t, p.defaults)
		t.Ordinal = i
		if t.Pool != nil {
			use := *t.Pool
			use.resolve(p.Namespace)
			t.Pool = &use
		}
		if t.Sub != nil {
			t.Sub.Namespace, t.Sub.Name = resolve(t.Sub.Name, p.Namespace)
		}
		if t.Wait != nil {
			d.finishWait(t, p.Timezone)
		}
	}
	d.uniqueTasks(p)
	for _, s := range p.schedules {
		d.finishSchedule(p, s)
		d.scheduleParams(p, s)
		p.Schedules = append(p.Schedules, s.Schedule)
	}
	for _, t := range p.triggers {
		d.finishTrigger(p, t)
		p.Triggers = append(p.Triggers, t.Trigger)
	}
	d.checkGraph(p)
	d.checkSites(p)
	for _, t := range p.tasks {
		p.Tasks = append(p.Tasks, &t.Task)
	}
	for _, t := range p.finally {
		p.Finally = append(p.Finally, &t.Task)
	}
	d.refs = d.references(p)
	d.group = d.groupSpot(p)
	return &p.Pipeline, p.own["name"]
}

// groupSpot is the place of a concurrency group that is written out.
func (d *document) groupSpot(p *pipelineDraft) (at spot) {
	concurrency, ok := p.own["concurrency"]
	if !ok || p.Concurrency.Group == "" || expr.Contains(string(p.Concurrency.Group)) {
		return at
	}
	for i := 0; i+1 < len(concurrency.Content); i += 2 {
		if concurrency.Content[i].Value == "group" {
			at = d.at(concurrency.Content[i+1])
		}
	}
	return at
}

func (p *pipelineDraft) allTasks() []*taskDraft {
	all := make([]*taskDraft, 0, len(p.tasks)+len(p.finally))
	return append(append(all, p.tasks...), p.finally...)
}

// taskSites parts the sites of one task from the others.
func taskSites(sites []site, t *taskDraft) (own, others []site) {
	for _, s := range sites {
		if s.task == t {
			own = append(own, s)
		} else {
			others = append(others, s)
		}
	}
	return own, others
}

// uniqueTasks reports names that stand in tasks and in finally.
func (d *document) uniqueTasks(p *pipelineDraft) {
	lines := map[string]int{}
	for _, t := range p.tasks {
		lines[t.Name] = d.at(t.key).line
	}
	for _, t := range p.finally {
		if line, ok := lines[t.Name]; ok {
			d.failf(d.at(t.key), "SYN1007", "task %s is already there (line %d)", t.Name, line)
		}
	}
}

// scheduleParams checks what a schedule gives the pipeline's params.
func (d *document) scheduleParams(p *pipelineDraft, s *scheduleDraft) {
	s.Params = d.givenParams(p, s.params, inScheduleParam, "schedule", d.keySpotOf(s), "schedule "+s.ID)
}

// givenParams checks what who gives the pipeline's params and reads it as their
// schemas say. at is where a value that is missing is told.
func (d *document) givenParams(p *pipelineDraft, params value, w where, field string, at spot, who string) map[string]any {
	given := map[string]bool{}
	var values map[string]any
	if params.Node != nil {
		values = map[string]any{}
		for key, e := range d.pairs(params) {
			param := findParam(p.Params, key.Value)
			if param == nil {
				if d.declared(p, key.Value) {
					continue // what is wrong with it has been told
				}
				d.fail(d.at(key), "SYN1301", "unknown param "+show(key.Value), didYouMean(key.Value, paramNames(p.Params)))
				continue
			}
			if isNull(e.Node) {
				continue // a null counts as absent
			}
			given[param.Name] = true
			e.name = "param " + param.Name
			if v, ok := d.typed(e, &param.Schema, typing{
				where: w, field: field, code: "SYN1302",
				say: func(err error) string { return "param " + param.Name + ": " + err.Error() },
			}); ok {
				values[param.Name] = v
			}
		}
	}
	for _, param := range p.Params {
		if param.Schema.Required && !given[param.Name] {
			d.fail(at, "SYN1304", fmt.Sprintf("%s gives no value for param %s, which has no default", who, param.Name),
				"params: {"+param.Name+": …}, or a default")
		}
	}
	return values
}

// keySpotOf is where a schedule begins.
func (d *document) keySpotOf(s *scheduleDraft) spot {
	if s.value.key == nil || s.Kind == yaml.MappingNode {
		return d.at(s.Node)
	}
	return d.keySpot(s.value)
}

// declared says whether a param of this name stands in the file, if only a
// broken one.
func (d *document) declared(p *pipelineDraft, name string) bool {
	v, ok := p.own["params"]
	return ok && d.has(v, name)
}
