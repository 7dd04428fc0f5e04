package pipeline

import (
	"regexp"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// checkSites checks every expression of a pipeline: what it reads must be
// there, what it gives must fit its field.
func (d *document) checkSites(p *pipelineDraft) {
	c := newScopes(p)
	// for_each and matrix go first: they tell the types of item and the axes.
	slices.SortStableFunc(d.sites, func(a, b site) int { return order(a) - order(b) })
	for _, s := range d.sites {
		scope := c.of(s)
		var refs []expr.Ref
		var typ expr.Type
		if s.condition {
			program, err := expr.Compile(s.Value, scope)
			if err != nil {
				d.exprErrors(s, err)
				continue
			}
			refs, typ = program.Refs(), program.Type()
		} else {
			template, err := expr.CompileTemplate(s.Value, scope)
			if err != nil {
				d.exprErrors(s, err)
				continue
			}
			refs, typ = template.Refs(), template.Type()
		}
		if s.gives != nil {
			s.gives(typ)
		}
		d.unguarded(p, c, s, refs)
		d.outside(s, refs)
	}
}

func order(s site) int {
	switch s.where {
	case inMatrix, inForEach:
		return 0
	default:
		return 1
	}
}

var missingOutput = regexp.MustCompile(`^no output ("[^"]*") in (needs|tasks)(?:\.|\[")([a-z0-9_-]+)(?:"\])?\.outputs`)

// exprErrors reports what package expr says about a text.
func (d *document) exprErrors(s site, err error) {
	list := expr.Errors(err)
	if len(list) == 0 {
		d.fail(d.at(s.Node), "SYN1501", err.Error(), "")
	}
	for _, e := range list {
		code, message, hint := e.Code, e.Message, e.Hint
		if before, after, ok := strings.Cut(message, "; did you mean "); ok {
			message = before
			if hint == "" {
				hint = "did you mean " + after
			}
		}
		if m := missingOutput.FindStringSubmatch(message); m != nil {
			code, message = "SYN1305", "task "+m[3]+" declares no output "+m[1]
		}
		d.fail(d.within(s.Node, e.Offset, e.Len), code, message, hint)
	}
}

// unguarded warns of outputs that are read although nothing makes sure that
// their task succeeded.
func (d *document) unguarded(p *pipelineDraft, c *scopes, s site, refs []expr.Ref) {
	for _, r := range refs {
		if len(r.Path) < 4 || r.Path[2] != "outputs" || r.Guard != expr.Unguarded {
			continue
		}
		t := c.byName[r.Path[1]]
		if t == nil {
			continue
		}
		fans := t.Matrix != nil || t.ForEach != nil
		verb := ""
		switch {
		case r.Path[0] == "needs":
			verb = c.mayLack(s, r, t)
		case s.where == inRunOutput: // the run succeeded
			if c.maySkip(t) {
				verb = "skipped"
			}
		default:
			verb = c.mayLack(s, r, t)
		}
		if verb != "" && !(fans && verb == "skipped") { // a skipped fan-out gives []
			d.warn(d.within(s.Node, r.Offset, r.Len), "SYN1416", t.Name+" may "+verbs[verb]+"; test "+r.Path[0]+step(t.Name)+".result first", "")
		}
	}
}

var verbs = map[string]string{"skipped": "be skipped", "failed": "have failed or be skipped"}

// step writes a member as expressions do.
func step(name string) string {
	if memberRE.MatchString(name) && !slices.Contains(keywords, name) {
		return "." + name
	}
	return `["` + name + `"]`
}

// mayLack says how a task whose output a field reads may have ended other than
// well: the condition of the reading task may rule it out.
func (c *scopes) mayLack(s site, r expr.Ref, t *taskDraft) string {
	reader := s.task
	if reader == nil {
		return ""
	}
	condition := string(reader.If)
	scope := c.of(site{where: inIf, task: reader, want: expr.Of(expr.KindBoolean)})
	program, err := expr.Compile(condition, scope)
	word := condition != "" && err == nil && (program.UsesStatus() || program.ReadsOutcome())
	if condition != "" && err != nil {
		return "" // told already
	}
	if !word && !reader.inFinally && r.Path[0] == "needs" {
		return "" // success() is implied
	}
	if condition != "" && s.where != inIf {
		// What the condition has made sure of holds in the other fields.
		probe := "(" + condition + ") && (" + r.Path[0] + `["` + r.Path[1] + `"].outputs["` + r.Path[3] + `"] == null)`
		if program, err := expr.Compile(probe, scope); err == nil {
			refs := program.Refs()
			if last := refs[len(refs)-1]; last.Guard != expr.Unguarded {
				return ""
			}
		}
	}
	// A condition that fails when something failed leaves only the skipped.
	words := strings.ReplaceAll(condition, "any_success()", "any()")
	onlySkipped := strings.Contains(words, "none_failed()") || reader.inFinally && strings.Contains(words, "success()")
	for _, wider := range []string{"any()", "always()", "failure()", "canceled()", "||", "!", "?"} {
		onlySkipped = onlySkipped && !strings.Contains(words, wider)
	}
	switch {
	case !onlySkipped:
		return "failed"
	case c.maySkip(t):
		return "skipped"
	}
	return ""
}

// maySkip says whether a task may end skipped although nothing failed: it, or
// one before it, has a condition or an exit code for that.
func (c *scopes) maySkip(t *taskDraft) bool {
	if known, ok := c.skips[t.Name]; ok {
		return known
	}
	c.skips[t.Name] = false // a cycle has been told
	_, codes := t.exits.own["skip"]
	may := t.If != "" || codes && len(t.ExitCodes.Skip) > 0 ||
		t.Wait != nil && t.Wait.OnTimeout == "skip" || t.Approval != nil && t.Approval.OnReject == "skip"
	for _, n := range t.Needs {
		if need := c.byName[n]; need != nil && c.maySkip(need) {
			may = true
		}
	}
	c.skips[t.Name] = may
	return may
}
