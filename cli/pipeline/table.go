package pipeline

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// A value is a node of the file with what messages call it.
type value struct {
	*yaml.Node
	name string // "timeout", "env.TOKEN", "command[0]"
	key  *yaml.Node
}

// jsonSchema is a piece of the schema for editors.
type jsonSchema = map[string]any

// A kind is a type of value: how it is read and what editors are told of it.
type kind[V any] struct {
	read   func(d *document, v value, to *V) bool
	schema func() jsonSchema
}

// A field is one key of a map. The tables of fields are what the parser reads
// by, what the schema for editors is made from, and what the documentation of
// the fields says.
type field[T any] struct {
	key      string
	doc      string
	required bool
	// feature says that the field is specified and not built: its number, and
	// the keys that may stand in it, so that a typing error is still found.
	feature  string
	inner    []string
	reserved bool

	read   func(d *document, t *T, v value)
	schema func() jsonSchema
}

// is makes a field of a kind that is kept in one place of T.
func is[T, V any](key string, k kind[V], to func(*T) *V, doc string) field[T] {
	return field[T]{
		key: key, doc: doc, schema: k.schema,
		read: func(d *document, t *T, v value) { k.read(d, v, to(t)) },
	}
}

func (f field[T]) must() field[T] { f.required = true; return f }

// later makes fields that are specified and not built yet.
func later[T any](feature, key string, inner ...string) field[T] {
	return field[T]{key: key, feature: feature, inner: inner}
}

// reserved makes a field whose name is kept for a later version.
func reserved[T any](key string) field[T] { return field[T]{key: key, reserved: true} }

// An object is a map with known keys.
type object[T any] struct {
	what    string // "task", "schedule"
	fields  []field[T]
	foreign map[string]string
}

// entries are the keys of a map that was read, by name.
type entries map[string]value

func (o object[T]) keys() []string {
	var keys []string
	for _, f := range o.fields {
		if !f.reserved {
			keys = append(keys, f.key)
		}
	}
	return keys
}

// read reads a map into t. in says where it stands, for messages: "task load".
func (o object[T]) read(d *document, v value, in string, t *T) (entries, bool) {
	if !d.isMap(v) {
		return nil, false
	}
	seen := entries{}
	for key, e := range d.pairs(v) {
		i := slices.IndexFunc(o.fields, func(f field[T]) bool { return f.key == key.Value })
		if i < 0 {
			d.unknownKey(key, in, o.keys(), o.foreign)
			continue
		}
		f := o.fields[i]
		e.name = key.Value
		switch {
		case f.reserved:
			d.fail(d.at(key), "SYN1602", fmt.Sprintf("%q is reserved for a later version", f.key), "remove it")
		case f.feature != "":
			d.notBuilt(key, f.key, f.feature)
			d.checkInner(e, f.key, f.inner)
		default:
			seen[f.key] = e
			f.read(d, t, e)
		}
	}
	for _, f := range o.fields {
		if _, ok := seen[f.key]; f.required && !ok && !d.has(v, f.key) {
			d.failf(d.keySpot(v), "SYN1008", "%s is missing%s", f.key, inside(in))
		}
	}
	return seen, true
}

func inside(in string) string {
	if in == "" {
		return ""
	}
	return " in " + in
}

func (d *document) notBuilt(key *yaml.Node, name, feature string) {
	message := fmt.Sprintf("%q is specified and not built yet", name)
	if feature != "later" {
		message += " (" + feature + ")"
	}
	d.fail(d.at(key), "SYN1601", message, "not supported yet: remove it")
}

func (d *document) unknownKey(key *yaml.Node, in string, known []string, foreign map[string]string) {
	if d.full() {
		return
	}
	if in == "retry" && key.Value == "on" { // true to YAML 1.1, hence the other name
		d.fail(d.at(key), "SYN1410", `retry has no key "on"`, "when")
		return
	}
	hint := ""
	if d.p.dropped.errors == 0 && len(d.p.problems) < 4*MaxProblems { // to look for one costs more than all the rest
		hint = keyHint(key.Value, known, foreign)
	}
	d.fail(d.at(key), "SYN1006", fmt.Sprintf("unknown key %s%s", show(key.Value), inside(in)), hint)
}

// checkInner finds keys that a map which is not built yet will not have either.
func (d *document) checkInner(v value, in string, known []string) {
	nodes := []*yaml.Node{v.Node}
	if v.Kind == yaml.SequenceNode {
		nodes = v.Content
	}
	for _, n := range nodes {
		if n.Kind != yaml.MappingNode || len(known) == 0 {
			continue
		}
		for key := range d.pairs(value{Node: n}) {
			if !slices.Contains(known, key.Value) {
				d.unknownKey(key, in, known, nil)
			}
		}
	}
}

func (d *document) isMap(v value) bool {
	if v.Kind == yaml.MappingNode {
		return true
	}
	d.wrongShape(v, "a map")
	return false
}

// wrongShape says that a value is not what its name wants.
func (d *document) wrongShape(v value, want string) {
	if isNull(v.Node) {
		d.fail(d.at(v.Node), "SYN1010", v.name+" has no value", "remove the key, or give it "+want)
		return
	}
	d.failf(d.at(v.Node), "SYN1009", "%s is %s, found %s", v.name, want, shape(v.Node))
}

// keySpot is where the key of a map stands, or its document begins.
func (d *document) keySpot(v value) spot {
	if v.key != nil {
		return d.at(v.key)
	}
	if v.Node == d.root {
		return d.start()
	}
	return d.at(v.Node)
}

// start is where the document begins: the place of what it lacks.
func (d *document) start() spot { return spot{d.first, 1, 1} }

// pairs yields the keys and values of a map and reports keys that come twice.
func (d *document) pairs(v value) func(yield func(*yaml.Node, value) bool) {
	return func(yield func(*yaml.Node, value) bool) {
		lines := make(map[string]int, len(v.Content)/2)
		for i := 0; i+1 < len(v.Content); i += 2 {
			key, node := v.Content[i], v.Content[i+1]
			if line, ok := lines[key.Value]; ok {
				d.failf(d.at(key), "SYN1007", "key %s is already there (line %d)", show(key.Value), line)
				continue
			}
			lines[key.Value] = d.at(key).line
			if !yield(key, value{Node: node, name: key.Value, key: key}) {
				return
			}
		}
	}
}

// quietPairs yields the keys and values of a map, repeated ones included.
func (d *document) quietPairs(v value) func(yield func(*yaml.Node, value) bool) {
	return func(yield func(*yaml.Node, value) bool) {
		for i := 0; i+1 < len(v.Content); i += 2 {
			key := v.Content[i]
			if !yield(key, value{Node: v.Content[i+1], name: key.Value, key: key}) {
				return
			}
		}
	}
}

func (d *document) isMapping() bool { return d.root.Kind == yaml.MappingNode }

func (d *document) has(v value, key string) bool {
	for i := 0; i+1 < len(v.Content); i += 2 {
		if v.Content[i].Value == key {
			return true
		}
	}
	return false
}

// elements yields the elements of a list.
func (d *document) elements(v value) func(yield func(int, value) bool) {
	return func(yield func(int, value) bool) {
		for i, n := range v.Content {
			if !yield(i, value{Node: n, name: fmt.Sprintf("%s[%d]", v.name, i)}) {
				return
			}
		}
	}
}

// nested makes a kind of a map with known keys.
func nested[T any](o *object[T]) kind[T] {
	return kind[T]{
		read:   func(d *document, v value, to *T) bool { _, ok := o.read(d, v, v.name, to); return ok },
		schema: o.schema,
	}
}

// listOf makes a kind of a list, of at most limit elements.
func listOf[V any](k kind[V], limit int) kind[[]V] {
	return kind[[]V]{
		read: func(d *document, v value, to *[]V) bool {
			if v.Kind != yaml.SequenceNode {
				d.wrongShape(v, "a list")
				return false
			}
			return readList(d, v, k, limit, to)
		},
		schema: func() jsonSchema {
			return jsonSchema{"type": "array", "items": k.schema(), "maxItems": limit}
		},
	}
}

// oneOrMore makes a kind of a list for which one element may stand alone.
func oneOrMore[V any](k kind[V], limit int) kind[[]V] {
	list := listOf(k, limit)
	return kind[[]V]{
		read: func(d *document, v value, to *[]V) bool {
			if v.Kind == yaml.SequenceNode {
				return readList(d, v, k, limit, to)
			}
			var one V
			if !k.read(d, v, &one) {
				return false
			}
			*to = []V{one}
			return true
		},
		schema: func() jsonSchema { return jsonSchema{"anyOf": []any{k.schema(), list.schema()}} },
	}
}

func readList[V any](d *document, v value, k kind[V], limit int, to *[]V) bool {
	if len(v.Content) > limit {
		d.failf(d.at(v.Content[limit]), "SYN1009", "%s has %s elements, %s at most", v.name, grouped(len(v.Content)), grouped(limit))
		return false
	}
	list := make([]V, 0, len(v.Content))
	ok := true
	for _, e := range d.elements(v) {
		var one V
		if k.read(d, e, &one) {
			list = append(list, one)
		} else {
			ok = false
		}
	}
	*to = list
	return ok
}
