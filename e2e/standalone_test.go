package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// A newcomer is somebody with an empty home directory.
type newcomer struct {
	t     *testing.T
	home  string
	uid   int
	port  int
	serve *programs.Process
}

// newNewcomer prepares `standalone --register examples` for a user.
func newNewcomer(t *testing.T, uid int, args ...string) *newcomer {
	t.Helper()
	// Not t.TempDir, which is closed to others.
	home, err := os.MkdirTemp("", "syn-home-")
	if err == nil && uid != 0 {
		err = os.Chown(home, uid, uid)
	}
	if err == nil {
		err = os.CopyFS(filepath.Join(home, "examples"), os.DirFS("../examples"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	n := &newcomer{t: t, home: home, uid: uid, port: programs.FreePort(t)}
	t.Cleanup(func() { stopPostgres(t, n.state("postgres")) })
	n.serve = programs.NewProcess(t, "standalone", programs.Path(t, "standalone"), n.env(), append([]string{"--listen", n.address(), "--register", "examples"}, args...)...)
	n.serve.UID, n.serve.Dir = uid, n.home
	return n
}

func (n *newcomer) env() []string { return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + n.home} }

func (n *newcomer) address() string { return "127.0.0.1:" + strconv.Itoa(n.port) }

func (n *newcomer) state(name string) string {
	return filepath.Join(n.home, ".local", "state", "synthesizer", name)
}

// awaitReady waits until everything runs and the examples are registered.
func (n *newcomer) awaitReady() {
	n.t.Helper()
	starts := strings.Count(n.serve.Said(), "--- standalone")
	programs.Eventually(n.t, 60*time.Second, "standalone", func() bool {
		if !n.serve.Running() {
			n.t.Fatal("standalone ended while it started")
		}
		return strings.Count(n.serve.Said(), "Ctrl-C stops everything") == starts
	})
}

// synctl runs a command as the newcomer would, and returns its exit status and
// all it says.
func (n *newcomer) synctl(args ...string) (status int, out string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, programs.Path(n.t, "synctl"), args...)
	cmd.Env, cmd.Dir = n.env(), n.home
	if n.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(n.uid), Gid: uint32(n.uid)}}
	}
	text, err := cmd.CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode(), string(text)
	}
	if err != nil {
		n.t.Fatalf("synctl %v: %v", args, err)
	}
	return 0, string(text)
}

// must fails the test unless synctl ends with a status and says all the words.
func (n *newcomer) must(status int, args []string, words ...string) string {
	n.t.Helper()
	got, out := n.synctl(args...)
	if got != status {
		n.t.Errorf("synctl %s ends with %d, want %d:\n%s", strings.Join(args, " "), got, status, out)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			n.t.Errorf("synctl %s does not say %q:\n%s", strings.Join(args, " "), w, out)
		}
	}
	return out
}

func (n *newcomer) local() (url, token string) {
	n.t.Helper()
	text, err := os.ReadFile(n.state("local.json"))
	if err != nil {
		n.t.Fatal(err)
	}
	var l struct{ URL, Token string }
	if err := json.Unmarshal(text, &l); err != nil {
		n.t.Fatal(err)
	}
	return l.URL, l.Token
}

// The first five minutes, with every example; then kill -9, and a second start
// that finds everything again.
func TestStandalone(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t, 0)
	w := newWitness(t)
	n.serve.Start()
	n.awaitReady()

	url, token := n.local()
	if info, err := os.Stat(n.state("local.json")); err != nil || info.Mode().Perm() != 0o600 || url != "http://"+n.address() {
		t.Errorf("local.json: %v, mode %v, url %s; want 0600 and the address", err, info.Mode(), url)
	}
	if said := n.serve.Said(); !strings.Contains(said, token) || !strings.Contains(said, url) || !strings.Contains(said, "synctl run") {
		t.Error("the first start does not say how to sign in and what to do next")
	}
	n.must(0, []string{"ls"}, "hello", "debian_inventory", "tz_report", "broken")
	n.must(0, []string{"run", "hello", "-w"}, "succeeded")
	n.must(0, []string{"run", "tz_report", "-w"}, "succeeded")
	if _, err := os.Stat("/var/lib/dpkg/status"); err == nil {
		n.must(0, []string{"run", "debian_inventory", "-w"}, "succeeded")
	} else {
		t.Log("debian_inventory not tested: this machine has no dpkg")
	}
	// The failing line, and the commands that help.
	failed := n.must(3, []string{"run", "broken", "-w"}, "failed", "synctl logs broken#1")
	logs := n.must(0, []string{"logs", "broken@failed", "--failed"})
	if last := lastLine(logs); last == "" || !strings.Contains(failed, strings.TrimSpace(last[strings.Index(last, "|")+1:])) {
		t.Errorf("run -w does not show the failing line %q:\n%s", last, failed)
	}
	wantPage(t, url)

	// A port that is taken is known at once, with the way out.
	other := exec.CommandContext(t.Context(), programs.Path(t, "standalone"), "--listen", n.address(), "--data-dir", t.TempDir())
	other.Env = n.env()
	if out, err := other.CombinedOutput(); err == nil || !strings.Contains(string(out), "SYN_LISTEN=") {
		t.Errorf("a second one on the same port: %v, want the way out:\n%s", err, out)
	}
	// So is a directory.
	other = exec.CommandContext(t.Context(), programs.Path(t, "standalone"), "--listen", "127.0.0.1:0")
	other.Env = n.env()
	if out, err := other.CombinedOutput(); err == nil || !strings.Contains(string(out), "another directory") {
		t.Errorf("a second one on the same data: %v, want the way out:\n%s", err, out)
	}

	file := filepath.Join(t.TempDir(), "long.yaml")
	if err := os.WriteFile(file, []byte(oneTask("long", w.command("hold+family/work=10ms"))), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must(0, []string{"register", file, "--source", "own"}, "long")
	n.must(0, []string{"run", "long"})
	programs.Eventually(t, 10*time.Second, "the task", func() bool { return w.running() == 1 })
	n.serve.Kill()
	programs.Eventually(t, 3*time.Second, "the death of its tasks", func() bool { return w.running() == 0 })
	if _, err := os.Stat(n.state("postgres/data/postmaster.pid")); err != nil {
		t.Errorf("Postgres died too: this test does not show that it is found again: %v", err)
	}

	n.serve.Start()
	n.awaitReady()
	if _, again := n.local(); again != token {
		t.Error("the token is another after the second start")
	}
	if strings.Count(n.serve.Said(), token) != 1 {
		t.Error("the token is shown at the second start, too")
	}
	n.must(0, []string{"runs", "broken"}, "failed")
	n.must(0, []string{"watch", "long#1"}, "succeeded") // after the lease of the executor that was killed
	n.serve.Stop(20 * time.Second)
	if _, err := os.Stat(n.state("postgres/data/postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Postgres is not stopped: %v", err)
	}
}

// The same as somebody who is not root. Where the tests run as such a user, the
// test before this one has shown it.
func TestStandaloneAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return
	}
	const nobody = 65534
	n := newNewcomer(t, nobody)
	n.serve.Start()
	n.awaitReady()
	n.must(0, []string{"run", "hello", "-w"}, "succeeded")
	n.must(3, []string{"run", "broken", "-w"}, "failed")
	if info, err := os.Stat(n.state("postgres/data")); err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
		t.Errorf("the data is not that of user %d: %v", nobody, err)
	}
	n.serve.Stop(20 * time.Second)
}

// A database that is given is used, and left alone at the end.
func TestStandaloneOnAGivenDatabase(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t, 0, "--database-url", dbtest.EmptyURL(t))
	n.serve.Start()
	n.awaitReady()
	n.must(0, []string{"run", "hello", "-w"}, "succeeded")
	n.serve.Stop(20 * time.Second)
	if _, err := os.Stat(n.state("postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made a Postgres of its own: %v", err)
	}
	n.serve.Start()
	n.awaitReady()
	n.must(0, []string{"runs", "hello"}, "succeeded")
	n.serve.Stop(20 * time.Second)
}

// wantPage fails unless the pages are there: to sign in at least.
func wantPage(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	var page bytes.Buffer
	_, _ = page.ReadFrom(resp.Body)
	if resp.StatusCode != http.StatusOK || !strings.Contains(page.String(), "Synthesizer") {
		t.Errorf("GET %s/: %s", url, resp.Status)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// stopPostgres ends a server that a killed program has left behind.
func stopPostgres(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 {
		return
	}
	if syscall.Kill(pid, syscall.SIGQUIT) == nil {
		programs.Eventually(t, 20*time.Second, "the end of Postgres", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
	}
}
