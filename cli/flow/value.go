package flow

import (
	"errors"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// A value is a free value of the format, compiled: each string in it may hold
// expressions.
type value struct {
	constant any
	template *expr.Template
	list     []value
	keys     []string
	members  []value
}

// compileValue compiles a free value and tells every template to refs.
func compileValue(v any, scope expr.Scope, refs *[]expr.Ref) (value, error) {
	switch v := v.(type) {
	case string:
		if !expr.Contains(v) {
			t, err := expr.CompileTemplate(v, scope)
			if err != nil {
				return value{}, err
			}
			literal, _ := t.Literal()
			return value{constant: literal}, nil
		}
		t, err := expr.CompileTemplate(v, scope)
		if err != nil {
			return value{}, err
		}
		*refs = append(*refs, t.Refs()...)
		return value{template: t}, nil
	case []any:
		out := value{list: make([]value, len(v))}
		for i, e := range v {
			var err error
			if out.list[i], err = compileValue(e, scope, refs); err != nil {
				return value{}, err
			}
		}
		return out, nil
	case map[string]any:
		out := value{keys: sortedKeys(v)}
		for _, k := range out.keys {
			m, err := compileValue(v[k], scope, refs)
			if err != nil {
				return value{}, err
			}
			out.members = append(out.members, m)
		}
		return out, nil
	}
	return value{constant: v}, nil
}

// eval gives the value; what stands alone in an expression keeps its type.
func (v value) eval(vars expr.Vars) (any, error) {
	switch {
	case v.template != nil:
		return v.template.Eval(vars)
	case v.list != nil:
		out := make([]any, len(v.list))
		for i, e := range v.list {
			var err error
			if out[i], err = e.eval(vars); err != nil {
				return nil, err
			}
		}
		return out, nil
	case v.members != nil:
		out := make(map[string]any, len(v.keys))
		for i, k := range v.keys {
			var err error
			if out[k], err = v.members[i].eval(vars); err != nil {
				return nil, err
			}
		}
		return out, nil
	case v.keys != nil:
		return map[string]any{}, nil
	}
	return v.constant, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// A listing is a list written in the file or given by one expression.
type listing struct {
	name    string // of the axis
	dynamic value
	written []value
}

func compileListing(name string, it pipeline.Items, scope expr.Scope, refs *[]expr.Ref) (listing, error) {
	l := listing{name: name}
	if it.Expr != "" {
		scope.Want = expr.ListOf(expr.Type{})
		text := string(it.Expr)
		if !expr.Contains(text) {
			text = "${{ " + text + " }}"
		}
		t, err := expr.CompileTemplate(text, scope)
		if err != nil {
			return l, err
		}
		*refs = append(*refs, t.Refs()...)
		l.dynamic.template = t
		return l, nil
	}
	l.written = make([]value, len(it.List))
	for i, e := range it.List {
		var err error
		if l.written[i], err = compileValue(e, scope, refs); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l listing) eval(vars expr.Vars) ([]any, error) {
	if l.dynamic.template != nil {
		v, err := l.dynamic.eval(vars)
		if err != nil {
			return nil, err
		}
		list, ok := v.([]any)
		if !ok {
			return nil, errors.New("it is not a list")
		}
		return list, nil
	}
	list := make([]any, len(l.written))
	for i, e := range l.written {
		var err error
		if list[i], err = e.eval(vars); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// items are those of a fan-out, before they are known.
type items struct {
	matrix bool
	axes   []listing // of for_each one without a name
	reads  reads
}

func (it *items) field() string {
	if it.matrix {
		return "matrix"
	}
	return "for_each"
}

// tooMany says that a fan-out would have more items than one may have.
type tooMany int

func (n tooMany) Error() string { return fmt.Sprintf("%d items, %d at most", int(n), MaxItems) }

// eval gives the items in order: of a matrix one per combination, the last axis
// moving fastest.
func (it *items) eval(vars expr.Vars) ([]any, error) {
	lists := make([][]any, len(it.axes))
	count := 1
	for i, axis := range it.axes {
		list, err := axis.eval(vars)
		if err != nil {
			if it.matrix {
				return nil, fmt.Errorf("axis %s: %w", axis.name, err)
			}
			return nil, err
		}
		lists[i] = list
		count *= min(len(list), 2*MaxItems) // cannot overflow: it stops above the limit
		if count > MaxItems {
			for _, rest := range it.axes[i+1:] {
				if list, err := rest.eval(vars); err == nil && len(list) == 0 {
					return nil, nil
				}
			}
			return nil, tooMany(count)
		}
	}
	if !it.matrix {
		return lists[0], nil
	}
	out := make([]any, count)
	for n := range out {
		item, at := make(map[string]any, len(lists)), n
		for i := len(lists) - 1; i >= 0; i-- {
			item[it.axes[i].name] = lists[i][at%len(lists[i])]
			at /= len(lists[i])
		}
		out[n] = item
	}
	return out, nil
}
