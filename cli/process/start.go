package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// StartError says why a command could not be started.
type StartError struct {
	Reason string // ReasonNotFound, ReasonNotExecutable, ReasonNoDirectory or ReasonStart
	Detail string // one clause for people
	Err    error  // what the system said; may be nil
}

// Error returns the detail.
func (e *StartError) Error() string { return e.Detail }

// Unwrap returns what the system said.
func (e *StartError) Unwrap() error { return e.Err }

// markName is the variable that marks the processes of an attempt.
const markName = "SYN_DIR="

// markOf returns the entry of env that marks the tree, or "".
func markOf(env []string) string {
	mark := ""
	for _, e := range env {
		if strings.HasPrefix(e, markName) && len(e) > len(markName) {
			mark = e
		}
	}
	return mark
}

// lastOnly returns env with the last entry of each name, in the order of
// their places. Programs disagree on which of two entries counts, so the
// child must see one.
func lastOnly(env []string) []string {
	place := make(map[string]int, len(env))
	out := make([]string, 0, len(env))
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := place[name]; ok {
			out[i] = e
			continue
		}
		place[name] = len(out)
		out = append(out, e)
	}
	return out
}

// lookup finds the program as execvp would, with the child's PATH and
// directory.
func lookup(name, dir string, env []string) (string, error) {
	if name == "" {
		return "", &StartError{Reason: ReasonNotFound, Detail: "the command is empty"}
	}
	if strings.Contains(name, "/") {
		return name, nil // relative ones are resolved after the change of directory
	}
	path := ""
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	denied := ""
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		file := filepath.Join(d, name)
		info, err := os.Stat(file)
		if err != nil || info.IsDir() {
			continue
		}
		if unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
		if denied == "" {
			denied = file
		}
	}
	if denied != "" {
		return "", &StartError{Reason: ReasonNotExecutable, Detail: fmt.Sprintf("%s is not executable", denied), Err: syscall.EACCES}
	}
	where := "PATH is not set"
	if path != "" {
		where = "PATH is " + path
	}
	return "", &StartError{Reason: ReasonNotFound, Detail: fmt.Sprintf("the command %q was not found (%s)", name, where), Err: fs.ErrNotExist}
}

// explain turns the error of a start into a reason. The system gives one
// number for directory, program and interpreter alike, so it looks again.
func explain(c *Command, path string, err error) error {
	if e := checkDir(c.Dir, err); e != nil {
		return e
	}
	if e, ok := errors.AsType[*StartError](err); ok {
		return e
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	e := &StartError{Reason: ReasonNotExecutable, Err: err}
	info, statErr := os.Stat(path)
	switch {
	case errors.Is(err, syscall.ENOENT) && statErr != nil:
		e.Reason, e.Detail = ReasonNotFound, fmt.Sprintf("the command %q was not found", c.Argv[0])
	case errors.Is(err, syscall.ENOTDIR):
		e.Reason, e.Detail = ReasonNotFound, fmt.Sprintf("the command %q was not found", c.Argv[0])
	case errors.Is(err, syscall.ENOENT):
		e.Detail = fmt.Sprintf("%s needs an interpreter that is not there%s", path, interpreter(path))
	case errors.Is(err, syscall.EACCES) && statErr == nil && info.IsDir():
		e.Detail = fmt.Sprintf("%s is a directory", path)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		e.Detail = fmt.Sprintf("%s is not executable%s", path, interpreter(path))
	case errors.Is(err, syscall.ENOEXEC):
		e.Detail = fmt.Sprintf("%s is neither a program for this machine nor a script that begins with #!", path)
	case errors.Is(err, syscall.E2BIG):
		e.Reason, e.Detail = ReasonStart, "arguments and environment together are larger than the system allows"
	default:
		e.Reason, e.Detail = ReasonStart, fmt.Sprintf("start %s: %v", path, err)
	}
	return e
}

// checkDir returns the error of a working directory that cannot be entered.
func checkDir(dir string, cause error) error {
	info, err := os.Stat(dir)
	detail := ""
	switch {
	case dir == "":
		detail = "no working directory is given"
	case errors.Is(err, fs.ErrNotExist):
		detail = fmt.Sprintf("the working directory %s does not exist", dir)
	case err != nil:
		detail = fmt.Sprintf("the working directory %s cannot be read", dir)
	case !info.IsDir():
		detail = fmt.Sprintf("the working directory %s is not a directory", dir)
	case unix.Access(dir, unix.X_OK) != nil:
		detail = fmt.Sprintf("the working directory %s may not be entered", dir)
	default:
		return nil
	}
	return &StartError{Reason: ReasonNoDirectory, Detail: detail, Err: cause}
}

// interpreter returns " (NAME)" of a script's first line, or "".
func interpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 128)
	n, _ := f.Read(head)
	line, ok := bytes.CutPrefix(head[:n], []byte("#!"))
	if !ok {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return fmt.Sprintf(" (%s)", strings.TrimSpace(strings.ToValidUTF8(string(line), "?")))
}

// check refuses what no system call should see.
func check(c *Command) error {
	if len(c.Argv) == 0 {
		return &StartError{Reason: ReasonNotFound, Detail: "the command is empty"}
	}
	for i, a := range c.Argv {
		if strings.IndexByte(a, 0) >= 0 {
			return &StartError{Reason: ReasonStart, Detail: fmt.Sprintf("argument %d holds a NUL byte", i)}
		}
	}
	for i, e := range c.Env {
		name, value, ok := strings.Cut(e, "=")
		switch {
		case !ok || name == "":
			return &StartError{Reason: ReasonStart, Detail: fmt.Sprintf("environment entry %d has no name", i)}
		case strings.IndexByte(name, 0) >= 0 || strings.IndexByte(value, 0) >= 0:
			return &StartError{Reason: ReasonStart, Detail: fmt.Sprintf("the variable %q holds a NUL byte", name)}
		}
	}
	if !filepath.IsAbs(c.Dir) && c.Dir != "" {
		return &StartError{Reason: ReasonNoDirectory, Detail: fmt.Sprintf("the working directory %s is not absolute", c.Dir)}
	}
	return nil
}

// Shell returns the argv that runs a script's text: by "sh" (or "") with -e,
// by "bash" with -e and pipefail. Any other interpreter is given as argv.
func Shell(kind, text string) []string {
	if kind == "bash" {
		return []string{"bash", "-eo", "pipefail", "-c", text}
	}
	return []string{"sh", "-e", "-c", text}
}

// ShellList returns the argv of an interpreter given as a list, with the
// script's text as its last argument.
func ShellList(interpreter []string, text string) []string {
	argv := make([]string, 0, len(interpreter)+1)
	return append(append(argv, interpreter...), text)
}
