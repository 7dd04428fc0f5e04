package output

import (
	"errors"
	"os"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/process"
)

const (
	memoryRing = 64 << 10 // what is kept where no file can be
	maxMarks   = 32 << 10 // of a ring; beyond, streams and times are coarse
)

// ring keeps the last bytes of a log in a file, by their places in the log.
type ring struct {
	path       string
	room       int64 // bytes it may hold
	start, end int64 // places of the oldest byte held and of the next
	base       int64 // place of byte 0 of the file
	size       int64 // bytes of the file that exist
	file       *os.File
	memory     []byte // instead of the file
	marks      marks  // of [start, end)
}

// open begins the ring at a place in the log. Without a file it holds a little
// in memory.
func (r *ring) open(at int64) {
	r.start, r.end, r.base, r.size, r.marks = at, at, at, 0, nil
	if r.file != nil || r.memory != nil {
		return
	}
	var err error
	if r.file, err = os.OpenFile(r.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		r.inMemory()
	}
}

// inMemory goes on without the file, beginning anew.
func (r *ring) inMemory() {
	r.close()
	r.room = min(r.room, memoryRing)
	r.memory = make([]byte, r.room)
	r.start, r.base, r.marks = r.end, r.end, nil
}

// write takes bytes and forgets as many of the oldest as there is no room for.
func (r *ring) write(s process.Stream, b []byte, at time.Duration) {
	for len(b) > 0 {
		off := (r.end - r.base) % r.room
		n := min(int64(len(b)), r.room-off)
		if r.memory != nil {
			copy(r.memory[off:], b[:n])
		} else if _, err := r.file.WriteAt(b[:n], off); err != nil {
			// No space: what the file has already can still be overwritten.
			if r.size >= memoryRing && r.end-r.base == r.size {
				r.room = r.size
			} else {
				r.inMemory()
			}
			continue
		}
		r.size = max(r.size, off+n)
		r.end += n
		if l := len(r.marks); l >= maxMarks {
			r.marks[l-1].Len += int(n)
		} else {
			r.marks.add(s, int(n), at)
		}
		if over := r.held() - r.room; over > 0 {
			r.drop(over)
		}
		b = b[n:]
	}
}

// take removes and returns up to n of the oldest bytes.
func (r *ring) take(n int64) ([]byte, marks, error) {
	n = min(n, r.end-r.start)
	out := make([]byte, 0, n)
	for int64(len(out)) < n {
		off := (r.start + int64(len(out)) - r.base) % r.room
		k := min(n-int64(len(out)), r.room-off)
		if r.memory != nil {
			out = append(out, r.memory[off:off+k]...)
			continue
		}
		got, err := r.file.ReadAt(out[len(out):int64(len(out))+k], off)
		out = out[:len(out)+got]
		if err != nil && int64(got) < k {
			return nil, nil, errors.Join(errors.New("read spooled output"), err)
		}
	}
	r.start += n
	return out, r.marks.cut(int(n)), nil
}

// drop forgets the n oldest bytes.
func (r *ring) drop(n int64) {
	r.marks.cut(int(n))
	r.start += n
}

// held returns how many bytes are in the ring.
func (r *ring) held() int64 { return r.end - r.start }

// close releases the file.
func (r *ring) close() {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}
