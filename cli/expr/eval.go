package expr

import (
	"strings"
	"time"
)

// Vars are what an evaluation reads.
type Vars struct {
	// Names are the values of the contexts.
	Names map[string]any
	// Status answers the status functions of task conditions.
	Status StatusFuncs
	// Zone is that of date(t), and of local times in timestamp(…); nil is UTC.
	Zone *time.Location
}

// StatusFuncs answer success() and its siblings; always() needs no answer. They
// are called only when the expression gets to them. A nil one is an error.
type StatusFuncs struct {
	Success, AnySuccess, Failure, NoneFailed, Canceled func() bool
}

// A run is one evaluation: its inputs and what it may still use up.
type run struct {
	vars     *Vars
	src      string
	memory   int  // bytes left
	steps    int  // of pattern matching left
	discreet bool // messages must not quote values: secrets are among them
}

func (r *run) fail(n node, message, hint string) *Error {
	return n.place().at(r.src, "", message, hint)
}

// placed gives an error without a place that of the node.
func (r *run) placed(n node, err *Error) *Error {
	at := r.fail(n, err.Message, err.Hint)
	at.cause = err.cause
	return at
}

// charge takes memory from the budget.
func (r *run) charge(n node, bytes int) *Error {
	if r.memory -= bytes; r.memory < 0 {
		return r.fail(n, "the expression needs more than 16 MiB of memory", "")
	}
	return nil
}

// shown quotes a value for a message, unless it might be a secret.
func (r *run) shown(s string) string {
	if r.discreet {
		return "the text"
	}
	return quote(clip(s))
}

// readOf gives what n reads, which may be Unreadable.
func readOf(r *run, n node) (any, *Error) {
	if n, ok := n.(reader); ok {
		return n.read(r)
	}
	return n.eval(r)
}

// use refuses what cannot be read.
func (r *run) use(n node, v any, err *Error) (any, *Error) {
	if err != nil {
		return nil, err
	}
	if u, ok := v.(Unreadable); ok {
		return nil, r.fail(n, u.message(show(n)), u.Hint)
	}
	return v, nil
}

// element lifts an element of a container that a function walks.
func (r *run) element(n node, v any) (any, *Error) {
	v = lift(v)
	switch v.(type) {
	case Unreadable, failed:
		return nil, r.placed(n, noText(v))
	}
	return v, nil
}

// got lifts what a path step found.
func (r *run) got(n node, v any) (any, *Error) {
	v = lift(v)
	if f, ok := v.(failed); ok {
		err := r.fail(n, show(n)+" cannot be read: "+f.err.Error(), "")
		err.cause = f.err
		return nil, err
	}
	return v, nil
}

func (n *literal) eval(*run) (any, *Error) { return n.value, nil }

func (n *name) eval(r *run) (any, *Error)   { v, err := n.read(r); return r.use(n, v, err) }
func (n *member) eval(r *run) (any, *Error) { v, err := n.read(r); return r.use(n, v, err) }
func (n *index) eval(r *run) (any, *Error)  { v, err := n.read(r); return r.use(n, v, err) }

func (n *name) read(r *run) (any, *Error) {
	v, ok := r.vars.Names[n.id]
	if !ok {
		return nil, r.fail(n, n.id+" is absent", "")
	}
	return r.got(n, v)
}

func (n *member) read(r *run) (any, *Error) {
	of, err := readOf(r, n.of)
	if err != nil {
		return nil, err
	}
	switch of := of.(type) {
	case map[string]any:
		v, ok := of[n.key]
		if !ok {
			return nil, r.fail(n, show(n)+" is absent", "has_key("+show(n.of)+", "+quote(n.key)+")")
		}
		return r.got(n, v)
	case Unreadable:
		return of, nil
	}
	return nil, r.fail(n, show(n.of)+" is "+kindOf(of).String()+" and has no key "+quote(clip(n.key)), "")
}

func (n *index) read(r *run) (any, *Error) {
	of, err := readOf(r, n.of)
	if err != nil {
		return nil, err
	}
	at, err := n.at.eval(r)
	if err != nil {
		return nil, err
	}
	switch of := of.(type) {
	case []any:
		i, ok := at.(int64)
		if !ok {
			return nil, r.fail(n.at, "an index into a list is an integer, not "+kindOf(at).String(), "")
		}
		if i < 0 || i >= int64(len(of)) {
			message := "the index is outside of " + show(n.of)
			if !r.discreet {
				message = "index " + decimalText(i) + " is outside of " + show(n.of)
			}
			return nil, r.fail(n.at, message+", a list of "+itoa(len(of)), "")
		}
		return r.got(n, of[i])
	case map[string]any:
		key, ok := at.(string)
		if !ok {
			return nil, r.fail(n.at, "an index into a map is a string, not "+kindOf(at).String(), "")
		}
		v, ok := of[key]
		if !ok {
			what := "that key"
			if !r.discreet {
				what = "the key " + quote(clip(key))
			}
			return nil, r.fail(n, show(n.of)+" does not have "+what, "has_key(map, key) or lookup(map, key, fallback)")
		}
		return r.got(n, v)
	case Unreadable:
		return of, nil
	}
	return nil, r.fail(n, show(n.of)+" is "+kindOf(of).String()+" and has no index", "")
}

// truth evaluates an operand that must be a boolean.
func (r *run) truth(n node, op string) (bool, *Error) {
	v, err := n.eval(r)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, r.fail(n, quote(op)+" takes booleans, not "+kindOf(v).String(), "")
	}
	return b, nil
}

func (n *logic) eval(r *run) (any, *Error) {
	x, err := r.truth(n.x, n.op)
	if err != nil {
		return nil, err
	}
	if x == (n.op == "||") {
		return x, nil
	}
	y, err := r.truth(n.y, n.op)
	if err != nil {
		return nil, err
	}
	return y, nil
}

func (n *choice) eval(r *run) (any, *Error) {
	c, err := r.truth(n.c, "?:")
	if err != nil {
		return nil, err
	}
	if c {
		return n.x.eval(r)
	}
	return n.y.eval(r)
}

func (n *unary) eval(r *run) (any, *Error) {
	if n.op == "!" {
		b, err := r.truth(n.x, "!")
		if err != nil {
			return nil, err
		}
		return !b, nil
	}
	v, err := n.x.eval(r)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case int64:
		if i, ok := computeIntegers("-", 0, v); ok {
			return i, nil
		}
		return nil, r.fail(n, "the result does not fit in 64 bits", "")
	case Number:
		// The digits stay: nothing is computed but the sign, which zero has not.
		if v.Cmp("0") == 0 {
			return v, nil
		}
		if s, ok := strings.CutPrefix(string(v), "-"); ok {
			return Number(s), nil
		}
		return "-" + v, nil
	}
	return nil, r.fail(n, `"-" takes a number, not `+kindOf(v).String(), "")
}

func (n *listNode) eval(r *run) (any, *Error) {
	if err := r.charge(n, 24+32*len(n.items)); err != nil {
		return nil, err
	}
	list := make([]any, len(n.items))
	for i, x := range n.items {
		v, err := x.eval(r)
		if err != nil {
			return nil, err
		}
		list[i] = v
	}
	return list, nil
}

func (n *mapNode) eval(r *run) (any, *Error) {
	if err := r.charge(n, 48+80*len(n.keys)); err != nil {
		return nil, err
	}
	m := make(map[string]any, len(n.keys))
	for i, k := range n.keys {
		v, err := n.values[i].eval(r)
		if err != nil {
			return nil, err
		}
		m[k] = v
	}
	return m, nil
}

func (n *statusCall) eval(r *run) (any, *Error) {
	var f func() bool
	switch n.id {
	case "always":
		return true, nil
	case "success":
		f = r.vars.Status.Success
	case "any_success":
		f = r.vars.Status.AnySuccess
	case "failure":
		f = r.vars.Status.Failure
	case "none_failed":
		f = r.vars.Status.NoneFailed
	case "canceled":
		f = r.vars.Status.Canceled
	}
	if f == nil {
		return nil, r.fail(n, n.id+"() has no answer here", "")
	}
	return f(), nil
}

func (n *call) eval(r *run) (any, *Error) {
	var room [3]any
	args := room[:len(n.args)]
	for i, a := range n.args {
		var err *Error
		if i == 0 && n.fn.asks {
			args[i], err = readOf(r, a)
		} else {
			args[i], err = a.eval(r)
		}
		if err != nil {
			return nil, err
		}
	}
	return n.fn.eval(r, n, args)
}
