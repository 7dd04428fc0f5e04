package httpcall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/target"
	"github.com/synthesizer-dev/synthesizer/services/internal/egress"
)

// ask makes a request to a server of the test's own.
func ask(t *testing.T, q attempt.Request, change func(*target.Target), handler http.HandlerFunc) (*Answer, error) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return askAt(t, server.URL, q, change)
}

func askAt(t *testing.T, base string, q attempt.Request, change func(*target.Target)) (*Answer, error) {
	t.Helper()
	to := target.Target{Name: "http/src", Kind: target.KindHTTP, Timeout: 20 * time.Second}
	to.Rules = egress.Rules{Hosts: []string{strings.TrimPrefix(base, "http://")}, AllowHTTP: true}
	if change != nil {
		change(&to)
	}
	c := New(to, func(_ context.Context, namespace, name string) (string, error) {
		if name == "MISSING" {
			return "", errors.New("secret MISSING is not set in default")
		}
		return "value-of-" + namespace + "-" + name + "\n", nil
	}, "synthesizer/test")
	t.Cleanup(c.Close)
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	if !strings.Contains(q.URL, "://") {
		q.URL = base + q.URL
	}
	return c.Do(t.Context(), &q)
}

func TestAnAnswerIsWhatExpressionsRead(t *testing.T) {
	t.Parallel()
	var method, path, sent, kind, agent string
	a, err := ask(t, attempt.Request{Method: "POST", URL: "/jobs?x=1", Body: []byte(`{"a":1}`), ContentType: "application/json"}, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		method, path, sent, kind, agent = r.Method, r.RequestURI, string(body), r.Header.Get("Content-Type"), r.Header.Get("User-Agent")
		w.Header().Add("X-Two", "a")
		w.Header().Add("X-Two", "b")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"id": 12345678901234567890, "list": [1.10]}`)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := []string{method, path, sent, kind, agent}, []string{"POST", "/jobs?x=1", `{"a":1}`, "application/json", "synthesizer/test"}; !cmp.Equal(got, want) {
		t.Errorf("the server saw %q, want %q", got, want)
	}
	r := a.Response()
	if r["status"] != int64(202) || r["headers"].(map[string]any)["x-two"] != "a, b" {
		t.Errorf("response = %v", r)
	}
	if got := fmt.Sprint(r["body"].(map[string]any)["id"]); got != "12345678901234567890" {
		t.Errorf("a number lost digits: %s", got)
	}
}

func TestABodyThatIsNoJSONIsTextAlone(t *testing.T) {
	t.Parallel()
	a, err := ask(t, attempt.Request{URL: "/"}, nil, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ready \xff") })
	if err != nil {
		t.Fatal(err)
	}
	r := a.Response()
	if _, ok := r["body"]; ok || r["text"] != "ready \ufffd" {
		t.Errorf("response = %q, want a text and no body", r)
	}
}

func TestCredentialsOfTheTarget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		auth   target.Auth
		header []attempt.Header
		at     string
		want   string
	}{
		{"bearer", target.Auth{Header: "Authorization", Scheme: "Bearer", Namespace: "ops", Secret: "T"}, nil, "Authorization", "Bearer value-of-ops-T"},
		{"basic", target.Auth{Header: "Authorization", Scheme: "Basic", User: "me", Namespace: "ops", Secret: "T"}, nil, "Authorization", "Basic bWU6dmFsdWUtb2Ytb3BzLVQ="},
		{"header", target.Auth{Header: "X-Api-Key", Namespace: "ops", Secret: "T"}, nil, "X-Api-Key", "value-of-ops-T"},
		{"the task's own wins", target.Auth{Header: "X-Api-Key", Namespace: "ops", Secret: "MISSING"}, []attempt.Header{{Name: "x-api-key", Value: "mine"}}, "X-Api-Key", "mine"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got string
			_, err := ask(t, attempt.Request{URL: "/", Headers: test.header}, func(to *target.Target) { to.Auth = test.auth },
				func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get(test.at) })
			if err != nil || got != test.want {
				t.Errorf("%s: %q, %v, want %q", test.at, got, err, test.want)
			}
		})
	}
	_, err := ask(t, attempt.Request{URL: "/"}, func(to *target.Target) { to.Auth = target.Auth{Header: "Authorization", Secret: "MISSING"} },
		func(http.ResponseWriter, *http.Request) { t.Error("asked without credentials") })
	if err == nil || !strings.Contains(err.Error(), "the credentials of target http/src: secret MISSING is not set") {
		t.Errorf("without its secret: %v", err)
	}
}

// An answer that repeats a secret is masked, and what would carry it on is found.
func TestSecretsInAnswersAreFound(t *testing.T) {
	t.Parallel()
	a, err := ask(t, attempt.Request{URL: "/", Secrets: map[string]string{"MINE": "my-own-secret"}},
		func(to *target.Target) { to.Auth = target.Auth{Header: "X-Key", Namespace: "ops", Secret: "TOKEN"} },
		func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Key"), " my-own-secret") })
	if err != nil {
		t.Fatal(err)
	}
	text := a.Response()["text"].(string)
	if got := a.Mask(text); got != "•••(TOKEN) •••(MINE)" {
		t.Errorf("Mask = %q", got)
	}
	if name, ok := a.Leaks("x my-own-secret"); !ok || name != "MINE" {
		t.Errorf("Leaks = %q, %t", name, ok)
	}
}

func TestRedirectsStayOnTheHost(t *testing.T) {
	t.Parallel()
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	elsewhere, _ := url.Parse(other.URL)
	elsewhere.Host = strings.Replace(elsewhere.Host, "127.0.0.1", "localhost", 1)
	for where, want := range map[string]string{
		"/there": "",
		"/loop":  "it redirects more than 5 times",
		"http://169.254.169.254/latest/meta-data": "it redirects to another host, 169.254.169.254",
		elsewhere.String():                        "it redirects to another host, " + elsewhere.Host,
		other.URL:                                 "is not allowed by target http/src", // another port
		"file:///etc/passwd":                      "it redirects to another host, ",
	} {
		_, err := ask(t, attempt.Request{URL: "/"}, func(to *target.Target) { to.Rules.AllowPrivate = true }, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/", "/loop":
				http.Redirect(w, r, where, http.StatusFound)
			}
		})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("a redirect to %s: %v, want %q", where, err, want)
		}
	}
	if reached {
		t.Error("a request went to another server")
	}
}

func TestWhatIsNotAllowedIsNotAsked(t *testing.T) {
	t.Parallel()
	for where, want := range map[string]string{
		"file:///etc/passwd":      "scheme file",
		"http://169.254.169.254/": "host 169.254.169.254 is not allowed",
		"http://127.1:5432/":      "host 127.1:5432 is not allowed",
		"http://[::ffff:7f00:1]/": "is not allowed",
		"gopher://127.0.0.1/":     "scheme gopher",
		"http://me:pw@127.0.0.1/": "user info",
		"http://\x00/":            "not an address of the web",
	} {
		_, err := ask(t, attempt.Request{URL: where}, nil, func(http.ResponseWriter, *http.Request) { t.Errorf("%q was asked", where) })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", where, err, want)
		}
	}
}

func TestHeadersThatAreNotTheTasks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Host", "content-length", "Transfer-Encoding", "Connection", "Proxy-Authorization"} {
		_, err := ask(t, attempt.Request{URL: "/", Headers: []attempt.Header{{Name: name, Value: "x"}}}, nil, func(http.ResponseWriter, *http.Request) { t.Errorf("%s was sent", name) })
		if !egress.IsRefused(err) {
			t.Errorf("header %s: %v, want it refused", name, err)
		}
	}
	_, err := ask(t, attempt.Request{URL: "/", Headers: []attempt.Header{{Name: "X-A", Value: "x\r\nX-B: y"}}}, nil, func(http.ResponseWriter, *http.Request) { t.Error("a header with the end of a line was sent") })
	if err == nil {
		t.Error("a header with the end of a line was not refused")
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	_, err := ask(t, attempt.Request{URL: "/"}, nil, func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<20)
		for range 10 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	if err == nil || err.Error() != "the answer is larger than 1 MiB" {
		t.Errorf("an answer of 10 MiB: %v", err)
	}
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	_, err = ask(t, attempt.Request{URL: "/?token=abc"}, func(to *target.Target) { to.Timeout = 50 * time.Millisecond },
		func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
	if err == nil || err.Error() != "no answer within 50ms" {
		t.Errorf("a server that does not answer: %v", err)
	}
	_, err = askAt(t, "http://127.0.0.1:1", attempt.Request{URL: "/?token=abc"}, nil)
	if err == nil || strings.Contains(err.Error(), "token") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v, want a reason without the address's question", err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 5, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0, "1h": 0, "1.5": 0,
		"Sun, 22 Nov 2026 05:31:00 GMT": time.Minute, "Sun, 22 Nov 2026 05:29:00 GMT": 0,
	} {
		a := &Answer{header: http.Header{"Retry-After": {text}}}
		if got := a.RetryAfter(now); got != want {
			t.Errorf("RetryAfter(%q) = %s, want %s", text, got, want)
		}
	}
}
