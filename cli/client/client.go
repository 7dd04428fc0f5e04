// Package client calls the server's HTTP API.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client/internal/wire"
)

// Options say where the server is and who calls.
type Options struct {
	URL       string // http://127.0.0.1:8080
	Token     string // syn_…; empty: none is sent
	UserAgent string // empty: synctl
	// HTTP is what sends requests; nil: a client of its own, without a deadline
	// over all, because streams have none. Calls end with their context.
	HTTP *http.Client
	// Retrying is told about a failure after which the call is made again; nil:
	// nobody is.
	Retrying func(err error, in time.Duration)
	// Patience is how long a call that may be repeated is repeated; zero: 15 s,
	// negative: not at all.
	Patience time.Duration
}

// A Client calls one server. It is safe for concurrent use. Its errors are
// *api.Error, but for a context that ended.
type Client struct {
	wire     *wire.Client
	base     string
	retrying func(error, time.Duration)
	patience time.Duration
}

// defaultPatience is how long a lost connection is tried again.
const defaultPatience = 15 * time.Second

// New makes a client. It does not connect.
func New(o Options) (*Client, error) {
	base, err := checkURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.UserAgent == "" {
		o.UserAgent = "synctl"
	}
	doer := o.HTTP
	if doer == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = 90 * time.Second
		doer = &http.Client{Transport: transport}
	}
	// A redirect would carry the token to wherever it points.
	sender := *doer
	sender.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	c := &Client{base: base, retrying: o.Retrying, patience: o.Patience}
	if c.patience == 0 {
		c.patience = defaultPatience
	}
	if c.retrying == nil {
		c.retrying = func(error, time.Duration) {}
	}
	c.wire, err = wire.NewClient(base, wire.WithHTTPClient(&sender), wire.WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
		if o.Token != "" {
			req.Header.Set("Authorization", "Bearer "+o.Token)
		}
		req.Header.Set("User-Agent", o.UserAgent)
		dropUnset(req)
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", base, err)
	}
	return c, nil
}

// URL is the server's address, without a slash at its end.
func (c *Client) URL() string { return c.base }

func checkURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return "", api.Errorf(api.Malformed, "%q is no address of a server", text).WithHint("write it as http://127.0.0.1:8080")
	case u.User != nil:
		return "", api.Errorf(api.Malformed, "the address holds credentials").WithHint("leave them out and sign in: synctl login %s", u.Redacted())
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// dropUnset takes out parameters that the generated code sends although nobody
// set them: no parameter of the contract means anything by these values.
func dropUnset(req *http.Request) {
	if req.Header.Get("Idempotency-Key") == "" {
		req.Header.Del("Idempotency-Key")
	}
	if req.URL.RawQuery == "" {
		return
	}
	q := req.URL.Query()
	for name, values := range q {
		if len(values) == 1 && unset(name, values[0]) {
			q.Del(name)
		}
	}
	req.URL.RawQuery = q.Encode()
}

func unset(name, value string) bool {
	switch name {
	case "limit", "attempt", "from":
		return value == "0" || value == "0001-01-01T00:00:00Z"
	case "failed", "follow":
		return value == "false"
	case "since", "until":
		return value == "0001-01-01T00:00:00Z"
	}
	return value == ""
}

// call sends a request and decodes its answer. One that is safe to repeat is
// repeated while the server cannot be reached or says that it is busy.
func call[T any](ctx context.Context, c *Client, safe bool, send func() (*http.Response, error)) (T, int, error) {
	var out T
	status := 0
	err := c.again(ctx, safe, func() error {
		resp, err := send()
		if err != nil {
			return c.unreachable(ctx, err)
		}
		defer resp.Body.Close()
		status = resp.StatusCode
		if err := c.check(resp); err != nil {
			return err
		}
		if resp.StatusCode == http.StatusNoContent {
			return nil
		}
		var fresh T
		if err := json.NewDecoder(resp.Body).Decode(&fresh); err != nil {
			return c.unreachable(ctx, fmt.Errorf("read the answer: %w", err))
		}
		out = fresh
		return nil
	})
	return out, status, err
}

// again runs a call until it works or is not worth repeating.
func (c *Client) again(ctx context.Context, safe bool, once func() error) error {
	if !safe || c.patience < 0 {
		return once()
	}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = 200*time.Millisecond, 3*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := once()
		if err != nil && !repeatable(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(c.patience), backoff.WithNotify(c.retrying))
	if e, ok := errors.AsType[*backoff.PermanentError](err); ok {
		return e.Err
	}
	return err
}

func repeatable(err error) bool {
	return api.IsCode(err, api.Unavailable) || api.IsCode(err, api.TooMany)
}

// unreachable says in words why a request did not get through. That the caller
// gave up is told as it is.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := &api.Error{Code: api.Unavailable, Cause: err}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	} else if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	e.Message = fmt.Sprintf("cannot reach %s: %v", c.base, strings.TrimPrefix(err.Error(), "connect: "))
	e.Hint = "is it running? synctl context ls shows the addresses"
	return e
}

// maxProblem is how much of an error's body is read.
const maxProblem = 1 << 20

// check turns an answer that is an error into one.
func (c *Client) check(resp *http.Response) error {
	if resp.StatusCode < 300 {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "application/problem+json" {
		var p api.Problem
		if err := json.Unmarshal(body, &p); err == nil {
			p.Status = resp.StatusCode
			return p.Err()
		}
	}
	// Something between us and the server answered.
	text := strings.TrimSpace(string(bytes.ToValidUTF8(body[:min(len(body), 200)], nil)))
	e := api.Errorf(api.CodeOf(resp.StatusCode), "%s answers %s, and not as a Synthesizer does", c.base, resp.Status)
	if text != "" && !strings.HasPrefix(text, "<") {
		e.Message += ": " + text
	}
	return e.WithHint("is the address right? something between may answer in its place")
}
