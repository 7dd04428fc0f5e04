// Package programs starts our programs as real processes beside a test: built
// as the Makefile does, with probes, logs and an end of their own.
package programs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built are the programs, each made once by the first test that asks.
var built struct {
	mu   sync.Mutex // guards all, and lets one build at a time
	dir  string
	done map[string]error
}

// packages are where our programs come from, and the module they are built in.
var packages = map[string][2]string{
	"api":        {".", "./services/api/cmd/api"},
	"scheduler":  {".", "./services/scheduler/cmd/scheduler"},
	"executor":   {".", "./services/executor/cmd/executor"},
	"standalone": {".", "./services/standalone"},
	"synctl":     {"cli", "./cmd/synctl"},
}

// Path is the path of one of our programs, built as the Makefile does.
func Path(t testing.TB, name string) string {
	t.Helper()
	built.mu.Lock()
	defer built.mu.Unlock()
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "syn-e2e-bin-")
		if err == nil {
			err = os.Chmod(dir, 0o755) // a test runs one as another user
		}
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.done = dir, map[string]error{}
	}
	path := filepath.Join(built.dir, name)
	err, ok := built.done[name]
	if !ok {
		err = build(packages[name][0], packages[name][1], path)
		built.done[name] = err
	}
	if err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	return path
}

// Remove removes what was built. TestMain calls it when all tests have ended.
func Remove() {
	built.mu.Lock()
	defer built.mu.Unlock()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	built.dir = ""
}

func build(module, pkg, out string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "-C", filepath.Join(root, module), "build", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
}

// Root is the top of the repository that the test runs in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.work above: is this the repository?")
		}
	}
}
