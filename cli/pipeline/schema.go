package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// A Schema is the subset of JSON Schema that params and outputs are declared
// with. It has been checked when the value exists.
type Schema struct {
	Type        string `json:"type"` // string, integer, number, boolean, array, object
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	// Default is a JSON value in which each string is a template, as in
	// Schedule.Params; nil: none.
	Default any `json:"default,omitempty"`
	// Required says that the value may not be absent: of a param, that who
	// starts a run must give it.
	Required   bool        `json:"required,omitempty"`
	Enum       []any       `json:"enum,omitempty"`
	Format     string      `json:"format,omitempty"` // date, date-time, time, duration, uri, email
	Pattern    string      `json:"pattern,omitempty"`
	Minimum    json.Number `json:"minimum,omitempty"`
	Maximum    json.Number `json:"maximum,omitempty"`
	Items      *Schema     `json:"items,omitempty"`      // nil: free
	Properties []Param     `json:"properties,omitempty"` // none: free
}

// MaxArray is how many elements an array value may have.
const MaxArray = 10_000

// UnmarshalJSON keeps the digits of numbers.
func (s *Schema) UnmarshalJSON(data []byte) error {
	type plain Schema
	aux := struct {
		*plain
		Default json.RawMessage `json:"default"`
		Enum    json.RawMessage `json:"enum"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	var err error
	if s.Default, err = valueFromJSON(aux.Default); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	enum, err := valueFromJSON(aux.Enum)
	if err != nil {
		return fmt.Errorf("enum: %w", err)
	}
	s.Enum, _ = enum.([]any)
	return nil
}

// Of the types a schema may have, in the order of messages.
var schemaTypes = []string{"string", "integer", "number", "boolean", "array", "object"}

var formats = []string{"date", "date-time", "time", "duration", "uri", "email"}

// Check checks a value and gives it in the schema's own form: an integer as
// int64, absent members of objects left out. The error says what is wrong with
// the value as the end of a sentence that begins with its name.
func (s Schema) Check(v any) (any, error) { return s.check(v, patterns{}) }

func (s *Schema) check(v any, res patterns) (any, error) {
	switch s.Type {
	case "string":
		return s.checkString(v, res)
	case "integer", "number":
		return s.checkNumber(v)
	case "boolean":
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case "array":
		return s.checkArray(v, res)
	case "object":
		return s.checkObject(v, res)
	}
	return nil, s.wrongType(v)
}

func (s *Schema) wrongType(v any) error {
	return fmt.Errorf("%s is not %s", show(v), article(s.Type))
}

func (s *Schema) checkString(v any, res patterns) (any, error) {
	text, ok := v.(string)
	if !ok {
		return nil, s.wrongType(v)
	}
	if err := s.checkEnum(v); err != nil {
		return nil, err
	}
	if s.Pattern != "" {
		re, err := res.compile(s.Pattern)
		if err != nil {
			return nil, err
		}
		if !re.MatchString(text) {
			return nil, fmt.Errorf("%s does not match the pattern %s", show(v), s.Pattern)
		}
	}
	if s.Format != "" && !hasFormat(text, s.Format) {
		return nil, fmt.Errorf("%s is not %s", show(v), formatNames[s.Format])
	}
	return text, nil
}

var formatNames = map[string]string{
	"date": "a date like 2026-11-22", "date-time": "an instant like 2026-11-22T05:30:00Z", "time": "a time like 05:30:00",
	"duration": "a duration like 1h30m", "uri": "an address like https://example.com/x", "email": "an address like ana@example.com",
}

func hasFormat(text, format string) bool {
	var err error
	switch format {
	case "date":
		_, err = time.Parse(time.DateOnly, text)
	case "date-time":
		_, err = time.Parse(time.RFC3339, text)
	case "time":
		if _, err = time.Parse("15:04:05.999999999", text); err != nil {
			_, _, err = schedule.ParseTimeOfDay(text)
		}
	case "duration":
		_, err = schedule.ParseDuration(text)
	case "uri":
		var u *url.URL
		if u, err = url.Parse(text); err == nil && (u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "") {
			return false
		}
	case "email":
		var a *mail.Address
		if a, err = mail.ParseAddress(text); err == nil && a.Address != text {
			return false
		}
	}
	return err == nil
}

func (s *Schema) checkNumber(v any) (any, error) {
	switch x := v.(type) {
	case int64:
	case expr.Number:
		if s.Type == "integer" {
			i, ok := x.Int()
			if !ok {
				return nil, fmt.Errorf("%s is not a whole number within 64 bits", show(v))
			}
			v = i
		}
	default:
		return nil, s.wrongType(v)
	}
	if err := s.checkEnum(v); err != nil {
		return nil, err
	}
	n := asNumber(v)
	if s.Minimum != "" && n.Cmp(expr.Number(s.Minimum)) < 0 {
		return nil, fmt.Errorf("%s is below the minimum %s", show(v), s.Minimum)
	}
	if s.Maximum != "" && n.Cmp(expr.Number(s.Maximum)) > 0 {
		return nil, fmt.Errorf("%s is above the maximum %s", show(v), s.Maximum)
	}
	return v, nil
}

func (s *Schema) checkArray(v any, res patterns) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, s.wrongType(v)
	}
	if len(list) > MaxArray {
		return nil, fmt.Errorf("has %s elements, %s at most", grouped(len(list)), grouped(MaxArray))
	}
	if s.Items == nil {
		return list, nil
	}
	out := make([]any, len(list))
	for i, e := range list {
		c, err := s.Items.check(e, res)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		out[i] = c
	}
	return out, nil
}

func (s *Schema) checkObject(v any, res patterns) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, s.wrongType(v)
	}
	if len(s.Properties) == 0 {
		return m, nil
	}
	out := make(map[string]any, len(m))
	for _, p := range s.Properties {
		member, ok := m[p.Name]
		if !ok || member == nil {
			if p.Schema.Required {
				return nil, fmt.Errorf("lacks the key %q", p.Name)
			}
			continue
		}
		c, err := p.Schema.check(member, res)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", p.Name, err)
		}
		out[p.Name] = c
	}
	for _, k := range sortedKeys(m) {
		if findParam(s.Properties, k) == nil {
			return nil, unknown("key", k, paramNames(s.Properties))
		}
	}
	return out, nil
}

func (s *Schema) checkEnum(v any) error {
	if len(s.Enum) == 0 || slices.ContainsFunc(s.Enum, func(e any) bool { return sameValue(e, v) }) {
		return nil
	}
	var b strings.Builder
	for i, e := range s.Enum {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == 20 {
			fmt.Fprintf(&b, "and %d more", len(s.Enum)-i)
			break
		}
		b.WriteString(plain(e))
	}
	return fmt.Errorf("%s is not one of %s", show(v), b.String())
}

// FromText reads a value as a command line or a form gives it: a string is the
// text as it is, the others are written plainly, arrays and objects as JSON.
func (s Schema) FromText(text string) (any, error) {
	if s.Type == "string" {
		if !utf8.ValidString(text) {
			return nil, errors.New("is not UTF-8")
		}
		return s.Check(text)
	}
	if text == "" {
		return nil, fmt.Errorf("is empty, %s is wanted", article(s.Type))
	}
	switch s.Type {
	case "integer", "number":
		if !plainNumber(text, s.Type == "number") {
			return nil, s.wrongType(text)
		}
	case "boolean":
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("is true or false, found %s", show(text))
		}
	}
	v, err := s.FromJSON([]byte(text))
	return v, err
}

// FromJSON reads a value from JSON; a null is no value of any type.
func (s Schema) FromJSON(data json.RawMessage) (any, error) {
	v, err := expr.FromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("is not %s: %w", article(s.Type), err)
	}
	return s.Check(v)
}

// ExprType is what expressions know of a value of the schema.
func (s Schema) ExprType() expr.Type {
	switch s.Type {
	case "string":
		return expr.Of(expr.KindString)
	case "integer":
		return expr.Of(expr.KindInteger)
	case "number":
		return expr.Of(expr.KindNumber)
	case "boolean":
		return expr.Of(expr.KindBoolean)
	case "array":
		if s.Items != nil {
			return expr.ListOf(s.Items.ExprType())
		}
		return expr.ListOf(expr.Type{})
	case "object":
		if len(s.Properties) > 0 {
			return recordOf(s.Properties)
		}
		return expr.DictOf(expr.Type{})
	}
	return expr.Type{}
}

func recordOf(params []Param) expr.Type {
	members := make(map[string]expr.Type, len(params))
	for _, p := range params {
		t := p.Schema.ExprType()
		if !p.Schema.Required && p.Schema.Default == nil {
			t = t.Maybe()
		}
		members[p.Name] = t
	}
	return expr.RecordOf(members)
}

// patterns keeps what one Check has compiled: an array asks for the same
// pattern ten thousand times.
type patterns map[string]*regexp.Regexp

func (p patterns) compile(text string) (*regexp.Regexp, error) {
	if re, ok := p[text]; ok {
		return re, nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("pattern %s: %w", text, err)
	}
	p[text] = re
	return re, nil
}

func findParam(params []Param, name string) *Param {
	for i := range params {
		if params[i].Name == name {
			return &params[i]
		}
	}
	return nil
}

func paramNames(params []Param) []string {
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.Name
	}
	return names
}

func asNumber(v any) expr.Number {
	if i, ok := v.(int64); ok {
		n, _ := expr.ParseNumber(fmt.Sprint(i))
		return n
	}
	n, _ := v.(expr.Number)
	return n
}

// sameValue compares two JSON values; numbers by value.
func sameValue(a, b any) bool {
	switch a.(type) {
	case int64, expr.Number:
		switch b.(type) {
		case int64, expr.Number:
			return asNumber(a).Cmp(asNumber(b)) == 0
		}
		return false
	case string, bool, nil:
		return a == b
	}
	return false
}
