package attempt

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// A Request is what a task asks a service, rendered.
type Request struct {
	Method, URL string
	Headers     []Header
	Body        []byte // nil: none
	// ContentType is what Body is, unless a header says so.
	ContentType string
	// Secrets are the names and values that are in it.
	Secrets map[string]string

	plan *RequestPlan
	vars expr.Vars
}

// Header is one header of a Request.
type Header struct{ Name, Value string }

// A RequestPlan is the request of a task, compiled. It never changes, and any
// number of goroutines may use it at once.
type RequestPlan struct {
	*Plan
	wait    *pipeline.WaitHTTP
	url     field
	headers []field
	body    map[string]*expr.Template // by the text they were written as
	secrets []string                  // that body reads
	until   *expr.Program
	outputs []output
}

// An output is made of the answer.
type output struct {
	pipeline.Output
	value *expr.Template
}

// Limits of what a request is made of, once rendered.
const (
	maxURL         = 8 << 10
	maxHeader      = 16 << 10
	maxRequestBody = 256 << 10
)

// CompileRequest prepares the request of a task that waits for its answer.
func CompileRequest(g *flow.Graph, ordinal int) (*RequestPlan, error) {
	t := g.Task(ordinal)
	if t == nil {
		return nil, fmt.Errorf("no task has the ordinal %d", ordinal)
	}
	if t.Wait == nil || t.Wait.HTTP == nil {
		return nil, fmt.Errorf("task %s makes no request", t.Name)
	}
	plan, err := Compile(g, ordinal) // takes the pipeline's env along
	if err != nil {
		return nil, err
	}
	p := &RequestPlan{Plan: plan, wait: t.Wait.HTTP, body: map[string]*expr.Template{}}
	if err := p.compileParts(); err != nil {
		return nil, fmt.Errorf("task %s: %w", t.Name, err)
	}
	return p, nil
}

func (p *RequestPlan) compileParts() error {
	var err error
	if p.url, err = p.compile("url", string(p.wait.URL)); err != nil {
		return err
	}
	for _, h := range p.wait.Headers {
		f, err := p.compile(h.Name, string(h.Value))
		if err != nil {
			return err
		}
		p.headers = append(p.headers, f)
	}
	if err := p.compileBody(p.wait.Body); err != nil {
		return err
	}
	answer := answerScope()
	answer.Want, answer.Field = expr.Of(expr.KindBoolean), "until"
	if p.until, err = expr.Compile(string(p.wait.Until), answer); err != nil {
		return fmt.Errorf("until: %w", err)
	}
	p.reading(p.until.Refs())
	for _, o := range p.task.Outputs {
		answer.Want, answer.Field = expr.Type{}, "output "+o.Name // what does not fit its type has a reason of its own
		value, err := expr.CompileTemplate(string(o.Value), answer)
		if err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
		p.reading(value.Refs())
		p.outputs = append(p.outputs, output{o, value})
	}
	return nil
}

// answerScope reads everything but secrets, and the answer.
func answerScope() expr.Scope {
	names := map[string]expr.Type{"response": {}}
	for name, t := range scope.Names {
		if name != "secrets" {
			names[name] = t
		}
	}
	return expr.Scope{Names: names}
}

// reading notes what is read of others.
func (p *RequestPlan) reading(refs []expr.Ref) (secrets []string) {
	var f field
	for _, r := range refs {
		if r.Path[0] != "response" {
			p.names[r.Path[0]] = true
			p.note(&f, r.Path)
		}
	}
	return f.secrets
}

// compileBody compiles each text in the body.
func (p *RequestPlan) compileBody(v any) error {
	switch v := v.(type) {
	case string:
		t, err := expr.CompileTemplate(v, expr.Scope{Names: scope.Names, Field: "body"})
		if err != nil {
			return fmt.Errorf("body: %w", err)
		}
		p.body[v] = t
		p.secrets = append(p.secrets, p.reading(t.Refs())...)
	case []any:
		for _, e := range v {
			if err := p.compileBody(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if err := p.compileBody(v[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Render gives the request of one task or item. The error is an *Error. Of a
// Context what is about processes is not read.
func (p *RequestPlan) Render(c Context) (*Request, error) {
	r := &rendering{p: p.Plan, c: &c, visible: map[string]any{}, values: map[string]string{}}
	if len(c.Item) > 0 {
		item, err := expr.FromJSON(c.Item)
		if err != nil {
			return nil, &Error{flow.ReasonExpression, "item", err}
		}
		r.item = item
	}
	r.contexts()
	if p.names["env"] {
		for _, f := range p.top {
			if err := r.variable(f); err != nil {
				return nil, err
			}
		}
	}
	q := &Request{Method: p.wait.Method, plan: p}
	var err error
	if q.URL, err = p.address(r); err != nil {
		return nil, err
	}
	for _, f := range p.headers {
		label := "header " + f.name
		value, err := r.text(f, label)
		if err == nil {
			err = checkHeader(label, value)
		}
		if err != nil {
			return nil, err
		}
		q.Headers = append(q.Headers, Header{f.name, value})
	}
	if err := p.render(r, q); err != nil {
		return nil, err
	}
	q.Secrets = r.values
	delete(r.names, "secrets")
	r.names["env"] = r.visible
	q.vars = expr.Vars{Names: r.names, Zone: p.g.Zone(c.Run.Zone)}
	return q, nil
}

// address renders the url: a value is one piece of it, whatever it holds.
func (p *RequestPlan) address(r *rendering) (string, error) {
	r.names["env"] = r.visible
	text, err := p.url.template.Encode(expr.Vars{Names: r.names, Zone: p.g.Zone(r.c.Run.Zone)}, percent)
	if err != nil {
		return "", expressionError("url", err)
	}
	fail := func(format string, args ...any) error {
		return &Error{flow.ReasonExpression, "url", fmt.Errorf(format, args...)}
	}
	if len(text) > maxURL {
		return "", fail("gives %d bytes, 8 KiB at most", len(text))
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fail("gives what is not an address of the web")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return "", fail("gives a path with %q, which leads elsewhere", segment)
		}
	}
	return text, nil
}

// percent writes a value so that it means itself wherever it stands in a url.
func percent(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func checkHeader(label, value string) error {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return &Error{flow.ReasonExpression, label, errors.New("its value holds the end of a line or another control character")}
		}
	}
	if len(value) > maxHeader {
		return &Error{flow.ReasonExpression, label, fmt.Errorf("gives %d bytes, 16 KiB at most", len(value))}
	}
	return nil
}

// render makes the body: a text as it is, all else as JSON.
func (p *RequestPlan) render(r *rendering, q *Request) error {
	if p.wait.Body == nil {
		return nil
	}
	secrets := map[string]any{}
	for _, name := range p.secrets {
		v, err := r.secret(name)
		if err != nil {
			return err
		}
		secrets[name] = v
	}
	r.names["secrets"], r.names["env"] = secrets, r.visible
	v, err := p.fill(p.wait.Body, expr.Vars{Names: r.names, Zone: p.g.Zone(r.c.Run.Zone)})
	if err != nil {
		return expressionError("body", err)
	}
	if text, ok := v.(string); ok {
		q.Body, q.ContentType = []byte(text), "text/plain; charset=utf-8"
	} else {
		if q.Body, err = expr.ToJSON(v); err != nil {
			return expressionError("body", err)
		}
		q.ContentType = "application/json"
	}
	if len(q.Body) > maxRequestBody {
		return &Error{flow.ReasonExpression, "body", fmt.Errorf("gives %d bytes, 256 KiB at most", len(q.Body))}
	}
	return nil
}

// fill puts values for the texts of a body.
func (p *RequestPlan) fill(v any, vars expr.Vars) (any, error) {
	switch v := v.(type) {
	case string:
		return p.body[v].Eval(vars)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = p.fill(e, vars); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			var err error
			if out[k], err = p.fill(e, vars); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func expressionError(label string, err error) error {
	reason := flow.ReasonExpression
	if flow.IsTooLarge(err) {
		reason = flow.ReasonOutputsTooLarge
	}
	return &Error{reason, label, err}
}

// Answered is what an answer means: whether the wait is over and, if so, the
// outputs, or why there are none. An error of the condition is not the end: the
// next answer may be another one.
func (q *Request) Answered(response map[string]any) (over bool, outputs map[string]any, bad *pipeline.OutputError, err error) {
	names := make(map[string]any, len(q.vars.Names)+1)
	for name, v := range q.vars.Names {
		names[name] = v
	}
	names["response"] = response
	vars := expr.Vars{Names: names, Zone: q.vars.Zone}
	yes, err := q.plan.until.Eval(vars)
	if err != nil {
		return false, nil, nil, fmt.Errorf("until: %w", err)
	}
	if is, _ := yes.(bool); !is {
		return false, nil, nil, nil
	}
	outputs, bad = q.plan.results(vars)
	return true, outputs, bad, nil
}

// results evaluates what the outputs are made of.
func (p *RequestPlan) results(vars expr.Vars) (map[string]any, *pipeline.OutputError) {
	raw := make(map[string]pipeline.RawOutput, len(p.outputs))
	for _, o := range p.outputs {
		v, err := o.value.Eval(vars)
		if err != nil {
			return nil, &pipeline.OutputError{Reason: flow.ReasonExpression, Detail: "output " + o.Name + ": " + err.Error()}
		}
		if v == nil {
			if o.Required {
				return nil, &pipeline.OutputError{Reason: "outputs_missing", Detail: "output " + o.Name + ": its value is null"}
			}
			continue
		}
		data, err := expr.ToJSON(v)
		if err != nil {
			return nil, &pipeline.OutputError{Reason: "outputs_type", Detail: "output " + o.Name + ": " + err.Error()}
		}
		raw[o.Name] = pipeline.RawOutput{JSON: data}
	}
	return p.task.CheckOutputs(raw)
}

// HasHeader says whether the task itself gives a header.
func (q *Request) HasHeader(name string) bool {
	return slices.ContainsFunc(q.Headers, func(h Header) bool { return strings.EqualFold(h.Name, name) })
}
