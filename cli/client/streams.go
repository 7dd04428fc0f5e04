package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/tmaxmax/go-sse"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// maxEvent is the largest event: a run with a thousand tasks.
const maxEvent = 64 << 20

// A RunEvent is one change of a run: run (whole after every connect, then
// without tasks), task, and at the end end.
type RunEvent struct {
	Kind string
	Run  *api.Run
	Task *api.Task
}

// Watch hands every change of a run to each until the run has ended. A lost
// connection is made again; after it comes the whole run.
func (c *Client) Watch(ctx context.Context, ref RunRef, each func(RunEvent) error) error {
	return c.follow(ctx, func() (*http.Response, error) { return c.wire.WatchRun(ctx, ref.Namespace, ref.Pipeline, ref.Run) }, func(kind string, data []byte) error {
		e := RunEvent{Kind: kind}
		switch kind {
		case "run", "end":
			e.Run = new(api.Run)
			if err := json.Unmarshal(data, e.Run); err != nil {
				return fmt.Errorf("read an event: %w", err)
			}
			e.Run.URL = c.absolute(e.Run.URL)
		case "task":
			e.Task = new(api.Task)
			if err := json.Unmarshal(data, e.Task); err != nil {
				return fmt.Errorf("read an event: %w", err)
			}
		default:
			return nil // of a newer server
		}
		return each(e)
	})
}

// A LogEvent is a piece of output, a stretch that was not kept, or the end.
type LogEvent struct {
	Kind  string
	Piece *api.LogPiece
	Cut   *api.LogCut
	Run   *api.Run
}

// source tells the attempts of a run apart.
type source struct {
	task           string
	index, attempt int
}

func sourceOf(task string, index *int, attempt int) source {
	if index == nil {
		return source{task, -1, attempt}
	}
	return source{task, *index, attempt}
}

// FollowLogs hands the output of a run's attempts to each, nothing twice and
// nothing left out, whatever becomes of the connection. The last event is end.
func (c *Client) FollowLogs(ctx context.Context, ref RunRef, p api.FollowLogsParams, each func(LogEvent) error) error {
	seen := map[source]int64{} // the offset that each attempt's output has been handed on to
	return c.follow(ctx, func() (*http.Response, error) {
		return c.wire.FollowLogs(ctx, ref.Namespace, ref.Pipeline, ref.Run, &p)
	}, func(kind string, data []byte) error {
		e := LogEvent{Kind: kind}
		var err error
		switch kind {
		case "log":
			e.Piece = new(api.LogPiece)
			if err = json.Unmarshal(data, e.Piece); err == nil {
				s := sourceOf(e.Piece.Task, e.Piece.Index, e.Piece.Attempt)
				if !trim(e.Piece, seen[s]) {
					return nil
				}
				seen[s] = e.Piece.To
			}
		case "cut":
			e.Cut = new(api.LogCut)
			if err = json.Unmarshal(data, e.Cut); err == nil {
				s := sourceOf(e.Cut.Task, e.Cut.Index, e.Cut.Attempt)
				if e.Cut.To <= seen[s] {
					return nil
				}
				seen[s] = e.Cut.To
			}
		case "end":
			e.Run = new(api.Run)
			err = json.Unmarshal(data, e.Run)
		default:
			return nil
		}
		if err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		return each(e)
	})
}

// trim leaves of a piece what lies above an offset; false: nothing does.
func trim(p *api.LogPiece, offset int64) bool {
	if p.To <= offset {
		return false
	}
	if cut := offset - p.From; cut > 0 && int64(len(p.Text)) == p.To-p.From {
		p.Text, p.From = p.Text[cut:], offset
	}
	return true
}

// errBroken is a stream that ended without its last event.
var errBroken = errors.New("the connection was lost")

// follow reads a stream until its event end, and opens it again whenever it
// breaks off. An error of each ends it.
func (c *Client) follow(ctx context.Context, open func() (*http.Response, error), each func(kind string, data []byte) error) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = 200*time.Millisecond, 5*time.Second
	lost := time.Time{} // when the connection was lost; zero: it holds
	for {
		heard, done, err := c.stream(ctx, open, each)
		switch {
		case done || ctx.Err() != nil:
			return errors.Join(ctx.Err(), err)
		case heard:
			lost = time.Time{}
			waits.Reset()
		case err != nil && !repeatable(err) && !errors.Is(err, errBroken):
			return err
		}
		now := time.Now()
		if lost.IsZero() {
			lost = now
		} else if c.patience < 0 || now.Sub(lost) > 10*c.patience {
			return err
		}
		wait := waits.NextBackOff()
		c.retrying(err, wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// silence is how long a stream may say nothing: the server's comments are nearer
// together.
const silence = 50 * time.Second

// stream reads one connection. heard: an event came; done: the stream is at its
// end, or each gave err.
func (c *Client) stream(ctx context.Context, open func() (*http.Response, error), each func(string, []byte) error) (heard, done bool, err error) {
	resp, err := open()
	if err != nil {
		return false, false, c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if err := c.check(resp); err != nil {
		return false, false, err
	}
	body := &watched{r: resp.Body, timer: time.AfterFunc(silence, func() { resp.Body.Close() })}
	defer body.timer.Stop()
	for event, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: maxEvent}) {
		if err != nil {
			return heard, false, errBroken
		}
		heard = true
		if err := each(event.Type, []byte(event.Data)); err != nil {
			return true, true, err
		}
		if event.Type == "end" {
			return true, true, nil
		}
	}
	return heard, false, errBroken
}

// watched closes a stream that has been silent for too long.
type watched struct {
	r     io.Reader
	timer *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.timer.Reset(silence)
	}
	return n, err
}
