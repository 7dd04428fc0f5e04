package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"
	"github.com/tmaxmax/go-sse"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
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

// place is what a room shows: a page as somebody sees it.
type place struct {
	kind          string
	route         string
	names, values []string // of the path
	query         string
	cookies       []*http.Cookie
	who           app.Actor
	tls           bool
}

// key is the same for those who see the same.
func (p place) key() string {
	parts := append([]string{p.kind, p.query, strconv.FormatInt(p.who.TokenID, 10), strconv.FormatBool(p.tls)}, p.values...)
	for _, c := range p.cookies {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "\x00")
}

// visit is a request for the page, as its handlers take one.
func (p place) visit(ctx context.Context) (echo.Context, error) {
	req, err := http.NewRequestWithContext(access.With(ctx, p.who), http.MethodGet, "/events?"+p.query, nil)
	if err != nil {
		return nil, err
	}
	for _, c := range p.cookies {
		req.AddCookie(c)
	}
	c := echo.New().NewContext(req, nil)
	c.SetPath(p.route)
	c.SetParamNames(p.names...)
	c.SetParamValues(p.values...)
	return c, nil
}

// A seat is one reader in a room.
type seat struct {
	out     chan []byte
	waiting atomic.Int64  // bytes in out
	dropped chan struct{} // closed by the room
	fail    chan error    // why the room could not be entered

	// Of the room's own goroutine:
	fresh bool
	log   logPlace
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
	now, box := parsePlace(v.key), ""
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

// A region is a part of a page and how it comes into it.
type region struct {
	id, swap string
	part     templ.Component
}

func renderRegion(ctx context.Context, r region) (string, error) {
	if r.id == "" {
		return "", nil
	}
	var b bytes.Buffer
	err := Partial(r.id, cmp.Or(r.swap, "outerMorph"), r.part).Render(ctx, &b)
	return b.String(), err
}

// events is the stream of a page: its regions when they change, its log line by line.
func (s *Server) events(c echo.Context) error {
	p, err := s.placeOf(c)
	if err != nil {
		return err
	}
	var topic int64
	if p.kind != "pipelines" && p.kind != "runs" {
		ref := app.PipelineRef{Namespace: c.QueryParam("ns"), Name: c.QueryParam("name")}
		if topic, err = s.app.PipelineID(c.Request().Context(), p.who, ref); err != nil {
			return err
		}
	}
	me := &seat{out: make(chan []byte, 64), dropped: make(chan struct{}), fail: make(chan error, 1)}
	me.log = parsePlace(cmp.Or(c.Request().Header.Get("Last-Event-ID"), c.QueryParam("at")))
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

var errNoStream = errors.New("no stream of that kind")

// placeOf reads which page a stream is for.
func (s *Server) placeOf(c echo.Context) (place, error) {
	q := c.QueryParams()
	p := place{kind: q.Get("page"), who: actor(c), tls: c.Scheme() == "https"}
	for _, name := range []string{zoneCookie, seenCookie, keysCookie} {
		if cookie, err := c.Cookie(name); err == nil {
			p.cookies = append(p.cookies, &http.Cookie{Name: name, Value: cookie.Value})
		}
	}
	path := func(route string, names ...string) {
		p.route = route
		for _, n := range names {
			p.names, p.values = append(p.names, n), append(p.values, q.Get(n))
		}
	}
	filter := func(names ...string) {
		var pairs []string
		for _, n := range names {
			pairs = append(pairs, n, q.Get(n))
		}
		p.query = strings.TrimPrefix(query(pairs...), "?")
	}
	switch p.kind {
	case "pipelines":
		path("/p")
		filter("q", "state", "after")
	case "runs":
		path("/runs")
		filter("state", "since", "after")
	case "pipeline":
		path("/p/:ns/:name", "ns", "name")
		filter("state", "after")
	case "run":
		path("/p/:ns/:name/:no", "ns", "name", "no")
		filter("task", "after", "rows")
	case "attempt":
		path("/p/:ns/:name/:no/:task/:attempt", "ns", "name", "no", "task", "attempt")
		if item := q.Get("item"); item != "" {
			p.values[3] += "[" + item + "]"
		}
	default:
		return p, &api.Error{Code: api.NotFound, Message: "there is no stream of that kind", Cause: errNoStream}
	}
	return p, nil
}

// view is a page as a stream sends it.
type view struct {
	regions []region
	// box makes the region around the log, with the place it ends at. It is sent
	// when the log becomes another. Nil: there is no log.
	box    func() (part region, key string, err error)
	key    string // attempt and last line of the log
	log    app.LogRef
	active bool
}

// view builds a page and takes it apart.
func (s *Server) view(c echo.Context, kind string) (view, error) {
	switch kind {
	case "pipelines":
		p, err := s.pipelinesPage(c)
		return view{regions: []region{{id: "pipelines", part: Pipelines(p.List)}}}, err
	case "runs":
		p, err := s.runsPage(c)
		return view{regions: []region{{id: "runs", part: Runs(p.Runs)}}}, err
	case "pipeline":
		p, err := s.pipelineFrame(c, "runs", "state", "after")
		if err == nil {
			err = s.pipelineRuns(c, &p)
		}
		return view{regions: []region{
			{id: "pipeline-head", part: PipelineHeader(p.Header)}, {id: "runs", part: Runs(p.Runs)}, {id: "pipeline-next", part: Next(p.Next)},
		}}, err
	case "run":
		p, err := s.runPage(c, runRef(c))
		v := view{regions: []region{
			{id: "run-head", part: RunHeader(p.Head)}, {id: "run-problem", part: RunProblem(p.Problem)}, {id: "run-tasks", part: RunTasks(p.Tasks)}, {id: "run-details", part: RunDetails(p.Details)},
		}, box: func() (region, string, error) { return region{id: "run-log", part: RunLog(p.Log)}, p.Log.Key, nil }, key: p.Log.Key, log: p.Log.Ref, active: !p.Head.Over}
		return v, err
	case "attempt":
		p, err := s.attemptPage(c, 1)
		v := view{regions: []region{{id: "attempt-head", part: AttemptHeader(p.Head)}, {id: "log-end", part: LogEnd(p.Log)}}, key: p.Log.Key, log: p.Log.Ref, active: !p.Head.Over}
		v.box = func() (region, string, error) {
			whole, err := s.attemptPage(c, app.MaxLogLines)
			return region{id: "log-region", part: Log(whole.Log)}, whole.Log.Key, err
		}
		return v, err
	}
	return view{}, errNoStream
}
