package pipeline

import (
	"go.yaml.in/yaml/v3"
)

// The kinds of reference.
const (
	ReferencePool    = "pool"    // a task holds slots of it
	ReferenceCall    = "call"    // a pipeline task runs it
	ReferenceTrigger = "trigger" // its end starts this pipeline
	ReferenceTarget  = "target"  // a request goes to it; it has no namespace
)

// A Reference is a place where a pipeline names a pool, another pipeline or a
// target.
// Whether that is there, a file alone does not tell.
type Reference struct {
	Kind      string
	Namespace string
	Name      string
	Task      *Task // whose field it is; nil: a trigger
	// at is the place of the name, parts those of what is said about it: slots,
	// params.NAME, outputs.NAME, url.
	at    spot
	parts map[string]spot
}

// ToPipeline says whether it names another pipeline.
func (r Reference) ToPipeline() bool { return r.Kind == ReferenceCall || r.Kind == ReferenceTrigger }

func (r Reference) to() string { return r.Namespace + "/" + r.Name }

// place is that of a part, or of the name.
func (r Reference) place(part string) spot {
	if s, ok := r.parts[part]; ok {
		return s
	}
	return r.at
}

// Problem says at the place of a reference what is wrong with it.
func (r Reference) Problem(doc Document, code, message, hint string) Problem {
	return Problem{
		File: doc.File, Line: r.at.line, Col: r.at.col, Len: r.at.len, Severity: SeverityError, Code: code, Message: message, Hint: hint,
	}
}

// Place gives the line and the column of a part, or of the name.
func (r Reference) Place(part string) (line, col int) {
	s := r.place(part)
	return s.line, s.col
}

// references lists what a pipeline names, in the order of the file.
func (d *document) references(p *pipelineDraft) []Reference {
	var list []Reference
	for _, t := range p.triggers {
		if v, ok := t.own["name"]; ok && t.Name != "" {
			list = append(list, Reference{Kind: ReferenceTrigger, Namespace: t.Namespace, Name: t.Name, at: d.at(v.Node)})
		}
	}
	for _, t := range p.allTasks() {
		if t.Pool != nil && t.Pool.Name != "" {
			r := Reference{Kind: ReferencePool, Namespace: t.Pool.Namespace, Name: t.Pool.Name, Task: &t.Task, at: d.keySpot(t.value)}
			v, ok := t.own["pool"]
			if !ok && p.defaults != nil {
				v, ok = p.defaults.own["pool"]
			}
			if ok {
				r.at, r.parts = d.at(v.Node), d.places(v, "")
				if name, ok := r.parts["name"]; ok {
					r.at = name
				}
			}
			list = append(list, r)
		}
		if t.Wait != nil && t.Wait.HTTP != nil && t.Wait.HTTP.Target != "" {
			r := Reference{Kind: ReferenceTarget, Name: t.Wait.HTTP.Target, Task: &t.Task, at: d.keySpot(t.value)}
			if v, ok := t.what["http"]; ok {
				r.parts = d.places(v, "")
				if at, ok := r.parts["target"]; ok {
					r.at = at
				}
			}
			list = append(list, r)
		}
		if t.Sub == nil || t.Sub.Name == "" {
			continue
		}
		r := Reference{Kind: ReferenceCall, Namespace: t.Sub.Namespace, Name: t.Sub.Name, Task: &t.Task, at: d.keySpot(t.value), parts: map[string]spot{}}
		if v, ok := t.what["name"]; ok {
			r.at = d.at(v.Node)
		}
		if v, ok := t.what["params"]; ok {
			r.parts = d.places(v, "params.")
		}
		if v, ok := t.own["outputs"]; ok && v.Kind == yaml.MappingNode {
			for key := range d.quietPairs(v) {
				r.parts["outputs."+key.Value] = d.at(key)
			}
		}
		list = append(list, r)
	}
	return list
}

// places gives the places of the values of a map, by key.
func (d *document) places(v value, prefix string) map[string]spot {
	places := map[string]spot{}
	if v.Kind != yaml.MappingNode {
		return places
	}
	for key, e := range d.quietPairs(v) {
		places[prefix+key.Value] = d.at(e.Node)
		places[prefix+key.Value+" key"] = d.at(key)
	}
	return places
}
