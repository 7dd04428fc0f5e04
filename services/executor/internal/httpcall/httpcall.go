// Package httpcall makes one request to a target: to hosts that the operator
// allows, with the target's credentials, bounded in time and size.
package httpcall

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/output"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/target"
	"github.com/synthesizer-dev/synthesizer/services/internal/egress"
)

const (
	maxAnswer    = 1 << 20
	maxRedirects = 5
)

// A Client asks one target. It may be used by many goroutines.
type Client struct {
	target    target.Target
	secret    Secret
	agent     string
	transport *egress.Transport
	http      http.Client
}

// Secret resolves a secret of a namespace. Its errors hold no values.
type Secret func(ctx context.Context, namespace, name string) (string, error)

// New makes a Client. agent is what it calls itself.
func New(t target.Target, secret Secret, agent string) *Client {
	c := &Client{target: t, secret: secret, agent: agent, transport: egress.NewTransport(t.Name, t.Rules, net.DefaultResolver)}
	c.http = http.Client{Transport: c.transport, CheckRedirect: stay}
	return c
}

// Close closes connections that are not in use.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// An Answer is what came back.
type Answer struct {
	Status int
	header http.Header
	body   []byte
	masker *output.Masker
}

// Do makes a request. Its errors are for people: they hold neither credentials
// nor what stands behind the question mark of an address.
func (c *Client) Do(ctx context.Context, q *attempt.Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.target.Timeout)
	defer cancel()
	secrets := make([]output.Secret, 0, len(q.Secrets)+1)
	for name, value := range q.Secrets {
		secrets = append(secrets, output.Secret{Name: name, Value: value})
	}
	r, err := c.request(ctx, q, &secrets)
	if err != nil {
		return nil, err
	}
	a := &Answer{masker: output.NewMasker(secrets)}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(ctx, a.masker, err)
	}
	defer answer.Body.Close()
	a.Status, a.header = answer.StatusCode, answer.Header
	if a.body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1)); err != nil {
		return a, c.explain(ctx, a.masker, err)
	}
	if len(a.body) > maxAnswer {
		return a, errors.New("the answer is larger than 1 MiB")
	}
	return a, nil
}

// request puts a request together.
func (c *Client) request(ctx context.Context, q *attempt.Request, secrets *[]output.Secret) (*http.Request, error) {
	var body io.Reader // a nil *bytes.Reader would be a body of unknown length
	if q.Body != nil {
		body = bytes.NewReader(q.Body)
	}
	r, err := http.NewRequestWithContext(ctx, q.Method, q.URL, body)
	if err != nil {
		return nil, errors.New("the url is not an address of the web")
	}
	r.Header.Set("User-Agent", c.agent)
	if q.Body != nil {
		r.Header.Set("Content-Type", q.ContentType)
	}
	if a := c.target.Auth; a.Secret != "" && !q.HasHeader(a.Header) {
		value, err := c.secret(ctx, a.Namespace, a.Secret)
		if err != nil {
			return nil, fmt.Errorf("the credentials of target %s: %w", c.target.Name, err)
		}
		value = strings.TrimRight(value, "\r\n") // files end so
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("the credentials of target %s hold a control character", c.target.Name)
		}
		*secrets = append(*secrets, output.Secret{Name: a.Secret, Value: value})
		switch a.Scheme {
		case "Basic":
			value = "Basic " + base64.StdEncoding.EncodeToString([]byte(a.User+":"+value))
		case "Bearer":
			value = "Bearer " + value
		}
		r.Header.Set(a.Header, value)
	}
	for _, h := range q.Headers {
		if why := pipeline.HeaderRefused(h.Name); why != "" {
			return nil, &egress.Refused{Why: "header " + h.Name + " " + why}
		}
		r.Header.Set(h.Name, h.Value)
	}
	return r, nil
}

// stay follows redirects on the same host only, and not from https to http.
func stay(r *http.Request, before []*http.Request) error {
	first := before[0].URL
	switch {
	case !strings.EqualFold(r.URL.Hostname(), first.Hostname()):
		return &egress.Refused{Why: "it redirects to another host, " + clip(r.URL.Host, 100)}
	case first.Scheme == "https" && r.URL.Scheme != "https":
		return &egress.Refused{Why: "it redirects from https to " + clip(r.URL.Scheme, 20)}
	case len(before) > maxRedirects:
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	}
	return nil
}

// explain says in few words why there is no answer.
func (c *Client) explain(ctx context.Context, m *output.Masker, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the address
	}
	if refused, ok := errors.AsType[*egress.Refused](err); ok {
		return refused
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", c.target.Timeout)
	}
	return errors.New(clip(m.String(err.Error()), 300))
}

func clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// Response is what expressions read of the answer.
func (a *Answer) Response() map[string]any {
	headers := make(map[string]any, len(a.header))
	for name, values := range a.header {
		headers[strings.ToLower(name)] = strings.ToValidUTF8(strings.Join(values, ", "), "\ufffd")
	}
	response := map[string]any{"status": int64(a.Status), "headers": headers, "text": strings.ToValidUTF8(string(a.body), "\ufffd")}
	if body, err := expr.FromJSON(a.body); err == nil {
		response["body"] = body
	}
	return response
}

// Mask takes the secrets of the request out of a text.
func (a *Answer) Mask(text string) string { return a.masker.String(text) }

// Leaks says which secret of the request a text holds.
func (a *Answer) Leaks(text string) (name string, found bool) { return a.masker.Contains(text) }

// RetryAfter is how long the service wants to be left alone; 0: it does not say.
func (a *Answer) RetryAfter(now time.Time) time.Duration {
	text := a.header.Get("Retry-After")
	if d, err := time.ParseDuration(text + "s"); err == nil && text != "" && !strings.ContainsAny(text, "smhun.") {
		return max(d, 0)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
