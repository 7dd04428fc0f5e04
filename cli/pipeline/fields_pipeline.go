package pipeline

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

const day = 24 * time.Hour

// A pipelineDraft is a pipeline while it is read.
type pipelineDraft struct {
	Pipeline
	own       entries
	schedules []*scheduleDraft
	triggers  []*triggerDraft
	defaults  *taskDraft
	tasks     []*taskDraft
	finally   []*taskDraft
}

// identity are the fields that every kind of document has.
func identity[T any](name, namespace, description func(*T) *string, labels func(*T) *map[string]string) []field[T] {
	kindField := field[T]{
		key: "kind", doc: "What the document defines.",
		read:   func(*document, *T, value) {}, // read before the rest
		schema: func() jsonSchema { return jsonSchema{"type": "string"} },
	}
	version := field[T]{
		key: "version", doc: "Version of the format; only 1.",
		read: func(d *document, _ *T, v value) {
			if text, ok := d.plainScalar(v, "an integer"); ok && text != "1" {
				d.fail(d.at(v.Node), "SYN1011", "unknown version "+show(text), "only version 1")
			}
		},
		schema: func() jsonSchema { return jsonSchema{"const": 1} },
	}
	return []field[T]{
		version,
		kindField,
		is("name", aName(), name, "Name; identity together with the namespace.").must(),
		is("namespace", aName(), namespace, "Namespace; `default`, or that of the call."),
		is("description", textOf(maxDescription, true), description, "Markdown, shown without HTML."),
		is("labels", labelMap(), labels, "Labels for filters and alert routing."),
	}
}

func labelMap() kind[map[string]string] {
	return kind[map[string]string]{
		read: func(d *document, v value, to *map[string]string) bool {
			if !d.isMap(v) {
				return false
			}
			if n := len(v.Content) / 2; n > MaxLabels {
				d.failf(d.keySpot(v), "SYN1009", "%d labels, %d at most", n, MaxLabels)
			}
			labels := map[string]string{}
			for key, e := range d.pairs(v) {
				e.name = "label " + key.Value
				var text string
				if d.named(d.at(key), "label", key.Value, labelRE, labelRule) && shortText(256).read(d, e, &text) {
					labels[key.Value] = text
				}
			}
			*to = labels
			return true
		},
		schema: func() jsonSchema {
			return jsonSchema{"type": "object", "propertyNames": jsonSchema{"pattern": labelPattern}, "additionalProperties": anyText(), "maxProperties": MaxLabels}
		},
	}
}

func pipelineFields(ts *tables) object[pipelineDraft] {
	name := func(p *pipelineDraft) *string { return &p.Name }
	namespace := func(p *pipelineDraft) *string { return &p.Namespace }
	description := func(p *pipelineDraft) *string { return &p.Description }
	fields := identity(name, namespace, description, func(p *pipelineDraft) *map[string]string { return &p.Labels })
	fields = append(fields,
		is("owner", shortText(128), func(p *pipelineDraft) *string { return &p.Owner }, "Shown in lists and alerts."),
		is("timezone", zone(), func(p *pipelineDraft) *string { return &p.Timezone }, "IANA name; the zone of schedules that name none. Default `UTC`."),
		field[pipelineDraft]{
			key: "schedule", doc: "When it runs: a cron, or one schedule, or a list of them.",
			read:   func(d *document, p *pipelineDraft, v value) { d.readSchedules(p, v) },
			schema: func() jsonSchema { return scheduleSchema() },
		},
		field[pipelineDraft]{
			key: "triggers", doc: "What else starts it.",
			read: func(d *document, p *pipelineDraft, v value) {
				var draft triggersDraft
				d.p.tables.triggers.read(d, v, "triggers", &draft)
				p.triggers = draft.pipelines
			},
			schema: func() jsonSchema { return ts.triggers.schema() },
		},
		is("manual", boolean(), func(p *pipelineDraft) *bool { return &p.Manual }, "May be run by hand. Default true."),
		field[pipelineDraft]{
			key: "params", doc: "Declared parameters.",
			read: func(d *document, p *pipelineDraft, v value) {
				p.Params = d.readParams(v, "param", MaxParams)
			},
			schema: func() jsonSchema { return mapSchema(memberPattern, ref("param"), MaxParams) },
		},
		is("env", envMap(inEnv), func(p *pipelineDraft) *[]Var { return &p.Env }, "Environment of every task."),
		field[pipelineDraft]{
			key: "defaults", doc: "Values for fields that tasks do not set.",
			read: func(d *document, p *pipelineDraft, v value) {
				p.defaults = newTaskDraft()
				d.task = p.defaults
				p.defaults.own, _ = d.p.tables.defaults.read(d, v, "defaults", p.defaults)
				d.task = nil
			},
			schema: func() jsonSchema { return ref("defaults") },
		},
		is("max_parallel", integer(1, 10_000), func(p *pipelineDraft) *int { return &p.MaxParallel }, "Tasks and items of one run that run at once."),
		is("concurrency", nested(&ts.concurrency), func(p *pipelineDraft) *Concurrency { return &p.Concurrency }, "How runs share."),
		is("timeout", lengthOf(time.Second, 30*day), func(p *pipelineDraft) *Duration { return &p.Timeout }, "Of a whole run. Default 7d."),
		field[pipelineDraft]{
			key: "retention", doc: "How long history is kept.",
			read:   func(d *document, p *pipelineDraft, v value) { d.readRetention(&p.Retention, v) },
			schema: func() jsonSchema { return ts.retention.schema() },
		},
		field[pipelineDraft]{
			key: "tasks", required: true, doc: "The tasks, in the order of pages.",
			read:   func(d *document, p *pipelineDraft, v value) { p.tasks = d.collectTasks(v, "tasks") },
			schema: func() jsonSchema { return tasksSchema(1) },
		},
		field[pipelineDraft]{
			key: "finally", doc: "Tasks that run when all others have ended, whatever the result.",
			read:   func(d *document, p *pipelineDraft, v value) { p.finally = d.collectTasks(v, "finally") },
			schema: func() jsonSchema { return tasksSchema(0) },
		},
		field[pipelineDraft]{
			key: "outputs", doc: "Results of the run.",
			read: func(d *document, p *pipelineDraft, v value) { p.Outputs = d.readRunOutputs(v) },
			schema: func() jsonSchema {
				return mapSchema(memberPattern, jsonSchema{"anyOf": []any{anyText(), ref("runOutput")}}, MaxOutputs)
			},
		},
		later[pipelineDraft]("NTF3", "sla", "start_within", "finish_within", "finish_by"),
		later[pipelineDraft]("NTF1", "notify", "when", "to", "after", "if"),
		later[pipelineDraft]("later", "protected"),
		later[pipelineDraft]("later", "shadow"),
	)
	for _, word := range []string{"retry", "pause_after_failures", "needs_previous", "ping_url", "source", "tests", "rate_limits", "setup", "teardown", "state", "run_as", "identity"} {
		fields = append(fields, reserved[pipelineDraft](word))
	}
	return object[pipelineDraft]{what: "pipeline", fields: fields, foreign: foreignTop}
}

func concurrencyFields() object[Concurrency] {
	return object[Concurrency]{what: "concurrency", foreign: map[string]string{"cancel-in-progress": "on_conflict: cancel_running"}, fields: []field[Concurrency]{
		is("group", groupText(), func(c *Concurrency) *Expr { return &c.Group }, "Runs of the namespace with the same group share; the pipeline's own without."),
		is("limit", integer(1, 1_000), func(c *Concurrency) *int { return &c.Limit }, "Runs of the group at once. Default 1."),
		is("on_conflict", word("queue", "skip", "cancel_running", "fail"), func(c *Concurrency) *string { return &c.OnConflict }, "What becomes of a run when the group is full. Default `queue`."),
		is("max_queued", integer(0, 10_000), func(c *Concurrency) *int { return &c.MaxQueued }, "Queued runs of the group. Default 10."),
	}}
}

// groupText is the name of a group: one that is written out must be good.
func groupText() kind[Expr] {
	text := exprText(inGroup, "group", maxEnvValue)
	return kind[Expr]{
		read: func(d *document, v value, to *Expr) bool {
			if !text.read(d, v, to) {
				return false
			}
			n := utf8.RuneCountInString(v.Value)
			if !expr.Contains(v.Value) && (n < 1 || n > 200 || strings.ContainsFunc(v.Value, func(r rune) bool { return !unicode.IsPrint(r) })) {
				d.failf(d.at(v.Node), "SYN1101", "group %s may hold 1 to 200 printable characters", show(v.Value))
				return false
			}
			return true
		},
		schema: text.schema,
	}
}

func retentionFields() object[Retention] {
	years := lengthOf(day, 3650*day)
	return object[Retention]{what: "retention", fields: []field[Retention]{
		is("runs", years, func(r *Retention) *Duration { return &r.Runs }, "Runs. Default 90d."),
		is("logs", years, func(r *Retention) *Duration { return &r.Logs }, "Logs, not longer than runs. Default 30d."),
	}}
}

func (d *document) readRetention(to *Retention, v value) {
	draft := *to
	own, ok := d.p.tables.retention.read(d, v, "retention", &draft)
	if !ok {
		return
	}
	if draft.Logs > draft.Runs {
		if logs, ok := own["logs"]; ok {
			d.failf(d.at(logs.Node), "SYN1009", "logs %s are kept longer than runs %s", draft.Logs, draft.Runs)
			return
		}
		draft.Logs = draft.Runs
	}
	*to = draft
}

// zone is the name of a time zone.
func zone() kind[string] {
	return kind[string]{
		read: func(d *document, v value, to *string) bool {
			text, ok := d.scalar(v, "a time zone")
			if !ok || !d.fixed(v, text) {
				return false
			}
			if text == "" {
				d.fail(d.at(v.Node), "SYN1207", "the time zone is empty", "UTC")
				return false
			}
			if _, err := schedule.LoadZone(text); err != nil {
				d.scheduleError(v, err, "SYN1207")
				return false
			}
			*to = text
			return true
		},
		schema: func() jsonSchema { return jsonSchema{"type": "string"} },
	}
}

// envMap is a map of environment variables.
func envMap(w where) kind[[]Var] {
	return kind[[]Var]{
		read: func(d *document, v value, to *[]Var) bool {
			if !d.isMap(v) {
				return false
			}
			if n := len(v.Content) / 2; n > MaxVariables {
				d.failf(d.keySpot(v), "SYN1009", "%s variables, %d at most", grouped(n), MaxVariables)
				return false
			}
			var vars []Var
			text := exprText(w, "env", maxEnvValue)
			for key, e := range d.pairs(v) {
				e.name = "env." + key.Value
				one := Var{Name: key.Value}
				if d.variable(key) && text.read(d, e, &one.Value) {
					d.credential(key, e)
					vars = append(vars, one)
				}
			}
			*to = vars
			return true
		},
		schema: func() jsonSchema { return mapSchema(variablePattern, anyText(), MaxVariables) },
	}
}

// variable checks the name of an environment variable.
func (d *document) variable(key *yaml.Node) bool {
	name := key.Value
	var message, hint string
	switch {
	case !variableRE.MatchString(name):
		message = fmt.Sprintf("variable %s %s", show(name), variableRule)
	case strings.HasPrefix(name, "SYN_"):
		message, hint = name+" is set by Synthesizer", "another name"
	case name == "TRACEPARENT":
		d.failf(d.at(key), "SYN1602", "%s is reserved for a later version", name)
		return false
	case strings.HasPrefix(name, "LD_") && !d.p.AllowLoader:
		message, hint = name+" may not be set", "the operator can allow it"
	default:
		return true
	}
	d.fail(d.at(key), "SYN1104", message, hint)
	return false
}

var (
	credentialName  = regexp.MustCompile(`(?i)(password|passwd|secret|token|api_?key|private_?key|credentials?)$`)
	credentialValue = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bglpat-[A-Za-z0-9_-]{16,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bsk_live_[A-Za-z0-9]{10,}|\bsyn_[A-Za-z0-9_-]{30,}|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.`)
)

// credential warns of a value that looks like one, without repeating it.
func (d *document) credential(key *yaml.Node, v value) {
	plainWord := v.Value != "" && !expr.Contains(v.Value) && !strings.ContainsAny(v.Value[:1], "/.~") && !strings.Contains(v.Value, "://")
	if credentialValue.MatchString(v.Value) || plainWord && len(v.Value) >= 4 && credentialName.MatchString(key.Value) {
		d.warn(d.at(v.Node), codeCredential, v.name+" looks like a credential", "secrets: {"+key.Value+": NAME}")
	}
}

// codeCredential marks problems whose place in the file is not to be shown.
const codeCredential = "SYN1105"
