package web

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/tmaxmax/go-sse"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

const (
	// together is how long changes are collected before they are sent.
	together = 500 * time.Millisecond
	// listEvery is the same for lists, which change with everybody's runs.
	listEvery = 2 * time.Second
	// beat is how often a stream says something, so that nothing in between takes
	// it for dead.
	beat = 15 * time.Second
	// recheck is how often a stream asks whether its reader may still read.
	recheck = time.Minute
	// writeWithin is how long a reader may take to accept a message.
	writeWithin = 20 * time.Second
	// behind is how many bytes a reader may be behind before it is dropped. It
	// comes back and begins with what is then.
	behind = 256 << 10
	// logTurn is how many lines of a log one message brings.
	logTurn = 500
)

// hub keeps live pages up to date. What several readers look at is read and
// rendered once: a room for each page, zone and reader's rights.
type hub struct {
	s      *Server
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	rooms map[string]*room // guarded by mu
	over  bool             // guarded by mu; nobody joins any more
}

func newHub(s *Server) *hub {
	h := &hub{s: s, rooms: map[string]*room{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// run tells rooms what has changed until ctx is done: at once when the database
// says so, and by looking every few seconds, which misses nothing.
func (h *hub) run(ctx context.Context) error {
	sweep := time.NewTicker(app.Sweep)
	defer sweep.Stop()
	since := ""
	for ctx.Err() == nil {
		hint := h.s.app.Hint()
		if h.busy() {
			c, err := h.s.app.Changes(ctx, since)
			if err != nil {
				h.tell(nil, true) // nobody knows: let all look
			} else {
				// What happened before the first answer nobody has told: let all look.
				h.tell(c.Pipelines, since == "")
				since = c.At
			}
		} else {
			since = "" // whoever comes looks for himself first
		}
		settle := time.NewTimer(together / 2)
		select {
		case <-ctx.Done():
		case <-settle.C:
			select {
			case <-ctx.Done():
			case <-hint:
			case <-sweep.C:
			}
		}
		settle.Stop()
	}
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
	return nil
}

func (h *hub) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.rooms) > 0
}

// tell wakes the rooms that are about one of the pipelines, and those about all.
func (h *hub) tell(pipelines []int64, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.rooms {
		if all || len(pipelines) > 0 && r.topic == 0 || slices.Contains(pipelines, r.topic) {
			select {
			case r.wake <- struct{}{}:
			default:
			}
		}
	}
}

// room looks at one page for all who have it open.
type room struct {
	hub   *hub
	place place
	topic int64 // the pipeline that it is about; 0: all
	wake  chan struct{}
	join  chan *seat
	leave chan *seat
	count int // guarded by hub.mu: seats that have come and not gone

	// Of its own goroutine:
	seats   map[*seat]bool
	sent    map[string]string // region → what was sent last
	log     app.LogRef        // the log that the page shows
	attempt string            // by the name that places in it have
}

// enter finds or opens the room of a place.
func (h *hub) enter(p place, topic int64, s *seat) (*room, error) {
	h.mu.Lock()
	if h.over {
		h.mu.Unlock()
		return nil, api.Errorf(api.Unavailable, "the server is stopping")
	}
	r := h.rooms[p.key()]
	if r == nil {
		r = &room{
			hub: h, place: p, topic: topic, wake: make(chan struct{}, 1), join: make(chan *seat), leave: make(chan *seat),
			seats: map[*seat]bool{}, sent: map[string]string{},
		}
		h.rooms[p.key()] = r
		h.wg.Go(r.run)
	}
	r.count++
	h.mu.Unlock()
	r.join <- s
	return r, nil
}

// left notes that a seat has gone, and tells whether the room is empty for good.
func (r *room) left(s *seat) bool {
	delete(r.seats, s)
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.count--
	if r.count == 0 {
		delete(r.hub.rooms, r.place.key())
	}
	return r.count == 0
}

// run looks when it is told to, and while something goes on every other second;
// in between it asks for new lines of the log.
func (r *room) run() {
	ctx := r.hub.ctx
	second := time.NewTicker(time.Second)
	defer second.Stop()
	active, seconds := true, 0
	for {
		select {
		case s := <-r.join:
			r.seats[s], s.fresh = true, true
		case s := <-r.leave:
			if r.left(s) {
				return
			}
			continue
		case <-r.wake:
		case <-second.C:
			if seconds++; !active || r.topic == 0 {
				continue
			}
			if seconds%2 == 1 {
				r.more(ctx)
				continue
			}
		}
		active = r.turn(ctx)
		// What happens now is sent together with what happens next.
		wait := together
		if r.topic == 0 {
			wait = listEvery
		}
		if r.rest(wait) {
			return
		}
	}
}

// rest waits, while readers come and go. It tells whether the last one has gone.
func (r *room) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return false
		case s := <-r.join:
			r.seats[s], s.fresh = true, true
			r.turn(r.hub.ctx)
		case s := <-r.leave:
			if r.left(s) {
				return true
			}
		}
	}
}

// turn looks at the page and sends what has changed: to those who have just come
// all of it. It tells whether something goes on there.
func (r *room) turn(ctx context.Context) (active bool) {
	c, err := r.place.visit(ctx)
	if err != nil {
		r.close(err)
		return false
	}
	v, err := r.hub.s.view(c, r.place.kind)
	if e := explain(err); e != nil {
		if e.Code == api.Internal || e.Code == api.Unavailable {
			r.closeFresh(err)
			return true // what is shown stays; the next turn may work
		}
		r.close(err)
		return false
	}
	var whole, changed bytes.Buffer
	for _, region := range v.regions {
		text, err := renderRegion(ctx, region)
		if err != nil {
			r.close(err)
			return false
		}
		whole.WriteString(text)
		if r.sent[region.id] != text {
			r.sent[region.id] = text
			changed.WriteString(text)
		}
	}
	now, box, ask := parsePlace(v.key), "", ""
	for s := range r.seats {
		text, id := changed.String(), ""
		if s.fresh {
			text, s.fresh = whole.String(), false
		}
		if v.box != nil && s.log.attempt != now.attempt {
			if box == "" {
				part, key, err := v.box()
				if err == nil {
					box, err = renderRegion(ctx, part)
				}
				if err != nil {
					continue
				}
				now = parsePlace(key)
			}
			s.log, text = now, text+box
			id = now.String()
		}
		if v.ask.id != "" && s.asked != v.asked {
			if ask == "" {
				if ask, err = renderRegion(ctx, v.ask); err != nil {
					r.close(err)
					return false
				}
			}
			s.asked, text = v.asked, text+ask
		}
		if text != "" {
			r.send(s, text, id)
		}
	}
	r.log, r.attempt = v.log, now.attempt
	r.more(ctx)
	return v.active
}

// more sends the lines that the log has gained.
func (r *room) more(ctx context.Context) {
	if r.attempt == "" {
		return
	}
	c, err := r.place.visit(ctx)
	if err != nil {
		return
	}
	rendered := map[logPlace]logMessage{}
	for s := range r.seats {
		if s.fresh || s.log.attempt != r.attempt {
			continue
		}
		m, ok := rendered[s.log]
		if !ok {
			if m, err = r.lines(c, s.log); err != nil {
				continue // the next turn tries again
			}
			rendered[s.log] = m
		}
		if m.to > s.log.line {
			s.log.line = m.to
			r.send(s, m.text, s.log.String())
		}
	}
}

type logMessage struct {
	text string
	to   int
}

// lines renders the lines of a log after a place.
func (r *room) lines(c echo.Context, after logPlace) (logMessage, error) {
	got, err := r.hub.s.app.LogLines(c.Request().Context(), actor(c), r.log, after.line+1, logTurn)
	if err != nil {
		return logMessage{}, err
	}
	if n := len(got.Lines); n > 0 && got.Lines[n-1].Number > got.Whole {
		got.Lines = got.Lines[:n-1]
	}
	if len(got.Lines) == 0 {
		return logMessage{to: after.line}, nil
	}
	text, err := renderRegion(c.Request().Context(), region{id: "log", swap: "beforeend", part: LogLines(logLines(got.Lines, r.hub.s.zoneOf(c)))})
	return logMessage{text, got.Lines[len(got.Lines)-1].Number}, err
}

// send queues a message for a reader, or drops one who does not keep up.
func (r *room) send(s *seat, text, id string) {
	m := &sse.Message{}
	if id != "" {
		m.ID = sse.ID(id)
	}
	m.AppendData(text)
	b, err := m.MarshalText()
	if err != nil {
		return
	}
	if n := s.waiting.Load(); n > 0 && n+int64(len(b)) > behind {
		r.drop(s)
		return
	}
	s.waiting.Add(int64(len(b)))
	select {
	case s.out <- b:
	default:
		r.drop(s)
	}
}

func (r *room) drop(s *seat) {
	select {
	case <-s.dropped:
	default:
		close(s.dropped)
	}
}

// close sends everybody away.
func (r *room) close(err error) {
	for s := range r.seats {
		select {
		case s.fail <- err:
		default:
		}
		r.drop(s)
	}
}

// closeFresh sends away those who have nothing yet.
func (r *room) closeFresh(err error) {
	for s := range r.seats {
		if s.fresh {
			select {
			case s.fail <- err:
			default:
			}
			r.drop(s)
		}
	}
}
