package pipeline

import (
	"bytes"
	"encoding/json"
)

// JSONSchema makes the schema that editors check pipeline files with, from the
// tables that Parse reads by. It knows shapes, not rules.
func JSONSchema() []byte {
	ts := newTables()
	defs := jsonSchema{
		"task":      ts.task.schema(),
		"defaults":  ts.defaults.schema(),
		"schedule":  ts.schedule.schema(),
		"param":     ts.param.schema(),
		"output":    ts.output.schema(),
		"runOutput": ts.runOutput.schema(),
		"pipeline":  ts.pipeline.schema(),
		"pool":      ts.poolDoc.schema(),
		"vars":      ts.varsDoc.schema(),
	}
	kindIs := func(kind string) jsonSchema {
		return jsonSchema{"properties": jsonSchema{"kind": jsonSchema{"const": kind}}, "required": []any{"kind"}}
	}
	root := jsonSchema{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "Synthesizer pipeline file",
		"type":    "object",
		"if":      kindIs(DocumentPool),
		"then":    ref("pool"),
		"else": jsonSchema{
			"if": kindIs(DocumentVars), "then": ref("vars"), "else": ref("pipeline"),
		},
		"$defs": defs,
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		panic(err) // maps and words only
	}
	return b.Bytes()
}

func ref(name string) jsonSchema { return jsonSchema{"$ref": "#/$defs/" + name} }

// schema tells editors the keys of a map that are built.
func (o *object[T]) schema() jsonSchema {
	properties := jsonSchema{}
	var required []any
	for _, f := range o.fields {
		if f.feature != "" || f.reserved || f.schema == nil {
			continue
		}
		s := jsonSchema{}
		for k, v := range f.schema() {
			s[k] = v
		}
		if f.doc != "" {
			s["description"] = f.doc
		}
		properties[f.key] = s
		if f.required {
			required = append(required, f.key)
		}
	}
	s := jsonSchema{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		s["required"] = required
	}
	return s
}

// mapSchema is a map with keys of a pattern.
func mapSchema(pattern string, of jsonSchema, limit int) jsonSchema {
	return jsonSchema{
		"type": "object", "additionalProperties": of, "maxProperties": limit,
		"propertyNames": jsonSchema{"pattern": pattern},
	}
}

func tasksSchema(least int) jsonSchema {
	s := mapSchema(namePattern, ref("task"), DefaultLimits().Tasks)
	if least > 0 {
		s["minProperties"] = least
	}
	return s
}

func scheduleSchema() jsonSchema {
	return jsonSchema{"anyOf": []any{
		jsonSchema{"type": "string"},
		ref("schedule"),
		jsonSchema{"type": "array", "items": ref("schedule"), "maxItems": MaxSchedules},
	}}
}
