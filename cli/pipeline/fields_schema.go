package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// A schemaDraft is a schema while it is read: its values can be read only when
// its type is known.
type schemaDraft struct {
	Schema
	required *bool
	own      entries
}

const maxEnum = 500

func paramFields(ts *tables) object[schemaDraft] {
	fields := append(sharedSchema(ts),
		later2("default", "A value of the type, or expressions over interval, run and vars.", nil),
		later2("enum", "The values that are allowed.", jsonSchema{"type": "array", "maxItems": maxEnum, "minItems": 1}),
		is("pattern", textOf(500, false), func(s *schemaDraft) *string { return &s.Pattern }, "RE2, matched anywhere; of strings."),
		later2("minimum", "Inclusive; of numbers.", jsonSchema{"type": "number"}),
		later2("maximum", "Inclusive; of numbers.", jsonSchema{"type": "number"}),
		is("title", textOf(maxDescription, true), func(s *schemaDraft) *string { return &s.Title }, "Shown in the run form."),
		reserved[schemaDraft]("secret"),
	)
	return object[schemaDraft]{what: "param", fields: fields}
}

// later2 makes a field of a schema that is read when the type is known.
func later2(key, doc string, schema jsonSchema) field[schemaDraft] {
	return field[schemaDraft]{
		key: key, doc: doc,
		read:   func(*document, *schemaDraft, value) {},
		schema: func() jsonSchema { return schema },
	}
}

func sharedSchema(*tables) []field[schemaDraft] {
	return []field[schemaDraft]{
		is("type", word(schemaTypes...), func(s *schemaDraft) *string { return &s.Type }, "The type of the value.").must(),
		is("description", textOf(maxDescription, true), func(s *schemaDraft) *string { return &s.Description }, "Shown on pages."),
		{
			key: "required", doc: "Whether the value must be there.",
			read: func(d *document, s *schemaDraft, v value) {
				var required bool
				if boolean().read(d, v, &required) {
					s.required = &required
				}
			},
			schema: boolean().schema,
		},
		is("format", word(formats...), func(s *schemaDraft) *string { return &s.Format }, "Of strings."),
		{
			key: "items", doc: "Schema of the elements of an array.",
			read: func(d *document, s *schemaDraft, v value) {
				if items, ok := d.readSchema(v, "items", d.p.tables.param, 0); ok {
					items.Required = false // an element is there or not
					s.Items = &items
				}
			},
			schema: func() jsonSchema { return ref("param") },
		},
		{
			key: "properties", doc: "Schemas of the members of an object; no others are allowed.",
			read: func(d *document, s *schemaDraft, v value) {
				s.Properties = d.readParams(v, inParamDefault, "property", maxEnum)
			},
			schema: func() jsonSchema { return mapSchema(memberPattern, ref("param"), maxEnum) },
		},
	}
}

func outputFields(ts *tables) object[schemaDraft] {
	value := field[schemaDraft]{
		key: "value", doc: "Of requests and waits; run and command tasks write their outputs to $SYN_OUTPUT.",
		read: func(d *document, _ *schemaDraft, v value) {
			d.fail(d.at(v.key), "SYN1403", "value is for http, remote and wait tasks; this one writes its outputs to $SYN_OUTPUT", "remove it")
		},
	}
	return object[schemaDraft]{what: "output", fields: append(sharedSchema(ts), value)}
}

// readParams reads a map of schemas.
func (d *document) readParams(v value, _ where, what string, limit int) []Param {
	if !d.isMap(v) {
		return nil
	}
	if n := len(v.Content) / 2; n > limit {
		d.failf(d.keySpot(v), "SYN1009", "%s has %d entries, %d at most", v.name, n, limit)
		return nil
	}
	var params []Param
	for key, e := range d.pairs(v) {
		if !d.member(key, what) {
			continue
		}
		e.name = key.Value
		if s, ok := d.readSchema(e, what+" "+key.Value, d.p.tables.param, 0); ok {
			params = append(params, Param{Name: key.Value, Schema: s})
		}
	}
	return params
}

// readSchema reads one schema. in is what messages call it: "param day".
func (d *document) readSchema(v value, in string, table object[schemaDraft], _ int) (Schema, bool) {
	var s schemaDraft
	var ok bool
	if v.Kind == yaml.ScalarNode && !isNull(v.Node) {
		d.fail(d.at(v.Node), "SYN1009", in+" is a map with a type, found "+shape(v.Node), "{type: "+typeLike(v.Value)+"}")
		return Schema{}, false
	}
	if s.own, ok = table.read(d, v, in, &s); !ok || s.Type == "" {
		return Schema{}, false
	}
	d.fitting(&s, in)
	d.bounds(&s)
	d.enum(&s, in)
	d.pattern(&s)
	d.required(&s)
	d.defaultOf(&s, in)
	return s.Schema, true
}

func typeLike(text string) string {
	if known := nearest(text, schemaTypes); known != "" {
		return known
	}
	for _, t := range schemaTypes {
		if t == text {
			return t
		}
	}
	return "string"
}

// fitting refuses keys that say nothing about a type.
func (d *document) fitting(s *schemaDraft, in string) {
	for _, f := range []struct {
		key   string
		types []string
	}{
		{"enum", []string{"string", "integer", "number", "boolean"}},
		{"format", []string{"string"}},
		{"pattern", []string{"string"}},
		{"minimum", []string{"integer", "number"}},
		{"maximum", []string{"integer", "number"}},
		{"items", []string{"array"}},
		{"properties", []string{"object"}},
	} {
		v, ok := s.own[f.key]
		fits := false
		for _, t := range f.types {
			fits = fits || t == s.Type
		}
		if ok && !fits {
			d.failf(d.at(v.key), "SYN1009", "%s is for %s; %s is %s", f.key, joinWith(f.types, " and "), in, article(s.Type))
		}
	}
}

func (d *document) bounds(s *schemaDraft) {
	if s.Type != "integer" && s.Type != "number" {
		return
	}
	for _, b := range []struct {
		key string
		to  *json.Number
	}{{"minimum", &s.Minimum}, {"maximum", &s.Maximum}} {
		v, ok := s.own[b.key]
		if !ok {
			continue
		}
		text, ok := d.plainScalar(v, "a number")
		if !ok {
			continue
		}
		if !plainNumber(text, s.Type == "number") {
			d.failf(d.at(v.Node), "SYN1009", "%s is %s, found %s", b.key, article(s.Type), show(text))
			continue
		}
		if n, err := expr.ParseNumber(text); err == nil {
			*b.to = json.Number(n)
		}
	}
	if s.Minimum != "" && s.Maximum != "" && expr.Number(s.Minimum).Cmp(expr.Number(s.Maximum)) > 0 {
		d.failf(d.at(s.own["maximum"].Node), "SYN1009", "maximum %s is below minimum %s", s.Maximum, s.Minimum)
	}
}

func (d *document) enum(s *schemaDraft, in string) {
	v, ok := s.own["enum"]
	if !ok || s.Type == "array" || s.Type == "object" {
		return
	}
	if v.Kind != yaml.SequenceNode || len(v.Content) == 0 || len(v.Content) > maxEnum {
		d.failf(d.at(v.Node), "SYN1009", "enum is a list of 1 to %d values", maxEnum)
		return
	}
	bare := Schema{Type: s.Type, Minimum: s.Minimum, Maximum: s.Maximum, Format: s.Format}
	for _, e := range d.elements(v) {
		if e.Kind == yaml.ScalarNode && !d.fixed(e, e.Value) {
			continue
		}
		x, ok := d.constant(e, &bare)
		if !ok {
			continue
		}
		x, err := bare.Check(x)
		if err != nil {
			d.failf(d.at(e.Node), "SYN1009", "enum of %s: %s", in, err)
			continue
		}
		for _, known := range s.Enum {
			if sameValue(known, x) {
				d.failf(d.at(e.Node), "SYN1009", "%s is twice in enum", show(x))
			}
		}
		s.Enum = append(s.Enum, x)
	}
}

func (d *document) pattern(s *schemaDraft) {
	if s.Pattern == "" {
		return
	}
	if _, err := regexp.Compile(s.Pattern); err != nil {
		message := err.Error()
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			message = e.Code.String() + " " + show(e.Expr)
		}
		d.fail(d.at(s.own["pattern"].Node), "SYN1009", "the pattern is not RE2: "+clip(message, 200), "")
		s.Pattern = ""
	}
}

func (d *document) required(s *schemaDraft) {
	_, hasDefault := s.own["default"]
	s.Required = !hasDefault
	if s.required == nil {
		return
	}
	if *s.required && hasDefault {
		d.fail(d.at(s.own["required"].key), "SYN1009", "required: true and a default: the default would never be used", "remove one of them")
		return
	}
	s.Required = *s.required
}

func (d *document) defaultOf(s *schemaDraft, in string) {
	v, ok := s.own["default"]
	if !ok {
		return
	}
	if isNull(v.Node) {
		d.wrongShape(v, "a value")
		return
	}
	s.Default, _ = d.typed(v, &s.Schema, typing{
		where: inParamDefault, field: "default", code: "SYN1303",
		say: func(err error) string { return "default of " + in + ": " + err.Error() },
	})
}

// A typing is how a value of a declared type is read from a file.
type typing struct {
	where where
	field string
	code  string
	say   func(error) string
}

// typed reads a value of a schema: constants are checked now, expressions are
// noted. The strings in what it gives are templates.
func (d *document) typed(v value, s *Schema, how typing) (any, bool) {
	bad := func(err error) (any, bool) {
		d.fail(d.at(v.Node), how.code, how.say(err), "")
		return nil, false
	}
	if !holdsExpr(v.Node) {
		x, err := d.constantOf(v.Node, s)
		if err == nil {
			_, err = s.Check(unescaped(x))
		}
		if err != nil {
			return bad(err)
		}
		return x, true
	}
	switch {
	case v.Kind == yaml.ScalarNode:
		d.addSite(site{value: v, where: how.where, field: how.field, want: s.ExprType()})
		return v.Value, true
	case v.Kind == yaml.SequenceNode && s.Type == "array":
		list := make([]any, 0, len(v.Content))
		for _, e := range d.elements(v) {
			if s.Items == nil {
				d.leaves(e.Node, e.name, how.where, how.field)
				list = append(list, d.free(e.Node, true))
				continue
			}
			x, ok := d.typed(e, s.Items, how)
			if !ok {
				return nil, false
			}
			list = append(list, x)
		}
		return list, true
	case v.Kind == yaml.MappingNode && s.Type == "object":
		m := map[string]any{}
		for key, e := range d.pairs(v) {
			p := findParam(s.Properties, key.Value)
			switch {
			case len(s.Properties) == 0:
				d.leaves(e.Node, e.name, how.where, how.field)
				m[key.Value] = d.free(e.Node, true)
				continue
			case p == nil:
				return bad(unknown("key", key.Value, paramNames(s.Properties)))
			}
			x, ok := d.typed(e, &p.Schema, how)
			if !ok {
				return nil, false
			}
			m[key.Value] = x
		}
		return m, true
	}
	return bad(fmt.Errorf("%s is not %s", shape(v.Node), article(s.Type)))
}

func holdsExpr(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode {
		return expr.Contains(n.Value)
	}
	for _, c := range n.Content {
		if holdsExpr(c) {
			return true
		}
	}
	return false
}

// unescaped gives a constant with its strings as they are meant: $${{ is ${{.
func unescaped(v any) any {
	switch x := v.(type) {
	case string:
		if t, err := expr.CompileTemplate(x, expr.Scope{}); err == nil {
			if text, ok := t.Literal(); ok {
				return text
			}
		}
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = unescaped(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = unescaped(e)
		}
		return out
	}
	return v
}

// constant reads a constant of a schema's type and reports what is wrong.
func (d *document) constant(v value, s *Schema) (any, bool) {
	x, err := d.constantOf(v.Node, s)
	if err != nil {
		d.fail(d.at(v.Node), "SYN1009", v.name+": "+err.Error(), "")
		return nil, false
	}
	return x, true
}

// constantOf reads the text of a file as the type of a schema says.
func (d *document) constantOf(n *yaml.Node, s *Schema) (any, error) {
	wrong := fmt.Errorf("%s is not %s", describe(n), article(s.Type))
	switch s.Type {
	case "array":
		if n.Kind != yaml.SequenceNode {
			return nil, wrong
		}
		if s.Items == nil {
			return d.free(n, true), nil
		}
		list := make([]any, 0, len(n.Content))
		for i, e := range n.Content {
			x, err := d.constantOf(e, s.Items)
			if err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
			list = append(list, x)
		}
		return list, nil
	case "object":
		if n.Kind != yaml.MappingNode {
			return nil, wrong
		}
		if len(s.Properties) == 0 {
			return d.free(n, true), nil
		}
		m := map[string]any{}
		for key, e := range d.pairs(value{Node: n}) {
			p := findParam(s.Properties, key.Value)
			if p == nil {
				return nil, unknown("key", key.Value, paramNames(s.Properties))
			}
			x, err := d.constantOf(e.Node, &p.Schema)
			if err != nil {
				return nil, fmt.Errorf("key %q: %w", key.Value, err)
			}
			m[key.Value] = x
		}
		return m, nil
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return nil, wrong
	}
	if s.Type == "string" {
		return n.Value, nil
	}
	if !isPlain(n) {
		return nil, fmt.Errorf("text %s is not %s; remove the quotes", show(n.Value), article(s.Type))
	}
	switch s.Type {
	case "boolean":
		if n.Value != "true" && n.Value != "false" {
			return nil, fmt.Errorf("%s is not true or false", show(n.Value))
		}
		return n.Value == "true", nil
	case "integer":
		return parseInteger(n.Value)
	default:
		if !plainNumber(n.Value, true) {
			return nil, wrong
		}
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i, nil
		}
		return expr.ParseNumber(n.Value)
	}
}

// describe is shape, with the text of scalars alone.
func describe(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		return show(n.Value)
	}
	return shape(n)
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
		s, ok := d.readSchema(e, "output "+key.Value, d.p.tables.output, 0)
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
