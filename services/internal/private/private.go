// Package private reads files that nobody but the service may read, again whenever they have changed.
package private

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// A File is the content of a file, parsed. It may be used by many goroutines.
type File[T any] struct {
	what, path string
	max        int64
	parse      func([]byte) (T, error)

	mu    sync.Mutex // guards what follows
	read  bool
	seen  stamp
	value T
}

// stamp tells whether a file has changed.
type stamp struct {
	inode uint64
	size  int64
	mtime time.Time
}

// New is the file at a path, which is what people are told that it is, of at
// most so many bytes. The errors of parse are shown: they must not quote it.
func New[T any](what, path string, most int64, parse func([]byte) (T, error)) *File[T] {
	return &File[T]{what: what, path: path, max: most, parse: parse}
}

// Get gives what the file holds now. A file that others may read, or change, is
// refused.
func (f *File[T]) Get() (T, error) {
	var none T
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return none, fmt.Errorf("%s: %w", f.what, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return none, fmt.Errorf("%s: %w", f.what, err)
	}
	if err := f.trust(info); err != nil {
		return none, err
	}
	now := stamp{size: info.Size(), mtime: info.ModTime()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		now.inode = s.Ino
	}
	if f.read && now == f.seen {
		return f.value, nil
	}
	data, err := io.ReadAll(io.LimitReader(file, f.max+1))
	if err != nil {
		return none, fmt.Errorf("%s: %w", f.what, err)
	}
	if int64(len(data)) > f.max {
		return none, fmt.Errorf("%s %s is larger than %d bytes", f.what, f.path, f.max)
	}
	value, err := f.parse(data)
	if err != nil {
		return none, fmt.Errorf("%s %s: %w", f.what, f.path, err)
	}
	f.value, f.seen, f.read = value, now, true
	return value, nil
}

// trust refuses a file that others can read or change. As with the keys of other
// servers, one that belongs to root may be read by the group that the service is
// a member of: that is how container engines hand out files.
func (f *File[T]) trust(info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s %s is not a regular file", f.what, f.path)
	}
	owner, me := -1, os.Geteuid()
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(s.Uid)
	}
	allowed := os.FileMode(0o700)
	if owner == 0 && me != 0 {
		allowed = 0o740
	}
	if mode := info.Mode().Perm(); mode&^allowed != 0 {
		return fmt.Errorf("%s %s has mode %04o: others may read it → chmod 600 %s", f.what, f.path, mode, f.path)
	}
	if owner > 0 && owner != me {
		return fmt.Errorf("%s %s belongs to user %d, who could change it", f.what, f.path, owner)
	}
	return nil
}
