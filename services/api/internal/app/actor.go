package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// An Actor is who asks. The zero value may do nothing.
type Actor struct {
	TokenID    int64
	Name       string
	Role       api.Role
	Namespaces []string // nil: all
	ExpiresAt  time.Time
	Anonymous  bool // the server checks nobody
}

// Anyone is the actor of a server that checks nobody.
func Anyone() Actor { return Actor{Name: "anyone", Role: api.RoleAdmin, Anonymous: true} }

// ranks orders the roles; what is not in it may do nothing.
var ranks = map[api.Role]int{api.RoleViewer: 1, api.RoleOperator: 2, api.RoleAuthor: 3, api.RoleAdmin: 4}

// May tells whether the actor has a role, or a higher one, in a namespace. An
// empty namespace asks for the role alone.
func (a Actor) May(role api.Role, namespace string) bool {
	return ranks[a.Role] > 0 && ranks[role] > 0 && ranks[a.Role] >= ranks[role] && (namespace == "" || a.sees(namespace))
}

func (a Actor) sees(namespace string) bool {
	return len(a.Namespaces) == 0 || slices.Contains(a.Namespaces, namespace)
}

// visible is the list of namespaces for queries; empty: all. Together with a
// wanted one it is that one, if the actor sees it; ok is false if not.
func (a Actor) visible(wanted string) (list []string, ok bool) {
	if wanted == "" {
		return slices.Clip(append([]string{}, a.Namespaces...)), true
	}
	return []string{wanted}, a.sees(wanted)
}

// need refuses an actor without a role in a namespace. Somebody who may not even
// see the namespace learns nothing about it: the caller answers not found.
func (a Actor) need(role api.Role, namespace string) error {
	switch {
	case a.May(role, namespace):
		return nil
	case a.Role == "":
		return api.Errorf(api.Unauthenticated, "not signed in").WithHint("synctl login")
	case namespace == "":
		return api.Errorf(api.Refused, "%s has role %s, this needs %s", a.Name, a.Role, role).WithHint("ask for a token with that role")
	case !a.sees(namespace):
		return api.Errorf(api.Refused, "%s has no right in namespace %s", a.Name, namespace).WithHint("ask for a token that covers it")
	default:
		return api.Errorf(api.Refused, "you may read %s but not do this there: role %s, this needs %s", namespace, a.Role, role).WithHint("ask for a token with that role")
	}
}

// secretLength is that of a token's text: the prefix and 32 bytes in hex.
const secretLength = len(secretPrefix) + 64

const secretPrefix = "syn_"

// Authenticate finds who holds a token's secret.
func (a *App) Authenticate(ctx context.Context, secret string) (Actor, error) {
	if len(secret) != secretLength || secret[:len(secretPrefix)] != secretPrefix {
		return Actor{}, errToken()
	}
	sum := sha256.Sum256([]byte(secret))
	t, err := a.queries().TokenByHash(ctx, sum[:])
	if errors.Is(err, db.ErrNoRows) {
		return Actor{}, errToken()
	}
	if err != nil {
		return Actor{}, fmt.Errorf("look up a token: %w", err)
	}
	if subtle.ConstantTimeCompare(t.Hash, sum[:]) != 1 {
		return Actor{}, errToken()
	}
	return a.admit(ctx, t)
}

// ActorOf is who holds a token now, for sessions, which keep its id.
func (a *App) ActorOf(ctx context.Context, tokenID int64) (Actor, error) {
	t, err := a.queries().TokenByID(ctx, tokenID)
	if errors.Is(err, db.ErrNoRows) {
		return Actor{}, errToken()
	}
	if err != nil {
		return Actor{}, fmt.Errorf("look up a token: %w", err)
	}
	return a.admit(ctx, db.TokenByHashRow(t))
}

// admit checks that a token still holds, and notes that it was used.
func (a *App) admit(ctx context.Context, t db.TokenByHashRow) (Actor, error) {
	if t.RevokedAt != nil {
		return Actor{}, errToken()
	}
	actor := Actor{TokenID: t.ID, Name: t.Name, Role: api.Role(t.Role), Namespaces: t.Namespaces}
	if t.ExpiresAt != nil {
		if !t.Now.Before(*t.ExpiresAt) {
			return Actor{}, errToken()
		}
		actor.ExpiresAt = *t.ExpiresAt
	}
	if t.LastUsedAt == nil || t.Now.Sub(*t.LastUsedAt) > time.Minute {
		if err := a.queries().TouchToken(ctx, t.ID); err != nil {
			return Actor{}, fmt.Errorf("note the use of a token: %w", err)
		}
	}
	return actor, nil
}

// errToken is one answer for a token that never was, is revoked or has expired.
func errToken() *api.Error {
	return api.Errorf(api.Unauthenticated, "this token is not known, was revoked, or has expired").WithHint("synctl login with a token that holds; an admin makes one with synctl token create")
}

// Whoami is the actor as it is told to itself.
func (a *App) Whoami(by Actor) api.Whoami {
	return api.Whoami{Name: by.Name, Role: by.Role, Namespaces: append([]string{}, by.Namespaces...), ExpiresAt: by.ExpiresAt, Anonymous: by.Anonymous}
}
