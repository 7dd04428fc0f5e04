package client

import (
	"context"
	"net/http"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// ExplainPipeline says why a pipeline does not run.
func (c *Client) ExplainPipeline(ctx context.Context, namespace, name string) (api.Explanation, error) {
	out, _, err := call[api.Explanation](ctx, c, true, func() (*http.Response, error) { return c.wire.ExplainPipeline(ctx, namespace, name) })
	return out, err
}

// ExplainRun says why a run does not go on.
func (c *Client) ExplainRun(ctx context.Context, ref RunRef) (api.Explanation, error) {
	out, _, err := call[api.Explanation](ctx, c, true, func() (*http.Response, error) {
		return c.wire.ExplainRun(ctx, ref.Namespace, ref.Pipeline, ref.Run)
	})
	return out, err
}

// ExplainTask says why a task of a run, or an item as in load[3], does not run.
func (c *Client) ExplainTask(ctx context.Context, ref RunRef, task string) (api.Explanation, error) {
	out, _, err := call[api.Explanation](ctx, c, true, func() (*http.Response, error) {
		return c.wire.ExplainTask(ctx, ref.Namespace, ref.Pipeline, ref.Run, task)
	})
	return out, err
}
