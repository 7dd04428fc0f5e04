package web

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// A seat is one reader in a room.
type seat struct {
	out     chan []byte
	waiting atomic.Int64  // bytes in out
	dropped chan struct{} // closed by the room
	fail    chan error    // why the room could not be entered

	// Of the room's own goroutine:
	fresh bool
	log   logPlace
	asked string // which questions its page shows
}

// logPlace is how far a reader's log is: of which attempt, and its last line.
type logPlace struct {
	attempt string
	line    int
}

// parsePlace reads what logKey wrote.
func parsePlace(key string) logPlace {
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return logPlace{}
	}
	n, err := strconv.Atoi(key[i+1:])
	if err != nil || n < 0 {
		return logPlace{}
	}
	return logPlace{key[:i], n}
}

func (l logPlace) String() string {
	if l.attempt == "" {
		return ""
	}
	return l.attempt + "/" + strconv.Itoa(l.line)
}

// events is the stream of a page: its regions when they change, its log line by line.
func (s *Server) events(c echo.Context) error {
	p, err := s.placeOf(c)
	if err != nil {
		return err
	}
	var topic int64
	if len(p.names) > 0 {
		ref := app.PipelineRef{Namespace: c.QueryParam("ns"), Name: c.QueryParam("name")}
		if topic, err = s.app.PipelineID(c.Request().Context(), p.who, ref); err != nil {
			return err
		}
	}
	me := &seat{out: make(chan []byte, 64), dropped: make(chan struct{}), fail: make(chan error, 1)}
	me.log = parsePlace(cmp.Or(c.Request().Header.Get("Last-Event-ID"), c.QueryParam("at")))
	me.asked = c.QueryParam("ask")
	r, err := s.hub.enter(p, topic, me)
	if err != nil {
		return err
	}
	defer func() { r.leave <- me }()
	return s.stream(c, me)
}

// stream writes what comes for a reader until one of the two goes.
func (s *Server) stream(c echo.Context, me *seat) error {
	ctx := c.Request().Context()
	w, rc := c.Response(), http.NewResponseController(c.Response().Writer)
	begun := false
	write := func(b []byte) error {
		if !begun {
			h := w.Header()
			h.Set("Content-Type", "text/event-stream")
			h.Set("Cache-Control", "no-store")
			h.Set("X-Accel-Buffering", "no")
			h.Set("Content-Security-Policy", policy)
			w.WriteHeader(http.StatusOK)
			begun = true
		}
		// A deadline that has passed frees a write that nobody reads.
		slow := time.AfterFunc(writeWithin, func() { _ = rc.SetWriteDeadline(time.Unix(1, 0)) })
		defer slow.Stop()
		if _, err := w.Write(b); err != nil {
			return err
		}
		return rc.Flush()
	}
	still, check := time.NewTicker(beat), time.NewTicker(recheck)
	defer still.Stop()
	defer check.Stop()
	for {
		select {
		case b := <-me.out:
			me.waiting.Add(-int64(len(b)))
			if write(b) != nil {
				return nil // the reader has gone
			}
		case <-still.C:
			if write([]byte(": still here\n\n")) != nil {
				return nil
			}
		case <-check.C:
			if !s.mayStill(c) {
				return nil
			}
		case err := <-me.fail:
			if begun {
				return nil
			}
			return err
		case <-me.dropped:
			select {
			case err := <-me.fail:
				if !begun {
					return err
				}
			default:
			}
			return nil
		case <-ctx.Done():
			return nil
		case <-s.stop:
			return nil
		case <-s.hub.ctx.Done():
			return nil
		}
	}
}

// mayStill asks again whether the reader may read. A database that does not
// answer sends nobody away.
func (s *Server) mayStill(c echo.Context) bool {
	who := actor(c)
	if who.Anonymous {
		return true
	}
	if c.Request().Header.Get("Authorization") == "" {
		_, ok, err := s.Session(c)
		return ok || err != nil
	}
	_, err := s.app.ActorOf(c.Request().Context(), who.TokenID)
	return !api.IsCode(err, api.Unauthenticated)
}
