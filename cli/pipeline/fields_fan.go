package pipeline

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// keywords cannot be member names: expressions read them as values.
var keywords = []string{"in", "true", "false", "null"}

// member checks the name of a param, an output or an axis.
func (d *document) member(key *yaml.Node, what string) bool {
	if slices.Contains(keywords, key.Value) {
		d.failf(d.at(key), "SYN1101", "%s %s: expressions read this word as something else", what, show(key.Value))
		return false
	}
	return d.named(d.at(key), what, key.Value, memberRE, memberRule)
}

func (d *document) readMatrix(t *taskDraft, v value) {
	if v.Kind == yaml.ScalarNode && !isNull(v.Node) {
		d.fail(d.at(v.Node), "SYN1009", "matrix is a map of axes", `matrix: {axis: "${{ … }}"}`)
		return
	}
	if !d.isMap(v) {
		return
	}
	axes := len(v.Content) / 2
	if axes == 0 || axes > MaxAxes {
		d.failf(d.keySpot(v), "SYN1407", "matrix has %s, 1 to %d are wanted", countOf(axes, "axis", "axes"), MaxAxes)
		return
	}
	t.axes = map[string]expr.Type{}
	product := 1
	for key, e := range d.pairs(v) {
		if !d.member(key, "axis") {
			continue
		}
		e.name = "axis " + key.Value
		axis := Axis{Name: key.Value}
		name := key.Value
		t.axes[name] = expr.Type{}
		if !d.readItems(e, inMatrix, "matrix", &axis.Items, func(of expr.Type) {
			if of.Elem != nil {
				t.axes[name] = *of.Elem
			}
		}) {
			continue
		}
		if axis.Expr == "" {
			if len(axis.List) == 0 {
				d.failf(d.at(e.Node), "SYN1407", "axis %s is empty", key.Value)
				continue
			}
			if of := elementType(axis.List); of != nil {
				t.axes[name] = *of
			}
			if product <= MaxItems {
				product *= len(axis.List)
			}
		}
		t.Matrix = append(t.Matrix, axis)
	}
	if product > MaxItems {
		d.failf(d.at(v.Node), "SYN1407", "%s items, %s at most", grouped(productOf(t.Matrix)), grouped(MaxItems))
	}
}

func productOf(axes []Axis) int {
	product := 1
	for _, a := range axes {
		if a.Expr == "" && product < 1<<40 {
			product *= len(a.List)
		}
	}
	return product
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// readItems reads a list or one expression that gives a list.
func (d *document) readItems(v value, w where, field string, to *Items, gives func(expr.Type)) bool {
	if v.Kind == yaml.SequenceNode {
		if len(v.Content) > MaxItems {
			d.failf(d.at(v.Node), "SYN1407", "%s items, %s at most", grouped(len(v.Content)), grouped(MaxItems))
			return false
		}
		to.List, _ = d.free(v.Node, false).([]any)
		d.leaves(v.Node, v.name, w, field)
		return true
	}
	if v.Kind != yaml.ScalarNode || isNull(v.Node) {
		d.wrongShape(v, "a list or an expression")
		return false
	}
	text := strings.TrimSpace(v.Value)
	if !strings.HasPrefix(text, "${{") {
		hint := "[" + clip(strings.Join(strings.Fields(strings.ReplaceAll(text, ",", " ")), ", "), 60) + "]"
		if w == inForEach && strings.Contains(text, ".") && !strings.Contains(text, " ") {
			hint = `"${{ ` + clip(text, 60) + ` }}"`
		}
		d.fail(d.at(v.Node), "SYN1009", v.name+" is a list or an expression, found text "+show(v.Value), hint)
		return false
	}
	d.addSite(site{value: v, where: w, field: field, want: expr.ListOf(expr.Type{}), gives: gives})
	to.Expr = Expr(text)
	return true
}

// elementType is the type that all elements of a written list have, nil if
// they differ or are known only later.
func elementType(list []any) *expr.Type {
	if len(list) == 0 {
		return nil
	}
	for _, e := range list {
		text, ok := e.(string)
		if !ok || strings.HasPrefix(strings.TrimSpace(text), "${{") {
			return nil
		}
	}
	text := expr.Of(expr.KindString)
	return &text
}
