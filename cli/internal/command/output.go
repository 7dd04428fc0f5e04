package command

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// data writes a value as JSON or YAML. JSON is for people on a terminal and
// for programs elsewhere.
func (u *ui) data(value any) error {
	if u.format == formatYAML {
		text, err := yamlOf(value)
		if err != nil {
			return err
		}
		return u.out(text)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if u.env.StdoutTTY {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return u.out(b.String())
}

// yamlOf writes a value as YAML, with the names and the order of its JSON.
func yamlOf(value any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "", fmt.Errorf("write JSON: %w", err)
	}
	// JSON is YAML: read as nodes, its fields keep their order, its numbers
	// their digits.
	var node yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &node); err != nil {
		return "", fmt.Errorf("write YAML: %w", err)
	}
	block(&node)
	var out bytes.Buffer
	w := yaml.NewEncoder(&out)
	w.SetIndent(2)
	if err := w.Encode(&node); err != nil {
		return "", fmt.Errorf("write YAML: %w", err)
	}
	return out.String(), nil
}

// block takes JSON's style out of nodes.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}

// items is a list as JSON has it.
type items[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

func listOf[T any](list []T, next string) items[T] {
	if list == nil {
		list = []T{}
	}
	return items[T]{list, next}
}

// jsonLine writes a value as one line of JSON.
func (u *ui) jsonLine(value any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return u.out(b.String())
}
