package target

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// A reader reads nodes of YAML strictly and collects what is wrong with them,
// each with its place.
type reader struct {
	file  string
	wrong []error
}

// A value is a node and the key it stands under.
type value struct {
	key *yaml.Node
	*yaml.Node
}

// maxWrong is how many mistakes are told.
const maxWrong = 20

func (r *reader) failf(at *yaml.Node, format string, args ...any) {
	if len(r.wrong) < maxWrong {
		r.wrong = append(r.wrong, fmt.Errorf("%s:%d:%d: %s", r.file, at.Line, at.Column, fmt.Sprintf(format, args...)))
	}
}

// decode gives the one document of the file, nil if there is none.
func (r *reader) decode(data []byte) *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var root yaml.Node
	err := d.Decode(&root)
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(root.Content) == 0:
		r.wrong = append(r.wrong, fmt.Errorf("%s:1:1: it is empty → targets: {…}", r.file))
		return nil
	case err != nil:
		r.wrong = append(r.wrong, fmt.Errorf("%s: %s", r.file, strings.TrimPrefix(err.Error(), "yaml: ")))
		return nil
	}
	var more yaml.Node
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		r.wrong = append(r.wrong, fmt.Errorf("%s: one document is wanted, there are more", r.file))
		return nil
	}
	if !r.plain(root.Content[0], 1) {
		return nil
	}
	return root.Content[0]
}

// plain refuses what makes a file say something else than it seems to.
func (r *reader) plain(n *yaml.Node, depth int) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.failf(n, "anchors and aliases are not supported: repeat the value")
	case n.Style&yaml.TaggedStyle != 0:
		r.failf(n, "tags are not supported")
	case depth > 10:
		r.failf(n, "nested deeper than 10 levels")
	default:
		for _, c := range n.Content {
			if !r.plain(c, depth+1) {
				return false
			}
		}
		return true
	}
	return false
}

// pairs gives the keys and values of a map, each key once.
func (r *reader) pairs(v value) []value {
	if v.Kind != yaml.MappingNode {
		r.failf(v.Node, "%s is a map", v.key.Value)
		return nil
	}
	var list []value
	seen := map[string]int{}
	for i := 0; i+1 < len(v.Content); i += 2 {
		k := v.Content[i]
		if line, twice := seen[k.Value]; twice {
			r.failf(k, "key %q is already there (line %d)", k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		list = append(list, value{k, v.Content[i+1]})
	}
	return list
}

// fields hands each value of a map to what reads it.
func (r *reader) fields(what string, n *yaml.Node, known map[string]func(value)) {
	for _, e := range r.pairs(value{&yaml.Node{Value: what}, n}) {
		read, ok := known[e.key.Value]
		if !ok {
			r.failf(e.key, "unknown key %q in %s; there are %s", e.key.Value, what, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			continue
		}
		read(e)
	}
}

// peek gives the value of a key, nil if it is not there.
func (r *reader) peek(v value, key string) *yaml.Node {
	if v.Kind != yaml.MappingNode {
		r.failf(v.Node, "%s is a map", v.key.Value)
		return nil
	}
	for i := 0; i+1 < len(v.Content); i += 2 {
		if v.Content[i].Value == key {
			return v.Content[i+1]
		}
	}
	return nil
}

func (r *reader) list(v value) []*yaml.Node {
	if v.Kind != yaml.SequenceNode {
		r.failf(v.Node, "%s is a list", v.key.Value)
		return nil
	}
	return v.Content
}

// text gives a text, "" if it is none.
func (r *reader) text(v value) string {
	if v.Kind != yaml.ScalarNode || v.Tag == "!!null" || v.Value == "" {
		r.failf(v.Node, "%s is a text", v.key.Value)
		return ""
	}
	return v.Value
}

func (r *reader) matching(v value, pattern *regexp.Regexp) string {
	text := r.text(v)
	if text != "" && !pattern.MatchString(text) {
		// The value is not repeated: it may be a credential in the wrong place.
		r.failf(v.Node, "%s is a name, this is none", v.key.Value)
		return ""
	}
	return text
}

func (r *reader) boolean(v value) bool {
	if v.Kind == yaml.ScalarNode && v.Style == 0 && (v.Value == "true" || v.Value == "false") {
		return v.Value == "true"
	}
	r.failf(v.Node, "%s is true or false", v.key.Value)
	return false
}

var numberRE = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

func (r *reader) number(v value, least, most float64) float64 {
	n, err := strconv.ParseFloat(v.Value, 64)
	if v.Kind != yaml.ScalarNode || v.Style != 0 || !numberRE.MatchString(v.Value) || err != nil || n < least || n > most {
		r.failf(v.Node, "%s is a number, %v to %v", v.key.Value, least, most)
		return least
	}
	return n
}

func (r *reader) duration(v value, least, most time.Duration) time.Duration {
	d, err := schedule.ParseDuration(r.text(v))
	if err != nil || d < least || d > most {
		r.failf(v.Node, "%s is a duration, %s to %s", v.key.Value, schedule.FormatDuration(least), schedule.FormatDuration(most))
		return least
	}
	return d
}
