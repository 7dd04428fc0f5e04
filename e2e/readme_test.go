package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// A block is commands of the README that its readers paste.
type block struct {
	line       int
	background bool // goes on while the others run
	text       string
}

var marked = regexp.MustCompile("(?s)<!-- run(: background)? -->\\s*\n```sh\n(.*?)```")

// blocks finds the marked blocks of a text. A mark that stands before something
// else is an error: it would be passed over in silence.
func blocks(text string) ([]block, error) {
	var found []block
	for _, m := range marked.FindAllStringSubmatchIndex(text, -1) {
		found = append(found, block{
			line:       strings.Count(text[:m[0]], "\n") + 1,
			background: m[2] >= 0,
			text:       text[m[4]:m[5]],
		})
	}
	if n := strings.Count(text, "<!-- run"); n != len(found) {
		return nil, fmt.Errorf("%d blocks are marked to be run, and %d of the marks stand right before a block of sh", n, len(found))
	}
	return found, nil
}

// Whoever follows the README in a fresh copy gets where it says.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	list, err := blocks(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 2 {
		t.Fatalf("%d blocks are marked <!-- run -->, want the tour", len(list))
	}
	copied, home, port := t.TempDir(), t.TempDir(), programs.FreePort(t)
	copyRepository(t, copied)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	env := append(goEnv(t),
		"PATH="+os.Getenv("PATH"), "HOME="+home, "LANG=C.UTF-8", "SYN_LISTEN="+address,
	)
	t.Cleanup(func() { stopPostgres(t, filepath.Join(home, ".local", "state", "synthesizer", "postgres")) })
	for _, b := range list {
		script := strings.ReplaceAll(b.text, "127.0.0.1:8080", address)
		if !b.background {
			b.run(t, copied, env, script)
			continue
		}
		p := programs.NewProcess(t, fmt.Sprintf("README line %d", b.line), "/bin/bash", env, "-euo", "pipefail", "-c", script)
		p.Log = filepath.Join(t.TempDir(), "background.log")
		p.Dir = copied
		p.Start()
		t.Cleanup(func() { p.Interrupt(20 * time.Second) })
		programs.Eventually(t, 5*time.Minute, "what runs in the background", func() bool {
			if !p.Running() {
				t.Fatal("it ended")
			}
			return strings.Contains(p.Said(), "Ctrl-C stops everything")
		})
	}
}

func (b block) run(t *testing.T, dir string, env []string, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = dir, env
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("README line %d: %v\n%s\n%s", b.line, err, script, out)
		return
	}
	t.Logf("README line %d: %v\n%s", b.line, time.Since(began).Round(100*time.Millisecond), out)
}

// copyRepository copies what a clone would have, with what is not committed yet.
func copyRepository(t *testing.T, to string) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	names, err := list.Output()
	if err != nil {
		t.Fatalf("list the repository's files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		from, into := filepath.Join("..", name), filepath.Join(to, name)
		info, err := os.Stat(from)
		if os.IsNotExist(err) || err == nil && info.IsDir() {
			continue // deleted, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(into), 0o755)
		}
		if err == nil {
			err = os.WriteFile(into, text, info.Mode().Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// goEnv lets Go find what it has built and fetched before: the home is empty.
func goEnv(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "-json", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOTOOLCHAIN").Output()
	if err != nil {
		t.Fatal(err)
	}
	var vars map[string]string
	if err := json.Unmarshal(out, &vars); err != nil {
		t.Fatal(err)
	}
	var env []string
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	return env
}

func TestBlocksAreFound(t *testing.T) {
	t.Parallel()
	got, err := blocks("a\n<!-- run: background -->\n```sh\nmake run\n```\nb\n\n<!-- run -->\n\n```sh\nx\ny\n```\n```sh\nnot this\n```\n")
	want := []block{{2, true, "make run\n"}, {8, false, "x\ny\n"}}
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("blocks = %+v, %v; want %+v", got, err, want)
	}
	if _, err := blocks("<!-- run -->\ntext\n```sh\nx\n```\n"); err == nil {
		t.Error("a mark before something else is passed over")
	}
}
