package command

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestInstall installs synctl the way its users do, from a module proxy: one in
// the file system, that has this module as it is here, and behind it what the
// module cache has of the others.
func TestInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program from scratch")
	}
	const module, version = "github.com/synthesizer-dev/synthesizer/cli", "v0.0.0-test"
	cache := goEnv(t, "GOMODCACHE")
	proxy := t.TempDir()
	dir := filepath.Join(proxy, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mod, []byte("\nreplace ")) {
		t.Error("go.mod has a replace: go install refuses such a module")
	}
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("list", []byte(version+"\n"))
	write(version+".info", []byte(`{"Version":"`+version+`","Time":"2026-11-22T00:00:00Z"}`))
	write(version+".mod", mod)
	write(version+".zip", zipOf(t, filepath.Join("..", ".."), module+"@"+version))

	bin, home := t.TempDir(), t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "install", module+"/cmd/synctl@"+version)
	cmd.Dir = t.TempDir() // outside of every module
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOWORK=off", "GOFLAGS=-modcacherw", "GOSUMDB=off", "GONOSUMDB=", "GONOPROXY=", "GOPRIVATE=", "GOTOOLCHAIN=local",
		"GOMODCACHE="+filepath.Join(home, "mod"), "GOPROXY=file://"+filepath.ToSlash(proxy)+",file://"+filepath.ToSlash(filepath.Join(cache, "cache", "download")))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install: %v\n%s", err, out)
	}

	synctl := filepath.Join(bin, "synctl")
	out, err := exec.CommandContext(t.Context(), synctl, "version", "-o", "json").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"version":"`+version+`"`) {
		t.Errorf("synctl version: %v, %s", err, out)
	}
	// What it takes of the processor, at best: the machine may be busy with other things.
	best := time.Hour
	for range 20 {
		help := exec.CommandContext(t.Context(), synctl, "--help")
		if out, err := help.CombinedOutput(); err != nil {
			t.Fatalf("synctl --help: %v\n%s", err, out)
		}
		best = min(best, help.ProcessState.UserTime()+help.ProcessState.SystemTime())
	}
	if best > 30*time.Millisecond {
		t.Errorf("synctl --help takes %v, want at most 30 ms", best)
	}
	t.Logf("synctl --help takes %v", best)
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// zipOf packs a module as a proxy serves it.
func zipOf(t *testing.T, root, prefix string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := w.Create(prefix + "/" + filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		_, err = f.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
