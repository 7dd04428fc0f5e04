package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// openHome opens a home that the test's end closes.
func openHome(t *testing.T, root string) *Home {
	t.Helper()
	h, err := OpenHome(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// groupOnly makes a home behave as on a host without cgroups.
func groupOnly(t *testing.T, h *Home) {
	t.Helper()
	if h.cgroup != "" {
		removeCgroup(h.cgroup)
		h.cgroup = ""
	}
}

func TestAttemptDirectory(t *testing.T) {
	h := openHome(t, filepath.Join(t.TempDir(), "work"))
	a, err := h.Attempt("7-1-1", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(a.Dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v, want 0700", info.Mode(), err)
	}
	r := Run(t.Context(), Command{
		Argv: Shell("bash", `ls -A; echo a=1 >> $SYN_OUTPUT; echo hi >> $SYN_SUMMARY; mkdir -p x/y; touch x/y/z; chmod 0 x/y x; ln -s /etc l`),
		Env:  []string{"PATH=/usr/bin:/bin", "SYN_DIR=" + a.Dir, "SYN_OUTPUT=" + a.Output, "SYN_SUMMARY=" + a.Summary},
		Dir:  a.Dir, Cgroup: a.Cgroup,
		Output: sinkFunc(func(_ Stream, p []byte) { t.Errorf("printed %q", p) }), // empty at the start
	})
	out, err := ReadOutputs(a.Output)
	if r.State != Succeeded || err != nil || out["a"].Text != "1" {
		t.Errorf("%+v, outputs %v, %v", r, out, err)
	}
	if s, err := ReadSummary(a.Summary); err != nil || string(s.Text) != "hi\n" {
		t.Errorf("summary %q, %v", s.Text, err)
	}
	if err := a.SaveResult([]byte("x"), true); err != nil {
		t.Error(err)
	}
	if err := a.Remove(); err != nil {
		t.Error(err)
	}
	entries, _ := os.ReadDir(h.Dir())
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "7-1-1") {
			t.Errorf("%s is still there", e.Name())
		}
	}
	for _, bad := range []string{"", "..", "a/b", ".x", "lock", "cgroup", "a.result"} {
		if _, err := h.Attempt(bad, Limits{}); err == nil {
			t.Errorf("the name %q was taken", bad)
		}
	}
}

func TestHomesOfTheLivingAreNotSwept(t *testing.T) {
	root := t.TempDir()
	a, b := openHome(t, root), openHome(t, root)
	swept, err := SweepLeftovers(t.Context(), root, nil)
	if err != nil || len(swept.Homes) != 0 {
		t.Errorf("swept %+v, %v", swept, err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.Dir()); err != nil {
		t.Error(err)
	}
}

// TestHelperExecutor is not a test: it is the executor that the tests below
// kill.
func TestHelperExecutor(t *testing.T) {
	root := os.Getenv("HELPER_ROOT")
	if root == "" {
		t.Skip("run by other tests")
	}
	h, err := OpenHome(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("HELPER_GROUP") != "" {
		groupOnly(t, h)
	}
	a, err := h.Attempt("1-1-1", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	_ = a.SaveResult([]byte("how it ended"), false)
	p, err := Start(t.Context(), Command{
		Argv: Shell("sh", "setsid sh -c 'setsid sleep 999 & sleep 999' & env -i sleep 999 & echo x > started; sleep 999"),
		Env:  []string{"PATH=/usr/bin:/bin", "SYN_DIR=" + a.Dir}, Dir: a.Dir, Cgroup: a.Cgroup,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Wait()
}

// E5
func TestLeftoversOfTheDeadAreKilled(t *testing.T) {
	for _, mode := range []string{"cgroup", "group"} {
		t.Run(mode, func(t *testing.T) {
			root := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestHelperExecutor$")
			cmd.Env = []string{"HELPER_ROOT=" + root}
			if mode == "group" {
				cmd.Env = append(cmd.Env, "HELPER_GROUP=1")
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the task", func() bool {
				m, _ := filepath.Glob(root + "/*/1-1-1/started")
				return len(m) == 1
			})
			time.Sleep(50 * time.Millisecond) // let it fork
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			left := scan(func(p proc) bool { return p.markedBelow("SYN_DIR=" + root + "/") })
			if len(left) < 4 {
				t.Fatalf("%d processes survive their executor, want 4 or more for the test to mean something", len(left))
			}
			sessions := []int{}
			for _, p := range left {
				sessions = append(sessions, p.session)
			}
			results := map[string]string{}
			swept, err := SweepLeftovers(t.Context(), root, func(name string, b []byte) { results[name] = string(b) })
			if err != nil || len(swept.Homes) != 1 || swept.Attempts != 1 || swept.Survivors != 0 {
				t.Errorf("swept %+v, %v", swept, err)
			}
			if results["1-1-1"] != "how it ended" {
				t.Errorf("results %v", results)
			}
			if left := scan(func(p proc) bool { return slices.Contains(sessions, p.session) }); len(left) > 0 {
				t.Errorf("alive: %v", left)
			}
			if m, _ := filepath.Glob(root + "/[0-9a-f]*"); len(m) != 0 {
				t.Errorf("left in the root: %v", m)
			}
			if base, err := findCgroups(); err == nil && len(swept.Homes) == 1 {
				if _, err := os.Stat(filepath.Join(base, cgroupName+swept.Homes[0])); err == nil {
					t.Error("the cgroup is still there")
				}
			}
		})
	}
}

func TestRootLockWaitsAndGivesUp(t *testing.T) {
	root := t.TempDir()
	unlock, err := lockRoot(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := OpenHome(ctx, root); err == nil {
		t.Error("a home was made while another held the root")
	}
	unlock()
	openHome(t, root)
}

func TestACgroupOfOthersIsNotTouched(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "0123456789abcdef")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "syn-0123456789abcdef", "/tmp/syn-other"} {
		if err := os.WriteFile(filepath.Join(dir, "cgroup"), []byte(path), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := cgroupOf(dir); got != "" {
			t.Errorf("%s was taken for ours", got)
		}
	}
}

func TestCgroupPlaces(t *testing.T) {
	for _, tc := range []struct {
		name, mounts, own string
		want              []string
	}{
		{"unified host", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "0::/user.slice/a.scope\n", []string{"/sys/fs/cgroup/user.slice/a.scope", "/sys/fs/cgroup"}},
		{"hybrid host", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n", "8:pids:/x\n0::/\n", []string{"/sys/fs/cgroup/unified"}},
		{"container without namespace", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/abc\n", []string{"/sys/fs/cgroup"}},
		{"inside it", "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/docker/abc/svc\n", []string{"/sys/fs/cgroup/svc", "/sys/fs/cgroup"}},
		{"odd mount point", "30 23 0:26 / /mnt/a\\040b rw - cgroup2 none rw\n", "0::/\n", []string{"/mnt/a b"}},
		{"none", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", "1:name=systemd:/\n", nil},
	} {
		if got := cgroupPlaces(tc.mounts, tc.own); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestEventCount(t *testing.T) {
	if n := eventCount("low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\noom_group_kill 1\n", "oom_kill"); n != 3 {
		t.Errorf("oom_kill = %d, want 3", n)
	}
}
