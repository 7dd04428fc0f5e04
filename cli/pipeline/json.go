package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
)

// MarshalJSON writes an object keyed by the tasks' names, in their order.
func (ts Tasks) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, t := range ts {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		task, err := json.Marshal(t)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", t.Name, err)
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(task)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads what MarshalJSON wrote and orders the tasks by ordinal:
// a database that keeps JSON by key may have lost their order.
func (ts *Tasks) UnmarshalJSON(data []byte) error {
	var byName map[string]*Task
	if err := json.Unmarshal(data, &byName); err != nil {
		return err
	}
	list := make(Tasks, 0, len(byName))
	for name, t := range byName {
		if t == nil {
			return fmt.Errorf("task %s is null", name)
		}
		t.Name = name
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *Task) int { return a.Ordinal - b.Ordinal })
	*ts = list
	return nil
}

// Task gives the task of a name, of Tasks or Finally; nil if there is none.
func (p *Pipeline) Task(name string) *Task {
	for _, list := range []Tasks{p.Tasks, p.Finally} {
		for _, t := range list {
			if t.Name == name {
				return t
			}
		}
	}
	return nil
}

// UnmarshalJSON keeps the digits of numbers.
func (s *Schedule) UnmarshalJSON(data []byte) error {
	type plain Schedule
	aux := struct {
		*plain
		Params json.RawMessage `json:"params"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	params, err := valueFromJSON(aux.Params)
	if err != nil {
		return fmt.Errorf("params of schedule %s: %w", s.ID, err)
	}
	s.Params, _ = params.(map[string]any)
	return nil
}

// UnmarshalJSON keeps the digits of numbers.
func (i *Items) UnmarshalJSON(data []byte) error {
	var aux struct {
		Expr Expr            `json:"expr"`
		List json.RawMessage `json:"list"`
	}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	list, err := valueFromJSON(aux.List)
	if err != nil {
		return fmt.Errorf("items: %w", err)
	}
	i.Expr = aux.Expr
	i.List, _ = list.([]any)
	return nil
}

// UnmarshalJSON reads the axis, of which the items are a part.
func (a *Axis) UnmarshalJSON(data []byte) error {
	var aux struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	a.Name = aux.Name
	return a.Items.UnmarshalJSON(data)
}

// valueFromJSON is expr.FromJSON, but nothing for nothing.
func valueFromJSON(data json.RawMessage) (any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	return expr.FromJSON(data)
}

// UnmarshalJSON keeps the digits of numbers.
func (s *Sub) UnmarshalJSON(data []byte) error {
	type plain Sub
	aux := struct {
		*plain
		Params json.RawMessage `json:"params"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	params, err := valueFromJSON(aux.Params)
	if err != nil {
		return fmt.Errorf("params of pipeline %s: %w", s.Name, err)
	}
	s.Params, _ = params.(map[string]any)
	return nil
}

// UnmarshalJSON keeps the digits of numbers.
func (t *Trigger) UnmarshalJSON(data []byte) error {
	type plain Trigger
	aux := struct {
		*plain
		Params json.RawMessage `json:"params"`
	}{plain: (*plain)(t)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	params, err := valueFromJSON(aux.Params)
	if err != nil {
		return fmt.Errorf("params of trigger %s: %w", t.Name, err)
	}
	t.Params, _ = params.(map[string]any)
	return nil
}

// UnmarshalJSON keeps the digits of numbers.
func (h *WaitHTTP) UnmarshalJSON(data []byte) error {
	type plain WaitHTTP
	aux := struct {
		*plain
		Body json.RawMessage `json:"body"`
	}{plain: (*plain)(h)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	var err error
	if h.Body, err = valueFromJSON(aux.Body); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}
