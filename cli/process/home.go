//go:build unix

package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Home is the directory of one executor (or local runner) under a root that
// several may share:
//
//	ROOT/.lock             held while a home is made or leftovers are swept
//	ROOT/ID/lock           held as long as the executor or its guard lives
//	ROOT/ID/cgroup         path of the cgroup that holds all its tasks
//	ROOT/ID/NAME/          SYN_DIR of an attempt
//	ROOT/ID/NAME.result    written by the executor, see Attempt.SaveResult
//	ROOT/ID/NAME.log       spooled output
//
// ID is random per process. A home whose lock is free belongs to nobody, and
// whatever runs under it is left over.
type Home struct {
	id     string
	dir    string
	lock   *os.File
	cgroup string // "" where the host has none
	why    error  // why it has none
}

// names of files in a root and a home
const (
	lockFile   = "lock"
	cgroupFile = "cgroup"
	rootLock   = ".lock"
	cgroupName = "syn-" // followed by the id
)

// OpenHome makes a home under root and locks it. Root is made if it is not
// there, for its owner alone. Cgroup reports whether the host has cgroups.
func OpenHome(ctx context.Context, root string) (*Home, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open work directory: %w", err)
	}
	unlock, err := lockRoot(ctx, root)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var random [8]byte
	_, _ = rand.Read(random[:])
	h := &Home{id: hex.EncodeToString(random[:])}
	h.dir = filepath.Join(root, h.id)
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make work directory: %w", err)
	}
	if err := h.prepare(); err != nil {
		_ = os.RemoveAll(h.dir)
		return nil, err
	}
	return h, nil
}

// prepare locks the home and makes its cgroup.
func (h *Home) prepare() error {
	var err error
	h.lock, err = os.OpenFile(filepath.Join(h.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("make lock: %w", err)
	}
	if err := flock(h.lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock work directory: %w", err)
	}
	base, err := findCgroups()
	if err != nil {
		h.why = err
		return nil
	}
	path := filepath.Join(base, cgroupName+h.id)
	// The path is written first: a cgroup that no file names would never be
	// swept.
	if err := os.WriteFile(filepath.Join(h.dir, cgroupFile), []byte(path), 0o600); err != nil {
		return fmt.Errorf("note cgroup: %w", err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		h.why = err
		return nil
	}
	enableControllers(path)
	h.cgroup = path
	return nil
}

// ID returns the random id.
func (h *Home) ID() string { return h.id }

// Dir returns the home's path.
func (h *Home) Dir() string { return h.dir }

// Lock returns the file whose lock says that the home is in use. A guard
// inherits it and so holds the same lock.
func (h *Home) Lock() *os.File { return h.lock }

// Cgroup returns the path of the cgroup that holds all tasks, or "" and why
// there is none.
func (h *Home) Cgroup() (string, error) { return h.cgroup, h.why }

// Close kills what is left, removes the home and gives up its lock.
func (h *Home) Close() error {
	_, left := KillHome(h.dir)
	err := removeHome(h.dir)
	if left > 0 {
		err = errors.Join(err, fmt.Errorf("%d processes could not be killed", left))
	}
	return errors.Join(err, h.lock.Close())
}

// KillHome kills every process that runs under a home, whoever started it. It
// returns how many there were, about, and how many could not be killed. It
// needs no lock: a guard calls it beside a living executor.
func KillHome(dir string) (killed, left int) {
	if path := cgroupOf(dir); path != "" {
		killed, left = emptyCgroup(path)
	}
	k, l := killMarkedBelow(dir)
	return killed + k, left + l
}

// emptyCgroup kills what is in a cgroup and leaves the cgroup to those who use
// it. Frozen and stopped processes die like any other.
func emptyCgroup(path string) (killed, left int) {
	deadline := time.Now().Add(killWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left = len(cgroupProcs(path))
		killed = max(killed, left)
		if left == 0 || time.Now().After(deadline) {
			return killed, left
		}
		killCgroup(path)
		time.Sleep(pause)
	}
}

// killMarkedBelow kills the processes whose SYN_DIR lies below a directory and
// those of their sessions.
func killMarkedBelow(dir string) (killed, left int) {
	prefix := markName + dir + "/"
	sessions := map[int]bool{}
	own, _ := unix.Getsid(0)
	return killMatching(func(p proc) bool {
		if p.markedBelow(prefix) {
			if p.session != own {
				sessions[p.session] = true
			}
			return true
		}
		return sessions[p.session]
	})
}

// cgroupOf returns the cgroup that a home names, if it is one of ours.
func cgroupOf(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, cgroupFile))
	if err != nil {
		return ""
	}
	path := string(b)
	if !filepath.IsAbs(path) || filepath.Base(path) != cgroupName+filepath.Base(dir) {
		return ""
	}
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// removeHome removes a home in which nothing runs any more.
func removeHome(dir string) error {
	if path := cgroupOf(dir); path != "" {
		if left := removeCgroup(path); left > 0 {
			return fmt.Errorf("remove cgroup %s: %d processes in it", path, left)
		}
	}
	return removeAll(dir)
}

// Swept tells what SweepLeftovers found.
type Swept struct {
	Homes     []string // removed: their ids
	Attempts  int      // directories of attempts in them
	Survivors int      // processes that could not be killed; their homes stay
}

// SweepLeftovers removes the homes under root whose executor and guard are
// dead, after killing every process that they left. It returns when those are
// dead. Before a home goes, result is called with the name and content of each
// result that an attempt saved there and nobody reported.
func SweepLeftovers(ctx context.Context, root string, result func(name string, content []byte)) (Swept, error) {
	var out Swept
	root, err := filepath.Abs(root)
	if err != nil {
		return out, fmt.Errorf("sweep leftovers: %w", err)
	}
	unlock, err := lockRoot(ctx, root)
	if err != nil {
		return out, err
	}
	defer unlock()
	entries, err := os.ReadDir(root)
	if err != nil {
		return out, fmt.Errorf("sweep leftovers: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if _, err := hex.DecodeString(e.Name()); err != nil || len(e.Name()) != 16 || !e.IsDir() {
			continue
		}
		if err := out.sweep(filepath.Join(root, e.Name()), result); err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", e.Name(), err))
		}
	}
	return out, errors.Join(errs...)
}

// sweep removes one home if its lock is free.
func (s *Swept) sweep(dir string, result func(string, []byte)) error {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	switch {
	case err == nil:
		defer lock.Close()
		if err := flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return nil // somebody lives here
		}
	case !errors.Is(err, fs.ErrNotExist): // without a lock: died while it was made
		return err
	}
	if _, left := KillHome(dir); left > 0 {
		s.Survivors += left
		return fmt.Errorf("%d processes could not be killed", left)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, isResult := strings.CutSuffix(e.Name(), resultSuffix)
		switch {
		case e.IsDir():
			s.Attempts++
		case isResult && result != nil:
			if b, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil {
				result(name, b)
			}
		}
	}
	if err := removeHome(dir); err != nil {
		return err
	}
	s.Homes = append(s.Homes, filepath.Base(dir))
	return nil
}

// lockRoot makes the root and takes its lock.
func lockRoot(ctx context.Context, root string) (unlock func(), err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make work directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(root, rootLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of the work directory: %w", err)
	}
	for {
		err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock the work directory: %w", err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for the lock of the work directory: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// flock locks a file for whoever holds this description of it.
func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
