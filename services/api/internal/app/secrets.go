package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

const (
	// versionsKept is how many versions of a secret are kept. The newest is used;
	// the others are for an operator who has to go back, with SQL and the key.
	versionsKept = 10
	// maxSecrets is how many secrets a namespace may have.
	maxSecrets = 1000
	// leastMasked is how many bytes a value must have to be masked in output.
	leastMasked = 4
)

// SetSecret stores a new version of a secret. Its value goes in here and comes
// out at executors alone: no error, event or log line has it.
func (a *App) SetSecret(ctx context.Context, by Actor, ref PipelineRef, value string) (api.StoredSecret, error) {
	if err := a.mayChange(by, ref, "secret"); err != nil {
		return api.StoredSecret{}, err
	}
	switch {
	case value == "":
		return api.StoredSecret{}, api.Errorf(api.Unprocessable, "a secret's value is not empty").WithHint("to be rid of it: synctl secret rm %s", ref.Name)
	case len(value) > secrets.MaxValue:
		return api.StoredSecret{}, api.Errorf(api.Unprocessable, "the value has %d bytes; a secret may have %d", len(value), secrets.MaxValue)
	case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
		return api.StoredSecret{}, api.Errorf(api.Unprocessable, "the value holds bytes that no environment variable can hold").WithHint("encode it, with base64 for one, and decode it in the task")
	}
	if err := a.secrets.Check(); err != nil {
		return api.StoredSecret{}, a.noKey(ctx, err)
	}
	out := api.StoredSecret{Warnings: []string{}}
	if len(value) < leastMasked {
		out.Warnings = append(out.Warnings, fmt.Sprintf("the value has less than %d bytes, so it is not masked in output", leastMasked))
	}
	err := db.InTx(ctx, a.pool, func(q *db.Queries) error {
		if err := q.LockSecret(ctx, ref.Namespace, ref.Name); err != nil {
			return fmt.Errorf("lock a secret: %w", err)
		}
		newest, err := q.NewestVersion(ctx, ref.Namespace, ref.Name)
		if err != nil {
			return fmt.Errorf("read the version of a secret: %w", err)
		}
		if newest.Version == 0 && newest.Names >= maxSecrets {
			return api.Errorf(api.Guarded, "namespace %s has %d secrets, which is all that it may have", ref.Namespace, newest.Names).WithHint("delete those that nothing uses: synctl secret ls -n %s", ref.Namespace)
		}
		version := newest.Version + 1
		sealed, err := a.secrets.Seal(secrets.Name{Namespace: ref.Namespace, Name: ref.Name, Version: version}, value)
		if err != nil {
			return a.noKey(ctx, err)
		}
		if _, err := q.InsertSecret(ctx, db.InsertSecretParams{Namespace: ref.Namespace, Name: ref.Name, Version: version, Sealed: sealed, CreatedBy: by.Name}); err != nil {
			return fmt.Errorf("store a secret: %w", err)
		}
		if err := q.DropOldSecrets(ctx, db.DropOldSecretsParams{Namespace: ref.Namespace, Name: ref.Name, Upto: version - versionsKept}); err != nil {
			return fmt.Errorf("drop old versions of a secret: %w", err)
		}
		if err := outsideEvent(ctx, q, by, "secret", ref, "set", map[string]any{"version": version}); err != nil {
			return err
		}
		out.Secret, err = oneSecret(ctx, q, ref)
		return err
	})
	if err != nil {
		return api.StoredSecret{}, err
	}
	a.notifier.Notify(db.ChannelEvent)
	return out, nil
}

// noKey is the error of a server that cannot seal.
func (a *App) noKey(ctx context.Context, err error) error {
	if errors.Is(err, secrets.ErrNoKey) {
		return api.Errorf(api.Conflict, "%v", err).WithHint(secrets.KeyHint)
	}
	a.log.ErrorContext(ctx, "secrets cannot be sealed", "err", err)
	return api.Errorf(api.Conflict, "the server cannot use its key for secrets").WithHint("its log says why; on the server: api secret-key show")
}

// Secrets is a page of secrets, set or not, by namespace and name.
func (a *App) Secrets(ctx context.Context, by Actor, p api.ListSecretsParams) (api.SecretPage, error) {
	page := api.SecretPage{Items: []api.Secret{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return page, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return page, err
	}
	visible, ok := by.visible(p.Namespace)
	if !ok {
		return page, nil
	}
	arg := db.ListSecretsParams{Namespaces: visible, Page: int32(limit + 1)}
	if p.Cursor != "" {
		parts, err := parseCursor(p.Cursor, 2)
		if err != nil {
			return page, err
		}
		arg.AfterNamespace, arg.AfterName = parts[0], parts[1]
	}
	rows, err := a.queries().ListSecrets(ctx, arg)
	if err != nil {
		return page, fmt.Errorf("list secrets: %w", err)
	}
	for i, r := range rows {
		if i == limit {
			page.Next = cursor(rows[i-1].Namespace, rows[i-1].Name)
			break
		}
		page.Items = append(page.Items, secretOf(r))
	}
	return page, nil
}

// Secret is one secret, without its value. One that the actor may not see is not
// there.
func (a *App) Secret(ctx context.Context, by Actor, ref PipelineRef) (api.Secret, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Secret{}, err
	}
	if !by.sees(ref.Namespace) || !isName(ref.Namespace) || !pipeline.ValidVariable(ref.Name) {
		return api.Secret{}, errNoSecret(ref)
	}
	return oneSecret(ctx, a.queries(), ref)
}

func oneSecret(ctx context.Context, q *db.Queries, ref PipelineRef) (api.Secret, error) {
	rows, err := q.ListSecrets(ctx, db.ListSecretsParams{Namespaces: []string{ref.Namespace}, Name: ref.Name, Page: 1})
	if err != nil {
		return api.Secret{}, fmt.Errorf("read a secret: %w", err)
	}
	if len(rows) == 0 {
		return api.Secret{}, errNoSecret(ref)
	}
	return secretOf(rows[0]), nil
}

func secretOf(r db.ListSecretsRow) api.Secret {
	return api.Secret{
		Namespace: r.Namespace, Name: r.Name, Version: int(r.Version), SetAt: orZero(r.CreatedAt), SetBy: r.CreatedBy,
		UsedBy: orEmpty(r.UsedBy), ReadAt: orZero(r.ReadAt), ReadBy: r.ReadBy,
	}
}

// DeleteSecret deletes a secret with all its versions.
func (a *App) DeleteSecret(ctx context.Context, by Actor, ref PipelineRef) error {
	if err := by.need(api.RoleAuthor, ""); err != nil {
		return err
	}
	if !by.May(api.RoleAuthor, ref.Namespace) || !isName(ref.Namespace) || !pipeline.ValidVariable(ref.Name) {
		return errNoSecret(ref)
	}
	err := db.InTx(ctx, a.pool, func(q *db.Queries) error {
		if err := q.LockSecret(ctx, ref.Namespace, ref.Name); err != nil {
			return fmt.Errorf("lock a secret: %w", err)
		}
		n, err := q.DeleteSecret(ctx, ref.Namespace, ref.Name)
		if err != nil {
			return fmt.Errorf("delete a secret: %w", err)
		}
		if n == 0 {
			return errNoSecret(ref)
		}
		if err := q.ForgetSecretReads(ctx, ref.Namespace, ref.Name); err != nil {
			return fmt.Errorf("forget who read a secret: %w", err)
		}
		return outsideEvent(ctx, q, by, "secret", ref, "deleted", map[string]any{})
	})
	if err == nil {
		a.notifier.Notify(db.ChannelEvent)
	}
	return err
}

// errNoSecret is one answer for a secret that is not there, that is of another
// namespace, and that the actor has no right to.
func errNoSecret(ref PipelineRef) *api.Error {
	return api.Errorf(api.NotFound, "there is no secret %s in %s that you may see and change", show(ref.Name), show(ref.Namespace)).WithHint("synctl secret ls -n NAMESPACE")
}

// mayChange refuses names that are none, and people who are not authors there.
func (a *App) mayChange(by Actor, ref PipelineRef, what string) error {
	if err := by.need(api.RoleAuthor, ""); err != nil {
		return err
	}
	if !isName(ref.Namespace) {
		return api.Errorf(api.Unprocessable, "namespace %s is not a name", show(ref.Namespace)).WithHint("a name has small letters, digits, _ and -")
	}
	if !pipeline.ValidVariable(ref.Name) {
		return api.Errorf(api.Unprocessable, "%s is not a name of a %s", show(ref.Name), what).WithHint(`letters, digits and "_", 128 at most, and no digit in front`)
	}
	return by.need(api.RoleAuthor, ref.Namespace)
}

// outsideEvent writes who changed what is set outside of pipelines.
func outsideEvent(ctx context.Context, q *db.Queries, by Actor, kind string, ref PipelineRef, state string, detail map[string]any) error {
	detail["name"] = ref.Name
	text, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	err = q.InsertEvents(ctx, db.InsertEventsParams{
		Actor: by.Name, Kinds: []string{kind}, Entities: []int64{0}, Pipelines: []int64{0}, Namespaces: []string{ref.Namespace},
		ToStates: []string{state}, Reasons: []string{""}, Causes: []string{""}, Details: []string{string(text)},
	})
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	return nil
}
