package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cgroup is a control group (v2) that holds one command's tree. No session,
// process group or change of parent leads out of it.
type Cgroup struct {
	path string
	fd   int
}

// Limits bound a tree where the host delegates the controllers; 0 is none.
type Limits struct {
	Memory    int64 // bytes
	Processes int64
}

// errNoCgroup says why the host offers no cgroups.
var errNoCgroup = errors.New("no writable cgroup v2 hierarchy")

// findCgroups returns the directory below which this process may make cgroups:
// its own place in the unified hierarchy.
func findCgroups() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", errNoCgroup
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", errNoCgroup
	}
	for _, dir := range cgroupPlaces(string(mounts), string(own)) {
		if unix.Access(dir, unix.W_OK) == nil && unix.Access(filepath.Join(dir, "cgroup.procs"), unix.F_OK) == nil {
			return dir, nil
		}
	}
	return "", errNoCgroup
}

// cgroupPlaces lists where a process may have its cgroup, the nearest first:
// seen from inside a container either its own path or the mount itself.
func cgroupPlaces(mounts, own string) []string {
	path := "/"
	for line := range strings.Lines(own) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = p
		}
	}
	var out []string
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 6 || dash+1 >= len(f) || f[dash+1] != "cgroup2" {
			continue
		}
		root, mount := unescapeMount(f[3]), unescapeMount(f[4])
		if rel, err := filepath.Rel(root, path); err == nil && !strings.HasPrefix(rel, "..") && rel != "." {
			out = append(out, filepath.Join(mount, rel))
		}
		out = append(out, mount)
	}
	return out
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	for _, c := range []string{" ", "\t", "\n", "\\"} {
		s = strings.ReplaceAll(s, fmt.Sprintf("\\%03o", c[0]), c)
	}
	return s
}

// newCgroup makes the cgroup at path.
func newCgroup(path string, limits Limits) (*Cgroup, error) {
	if err := unix.Mkdir(path, 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup: %w", &fs.PathError{Op: "mkdir", Path: path, Err: err})
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Rmdir(path)
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	c := &Cgroup{path: path, fd: fd}
	if limits.Memory > 0 {
		c.set("memory.max", strconv.FormatInt(limits.Memory, 10))
		c.set("memory.oom.group", "1")
	}
	if limits.Processes > 0 {
		c.set("pids.max", strconv.FormatInt(limits.Processes, 10))
	}
	return c, nil
}

// set writes a control file where there is one.
func (c *Cgroup) set(file, value string) {
	_ = writeControl(filepath.Join(c.path, file), value)
}

// writeControl writes to an existing control file.
func writeControl(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

// procs lists the processes inside.
func (c *Cgroup) procs() []int { return cgroupProcs(c.path) }

// kill kills everything inside, however deep, and does not wait.
func (c *Cgroup) kill() { killCgroup(c.path) }

// remove removes the cgroup, after killing what is in it, and returns how many
// processes could not be killed.
func (c *Cgroup) remove() int {
	_ = unix.Close(c.fd)
	return removeCgroup(c.path)
}

// oomKills tells how many processes the kernel killed for the cgroup's memory.
func (c *Cgroup) oomKills() int {
	var buf [512]byte
	n := readOnce(filepath.Join(c.path, "memory.events"), buf[:])
	return eventCount(string(buf[:n]), "oom_kill")
}

// peak returns the most memory that the cgroup took, 0 if nobody counts.
func (c *Cgroup) peak() int64 {
	var buf [32]byte
	n := readOnce(filepath.Join(c.path, "memory.peak"), buf[:])
	peak, _ := strconv.ParseInt(string(bytes.TrimSpace(buf[:n])), 10, 64)
	return peak
}

// eventCount reads one line of a file of "key value" lines.
func eventCount(text, key string) int {
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if k == key {
			n, _ := strconv.Atoi(v)
			return n
		}
	}
	return 0
}

// cgroupProcs lists the processes of a cgroup and all below it.
func cgroupProcs(path string) []int {
	var out []int
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil
		}
		for line := range bytes.Lines(b) {
			if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil && pid > 0 {
				out = append(out, pid)
			}
		}
		return nil
	})
	return out
}

// killCgroup kills everything in a cgroup and below. Before Linux 5.14 there is
// no file for it, and the caller comes again until nothing is left.
func killCgroup(path string) {
	if writeControl(filepath.Join(path, "cgroup.kill"), "1") == nil {
		return
	}
	for _, pid := range cgroupProcs(path) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// removeCgroup kills what is in a cgroup and removes it with all below. It
// returns how many processes were left when it gave up.
func removeCgroup(path string) int {
	deadline := time.Now().Add(killWait)
	pause := 200 * time.Microsecond
	for {
		err := unix.Rmdir(path)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return 0
		}
		killCgroup(path)
		removeBelow(path)
		if time.Now().After(deadline) {
			return max(1, len(cgroupProcs(path)))
		}
		time.Sleep(pause)
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// removeBelow removes the empty cgroups that a tree made inside its own.
func removeBelow(path string) {
	var dirs []string
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && p != path {
			dirs = append(dirs, p)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		_ = unix.Rmdir(d)
	}
}

// enableControllers hands memory and pids on to the cgroups made inside path,
// where that is delegated to us.
func enableControllers(path string) {
	for _, name := range []string{"memory", "pids"} {
		_ = writeControl(filepath.Join(path, "cgroup.subtree_control"), "+"+name)
	}
}
