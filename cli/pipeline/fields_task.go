package pipeline

import (
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// A taskDraft is a task while it is read.
type taskDraft struct {
	Task
	value
	own       entries
	what      entries // the fields under the key that says what it does
	inFinally bool
	exits     exitDraft
	sites     []site // of defaults: those that tasks inherit
	item      *expr.Type
	axes      map[string]expr.Type
}

// exitDraft remembers which lists were written: a code in one of them leaves
// the defaults of the others.
type exitDraft struct {
	ExitCodes
	own entries
}

// newTaskDraft is a task that says nothing.
func newTaskDraft() *taskDraft {
	return &taskDraft{Task: Task{
		FailFast: true,
		Retry: Retry{
			Delay: Duration(10 * time.Second), Backoff: 2, MaxDelay: Duration(10 * time.Minute),
			Jitter: 0.2, When: []string{"exit", "oom", "timed_out"},
		},
		Lost:        3,
		CancelGrace: Duration(10 * time.Second),
		LogLimit:    16 << 20,
	}}
}

// collectTasks notes the tasks of a map; they are read when defaults are known.
func (d *document) collectTasks(v value, in string) []*taskDraft {
	if !d.isMap(v) {
		return nil
	}
	if len(v.Content) == 0 && in == "tasks" {
		d.failf(d.keySpot(v), "SYN1406", "a pipeline needs at least one task")
	}
	var tasks []*taskDraft
	for key, e := range d.pairs(v) {
		if len(tasks) == d.p.limits.Tasks {
			d.failf(d.keySpot(v), "SYN1003", "%s has %s tasks, %s at most", in, grouped(len(v.Content)/2), grouped(d.p.limits.Tasks))
			return nil
		}
		if d.named(d.at(key), "task", key.Value, nameRE, nameRule) {
			e.name = "task " + key.Value
			tasks = append(tasks, &taskDraft{value: e, inFinally: in == "finally", Task: Task{Name: key.Value}})
		}
	}
	return tasks
}

// readTask reads one task over the defaults.
func (d *document) readTask(t *taskDraft, defaults *taskDraft) {
	base := *newTaskDraft()
	if defaults != nil {
		base = *defaults
	}
	base.value, base.inFinally, base.Name, base.sites = t.value, t.inFinally, t.Name, nil
	base.Retry.When = slices.Clone(base.Retry.When)
	base.own = nil
	*t = base
	d.task = t
	t.own, _ = d.p.tables.task.read(d, t.value, t.value.name, t)
	d.task = nil
	if t.own != nil {
		d.finishTask(t)
	}
	if defaults == nil || t.Kind.Awaits() {
		return
	}
	for _, s := range defaults.sites {
		if _, own := t.own[s.field]; !own {
			s.task = t
			d.sites = append(d.sites, s)
		}
	}
}

func (d *document) finishTask(t *taskDraft) {
	d.whatOf(t)
	if t.Kind != "" {
		d.fits(t)
	}
	if t.Kind.Awaits() {
		d.fan(t)
		if t.Kind == KindPipeline {
			d.retries(t)
		}
		d.finishAwaiting(t)
		return
	}
	if t.Timeout == 0 {
		t.Timeout = Duration(day)
		if t.inFinally {
			t.Timeout = Duration(time.Hour)
		}
	}
	if t.Kind == KindRun && t.Shell == nil {
		t.Shell = shells["sh"]
	}
	if t.Kind == KindCommand {
		t.Shell = nil
		d.scriptInCommand(t)
	}
	d.fan(t)
	d.retries(t)
	d.exitCodes(t)
	d.bothEnvAndSecret(t)
}

// fan checks what makes items of a task.
func (d *document) fan(t *taskDraft) {
	if v, ok := t.own["matrix"]; ok && d.has(t.value, "for_each") {
		s := d.at(t.own["for_each"].key)
		if first := d.at(v.key); first.line > s.line || first.line == s.line && first.col > s.col {
			s = first
		}
		d.failf(s, "SYN1407", "matrix and for_each in one task")
	}
	fans := t.Matrix != nil || t.ForEach != nil
	for _, key := range []string{"max_parallel", "fail_fast"} {
		if v, ok := t.own[key]; ok && t.Kind != KindApproval && !d.has(t.value, "matrix") && !d.has(t.value, "for_each") {
			d.failf(d.at(v.key), "SYN1403", "%s is for tasks with matrix or for_each", key)
		}
	}
	t.FailFast = t.FailFast && fans
}

// whatOf finds out what the task does.
func (d *document) whatOf(t *taskDraft) {
	var found []value
	for key, v := range d.quietPairs(t.value) {
		if slices.Contains(whats, key.Value) && !slices.ContainsFunc(found, func(f value) bool { return f.key.Value == key.Value }) {
			found = append(found, v)
		}
	}
	switch {
	case len(found) == 0 && d.has(t.value, "uses"):
	case len(found) == 0:
		hint := ""
		if d.has(t.value, "container") || d.has(t.value, "kubernetes") {
			hint = "a place alone is not enough until its feature is built"
		}
		d.fail(d.keySpot(t.value), "SYN1401", "task "+t.Name+" needs one of "+joinWith(whats, ", "), hint)
	case len(found) > 1:
		last := found[len(found)-1]
		d.failf(d.at(last.key), "SYN1401", "task %s has %s and %s", t.Name, found[0].key.Value, last.key.Value)
	case found[0].key.Value == "run":
		t.Kind = KindRun
	case found[0].key.Value == "command":
		t.Kind = KindCommand
	case found[0].key.Value == "pipeline":
		t.Kind = KindPipeline
	case found[0].key.Value == "wait":
		t.Kind = KindWait
	case found[0].key.Value == "approval":
		t.Kind = KindApproval
	}
}

// whats are the keys that say what a task does.
var whats = []string{"run", "command", "http", "remote", "pipeline", "wait", "approval"}

// shells are the argv that a script is appended to.
var shells = map[string][]string{
	"sh":   {"sh", "-e", "-c"},
	"bash": {"bash", "-eo", "pipefail", "-c"},
}

// shared are the fields that may stand in a task and in defaults.
func shared(ts *tables) []field[taskDraft] {
	return []field[taskDraft]{
		{
			key: "shell", doc: "sh, bash, or an argv that the text of run is appended to.",
			read: func(d *document, t *taskDraft, v value) { d.readShell(t, v) },
			schema: func() jsonSchema {
				return jsonSchema{"anyOf": []any{jsonSchema{"enum": []any{"sh", "bash"}}, jsonSchema{"type": "array", "items": anyText(), "minItems": 1}}}
			},
		},
		is("working_dir", exprText(inTask, "working_dir", 4<<10), func(t *taskDraft) *Expr { return &t.WorkingDir }, "Absolute, or below $SYN_DIR, which is the default."),
		is("runs_on", labelsOf(), func(t *taskDraft) *[]string { return &t.RunsOn }, "Labels, all of which the executor must have."),
		is("retry", retryOf(ts), func(t *taskDraft) *Retry { return &t.Retry }, "Extra attempts after failures of its own. Default 0."),
		is("lost", lostOf(ts), func(t *taskDraft) *Task { return &t.Task }, "Extra attempts after an executor was lost. Default 3."),
		{
			key: "exit_codes", doc: "What exit codes mean.",
			read: func(d *document, t *taskDraft, v value) {
				own, _ := d.p.tables.exitCodes.read(d, v, "exit_codes", &t.exits)
				merged := entries{}
				for k, e := range t.exits.own {
					merged[k] = e
				}
				for k, e := range own {
					merged[k] = e
				}
				t.exits.own = merged
			},
			schema: func() jsonSchema { return ts.exitCodes.schema() },
		},
		is("timeout", lengthOf(time.Second, 30*day), func(t *taskDraft) *Duration { return &t.Timeout }, "Of one attempt. Default 24h, 1h in finally; none for wait, approval and pipeline."),
		is("queue_timeout", lengthOf(time.Second, 30*day), func(t *taskDraft) *Duration { return &t.QueueTimeout }, "How long the task may wait to start."),
		is("cancel_grace", lengthOf(0, time.Hour), func(t *taskDraft) *Duration { return &t.CancelGrace }, "Between TERM and KILL. Default 10s."),
		is("pool", poolOf(ts), func(t *taskDraft) **PoolUse { return &t.Pool }, "A pool whose slots the task holds."),
		is("priority", integer(-100, 100), func(t *taskDraft) *int { return &t.Priority }, "Higher first. Default 0."),
		is("log_limit", sizeOf(64<<10, 1<<30), func(t *taskDraft) *int64 { return &t.LogLimit }, "Stored output of an attempt. Default 16MiB."),
		later[taskDraft]("EXE2", "container", "target", "image", "args", "pull", "resources", "network", "user", "volumes", "start_timeout"),
		later[taskDraft]("EXE2", "kubernetes", "target", "namespace", "image", "args", "start_timeout", "resources", "secret_env", "pod"),
		later[taskDraft]("EXE2", "ssh", "target"),
		later[taskDraft]("EXE4", "submit_timeout"),
	}
}

func taskFields(ts *tables) object[taskDraft] {
	request := []string{"target", "method", "url", "headers", "body"}
	fields := []field[taskDraft]{
		is("description", textOf(maxDescription, true), func(t *taskDraft) *string { return &t.Description }, "Markdown, shown without HTML."),
		is("needs", oneOrMore(needName(), MaxNeeds), func(t *taskDraft) *[]string { return &t.Needs }, "Tasks that must have ended before."),
		is("if", condition(inIf, "if"), func(t *taskDraft) *Condition { return &t.If }, "Whether the task runs. Default success()."),
		{
			key: "matrix", doc: "One item for each combination of the axes.",
			read: func(d *document, t *taskDraft, v value) { d.readMatrix(t, v) },
			schema: func() jsonSchema {
				return mapSchema(memberPattern, jsonSchema{"anyOf": []any{anyText(), jsonSchema{"type": "array", "minItems": 1}}}, MaxAxes)
			},
		},
		{
			key: "for_each", doc: "One item for each element of a list.",
			read: func(d *document, t *taskDraft, v value) {
				var items Items
				if d.readItems(v, inForEach, "for_each", &items, func(of expr.Type) { t.item = of.Elem }) {
					t.ForEach = &items
					if items.Expr == "" {
						t.item = elementType(items.List)
					}
				}
			},
			schema: func() jsonSchema { return jsonSchema{"anyOf": []any{anyText(), jsonSchema{"type": "array"}}} },
		},
		is("max_parallel", integer(1, 10_000), func(t *taskDraft) *int { return &t.MaxParallel }, "Items at once."),
		is("fail_fast", boolean(), func(t *taskDraft) *bool { return &t.FailFast }, "The first item that fails cancels the others. Default true."),
		{
			key: "run", doc: "A script, given unchanged to the shell.",
			read:   func(d *document, t *taskDraft, v value) { d.readRun(t, v) },
			schema: func() jsonSchema { return anyText() },
		},
		{
			key: "command", doc: "A program and its arguments.",
			read: func(d *document, t *taskDraft, v value) { d.readCommand(t, v) },
			schema: func() jsonSchema {
				return jsonSchema{"type": "array", "items": anyText(), "minItems": 1, "maxItems": maxArguments}
			},
		},
		is("env", envMap(inTaskEnv), func(t *taskDraft) *[]Var { return &t.Env }, "Environment of the task."),
		{
			key: "secrets", doc: "Environment variables that are filled with secrets.",
			read: func(d *document, t *taskDraft, v value) { d.readSecrets(t, v) },
			schema: func() jsonSchema {
				return mapSchema(variablePattern, jsonSchema{"type": "string", "pattern": variablePattern}, MaxVariables)
			},
		},
		{
			key: "outputs", doc: "Values that the task writes to $SYN_OUTPUT.",
			read:   func(d *document, t *taskDraft, v value) { d.readOutputs(t, v) },
			schema: func() jsonSchema { return mapSchema(memberPattern, ref("output"), MaxOutputs) },
		},
	}
	fields = append(fields, shared(ts)...)
	fields = append(fields,
		later[taskDraft]("EXE3", "http", append(request, "success")...),
		later[taskDraft]("EXE4", "remote", "target", "submit", "find", "poll", "cancel", "callback"),
		field[taskDraft]{
			key: "pipeline", doc: "Runs another pipeline.",
			read:   func(d *document, t *taskDraft, v value) { d.readSub(t, v) },
			schema: func() jsonSchema { return ts.sub.schema() },
		},
		field[taskDraft]{
			key: "wait", doc: "Waits for a time or a condition.",
			read:   func(d *document, t *taskDraft, v value) { d.readWait(t, v) },
			schema: func() jsonSchema { return ts.wait.schema() },
		},
		field[taskDraft]{
			key: "approval", doc: "Waits for a person to say yes or no.",
			read:   func(d *document, t *taskDraft, v value) { d.readApproval(t, v) },
			schema: func() jsonSchema { return ts.approval.schema() },
		},
		later[taskDraft]("TRG21", "produces"),
		later[taskDraft]("DEF5", "uses"),
		later[taskDraft]("DEF5", "with"),
	)
	for _, word := range []string{"repeat", "group", "resources", "source", "outputs_from"} {
		fields = append(fields, reserved[taskDraft](word))
	}
	return object[taskDraft]{what: "task", fields: fields, foreign: foreignTask}
}

func defaultsFields(ts *tables) object[taskDraft] {
	return object[taskDraft]{what: "defaults", fields: shared(ts), foreign: map[string]string{
		"env": "env: at the top level", "secrets": "secrets: in each task that needs them",
	}}
}

// needName is a task's name in needs; whether it exists is a question for later.
func needName() kind[string] {
	return kind[string]{
		read: func(d *document, v value, to *string) bool {
			text, ok := d.scalar(v, "the name of a task")
			if !ok || !d.fixed(v, text) {
				return false
			}
			if text == "" {
				d.failf(d.at(v.Node), "SYN1404", "%s is empty", v.name)
				return false
			}
			*to = text
			return true
		},
		schema: func() jsonSchema { return nameSchema(namePattern) },
	}
}

// labelsOf is a sorted set of executor labels.
func labelsOf() kind[[]string] {
	list := oneOrMore(aName(), 50)
	return kind[[]string]{
		read: func(d *document, v value, to *[]string) bool {
			if !list.read(d, v, to) {
				return false
			}
			slices.Sort(*to)
			*to = slices.Compact(*to)
			return true
		},
		schema: list.schema,
	}
}
