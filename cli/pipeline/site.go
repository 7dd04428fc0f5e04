package pipeline

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// A where is a kind of field that holds expressions: it decides what they may
// read.
type where uint8

const (
	inParamDefault where = iota
	inScheduleParam
	inGroup
	inMatrix
	inEnv     // of the pipeline
	inTaskEnv // of a task
	inTask    // command, working_dir
	inIf
	inForEach
	inRunOutput
	inTrigger       // of triggers.pipelines: if and params
	inDecision      // pipeline.params, wait.for, wait.at, approval.prompt
	inRequest       // url of a request
	inRequestSecret // headers and body of a request
	inResponse      // until, and outputs that are made of a response
)

// A site is one text with expressions that was read. What it may read is known
// only when the whole document is.
type site struct {
	value
	where
	task      *taskDraft // the task whose field it is, or nil
	field     string     // the key of the field of the task or pipeline
	want      expr.Type
	asText    bool
	condition bool
	// gives is told the type that the expression turned out to have.
	gives func(expr.Type)
}

// addSite notes a text to be checked later, if there is anything to check.
func (d *document) addSite(s site) {
	if s.condition || strings.Contains(s.Value, "${{") {
		s.task = d.task
		d.sites = append(d.sites, s)
	}
}

// exprText is text that may hold expressions, whose values are written into it.
func exprText(w where, field string, limit int) kind[Expr] {
	return kind[Expr]{
		read: func(d *document, v value, to *Expr) bool {
			text, ok := d.scalar(v, "a string")
			if !ok {
				return false
			}
			if len(text) > limit {
				d.failf(d.at(v.Node), "SYN1009", "%s has %s bytes, %s at most", v.name, grouped(len(text)), grouped(limit))
				return false
			}
			d.addSite(site{value: v, where: w, field: field, asText: true})
			*to = Expr(text)
			return true
		},
		schema: anyText,
	}
}

// condition is an expression whole, with braces or without.
func condition(w where, field string) kind[Condition] {
	return kind[Condition]{
		read: func(d *document, v value, to *Condition) bool {
			text, ok := d.scalar(v, "a condition")
			if !ok {
				return false
			}
			d.addSite(site{value: v, where: w, field: field, condition: true, want: expr.Of(expr.KindBoolean)})
			*to = Condition(unbrace(text))
			return true
		},
		schema: anyText,
	}
}

// unbrace takes the braces off an expression that stands in one pair of them.
func unbrace(text string) string {
	text = strings.TrimSpace(text)
	if inside, ok := strings.CutPrefix(text, "${{"); ok {
		if inside, ok = strings.CutSuffix(inside, "}}"); ok {
			return strings.TrimSpace(inside)
		}
	}
	return text
}

// leaves notes each string of a free value that holds expressions.
func (d *document) leaves(n *yaml.Node, name string, w where, field string) {
	if n.Kind == yaml.ScalarNode {
		d.addSite(site{value: value{Node: n, name: name}, where: w, field: field})
		return
	}
	for i, c := range n.Content {
		if n.Kind == yaml.SequenceNode || i%2 == 1 {
			d.leaves(c, name, w, field)
		}
	}
}
