package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// describeParam is a declared param for people and programs.
func describeParam(p pipeline.Param) api.Param {
	s := p.Schema
	out := api.Param{Name: p.Name, Type: s.Type, Title: s.Title, Description: s.Description, Required: s.Required, Format: s.Format}
	if s.Default != nil {
		out.Default, _ = expr.ToJSON(s.Default)
	}
	for _, v := range s.Enum {
		if b, err := expr.ToJSON(v); err == nil {
			out.Enum = append(out.Enum, b)
		}
	}
	out.Schema, _ = json.Marshal(s)
	return out
}

// paramValues reads the values of a request: JSON as it is, text as the declared
// type has it. Whether they fit together is for flow to say.
func paramValues(def *pipeline.Pipeline, req api.RunRequest) (map[string]any, []api.Finding) {
	var wrong []api.Finding
	say := func(name, hint, format string, args ...any) {
		wrong = append(wrong, api.Finding{Severity: api.FindingSeverityError, Code: "SYN1301", Param: name, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	given := map[string]any{}
	take := func(name string, v any) {
		if holdsNUL(v) {
			say(name, "leave it out", "param %s holds the character U+0000, which cannot be stored", name)
			return
		}
		given[name] = v
	}
	schema := func(name string) *pipeline.Schema {
		i := slices.IndexFunc(def.Params, func(p pipeline.Param) bool { return p.Name == name })
		if i < 0 {
			return nil
		}
		return &def.Params[i].Schema
	}
	for _, name := range slices.Sorted(maps.Keys(req.Params)) {
		s, raw := schema(name), req.Params[name]
		switch {
		case s == nil:
			given[name] = string(raw) // unknown: flow says so
		case string(raw) == "null":
		default:
			v, err := s.FromJSON(raw)
			if err != nil {
				say(name, "", "param %s: %v", name, err)
				continue
			}
			take(name, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(req.Texts)) {
		if _, twice := req.Params[name]; twice {
			say(name, "give it once", "param %s is given twice", name)
			continue
		}
		s := schema(name)
		if s == nil {
			given[name] = req.Texts[name]
			continue
		}
		v, err := s.FromText(req.Texts[name])
		if err != nil {
			say(name, "", "param %s: %v", name, err)
			continue
		}
		take(name, v)
	}
	return given, wrong
}

// createError turns what flow says about a request into what people read.
func createError(ref PipelineRef, err error, before []api.Finding) error {
	bad, ok := errors.AsType[*flow.CreateError](err)
	if !ok && err != nil {
		return err
	}
	all := before
	named := map[string]bool{}
	for _, f := range before {
		named[f.Param] = true
	}
	if bad != nil {
		for _, p := range bad.Problems {
			if p.Param != "" && named[p.Param] {
				continue // its value could not be read, so flow found it missing
			}
			all = append(all, api.Finding{Severity: api.FindingSeverityError, Code: "SYN1301", Param: p.Param, Message: p.Message, Hint: p.Hint})
		}
	}
	if len(all) == 0 {
		return nil
	}
	e := api.Errorf(api.Unprocessable, "%s with the params of %s; no run was made", plural(len(all), "problem"), ref)
	if len(all) == 1 {
		e.Message, e.Hint = all[0].Message, all[0].Hint
	}
	e.Problems = all
	return e
}

// holdsNUL tells whether there is a NUL in a text of a value: JSON may hold one,
// the database may not.
func holdsNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.ContainsRune(v, 0)
	case []any:
		return slices.ContainsFunc(v, holdsNUL)
	case map[string]any:
		for k, m := range v {
			if holdsNUL(k) || holdsNUL(m) {
				return true
			}
		}
	}
	return false
}
