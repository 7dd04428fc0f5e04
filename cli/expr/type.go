package expr

import (
	"strings"
	"time"
)

// A Kind is the outermost shape of a value.
type Kind uint8

// The kinds. Dynamic, the zero value, is known only when it is evaluated. A
// Record is a map whose members are declared, a Dict one with any keys.
const (
	KindDynamic Kind = iota
	KindNull
	KindString
	KindInteger
	KindNumber
	KindBoolean
	KindInstant
	KindDuration
	KindList
	KindRecord
	KindDict
)

var kindNames = [...]string{
	"a dynamic value", "null", "a string", "an integer", "a number", "a boolean",
	"an instant", "a duration", "a list", "a map", "a map",
}

// String gives the kind with its article, as messages want it: "a string".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// A Type is what is known of a value before it is evaluated. The zero Type is
// dynamic: everything about it is checked when it is evaluated.
type Type struct {
	Kind Kind
	// Elem is the type of the elements of a List or Dict; nil is dynamic.
	Elem *Type
	// Members are those of a Record. There are no others.
	Members map[string]Type
	// Refused are members of a Record that exist but cannot be read here.
	Refused map[string]Reason
	// Noun is what messages call a member of this map: "task", "param".
	Noun string
	// Optional says that this value may be absent from the map that holds it.
	Optional bool
	// Constant says that an index into this map must be a constant string.
	Constant bool
	// Parts says that this map is no value by itself: only its members can be
	// read, and has_key and lookup can ask for them. It implies Constant.
	Parts bool
}

// A Reason says why a name cannot be read in this place.
type Reason struct {
	Code    string // CodeContext when empty
	Message string // `secrets cannot be read in command: process lists show it`
	Hint    string // `secrets: {NAME: …} or env`
}

// Of is the type of a kind without parts.
func Of(k Kind) Type { return Type{Kind: k} }

// ListOf is the type of a list.
func ListOf(elem Type) Type { return Type{Kind: KindList, Elem: &elem} }

// DictOf is the type of a map with any keys.
func DictOf(elem Type) Type { return Type{Kind: KindDict, Elem: &elem} }

// RecordOf is the type of a map with the given members and no others.
func RecordOf(members map[string]Type) Type { return Type{Kind: KindRecord, Members: members} }

// Maybe gives the type of a member that may be absent.
func (t Type) Maybe() Type { t.Optional = true; return t }

// String describes the type as messages do: "a string", "a list of integers".
func (t Type) String() string {
	if t.Kind == KindList && t.Elem != nil && t.Elem.Kind != KindDynamic {
		if p := plural(t.Elem.Kind); p != "" {
			return "a list of " + p
		}
	}
	return t.Kind.String()
}

func plural(k Kind) string {
	if k == KindNull {
		return ""
	}
	_, word, _ := strings.Cut(k.String(), " ")
	return word + "s"
}

// bare drops the article: "string", "list of integers".
func (t Type) bare() string {
	s := strings.TrimPrefix(strings.TrimPrefix(t.String(), "a "), "an ")
	return s
}

func (t Type) elem() Type {
	if t.Elem == nil {
		return Type{}
	}
	return *t.Elem
}

func (t Type) is(kinds ...Kind) bool {
	for _, k := range kinds {
		if t.Kind == k {
			return true
		}
	}
	return false
}

// numeric says that t is an integer, a number or not known yet.
func (t Type) numeric() bool { return t.is(KindInteger, KindNumber, KindDynamic) }

// isMap says that t is a map or not known yet.
func (t Type) isMap() bool { return t.is(KindRecord, KindDict, KindDynamic) }

// Fits says whether a value of type t may stand where want is declared: the
// same type, an integer for a number, and dynamic values, which Conform checks
// when they are known.
func (t Type) Fits(want Type) bool {
	if want.Kind == KindDynamic || t.Kind == KindDynamic {
		return true
	}
	switch want.Kind {
	case KindNumber:
		return t.is(KindNumber, KindInteger)
	case KindList:
		return t.Kind == KindList && t.elem().Fits(want.elem())
	case KindDict:
		if t.Kind == KindRecord {
			for _, m := range t.Members {
				if !m.Fits(want.elem()) {
					return false
				}
			}
			return true
		}
		return t.Kind == KindDict && t.elem().Fits(want.elem())
	case KindRecord:
		if t.Kind != KindRecord {
			return t.Kind == KindDict
		}
		for name, m := range t.Members {
			if w, ok := want.Members[name]; !ok || !m.Fits(w) {
				return false
			}
		}
		for name, w := range want.Members {
			if _, ok := t.Members[name]; !ok && !w.Optional {
				return false
			}
		}
		return true
	default:
		return t.Kind == want.Kind
	}
}

// Conform checks a value against the type and gives it in the type's own form:
// a whole number becomes an integer where one is wanted, and an integer stays
// what it is where a number is.
func (t Type) Conform(v any) (any, error) { return t.conform(v, "", 0) }

func (t Type) conform(v any, where string, depth int) (any, error) {
	v = lift(v)
	if u, ok := v.(Unreadable); ok {
		return nil, &Error{Message: u.message(orValue(where)), Hint: u.Hint}
	}
	if depth > maxDepth {
		return nil, &Error{Message: "the value is nested deeper than 200 levels"}
	}
	wrong := func() (any, error) {
		return nil, &Error{Message: orValue(where) + " is " + kindOf(v).String() + ", not " + t.Kind.String()}
	}
	switch t.Kind {
	case KindDynamic:
		return v, nil
	case KindInteger:
		if n, ok := v.(Number); ok {
			if i, ok := n.Int(); ok {
				return i, nil
			}
			return nil, &Error{Message: orValue(where) + " is not a whole number within 64 bits"}
		}
		if _, ok := v.(int64); !ok {
			return wrong()
		}
		return v, nil
	case KindNumber:
		switch v.(type) {
		case int64, Number:
			return v, nil
		}
		return wrong()
	case KindList:
		list, ok := v.([]any)
		if !ok {
			return wrong()
		}
		if t.elem().Kind == KindDynamic {
			return list, nil
		}
		out := make([]any, len(list))
		for i, e := range list {
			c, err := t.elem().conform(e, orValue(where)+"["+itoa(i)+"]", depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = c
		}
		return out, nil
	case KindRecord, KindDict:
		return t.conformMap(v, where, depth)
	default:
		if kindOf(v) != t.Kind {
			return wrong()
		}
		return v, nil
	}
}

func (t Type) conformMap(v any, where string, depth int) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, &Error{Message: orValue(where) + " is " + kindOf(v).String() + ", not a map"}
	}
	out := make(map[string]any, len(m))
	for _, k := range sortedKeys(m) {
		want := t.elem()
		if t.Kind == KindRecord {
			if want, ok = t.Members[k]; !ok {
				return nil, &Error{Message: orValue(where) + " has a key that is not declared"}
			}
		}
		c, err := want.conform(m[k], orValue(where)+"["+quote(k)+"]", depth+1)
		if err != nil {
			return nil, err
		}
		out[k] = c
	}
	for k, want := range t.Members {
		if _, ok := out[k]; !ok && !want.Optional {
			return nil, &Error{Message: orValue(where) + " lacks the key " + quote(k)}
		}
	}
	return out, nil
}

func orValue(where string) string {
	if where == "" {
		return "the value"
	}
	return where
}

// kindOf tells the kind of a lifted value.
func kindOf(v any) Kind {
	switch v.(type) {
	case nil:
		return KindNull
	case bool:
		return KindBoolean
	case string:
		return KindString
	case int64:
		return KindInteger
	case Number:
		return KindNumber
	case time.Time:
		return KindInstant
	case time.Duration:
		return KindDuration
	case []any:
		return KindList
	case map[string]any:
		return KindRecord
	default:
		return KindDynamic
	}
}

// join gives the type that holds values of both a and b.
func join(a, b Type) Type {
	switch {
	case a.Kind == KindNumber && b.Kind == KindInteger, a.Kind == KindInteger && b.Kind == KindNumber:
		return Of(KindNumber)
	case a.Kind != b.Kind:
		return Type{}
	case a.Kind == KindList:
		return ListOf(join(a.elem(), b.elem()))
	case a.Kind == KindDict:
		return DictOf(join(a.elem(), b.elem()))
	case a.Kind == KindRecord:
		// Records differ in their members; a dynamic map is the honest answer.
		return DictOf(Type{})
	default:
		return Of(a.Kind)
	}
}
