//go:build unix

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Attempt is the place of one attempt: its directory and what lies beside it.
type Attempt struct {
	Name    string
	Dir     string  // SYN_DIR: empty at the start, for its owner alone
	Output  string  // SYN_OUTPUT, a file that the task makes
	Summary string  // SYN_SUMMARY, the same
	Log     string  // where output is spooled
	Cgroup  *Cgroup // nil where the host has none; for one Start

	home *Home
}

const (
	resultSuffix = ".result"
	logSuffix    = ".log"
)

// Attempt makes the place of an attempt. Name must be unique in the home and
// fit for a file name. Limits need cgroups with controllers; elsewhere they
// are not kept.
func (h *Home) Attempt(name string, limits Limits) (*Attempt, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") || name == lockFile || name == cgroupFile ||
		strings.HasSuffix(name, resultSuffix) || strings.HasSuffix(name, logSuffix) {
		return nil, fmt.Errorf("make attempt directory: bad name %q", name)
	}
	dir := filepath.Join(h.dir, name)
	if err := unix.Mkdir(dir, 0o700); err != nil {
		return nil, &fs.PathError{Op: "make attempt directory", Path: dir, Err: err}
	}
	a := &Attempt{
		Name:    name,
		Dir:     dir,
		Output:  dir + "/out",
		Summary: dir + "/summary",
		Log:     dir + logSuffix,
		home:    h,
	}
	if h.cgroup != "" {
		var err error
		if a.Cgroup, err = newCgroup(filepath.Join(h.cgroup, name), limits); err != nil {
			_ = unix.Rmdir(dir)
			return nil, err
		}
	}
	return a, nil
}

// SaveResult keeps how the attempt ended until it is reported: if the executor
// dies in between, the next one on this host finds it. A durable result
// outlives the machine's power too.
func (a *Attempt) SaveResult(content []byte, durable bool) error {
	path := a.Dir + resultSuffix
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("save result: %w", err)
	}
	_, err = f.Write(content)
	if durable && err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("save result: %w", err)
	}
	return nil
}

// Remove removes the directory and all that lies beside it. Nothing of the
// attempt may run any more.
func (a *Attempt) Remove() error {
	errs := []error{removeAll(a.Dir)}
	for _, suffix := range []string{resultSuffix, resultSuffix + ".new", logSuffix} {
		if err := unix.Unlink(a.Dir + suffix); err != nil && err != unix.ENOENT {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove attempt directory: %w", err)
	}
	return nil
}

// Discard gives up an attempt whose command was never started.
func (a *Attempt) Discard() error {
	if a.Cgroup != nil {
		a.Cgroup.remove()
	}
	return a.Remove()
}

// removeAll removes a tree, also one whose directories deny it to their owner.
func removeAll(dir string) error {
	if unix.Rmdir(dir) == nil { // most are empty
		return nil
	}
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
