package expr

import (
	"maps"
	"slices"
)

// A Scope says what an expression may read and what it must give.
type Scope struct {
	// Names are the contexts that can be read here.
	Names map[string]Type
	// Forbidden are contexts that exist but cannot be read here, and why.
	Forbidden map[string]Reason
	// Status allows success(), failure() and the other status functions.
	Status bool
	// Field is what messages call the field: "if", "matrix". It may be empty.
	Field string
	// Want is the type the field declares; dynamic takes anything.
	Want Type
	// AsText says that the field holds text: a value standing alone is written
	// into it by the same rules as one among other text. Want is ignored.
	AsText bool
}

// A checker tells the type of every node and refuses what can never work.
type checker struct {
	src    string
	scope  *Scope
	failed *Error
	status bool
}

func (c *checker) fail(s span, code, message, hint string) Type {
	if c.failed == nil {
		c.failed = s.at(c.src, code, message, hint)
	}
	return Type{}
}

func (c *checker) wrong(s span, message, hint string) Type {
	return c.fail(s, CodeType, message, hint)
}

// value is the type of a node whose value is used.
func (c *checker) value(n node) Type {
	t := c.typeOf(n)
	if t.Parts {
		return c.wrong(n.place(), show(n)+" is no value by itself", "read a member of it")
	}
	return t
}

// typeOf is the type of a node of which perhaps only a member is read.
func (c *checker) typeOf(n node) Type {
	if c.failed != nil {
		return Type{}
	}
	switch n := n.(type) {
	case *literal:
		return Of(kindOf(n.value))
	case *name:
		return c.name(n)
	case *member:
		return c.member(n)
	case *index:
		return c.index(n)
	case *unary:
		return c.unary(n)
	case *logic:
		c.boolean(n.x, n.op)
		c.boolean(n.y, n.op)
		return Of(KindBoolean)
	case *binary:
		return c.binary(n)
	case *choice:
		c.boolean(n.c, "?:")
		return join(c.value(n.x), c.value(n.y))
	case *listNode:
		return c.list(n)
	case *mapNode:
		members := make(map[string]Type, len(n.keys))
		for i, k := range n.keys {
			members[k] = c.value(n.values[i])
		}
		return RecordOf(members)
	case *statusCall:
		c.status = true
		if !c.scope.Status {
			return c.fail(n.span, CodeContext, n.id+"() can be used in task conditions only", "")
		}
		return Of(KindBoolean)
	case *call:
		return c.call(n)
	}
	return Type{}
}

func (c *checker) name(n *name) Type {
	if t, ok := c.scope.Names[n.id]; ok {
		return t
	}
	if r, ok := c.scope.Forbidden[n.id]; ok {
		return c.refused(n.span, n.id, r)
	}
	known := slices.Concat(slices.Collect(maps.Keys(c.scope.Names)), slices.Collect(maps.Keys(c.scope.Forbidden)))
	hint := nameHints[n.id]
	if f := functions[n.id]; f != nil {
		hint = f.usage
	}
	return c.fail(n.span, CodeUnknown, "unknown name "+quote(clip(n.id))+didYouMean(n.id, known), hint)
}

var nameHints = map[string]string{
	"nil": "null", "None": "null", "undefined": "null", "True": "true", "False": "false",
}

func (c *checker) refused(s span, what string, r Reason) Type {
	code, message := r.Code, r.Message
	if code == "" {
		code = CodeContext
	}
	if message == "" {
		message = what + " cannot be read here"
	}
	return c.fail(s, code, message, r.Hint)
}

func (c *checker) member(n *member) Type {
	of := c.typeOf(n.of)
	switch of.Kind {
	case KindDynamic:
		return Type{}
	case KindDict:
		return of.elem()
	case KindRecord:
		return c.declared(n.keySpan, show(n.of), of, n.key)
	case KindList:
		return c.wrong(n.keySpan, "an index into a list is an integer", "")
	}
	if c.failed != nil {
		return Type{}
	}
	return c.wrong(n.keySpan, of.Kind.String()+" has no members", "")
}

// declared is the type of a member of a record.
func (c *checker) declared(s span, what string, of Type, key string) Type {
	if c.failed != nil {
		return Type{}
	}
	if t, ok := of.Members[key]; ok {
		return t
	}
	if r, ok := of.Refused[key]; ok {
		return c.refused(s, what+step(key), r)
	}
	noun := of.Noun
	if noun == "" {
		noun = "member"
	}
	return c.fail(s, CodeUnknown, "no "+noun+" "+quote(clip(key))+" in "+what+didYouMean(key, sortedKeys(of.Members)), "")
}

func (c *checker) index(n *index) Type {
	of, at := c.typeOf(n.of), c.value(n.at)
	if c.failed != nil {
		return Type{}
	}
	switch of.Kind {
	case KindRecord, KindDict:
		if of.Constant || of.Parts {
			return c.wrong(n.at.place(), "an index into "+show(n.of)+" must be a constant string", "")
		}
		if !at.is(KindString, KindDynamic) {
			return c.wrong(n.at.place(), "an index into a map is a string, not "+at.String(), "")
		}
		if of.Kind == KindDict {
			return of.elem()
		}
		return Type{}
	case KindList, KindDynamic:
		if l, ok := n.at.(*literal); ok {
			if i, ok := l.value.(int64); ok && i < 0 {
				return c.wrong(n.at.place(), "an index counts from 0", "a[size(a) - 1] is the last one")
			}
		}
		if of.Kind == KindList && !at.is(KindInteger, KindDynamic) {
			return c.wrong(n.at.place(), "an index into a list is an integer, not "+at.String(), "")
		}
		if !at.is(KindInteger, KindString, KindDynamic) {
			return c.wrong(n.at.place(), "an index is an integer or a string, not "+at.String(), "")
		}
		return of.elem()
	}
	return c.wrong(n.of.place(), of.Kind.String()+" has no index", "")
}

func (c *checker) boolean(n node, op string) {
	if t := c.value(n); !t.is(KindBoolean, KindDynamic) {
		c.wrong(n.place(), quote(op)+" takes booleans, not "+t.String(), "")
	}
}

func (c *checker) unary(n *unary) Type {
	if n.op == "!" {
		c.boolean(n.x, "!")
		return Of(KindBoolean)
	}
	t := c.value(n.x)
	if !t.numeric() {
		return c.wrong(n.span, `"-" takes a number, not `+t.String(), "")
	}
	return Of(t.Kind)
}

func (c *checker) list(n *listNode) Type {
	if len(n.items) == 0 {
		return ListOf(Type{})
	}
	elem := c.value(n.items[0])
	elem.Optional = false
	for _, x := range n.items[1:] {
		elem = join(elem, c.value(x))
	}
	return ListOf(elem)
}

func (c *checker) binary(n *binary) Type {
	if n.op == "-" {
		c.hyphen(n)
	}
	a, b := c.value(n.x), c.value(n.y)
	if c.failed != nil {
		return Type{}
	}
	switch n.op {
	case "==", "!=":
		if !comparable(a, b) {
			return c.wrong(n.span, a.bare()+" and "+b.bare()+" are never equal", conversion(a, b))
		}
		return Of(KindBoolean)
	case "in":
		if !b.is(KindList, KindDynamic) {
			hint := ""
			switch b.Kind {
			case KindString:
				hint = "includes(text, part)"
			case KindRecord, KindDict:
				hint = "has_key(map, key)"
			}
			return c.wrong(n.span, `"in" looks into a list, not into `+b.String(), hint)
		}
		if !comparable(a, b.elem()) {
			return c.wrong(n.span, a.bare()+" is never in "+b.String(), conversion(a, b.elem()))
		}
		return Of(KindBoolean)
	case "<", "<=", ">", ">=":
		if !ordered(a, b) {
			return c.operands(n, a, b, "compares two numbers, texts, instants or durations")
		}
		return Of(KindBoolean)
	}
	return c.arithmetic(n, a, b)
}

func (c *checker) operands(n *binary, a, b Type, takes string) Type {
	return c.wrong(n.span, quote(n.op)+" "+takes+", not "+a.bare()+" and "+b.bare(), conversion(a, b))
}

// conversion suggests how to make one type of two.
func conversion(a, b Type) string {
	switch {
	case a.Kind == KindString && b.is(KindInteger, KindNumber), b.Kind == KindString && a.is(KindInteger, KindNumber):
		return "string(…), integer(…) or number(…)"
	case a.Kind == KindString && b.Kind == KindInstant, b.Kind == KindString && a.Kind == KindInstant:
		return "timestamp(…)"
	case a.Kind == KindString && b.Kind == KindDuration, b.Kind == KindString && a.Kind == KindDuration:
		return "duration(…)"
	}
	return ""
}

// comparable says whether == of the two can ever be asked.
func comparable(a, b Type) bool {
	if a.is(KindNull, KindDynamic) || b.is(KindNull, KindDynamic) {
		return true
	}
	if a.isMap() || b.isMap() {
		return a.isMap() && b.isMap()
	}
	return a.numeric() && b.numeric() || a.Kind == b.Kind
}

func ordered(a, b Type) bool {
	kinds := []Kind{KindInteger, KindNumber, KindString, KindInstant, KindDuration, KindDynamic}
	if !a.is(kinds...) || !b.is(kinds...) {
		return false
	}
	return a.Kind == KindDynamic || b.Kind == KindDynamic || a.numeric() && b.numeric() || a.Kind == b.Kind
}

func (c *checker) arithmetic(n *binary, a, b Type) Type {
	takes := map[string]string{
		"+": "adds two numbers, two texts, or times",
		"-": "takes two numbers or times",
		"*": "takes two numbers", "/": "takes two numbers", "%": "takes two integers",
	}[n.op]
	times := n.op == "+" || n.op == "-"
	switch {
	case n.op == "%":
		if !a.is(KindInteger, KindDynamic) || !b.is(KindInteger, KindDynamic) {
			return c.operands(n, a, b, takes)
		}
		return Of(KindInteger)
	case a.numeric() && b.numeric():
		if n.op == "/" {
			return Of(KindNumber)
		}
		if a.Kind == KindDynamic || b.Kind == KindDynamic {
			if a.Kind == KindNumber || b.Kind == KindNumber {
				return Of(KindNumber)
			}
			return Type{}
		}
		return join(a, b)
	case n.op == "+" && a.is(KindString, KindDynamic) && b.is(KindString, KindDynamic):
		return Of(KindString)
	case times && a.Kind == KindInstant && b.Kind == KindDuration,
		n.op == "+" && a.Kind == KindDuration && b.Kind == KindInstant:
		return Of(KindInstant)
	case times && a.Kind == KindDuration && b.Kind == KindDuration,
		n.op == "-" && a.Kind == KindInstant && b.Kind == KindInstant:
		return Of(KindDuration)
	case times && (a.Kind == KindDynamic && b.is(KindInstant, KindDuration) || b.Kind == KindDynamic && a.is(KindInstant, KindDuration)):
		return Type{}
	}
	return c.operands(n, a, b, takes)
}

// hyphen notices needs.build-image, which reads as a minus.
func (c *checker) hyphen(n *binary) {
	m, joined, unknown, ok := c.hyphenated(n)
	if !ok {
		return
	}
	if _, ok := path(m.of); !ok {
		return // typing anything larger twice at every level would take forever
	}
	of := c.typeOf(m.of)
	_, whole := of.Members[joined]
	if !whole {
		_, whole = of.Refused[joined]
	}
	_, part := of.Members[m.key] // of other maps than records nothing is known
	if c.failed == nil && (whole && (unknown || !part) || unknown && !part) {
		base := show(m.of)
		c.fail(span{m.start, n.end}, CodeNotLanguage, base+"."+clip(joined)+" reads as a minus", base+"["+quote(clip(joined))+"]")
	}
}

// hyphenated joins a.b-c-d without blanks to the member b-c-d of a; unknown says
// that a name behind a hyphen means nothing by itself.
func (c *checker) hyphenated(n *binary) (m *member, joined string, unknown, ok bool) {
	if n.op != "-" || n.x.place().end != n.opSpan.start || n.y.place().start != n.opSpan.end {
		return nil, "", false, false
	}
	var right string
	root := n.y
	for {
		if x, ok := root.(*member); ok {
			root = x.of
		} else if x, ok := root.(*index); ok {
			root = x.of
		} else {
			break
		}
	}
	switch r := root.(type) {
	case *name:
		right = r.id
		_, known := c.scope.Names[r.id]
		unknown = !known
	case *literal:
		if r.end > r.start {
			right = c.src[r.start:r.end]
		}
	default:
		return nil, "", false, false
	}
	switch x := n.x.(type) {
	case *member:
		if c.src[x.keySpan.start-1] != '.' {
			return nil, "", false, false
		}
		return x, x.key + "-" + right, unknown, true
	case *binary:
		m, joined, before, ok := c.hyphenated(x)
		return m, joined + "-" + right, unknown || before, ok
	}
	return nil, "", false, false
}

func (c *checker) call(n *call) Type {
	types := make([]Type, len(n.args))
	for i, a := range n.args {
		if i == 0 && n.fn.asks {
			types[i] = c.typeOf(a)
		} else {
			types[i] = c.value(a)
		}
	}
	if c.failed != nil {
		return Type{}
	}
	return n.fn.check(c, n, types)
}
