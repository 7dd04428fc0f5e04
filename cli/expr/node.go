package expr

import "time"

// The tree. Nodes are made by the parser, completed by the checker (compiled
// patterns, zones) and never change afterwards.
type node interface {
	place() span
	// eval gives a lifted value, never an Unreadable.
	eval(*run) (any, *Error)
}

// A reader is a node that reads a value from a context. Unlike eval, read may
// give an Unreadable: has_key and lookup ask about those.
type reader interface {
	node
	read(*run) (any, *Error)
}

func (s span) place() span { return s }

type (
	literal struct {
		span
		value any
	}
	name struct {
		span
		id string
	}
	// member is a.b and a["b"].
	member struct {
		span
		of  node
		key string
		// keySpan is where the key stands.
		keySpan span
	}
	// index is a[x] where x is no constant string.
	index struct {
		span
		of, at node
	}
	unary struct {
		span
		op string
		x  node
	}
	// binary is every operator of two operands but && and ||.
	binary struct {
		span
		op     string
		x, y   node
		opSpan span
	}
	// logic is && and ||.
	logic struct {
		span
		op   string
		x, y node
	}
	choice struct {
		span
		c, x, y node
	}
	listNode struct {
		span
		items []node
	}
	mapNode struct {
		span
		keys   []string
		values []node
	}
	call struct {
		span
		nameSpan span
		fn       *function
		args     []node
		pattern  *pattern       // of regex with a constant one
		zone     *time.Location // of date and format_time with a constant one
	}
	statusCall struct {
		span
		id string
	}
)

// path gives the static path that n reads: names and constant keys from a
// context on. ok is false if n is no path all the way.
func path(n node) (steps []string, ok bool) {
	switch n := n.(type) {
	case *name:
		return []string{n.id}, true
	case *member:
		steps, ok := path(n.of)
		return append(steps, n.key), ok
	}
	return nil, false
}

// show writes a path as a person would, for messages.
func show(n node) string {
	switch n := n.(type) {
	case *name:
		return n.id
	case *member:
		return show(n.of) + step(n.key)
	case *index:
		return show(n.of) + "[…]"
	}
	return "the value"
}

// step writes one member: .a or ["a-b"].
func step(key string) string {
	plain := key != "" && nameByte(key[0])
	for i := range len(key) {
		plain = plain && (nameByte(key[i]) || digit(key[i]))
	}
	if plain {
		return "." + key
	}
	return "[" + quote(clip(key)) + "]"
}
