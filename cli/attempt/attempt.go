// Package attempt says what one attempt of a task is given: argv, environment,
// directory and limits, whatever is going to run it.
//
// A task's fields are compiled once per revision into a Plan, and a Plan is
// rendered for each attempt. Rendering is pure but for the secrets, which the
// caller resolves at that moment and no earlier.
package attempt

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// Context is what an attempt is rendered from.
type Context struct {
	Run  flow.Run        // facts of the run; its counters are not read
	Item json.RawMessage // of an item of a fan-out, else nil
	// Index is that of the item; -1 where there is none.
	Index   int
	Attempt int    // 1, 2, 3 …
	Key     string // SYN_IDEMPOTENCY_KEY
	Dir     string // SYN_DIR, absolute
	Output  string // SYN_OUTPUT; "" is Dir/out
	Summary string // SYN_SUMMARY; "" is Dir/summary
	Path    string // PATH, as the operator set it for tasks

	// Tasks are the earlier tasks that Plan.Reads names, by ordinal.
	Tasks map[int]Earlier
	// Result and Reason are how the run stands; in finally only. See
	// flow.Run.Standing.
	Result flow.State
	Reason string
	// Secret resolves a secret by its name. An error makes the attempt fail,
	// reason secret; its text is shown, so it must not hold the value.
	Secret func(name string) (string, error)
}

// Earlier is a task that ended before the one being rendered began.
type Earlier struct {
	State    flow.State
	Reason   string
	Fan      *flow.Fan      // of a fan-out
	Outputs  map[string]any // as flow.Input has them
	TooLarge bool           // they are more than may be read: not loaded
}

// Rendered is what an attempt is given.
type Rendered struct {
	Argv           []string
	Env            []string // the whole environment, each name once
	Dir            string
	Timeout, Grace time.Duration
	Secrets        []string // values to be masked wherever they show up
	LogLimit       int64
}

// Error is why an attempt cannot be rendered. The attempt fails for its Reason
// and is not retried.
type Error struct {
	Reason string // expression, secret, outputs_too_large
	Field  string // env.NAME, command[2], working_dir, secrets.NAME
	Err    error
}

// Error says which field, and what is wrong with it.
func (e *Error) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap gives what was wrong.
func (e *Error) Unwrap() error { return e.Err }

// ReasonSecret is a reason of an Error: a secret is not set, or cannot be read.
const ReasonSecret = "secret"

// Reads says what of other rows a Plan reads. Most plans read nothing.
type Reads struct {
	Tasks   []int // ordinals of tasks of which the own row is read
	Outputs []int // … of which the outputs are; each is in Tasks too
	Result  bool  // how the run stands
}

// None says that nothing but the attempt's own facts is read.
func (r Reads) None() bool { return len(r.Tasks) == 0 && !r.Result }

// A Plan is a task's fields, compiled. It never changes, and any number of
// goroutines may use it at once.
type Plan struct {
	g       *flow.Graph
	task    *pipeline.Task
	ordinal int
	finally bool
	matrix  bool
	top     []field // env of the pipeline
	env     []field // env of the task
	command []field
	dir     *field
	reads   Reads
	names   map[string]bool // contexts that are read
	secrets []string
}

// A field is one text with its expressions.
type field struct {
	name     string
	template *expr.Template
	secrets  []string // secrets it reads
}

// Compile prepares a task of a graph.
func Compile(g *flow.Graph, ordinal int) (*Plan, error) {
	t := g.Task(ordinal)
	if t == nil {
		return nil, fmt.Errorf("no task has the ordinal %d", ordinal)
	}
	tasks, _ := g.Size()
	p := &Plan{g: g, task: t, ordinal: ordinal, finally: ordinal >= tasks, matrix: len(t.Matrix) > 0, names: map[string]bool{}}
	var err error
	add := func(list *[]field, name, text string) {
		if err != nil {
			return
		}
		var f field
		if f, err = p.compile(name, text); err == nil {
			*list = append(*list, f)
		}
	}
	for _, v := range g.Pipeline().Env {
		add(&p.top, v.Name, string(v.Value))
	}
	for _, v := range t.Env {
		add(&p.env, v.Name, string(v.Value))
	}
	for i, text := range t.Command {
		add(&p.command, fmt.Sprintf("command[%d]", i), string(text))
	}
	if t.WorkingDir != "" {
		var dir []field
		if add(&dir, "working_dir", string(t.WorkingDir)); err == nil {
			p.dir = &dir[0]
		}
	}
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", t.Name, err)
	}
	p.secrets = slices.Collect(maps.Values(t.Secrets))
	for _, list := range [][]field{p.top, p.env, p.command} {
		for _, f := range list {
			p.secrets = append(p.secrets, f.secrets...)
		}
	}
	slices.Sort(p.secrets)
	p.secrets = slices.Compact(p.secrets)
	return p, nil
}

// scope reads everything: the file has been checked.
var scope = expr.Scope{AsText: true, Names: map[string]expr.Type{
	"params": {}, "vars": {}, "run": {}, "interval": {}, "needs": {}, "tasks": {}, "matrix": {}, "item": {}, "index": {},
	"task": {}, "attempt": {}, "env": {}, "secrets": {},
}}

func (p *Plan) compile(name, text string) (field, error) {
	t, err := expr.CompileTemplate(text, scope)
	if err != nil {
		return field{}, fmt.Errorf("%s: %w", name, err)
	}
	f := field{name: name, template: t}
	for _, r := range t.Refs() {
		p.names[r.Path[0]] = true
		p.note(&f, r.Path)
	}
	return f, nil
}

// note keeps what a path reads of others.
func (p *Plan) note(f *field, path []string) {
	if len(path) < 2 {
		return
	}
	switch path[0] {
	case "secrets":
		f.secrets = append(f.secrets, path[1])
	case "run":
		p.reads.Result = p.reads.Result || path[1] == "result" || path[1] == "reason"
	case "needs", "tasks":
		o, ok := p.g.Ordinal(path[1])
		if !ok {
			return
		}
		p.reads.Tasks = insert(p.reads.Tasks, o)
		if len(path) == 2 || path[2] == "outputs" {
			p.reads.Outputs = insert(p.reads.Outputs, o)
		}
	}
}

// Reads tells which rows have to be loaded before Render.
func (p *Plan) Reads() Reads { return p.reads }

// Secrets are the names of the secrets that Render asks for, in order, each once.
func (p *Plan) Secrets() []string { return p.secrets }

// Task is the task that was compiled.
func (p *Plan) Task() *pipeline.Task { return p.task }
