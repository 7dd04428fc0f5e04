package client

import (
	"context"
	"net/http"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// PreviewBackfill says what a backfill would do now.
func (c *Client) PreviewBackfill(ctx context.Context, namespace, name string, p api.PreviewBackfillParams) (api.BackfillPreview, error) {
	out, _, err := call[api.BackfillPreview](ctx, c, true, func() (*http.Response, error) { return c.wire.PreviewBackfill(ctx, namespace, name, &p) })
	return out, err
}

// StartBackfill makes a backfill. With a key it is repeated after a lost
// connection and made once; created is false if the key had made it before.
func (c *Client) StartBackfill(ctx context.Context, namespace, name, key string, req api.BackfillRequest) (out api.Backfill, created bool, err error) {
	out, status, err := call[api.Backfill](ctx, c, key != "", func() (*http.Response, error) {
		return c.wire.StartBackfill(ctx, namespace, name, &api.StartBackfillParams{IdempotencyKey: key}, req)
	})
	return out, status == http.StatusCreated, err
}

// Backfills is a page of backfills.
func (c *Client) Backfills(ctx context.Context, p api.ListBackfillsParams) (api.BackfillPage, error) {
	out, _, err := call[api.BackfillPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListBackfills(ctx, &p) })
	return out, err
}

// Backfill is one backfill with a page of its ticks.
func (c *Client) Backfill(ctx context.Context, id int64, p api.GetBackfillParams) (api.Backfill, error) {
	out, _, err := call[api.Backfill](ctx, c, true, func() (*http.Response, error) { return c.wire.GetBackfill(ctx, id, &p) })
	return out, err
}

// ChangeBackfill says how much of a backfill runs at once.
func (c *Client) ChangeBackfill(ctx context.Context, id int64, req api.BackfillQuota) (api.Backfill, error) {
	out, _, err := call[api.Backfill](ctx, c, true, func() (*http.Response, error) { return c.wire.ChangeBackfill(ctx, id, req) })
	return out, err
}

// PauseBackfill makes no more runs for now.
func (c *Client) PauseBackfill(ctx context.Context, id int64, req api.BackfillChange) (api.Backfill, error) {
	out, _, err := call[api.Backfill](ctx, c, true, func() (*http.Response, error) { return c.wire.PauseBackfill(ctx, id, req) })
	return out, err
}

// ResumeBackfill goes on after a pause.
func (c *Client) ResumeBackfill(ctx context.Context, id int64) (api.Backfill, error) {
	out, _, err := call[api.Backfill](ctx, c, true, func() (*http.Response, error) { return c.wire.ResumeBackfill(ctx, id) })
	return out, err
}

// CancelBackfill makes no more runs ever.
func (c *Client) CancelBackfill(ctx context.Context, id int64, req api.BackfillChange) (api.Backfill, error) {
	out, _, err := call[api.Backfill](ctx, c, false, func() (*http.Response, error) { return c.wire.CancelBackfill(ctx, id, req) })
	return out, err
}
