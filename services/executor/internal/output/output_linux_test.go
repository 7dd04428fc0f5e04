package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// shelf is a store in memory that can be made to hang or fail.
type shelf struct {
	mu     sync.Mutex
	chunks []Chunk
	err    error
	gate   chan struct{} // non-nil: Append waits for it
	calls  int
}

func (s *shelf) Append(ctx context.Context, chunks []Chunk) error {
	s.mu.Lock()
	gate, err := s.gate, s.err
	s.calls++
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chunks {
		c.Data, c.Marks = slices.Clone(c.Data), slices.Clone(c.Marks)
		s.chunks = append(s.chunks, c)
	}
	return nil
}

func (s *shelf) set(err error, gate chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.gate = err, gate
}

func (s *shelf) stored() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.chunks {
		n += len(c.Data)
	}
	return int64(n)
}

// check verifies numbers, places and marks, and returns the bytes before and
// after the gap, and where the second part begins.
func (s *shelf) check(t fataler) (head, tail []byte, tailAt int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at int64
	gaps := 0
	for i, c := range s.chunks {
		if c.Seq != i || len(c.Data) == 0 || len(c.Data) > ChunkSize {
			t.Fatalf("chunk %d: seq %d, %d bytes", i, c.Seq, len(c.Data))
		}
		if c.AtByte != at {
			if gaps++; gaps > 1 || c.AtByte < at {
				t.Fatalf("chunk %d at %d, want %d", i, c.AtByte, at)
			}
			tailAt = c.AtByte
		}
		n := 0
		for m := range Marks(c.Marks) {
			n += m.Len
		}
		if n != len(c.Data) {
			t.Fatalf("chunk %d: marks cover %d of %d bytes", i, n, len(c.Data))
		}
		if gaps == 0 {
			head = append(head, c.Data...)
		} else {
			tail = append(tail, c.Data...)
		}
		at = c.AtByte + int64(len(c.Data))
	}
	return head, tail, tailAt
}

func spool(t testing.TB) string { return filepath.Join(t.TempDir(), "log") }

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10s for %s", what)
		}
	}
}

func TestShortLogIsOneChunk(t *testing.T) {
	var s shelf
	l := New(Config{Store: &s, Spool: spool(t)})
	l.Write(process.Stdout, []byte("out\n"))
	l.Write(process.Stderr, []byte("err\n"))
	l.Write(process.Stdout, []byte("out again\n"))
	stats, err := l.Close(t.Context())
	if err != nil || stats != (Stats{Seen: 18, Stored: 18, CutAt: -1, Chunks: 1}) {
		t.Errorf("%+v, %v", stats, err)
	}
	s.check(t)
	var streams []string
	for m := range Marks(s.chunks[0].Marks) {
		streams = append(streams, fmt.Sprintf("%v:%d", m.Stream, m.Len))
	}
	if want := []string{"stdout:4", "stderr:4", "stdout:10"}; !slices.Equal(streams, want) {
		t.Errorf("marks %v, want %v", streams, want)
	}
	if s.calls != 1 {
		t.Errorf("%d calls of the store, want 1", s.calls)
	}
}

func TestHeadIsStoredPromptly(t *testing.T) {
	var s shelf
	l := New(Config{Store: &s, Spool: spool(t), Every: 10 * time.Millisecond})
	l.Write(process.Stdout, []byte("hello\n"))
	waitFor(t, "the line", func() bool { return s.stored() == 6 })
	if _, err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// content is recognizable at every place.
func content(n int) []byte {
	b := make([]byte, 0, n+16)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "line %d\n", i)
	}
	return b[:n]
}

// P4
func TestHeadAndTailAreKept(t *testing.T) {
	const limit = 1 << 20
	for _, size := range []int{0, 1, limit / 4, limit/4 + 1, limit, limit + 1, 5 * limit} {
		var s shelf
		l := New(Config{Store: &s, Spool: spool(t), Limit: limit, Every: time.Millisecond})
		all := content(size)
		for rest := all; len(rest) > 0; {
			n := min(len(rest), 50_000)
			l.Write(process.Stdout, rest[:n])
			rest = rest[n:]
		}
		stats, err := l.Close(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		head, tail, at := s.check(t)
		want := Stats{Seen: int64(size), Stored: int64(min(size, limit)), CutAt: -1, Chunks: len(s.chunks)}
		if size > limit {
			want.Missing, want.CutAt = int64(size-limit), int64(len(head))
		}
		if stats != want {
			t.Errorf("%d bytes: %+v, want %+v", size, stats, want)
		}
		if !bytes.HasPrefix(all, head) || !bytes.HasSuffix(all, tail) || size > limit && at != int64(size-len(tail)) {
			t.Errorf("%d bytes: head of %d, tail of %d at %d is not the content", size, len(head), len(tail), at)
		}
	}
}

// P7
func TestSlowStoreBlocksNobody(t *testing.T) {
	gate := make(chan struct{})
	s := shelf{gate: gate}
	l := New(Config{Store: &s, Spool: spool(t), Every: time.Millisecond})
	all := content(3 << 20)
	at := time.Now()
	for b := range slices.Chunk(all, 10_000) {
		l.Write(process.Stdout, b)
	}
	if took := time.Since(at); took > 2*time.Second {
		t.Errorf("writing took %v", took)
	}
	if l.queued > bufferSize {
		t.Errorf("%d bytes in memory, want %d at most", l.queued, bufferSize)
	}
	s.set(nil, nil)
	close(gate)
	waitFor(t, "the head to catch up", func() bool { return s.stored() >= headSize })
	stats, err := l.Close(t.Context())
	if err != nil || stats.Missing != 0 {
		t.Errorf("%+v, %v", stats, err)
	}
	if head, _, _ := s.check(t); !bytes.Equal(head, all) {
		t.Errorf("stored %d bytes that differ from the %d printed", len(head), len(all))
	}
}

func TestStoreThatFailsForAWhile(t *testing.T) {
	s := shelf{err: errors.New("down")}
	l := New(Config{Store: &s, Spool: spool(t), Every: time.Millisecond})
	all := content(2 << 20)
	for b := range slices.Chunk(all, 30_000) {
		l.Write(process.Stdout, b)
	}
	go func() { time.Sleep(50 * time.Millisecond); s.set(nil, nil) }()
	stats, err := l.Close(t.Context())
	if err != nil || stats.Missing != 0 {
		t.Errorf("%+v, %v", stats, err)
	}
	if head, _, _ := s.check(t); !bytes.Equal(head, all) {
		t.Error("what was stored is not what was printed")
	}
}

func TestStoreThatStaysDown(t *testing.T) {
	s := shelf{err: errors.New("down")}
	l := New(Config{Store: &s, Spool: spool(t), Every: time.Millisecond})
	l.Write(process.Stdout, []byte("x"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	stats, err := l.Close(ctx)
	if err == nil || stats.Missing != 1 || stats.CutAt != 0 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestStoreThatHangsAtTheEnd(t *testing.T) {
	s := shelf{gate: make(chan struct{})}
	l := New(Config{Store: &s, Spool: spool(t), Every: time.Millisecond})
	l.Write(process.Stdout, []byte("x"))
	time.Sleep(10 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := l.Close(ctx); err == nil {
		t.Error("no error")
	}
}

func TestLostAttemptWritesNothingMore(t *testing.T) {
	s := shelf{err: fmt.Errorf("append: %w", ErrLost)}
	l := New(Config{Store: &s, Spool: spool(t), Every: time.Millisecond})
	l.Write(process.Stdout, []byte("x"))
	waitFor(t, "the refusal", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.lost })
	s.set(nil, nil)
	l.Write(process.Stdout, []byte("y"))
	if _, err := l.Close(t.Context()); !errors.Is(err, ErrLost) || s.stored() != 0 {
		t.Errorf("%v, stored %d", err, s.stored())
	}
}

// E10
func TestNoRoomForTheSpool(t *testing.T) {
	var s shelf
	l := New(Config{Store: &s, Spool: "/dev/null/none", Limit: 1 << 20, Every: time.Millisecond})
	all := content(3 << 20)
	for b := range slices.Chunk(all, 65536) {
		l.Write(process.Stdout, b)
		time.Sleep(time.Millisecond)
	}
	stats, err := l.Close(t.Context())
	head, tail, _ := s.check(t)
	if err != nil || !bytes.HasPrefix(all, head) || !bytes.HasSuffix(all, tail) || len(tail) != memoryRing || stats.Missing == 0 {
		t.Errorf("%+v, %v, head %d, tail %d", stats, err, len(head), len(tail))
	}
}

func TestDiskFillsUp(t *testing.T) {
	dir := t.TempDir()
	if err := mountTmpfs(dir, "256k"); err != nil {
		t.Skipf("NOT TESTED: mount a small file system: %v", err)
	}
	t.Cleanup(func() { unmount(dir) })
	var s shelf
	l := New(Config{Store: &s, Spool: filepath.Join(dir, "log"), Limit: 4 << 20})
	all := content(3 << 20)
	for b := range slices.Chunk(all, 65536) {
		l.Write(process.Stdout, b)
	}
	stats, err := l.Close(t.Context())
	head, tail, _ := s.check(t)
	if err != nil || !bytes.HasPrefix(all, head) || !bytes.HasSuffix(all, tail) || len(tail) < 200<<10 || stats.Missing == 0 {
		t.Errorf("%+v, %v, head %d, tail %d", stats, err, len(head), len(tail))
	}
}

func TestSecretsAreMaskedAcrossBlocksAndStreams(t *testing.T) {
	var s shelf
	l := New(Config{Store: &s, Spool: spool(t), Masker: NewMasker([]Secret{{"TOKEN", "sesame-open"}})})
	for _, b := range []string{"a sesa", "me-op", "en b sesame"} {
		l.Write(process.Stdout, []byte(b))
		l.Write(process.Stderr, []byte("!"))
	}
	if _, err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	head, _, _ := s.check(t)
	if got := strings.ReplaceAll(string(head), "!", ""); got != "a •••(TOKEN) b sesame" {
		t.Errorf("got %q", head)
	}
}

func TestLogKeepsHeadAndTailOfAnything(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(8, 600_000).Draw(t, "limit")
		var s shelf
		l := New(Config{Store: &s, Spool: filepath.Join(dir, "log"), Limit: limit, Every: time.Microsecond})
		var all []byte
		for range rapid.IntRange(0, 30).Draw(t, "blocks") {
			n := rapid.IntRange(1, 60_000).Draw(t, "n")
			b := content(len(all) + n)[len(all):]
			all = append(all, b...)
			l.Write(process.Stream(rapid.IntRange(1, 2).Draw(t, "stream")), b)
		}
		stats, err := l.Close(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		head, tail, _ := s.check(t)
		if !bytes.HasPrefix(all, head) || !bytes.HasSuffix(all, tail) {
			t.Fatal("not the content")
		}
		stored := int64(len(head) + len(tail))
		if stored != min(limit, int64(len(all))) || stats.Stored != stored || stats.Missing != int64(len(all))-stored {
			t.Fatalf("limit %d, printed %d, stored %d, %+v", limit, len(all), stored, stats)
		}
	})
}

// fataler is what tests and properties share.
type fataler interface {
	Fatalf(format string, args ...any)
}

// P4, P5 with a real process.
func TestHugeOutputOfAProcess(t *testing.T) {
	var s shelf
	l := New(Config{Store: &s, Spool: spool(t), Masker: canaries()})
	dir := t.TempDir()
	before := rss(t)
	r := process.Run(t.Context(), process.Command{
		Argv: process.Shell("sh", "head -c 512M /dev/zero; head -c 20M /dev/zero | tr '\\0' x; echo; echo end >&2"),
		Env:  []string{"PATH=/usr/bin:/bin", "SYN_DIR=" + dir}, Dir: dir, Output: l,
	})
	stats, err := l.Close(t.Context())
	if grown := rss(t) - before; grown > 64<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	head, tail, _ := s.check(t)
	if err != nil || r.State != process.Succeeded || stats.Seen != 532<<20+5 || stats.Stored != defaultLimit {
		t.Errorf("%+v, %+v, %v", r, stats, err)
	}
	if len(head) != headSize || !bytes.HasSuffix(tail, []byte("x\nend\n")) {
		t.Errorf("head %d, tail %d", len(head), len(tail))
	}
}

// rss returns the resident memory of the test.
func rss(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int
	fmt.Sscan(string(b), &size, &resident)
	return resident * os.Getpagesize()
}
