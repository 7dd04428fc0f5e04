package app

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A LogRef names the output of one attempt.
type LogRef struct {
	RunRef
	Task    string
	Index   *int // of an item; nil: the task itself
	Attempt int  // 0: the newest
}

// A LogPart is a stretch of an attempt's output, as the bytes it wrote.
type LogPart struct {
	// Offset is the place of the first byte: later than asked for where output was
	// not kept. Next is where to go on.
	Offset, Next int64
	// Size is how much was written so far.
	Size int64
	// Complete says that no more will be written.
	Complete bool
	Data     []byte
}

// chunksAtOnce is how many chunks (of 64 KiB at most) one query brings.
const chunksAtOnce = 16

// Log reads the output of an attempt from a byte on; a negative one counts from
// the end. It never crosses a stretch that was not kept.
func (a *App) Log(ctx context.Context, by Actor, ref LogRef, from int64, limit int) (LogPart, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return LogPart{}, err
	}
	switch {
	case limit == 0:
		limit = 1 << 20
	case limit < 0 || limit > api.MaxLogBytes:
		return LogPart{}, api.Errorf(api.Unprocessable, "limit is 1 to %d bytes, found %d", api.MaxLogBytes, limit)
	}
	q := a.queries()
	row, number, err := a.findTask(ctx, q, by, ref.RunRef, ref.Task, ref.Index)
	if err != nil {
		return LogPart{}, err
	}
	heads, err := q.LogHeads(ctx, db.LogHeadsParams{RunID: row.Run.ID, Low: number, High: number})
	if err != nil {
		return LogPart{}, fmt.Errorf("find logs: %w", err)
	}
	var head *db.LogHeadsRow
	for i := range heads {
		if ref.Attempt == 0 || int(heads[i].Attempt) == ref.Attempt {
			head = &heads[i]
		}
	}
	if head == nil {
		if ref.Attempt == 0 {
			return LogPart{Complete: row.Run.EndedAt != nil}, nil // nothing has run
		}
		return LogPart{}, api.Errorf(api.NotFound, "%s/%s has no attempt %d; it has had %d", ref.RunRef, ref.Task, ref.Attempt, len(heads))
	}
	return readLog(ctx, q, row.Run.ID, *head, from, limit)
}

func readLog(ctx context.Context, q *db.Queries, run int64, head db.LogHeadsRow, from int64, limit int) (LogPart, error) {
	out := LogPart{Size: head.Seen, Complete: ended(head.State)}
	spans, err := q.LogSpans(ctx, db.LogSpansParams{Day: logDay(head), RunID: run, Number: head.Number, Attempt: head.Attempt})
	if err != nil {
		return out, fmt.Errorf("read a log: %w", err)
	}
	if len(spans) == 0 && head.Stored > 0 {
		return out, api.Errorf(api.Gone, "this log is no longer kept; %d bytes were written", head.Seen)
	}
	if n := len(spans); n > 0 {
		out.Size = max(out.Size, spans[n-1].AtByte+spans[n-1].Size)
	}
	if from < 0 {
		from = max(0, out.Size+from)
	}
	out.Offset, out.Next = from, from
	first := -1
	for i, s := range spans {
		if s.AtByte+s.Size > from {
			first = i
			break
		}
	}
	if first < 0 {
		if out.Complete {
			out.Next = max(from, out.Size) // what is missing at the end was not kept
		}
		return out, nil
	}
	out.Offset = max(from, spans[first].AtByte)
	out.Next = out.Offset
	for seq := spans[first].Seq; len(out.Data) < limit; {
		chunks, err := q.LogChunks(ctx, db.LogChunksParams{Day: logDay(head), RunID: run, Number: head.Number, Attempt: head.Attempt, FromSeq: seq, Page: chunksAtOnce})
		if err != nil {
			return out, fmt.Errorf("read a log: %w", err)
		}
		for _, c := range chunks {
			skip := out.Next - c.AtByte
			if skip < 0 { // output between was not kept
				return out, nil
			}
			if skip < int64(len(c.Data)) {
				piece := c.Data[skip:]
				piece = piece[:min(len(piece), limit-len(out.Data))]
				out.Data = append(out.Data, piece...)
				out.Next += int64(len(piece))
			}
			seq = c.Seq + 1
		}
		if len(chunks) < chunksAtOnce {
			break
		}
	}
	return out, nil
}

// logDay is the partition that an attempt's output is in: the day of its claim.
func logDay(h db.LogHeadsRow) time.Time { return h.ClaimedAt.UTC().Truncate(24 * time.Hour) }

// ended tells whether an attempt has ended.
func ended(state string) bool {
	switch api.AttemptState(state) {
	case api.AttemptStateSucceeded, api.AttemptStateFailed, api.AttemptStateTimedOut, api.AttemptStateCanceled, api.AttemptStateLost:
		return true
	}
	return false
}

// findTask finds the run, and the number of a task or an item in it.
func (a *App) findTask(ctx context.Context, q *db.Queries, by Actor, ref RunRef, task string, index *int) (runRow, int32, error) {
	row, err := a.findRun(ctx, q, by, ref)
	if err != nil {
		return row, 0, err
	}
	def, err := a.revisions.One(ctx, q, row.Run.RevisionID)
	if err != nil {
		return row, 0, err
	}
	ordinal, err := ordinalOf(def, ref, task)
	if err != nil {
		return row, 0, err
	}
	if index == nil {
		return row, int32(flow.Number(ordinal)), nil
	}
	if *index < 0 || *index >= flow.ItemSpan-1 {
		return row, 0, api.Errorf(api.NotFound, "%s/%s has no item %d", ref, task, *index)
	}
	return row, int32(flow.ItemNumber(ordinal, *index)), nil
}

// A LogEvent is one thing to say about the output of a run.
type LogEvent struct {
	Kind  string // log, cut, end
	Piece *api.LogPiece
	Cut   *api.LogCut
	Run   *api.Run
}

// follower sends the output of a run's attempts.
type follower struct {
	app       *App
	q         *db.Queries
	run       int64
	low, high int32
	params    api.FollowLogsParams
	send      func(LogEvent) error
	at        map[attemptKey]*position
}

type attemptKey struct{ number, attempt int32 }

// position is how far an attempt's output has been sent.
type position struct {
	seq    int32  // of the next chunk
	offset int64  // of the next byte
	carry  []byte // the beginning of a character whose rest is in the next chunk
	done   bool
}

// FollowLogs sends the output of a run's attempts: what there is, and with
// follow what comes, until the run has ended (with one task: the task). The last
// event is end.
func (a *App) FollowLogs(ctx context.Context, by Actor, ref RunRef, p api.FollowLogsParams, send func(LogEvent) error) error {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return err
	}
	if p.Task == "" && (p.Index != nil || p.Attempt != 0) {
		return api.Errorf(api.Unprocessable, "index and attempt need a task")
	}
	q := a.queries()
	f := &follower{app: a, q: q, params: p, send: send, high: math.MaxInt32, at: map[attemptKey]*position{}}
	var row runRow
	var err error
	if p.Task != "" {
		row, f.low, err = a.findTask(ctx, q, by, ref, p.Task, p.Index)
		f.high = f.low
		if p.Index == nil {
			f.high += flow.ItemSpan - 1
		}
	} else {
		row, err = a.findRun(ctx, q, by, ref)
	}
	if err != nil {
		return err
	}
	f.run = row.Run.ID
	for {
		hint := a.hints.wait()
		// First whether it has ended, then what there is: so nothing is missed.
		row, err := q.RunByID(ctx, f.run)
		if errors.Is(err, db.ErrNoRows) {
			return api.Errorf(api.Gone, "run %s is no longer kept", ref)
		}
		if err != nil {
			return fmt.Errorf("read a run: %w", err)
		}
		over, err := f.over(ctx, runRow(row))
		if err != nil {
			return err
		}
		if err := f.turn(ctx); err != nil {
			return err
		}
		if over || !p.Follow {
			head := a.runHead(runRow(row))
			return send(LogEvent{Kind: "end", Run: &head})
		}
		if !a.pause(ctx, hint) {
			return ctx.Err()
		}
	}
}

// over tells whether no more output will come.
func (f *follower) over(ctx context.Context, row runRow) (bool, error) {
	if row.Run.EndedAt != nil {
		return true, nil
	}
	if f.params.Task == "" {
		return false, nil
	}
	tasks, err := f.q.TasksPage(ctx, db.TasksPageParams{RunID: f.run, Low: f.low, High: f.low, States: []string{}, Page: 1})
	if err != nil || len(tasks) == 0 {
		return false, err
	}
	if tasks[0].EndedAt != nil {
		return true, nil
	}
	return f.params.Attempt != 0 && int(tasks[0].Attempt) >= f.params.Attempt, nil
}

// turn sends what is there and was not sent.
func (f *follower) turn(ctx context.Context) error {
	heads, err := f.q.LogHeads(ctx, db.LogHeadsParams{RunID: f.run, Low: f.low, High: f.high})
	if err != nil {
		return fmt.Errorf("find logs: %w", err)
	}
	for _, h := range heads {
		if f.params.Attempt != 0 && int(h.Attempt) != f.params.Attempt {
			continue
		}
		if f.params.Failed && (h.State != string(api.AttemptStateFailed) && h.State != string(api.AttemptStateTimedOut) && h.State != string(api.AttemptStateLost)) {
			continue
		}
		key := attemptKey{h.Number, h.Attempt}
		pos := f.at[key]
		if pos == nil {
			pos = &position{}
			f.at[key] = pos
		}
		if pos.done {
			continue
		}
		if err := f.attempt(ctx, h, pos); err != nil {
			return err
		}
	}
	return nil
}

// attempt sends the chunks of an attempt that are new.
func (f *follower) attempt(ctx context.Context, h db.LogHeadsRow, pos *position) error {
	for {
		chunks, err := f.q.LogChunks(ctx, db.LogChunksParams{Day: logDay(h), RunID: f.run, Number: h.Number, Attempt: h.Attempt, FromSeq: pos.seq, Page: chunksAtOnce})
		if err != nil {
			return fmt.Errorf("read a log: %w", err)
		}
		for _, c := range chunks {
			if err := f.chunk(h, pos, c); err != nil {
				return err
			}
			pos.seq = c.Seq + 1
		}
		if len(chunks) < chunksAtOnce {
			break
		}
	}
	if ended(h.State) {
		pos.done = true
		if len(pos.carry) > 0 { // the output ends within a character
			if err := f.piece(h, pos, pos.offset-int64(len(pos.carry)), pos.carry, false, h.ClaimedAt); err != nil {
				return err
			}
		}
		return f.cut(h, pos, h.Seen)
	}
	return nil
}

// cut says that output up to an offset was not kept.
func (f *follower) cut(h db.LogHeadsRow, pos *position, to int64) error {
	if to <= pos.offset {
		return nil
	}
	from := pos.offset
	pos.offset = to
	index := itemIndex(h.Number)
	return f.send(LogEvent{Kind: "cut", Cut: &api.LogCut{Task: h.Name, Index: index, Attempt: int(h.Attempt), From: from, To: to}})
}

// chunk sends a chunk in the pieces its marks tell apart.
func (f *follower) chunk(h db.LogHeadsRow, pos *position, c db.LogChunksRow) error {
	if c.AtByte > pos.offset {
		pos.carry = nil
		if err := f.cut(h, pos, c.AtByte); err != nil {
			return err
		}
	}
	end := c.AtByte + int64(len(c.Data))
	if !f.params.Since.IsZero() && c.At.Before(f.params.Since) {
		pos.offset, pos.carry = end, nil
		return nil
	}
	data, at := append(pos.carry, c.Data...), c.AtByte-int64(len(pos.carry))
	lead := len(pos.carry)
	pos.carry = nil
	began := h.ClaimedAt
	if h.StartedAt != nil {
		began = *h.StartedAt
	}
	for _, m := range parseMarks(c.Marks, len(c.Data)) {
		n := m.size + lead
		lead = 0
		piece := data[:n]
		data = data[n:]
		if len(data) == 0 {
			if k := partial(piece); k > 0 {
				pos.carry = append([]byte(nil), piece[len(piece)-k:]...)
				piece = piece[:len(piece)-k]
			}
		}
		if err := f.piece(h, pos, at, piece, m.stderr, began.Add(m.at)); err != nil {
			return err
		}
		at += int64(n)
	}
	pos.offset = end
	return nil
}

func (f *follower) piece(h db.LogHeadsRow, _ *position, from int64, data []byte, stderr bool, at time.Time) error {
	if len(data) == 0 {
		return nil
	}
	stream := api.LogPieceStreamStdout
	if stderr {
		stream = api.LogPieceStreamStderr
	}
	return f.send(LogEvent{Kind: "log", Piece: &api.LogPiece{
		Task: h.Name, Item: h.Item, Index: itemIndex(h.Number), Attempt: int(h.Attempt), Stream: stream, At: at.UTC(),
		From: from, To: from + int64(len(data)), Text: strings.ToValidUTF8(string(data), "\uFFFD"),
	}})
}

func itemIndex(number int32) *int {
	if _, index := flow.Split(int(number)); index >= 0 {
		return &index
	}
	return nil
}

// partial is how many bytes at the end begin a character that is not whole.
func partial(b []byte) int {
	for k := 1; k < utf8.UTFMax && k <= len(b); k++ {
		if tail := b[len(b)-k:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return k
			}
			return 0
		}
	}
	return 0
}

// A mark says which stream a piece of a chunk came from, and when.
type mark struct {
	stderr bool
	size   int
	at     time.Duration // since the attempt began
}

// parseMarks reads the marks of a chunk of n bytes: pairs of varints, the length
// times two plus one for stderr, then the milliseconds since the mark before. What
// they leave out counts as stdout, so that no byte is lost to broken marks.
func parseMarks(b []byte, n int) []mark {
	var out []mark
	var at time.Duration
	for len(b) > 0 && n > 0 {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			break
		}
		ms, l := binary.Uvarint(b[k:])
		if l <= 0 || ms > math.MaxInt32 {
			break
		}
		b = b[k+l:]
		at += time.Duration(ms) * time.Millisecond
		size := int(min(v>>1, uint64(n)))
		out = append(out, mark{v&1 == 1, size, at})
		n -= size
	}
	if n > 0 {
		out = append(out, mark{size: n, at: at})
	}
	return out
}
