package pipeline

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// A ParamError says what is wrong with a param that was given for a run.
type ParamError struct {
	Param   string // "" for all of them together
	Message string // `param limit: 0 is below the minimum 1`
	Hint    string
}

// Error gives the message and what to do about it.
func (e ParamError) Error() string {
	switch {
	case e.Hint == "":
		return e.Message
	case len(e.Hint) > 12 && e.Hint[:12] == "did you mean":
		return e.Message + "; " + e.Hint
	default:
		return e.Message + " → " + e.Hint
	}
}

// CheckParams checks the values given for a run, as JSON has them, and gives
// them in the form their schemas want. A null counts as absent. Params that
// are not given and have a default are left out: their expressions are
// evaluated when the run is created.
func (p *Pipeline) CheckParams(given map[string]any) (map[string]any, []ParamError) {
	var bad []ParamError
	names := paramNames(p.Params)
	for _, name := range sortedKeys(given) {
		if findParam(p.Params, name) == nil {
			bad = append(bad, ParamError{Param: name, Message: "unknown param " + show(name), Hint: didYouMean(name, names)})
		}
	}
	values := make(map[string]any, len(given))
	for _, param := range p.Params {
		v := given[param.Name]
		if v == nil {
			if param.Schema.Required {
				bad = append(bad, ParamError{Param: param.Name, Message: "param " + param.Name + " has no value and no default", Hint: "-p " + param.Name + "=…"})
			}
			continue
		}
		checked, err := param.Schema.Check(v)
		if err != nil {
			bad = append(bad, ParamError{Param: param.Name, Message: "param " + param.Name + ": " + err.Error()})
			continue
		}
		values[param.Name] = checked
	}
	if data, err := expr.ToJSON(values); err == nil && len(data) > MaxParamBytes {
		bad = append(bad, ParamError{Message: fmt.Sprintf("the params have %s bytes together, %s at most", grouped(len(data)), grouped(MaxParamBytes)), Hint: "pass large data by address"})
	}
	return values, bad
}

// ParamFromText reads the value of a param as a command line or a form gives
// it.
func (p *Pipeline) ParamFromText(name, text string) (any, error) {
	param := findParam(p.Params, name)
	if param == nil {
		return nil, ParamError{Param: name, Message: "unknown param " + show(name), Hint: didYouMean(name, paramNames(p.Params))}
	}
	v, err := param.Schema.FromText(text)
	if err != nil {
		return nil, ParamError{Param: name, Message: "param " + name + ": " + err.Error()}
	}
	return v, nil
}

// A RawOutput is one output as a task wrote it: as text, or as a value in a
// line of JSON.
type RawOutput struct {
	Text string
	JSON json.RawMessage // nil: Text
}

// An OutputError says why what a task wrote fails its attempt.
type OutputError struct {
	Reason string // outputs_missing, outputs_type, outputs_too_large
	Detail string // one clause for people, without a full stop
}

// Error gives the detail.
func (e *OutputError) Error() string { return e.Detail }

// CheckOutputs reads what a task wrote by what it declares. Keys that are not
// declared are kept, as text or as the JSON they were.
func (t *Task) CheckOutputs(raw map[string]RawOutput) (map[string]any, *OutputError) {
	return t.checkOutputs(raw, "was not written to $SYN_OUTPUT")
}

func (t *Task) checkOutputs(raw map[string]RawOutput, missing string) (map[string]any, *OutputError) {
	values := make(map[string]any, len(raw))
	declared := make(map[string]bool, len(t.Outputs))
	for _, out := range t.Outputs {
		declared[out.Name] = true
		written, ok := raw[out.Name]
		var v any
		if ok {
			var err error
			if v, err = out.read(written); err != nil {
				return nil, &OutputError{Reason: "outputs_type", Detail: "output " + out.Name + ": " + err.Error()}
			}
		}
		switch {
		case v != nil:
			values[out.Name] = v
		case out.Required:
			return nil, &OutputError{Reason: "outputs_missing", Detail: "output " + out.Name + " " + missing}
		}
	}
	for name, written := range raw {
		if declared[name] {
			continue
		}
		values[name] = written.Text
		if written.JSON != nil {
			v, err := expr.FromJSON(written.JSON)
			if err != nil {
				return nil, &OutputError{Reason: "outputs_syntax", Detail: "output " + clip(name, 64) + ": " + err.Error()}
			}
			values[name] = v
		}
	}
	data, err := expr.ToJSON(values)
	if err != nil {
		return nil, &OutputError{Reason: "outputs_type", Detail: err.Error()}
	}
	if len(data) > MaxOutputBytes {
		return nil, &OutputError{Reason: "outputs_too_large", Detail: fmt.Sprintf("the outputs have %s bytes together, %s at most", grouped(len(data)), grouped(MaxOutputBytes))}
	}
	return values, nil
}

// CheckValues checks the outputs of a child run by what the task declares. What
// is not declared is kept.
func (t *Task) CheckValues(given map[string]any) (map[string]any, *OutputError) {
	raw := make(map[string]RawOutput, len(given))
	for name, v := range given {
		data, err := expr.ToJSON(v)
		if err != nil {
			return nil, &OutputError{Reason: "outputs_type", Detail: "output " + clip(name, 64) + ": " + err.Error()}
		}
		raw[name] = RawOutput{JSON: data}
	}
	return t.checkOutputs(raw, "is not among the outputs of the run it called")
}

// read gives the value of an output, nil if what was written counts as absent.
func (o Output) read(written RawOutput) (any, error) {
	if written.JSON == nil && o.Schema.Type == "string" {
		return o.Schema.Check(written.Text)
	}
	data := written.JSON
	if data == nil {
		data = json.RawMessage(written.Text)
	}
	v, err := expr.FromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("is not %s: %w", article(o.Schema.Type), err)
	}
	if v == nil {
		return nil, nil
	}
	return o.Schema.Check(v)
}

// CheckCall is CheckParams for what a pipeline task gives. The file that holds
// the task did not know this schema, so numbers, true and false stand for their
// text where a string is declared.
func (p *Pipeline) CheckCall(given map[string]any) (map[string]any, []ParamError) {
	written := make(map[string]any, len(given))
	for name, v := range given {
		if param := findParam(p.Params, name); param != nil {
			v = param.Schema.written(v)
		}
		written[name] = v
	}
	return p.CheckParams(written)
}

// written turns what a file wrote without quotes into text where the schema
// wants text.
func (s *Schema) written(v any) any {
	switch x := v.(type) {
	case bool:
		if s.Type == "string" {
			return strconv.FormatBool(x)
		}
	case int64:
		if s.Type == "string" {
			return strconv.FormatInt(x, 10)
		}
	case expr.Number:
		if s.Type == "string" {
			return string(x)
		}
	case []any:
		if s.Type != "array" || s.Items == nil {
			return v
		}
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = s.Items.written(e)
		}
		return list
	case map[string]any:
		if s.Type != "object" || len(s.Properties) == 0 {
			return v
		}
		m := make(map[string]any, len(x))
		for key, e := range x {
			if p := findParam(s.Properties, key); p != nil {
				e = p.Schema.written(e)
			}
			m[key] = e
		}
		return m
	}
	return v
}
