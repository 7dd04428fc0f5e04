package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	service "github.com/synthesizer-dev/synthesizer/services/api"
)

// server is the whole service on a database and a port of its own.
type server struct {
	t     *testing.T
	url   string // of the service
	db    string // of the database
	token string // the first one, an admin's
	stop  func() error
}

func start(t *testing.T) *server {
	t.Helper()
	return startOn(t, dbtest.URL(t))
}

func startOn(t *testing.T, database string) *server {
	t.Helper()
	return startWith(t, database, func(*service.Config) {})
}

// startWith starts the service on a database, set up otherwise.
func startWith(t *testing.T, database string, change func(*service.Config)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, url: "http://" + l.Addr().String(), db: database}
	tokens := make(chan string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	cfg := service.Config{
		DatabaseURL: database, Listener: l, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		FirstToken: func(secret string) { tokens <- secret },
	}
	change(&cfg)
	go func() { done <- service.Run(ctx, cfg) }()
	ended := false
	s.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	select {
	case s.token = <-tokens:
	case err := <-done:
		t.Fatalf("Run ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("no first token after 20 s")
	}
	return s
}

// as is a client with a token.
func (s *server) as(token string) *client.Client {
	s.t.Helper()
	c, err := client.New(client.Options{URL: s.url, Token: token, Patience: -1})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *server) admin() *client.Client { return s.as(s.token) }

func (s *server) pool() *db.Pool { return dbtest.Open(s.t, db.Config{URL: s.db, Purpose: db.Pages}) }

// register stores files: name, text, name, text …
func (s *server) register(source string, pairs ...string) api.Registration {
	s.t.Helper()
	out, err := s.admin().Register(s.t.Context(), request(source, pairs...))
	if err != nil {
		s.t.Fatalf("register: %v", err)
	}
	return out
}

func request(source string, pairs ...string) api.RegisterRequest {
	req := api.RegisterRequest{Source: source, Files: []api.SourceFile{}}
	for i := 0; i < len(pairs); i += 2 {
		req.Files = append(req.Files, api.SourceFile{Name: pairs[i], Text: pairs[i+1]})
	}
	return req
}

// hello is a pipeline of one task.
func hello(name string) string {
	return fmt.Sprintf("name: %s\ntasks:\n  hi:\n    run: echo hello\n", name)
}

const full = `name: etl
description: Loads things
owner: data
labels: {team: data}
timezone: Europe/Amsterdam
schedule: "0 2 * * *"
params:
  region: {type: string, enum: [eu, us], default: eu}
  rows: {type: integer, minimum: 1, default: 10}
  day: {type: string, required: false}
tasks:
  extract:
    run: echo extract
  load:
    needs: [extract]
    command: [load, "${{ params.region }}"]
finally:
  clean:
    run: echo clean
`

func TestRegisterShowAndRun(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()

	out := s.register("repo", "etl.yaml", full, "hello.yaml", hello("hello"))
	if len(out.Pipelines) != 2 || out.Pipelines[0].Name != "etl" || out.Pipelines[0].Change != "new" || out.Pipelines[0].Revision != 1 {
		t.Fatalf("first register: %+v", out)
	}
	if at := out.Pipelines[0].FirstTick; at == nil || !at.After(time.Now()) || out.Pipelines[1].FirstTick != nil {
		t.Errorf("first ticks: %v and %v", at, out.Pipelines[1].FirstTick)
	}
	again := s.register("repo", "etl.yaml", full, "hello.yaml", hello("hello"))
	if again.Pipelines[0].Change != "unchanged" || again.Pipelines[0].Revision != 1 || !again.Pipelines[0].FirstTick.Equal(*out.Pipelines[0].FirstTick) {
		t.Errorf("second register: %+v", again.Pipelines[0])
	}
	changed := s.register("repo", "etl.yaml", strings.Replace(full, "0 2 * * *", "30 3 * * *", 1))
	if p := changed.Pipelines[0]; p.Change != "changed" || p.Revision != 2 || p.Previous != 1 {
		t.Errorf("changed: %+v", p)
	}
	if p := changed.Pipelines[1]; p.Change != "kept" || p.Name != "hello" {
		t.Errorf("kept: %+v", p)
	}

	p, err := c.Pipeline(ctx, "default", "etl")
	if err != nil {
		t.Fatal(err)
	}
	if p.Revision != 2 || p.Owner != "data" || p.Labels["team"] != "data" || len(p.Params) != 3 || p.Params[0].Name != "region" || p.Source != "repo" ||
		len(p.Schedules) != 1 || p.Schedules[0].Text != "30 3 * * *" || p.NextTick == nil || p.Paused != nil || p.LastRun != nil {
		t.Errorf("pipeline: %+v", p)
	}
	list, err := c.Pipelines(ctx, api.ListPipelinesParams{Limit: 1})
	if err != nil || len(list.Items) != 1 || list.Next == "" {
		t.Fatalf("first page: %+v, %v", list, err)
	}
	list, err = c.Pipelines(ctx, api.ListPipelinesParams{Limit: 1, Cursor: list.Next})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "hello" || list.Next != "" {
		t.Fatalf("second page: %+v, %v", list, err)
	}
	next, err := c.NextTicks(ctx, "default", "etl", api.NextTicksParams{Limit: 3})
	if err != nil || len(next.Items) != 3 || next.Items[0].Timezone != "Europe/Amsterdam" {
		t.Errorf("next: %+v, %v", next, err)
	}
	rev, err := c.Revision(ctx, "default", "etl", "1")
	if err != nil || rev.Text != full || len(rev.Spec) == 0 {
		t.Errorf("revision: %+v, %v", rev, err)
	}

	run, created, err := c.CreateRun(ctx, "default", "etl", "key-1", api.RunRequest{Texts: map[string]string{"rows": "7"}, Note: "by hand"})
	if err != nil || !created {
		t.Fatalf("run: %v, %v", created, err)
	}
	if run.Number != 1 || run.State != "queued" || run.Trigger != "manual" || string(run.Params["rows"]) != "7" || string(run.Params["region"]) != `"eu"` ||
		run.Note != "by hand" || run.RequestedBy != "admin" || run.Revision != 2 || !strings.HasPrefix(run.URL, s.url+"/p/default/etl/1") {
		t.Errorf("run: %+v", run)
	}
	same, created, err := c.CreateRun(ctx, "default", "etl", "key-1", api.RunRequest{Texts: map[string]string{"rows": "7"}, Note: "by hand"})
	if err != nil || created || same.ID != run.ID {
		t.Errorf("same key: %d, %v, %v; want the run %d", same.ID, created, err, run.ID)
	}
	if _, _, err := c.CreateRun(ctx, "default", "etl", "key-1", api.RunRequest{}); !api.IsCode(err, api.Conflict) {
		t.Errorf("same key, other content: %v, want a conflict", err)
	}
	runs, err := c.Runs(ctx, api.ListRunsParams{Pipeline: "default/etl"})
	if err != nil || len(runs.Items) != 1 {
		t.Errorf("runs: %+v, %v", runs, err)
	}
	for _, p := range []api.ListRunsParams{{}, {State: []api.RunState{"queued"}}, {Namespace: "default", Since: time.Now().Add(-time.Hour)}} {
		if runs, err := c.Runs(ctx, p); err != nil || len(runs.Items) != 1 {
			t.Errorf("runs %+v: %+v, %v", p, runs, err)
		}
	}
	if runs, err := c.Runs(ctx, api.ListRunsParams{State: []api.RunState{"failed"}}); err != nil || len(runs.Items) != 0 {
		t.Errorf("failed runs: %+v, %v", runs, err)
	}
	for _, ref := range []string{"1", "latest"} {
		if got, err := c.Run(ctx, client.RunRef{Namespace: "default", Pipeline: "etl", Run: ref}); err != nil || got.ID != run.ID {
			t.Errorf("run %s: %+v, %v", ref, got, err)
		}
	}
	if got, err := c.RunByID(ctx, run.ID); err != nil || got.Number != 1 {
		t.Errorf("run by id: %+v, %v", got, err)
	}
	canceled, err := c.Cancel(ctx, client.RunRef{Namespace: "default", Pipeline: "etl", Run: "1"}, api.CancelRequest{Reason: "not now"})
	if err != nil || canceled.CancelRequestedAt.IsZero() || canceled.CanceledBy != "admin" || canceled.CancelReason != "not now" {
		t.Errorf("cancel: %+v, %v", canceled, err)
	}

	paused, err := c.Pause(ctx, "default", "etl", api.PauseRequest{Reason: "migration"})
	if err != nil || paused.Paused == nil || paused.Paused.By != "admin" {
		t.Errorf("pause: %+v, %v", paused.Paused, err)
	}
	if list, err := c.Pipelines(ctx, api.ListPipelinesParams{State: "paused"}); err != nil || len(list.Items) != 1 {
		t.Errorf("paused pipelines: %+v, %v", list, err)
	}
	resumed, err := c.Resume(ctx, "default", "etl", api.ResumeRequest{})
	if err != nil || resumed.Paused != nil {
		t.Errorf("resume: %+v, %v", resumed.Paused, err)
	}
	if v, err := c.Version(ctx); err != nil || v.Installation == "" || v.Tzdata == "" {
		t.Errorf("version: %+v, %v", v, err)
	}
}

func TestRequestsThatCannotBe(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo", "etl.yaml", full, "auto.yaml", "name: auto\nmanual: false\ntasks: {a: {run: echo a}}\n",
		"small.yaml", "name: small\nconcurrency: {max_queued: 1}\ntasks: {a: {run: echo a}}\n")
	run := func(name string, req api.RunRequest) error {
		_, _, err := c.CreateRun(ctx, "default", name, "", req)
		return err
	}
	for _, tc := range []struct {
		name string
		err  error
		code api.Code
		want string
	}{
		{"unknown pipeline", run("etll", api.RunRequest{}), api.NotFound, `did you mean "etl"`},
		{"manual: false", run("auto", api.RunRequest{}), api.Guarded, "by hand"},
		{"value of another type", run("etl", api.RunRequest{Params: api.Values{"rows": []byte(`"x"`)}}), api.Unprocessable, "param rows"},
		{"text of another type", run("etl", api.RunRequest{Texts: map[string]string{"rows": "x"}}), api.Unprocessable, "param rows"},
		{"value outside the enum", run("etl", api.RunRequest{Texts: map[string]string{"region": "mars"}}), api.Unprocessable, "param region"},
		{"unknown param", run("etl", api.RunRequest{Texts: map[string]string{"regoin": "eu"}}), api.Unprocessable, "regoin"},
		{"given twice", run("etl", api.RunRequest{Texts: map[string]string{"rows": "1"}, Params: api.Values{"rows": []byte("1")}}), api.Unprocessable, "twice"},
		{"another revision", run("etl", api.RunRequest{ExpectRevision: 9}), api.Conflict, "revision 1"},
	} {
		if !api.IsCode(tc.err, tc.code) || !strings.Contains(fmt.Sprint(tc.err), tc.want) {
			t.Errorf("%s: %v, want %s with %q", tc.name, tc.err, tc.code, tc.want)
		}
	}
	// One may start, one may wait.
	for range 2 {
		if err := run("small", api.RunRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing admits here, so both are queued and the limit counts them both.
	if err := run("small", api.RunRequest{}); !api.IsCode(err, api.QueueFull) {
		t.Errorf("third run: %v, want queue_full", err)
	}
	runs, err := c.Runs(ctx, api.ListRunsParams{})
	if err != nil || len(runs.Items) != 2 {
		t.Errorf("runs after refusals: %d, %v; want 2", len(runs.Items), err)
	}
	_, err = c.Run(ctx, client.RunRef{Namespace: "default", Pipeline: "small", Run: "99"})
	if !api.IsCode(err, api.NotFound) || !strings.Contains(err.Error(), "the newest is #") {
		t.Errorf("run 99: %v", err)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := start(t)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 401, "/api/v1/runs": 401, "/nothing": 404} {
		resp, err := http.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", path, resp.StatusCode, want)
		}
	}
}
