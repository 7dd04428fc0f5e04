package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

const (
	// keepAlive is how often a stream says something, so that nothing between
	// client and server takes it for dead.
	keepAlive = 15 * time.Second
	// writeWithin is how long a client may take to accept an event. One that is
	// slower is dropped and comes back.
	writeWithin = 20 * time.Second
)

func (s *server) WatchRun(ctx context.Context, r WatchRunRequestObject) (WatchRunResponseObject, error) {
	return s.open(ctx, func(ctx context.Context, send func(kind string, data any) error) error {
		return s.app.Watch(ctx, access.Actor(ctx), runRef(r.Ns, r.Name, r.Run), func(e app.RunEvent) error {
			if e.Task != nil {
				return send(e.Kind, e.Task)
			}
			return send(e.Kind, e.Run)
		})
	}), nil
}

func (s *server) FollowLogs(ctx context.Context, r FollowLogsRequestObject) (FollowLogsResponseObject, error) {
	return s.open(ctx, func(ctx context.Context, send func(kind string, data any) error) error {
		return s.app.FollowLogs(ctx, access.Actor(ctx), runRef(r.Ns, r.Name, r.Run), r.Params, func(e app.LogEvent) error {
			switch {
			case e.Piece != nil:
				return send(e.Kind, e.Piece)
			case e.Cut != nil:
				return send(e.Kind, e.Cut)
			default:
				return send(e.Kind, e.Run)
			}
		})
	}), nil
}

// stream is an answer of events. Its head is written with the first of them, so
// that an error before it is an ordinary answer.
type stream struct {
	ctx  context.Context
	stop <-chan struct{}
	run  func(ctx context.Context, send func(kind string, data any) error) error
}

func (s *server) open(ctx context.Context, run func(context.Context, func(string, any) error) error) stream {
	return stream{ctx: ctx, stop: s.stop, run: run}
}

// VisitWatchRunResponse writes the events of a run.
func (s stream) VisitWatchRunResponse(w http.ResponseWriter) error { return s.write(w) }

// VisitFollowLogsResponse writes the events of logs.
func (s stream) VisitFollowLogsResponse(w http.ResponseWriter) error { return s.write(w) }

func (s stream) write(w http.ResponseWriter) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	out := &events{w: w, rc: http.NewResponseController(w)}
	var g sync.WaitGroup
	g.Go(func() {
		beat := time.NewTicker(keepAlive)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.stop:
				cancel()
				return
			case <-beat.C:
				if out.comment() != nil {
					cancel()
					return
				}
			}
		}
	})
	err := s.run(ctx, out.send)
	cancel()
	g.Wait()
	if out.begun && err != nil {
		// The head has been sent; the client sees the stream break off and comes back.
		if e := app.Explain(err); e.Code != api.Internal {
			return nil
		}
		return err
	}
	if !out.begun && err != nil && errors.Is(err, context.Canceled) {
		return api.Errorf(api.Unavailable, "the server is stopping").WithHint("try again")
	}
	return err
}

// events writes server-sent events, one at a time.
type events struct {
	mu    sync.Mutex
	w     http.ResponseWriter // guarded by mu
	rc    *http.ResponseController
	begun bool
}

func (e *events) send(kind string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	m := &sse.Message{Type: sse.Type(kind)}
	m.AppendData(string(text))
	return e.message(m)
}

func (e *events) comment() error {
	m := &sse.Message{}
	m.AppendComment("still here")
	return e.message(m)
}

func (e *events) message(m *sse.Message) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.rc.SetWriteDeadline(time.Now().Add(writeWithin))
	if !e.begun {
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		e.w.WriteHeader(http.StatusOK)
		e.begun = true
	}
	if _, err := m.WriteTo(e.w); err != nil {
		return err
	}
	return e.rc.Flush()
}
