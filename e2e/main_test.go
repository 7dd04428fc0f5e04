// Package e2e runs the real programs on a real Postgres, and breaks them.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// The test binary is also what tasks run: a witness of what really happens.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "witness" {
		os.Exit(beWitness(os.Args[2:]))
	}
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// built are the programs, each made once by the first test that asks.
var built struct {
	mu   sync.Mutex // guards all, and lets one build at a time
	dir  string
	done map[string]error
}

// packages are where our programs come from, and the module they are built in.
var packages = map[string][2]string{
	"api":        {"..", "./services/api/cmd/api"},
	"scheduler":  {"..", "./services/scheduler/cmd/scheduler"},
	"executor":   {"..", "./services/executor/cmd/executor"},
	"standalone": {"..", "./services/standalone"},
	"synctl":     {"../cli", "./cmd/synctl"},
}

// program is the path of one of our programs, built as the Makefile does.
func program(t testing.TB, name string) string {
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

func build(module, pkg, out string) error {
	cmd := exec.Command("go", "-C", module, "build", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
}
