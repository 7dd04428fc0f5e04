// Package pipeline is the file format: it turns the text of YAML files into
// checked definitions, or into every problem they have, each with its place.
package pipeline
