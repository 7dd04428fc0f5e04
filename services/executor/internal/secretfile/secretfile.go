// Package secretfile reads the secrets of tasks from a file on the executor's
// machine.
package secretfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A File holds secrets by namespace and name. It is read again when it has
// changed. It may be used by many goroutines; a nil File holds nothing.
type File struct {
	path string

	mu     sync.Mutex // guards what follows
	seen   stamp
	values map[string]map[string]string
}

// stamp tells whether a file has changed.
type stamp struct {
	inode uint64
	size  int64
	mtime time.Time
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
	f := &File{path: path}
	if err := f.refresh(); err != nil {
		return nil, err
	}
	return f, nil
}

// Check says why the file cannot be used now, or nil.
func (f *File) Check() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refresh()
}

// Lookup gives the value of a secret. Its errors hold no values.
func (f *File) Lookup(namespace, name string) (string, error) {
	if f == nil {
		return "", fmt.Errorf("secret %s is not set in %s: this executor has no secrets file", name, namespace)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(); err != nil {
		return "", err
	}
	value, ok := f.values[namespace][name]
	if !ok {
		return "", fmt.Errorf("secret %s is not set in %s", name, namespace)
	}
	return value, nil
}

// refresh reads the file if it has changed. The caller holds mu, or is the
// only one.
func (f *File) refresh() error {
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("read the secrets: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read the secrets: %w", err)
	}
	if err := f.trust(info); err != nil {
		return err
	}
	now := stamp{size: info.Size(), mtime: info.ModTime()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		now.inode = s.Ino
	}
	if f.values != nil && now == f.seen {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return fmt.Errorf("read the secrets: %w", err)
	}
	if len(data) > maxSize {
		return fmt.Errorf("the secrets file %s is larger than 4 MiB", f.path)
	}
	values, err := parse(data)
	if err != nil {
		return fmt.Errorf("the secrets file %s: %w", f.path, err)
	}
	f.values, f.seen = values, now
	return nil
}

// trust refuses a file that others can read or change.
func (f *File) trust(info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("the secrets file %s is not a regular file", f.path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("the secrets file %s has mode %04o: others may read it → chmod 600 %s", f.path, mode, f.path)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("the secrets file %s belongs to user %d, who could change it", f.path, s.Uid)
	}
	return nil
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
