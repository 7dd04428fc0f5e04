package output

import (
	"encoding/binary"
	"iter"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// Mark says which stream a piece of a chunk came from, and when.
type Mark struct {
	Stream process.Stream
	Len    int           // bytes
	At     time.Duration // since the start of the log
}

// tick is how exact times are kept: pages show tenths of a second.
const tick = 100 * time.Millisecond

// marks is a list of marks in order.
type marks []Mark

// add notes n more bytes, in the last mark if that says the same of them.
func (m *marks) add(s process.Stream, n int, at time.Duration) {
	if l := len(*m); l > 0 {
		if last := &(*m)[l-1]; last.Stream == s && at/tick == last.At/tick {
			last.Len += n
			return
		}
	}
	*m = append(*m, Mark{s, n, at})
}

// cut removes the marks of the first n bytes and returns them.
func (m *marks) cut(n int) marks {
	var out marks
	for n > 0 && len(*m) > 0 {
		first := &(*m)[0]
		take := min(n, first.Len)
		out = append(out, Mark{first.Stream, take, first.At})
		n -= take
		if first.Len -= take; first.Len == 0 {
			*m = (*m)[1:]
		}
	}
	return out
}

// encode writes marks as pairs of varints: length and stream, then the
// milliseconds since the mark before (of the first: since the log's start).
func (m marks) encode() []byte {
	var out []byte
	before := int64(0)
	for _, k := range m {
		v := uint64(k.Len) << 1
		if k.Stream == process.Stderr {
			v |= 1
		}
		ms := k.At.Milliseconds()
		out = binary.AppendUvarint(out, v)
		out = binary.AppendUvarint(out, uint64(max(0, ms-before)))
		before = max(before, ms)
	}
	return out
}

// Marks reads a chunk's marks; it ends early where they are broken.
func Marks(b []byte) iter.Seq[Mark] {
	return func(yield func(Mark) bool) {
		var at time.Duration
		for len(b) > 0 {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return
			}
			ms, k := binary.Uvarint(b[n:])
			if k <= 0 {
				return
			}
			b = b[n+k:]
			at += time.Duration(ms) * time.Millisecond
			s := process.Stdout
			if v&1 == 1 {
				s = process.Stderr
			}
			if !yield(Mark{s, int(v >> 1), at}) {
				return
			}
		}
	}
}
