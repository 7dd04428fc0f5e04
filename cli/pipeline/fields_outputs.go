package pipeline

import (
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"go.yaml.in/yaml/v3"
)

func outputFields() object[schemaDraft] {
	value := field[schemaDraft]{
		key: "value", doc: "Of requests and waits; run and command tasks write their outputs to $SYN_OUTPUT.",
		read: func(d *document, _ *schemaDraft, v value) {
			d.fail(d.at(v.key), "SYN1403", "value is for http, remote and wait tasks; this one writes its outputs to $SYN_OUTPUT", "remove it")
		},
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
		t.Outputs = append(t.Outputs, out)
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
