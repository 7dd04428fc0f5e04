// Package secretfile reads the secrets of tasks from a file on the executor's
// machine.
package secretfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/synthesizer-dev/synthesizer/services/internal/private"
)

// A File holds secrets by namespace and name. It is read again when it has
// changed. It may be used by many goroutines; a nil File holds nothing.
type File struct {
	file *private.File[map[string]map[string]string]
}

// maxSize bounds the file.
const maxSize = 4 << 20

// Open reads a file of secrets; "" is none. It has lines NAME=VALUE, for the
// namespace default, and NAMESPACE/NAME=VALUE, or is one JSON object: names of
// namespaces, each with an object of names and values. Nobody but its owner
// may have any right to it, and that is this process's user or root.
func Open(path string) (*File, error) {
	if path == "" {
		return nil, nil
	}
	f := &File{private.New("the secrets file", path, maxSize, parse)}
	if err := f.Check(); err != nil {
		return nil, err
	}
	return f, nil
}

// Check says why the file cannot be used now, or nil.
func (f *File) Check() error {
	if f == nil {
		return nil
	}
	_, err := f.file.Get()
	return err
}

// Lookup gives the value of a secret; ok is false if the file does not have it.
// Its errors hold no values.
func (f *File) Lookup(namespace, name string) (value string, ok bool, err error) {
	if f == nil {
		return "", false, nil
	}
	values, err := f.file.Get()
	if err != nil {
		return "", false, err
	}
	value, ok = values[namespace][name]
	return value, ok, nil
}

// parse reads either form.
func parse(data []byte) (map[string]map[string]string, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var values map[string]map[string]string
		d := json.NewDecoder(bytes.NewReader(data))
		if err := d.Decode(&values); err != nil {
			return nil, errors.New("is not a JSON object of namespaces, each with an object of names and values")
		}
		if _, err := d.Token(); err != io.EOF {
			return nil, errors.New("something follows the JSON object")
		}
		return values, nil
	}
	values := map[string]map[string]string{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		namespace, name, scoped := strings.Cut(key, "/")
		if !scoped {
			namespace, name = "default", key
		}
		if !ok || namespace == "" || name == "" || strings.ContainsAny(name, " \t/") {
			return nil, fmt.Errorf("line %d: expected NAME=VALUE or NAMESPACE/NAME=VALUE", n)
		}
		if values[namespace] == nil {
			values[namespace] = map[string]string{}
		}
		if _, twice := values[namespace][name]; twice {
			return nil, fmt.Errorf("line %d: %s is set twice", n, key)
		}
		values[namespace][name] = value
	}
	return values, nil
}
