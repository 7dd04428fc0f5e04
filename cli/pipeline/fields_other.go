package pipeline

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// A Pool is a number of slots that tasks of many pipelines share.
type Pool struct {
	Namespace        string            `json:"namespace"`
	Name             string            `json:"name"`
	Description      string            `json:"description,omitempty"`
	Labels           map[string]string `json:"labels,omitempty"`
	Slots            int               `json:"slots"`
	ReserveScheduled int               `json:"reserve_scheduled,omitempty"` // slots that backfills never take
}

// A VarSet is a set of variables of a namespace.
type VarSet struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Values      map[string]string `json:"values"`
}

func poolDocFields(ts *tables) object[Pool] {
	name := func(p *Pool) *string { return &p.Name }
	namespace := func(p *Pool) *string { return &p.Namespace }
	description := func(p *Pool) *string { return &p.Description }
	return object[Pool]{what: "pool", fields: append(
		identity(name, namespace, description, func(p *Pool) *map[string]string { return &p.Labels }),
		is("slots", integer(1, 100_000), func(p *Pool) *int { return &p.Slots }, "How many slots there are.").must(),
		is("reserve", nested(&ts.reserve), func(p *Pool) *Pool { return p }, "Slots kept for some."),
	)}
}

func reserveFields() object[Pool] {
	return object[Pool]{what: "reserve", fields: []field[Pool]{
		is("scheduled", integer(0, 99_999), func(p *Pool) *int { return &p.ReserveScheduled }, "Slots that backfills never take. Default 0."),
	}}
}

func (d *document) readPool(root value) (*Pool, value) {
	pool := &Pool{}
	own, _ := d.p.tables.poolDoc.read(d, root, "", pool)
	if pool.Slots > 0 && pool.ReserveScheduled >= pool.Slots {
		d.failf(d.at(own["reserve"].Node), "SYN1009", "scheduled %d: less than the %s", pool.ReserveScheduled, count(pool.Slots, "slot"))
	}
	pool.Namespace = d.namespace(pool.Namespace, own)
	return pool, own["name"]
}

func varsDocFields() object[VarSet] {
	name := func(s *VarSet) *string { return &s.Name }
	namespace := func(s *VarSet) *string { return &s.Namespace }
	description := func(s *VarSet) *string { return &s.Description }
	values := field[VarSet]{
		key: "values", required: true, doc: "The variables.",
		read:   func(d *document, s *VarSet, v value) { s.Values = d.readVarValues(v) },
		schema: func() jsonSchema { return mapSchema(variablePattern, anyText(), MaxVars) },
	}
	return object[VarSet]{what: "vars", fields: append(
		identity(name, namespace, description, func(s *VarSet) *map[string]string { return &s.Labels }), values)}
}

func (d *document) readVarValues(v value) map[string]string {
	if !d.isMap(v) {
		return nil
	}
	if n := len(v.Content) / 2; n > MaxVars {
		d.failf(d.keySpot(v), "SYN1009", "%s variables, %s at most", grouped(n), grouped(MaxVars))
		return nil
	}
	values := map[string]string{}
	for key, e := range d.pairs(v) {
		e.name = "values." + key.Value
		var text string
		switch {
		case !variableRE.MatchString(key.Value):
			d.fail(d.at(key), "SYN1104", fmt.Sprintf("variable %s %s", show(key.Value), variableRule), "")
		case textOf(maxEnvValue, false).read(d, e, &text):
			d.credential(key, e)
			values[key.Value] = text
		}
	}
	return values
}

func (d *document) readVars(root value) (*VarSet, value) {
	set := &VarSet{}
	own, _ := d.p.tables.varsDoc.read(d, root, "", set)
	set.Namespace = d.namespace(set.Namespace, own)
	if values, ok := own["values"]; ok && values.Kind == yaml.MappingNode {
		for key := range d.quietPairs(values) {
			d.claims = append(d.claims, claim{"var " + set.Namespace + "/" + key.Value, d.at(key)})
		}
	}
	return set, own["name"]
}

// namespace gives the namespace of a document that names one, or not.
func (d *document) namespace(written string, own entries) string {
	v, ok := own["namespace"]
	switch {
	case ok && written != "" && d.p.Namespace != "" && written != d.p.Namespace:
		d.failf(d.at(v.Node), "SYN1103", "namespace %s, but the call says -n %s", written, d.p.Namespace)
		return written
	case ok:
		return written
	case d.p.Namespace != "":
		return d.p.Namespace
	default:
		return DefaultNamespace
	}
}
