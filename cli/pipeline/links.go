package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// A Link says that a run of one pipeline starts a run of another: by a pipeline
// task, or by its end. Pipelines are written namespace/name.
type Link struct {
	From, To string
	Call     bool // by a pipeline task
}

// Registered is what a server has beside the documents of a source, as far as
// they name it.
type Registered struct {
	// Pipelines are those that documents name, by namespace/name.
	Pipelines map[string]*Pipeline
	// Pools are the slots of pools, by namespace/name.
	Pools map[string]int
	// Links are those of pipelines that are not among the documents.
	Links []Link
	// PipelineNames are more names that are there, for suggestions.
	PipelineNames []string
}

// CheckReferences says which references of documents lead nowhere, do not fit,
// or make pipelines start each other for ever.
func CheckReferences(docs []Document, beside Registered) []Problem {
	c := newLinker(docs, beside)
	for _, doc := range docs {
		for _, r := range doc.References {
			switch r.Kind {
			case ReferencePool:
				c.pool(doc, r)
			case ReferenceCall, ReferenceTrigger:
				c.named(doc, r)
			}
		}
	}
	c.calls()
	if !c.cycles("SYN1706") {
		c.nesting()
	}
	return c.problems
}

// checkLinks checks what the documents of a source tell of each other by
// themselves.
func checkLinks(docs []Document) []Problem {
	c := newLinker(docs, Registered{})
	c.groups()
	c.calls()
	if !c.cycles("SYN1212") {
		c.nesting()
	}
	return c.problems
}

// A linker looks up what documents name.
type linker struct {
	docs      []Document
	pipelines map[string]*Pipeline
	pools     map[string]int
	names     []string // of pipelines
	problems  []Problem

	// The graph: what starts what. Edges of documents come first, in their order.
	nodes map[string]int
	label []string
	edges []edge
}

// An edge is a link, with the reference it comes from if that is of a document.
type edge struct {
	from, to int
	call     bool
	doc      *Document
	ref      Reference
}

func newLinker(docs []Document, beside Registered) *linker {
	c := &linker{docs: docs, pipelines: map[string]*Pipeline{}, pools: map[string]int{}, nodes: map[string]int{}, names: slices.Clone(beside.PipelineNames)}
	for name, p := range beside.Pipelines {
		c.pipelines[name] = p
	}
	for name, slots := range beside.Pools {
		c.pools[name] = slots
	}
	for i := range docs {
		doc := &docs[i]
		switch {
		case doc.Pipeline != nil:
			c.pipelines[doc.ref()] = doc.Pipeline
		case doc.Pool != nil:
			c.pools[doc.ref()] = doc.Pool.Slots
		}
		for _, r := range doc.References {
			switch r.Kind {
			case ReferenceCall:
				c.edges = append(c.edges, edge{from: c.node(doc.ref()), to: c.node(r.to()), call: true, doc: doc, ref: r})
			case ReferenceTrigger:
				c.edges = append(c.edges, edge{from: c.node(r.to()), to: c.node(doc.ref()), doc: doc, ref: r})
			}
		}
	}
	for _, l := range beside.Links {
		c.edges = append(c.edges, edge{from: c.node(l.From), to: c.node(l.To), call: l.Call})
	}
	for name := range c.pipelines {
		c.names = append(c.names, name)
	}
	slices.Sort(c.names)
	return c
}

func (doc *Document) ref() string { return doc.Namespace + "/" + doc.Name }

func (c *linker) node(name string) int {
	i, ok := c.nodes[name]
	if !ok {
		i = len(c.label)
		c.nodes[name] = i
		c.label = append(c.label, name)
	}
	return i
}

func (c *linker) fail(doc Document, at spot, code, message, hint string) {
	c.problems = append(c.problems, Problem{
		File: doc.File, Line: at.line, Col: at.col, Len: at.len, Severity: SeverityError, Code: code, Message: message, Hint: hint,
	})
}

// groups warns of pipelines that share a concurrency group and do not agree how
// many of its runs there may be at once.
func (c *linker) groups() {
	first := map[string]*Document{}
	for i := range c.docs {
		doc := &c.docs[i]
		if doc.group.line == 0 {
			continue
		}
		group := string(doc.Pipeline.Concurrency.Group)
		other := first[doc.Namespace+"/"+group]
		if other == nil {
			first[doc.Namespace+"/"+group] = doc
			continue
		}
		if mine, its := doc.Pipeline.Concurrency.Limit, other.Pipeline.Concurrency.Limit; mine != its {
			c.problems = append(c.problems, Problem{
				File: doc.File, Line: doc.group.line, Col: doc.group.col, Len: doc.group.len, Severity: SeverityWarning, Code: "SYN1213",
				Message: fmt.Sprintf("group %s has limit %d here and %d in %s", show(group), mine, its, other.ref()),
				Hint:    "each run is judged by the limit of its own pipeline; write the same one in both",
			})
		}
	}
}

// pool looks a pool up.
func (c *linker) pool(doc Document, r Reference) {
	slots, ok := c.pools[r.to()]
	switch {
	case !ok:
		hint := didYouMean(r.Name, within(r.Namespace, sortedKeys(c.pools)))
		if hint == "" {
			hint = "register it: kind: pool"
		}
		c.fail(doc, r.at, "SYN1701", fmt.Sprintf("task %s of %s asks for pool %s, which does not exist", r.Task.Name, doc.ref(), r.to()), hint)
	case r.Task.Pool.Slots > slots:
		c.fail(doc, r.place("slots"), "SYN1701", fmt.Sprintf("task %s of %s asks for %s of pool %s, which has %s", r.Task.Name, doc.ref(),
			count(r.Task.Pool.Slots, "slot"), r.to(), grouped(slots)), "")
	}
}

// named looks up a pipeline that is called, or whose end is waited for.
func (c *linker) named(doc Document, r Reference) {
	if _, found := slices.BinarySearch(c.names, r.to()); found {
		return
	}
	hint := didYouMean(r.Name, within(r.Namespace, c.names))
	if hint == "" {
		hint = "register it before, or in the same call"
	}
	if r.Kind == ReferenceCall {
		c.fail(doc, r.at, "SYN1701", fmt.Sprintf("task %s of %s runs pipeline %s, which does not exist", r.Task.Name, doc.ref(), r.to()), hint)
		return
	}
	c.fail(doc, r.at, "SYN1701", fmt.Sprintf("a trigger of %s waits for pipeline %s, which does not exist", doc.ref(), r.to()), hint)
}

// within gives the names of a namespace, without it.
func within(namespace string, names []string) []string {
	var list []string
	for _, n := range names {
		if ns, name, _ := strings.Cut(n, "/"); ns == namespace {
			list = append(list, name)
		}
	}
	return list
}

// calls checks what pipeline tasks give and take.
func (c *linker) calls() {
	for _, doc := range c.docs {
		for _, r := range doc.References {
			if child := c.pipelines[r.to()]; r.Kind == ReferenceCall && child != nil {
				c.call(doc, r, child)
			}
		}
	}
}

func (c *linker) call(doc Document, r Reference, child *Pipeline) {
	params := paramNames(child.Params)
	for _, name := range sortedKeys(r.Task.Sub.Params) {
		v := r.Task.Sub.Params[name]
		param := findParam(child.Params, name)
		if param == nil {
			c.fail(doc, r.place("params."+name+" key"), "SYN1705", fmt.Sprintf("pipeline %s has no param %s", r.to(), show(name)), didYouMean(name, params))
			continue
		}
		if hasTemplate(v) {
			continue
		}
		if _, err := param.Schema.Check(unescaped(param.Schema.written(v))); err != nil {
			c.fail(doc, r.place("params."+name), "SYN1705", fmt.Sprintf("param %s of pipeline %s: %s", name, r.to(), err), "")
		}
	}
	for _, param := range child.Params {
		if _, ok := r.Task.Sub.Params[param.Name]; param.Schema.Required && !ok {
			c.fail(doc, r.at, "SYN1705", fmt.Sprintf("pipeline %s wants param %s, which has no default", r.to(), param.Name), "params: {"+param.Name+": …}")
		}
	}
	var outputs []string
	for _, o := range child.Outputs {
		outputs = append(outputs, o.Name)
	}
	for _, own := range r.Task.Outputs {
		i := slices.Index(outputs, own.Name)
		at := r.place("outputs." + own.Name)
		if i < 0 {
			hint := didYouMean(own.Name, outputs)
			if hint == "" {
				hint = "outputs: in that pipeline"
			}
			c.fail(doc, at, "SYN1705", fmt.Sprintf("pipeline %s has no output %s", r.to(), show(own.Name)), hint)
			continue
		}
		if s := child.Outputs[i].Schema; s != nil && s.Type != own.Schema.Type && !(s.Type == "integer" && own.Schema.Type == "number") {
			c.fail(doc, at, "SYN1705", fmt.Sprintf("output %s of pipeline %s is %s, not %s", own.Name, r.to(), article(s.Type), article(own.Schema.Type)), "")
		}
	}
}

// CheckCaller says what a task of a pipeline that is registered gives to child, or
// reads from it, and does not fit. The problems have no place: the text of that
// pipeline is not at hand.
func CheckCaller(t *Task, child *Pipeline) []Problem {
	if t.Sub == nil || t.Sub.Namespace != child.Namespace || t.Sub.Name != child.Name {
		return nil
	}
	c := &linker{}
	c.call(Document{}, Reference{Kind: ReferenceCall, Namespace: child.Namespace, Name: child.Name, Task: t}, child)
	return c.problems
}

// hasTemplate says whether a value holds an expression.
func hasTemplate(v any) bool {
	switch x := v.(type) {
	case string:
		return expr.Contains(x)
	case []any:
		return slices.ContainsFunc(x, hasTemplate)
	case map[string]any:
		for _, e := range x {
			if hasTemplate(e) {
				return true
			}
		}
	}
	return false
}

// cycles reports pipelines that would start each other for ever, each circle at
// the first reference of a document that is a part of it.
func (c *linker) cycles(code string) (found bool) {
	next := make([][]int, len(c.label))
	for _, e := range c.edges {
		if !slices.Contains(next[e.from], e.to) {
			next[e.from] = append(next[e.from], e.to)
		}
	}
	in := make([]int, len(c.label))
	for i, component := range components(next) {
		for _, v := range component {
			in[v] = i
		}
	}
	told := map[int]bool{}
	for _, e := range c.edges {
		if e.doc == nil || in[e.from] != in[e.to] || told[in[e.from]] {
			continue
		}
		told[in[e.from]] = true
		way := wayBetween(next, e.to, e.from)
		names := make([]string, 0, len(way)+1)
		for _, v := range append([]int{e.from}, way...) {
			names = append(names, c.label[v])
		}
		message := strings.Join(c.short(names), " → ") + ": pipelines would start each other for ever"
		if e.from == e.to {
			message = c.short(names)[0] + " would start itself for ever"
		}
		c.fail(*e.doc, e.ref.at, code, message, "")
	}
	return len(told) > 0
}

// wayBetween gives the nodes of a shortest way, both ends included.
func wayBetween(next [][]int, from, to int) []int {
	before := map[int]int{from: from}
	queue := []int{from}
	for len(queue) > 0 && queue[0] != to {
		v := queue[0]
		queue = queue[1:]
		for _, w := range next[v] {
			if _, seen := before[w]; !seen {
				before[w] = v
				queue = append(queue, w)
			}
		}
	}
	way := []int{to}
	for v := to; v != from; {
		v = before[v]
		way = append(way, v)
	}
	slices.Reverse(way)
	return way
}

// short leaves the namespace out where all have the same, and the middle of a
// long way.
func (c *linker) short(names []string) []string {
	first, _, _ := strings.Cut(names[0], "/")
	same := !slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, first+"/") })
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n
		if same {
			_, out[i], _ = strings.Cut(n, "/")
		}
	}
	if len(out) > 12 {
		out = append(append(out[:6:6], fmt.Sprintf("… (%d more)", len(out)-11)), out[len(out)-5:]...)
	}
	return out
}

// nesting reports chains of pipeline tasks that are too long, each at the first
// reference of a document in it.
func (c *linker) nesting() {
	down, up := make([][]int, len(c.label)), make([][]int, len(c.label))
	for _, e := range c.edges {
		if e.call && e.from != e.to {
			down[e.from], up[e.to] = append(down[e.from], e.to), append(up[e.to], e.from)
		}
	}
	below, above := longest(down), longest(up)
	told := map[int]bool{} // nodes of chains that were told
	for _, e := range c.edges {
		if e.doc == nil || !e.call || told[e.from] && told[e.to] {
			continue
		}
		levels := above.length[e.from] + 1 + below.length[e.to]
		if levels <= MaxNesting {
			continue
		}
		chain := above.way(e.from)
		slices.Reverse(chain)
		chain = append(chain, below.way(e.to)...)
		names := make([]string, len(chain))
		for i, v := range chain {
			names[i] = c.label[v]
			told[v] = true
		}
		c.fail(*e.doc, e.ref.at, "SYN1706", fmt.Sprintf("%s: %d levels of runs below the first, %d at most", strings.Join(c.short(names), " → "), levels, MaxNesting), "")
	}
}

// lengths are the longest ways from each node of a graph.
type lengths struct {
	length, next []int
}

// longest finds the longest way from each node. Ways into a circle count as far
// as it.
func longest(edges [][]int) lengths {
	l := lengths{length: make([]int, len(edges)), next: make([]int, len(edges))}
	const busy, done = 1, 2
	state := make([]int, len(edges))
	var visit func(int)
	visit = func(v int) {
		state[v] = busy
		l.next[v] = -1
		for _, w := range edges[v] {
			if state[w] == 0 {
				visit(w)
			}
			if state[w] == done && l.length[w]+1 > l.length[v] {
				l.length[v], l.next[v] = l.length[w]+1, w
			}
		}
		state[v] = done
	}
	for v := range edges {
		if state[v] == 0 {
			visit(v)
		}
	}
	return l
}

// way gives the nodes of the longest way from one.
func (l lengths) way(v int) []int {
	way := []int{v}
	for l.next[v] >= 0 {
		v = l.next[v]
		way = append(way, v)
	}
	return way
}
