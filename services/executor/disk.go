package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// disk tells whether the work directory has room for new work.
type disk struct {
	path string

	mu   sync.Mutex // guards what follows
	at   time.Time  // of the last look
	last error
}

func newDisk(path string) *disk { return &disk{path: path} }

// A file system counts as full when less than this is free.
const (
	fullShare  = 20 // one part in so many
	fullBytes  = 256 << 20
	fullInodes = 200
	lookAgain  = 200 * time.Millisecond
)

// room says why there is none, or nil.
func (d *disk) room() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.at) < lookAgain {
		return d.last
	}
	d.at = time.Now()
	var s unix.Statfs_t
	if err := unix.Statfs(d.path, &s); err != nil {
		d.last = fmt.Errorf("look at the work directory %s: %w", d.path, err)
		return d.last
	}
	free, least := s.Bavail*uint64(s.Bsize), min(s.Blocks*uint64(s.Bsize)/fullShare, fullBytes)
	switch {
	case free < least:
		d.last = fmt.Errorf("the disk of %s is full (%d MiB free, %d MiB are the least): nothing new is claimed", d.path, free>>20, least>>20)
	case s.Files > 0 && s.Ffree < min(fullInodes, s.Files/fullShare):
		d.last = fmt.Errorf("the disk of %s has room for %d more files only: nothing new is claimed", d.path, s.Ffree)
	default:
		d.last = nil
	}
	return d.last
}

// DefaultWorkDir is where attempts have their directories unless told
// otherwise: root's below /var/lib, a user's below the state directory.
func DefaultWorkDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/synthesizer/executor", nil
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "synthesizer", "executor"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", fmt.Errorf("no work directory: set SYN_WORK_DIR or --work-dir (%w)", err)
	}
	return filepath.Join(home, ".local", "state", "synthesizer", "executor"), nil
}
