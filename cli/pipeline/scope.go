package pipeline

import (
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// The contexts, and the table of which field may read which of them.
const (
	contextParams = 1 << iota
	contextVars
	contextRun
	contextResult // run.result and run.reason
	contextInterval
	contextNeeds
	contextTasks
	contextItem // matrix, item and index
	contextTask // task and attempt
	contextEnv
	contextSecrets
	contextStatus // success() and the other status functions
	contextEvent
	contextResponse
)

const (
	always    = contextVars | contextRun | contextInterval
	ofTask    = contextNeeds | contextTasks | contextResult // tasks and the result in finally only
	executing = always | contextParams | ofTask | contextItem | contextTask
)

var readable = map[where]int{
	inParamDefault:  always,
	inScheduleParam: always,
	inGroup:         always | contextParams,
	inMatrix:        always | contextParams,
	inEnv:           always | contextParams,
	inTaskEnv:       executing | contextSecrets,
	inTask:          executing | contextEnv,
	inIf:            always | contextParams | ofTask | contextStatus,
	inForEach:       always | contextParams | ofTask,
	inRunOutput:     always | contextParams | contextTasks | contextResult,
	inTrigger:       contextVars | contextInterval | contextEvent,
	inDecision:      always | contextParams | ofTask | contextItem,
	inRequest:       executing | contextEnv,
	inRequestSecret: executing | contextEnv | contextSecrets,
	inResponse:      executing | contextEnv | contextResponse,
}

// scopes makes the scope of each site.
type scopes struct {
	p      *pipelineDraft
	byName map[string]*taskDraft
	skips  map[string]bool // what maySkip has found out

	params, run, runWithResult expr.Type
	tasks                      expr.Type
	needs                      map[*taskDraft]expr.Type
	env                        map[*taskDraft]expr.Type
	made                       map[scopeKey]expr.Scope
}

// A scopeKey is what decides about what an expression may read.
type scopeKey struct {
	where
	task  *taskDraft
	field string
}

func newScopes(p *pipelineDraft) *scopes {
	c := &scopes{
		p: p, byName: map[string]*taskDraft{}, skips: map[string]bool{},
		needs: map[*taskDraft]expr.Type{}, env: map[*taskDraft]expr.Type{},
		made: map[scopeKey]expr.Scope{},
	}
	for _, t := range p.allTasks() {
		if _, ok := c.byName[t.Name]; !ok {
			c.byName[t.Name] = t
		}
	}
	c.params = recordOf(p.Params)
	c.params.Noun, c.params.Constant = "param", true
	if v, ok := p.own["params"]; ok {
		// A param that is declared and broken is not unknown.
		for i := 0; i+1 < len(v.Content); i += 2 {
			if name := v.Content[i].Value; findParam(p.Params, name) == nil {
				c.params.Members[name] = expr.Type{}
			}
		}
	}
	c.run, c.runWithResult = runType(false), runType(true)
	members := map[string]expr.Type{}
	for _, t := range p.tasks {
		members[t.Name] = outcome(t)
	}
	c.tasks = parts("task", members)
	return c
}

func parts(noun string, members map[string]expr.Type) expr.Type {
	t := expr.RecordOf(members)
	t.Noun, t.Parts = noun, true
	return t
}

func runType(result bool) expr.Type {
	text, number, instant := expr.Of(expr.KindString), expr.Of(expr.KindInteger), expr.Of(expr.KindInstant)
	t := expr.RecordOf(map[string]expr.Type{
		"id": number, "number": number, "namespace": text, "pipeline": text, "revision": number,
		"trigger": text, "scheduled_at": instant, "created_at": instant, "url": text,
	})
	if result {
		t.Members["result"], t.Members["reason"] = text, text
		return t
	}
	why := expr.Reason{Message: "run.result and run.reason can be read in finally and outputs only"}
	t.Refused = map[string]expr.Reason{"result": why, "reason": why}
	return t
}

// eventType is what a trigger can read of the run that has ended.
func eventType() expr.Type {
	text, number := expr.Of(expr.KindString), expr.Of(expr.KindInteger)
	run := expr.RecordOf(map[string]expr.Type{
		"id": number, "number": number, "pipeline": text, "result": text, "reason": text,
		"params": expr.DictOf(expr.Type{}), "outputs": expr.DictOf(expr.Type{}),
	})
	event := parts("member", map[string]expr.Type{"run": run})
	why := expr.Reason{Message: "event of triggers.pipelines has run only"}
	event.Refused = map[string]expr.Reason{"body": why, "headers": why, "datasets": why}
	return event
}

// responseType is the answer to a request.
func responseType() expr.Type {
	text := expr.Of(expr.KindString)
	return expr.RecordOf(map[string]expr.Type{
		"status": expr.Of(expr.KindInteger), "headers": expr.DictOf(text), "text": text, "body": expr.Type{}.Maybe(),
	})
}

// outcome is what can be read of a task that has ended.
func outcome(t *taskDraft) expr.Type {
	fans := t.Matrix != nil || t.ForEach != nil
	outputs := make(map[string]expr.Type, len(t.Outputs))
	for _, o := range t.Outputs {
		of := o.Schema.ExprType()
		switch {
		case fans && !o.Required:
			of = expr.ListOf(expr.Type{}) // null where one item did not write it
		case fans:
			of = expr.ListOf(of)
		case !o.Required:
			of = of.Maybe()
		}
		outputs[o.Name] = of
	}
	record := expr.RecordOf(outputs)
	record.Noun = "output"
	text := expr.Of(expr.KindString)
	out := parts("member", map[string]expr.Type{"result": text, "reason": text, "outputs": record})
	if fans {
		number := expr.Of(expr.KindInteger)
		out.Members["counts"] = expr.RecordOf(map[string]expr.Type{"succeeded": number, "failed": number, "canceled": number, "skipped": number})
	} else {
		out.Refused = map[string]expr.Reason{"counts": {Message: "counts are of tasks with matrix or for_each"}}
	}
	return out
}

// of gives the scope of a site.
func (c *scopes) of(s site) expr.Scope {
	key := scopeKey{s.where, s.task, s.field}
	scope, ok := c.made[key]
	if !ok {
		scope = c.scope(s)
		if s.where != inMatrix && s.where != inForEach { // they tell types that others read
			c.made[key] = scope
		}
	}
	scope.Want, scope.AsText = s.want, s.asText
	return scope
}

func (c *scopes) scope(s site) expr.Scope {
	may := readable[s.where]
	scope := expr.Scope{
		Names: map[string]expr.Type{}, Forbidden: map[string]expr.Reason{},
		Status: may&contextStatus != 0, Field: s.field,
	}
	add := func(context int, name string, t expr.Type, why, hint string) {
		if may&context != 0 {
			scope.Names[name] = t
			return
		}
		scope.Forbidden[name] = expr.Reason{Message: name + " cannot be read in " + s.field + why, Hint: hint}
	}
	finally := s.task != nil && s.task.inFinally
	run := c.run
	if may&contextResult != 0 && (finally || s.task == nil) {
		run = c.runWithResult
	}
	vars := expr.DictOf(expr.Of(expr.KindString))
	vars.Noun = "var"
	instant := expr.Of(expr.KindInstant)

	add(contextParams, "params", c.params, "", "")
	add(contextVars, "vars", vars, "", "")
	add(contextRun, "run", run, ": the run does not exist when it is evaluated", "event.run is the one that has ended")
	add(contextInterval, "interval", expr.RecordOf(map[string]expr.Type{"start": instant, "end": instant}), "", "")
	c.addTasks(s, may, finally, add, &scope)
	c.addItems(s, may, &scope)
	text := expr.Of(expr.KindString)
	add(contextTask, "task", expr.RecordOf(map[string]expr.Type{"name": text, "idempotency_key": text}), ": it is known when the task runs", "")
	add(contextTask, "attempt", expr.RecordOf(map[string]expr.Type{"number": expr.Of(expr.KindInteger), "key": text}), ": it is known when the task runs", "")
	add(contextEnv, "env", c.envOf(s.task), "", "")
	secrets := expr.DictOf(text)
	secrets.Constant, secrets.Parts, secrets.Noun = true, true, "secret"
	why := ": it is kept and shown"
	hint := "secrets: {NAME: …} or env"
	switch {
	case s.field == "command":
		why = ": process lists show it"
	case s.where == inEnv:
		why, hint = " of the pipeline", "secrets: {NAME: …} in each task that needs it"
	}
	add(contextSecrets, "secrets", secrets, why, hint)
	forbid := func(name, message, hint string) {
		scope.Forbidden[name] = expr.Reason{Message: message, Hint: hint}
	}
	if may&contextEvent != 0 {
		scope.Names["event"] = eventType()
	} else {
		forbid("event", "event can be read in triggers only", "take it over as a param")
	}
	if may&contextResponse != 0 {
		scope.Names["response"] = responseType()
	} else {
		forbid("response", "response can be read in requests only", "")
	}
	for _, name := range []string{"handle", "handles", "callback"} {
		forbid(name, name+" can be read in requests only", "")
	}
	forbid("with", "with can be read in templates only", "")
	return scope
}

func (c *scopes) addTasks(s site, may int, finally bool, add func(int, string, expr.Type, string, string), scope *expr.Scope) {
	if s.task == nil {
		add(contextNeeds, "needs", expr.Type{}, ": it is of one task", "")
		if s.where == inRunOutput {
			scope.Forbidden["needs"] = expr.Reason{Message: "needs cannot be read in outputs", Hint: "tasks.…"}
		}
	} else {
		add(contextNeeds, "needs", c.needsOf(s.task), ": the tasks before it have not run when it is evaluated", "")
	}
	if may&contextTasks != 0 && (finally || s.task == nil) {
		scope.Names["tasks"] = c.tasks
	} else {
		scope.Forbidden["tasks"] = expr.Reason{Message: "tasks can be read in finally and outputs only", Hint: "needs.…"}
	}
}

// needsOf is what a task can read of those it needs.
func (c *scopes) needsOf(t *taskDraft) expr.Type {
	if known, ok := c.needs[t]; ok {
		return known
	}
	members := map[string]expr.Type{}
	for _, n := range t.Needs {
		if need := c.byName[n]; need != nil {
			members[n] = outcome(need)
		}
	}
	needs := parts("task", members)
	needs.Refused = map[string]expr.Reason{}
	siblings := c.p.tasks
	if t.inFinally {
		siblings = c.p.finally
	}
	for _, other := range siblings {
		if !slices.Contains(t.Needs, other.Name) && other != t {
			needs.Refused[other.Name] = expr.Reason{
				Code: expr.CodeUnknown, Message: "read needs" + step(other.Name) + ": add " + other.Name + " to needs",
			}
		}
	}
	c.needs[t] = needs
	return needs
}

// addItems adds what tells the items of a fan-out apart.
func (c *scopes) addItems(s site, may int, scope *expr.Scope) {
	set := func(name string, ok bool, t expr.Type, of string) {
		switch {
		case may&contextItem == 0 && s.task != nil && ok:
			scope.Forbidden[name] = expr.Reason{Message: name + " cannot be read in " + s.field + ": it is evaluated once, before the items are made"}
		case may&contextItem == 0:
			scope.Forbidden[name] = expr.Reason{Message: name + " cannot be read in " + s.field}
		case !ok:
			scope.Forbidden[name] = expr.Reason{Message: name + " can be read in tasks with " + of + " only"}
		default:
			scope.Names[name] = t
		}
	}
	matrix, item := expr.RecordOf(map[string]expr.Type{}), expr.Type{}
	var hasMatrix, hasItem bool
	if t := s.task; t != nil {
		hasMatrix = len(t.axes) > 0
		_, hasItem = t.own["for_each"]
		if hasMatrix {
			matrix = expr.RecordOf(t.axes)
			matrix.Noun = "axis"
		}
		if t.item != nil {
			item = *t.item
		}
	}
	set("matrix", hasMatrix, matrix, "matrix")
	set("item", hasItem, item, "for_each")
	set("index", hasItem, expr.Of(expr.KindInteger), "for_each")
}

// envOf is the environment that the fields of a task can read.
func (c *scopes) envOf(t *taskDraft) expr.Type {
	if known, ok := c.env[t]; ok {
		return known
	}
	env := expr.RecordOf(map[string]expr.Type{})
	env.Noun, env.Refused = "variable", map[string]expr.Reason{}
	for _, v := range c.p.Env {
		env.Members[v.Name] = expr.Of(expr.KindString)
	}
	if t != nil {
		for _, v := range t.Env {
			env.Members[v.Name] = expr.Of(expr.KindString)
		}
		for name := range t.Secrets {
			delete(env.Members, name)
			env.Refused[name] = expr.Reason{Message: "env." + name + " holds a secret and cannot be read here", Hint: `"$` + name + `" in run`}
		}
	}
	c.env[t] = env
	return env
}
