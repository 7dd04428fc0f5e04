// Package output turns what a task prints into the stored chunks of its log.
package output

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// Chunk is a stored piece of a log. Between two chunks whose places do not
// join, output was not stored.
type Chunk struct {
	Seq    int    // from 0, without gaps
	AtByte int64  // place of the first byte in the (masked) output
	Data   []byte // bytes as they came, at most ChunkSize
	Marks  []byte // streams and times of its pieces, see Marks
}

// Store keeps chunks. Append keeps all or none, may see a chunk again whose
// first answer was lost (same Seq, same content), and must not retain the
// chunks. ErrLost ends the log: the attempt is somebody else's.
type Store interface {
	Append(ctx context.Context, chunks []Chunk) error
}

// ErrLost says that the attempt is no longer this executor's.
var ErrLost = errors.New("the attempt is no longer ours")

// Sizes of a log.
const (
	ChunkSize    = 64 << 10
	headSize     = 1 << 20
	defaultLimit = 16 << 20
	bufferSize   = 256 << 10 // of output in memory that the store has not taken
	batchSize    = 8         // chunks of one Append
)

// Config says how to keep a log. The zero value of each optional field is
// usable.
type Config struct {
	Store  Store
	Spool  string        // path of a file for what is not stored at once
	Masker *Masker       // nil masks nothing
	Limit  int64         // most bytes to store; 0 means 16 MiB
	Every  time.Duration // how long output waits for more; 0 means 250 ms
}

// Log takes the output of one attempt. It is the Sink of the process: Write
// never waits for the store.
//
// The head, 1 MiB or a quarter of a smaller limit, is stored as it comes. What
// follows goes to a ring in a file that keeps the last bytes, and is stored by
// Close; until then a reader who follows the log sees Stats grow, but no new
// text. While the store is down or slow the head waits in the same file, and
// catches up later as long as nothing had to be forgotten.
type Log struct {
	store  Store
	every  time.Duration
	head   int64
	limit  int64
	began  time.Time
	ctx    context.Context // of stores in the background, ended by Close
	cancel context.CancelFunc

	mu       sync.Mutex
	masks    [3]*MaskStream
	ring     ring
	spooling bool    // new bytes go to the ring
	cur      []byte  // the chunk that is being filled
	curMarks marks   // of cur
	queue    []Chunk // full ones, not stored
	seq      int     // number of the next chunk
	placed   int64   // bytes in chunks: the place where cur ends
	queued   int64   // bytes in queue and cur
	stats    Stats
	timer    *time.Timer // of the next flush
	flushing bool
	backoff  time.Duration
	lost     bool
	closed   bool
	idle     *sync.Cond // a flush ended
}

// Stats counts a log's bytes, after masking.
type Stats struct {
	Seen    int64 // printed
	Stored  int64 // in the store
	CutAt   int64 // place where output is missing; -1: nowhere
	Missing int64 // bytes missing there
	Chunks  int   // stored
}

// New returns a log that begins now.
func New(cfg Config) *Log {
	l := &Log{store: cfg.Store, every: cfg.Every, limit: cfg.Limit, began: time.Now()}
	if l.limit <= 0 {
		l.limit = defaultLimit
	}
	if l.every <= 0 {
		l.every = 250 * time.Millisecond
	}
	l.head = min(headSize, l.limit/4)
	l.ring.path = cfg.Spool
	l.stats.CutAt = -1
	l.idle = sync.NewCond(&l.mu)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for s := process.Stdout; s <= process.Stderr; s++ {
		l.masks[s] = cfg.Masker.Stream()
	}
	return l
}

// Write takes a block of output.
func (l *Log) Write(s process.Stream, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.lost {
		return
	}
	l.add(s, l.masks[s].Next(p))
}

// add takes masked bytes to where they belong.
func (l *Log) add(s process.Stream, b []byte) {
	at := time.Since(l.began)
	l.stats.Seen += int64(len(b))
	for len(b) > 0 {
		room := min(l.head-l.placed, bufferSize-l.queued)
		if l.spooling || room <= 0 {
			if !l.spooling {
				l.spooling = true
				l.ring.room = l.limit - l.placed
				l.ring.open(l.placed)
			}
			l.ring.write(s, b, at)
			break
		}
		n := min(int64(len(b)), room, int64(ChunkSize-len(l.cur)))
		l.cur = append(l.cur, b[:n]...)
		l.curMarks.add(s, int(n), at)
		l.placed += n
		l.queued += n
		b = b[n:]
		if len(l.cur) == ChunkSize {
			l.seal()
		}
	}
	if l.queued > 0 {
		l.schedule()
	}
}

// seal ends the chunk that is being filled.
func (l *Log) seal() {
	if len(l.cur) == 0 {
		return
	}
	l.queue = append(l.queue, Chunk{Seq: l.seq, AtByte: l.placed - int64(len(l.cur)), Data: l.cur, Marks: l.curMarks.encode()})
	l.seq++
	l.cur, l.curMarks = nil, nil
}

// schedule makes a flush happen: soon for a full chunk, else a little later.
func (l *Log) schedule() {
	if l.flushing || l.closed {
		return
	}
	wait := l.every
	switch {
	case l.backoff > 0:
		if l.timer != nil {
			return
		}
		wait = l.backoff
	case len(l.queue) > 0:
		if l.timer != nil && !l.timer.Stop() {
			return // it is about to run
		}
		wait, l.timer = 0, nil
	case l.timer != nil:
		return
	}
	l.timer = time.AfterFunc(wait, l.flush)
}

// flush stores what waits, and goes on while there is more.
func (l *Log) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if l.flushing || l.closed || l.lost {
		return
	}
	l.flushing = true
	for !l.closed && !l.lost {
		if len(l.queue) == 0 {
			l.seal()
		}
		if len(l.queue) == 0 && !l.catchUp() {
			break
		}
		if l.storeBatch(l.ctx) != nil {
			break
		}
	}
	l.flushing = false
	l.idle.Broadcast()
	if l.queued > 0 || l.behind() {
		l.schedule()
	}
}

// storeBatch stores the oldest chunks, without the lock meanwhile.
func (l *Log) storeBatch(ctx context.Context) error {
	batch := l.queue[:min(batchSize, len(l.queue))]
	l.mu.Unlock()
	err := l.store.Append(ctx, batch)
	l.mu.Lock()
	switch {
	case errors.Is(err, ErrLost):
		l.lost = true
		l.queue, l.cur, l.queued = nil, nil, 0
	case err != nil:
		l.backoff = min(max(2*l.backoff, l.every), 5*time.Second)
	default:
		l.backoff = 0
		for _, c := range batch {
			l.stats.Stored += int64(len(c.Data))
			l.queued -= int64(len(c.Data))
			l.stats.Chunks++
		}
		l.queue = l.queue[len(batch):]
	}
	return err
}

// behind reports whether the ring holds a piece of the head that the store
// could not take in time.
func (l *Log) behind() bool {
	return l.spooling && l.placed < l.head && l.ring.start == l.placed && l.ring.held() > 0
}

// catchUp makes a chunk of the head's oldest bytes in the ring.
func (l *Log) catchUp() bool {
	if !l.behind() || !l.fromRing(l.head-l.placed) {
		return false
	}
	if l.ring.held() == 0 && l.placed < l.head {
		l.spooling = false
	}
	return true
}

// fromRing makes a chunk of up to n of the ring's oldest bytes.
func (l *Log) fromRing(n int64) bool {
	at := l.ring.start
	b, m, err := l.ring.take(min(n, ChunkSize))
	if err != nil {
		// The file is broken: what it held is missing.
		l.ring.start, l.ring.marks = l.ring.end, nil
		return false
	}
	l.queue = append(l.queue, Chunk{Seq: l.seq, AtByte: at, Data: b, Marks: m.encode()})
	l.seq++
	l.placed = at + int64(len(b))
	l.queued += int64(len(b))
	return true
}

// Stats returns the counts so far. While the tail is in use Seen grows and
// Stored does not.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Close stores what is left, the tail included, and returns the counts. It
// tries again until ctx ends; what is not stored then is missing. It returns
// ErrLost if the attempt is no longer ours. Nothing may be written afterwards.
func (l *Log) Close(ctx context.Context) (Stats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.stats, nil
	}
	for s := process.Stdout; s <= process.Stderr && !l.lost; s++ {
		l.add(s, l.masks[s].Last())
	}
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	stop := context.AfterFunc(ctx, l.cancel)
	for l.flushing {
		l.idle.Wait() // for one Append
	}
	stop()
	l.cancel()
	l.seal()
	if over := l.ring.held() - (l.limit - l.placed); l.spooling && over > 0 {
		l.ring.drop(over)
	}
	err := l.storeRest(ctx)
	l.ring.close()
	l.count()
	return l.stats, err
}

// storeRest stores queue and ring.
func (l *Log) storeRest(ctx context.Context) error {
	l.backoff = 0
	for !l.lost {
		for len(l.queue) < batchSize && l.spooling && l.ring.held() > 0 {
			l.tail()
		}
		if len(l.queue) == 0 {
			return nil
		}
		if err := l.storeBatch(ctx); err == nil || l.lost {
			continue
		} else if ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(l.backoff):
		}
	}
	return ErrLost
}

// tail makes a chunk of the ring, and notes the gap before the first.
func (l *Log) tail() {
	if gap := l.ring.start - l.placed; gap > 0 && l.stats.CutAt < 0 {
		l.stats.CutAt, l.stats.Missing = l.placed, gap
	}
	l.fromRing(l.ring.held())
}

// count notes what is missing after all.
func (l *Log) count() {
	missing := l.stats.Seen - l.stats.Stored
	if missing > 0 && l.stats.CutAt < 0 {
		l.stats.CutAt = l.stats.Stored // nothing after it was stored
	}
	l.stats.Missing = missing
}
