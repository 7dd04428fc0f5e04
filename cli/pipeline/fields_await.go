package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

func subFields() object[Sub] {
	return object[Sub]{what: "pipeline", fields: []field[Sub]{
		is("name", reference(), func(s *Sub) *string { return &s.Name }, "The pipeline to run: name, or namespace/name.").must(),
		{
			key: "params", doc: "Values for its params; expressions allowed.",
			read:   func(d *document, s *Sub, v value) { s.Params = d.readPassed(v) },
			schema: func() jsonSchema { return jsonSchema{"type": "object", "maxProperties": MaxParams} },
		},
		is("wait", boolean(), func(s *Sub) *bool { return &s.Wait }, "Whether the task ends with the run that it started. Default true."),
	}}
}

func (d *document) readSub(t *taskDraft, v value) {
	if v.Kind == yaml.ScalarNode && !isNull(v.Node) {
		d.fail(d.at(v.Node), "SYN1009", "pipeline is a map, found text "+show(v.Value), "{name: "+clip(v.Value, 60)+"}")
		return
	}
	sub := Sub{Wait: true}
	own, ok := d.p.tables.sub.read(d, v, "pipeline", &sub)
	if !ok {
		return
	}
	t.Sub = &sub
	t.what = own
}

// readPassed reads what a pipeline task gives its child, whose schema is not
// known: values of free form.
func (d *document) readPassed(v value) map[string]any {
	if !d.isMap(v) {
		return nil
	}
	if n := len(v.Content) / 2; n > MaxParams {
		d.failf(d.keySpot(v), "SYN1009", "%d params, %d at most", n, MaxParams)
		return nil
	}
	params := map[string]any{}
	for key, e := range d.pairs(v) {
		if !d.member(key, "param") || isNull(e.Node) { // a null counts as absent
			continue
		}
		d.leaves(e.Node, "param "+key.Value, inDecision, "pipeline.params")
		params[key.Value] = d.free(e.Node, true)
	}
	return params
}

// A waitDraft is a wait while it is read.
type waitDraft struct {
	Wait
	until Condition
	every Duration
}

func waitFields(ts *tables) object[waitDraft] {
	foreign := map[string]string{"timeout": "timeout: of the task, beside wait", "duration": "for", "seconds": "for: 90s", "url": "http: {target, url}"}
	return object[waitDraft]{what: "wait", foreign: foreign, fields: []field[waitDraft]{
		is("for", waitFor(), func(w *waitDraft) *Expr { return &w.For }, "How long: a duration or an expression that gives one."),
		{
			key: "at", doc: "Until when: an instant, a time of day, or an expression that gives an instant.",
			read:   func(d *document, w *waitDraft, v value) { d.readWaitAt(w, v) },
			schema: func() jsonSchema { return jsonSchema{"type": "string"} },
		},
		is("http", nested(&ts.waitHTTP), func(w *waitDraft) *WaitHTTP {
			w.HTTP = &WaitHTTP{Method: "GET"}
			return w.HTTP
		}, "A request that is made until its answer is as wanted."),
		is("until", condition(inResponse, "until"), func(w *waitDraft) *Condition { return &w.until }, "With http: a condition over response."),
		is("every", lengthOf(5*time.Second, time.Hour), func(w *waitDraft) *Duration { return &w.every }, "With http: how often. Default 30s."),
		is("on_timeout", word("fail", "skip"), func(w *waitDraft) *string { return &w.OnTimeout }, "What the task's timeout makes of it. Default `fail`."),
		later[waitDraft]("DAG18", "event"),
		later[waitDraft]("DAG18", "if"),
	}}
}

// waitFor is a duration or one expression.
func waitFor() kind[Expr] {
	return kind[Expr]{
		read: func(d *document, v value, to *Expr) bool {
			text, ok := d.scalar(v, "a duration or an expression")
			if !ok {
				return false
			}
			if expr.Contains(text) {
				d.addSite(site{value: v, where: inDecision, field: "wait.for", want: expr.Of(expr.KindDuration)})
				*to = Expr(strings.TrimSpace(text))
				return true
			}
			var length Duration
			if !lengthOf(0, MaxWait).read(d, v, &length) {
				return false
			}
			*to = Expr(text)
			return true
		},
		schema: func() jsonSchema { return jsonSchema{"type": "string"} },
	}
}

// readWaitAt notes the text; a written instant is read when the zone is known.
func (d *document) readWaitAt(w *waitDraft, v value) {
	text, ok := d.scalar(v, "an instant, a time of day or an expression")
	if !ok {
		return
	}
	if expr.Contains(text) {
		d.addSite(site{value: v, where: inDecision, field: "wait.at", want: expr.Of(expr.KindInstant)})
		text = strings.TrimSpace(text)
	}
	w.At = Expr(text)
}

func (d *document) readWait(t *taskDraft, v value) {
	draft := waitDraft{Wait: Wait{OnTimeout: "fail"}, every: Duration(30 * time.Second)}
	own, ok := d.p.tables.wait.read(d, v, "wait", &draft)
	if !ok {
		return
	}
	t.Wait, t.what = &draft.Wait, own
	var found []value
	for key, e := range d.quietPairs(v) {
		if slices.Contains(waits, key.Value) && !slices.ContainsFunc(found, func(f value) bool { return f.key.Value == key.Value }) {
			found = append(found, e)
		}
	}
	switch {
	case len(found) == 0:
		d.fail(d.keySpot(v), "SYN1401", "wait has one of for, at, http; found none", "wait: {for: 5m}")
	case len(found) > 1:
		last := found[len(found)-1]
		d.failf(d.at(last.key), "SYN1401", "wait has one of for, at, http; found %s and %s", found[0].key.Value, last.key.Value)
	}
	_, request := own["http"]
	for _, key := range []string{"until", "every"} {
		if e, ok := own[key]; ok && !request {
			d.failf(d.at(e.key), "SYN1403", "%s is for a wait with http", key)
		}
	}
	if request {
		if _, ok := own["until"]; !ok && !d.has(v, "until") {
			d.failf(d.keySpot(v), "SYN1008", "until is missing in wait")
		}
		if draft.HTTP != nil {
			draft.HTTP.Until, draft.HTTP.Every = draft.until, draft.every
			t.Wait.HTTP = draft.HTTP
		}
	}
}

// waits are the keys that say what a wait waits for.
var waits = []string{"for", "at", "http", "event"}

// finishWait reads an instant that is written out, in the pipeline's zone.
func (d *document) finishWait(t *taskDraft, zone string) {
	v, ok := t.what["at"]
	if !ok || t.Wait.At == "" && v.Value != "" || expr.Contains(v.Value) {
		return
	}
	_, _, err := schedule.ParseTimeOfDay(v.Value)
	switch {
	case err == nil:
		return
	case !strings.Contains(v.Value, "-"): // no date
		d.fail(d.at(v.Node), "SYN1009", "at is an instant, a time of day or an expression, found "+show(v.Value), "like 07:00, or 2026-11-22T05:30")
		return
	}
	loc, err := schedule.LoadZone(zone)
	if err != nil {
		return // told where the zone stands
	}
	at, err := schedule.ParseInstant(v.Value, loc)
	if err != nil {
		v.name = "at"
		d.scheduleError(v, err, "SYN1009")
		return
	}
	t.Wait.At = Expr(at.UTC().Format(time.RFC3339Nano))
}

// Until gives the instant at which a wait for time ends. given is what the
// template of For or At gave: the text of the format, or a time.Duration or
// time.Time; began is when the task began to wait, zone that of the run.
func (w *Wait) Until(given any, began time.Time, zone *time.Location) (time.Time, error) {
	if w.For != "" {
		length, ok := given.(time.Duration)
		if text, isText := given.(string); isText {
			var err error
			if length, err = schedule.ParseDuration(text); err != nil {
				return time.Time{}, fmt.Errorf("wait.for: %w", err)
			}
			ok = true
		}
		switch {
		case !ok:
			return time.Time{}, fmt.Errorf("wait.for gives %s, a duration is wanted", plain(given))
		case length < 0 || length > MaxWait:
			return time.Time{}, fmt.Errorf("wait.for %s: 0s to %s", schedule.FormatDuration(length), Duration(MaxWait))
		}
		return began.Add(length), nil
	}
	switch at := given.(type) {
	case time.Time:
		return at, nil
	case string:
		if hours, minutes, err := schedule.ParseTimeOfDay(at); err == nil {
			return schedule.NextTimeOfDay(began, hours, minutes, zone), nil
		}
		instant, err := schedule.ParseInstant(at, zone)
		if err != nil {
			return time.Time{}, fmt.Errorf("wait.at: %w", err)
		}
		return instant, nil
	}
	return time.Time{}, fmt.Errorf("wait.at gives %s, an instant is wanted", plain(given))
}

func waitHTTPFields() object[WaitHTTP] {
	return object[WaitHTTP]{what: "http", fields: []field[WaitHTTP]{
		is("target", target(), func(h *WaitHTTP) *string { return &h.Target }, "The operator's name for the service.").must(),
		is("method", word("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), func(h *WaitHTTP) *string { return &h.Method }, "Default `GET`."),
		is("url", requestURL(), func(h *WaitHTTP) *Expr { return &h.URL }, "Where to; expressions allowed.").must(),
		{
			key: "headers", doc: "Headers of the request; expressions allowed.",
			read:   func(d *document, h *WaitHTTP, v value) { h.Headers = d.readHeaders(v) },
			schema: func() jsonSchema { return mapSchema(headerPattern, anyText(), maxHeaders) },
		},
		{
			key: "body", doc: "What is sent: text as it is, all else as JSON.",
			read: func(d *document, h *WaitHTTP, v value) {
				d.leaves(v.Node, "body", inRequestSecret, "body")
				h.Body = d.free(v.Node, true)
			},
			schema: func() jsonSchema { return jsonSchema{} },
		},
	}}
}

const (
	maxHeaders    = 100
	headerPattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"
)

var headerRE = regexp.MustCompile(headerPattern)

// target is the operator's name of a service: a name, or two with a slash.
func target() kind[string] { return reference() }

// requestURL is an address; what of it is written out must be good.
func requestURL() kind[Expr] {
	text := exprText(inRequest, "url", 8<<10)
	return kind[Expr]{
		read: func(d *document, v value, to *Expr) bool {
			if !text.read(d, v, to) {
				return false
			}
			written, _, _ := strings.Cut(v.Value, "${{")
			if written == "" && expr.Contains(v.Value) {
				return true // the first expression gives the scheme
			}
			scheme, rest, ok := strings.Cut(written, "://")
			host, _, _ := strings.Cut(rest, "/")
			switch {
			case !ok || scheme != "https" && scheme != "http":
				d.fail(d.at(v.Node), "SYN1414", "url begins with https:// or http://, found "+show(clip(written, 40)), "")
			case strings.Contains(host, "@"):
				d.fail(d.at(v.Node), "SYN1414", "url may not hold a user or a password", "the target has the credentials")
			case host == "" && !expr.Contains(v.Value):
				d.fail(d.at(v.Node), "SYN1414", "url has no host", "")
			default:
				return true
			}
			return false
		},
		schema: text.schema,
	}
}

// HeaderRefused says why a request may not set a header, or nothing.
func HeaderRefused(name string) string {
	switch strings.ToLower(name) {
	case "host":
		return "would ask another host than the url says"
	case "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade", "te", "trailer", "expect", "accept-encoding":
		return "belongs to the connection"
	case "proxy-authorization":
		return "is for proxies"
	}
	return ""
}

func (d *document) readHeaders(v value) []Var {
	if !d.isMap(v) {
		return nil
	}
	if n := len(v.Content) / 2; n > maxHeaders {
		d.failf(d.keySpot(v), "SYN1009", "%d headers, %d at most", n, maxHeaders)
		return nil
	}
	var headers []Var
	text := exprText(inRequestSecret, "headers", 8<<10)
	for key, e := range d.pairs(v) {
		e.name = "header " + key.Value
		one := Var{Name: key.Value}
		switch {
		case !headerRE.MatchString(key.Value):
			d.fail(d.at(key), "SYN1101", "header "+show(key.Value)+" is not the name of a header", "")
		case HeaderRefused(key.Value) != "":
			d.fail(d.at(key), "SYN1009", "header "+key.Value+" "+HeaderRefused(key.Value), "remove it")
		case !text.read(d, e, &one.Value):
		case strings.ContainsAny(e.Value, "\r\n"):
			d.fail(d.at(e.Node), "SYN1009", e.name+" may not hold the end of a line", "")
		default:
			headers = append(headers, one)
		}
	}
	return headers
}

func approvalFields() object[Approval] {
	foreign := map[string]string{"timeout": "timeout: of the task, beside approval", "message": "prompt"}
	return object[Approval]{what: "approval", foreign: foreign, fields: []field[Approval]{
		is("prompt", promptText(), func(a *Approval) *Expr { return &a.Prompt }, "The question, as Markdown; expressions allowed.").must(),
		is("on_reject", word("fail", "skip", "continue"), func(a *Approval) *string { return &a.OnReject }, "What a no makes of the task. Default `fail`."),
		is("on_timeout", word("reject", "approve"), func(a *Approval) *string { return &a.OnTimeout }, "What the task's timeout counts as. Default `reject`."),
		later[Approval]("APR3", "approvers"),
		later[Approval]("APR3", "quorum"),
		later[Approval]("APR3", "allow_self"),
		later[Approval]("APR2", "form"),
	}}
}

func promptText() kind[Expr] {
	text := exprText(inDecision, "approval.prompt", maxDescription)
	return kind[Expr]{
		read: func(d *document, v value, to *Expr) bool {
			if !text.read(d, v, to) {
				return false
			}
			if strings.TrimSpace(string(*to)) == "" {
				d.failf(d.at(v.Node), "SYN1009", "prompt is empty")
				return false
			}
			return true
		},
		schema: text.schema,
	}
}

func (d *document) readApproval(t *taskDraft, v value) {
	if v.Kind == yaml.ScalarNode && !isNull(v.Node) {
		d.fail(d.at(v.Node), "SYN1009", "approval is a map, found text "+show(v.Value), "{prompt: …}")
		return
	}
	approval := Approval{OnReject: "fail", OnTimeout: "reject"}
	own, ok := d.p.tables.approval.read(d, v, "approval", &approval)
	if !ok {
		return
	}
	t.Approval, t.what = &approval, own
}

// approvalOutputs are those of every approval.
func approvalOutputs() []Output {
	text := Schema{Type: "string"}
	return []Output{
		{Name: "decision", Description: "`approved` or `rejected`.", Required: true, Schema: text},
		{Name: "by", Description: "Who decided; empty after a time-out.", Required: true, Schema: text},
	}
}

// onlyFor says which kinds of task have a field; every kind has those that are
// not listed.
var onlyFor = map[string][]Kind{
	"shell": {KindRun}, "working_dir": processes, "env": processes, "secrets": processes, "runs_on": processes,
	"exit_codes": processes, "lost": processes, "queue_timeout": processes, "cancel_grace": processes,
	"pool": processes, "priority": processes, "log_limit": processes,
	"retry":   {KindRun, KindCommand, KindPipeline},
	"outputs": {KindRun, KindCommand, KindPipeline, KindWait},
	"matrix":  notApproval, "for_each": notApproval, "max_parallel": notApproval, "fail_fast": notApproval,
}

var (
	processes   = []Kind{KindRun, KindCommand}
	notApproval = []Kind{KindRun, KindCommand, KindPipeline, KindWait}
)

// fits refuses the fields that a task of its kind does not have.
func (d *document) fits(t *taskDraft) {
	for key, v := range d.quietPairs(t.value) {
		kinds, ok := onlyFor[key.Value]
		if !ok || slices.Contains(kinds, t.Kind) {
			continue
		}
		if t.Kind == KindApproval && key.Value == "outputs" {
			d.fail(d.at(v.key), "SYN1403", "the outputs of an approval are decision and by", "remove it")
			continue
		}
		d.failf(d.at(v.key), "SYN1403", "%s is for %s, %s is %s", key.Value, kindWords(kinds), t.Name, article(string(t.Kind)))
	}
	if t.inFinally && (t.Kind == KindWait || t.Kind == KindApproval) {
		d.failf(d.at(t.own[string(t.Kind)].key), "SYN1403", "finally has no %s: a run that is to end waits for nobody", t.Kind)
	}
	outputs, ok := t.own["outputs"]
	switch {
	case !ok:
	case t.Kind == KindWait && t.Wait != nil && (t.Wait.For != "" || t.Wait.At != ""):
		d.failf(d.at(outputs.key), "SYN1403", "outputs is for a wait with http: a wait for time has no answer")
	case t.Kind == KindPipeline && t.Sub != nil && !t.Sub.Wait:
		d.fail(d.at(outputs.key), "SYN1403", "outputs are those of the run that pipeline.wait: false does not wait for", "remove one of them")
	}
}

func kindWords(kinds []Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return joinWith(words, " and ") + " tasks"
}

// finishAwaiting drops what a task that no executor runs has inherited and does
// not have.
func (d *document) finishAwaiting(t *taskDraft) {
	kept := Task{
		Name: t.Name, Ordinal: t.Ordinal, Description: t.Description, Kind: t.Kind, Needs: t.Needs, If: t.If,
		Matrix: t.Matrix, ForEach: t.ForEach, MaxParallel: t.MaxParallel, FailFast: t.FailFast,
		Sub: t.Sub, Wait: t.Wait, Approval: t.Approval, Outputs: t.Outputs, Timeout: t.Timeout,
	}
	if _, own := t.own["timeout"]; !own {
		kept.Timeout = 0
	}
	switch t.Kind {
	case KindPipeline:
		kept.Retry = t.Retry
		if kept.Timeout == 0 && t.inFinally {
			kept.Timeout = Duration(time.Hour)
		}
	case KindApproval:
		kept.Outputs = approvalOutputs()
	}
	t.Task = kept
	t.exits = exitDraft{}
}
