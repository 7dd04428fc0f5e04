package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// byInstallation marks the tokens that the installation made for its operator.
const byInstallation = "installation"

// newSecret draws a token's text and what is stored of it.
func newSecret() (secret string, hash []byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	secret = secretPrefix + hex.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(secret))
	return secret, sum[:]
}

// CreateToken makes a token. Nobody gives more than they have. With a key, the same
// request makes it once: its secret is told that once, so a repeat is refused.
func (a *App) CreateToken(ctx context.Context, by Actor, key string, req api.TokenRequest) (api.NewToken, error) {
	if err := by.need(api.RoleAdmin, ""); err != nil {
		return api.NewToken{}, err
	}
	if err := checkKey(key); err != nil {
		return api.NewToken{}, err
	}
	content, err := contentHash("token", req)
	if err != nil {
		return api.NewToken{}, err
	}
	if ranks[req.Role] == 0 {
		return api.NewToken{}, api.Errorf(api.Unprocessable, "role %q is not known", string(req.Role)).WithHint("viewer, operator, author or admin")
	}
	if name := printable(req.Name, 100); name != req.Name || name == "" {
		return api.NewToken{}, api.Errorf(api.Unprocessable, "a token's name is 1 to 100 printable characters")
	}
	namespaces := slices.Compact(slices.Sorted(slices.Values(req.Namespaces)))
	for _, ns := range namespaces {
		if !isName(ns) {
			return api.NewToken{}, api.Errorf(api.Unprocessable, "namespace %s is not a name", show(ns)).WithHint("a name has small letters, digits, _ and -")
		}
	}
	if len(by.Namespaces) > 0 && (len(namespaces) == 0 || slices.ContainsFunc(namespaces, func(ns string) bool { return !by.sees(ns) })) {
		return api.NewToken{}, api.Errorf(api.Refused, "your own token covers only some namespaces, so the new one must name some of those")
	}
	var expires *time.Time
	if !req.ExpiresAt.IsZero() {
		expires = &req.ExpiresAt
	}
	secret, hash := newSecret()
	var made api.Token
	err = db.InTx(ctx, a.pool, func(q *db.Queries) error {
		k := keyed{"token", key, content}
		before, err := k.take(ctx, q, nil)
		if err != nil {
			return err
		}
		if before != nil {
			id, err := madeBefore(before)
			if err != nil {
				return err
			}
			return api.Errorf(api.Conflict, "idempotency key %s has made token %d already, whose secret is not shown again", show(key), id).
				WithHint("synctl token revoke %d, and ask with a new key", id)
		}
		row, err := q.InsertToken(ctx, db.InsertTokenParams{
			Name: req.Name, Hash: hash, Role: string(req.Role), Namespaces: orEmpty(namespaces), CreatedBy: by.Name, ExpiresAt: expires,
		})
		if err != nil {
			return fmt.Errorf("store a token: %w", err)
		}
		if expires != nil && !row.CreatedAt.Before(*expires) {
			return api.Errorf(api.Unprocessable, "expires_at %s has passed", expires.UTC().Format(time.RFC3339))
		}
		made = api.Token{ID: row.ID, Name: req.Name, Role: req.Role, Namespaces: orEmpty(namespaces), CreatedAt: row.CreatedAt.UTC(), CreatedBy: by.Name, ExpiresAt: req.ExpiresAt}
		if err := k.made(ctx, q, row.ID); err != nil {
			return err
		}
		return event(ctx, q, by, "token", row.ID, 0, "created", req.Name)
	})
	if err != nil {
		return api.NewToken{}, err
	}
	return api.NewToken{Token: made, Secret: secret}, nil
}

// Tokens is a page of tokens, oldest first, without their secrets.
func (a *App) Tokens(ctx context.Context, by Actor, p api.ListTokensParams) (api.TokenPage, error) {
	if err := by.need(api.RoleAdmin, ""); err != nil {
		return api.TokenPage{}, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return api.TokenPage{}, err
	}
	var after int64
	if p.Cursor != "" {
		if after, err = strconv.ParseInt(p.Cursor, 10, 64); err != nil {
			return api.TokenPage{}, errCursor()
		}
	}
	rows, err := a.queries().ListTokens(ctx, after, int32(limit+1))
	if err != nil {
		return api.TokenPage{}, fmt.Errorf("list tokens: %w", err)
	}
	page := api.TokenPage{Items: []api.Token{}}
	for i, r := range rows {
		if i == limit {
			page.Next = strconv.FormatInt(rows[i-1].ID, 10)
			break
		}
		page.Items = append(page.Items, api.Token{
			ID: r.ID, Name: r.Name, Role: api.Role(r.Role), Namespaces: orEmpty(r.Namespaces), CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy,
			ExpiresAt: orZero(r.ExpiresAt), LastUsedAt: orZero(r.LastUsedAt), RevokedAt: orZero(r.RevokedAt),
		})
	}
	return page, nil
}

// RevokeToken ends a token; the next call with it is refused.
func (a *App) RevokeToken(ctx context.Context, by Actor, id int64) error {
	if err := by.need(api.RoleAdmin, ""); err != nil {
		return err
	}
	return db.InTx(ctx, a.pool, func(q *db.Queries) error {
		n, err := q.RevokeToken(ctx, id)
		if err != nil {
			return fmt.Errorf("revoke a token: %w", err)
		}
		if n == 0 {
			if _, err := q.TokenByID(ctx, id); errors.Is(err, db.ErrNoRows) {
				return api.Errorf(api.NotFound, "there is no token %d", id).WithHint("synctl token ls")
			}
			return nil // revoked before
		}
		return event(ctx, q, by, "token", id, 0, "revoked", "")
	})
}

// FirstToken makes the admin token of a new installation. It answers with
// nothing if there ever was a token, so that it is made, and shown, once.
func (a *App) FirstToken(ctx context.Context) (secret string, err error) {
	err = db.InTx(ctx, a.pool, func(q *db.Queries) error {
		secret = ""
		if err := q.LockTokens(ctx); err != nil {
			return err
		}
		n, err := q.CountTokens(ctx)
		if err != nil || n > 0 {
			return err
		}
		secret, err = adminToken(ctx, q)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make the first token: %w", err)
	}
	return secret, nil
}

// OperatorToken hands out an admin token to whoever has the database's address.
// The first token, shown at the first start, gives way to it as long as nobody
// has used it; once one has been used, only a reset makes another, and ends
// those before.
func (a *App) OperatorToken(ctx context.Context, reset bool) (secret string, err error) {
	err = db.InTx(ctx, a.pool, func(q *db.Queries) error {
		if err := q.LockTokens(ctx); err != nil {
			return err
		}
		before, err := q.FirstTokens(ctx)
		if err != nil {
			return err
		}
		for _, t := range before {
			if t.RevokedAt != nil {
				continue
			}
			if t.LastUsedAt != nil && !reset {
				return api.Errorf(api.Guarded, "the admin token was handed out already").WithHint("lost? api token --reset makes a new one and ends the old")
			}
			if _, err := q.RevokeToken(ctx, t.ID); err != nil {
				return err
			}
		}
		secret, err = adminToken(ctx, q)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make an admin token: %w", err)
	}
	return secret, nil
}

func adminToken(ctx context.Context, q *db.Queries) (string, error) {
	secret, hash := newSecret()
	row, err := q.InsertToken(ctx, db.InsertTokenParams{Name: "admin", Hash: hash, Role: string(api.RoleAdmin), Namespaces: []string{}, CreatedBy: byInstallation})
	if err != nil {
		return "", err
	}
	return secret, event(ctx, q, Actor{Name: byInstallation}, "token", row.ID, 0, "created", "admin")
}
