package pipeline

import (
	"encoding/json"
	"errors"
	"regexp"
	"regexp/syntax"

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

func paramFields() object[schemaDraft] {
	fields := append(sharedSchema(),
		ofType("default", "A value of the type, or expressions over interval, run and vars.", nil),
		ofType("enum", "The values that are allowed.", jsonSchema{"type": "array", "maxItems": maxEnum, "minItems": 1}),
		is("pattern", textOf(500, false), func(s *schemaDraft) *string { return &s.Pattern }, "RE2, matched anywhere; of strings."),
		ofType("minimum", "Inclusive; of numbers.", jsonSchema{"type": "number"}),
		ofType("maximum", "Inclusive; of numbers.", jsonSchema{"type": "number"}),
		is("title", textOf(maxDescription, true), func(s *schemaDraft) *string { return &s.Title }, "Shown in the run form."),
		reserved[schemaDraft]("secret"),
	)
	return object[schemaDraft]{what: "param", fields: fields}
}

// later2 makes a field of a schema that is read when the type is known.
func ofType(key, doc string, schema jsonSchema) field[schemaDraft] {
	return field[schemaDraft]{
		key: key, doc: doc,
		read:   func(*document, *schemaDraft, value) {},
		schema: func() jsonSchema { return schema },
	}
}

func sharedSchema() []field[schemaDraft] {
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
				if items, ok := d.readSchema(v, "items", d.p.tables.param); ok {
					items.Required = false // an element is there or not
					s.Items = &items
				}
			},
			schema: func() jsonSchema { return ref("param") },
		},
		{
			key: "properties", doc: "Schemas of the members of an object; no others are allowed.",
			read: func(d *document, s *schemaDraft, v value) {
				s.Properties = d.readParams(v, "property", maxEnum)
			},
			schema: func() jsonSchema { return mapSchema(memberPattern, ref("param"), maxEnum) },
		},
	}
}

// readParams reads a map of schemas.
func (d *document) readParams(v value, what string, limit int) []Param {
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
		if s, ok := d.readSchema(e, what+" "+key.Value, d.p.tables.param); ok {
			params = append(params, Param{Name: key.Value, Schema: s})
		}
	}
	return params
}

// readSchema reads one schema. in is what messages call it: "param day".
func (d *document) readSchema(v value, in string, table object[schemaDraft]) (Schema, bool) {
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
