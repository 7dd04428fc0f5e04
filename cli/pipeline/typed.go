package pipeline

import (
	"fmt"
	"strconv"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"go.yaml.in/yaml/v3"
)

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
