package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

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
	case "approvals":
		path("/approvals")
		filter("after")
	case "runs":
		path("/runs")
		filter("state", "since", "after")
	case "backfills":
		path("/backfills")
		filter("pipeline", "state", "after")
	case "backfill":
		path("/backfills/:id", "id")
		filter("state", "after")
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
	box func() (part region, key string, err error)
	key string // attempt and last line of the log
	log app.LogRef
	// ask makes the region of the questions, with the forms of their answers. It is
	// sent when asked, which questions they are, becomes another.
	ask    region
	asked  string
	active bool
}

// view builds a page and takes it apart.
func (s *Server) view(c echo.Context, kind string) (view, error) {
	switch kind {
	case "pipelines":
		p, err := s.pipelinesPage(c)
		return view{regions: []region{{id: "pipelines", part: Pipelines(p.List)}}}, err
	case "approvals":
		p, err := s.approvalsPage(c)
		return view{regions: []region{{id: "approvals", part: Approvals(p.List)}, {id: "nav-approvals", part: NavApprovals(true, p.Questions)}}}, err
	case "runs":
		p, err := s.runsPage(c)
		return view{regions: []region{{id: "runs", part: Runs(p.Runs)}}}, err
	case "backfills":
		p, err := s.backfillsPage(c)
		return view{regions: []region{{id: "backfills", part: Backfills(p.List)}}}, err
	case "backfill":
		p, err := s.backfillPage(c)
		return view{regions: []region{
			{id: "backfill-head", part: BackfillHeader(p.Head)},
			{id: "backfill-progress", part: BackfillBar(p.Progress)},
			{id: "backfill-failed", part: BackfillTickList(p.Failed)},
			{id: "backfill-ticks", part: BackfillTickList(p.Ticks)},
		}, active: !p.Head.Over}, err
	case "pipeline":
		p, err := s.pipelineFrame(c, "runs", "state", "after")
		if err == nil {
			err = s.pipelineRuns(c, &p)
		}
		return view{regions: []region{
			{id: "pipeline-head", part: PipelineHeader(p.Header)}, {id: "pipeline-why", part: PipelineWhy(p.Why)}, {id: "runs", part: Runs(p.Runs)}, {id: "pipeline-next", part: Next(p.Next)},
		}}, err
	case "run":
		p, err := s.runPage(c, runRef(c))
		v := view{regions: []region{
			{id: "run-head", part: RunHeader(p.Head)}, {id: "run-problem", part: RunProblem(p.Problem)}, {id: "run-why", part: RunWhy(p.Why)}, {id: "run-tasks", part: RunTasks(p.Tasks)}, {id: "run-started", part: RunStarted(p.Started)}, {id: "run-details", part: RunDetails(p.Details)},
		}, box: func() (region, string, error) { return region{id: "run-log", part: RunLog(p.Log)}, p.Log.Key, nil }, key: p.Log.Key, log: p.Log.Ref, ask: region{id: "run-ask", part: RunAsk(p.Ask)}, asked: p.Ask.Key, active: !p.Head.Over || p.Started.Open}
		return v, err
	case "attempt":
		p, err := s.attemptPage(c, 1)
		v := view{regions: []region{{id: "attempt-head", part: AttemptHeader(p.Head)}}, active: !p.Head.Over}
		if p.Await.On {
			v.regions, v.ask, v.asked = append(v.regions, region{id: "task-await", part: TaskAwait(p.Await)}), region{id: "run-ask", part: RunAsk(p.Ask)}, p.Ask.Key
			return v, err
		}
		v.regions, v.key, v.log = append(v.regions, region{id: "log-end", part: LogEnd(p.Log)}), p.Log.Key, p.Log.Ref
		v.box = func() (region, string, error) {
			whole, err := s.attemptPage(c, app.MaxLogLines)
			return region{id: "log-region", part: Log(whole.Log)}, whole.Log.Key, err
		}
		return v, err
	}
	return view{}, errNoStream
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
