package expr

import (
	"slices"
	"strings"
)

// A Ref is one value that an expression reads by a constant path.
type Ref struct {
	// Path begins with the context: needs, load, outputs, rows. It ends before
	// the first index that is not a constant string.
	Path []string
	// Offset and Len count code points of the compiled text.
	Offset, Len int
	// Guard says what has made sure, before this value is read, that it is there.
	Guard Guard
}

// String gives the path with dots.
func (r Ref) String() string { return strings.Join(r.Path, ".") }

// A Guard is what an expression has made sure of before it reads a value.
type Guard uint8

// The guards, from the weakest to the strongest.
const (
	// Unguarded reads fail if the value is not there.
	Unguarded Guard = iota
	// GuardResult: evaluated only if the task, or every task of needs, succeeded.
	GuardResult
	// GuardKey: evaluated only if has_key said yes, or read by has_key or lookup.
	GuardKey
)

// A fact is what holds where a node is evaluated: the path's key is there, or
// the path's task succeeded; success() makes a fact of the path needs.
type fact struct {
	path []string
	key  bool
}

// collect lists what n reads; facts are those that hold around it.
func collect(n node, facts []fact, src string, out []Ref) []Ref {
	rest := func(n node, more []fact) { out = collect(n, slices.Concat(facts, more), src, out) }
	switch n := n.(type) {
	case *name, *member, *index:
		return collectPath(n, facts, src, out)
	case *unary:
		rest(n.x, nil)
	case *binary:
		rest(n.x, nil)
		rest(n.y, nil)
	case *logic:
		rest(n.x, nil)
		rest(n.y, holds(n.x, n.op == "&&"))
	case *choice:
		rest(n.c, nil)
		rest(n.x, holds(n.c, true))
		rest(n.y, holds(n.c, false))
	case *listNode:
		for _, x := range n.items {
			rest(x, nil)
		}
	case *mapNode:
		for _, x := range n.values {
			rest(x, nil)
		}
	case *call:
		args := n.args
		if steps, ok := asked(n); ok {
			out = append(out, newRef(steps, n.span, src, GuardKey))
			args = args[2:]
		}
		for _, x := range args {
			rest(x, nil)
		}
	}
	return out
}

// collectPath lists the path that n reads and what its indexes read.
func collectPath(n node, facts []fact, src string, out []Ref) []Ref {
	for at := n; ; {
		if steps, ok := path(at); ok {
			return append(out, newRef(steps, at.place(), src, guard(steps, facts)))
		}
		switch x := at.(type) {
		case *member:
			at = x.of
		case *index:
			out = collect(x.at, facts, src, out)
			at = x.of
		default:
			return collect(at, facts, src, out)
		}
	}
}

func newRef(steps []string, s span, src string, g Guard) Ref {
	e := s.at(src, "", "", "")
	return Ref{Path: steps, Offset: e.Offset, Len: e.Len, Guard: g}
}

// asked gives the path that has_key or lookup asks about, if it is constant.
func asked(n *call) ([]string, bool) {
	if !n.fn.asks {
		return nil, false
	}
	steps, ok := path(n.args[0])
	key, constant := n.args[1].(*literal)
	if !ok || !constant {
		return nil, false
	}
	k, ok := key.value.(string)
	return append(steps, k), ok
}

func guard(steps []string, facts []fact) Guard {
	g := Unguarded
	for _, f := range facts {
		switch {
		case !hasPrefix(steps, f.path):
		case f.key:
			return GuardKey
		// needs.T.outputs.… behind needs.T, or behind needs for all of them.
		case len(steps) > 2 && steps[2] == "outputs" && len(f.path) <= 2:
			g = GuardResult
		}
	}
	return g
}

func hasPrefix(steps, prefix []string) bool {
	return len(steps) >= len(prefix) && slices.Equal(steps[:len(prefix)], prefix)
}

// holds lists what is known once n turned out true, or false.
func holds(n node, outcome bool) []fact {
	switch n := n.(type) {
	case *unary:
		if n.op == "!" {
			return holds(n.x, !outcome)
		}
	case *logic:
		// Only a && that is true, or a || that is false, tells of both sides.
		if outcome == (n.op == "&&") {
			return append(holds(n.x, outcome), holds(n.y, outcome)...)
		}
	case *statusCall:
		if outcome && n.id == "success" {
			return []fact{{path: []string{"needs"}}}
		}
	case *call:
		if steps, ok := asked(n); ok && outcome && n.fn.name == "has_key" {
			return []fact{{path: steps, key: true}}
		}
	case *binary:
		if outcome == (n.op == "==") && (n.op == "==" || n.op == "!=") {
			if task, ok := succeeded(n.x, n.y); ok {
				return []fact{{path: task}}
			}
			if task, ok := succeeded(n.y, n.x); ok {
				return []fact{{path: task}}
			}
		}
	}
	return nil
}

// succeeded recognises needs.T.result compared with "succeeded".
func succeeded(a, b node) (task []string, ok bool) {
	steps, ok := path(a)
	l, constant := b.(*literal)
	if !ok || !constant || l.value != "succeeded" || len(steps) != 3 || steps[2] != "result" {
		return nil, false
	}
	return steps[:2], true
}
