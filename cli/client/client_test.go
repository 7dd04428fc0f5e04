package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return open(t, s.URL)
}

func open(t *testing.T, url string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{URL: url, Token: "syn_x", Patience: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOnlyWhatIsSetIsSent(t *testing.T) {
	t.Parallel()
	var got *http.Request
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { got = r; fmt.Fprint(w, `{"items":[]}`) })
	if _, err := c.Runs(t.Context(), api.ListRunsParams{}); err != nil {
		t.Fatal(err)
	}
	if got.URL.RawQuery != "" || got.Header.Get("Authorization") != "Bearer syn_x" {
		t.Errorf("sent ?%s with %q", got.URL.RawQuery, got.Header.Get("Authorization"))
	}
	since := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	if _, err := c.Runs(t.Context(), api.ListRunsParams{State: []api.RunState{"failed", "queued"}, Since: since, Limit: 7}); err != nil {
		t.Fatal(err)
	}
	if want := "limit=7&since=2026-11-22T02%3A00%3A00Z&state=failed&state=queued"; got.URL.RawQuery != want {
		t.Errorf("sent ?%s, want ?%s", got.URL.RawQuery, want)
	}
	zero := 0
	if _, err := c.Log(t.Context(), client.LogRef{RunRef: client.RunRef{Namespace: "d", Pipeline: "p", Run: "1"}, Task: "a b", Index: &zero}, -5, 0); err != nil {
		t.Fatal(err)
	}
	if got.URL.RawQuery != "from=-5&index=0" || !strings.HasSuffix(got.URL.EscapedPath(), "/tasks/a%20b/log") {
		t.Errorf("sent %s", got.URL)
	}
}

func TestSafeCallsAreRepeatedAndOthersNot(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, `{"number":7}`)
	})
	if run, err := c.RunByID(t.Context(), 1); err != nil || run.Number != 7 || calls.Load() != 3 {
		t.Errorf("after %d calls: %+v, %v", calls.Load(), run, err)
	}
	for name, call := range map[string]func() error{
		"cancel": func() error {
			_, err := c.Cancel(t.Context(), client.RunRef{Namespace: "d", Pipeline: "p", Run: "1"}, api.CancelRequest{})
			return err
		},
		"run, no key":  func() error { _, _, err := c.CreateRun(t.Context(), "d", "p", "", api.RunRequest{}); return err },
		"make a token": func() error { _, err := c.CreateToken(t.Context(), api.TokenRequest{}); return err },
	} {
		calls.Store(0)
		if err := call(); !api.IsCode(err, api.Unavailable) || calls.Load() != 1 {
			t.Errorf("%s: %d calls, %v; want one", name, calls.Load(), err)
		}
	}
	calls.Store(0)
	if _, _, err := c.CreateRun(t.Context(), "d", "p", "key", api.RunRequest{}); err != nil || calls.Load() != 3 {
		t.Errorf("run with a key: %d calls, %v", calls.Load(), err)
	}
}

func TestErrorsInWords(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	l.Close()
	quick, err := client.New(client.Options{URL: nobody, Patience: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = quick.Version(t.Context())
	if !api.IsCode(err, api.Unavailable) || !strings.Contains(err.Error(), "cannot reach "+nobody) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}

	problem := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(409)
		fmt.Fprint(w, `{"type":"x","title":"Conflict","status":409,"detail":"it moved","code":"guarded","hint":"look","request_id":"r7"}`)
	})
	_, err = problem.Pipeline(t.Context(), "d", "p")
	if e := api.As(err); e.Code != api.Guarded || e.Message != "it moved" || e.Hint != "look" || e.RequestID != "r7" {
		t.Errorf("problem: %+v", e)
	}

	for status, body := range map[int]string{502: "<html>Bad Gateway</html>", 404: "404 page not found", 302: ""} {
		other := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if status == 302 {
				w.Header().Set("Location", "https://login.example/")
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		})
		_, _, err := other.CreateRun(t.Context(), "d", "p", "", api.RunRequest{})
		if err == nil || !strings.Contains(err.Error(), "not as a Synthesizer does") {
			t.Errorf("status %d of somebody else: %v", status, err)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := problem.Version(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	for _, bad := range []string{"", "127.0.0.1:8080", "ftp://x", "http://", "http://ana:pw@host"} {
		if _, err := client.New(client.Options{URL: bad}); err == nil || strings.Contains(err.Error(), "pw@") {
			t.Errorf("New(%q) = %v", bad, err)
		}
	}
}

func TestARedirectDoesNotCarryTheToken(t *testing.T) {
	t.Parallel()
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked.Store(true) }))
	defer other.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	if _, err := c.Version(t.Context()); err == nil {
		t.Error("a redirect was followed")
	}
	if leaked.Load() {
		t.Error("a redirect led to another host")
	}
}

func TestLinksAreWhole(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"url":"/p/d/p/7"}`) }))
	defer s.Close()
	run, err := open(t, s.URL+"/").RunByID(t.Context(), 7)
	if err != nil || run.URL != s.URL+"/p/d/p/7" {
		t.Errorf("url %q, %v", run.URL, err)
	}
}

func TestACallerEndsAStream(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: of tomorrow\ndata: {}\n\nevent: run\ndata: {\"number\":1}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	enough := errors.New("enough")
	ref := client.RunRef{Namespace: "d", Pipeline: "p", Run: "1"}
	if err := c.Watch(t.Context(), ref, func(client.RunEvent) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Watch = %v, want what the caller said", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Watch(ctx, ref, func(client.RunEvent) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Watch = %v, want the end of the context", err)
	}
}
