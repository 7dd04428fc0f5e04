package attempt

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// Limits of what a process can be given. The kernel takes no string of 128 KiB
// or more, its end included.
const (
	maxArgument = 128<<10 - 1
	maxValue    = 32 << 10 // of env
)

// rendering is one Render on its way.
type rendering struct {
	p       *Plan
	c       *Context
	item    any
	env     environment
	visible map[string]any    // what ${{ env }} reads: no secrets
	values  map[string]string // secrets resolved so far
	names   map[string]any    // contexts, but env and secrets
}

// Render gives what the attempt is run with. The error is an *Error.
func (p *Plan) Render(c Context) (Rendered, error) {
	r := &rendering{p: p, c: &c, visible: map[string]any{}, values: map[string]string{}}
	if len(c.Item) > 0 {
		item, err := expr.FromJSON(c.Item)
		if err != nil {
			return Rendered{}, &Error{flow.ReasonExpression, "item", err}
		}
		r.item = item
	}
	if err := r.builtins(); err != nil {
		return Rendered{}, err
	}
	r.contexts()
	for _, list := range [][]field{p.top, p.env} {
		for _, f := range list {
			if err := r.variable(f); err != nil {
				return Rendered{}, err
			}
		}
	}
	for _, name := range sortedKeys(p.task.Secrets) {
		v, err := r.secret(p.task.Secrets[name])
		if err != nil {
			return Rendered{}, err
		}
		r.env.set(name, v)
	}
	out := Rendered{
		Env: r.env.list, Timeout: p.task.Timeout.Std(), Grace: p.task.CancelGrace.Std(), LogLimit: p.task.LogLimit,
	}
	for _, name := range sortedKeys(r.values) {
		if v := r.values[name]; v != "" && !slices.Contains(out.Secrets, v) {
			out.Secrets = append(out.Secrets, v)
		}
	}
	var err error
	if out.Argv, err = r.argv(); err != nil {
		return Rendered{}, err
	}
	if out.Dir, err = r.directory(); err != nil {
		return Rendered{}, err
	}
	return out, nil
}

// environment is an ordered list of variables, each name once.
type environment struct {
	list []string
	at   map[string]int
}

func (e *environment) set(name, value string) {
	if e.at == nil {
		e.at = make(map[string]int, 32)
	}
	if i, ok := e.at[name]; ok {
		e.list[i] = name + "=" + value
		return
	}
	e.at[name] = len(e.list)
	e.list = append(e.list, name+"="+value)
}

// builtins sets what every task gets.
func (r *rendering) builtins() error {
	c, run := r.c, &r.c.Run
	task := r.p.task.Name
	if c.Index >= 0 {
		task += "[" + strconv.Itoa(c.Index) + "]"
	}
	set := r.env.set
	set("PATH", c.Path)
	set("HOME", c.Dir)
	set("LANG", "C.UTF-8")
	set("SYN_RUN_ID", strconv.FormatInt(run.ID, 10))
	set("SYN_PIPELINE", run.Namespace+"/"+run.Pipeline)
	set("SYN_TASK", task)
	if len(c.Item) > 0 {
		compact, err := expr.ToJSON(r.item)
		if err != nil {
			return &Error{flow.ReasonExpression, "item", err}
		}
		if len("SYN_ITEM=")+len(compact) > maxArgument {
			return &Error{flow.ReasonExpression, "item", errors.New("it is larger than 128 KiB")}
		}
		set("SYN_ITEM", string(compact))
	}
	set("SYN_ATTEMPT", strconv.Itoa(c.Attempt))
	set("SYN_IDEMPOTENCY_KEY", c.Key)
	set("SYN_SCHEDULED_AT", instant(run.ScheduledAt))
	set("SYN_INTERVAL_START", instant(run.IntervalStart))
	set("SYN_INTERVAL_END", instant(run.IntervalEnd))
	for _, name := range sortedKeys(run.Params) {
		text, ok, err := paramText(run.Params[name])
		if err == nil && len(name)+len(text)+len("SYN_PARAM_=") > maxArgument {
			err = errors.New("it is larger than 128 KiB")
		}
		if err == nil {
			err = noNUL(text)
		}
		if err != nil {
			return &Error{flow.ReasonExpression, "params." + name, err}
		}
		if ok {
			set("SYN_PARAM_"+strings.ToUpper(name), text)
		}
	}
	set("SYN_DIR", c.Dir)
	set("SYN_OUTPUT", orBelow(c.Output, c.Dir, "out"))
	set("SYN_SUMMARY", orBelow(c.Summary, c.Dir, "summary"))
	return nil
}

func orBelow(path, dir, name string) string {
	if path != "" {
		return path
	}
	return dir + "/" + name
}

// paramText writes a param: strings as they are, all else as JSON.
func paramText(v any) (text string, ok bool, err error) {
	switch v := v.(type) {
	case nil:
		return "", false, nil
	case string:
		return v, true, nil
	}
	data, err := expr.ToJSON(v)
	return string(data), true, err
}

// instant writes a time as an expression would.
func instant(t time.Time) string {
	text, _ := expr.Text(t)
	return text
}

func noNUL(text string) error {
	if strings.ContainsRune(text, 0) {
		return errors.New("it holds the character U+0000")
	}
	return nil
}

// contexts makes what expressions read, as far as it is read.
func (r *rendering) contexts() {
	c, run := r.c, &r.c.Run
	r.names = map[string]any{}
	for name := range r.p.names {
		switch name {
		case "params":
			params := run.Params
			if params == nil {
				params = map[string]any{}
			}
			r.names[name] = params
		case "vars":
			r.names[name] = run.Vars
		case "run":
			m := run.Context()
			if r.p.finally {
				m["result"], m["reason"] = string(c.Result), c.Reason
			}
			r.names[name] = m
		case "interval":
			r.names[name] = map[string]any{"start": run.IntervalStart, "end": run.IntervalEnd}
		case "needs", "tasks":
			r.names[name] = r.earlier()
		case "matrix":
			r.names[name] = r.item
		case "item":
			r.names[name] = r.item
		case "index":
			r.names[name] = int64(c.Index)
		case "task":
			r.names[name] = map[string]any{"name": r.p.task.Name, "idempotency_key": c.Key}
		case "attempt":
			r.names[name] = map[string]any{"number": int64(c.Attempt), "key": AttemptKey(c.Key, c.Attempt)}
		}
	}
}

func (r *rendering) earlier() map[string]any {
	m := make(map[string]any, len(r.p.reads.Tasks))
	for _, o := range r.p.reads.Tasks {
		e, t := r.c.Tasks[o], r.p.g.Task(o)
		tc := flow.TaskContext{
			Task: t, Fan: r.p.g.Fan(o), State: e.State, Reason: e.Reason, Counts: e.Fan, Outputs: e.Outputs, TooLarge: e.TooLarge,
		}
		m[t.Name] = tc.Value()
	}
	return m
}

// text renders one field.
func (r *rendering) text(f field, label string) (string, error) {
	if literal, ok := f.template.Literal(); ok {
		return literal, r.check(label, literal)
	}
	vars := expr.Vars{Names: r.names, Zone: r.p.g.Zone(r.c.Run.Zone)}
	if len(f.secrets) > 0 {
		secrets := make(map[string]any, len(f.secrets))
		for _, name := range f.secrets {
			v, err := r.secret(name)
			if err != nil {
				return "", err
			}
			secrets[name] = v
		}
		r.names["secrets"] = secrets
		defer delete(r.names, "secrets")
	}
	r.names["env"] = r.visible
	text, err := f.template.String(vars)
	if err != nil {
		reason := flow.ReasonExpression
		if flow.IsTooLarge(err) {
			reason = flow.ReasonOutputsTooLarge
		}
		return "", &Error{reason, label, err}
	}
	return text, r.check(label, text)
}

func (r *rendering) check(label, text string) error {
	if err := noNUL(text); err != nil {
		return &Error{flow.ReasonExpression, label, err}
	}
	return nil
}

// variable renders one variable of env.
func (r *rendering) variable(f field) error {
	label := "env." + f.name
	text, err := r.text(f, label)
	if err != nil {
		return err
	}
	if len(text) > maxValue {
		return &Error{flow.ReasonExpression, label, fmt.Errorf("gives %d bytes, 32 KiB at most", len(text))}
	}
	r.env.set(f.name, text)
	if len(f.secrets) == 0 {
		r.visible[f.name] = text
	} else {
		delete(r.visible, f.name)
	}
	return nil
}

// secret resolves a secret once.
func (r *rendering) secret(name string) (string, error) {
	if v, ok := r.values[name]; ok {
		return v, nil
	}
	field := "secrets." + name
	if r.c.Secret == nil {
		return "", &Error{ReasonSecret, field, errors.New("nobody here can read secrets")}
	}
	v, err := r.c.Secret(name)
	if err == nil {
		err = noNUL(v)
	}
	if err == nil && len(v)+len(name) > maxArgument-1 {
		err = errors.New("it is larger than 128 KiB")
	}
	if err != nil {
		return "", &Error{ReasonSecret, field, err}
	}
	r.values[name] = v
	return v, nil
}

func (r *rendering) argv() ([]string, error) {
	t := r.p.task
	if t.Kind == pipeline.KindRun {
		// The text is the author's own and is never rendered.
		return append(slices.Clone(t.Shell), t.Run), nil
	}
	argv := make([]string, len(r.p.command))
	for i, f := range r.p.command {
		text, err := r.text(f, f.name)
		if err != nil {
			return nil, err
		}
		if len(text) > maxArgument {
			return nil, &Error{flow.ReasonExpression, f.name, fmt.Errorf("gives %d bytes, 128 KiB at most", len(text))}
		}
		argv[i] = text
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, &Error{flow.ReasonExpression, "command[0]", errors.New("gives no program")}
	}
	return argv, nil
}

func (r *rendering) directory() (string, error) {
	if r.p.dir == nil {
		return r.c.Dir, nil
	}
	text, err := r.text(*r.p.dir, "working_dir")
	switch {
	case err != nil:
		return "", err
	case text == "":
		return r.c.Dir, nil
	case filepath.IsAbs(text):
		return filepath.Clean(text), nil
	case !filepath.IsLocal(text):
		return "", &Error{flow.ReasonExpression, "working_dir", fmt.Errorf("%q leads out of $SYN_DIR", text)}
	}
	return filepath.Join(r.c.Dir, text), nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
