package app

import (
	"bytes"
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A LogLine is one line of an attempt's output.
type LogLine struct {
	Number int // from 1, over what is kept
	At     time.Time
	Stderr bool // its first byte came from there
	Text   string
	// Offset is the place of its first byte.
	Offset int64
	// Longer is how many bytes of it are left out of Text.
	Longer int64
	// Missing is how many bytes before it were not kept.
	Missing int64
}

// LogLines is a stretch of an attempt's output as lines.
type LogLines struct {
	Lines []LogLine
	// Total is how many lines are kept so far; the last one may not be whole.
	Total int
	// Whole is how many of them are whole: the others may still grow.
	Whole      int
	Size, Kept int64 // bytes written and stored so far
	Complete   bool  // no more will come
	Gone       bool  // retention removed it
	// Missing is how many bytes at the very end were not kept.
	Missing int64
}

// MaxLogLines is how many lines one call gives.
const MaxLogLines = 2000

// longLine is how much of a line is shown.
const longLine = 8 << 10

// LogLines reads lines of an attempt's output from a number on. A number below
// one counts from the end: 0 is the last line, and limit lines end there.
func (a *App) LogLines(ctx context.Context, by Actor, ref LogRef, from, limit int) (LogLines, error) {
	var out LogLines
	if err := by.need(api.RoleViewer, ""); err != nil {
		return out, err
	}
	if limit < 1 || limit > MaxLogLines {
		return out, api.Errorf(api.Unprocessable, "limit is 1 to %d lines, found %d", MaxLogLines, limit)
	}
	q := a.queries()
	row, number, err := a.findTask(ctx, q, by, ref.RunRef, ref.Task, ref.Index)
	if err != nil {
		return out, err
	}
	heads, err := q.LogHeads(ctx, db.LogHeadsParams{RunID: row.Run.ID, Low: number, High: number})
	if err != nil {
		return out, fmt.Errorf("find logs: %w", err)
	}
	var head *db.LogHeadsRow
	for i := range heads {
		if ref.Attempt == 0 || int(heads[i].Attempt) == ref.Attempt {
			head = &heads[i]
		}
	}
	if head == nil {
		if ref.Attempt == 0 {
			out.Complete = row.Run.EndedAt != nil
			return out, nil
		}
		return out, api.Errorf(api.NotFound, "%s/%s has no attempt %d; it has had %d", ref.RunRef, ref.Task, ref.Attempt, len(heads))
	}
	out.Size, out.Kept, out.Complete = head.Seen, head.Stored, ended(head.State)
	index := a.lines.of(lineKey{row.Run.ID, head.Number, head.Attempt})
	index.mu.Lock()
	defer index.mu.Unlock()
	if err := index.extend(ctx, q, *head, row.Run.ID); err != nil {
		return out, err
	}
	if len(index.chunks) == 0 {
		out.Gone = head.Stored > 0 && out.Complete
		out.Missing = head.Seen
		return out, nil
	}
	out.Total, out.Whole = index.total(), index.whole()
	if out.Complete {
		out.Whole = out.Total
	}
	if end := index.end(); out.Complete && head.Seen > end {
		out.Missing = head.Seen - end
	}
	if from < 1 {
		from = out.Total + from - limit + 1
	}
	from = max(from, 1)
	if from > out.Total {
		return out, nil
	}
	out.Lines, err = index.read(ctx, q, *head, row.Run.ID, from, limit)
	return out, err
}

// lineCache remembers where lines begin in the logs that were read last, so
// that a page in the middle of one does not read it from its start.
type lineCache struct {
	mu   sync.Mutex
	kept *lru.Cache[lineKey, *lineIndex] // guarded by mu
}

type lineKey struct {
	run             int64
	number, attempt int32
}

func (c *lineCache) of(key lineKey) *lineIndex {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept, _ = lru.New[lineKey, *lineIndex](500)
	}
	if x, ok := c.kept.Get(key); ok {
		return x
	}
	x := &lineIndex{}
	c.kept.Add(key, x)
	return x
}

// lineIndex is how many lines end in each chunk of a log.
type lineIndex struct {
	mu     sync.Mutex
	chunks []indexedChunk // guarded by mu
}

type indexedChunk struct {
	seq    int32
	at     int64
	size   int64
	before int  // line ends in the chunks before
	ends   int  // line ends in it; one more where output after it was not kept
	open   bool // its last byte does not end a line
}

func (x *lineIndex) whole() int {
	last := x.chunks[len(x.chunks)-1]
	return last.before + last.ends
}

func (x *lineIndex) total() int {
	if x.chunks[len(x.chunks)-1].open {
		return x.whole() + 1
	}
	return x.whole()
}

func (x *lineIndex) end() int64 {
	last := x.chunks[len(x.chunks)-1]
	return last.at + last.size
}

// extend reads the chunks that are new.
func (x *lineIndex) extend(ctx context.Context, q *db.Queries, h db.LogHeadsRow, run int64) error {
	for {
		var seq int32
		if n := len(x.chunks); n > 0 {
			seq = x.chunks[n-1].seq + 1
		}
		chunks, err := q.LogChunks(ctx, db.LogChunksParams{Day: logDay(h), RunID: run, Number: h.Number, Attempt: h.Attempt, FromSeq: seq, Page: chunksAtOnce})
		if err != nil {
			return fmt.Errorf("read a log: %w", err)
		}
		for _, c := range chunks {
			if len(c.Data) > 0 {
				x.add(c)
			}
		}
		if len(chunks) < chunksAtOnce {
			return nil
		}
	}
}

func (x *lineIndex) add(c db.LogChunksRow) {
	before := 0
	if n := len(x.chunks); n > 0 {
		last := &x.chunks[n-1]
		if last.open && last.at+last.size < c.AtByte {
			last.ends++ // what follows is another line
			last.open = false
		}
		before = last.before + last.ends
	}
	x.chunks = append(x.chunks, indexedChunk{
		seq: c.Seq, at: c.AtByte, size: int64(len(c.Data)), before: before, ends: bytes.Count(c.Data, []byte{'\n'}), open: c.Data[len(c.Data)-1] != '\n',
	})
}

// read gives lines from a number on.
func (x *lineIndex) read(ctx context.Context, q *db.Queries, h db.LogHeadsRow, run int64, from, limit int) ([]LogLine, error) {
	// Line n begins after the end of line n-1: in the first chunk that has n-1 ends by its own end.
	i := sort.Search(len(x.chunks), func(i int) bool { return x.chunks[i].before+x.chunks[i].ends >= from-1 })
	if from == 1 {
		i = 0
	}
	if i == len(x.chunks) {
		return nil, nil
	}
	began := h.ClaimedAt
	if h.StartedAt != nil {
		began = *h.StartedAt
	}
	r := lineReader{number: x.chunks[i].before + 1, from: from, limit: limit, began: began, next: x.chunks[i].at}
	if i == 0 {
		r.missing, r.next = x.chunks[0].at, 0
		r.next = x.chunks[0].at
	} else if p := x.chunks[i-1]; p.at+p.size < x.chunks[i].at {
		r.missing = x.chunks[i].at - p.at - p.size
	}
	for seq := x.chunks[i].seq; !r.full(); {
		chunks, err := q.LogChunks(ctx, db.LogChunksParams{Day: logDay(h), RunID: run, Number: h.Number, Attempt: h.Attempt, FromSeq: seq, Page: chunksAtOnce})
		if err != nil {
			return nil, fmt.Errorf("read a log: %w", err)
		}
		for _, c := range chunks {
			r.chunk(c)
			seq = c.Seq + 1
		}
		if len(chunks) < chunksAtOnce {
			break
		}
	}
	r.finish()
	return r.lines, nil
}

// lineReader cuts chunks into lines.
type lineReader struct {
	number      int // of the line being read
	from, limit int
	began       time.Time
	next        int64 // where the next chunk should begin
	missing     int64 // bytes not kept before the line being read
	line        LogLine
	text        []byte
	open        bool // a line has begun
	lines       []LogLine
}

func (r *lineReader) full() bool { return len(r.lines) >= r.limit }

func (r *lineReader) chunk(c db.LogChunksRow) {
	if c.AtByte > r.next {
		r.finish()
		r.missing = c.AtByte - r.next
	}
	r.next = c.AtByte + int64(len(c.Data))
	marks := parseMarks(c.Marks, len(c.Data))
	data, at := c.Data, c.AtByte
	var used, mark int // bytes of marks passed, the mark in force
	for len(data) > 0 && !r.full() {
		offset := int(at - c.AtByte)
		for mark < len(marks)-1 && used+marks[mark].size <= offset {
			used += marks[mark].size
			mark++
		}
		if !r.open {
			r.open = true
			r.line = LogLine{Number: r.number, Offset: at, Missing: r.missing}
			r.missing = 0
			if len(marks) > 0 {
				r.line.Stderr, r.line.At = marks[mark].stderr, r.began.Add(marks[mark].at).UTC()
			}
		}
		n := bytes.IndexByte(data, '\n')
		whole := n >= 0
		if !whole {
			n = len(data)
		}
		if r.number >= r.from {
			take := min(n, longLine-len(r.text))
			r.text = append(r.text, data[:take]...)
			r.line.Longer += int64(n - take)
		}
		if whole {
			n++
			r.finish()
		}
		data, at = data[n:], at+int64(n)
	}
}

// finish ends the line being read.
func (r *lineReader) finish() {
	if !r.open {
		return
	}
	if r.number >= r.from && !r.full() {
		r.line.Text = strings.ToValidUTF8(string(r.text), "\uFFFD")
		r.lines = append(r.lines, r.line)
	}
	r.text, r.open = r.text[:0], false
	r.number++
}
