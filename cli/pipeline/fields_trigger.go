package pipeline

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// A triggersDraft is what stands under triggers.
type triggersDraft struct {
	pipelines []*triggerDraft
}

// A triggerDraft is a trigger while it is read: its params can be read only
// when the pipeline's are known.
type triggerDraft struct {
	Trigger
	value
	own    entries
	params value
}

func triggersFields(ts *tables) object[triggersDraft] {
	return object[triggersDraft]{what: "triggers", fields: []field[triggersDraft]{
		{
			key: "pipelines", doc: "Pipelines whose end starts a run of this one.",
			read: func(d *document, t *triggersDraft, v value) { t.pipelines = d.readTriggers(v) },
			schema: func() jsonSchema {
				return jsonSchema{"type": "array", "items": ts.trigger.schema(), "maxItems": MaxTriggers}
			},
		},
		later[triggersDraft]("TRG19", "webhook", "auth", "if", "headers", "key", "params"),
		later[triggersDraft]("TRG21", "datasets", "all", "any", "within", "params"),
	}}
}

func triggerFields() object[triggerDraft] {
	return object[triggerDraft]{what: "trigger", fields: []field[triggerDraft]{
		is("name", reference(), func(t *triggerDraft) *string { return &t.Name }, "The pipeline whose end starts this one: name, or namespace/name.").must(),
		is("result", word("succeeded", "failed", "canceled", "any"), func(t *triggerDraft) *string { return &t.Result }, "How it must have ended. Default `succeeded`."),
		is("if", condition(inTrigger, "if"), func(t *triggerDraft) *Condition { return &t.If }, "A condition over event.run."),
		{
			key: "params", doc: "Values for this pipeline's params; expressions over event, interval and vars.",
			read: func(d *document, t *triggerDraft, v value) {
				if d.isMap(v) {
					t.params = v
				}
			},
			schema: func() jsonSchema { return jsonSchema{"type": "object", "maxProperties": MaxParams} },
		},
	}}
}

func (d *document) readTriggers(v value) []*triggerDraft {
	if v.Kind != yaml.SequenceNode {
		if v.Kind == yaml.MappingNode {
			d.fail(d.at(v.Node), "SYN1009", "pipelines is a list, found a map", "pipelines: [{name: …}]")
			return nil
		}
		d.wrongShape(v, "a list")
		return nil
	}
	if len(v.Content) > MaxTriggers {
		d.failf(d.at(v.Content[MaxTriggers]), "SYN1009", "%d triggers, %d at most", len(v.Content), MaxTriggers)
		return nil
	}
	var list []*triggerDraft
	for _, e := range d.elements(v) {
		if e.Kind == yaml.ScalarNode && !isNull(e.Node) {
			d.fail(d.at(e.Node), "SYN1009", e.name+" is a map, found text "+show(e.Value), "{name: "+clip(e.Value, 60)+"}")
			continue
		}
		t := &triggerDraft{value: e, Trigger: Trigger{Result: "succeeded"}}
		if own, ok := d.p.tables.trigger.read(d, e, e.name, t); ok {
			t.own = own
			list = append(list, t)
		}
	}
	return list
}

// finishTrigger resolves what it names and checks what it gives the params.
func (d *document) finishTrigger(p *pipelineDraft, t *triggerDraft) {
	t.Namespace, t.Name = resolve(t.Name, p.Namespace)
	name := t.Name
	if t.Namespace != p.Namespace {
		name = t.Namespace + "/" + t.Name
	}
	t.Params = d.givenParams(p, t.params, inTrigger, "triggers", d.at(t.Node), fmt.Sprintf("trigger %s", name))
}
