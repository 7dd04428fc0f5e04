package client

import (
	"context"
	"net/http"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// Secrets is a page of secrets, without their values.
func (c *Client) Secrets(ctx context.Context, p api.ListSecretsParams) (api.SecretPage, error) {
	out, _, err := call[api.SecretPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListSecrets(ctx, &p) })
	return out, err
}

// Secret is one secret, without its value.
func (c *Client) Secret(ctx context.Context, namespace, name string) (api.Secret, error) {
	out, _, err := call[api.Secret](ctx, c, true, func() (*http.Response, error) { return c.wire.GetSecret(ctx, namespace, name) })
	return out, err
}

// SetSecret sets a secret. Repeated after a lost answer it may make two versions
// of the same value, which changes nothing.
func (c *Client) SetSecret(ctx context.Context, namespace, name, value string) (api.StoredSecret, error) {
	out, _, err := call[api.StoredSecret](ctx, c, true, func() (*http.Response, error) {
		return c.wire.SetSecret(ctx, namespace, name, api.SecretRequest{Value: value})
	})
	return out, err
}

// DeleteSecret deletes a secret with all its versions.
func (c *Client) DeleteSecret(ctx context.Context, namespace, name string) error {
	_, _, err := call[struct{}](ctx, c, false, func() (*http.Response, error) { return c.wire.DeleteSecret(ctx, namespace, name) })
	return err
}

// Vars is a page of variables.
func (c *Client) Vars(ctx context.Context, p api.ListVarsParams) (api.VarPage, error) {
	out, _, err := call[api.VarPage](ctx, c, true, func() (*http.Response, error) { return c.wire.ListVars(ctx, &p) })
	return out, err
}

// Var is one variable.
func (c *Client) Var(ctx context.Context, namespace, name string) (api.Var, error) {
	out, _, err := call[api.Var](ctx, c, true, func() (*http.Response, error) { return c.wire.GetVar(ctx, namespace, name) })
	return out, err
}

// SetVar sets a variable by hand.
func (c *Client) SetVar(ctx context.Context, namespace, name, value string) (api.StoredVar, error) {
	out, _, err := call[api.StoredVar](ctx, c, true, func() (*http.Response, error) {
		return c.wire.SetVar(ctx, namespace, name, api.VarRequest{Value: &value})
	})
	return out, err
}

// DeleteVar deletes a variable that was set by hand.
func (c *Client) DeleteVar(ctx context.Context, namespace, name string) error {
	_, _, err := call[struct{}](ctx, c, false, func() (*http.Response, error) { return c.wire.DeleteVar(ctx, namespace, name) })
	return err
}
