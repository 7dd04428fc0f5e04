package pipeline

import (
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"go.yaml.in/yaml/v3"
)

func outputFields() object[schemaDraft] {
	value := field[schemaDraft]{
		key: "value", doc: "Of waits with http: an expression over response.",
		read:   func(d *document, s *schemaDraft, v value) {}, // what it is over depends on the task
		schema: anyText,
	}
	return object[schemaDraft]{what: "output", fields: append(sharedSchema(), value)}
}

func (d *document) readOutputs(t *taskDraft, v value) {
	if !d.isMap(v) {
		return
	}
	if n := len(v.Content) / 2; n > MaxOutputs {
		d.failf(d.keySpot(v), "SYN1009", "%d outputs, %d at most", n, MaxOutputs)
		return
	}
	for key, e := range d.pairs(v) {
		if !d.member(key, "output") {
			continue
		}
		e.name = key.Value
		s, ok := d.readSchema(e, "output "+key.Value, d.p.tables.output)
		if !ok {
			// Declared all the same: what reads it is not to blame.
			s = Schema{}
		}
		out := Output{Name: key.Value, Description: s.Description, Required: s.Required, Schema: s}
		out.Schema.Description, out.Schema.Required = "", false
		d.outputValue(t, e, &out)
		t.Outputs = append(t.Outputs, out)
	}
}

// outputValue reads what an output is made of, where the task does not write it.
func (d *document) outputValue(t *taskDraft, output value, to *Output) {
	var v value
	for key, e := range d.quietPairs(output) {
		if key.Value == "value" {
			v = e
		}
	}
	waits, request := false, false
	for key, e := range d.quietPairs(t.value) {
		if key.Value == "wait" {
			waits, request = true, e.Kind == yaml.MappingNode && d.has(e, "http")
		}
	}
	switch {
	case v.Node == nil && request:
		d.fail(d.keySpot(output), "SYN1008", "value is missing in output "+to.Name, `value: "${{ response.body.… }}"`)
	case v.Node == nil:
	case d.has(t.value, "pipeline"):
		d.fail(d.at(v.key), "SYN1403", "value is for waits with http; the outputs of a pipeline task are those of the run that it started", "remove it")
	case waits && !request: // told of outputs as a whole
	case !request:
		d.fail(d.at(v.key), "SYN1403", "value is for waits with http; this task writes its outputs to $SYN_OUTPUT", "remove it")
	default:
		v.name = "value"
		if text, ok := d.scalar(v, "an expression"); ok {
			d.addSite(site{value: v, where: inResponse, field: "outputs", want: to.Schema.ExprType()})
			to.Value = Expr(text)
		}
	}
}

// A runOutputDraft is an output of the run in its long form.
type runOutputDraft struct {
	value, typ value
}

func runOutputFields() object[runOutputDraft] {
	return object[runOutputDraft]{what: "output", fields: []field[runOutputDraft]{
		{
			key: "value", required: true, doc: "An expression over tasks, params and run.",
			read:   func(_ *document, r *runOutputDraft, v value) { r.value = v },
			schema: anyText,
		},
		{
			key: "type", doc: "The type, where the expression does not tell it.",
			read:   func(_ *document, r *runOutputDraft, v value) { r.typ = v },
			schema: word(schemaTypes...).schema,
		},
	}}
}

func (d *document) readRunOutputs(v value) []RunOutput {
	if !d.isMap(v) {
		return nil
	}
	if n := len(v.Content) / 2; n > MaxOutputs {
		d.failf(d.keySpot(v), "SYN1009", "%d outputs, %d at most", n, MaxOutputs)
		return nil
	}
	var outputs []RunOutput
	for key, e := range d.pairs(v) {
		if !d.member(key, "output") {
			continue
		}
		out := RunOutput{Name: key.Value}
		text := e
		if e.Kind == yaml.MappingNode {
			var draft runOutputDraft
			if _, ok := d.p.tables.runOutput.read(d, e, "output "+key.Value, &draft); !ok || draft.value.Node == nil {
				continue
			}
			text = draft.value
			if draft.typ.Node != nil {
				out.Schema = &Schema{}
				if !word(schemaTypes...).read(d, draft.typ, &out.Schema.Type) {
					continue
				}
			}
		}
		text.name = "output " + key.Value
		written, ok := d.scalar(text, "a string")
		if !ok {
			continue
		}
		out.Value = Expr(written)
		s := site{value: text, where: inRunOutput, field: "outputs"}
		if out.Schema != nil {
			s.want = out.Schema.ExprType()
		} else {
			s.gives = func(t expr.Type) {
				if t.Kind == expr.KindDynamic {
					d.fail(d.at(text.Node), "SYN1504", "the type of output "+key.Value+" cannot be told from its expression", key.Value+": {type: …, value: …}")
				}
			}
		}
		d.addSite(s)
		outputs = append(outputs, out)
	}
	return outputs
}
