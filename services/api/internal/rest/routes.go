package rest

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// registerBody is how large the JSON of a register may be: its files, at most
// 16 MiB, with their line ends escaped.
const registerBody = 24 << 20

// runBody holds the params of a run, 256 KiB at most.
const runBody = 512 << 10

// markBody holds outputs, 64 KiB at most, with their line ends escaped.
const markBody = 128 << 10

// valueBody holds the value of a secret or variable, 64 KiB at most, with
// whatever of it has to be escaped.
const valueBody = 512 << 10

// rules is the access table: a rule for each route of the contract.
var rules = map[string]access.Route{
	"POST /api/v1/register":                                {Rule: access.Author, Body: registerBody},
	"GET /api/v1/pipelines":                                {Rule: access.Viewer, Query: names(api.ListPipelinesParams{})},
	"GET /api/v1/pipelines/:ns/:name":                      {Rule: access.Viewer},
	"POST /api/v1/pipelines/:ns/:name/pause":               {Rule: access.Operator},
	"POST /api/v1/pipelines/:ns/:name/resume":              {Rule: access.Operator},
	"GET /api/v1/pipelines/:ns/:name/revisions":            {Rule: access.Viewer, Query: names(api.ListRevisionsParams{})},
	"GET /api/v1/pipelines/:ns/:name/revisions/:revision":  {Rule: access.Viewer},
	"GET /api/v1/pipelines/:ns/:name/ticks":                {Rule: access.Viewer, Query: names(api.ListTicksParams{})},
	"GET /api/v1/pipelines/:ns/:name/next":                 {Rule: access.Viewer, Query: names(api.NextTicksParams{})},
	"GET /api/v1/pipelines/:ns/:name/explain":              {Rule: access.Viewer},
	"GET /api/v1/runs/:ns/:name/:run/explain":              {Rule: access.Viewer},
	"GET /api/v1/runs/:ns/:name/:run/tasks/:task/explain":  {Rule: access.Viewer},
	"POST /api/v1/pipelines/:ns/:name/runs":                {Rule: access.Operator, Body: runBody},
	"GET /api/v1/runs":                                     {Rule: access.Viewer, Query: names(api.ListRunsParams{})},
	"GET /api/v1/runs/:id":                                 {Rule: access.Viewer},
	"GET /api/v1/runs/:ns/:name/:run":                      {Rule: access.Viewer},
	"GET /api/v1/runs/:ns/:name/:run/tasks":                {Rule: access.Viewer, Query: names(api.ListTasksParams{})},
	"POST /api/v1/runs/:ns/:name/:run/cancel":              {Rule: access.Operator},
	"POST /api/v1/runs/:ns/:name/:run/rerun":               {Rule: access.Operator},
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/approve": {Rule: access.Operator},
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/reject":  {Rule: access.Operator},
	"GET /api/v1/approvals":                                {Rule: access.Viewer, Query: names(api.ListApprovalsParams{})},
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/mark":    {Rule: access.Operator, Body: markBody},
	"GET /api/v1/runs/:ns/:name/:run/events":               {Rule: access.Viewer, Stream: true},
	"GET /api/v1/runs/:ns/:name/:run/logs":                 {Rule: access.Viewer, Query: names(api.FollowLogsParams{}), Stream: true},
	"GET /api/v1/runs/:ns/:name/:run/tasks/:task/log":      {Rule: access.Viewer, Query: names(api.GetLogParams{})},
	"GET /api/v1/secrets":                                  {Rule: access.Viewer, Query: names(api.ListSecretsParams{})},
	"GET /api/v1/secrets/:ns/:name":                        {Rule: access.Viewer},
	"PUT /api/v1/secrets/:ns/:name":                        {Rule: access.Author, Body: valueBody},
	"DELETE /api/v1/secrets/:ns/:name":                     {Rule: access.Author},
	"GET /api/v1/vars":                                     {Rule: access.Viewer, Query: names(api.ListVarsParams{})},
	"GET /api/v1/vars/:ns/:name":                           {Rule: access.Viewer},
	"PUT /api/v1/vars/:ns/:name":                           {Rule: access.Author, Body: valueBody},
	"DELETE /api/v1/vars/:ns/:name":                        {Rule: access.Author},
	"GET /api/v1/executors":                                {Rule: access.Viewer},
	"GET /api/v1/pools":                                    {Rule: access.Viewer, Query: names(api.ListPoolsParams{})},
	"GET /api/v1/pools/:ns/:name":                          {Rule: access.Viewer, Query: names(api.GetPoolParams{})},
	"GET /api/v1/whoami":                                   {Rule: access.Viewer},
	"GET /api/v1/tokens":                                   {Rule: access.Admin, Query: names(api.ListTokensParams{})},
	"POST /api/v1/tokens":                                  {Rule: access.Admin},
	"DELETE /api/v1/tokens/:id":                            {Rule: access.Admin},
	"GET /api/v1/version":                                  {Rule: access.Viewer},
	"GET /healthz":                                         {Rule: access.Public},
	"GET /readyz":                                          {Rule: access.Public},
	"GET /metrics":                                         {Rule: access.Viewer},
	"GET /api/v1/pipelines/:ns/:name/backfill":             {Rule: access.Viewer, Query: names(api.PreviewBackfillParams{})},
	"POST /api/v1/pipelines/:ns/:name/backfill":            {Rule: access.Operator, Body: runBody},
	"GET /api/v1/backfills":                                {Rule: access.Viewer, Query: names(api.ListBackfillsParams{})},
	"GET /api/v1/backfills/:id":                            {Rule: access.Viewer, Query: names(api.GetBackfillParams{})},
	"PATCH /api/v1/backfills/:id":                          {Rule: access.Operator},
	"POST /api/v1/backfills/:id/pause":                     {Rule: access.Operator},
	"POST /api/v1/backfills/:id/resume":                    {Rule: access.Operator},
	"POST /api/v1/backfills/:id/cancel":                    {Rule: access.Operator},
}

// names are the query parameters of an operation, as its generated type has them.
func names(params any) []string {
	list := []string{}
	t := reflect.TypeOf(params)
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("form"), ","); name != "" {
			list = append(list, name)
		}
	}
	return list
}

// Config is what the routes need beside the use cases.
type Config struct {
	App *app.App
	// Stop ends the streams: it is closed before the server waits for requests.
	Stop <-chan struct{}
	// Healthz, Readyz and Metrics answer for the process.
	Healthz, Readyz, Metrics http.Handler
}

// Routes are the routes of the contract, each with its rule.
func Routes(cfg Config) []access.Route {
	s := &server{app: cfg.App, stop: cfg.Stop}
	collected := &collector{}
	RegisterHandlers(collected, NewStrictHandler(s, nil))
	plain := map[string]http.Handler{"GET /healthz": cfg.Healthz, "GET /readyz": cfg.Readyz, "GET /metrics": cfg.Metrics}
	routes := make([]access.Route, 0, len(collected.list))
	for _, r := range collected.list {
		key := r.Method + " " + r.Path
		route := rules[key] // without one: the zero rule, which Mount refuses
		route.Method, route.Path, route.Handler = r.Method, r.Path, r.Handler
		if h := plain[key]; h != nil {
			route.Handler = echo.WrapHandler(h)
		} else if route.Query == nil {
			route.Query = []string{}
		}
		routes = append(routes, route)
	}
	return routes
}

// collector takes the routes that the generated code registers.
type collector struct{ list []access.Route }

func (c *collector) add(method, path string, h echo.HandlerFunc) *echo.Route {
	c.list = append(c.list, access.Route{Method: method, Path: path, Handler: h})
	return nil
}

// The methods of a router, for the generated code.

func (c *collector) CONNECT(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodConnect, p, h)
}

func (c *collector) DELETE(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodDelete, p, h)
}

func (c *collector) GET(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodGet, p, h)
}

func (c *collector) HEAD(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodHead, p, h)
}

func (c *collector) OPTIONS(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodOptions, p, h)
}

func (c *collector) PATCH(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodPatch, p, h)
}

func (c *collector) POST(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodPost, p, h)
}

func (c *collector) PUT(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodPut, p, h)
}

func (c *collector) TRACE(p string, h echo.HandlerFunc, _ ...echo.MiddlewareFunc) *echo.Route {
	return c.add(http.MethodTrace, p, h)
}

// noHandler is for operations that Routes answers otherwise.
func noHandler(operation string) error {
	return fmt.Errorf("operation %s has a handler of its own", operation)
}
