package pipeline_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// one parses a file that must be fine and gives its only pipeline.
func one(t *testing.T, text string) *pipeline.Pipeline {
	t.Helper()
	files := []pipeline.File{{Name: "a.yaml", Text: []byte(text)}}
	source, problems := pipeline.Parse(files, pipeline.Options{})
	if problems.HasErrors() {
		t.Fatal(problems.Text(files, false))
	}
	return source.Pipelines()[0]
}

const paramsFile = `name: a
params:
  region: {type: string, enum: [emea, apac]}
  limit: {type: integer, minimum: 1, maximum: 9, default: 3}
  share: {type: number, default: 0.5}
  dry: {type: boolean, default: false}
  list: {type: array, items: {type: integer}, default: []}
  obj: {type: object, properties: {a: {type: integer}, b: {type: string, required: false}}, required: false}
  day: {type: string, format: date, required: false}
  note: {type: string, required: false}
tasks: {t: {run: x}}
`

func TestCheckParams(t *testing.T) {
	p := one(t, paramsFile)
	for name, c := range map[string]struct {
		given string // JSON
		want  map[string]any
		bad   string
	}{
		"all":             {`{"region":"emea","limit":4,"share":1,"dry":true,"list":[1,2],"obj":{"a":1},"day":"2026-11-22"}`, map[string]any{"region": "emea", "limit": int64(4), "share": int64(1), "dry": true, "list": []any{int64(1), int64(2)}, "obj": map[string]any{"a": int64(1)}, "day": "2026-11-22"}, ""},
		"whole numbers":   {`{"region":"emea","limit":3.0,"list":[3e0]}`, map[string]any{"region": "emea", "limit": int64(3), "list": []any{int64(3)}}, ""},
		"null is absent":  {`{"region":"emea","limit":null}`, map[string]any{"region": "emea"}, ""},
		"missing":         {`{}`, nil, "param region has no value"},
		"unknown":         {`{"region":"emea","regoin":"x"}`, nil, `unknown param "regoin"; did you mean "region"?`},
		"enum":            {`{"region":"us"}`, nil, `"us" is not one of emea, apac`},
		"below":           {`{"region":"emea","limit":0}`, nil, "below the minimum 1"},
		"above":           {`{"region":"emea","limit":10}`, nil, "above the maximum 9"},
		"text for number": {`{"region":"emea","limit":"4"}`, nil, `"4" is not an integer`},
		"fraction":        {`{"region":"emea","limit":1.5}`, nil, "not a whole number"},
		"beyond 64 bits":  {`{"region":"emea","limit":9223372036854775808}`, nil, "64 bits"},
		"element":         {`{"region":"emea","list":[1,"x"]}`, nil, "element 1"},
		"key":             {`{"region":"emea","obj":{"a":1,"c":2}}`, nil, `unknown key "c"`},
		"missing key":     {`{"region":"emea","obj":{}}`, nil, `lacks the key "a"`},
		"date":            {`{"region":"emea","day":"2026-02-30"}`, nil, "not a date"},
		"too large":       {`{"region":"emea","note":"` + strings.Repeat("x", 300<<10) + `"}`, nil, "262 144 at most"},
	} {
		t.Run(name, func(t *testing.T) {
			given, err := expr.FromJSON([]byte(c.given))
			if err != nil {
				t.Fatal(err)
			}
			got, bad := p.CheckParams(given.(map[string]any))
			if c.bad == "" {
				if len(bad) > 0 {
					t.Fatal(bad)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
				return
			}
			if len(bad) != 1 || !strings.Contains(bad[0].Error(), c.bad) {
				t.Errorf("got %v, want %q", bad, c.bad)
			}
		})
	}
}

func TestParamsFromText(t *testing.T) {
	p := one(t, paramsFile)
	for _, c := range []struct {
		name, text string
		want       any // nil: refused
	}{
		{"note", "", ""},
		{"note", "a b", "a b"},
		{"note", "12", "12"},
		{"limit", "4", int64(4)},
		{"limit", "", nil},
		{"limit", "04", nil},
		{"limit", "4.0", nil},
		{"limit", "4e0", nil},
		{"limit", " 4", nil},
		{"share", "0.50", expr.Number("0.50")},
		{"share", "5e-1", nil},
		{"dry", "true", true},
		{"dry", "yes", nil},
		{"list", "[1, 2]", []any{int64(1), int64(2)}},
		{"list", "1,2", nil},
		{"obj", `{"a": 1}`, map[string]any{"a": int64(1)}},
		{"obj", `{"a": 1, "a": 2}`, nil},
		{"lmit", "1", nil},
	} {
		got, err := p.ParamFromText(c.name, c.text)
		if (err == nil) != (c.want != nil) || c.want != nil && !cmp.Equal(got, c.want) {
			t.Errorf("ParamFromText(%s, %q) = %#v, %v, want %#v", c.name, c.text, got, err, c.want)
		}
	}
}

func TestCheckOutputs(t *testing.T) {
	task := one(t, `name: a
tasks:
  t:
    run: x
    outputs:
      uri: {type: string}
      rows: {type: integer, required: false}
      list: {type: array, items: {type: string}, required: false}
      ok: {type: boolean, required: false}
`).Tasks[0]
	text := func(s string) pipeline.RawOutput { return pipeline.RawOutput{Text: s} }
	value := func(s string) pipeline.RawOutput { return pipeline.RawOutput{JSON: json.RawMessage(s)} }
	for name, c := range map[string]struct {
		raw    map[string]pipeline.RawOutput
		want   map[string]any
		reason string
	}{
		"text":              {map[string]pipeline.RawOutput{"uri": text("12"), "rows": text("3.0"), "list": text(`["a"]`), "ok": text("true")}, map[string]any{"uri": "12", "rows": int64(3), "list": []any{"a"}, "ok": true}, ""},
		"json":              {map[string]pipeline.RawOutput{"uri": value(`"x"`), "rows": value("3")}, map[string]any{"uri": "x", "rows": int64(3)}, ""},
		"undeclared stay":   {map[string]pipeline.RawOutput{"uri": text("x"), "more": text("y"), "data": value(`{"a":1}`)}, map[string]any{"uri": "x", "more": "y", "data": map[string]any{"a": int64(1)}}, ""},
		"null is absent":    {map[string]pipeline.RawOutput{"uri": text("x"), "rows": text("null")}, map[string]any{"uri": "x"}, ""},
		"missing":           {map[string]pipeline.RawOutput{"rows": text("3")}, nil, "outputs_missing"},
		"null for required": {map[string]pipeline.RawOutput{"uri": value("null")}, nil, "outputs_missing"},
		"number for string": {map[string]pipeline.RawOutput{"uri": value("12")}, nil, "outputs_type"},
		"wrong type":        {map[string]pipeline.RawOutput{"uri": text("x"), "rows": text("many")}, nil, "outputs_type"},
		"wrong element":     {map[string]pipeline.RawOutput{"uri": text("x"), "list": text("[1]")}, nil, "outputs_type"},
		"too large":         {map[string]pipeline.RawOutput{"uri": text(strings.Repeat("x", 70_000))}, nil, "outputs_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := task.CheckOutputs(c.raw)
			if c.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
				return
			}
			if err == nil || err.Reason != c.reason {
				t.Errorf("got %v, want %s", err, c.reason)
			}
		})
	}
}
