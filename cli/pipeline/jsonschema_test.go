package pipeline_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// TestJSONSchemaIsCommitted: run with -update after a change of the fields.
func TestJSONSchemaIsCommitted(t *testing.T) {
	golden(t, "pipeline.schema.json", string(pipeline.JSONSchema()))
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(pipeline.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("pipeline.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("pipeline.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// documents reads a file as editors do: by YAML 1.2.
func documents(t *testing.T, text []byte) []any {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var docs []any
	for {
		var n yaml.Node
		err := decoder.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatal(err)
		}
		if v := asEditor(n.Content[0]); v != nil {
			docs = append(docs, v)
		}
	}
}

var coreNumber = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?$`)

func asEditor(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = asEditor(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			list = append(list, asEditor(c))
		}
		return list
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return n.Value
	}
	switch n.Value {
	case "", "~", "null":
		return nil
	case "true", "false":
		return n.Value == "true"
	}
	if coreNumber.MatchString(n.Value) {
		f, err := strconv.ParseFloat(n.Value, 64)
		if err == nil {
			return f
		}
	}
	return n.Value
}

func TestJSONSchemaTakesWhatParseTakes(t *testing.T) {
	schema := compileSchema(t)
	files, _ := filepath.Glob("testdata/valid/*.yaml")
	for _, path := range files {
		for i, doc := range documents(t, read(t, path).Text) {
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%s, document %d: %v", path, i+1, err)
			}
		}
	}
}

// TestJSONSchemaRefusesWrongShapes: what is wrong with structure is seen by the
// schema as well; rules about meaning are for Parse alone.
func TestJSONSchemaRefusesWrongShapes(t *testing.T) {
	schema := compileSchema(t)
	for _, code := range []string{"1005", "1006", "1008", "1009-types", "1009-ranges", "1010", "1101-names", "1406", "1409", "1601-later", "1602"} {
		files, _ := filepath.Glob("testdata/rules/" + code + "*.yaml")
		if len(files) == 0 {
			t.Errorf("no files of %s", code)
		}
		for _, path := range files {
			base := filepath.Base(path)
			if base == "1005-empty.yaml" || base == "1005-null.yaml" {
				continue // no document at all
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i, doc := range documents(t, text) {
				if schema.Validate(doc) == nil {
					t.Errorf("%s, document %d: the schema takes it:\n%s", base, i+1, strings.TrimSpace(string(text)))
				}
			}
		}
	}
}
