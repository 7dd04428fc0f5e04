package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	service "github.com/synthesizer-dev/synthesizer/services/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/rest"
)

// who may call what: the first role that may, "" for everybody. A route that is
// not here fails the test.
var who = map[string]string{
	"GET /healthz":                                         "",
	"GET /readyz":                                          "",
	"GET /metrics":                                         "viewer",
	"POST /api/v1/register":                                "author",
	"GET /api/v1/pipelines":                                "viewer",
	"GET /api/v1/pipelines/:ns/:name":                      "viewer",
	"POST /api/v1/pipelines/:ns/:name/pause":               "operator",
	"POST /api/v1/pipelines/:ns/:name/resume":              "operator",
	"GET /api/v1/pipelines/:ns/:name/revisions":            "viewer",
	"GET /api/v1/pipelines/:ns/:name/revisions/:revision":  "viewer",
	"GET /api/v1/pipelines/:ns/:name/ticks":                "viewer",
	"GET /api/v1/pipelines/:ns/:name/next":                 "viewer",
	"GET /api/v1/pipelines/:ns/:name/explain":              "viewer",
	"GET /api/v1/runs/:ns/:name/:run/explain":              "viewer",
	"GET /api/v1/runs/:ns/:name/:run/tasks/:task/explain":  "viewer",
	"POST /api/v1/pipelines/:ns/:name/runs":                "operator",
	"GET /api/v1/runs":                                     "viewer",
	"GET /api/v1/runs/:id":                                 "viewer",
	"GET /api/v1/runs/:ns/:name/:run":                      "viewer",
	"GET /api/v1/runs/:ns/:name/:run/tasks":                "viewer",
	"POST /api/v1/runs/:ns/:name/:run/cancel":              "operator",
	"POST /api/v1/runs/:ns/:name/:run/rerun":               "operator",
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/approve": "operator",
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/reject":  "operator",
	"GET /api/v1/approvals":                                "viewer",
	"GET /api/v1/pipelines/:ns/:name/backfill":             "viewer",
	"POST /api/v1/pipelines/:ns/:name/backfill":            "operator",
	"GET /api/v1/backfills":                                "viewer",
	"GET /api/v1/backfills/:id":                            "viewer",
	"PATCH /api/v1/backfills/:id":                          "operator",
	"POST /api/v1/backfills/:id/pause":                     "operator",
	"POST /api/v1/backfills/:id/resume":                    "operator",
	"POST /api/v1/backfills/:id/cancel":                    "operator",
	"POST /api/v1/runs/:ns/:name/:run/tasks/:task/mark":    "operator",
	"GET /api/v1/runs/:ns/:name/:run/events":               "viewer",
	"GET /api/v1/runs/:ns/:name/:run/logs":                 "viewer",
	"GET /api/v1/runs/:ns/:name/:run/tasks/:task/log":      "viewer",
	"GET /api/v1/secrets":                                  "viewer",
	"GET /api/v1/secrets/:ns/:name":                        "viewer",
	"PUT /api/v1/secrets/:ns/:name":                        "author",
	"DELETE /api/v1/secrets/:ns/:name":                     "author",
	"GET /api/v1/vars":                                     "viewer",
	"GET /api/v1/vars/:ns/:name":                           "viewer",
	"PUT /api/v1/vars/:ns/:name":                           "author",
	"DELETE /api/v1/vars/:ns/:name":                        "author",
	"GET /api/v1/executors":                                "viewer",
	"GET /api/v1/pools":                                    "viewer",
	"GET /api/v1/pools/:ns/:name":                          "viewer",
	"GET /api/v1/whoami":                                   "viewer",
	"GET /api/v1/tokens":                                   "admin",
	"POST /api/v1/tokens":                                  "admin",
	"DELETE /api/v1/tokens/:id":                            "admin",
	"GET /api/v1/version":                                  "viewer",
}

func TestEveryRouteAsksForItsRole(t *testing.T) {
	t.Parallel()
	s := start(t)
	order := []string{"", "viewer", "operator", "author", "admin"}
	tokens := map[string]string{}
	for _, role := range order[1:] {
		made, err := s.admin().CreateToken(t.Context(), api.TokenRequest{Name: role, Role: api.Role(role)})
		if err != nil {
			t.Fatal(err)
		}
		tokens[role] = made.Secret
	}
	fill := strings.NewReplacer(":ns", "nowhere", ":name", "nothing", ":revision", "latest", ":run", "latest", ":task", "t", ":id", "999999")
	for _, r := range rest.Routes(rest.Config{}) {
		key := r.Method + " " + r.Path
		least, ok := who[key]
		if !ok {
			t.Errorf("%s is in no table: who may call it?", key)
			continue
		}
		for i, role := range order {
			body := strings.NewReader("")
			req, err := http.NewRequestWithContext(t.Context(), r.Method, s.url+fill.Replace(r.Path), body)
			if err != nil {
				t.Fatal(err)
			}
			if role != "" {
				req.Header.Set("Authorization", "Bearer "+tokens[role])
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			may := i >= slices.Index(order, least)
			denied := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden
			if may == denied {
				t.Errorf("%s as %q = %d, want it %s", key, role, resp.StatusCode, map[bool]string{true: "allowed", false: "denied"}[may])
			}
			if !may && role == "" && resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s as nobody = %d, want 401", key, resp.StatusCode)
			}
			if resp.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
				t.Errorf("%s: headers that protect are missing: %v", key, resp.Header)
			}
		}
	}
}

func TestARouteWithoutARuleIsRefused(t *testing.T) {
	t.Parallel()
	h := func(echo.Context) error { return nil }
	if err := access.Mount(echo.New(), access.Config{}, access.Route{Method: "GET", Path: "/x", Handler: h}); err == nil {
		t.Error("Mount took a route whose rule is the zero value")
	}
	public := access.Route{Method: "GET", Path: "/x", Rule: access.Public, Handler: h}
	if err := access.Mount(echo.New(), access.Config{}, public, public); err == nil {
		t.Error("Mount took a route twice")
	}
}

func TestAccessIsDecidedByTheMatchedRoute(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range []string{"/api/v1/runs", "/api/v1/tokens", "/metrics", "/api/v1/pipelines/default/healthz"} {
		for _, odd := range []string{"/healthz", ";/healthz", "/../healthz", "%2fhealthz", "//healthz", "/", "?/healthz", "/%2e%2e/healthz", "#/healthz"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path+odd, nil)
			if err != nil {
				continue
			}
			req.Header.Set("X-Http-Method-Override", "OPTIONS")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				t.Errorf("GET %s without a token = 200", path+odd)
			}
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+strings.ToUpper(path), nil)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				t.Errorf("GET %s without a token = 200", strings.ToUpper(path))
			}
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	made, err := c.CreateToken(ctx, api.TokenRequest{Name: "ci", Role: api.RoleAuthor, Namespaces: []string{"finance"}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(made.Secret, "syn_") || len(made.Secret) != 68 {
		t.Errorf("secret %q", made.Secret)
	}
	ci := s.as(made.Secret)
	me, err := ci.Whoami(ctx)
	if err != nil || me.Name != "ci" || me.Role != "author" || !slices.Equal(me.Namespaces, []string{"finance"}) {
		t.Errorf("whoami: %+v, %v", me, err)
	}
	list, err := c.Tokens(ctx, api.ListTokensParams{})
	if err != nil || len(list.Items) != 2 || list.Items[1].LastUsedAt.IsZero() {
		t.Errorf("tokens: %+v, %v", list, err)
	}
	if err := c.RevokeToken(ctx, made.Token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := ci.Whoami(ctx); !api.IsCode(err, api.Unauthenticated) {
		t.Errorf("after revoke: %v, want unauthenticated", err)
	}
	if err := c.RevokeToken(ctx, made.Token.ID); err != nil {
		t.Errorf("second revoke: %v", err)
	}
	if err := c.RevokeToken(ctx, 999); !api.IsCode(err, api.NotFound) {
		t.Errorf("revoke of none: %v", err)
	}
	for _, bad := range []string{"", "syn_", "syn_" + strings.Repeat("0", 64), strings.Repeat("x", 68), made.Secret + "0"} {
		if _, err := s.as(bad).Whoami(ctx); !api.IsCode(err, api.Unauthenticated) {
			t.Errorf("token %q: %v, want unauthenticated", bad, err)
		}
	}
	if _, err := c.CreateToken(ctx, api.TokenRequest{Name: "old", Role: api.RoleViewer, ExpiresAt: time.Now().Add(-time.Hour)}); !api.IsCode(err, api.Unprocessable) {
		t.Errorf("expired at birth: %v", err)
	}
	soon, err := c.CreateToken(ctx, api.TokenRequest{Name: "soon", Role: api.RoleViewer, ExpiresAt: time.Now().Add(300 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		if _, err := s.as(soon.Secret).Whoami(ctx); api.IsCode(err, api.Unauthenticated) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the token holds 5 s after its end")
		}
	}
}

func TestTheFirstTokenIsShownOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	// Nobody has used it: whoever asks by the database's address gets another in its place.
	replaced, err := service.OperatorToken(ctx, s.db, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.admin().Whoami(ctx); !api.IsCode(err, api.Unauthenticated) {
		t.Errorf("the first token after another took its place: %v", err)
	}
	if me, err := s.as(replaced).Whoami(ctx); err != nil || me.Role != api.RoleAdmin {
		t.Fatalf("the new one: %+v, %v", me, err)
	}
	// Now it has been used.
	if _, err := service.OperatorToken(ctx, s.db, false); !api.IsCode(err, api.Guarded) {
		t.Errorf("a second token without reset: %v, want guarded", err)
	}
	reset, err := service.OperatorToken(ctx, s.db, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.as(replaced).Whoami(ctx); !api.IsCode(err, api.Unauthenticated) {
		t.Errorf("the old one after a reset: %v", err)
	}
	if _, err := s.as(reset).Whoami(ctx); err != nil {
		t.Errorf("the reset one: %v", err)
	}
}

func TestANamespaceIsAllOneSees(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	s.register("repo", "a.yaml", "namespace: finance\n"+hello("pay"), "b.yaml", "namespace: hr\n"+hello("pay"))
	made, err := s.admin().CreateToken(ctx, api.TokenRequest{Name: "fin", Role: api.RoleAuthor, Namespaces: []string{"finance"}})
	if err != nil {
		t.Fatal(err)
	}
	fin := s.as(made.Secret)
	run, _, err := s.admin().CreateRun(ctx, "hr", "pay", "", api.RunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := fin.Pipelines(ctx, api.ListPipelinesParams{}); err != nil || len(list.Items) != 1 || list.Items[0].Namespace != "finance" {
		t.Errorf("pipelines: %+v, %v", list, err)
	}
	if list, err := fin.Runs(ctx, api.ListRunsParams{}); err != nil || len(list.Items) != 0 {
		t.Errorf("runs: %+v, %v", list, err)
	}
	hr := client.RunRef{Namespace: "hr", Pipeline: "pay", Run: "1"}
	for name, call := range map[string]func() error{
		"pipeline": func() error { _, err := fin.Pipeline(ctx, "hr", "pay"); return err },
		"revision": func() error { _, err := fin.Revision(ctx, "hr", "pay", "1"); return err },
		"ticks":    func() error { _, err := fin.Ticks(ctx, "hr", "pay", api.ListTicksParams{}); return err },
		"next":     func() error { _, err := fin.NextTicks(ctx, "hr", "pay", api.NextTicksParams{}); return err },
		"runs":     func() error { _, err := fin.Runs(ctx, api.ListRunsParams{Pipeline: "hr/pay"}); return err },
		"run":      func() error { _, err := fin.Run(ctx, hr); return err },
		"by id":    func() error { _, err := fin.RunByID(ctx, run.ID); return err },
		"tasks":    func() error { _, err := fin.Tasks(ctx, hr, api.ListTasksParams{}); return err },
		"log":      func() error { _, err := fin.Log(ctx, client.LogRef{RunRef: hr, Task: "hi"}, 0, 0); return err },
		"cancel":   func() error { _, err := fin.Cancel(ctx, hr, api.CancelRequest{}); return err },
		"start":    func() error { _, _, err := fin.CreateRun(ctx, "hr", "pay", "", api.RunRequest{}); return err },
		"pause":    func() error { _, err := fin.Pause(ctx, "hr", "pay", api.PauseRequest{Reason: "x"}); return err },
		"watch":    func() error { return fin.Watch(ctx, hr, func(client.RunEvent) error { return nil }) },
		"logs": func() error {
			return fin.FollowLogs(ctx, hr, api.FollowLogsParams{}, func(client.LogEvent) error { return nil })
		},
	} {
		if err := call(); !api.IsCode(err, api.NotFound) {
			t.Errorf("%s of another namespace: %v, want not_found", name, err)
		}
	}
	// What is not there reads just the same.
	_, there := fin.Pipeline(ctx, "hr", "pay")
	_, absent := fin.Pipeline(ctx, "rh", "pay")
	if strings.ReplaceAll(there.Error(), "hr", "rh") != absent.Error() {
		t.Errorf("a pipeline one may not see: %v\none that is not there: %v", there, absent)
	}
	if _, err := fin.Register(ctx, request("fin", "b.yaml", "namespace: hr\n"+hello("new"))); !api.IsCode(err, api.Refused) {
		t.Errorf("register in another namespace: %v, want refused", err)
	}
	if _, err := fin.CreateToken(ctx, api.TokenRequest{Name: "x", Role: api.RoleAdmin}); !api.IsCode(err, api.Refused) {
		t.Errorf("an author makes a token: %v", err)
	}
}

func TestAnotherSiteChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, header := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/v1/pipelines/default/x/pause", strings.NewReader(`{"reason":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		req.Header.Set("Content-Type", "application/json")
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("POST with %v = %d, want 403", header, resp.StatusCode)
		}
	}
}
