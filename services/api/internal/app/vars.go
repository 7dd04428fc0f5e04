package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
)

const (
	maxVar = 32 << 10 // bytes of a value
	// maxVars and maxVarBytes bound what the variables of a namespace come to:
	// every run carries them.
	maxVars     = pipeline.MaxVars
	maxVarBytes = 256 << 10
)

// SetVar sets a variable by hand. Runs made from then on read it; those made
// before keep what they were made with.
func (a *App) SetVar(ctx context.Context, by Actor, ref PipelineRef, value *string) (api.StoredVar, error) {
	out := api.StoredVar{Warnings: []string{}}
	if err := a.mayChange(by, ref, "variable"); err != nil {
		return out, err
	}
	switch {
	case value == nil:
		return out, api.Errorf(api.Unprocessable, "value is missing").WithHint("an empty one is \"\"")
	case len(*value) > maxVar:
		return out, api.Errorf(api.Unprocessable, "the value has %d bytes; a variable may have %d", len(*value), maxVar)
	case strings.ContainsRune(*value, 0) || !utf8.ValidString(*value):
		return out, api.Errorf(api.Unprocessable, "the value holds bytes that are no text")
	}
	private := pipeline.LooksLikeCredential(ref.Name, *value)
	if private {
		out.Warnings = append(out.Warnings, "it looks like a credential, and everybody who sees the namespace can read a variable: set a secret instead")
	}
	err := db.InTx(ctx, a.pool, func(q *db.Queries) error {
		if err := q.LockVars(ctx, []string{ref.Namespace}); err != nil {
			return fmt.Errorf("lock vars: %w", err)
		}
		before, err := oneVar(ctx, q, ref)
		if err != nil && !api.IsCode(err, api.NotFound) {
			return err
		}
		if before.Source != "" {
			return errOwned(before)
		}
		room, err := q.VarRoom(ctx, ref.Namespace, ref.Name)
		if err != nil {
			return fmt.Errorf("measure vars: %w", err)
		}
		if room.Names+1 > maxVars || room.Bytes+int64(len(ref.Name)+len(*value)) > maxVarBytes {
			return api.Errorf(api.Guarded, "the variables of %s would come to more than %d, or %d KiB, and every run carries them", ref.Namespace, maxVars, maxVarBytes>>10).WithHint("large values belong into files or a store that tasks read")
		}
		_, err = q.SetVar(ctx, db.SetVarParams{Namespace: ref.Namespace, Name: ref.Name, Value: *value, UpdatedBy: by.Name})
		if err != nil {
			return fmt.Errorf("set a var: %w", err)
		}
		detail := map[string]any{}
		if !private {
			if !before.UpdatedAt.IsZero() && !pipeline.LooksLikeCredential(ref.Name, before.Value) {
				detail["from"] = printable(before.Value, 200)
			}
			detail["to"] = printable(*value, 200)
		}
		if err := outsideEvent(ctx, q, by, "var", ref, "set", detail); err != nil {
			return err
		}
		out.Var, err = oneVar(ctx, q, ref)
		return err
	})
	if err != nil {
		return api.StoredVar{Warnings: []string{}}, err
	}
	a.notifier.Notify(db.ChannelEvent)
	return out, nil
}

func errOwned(v api.Var) *api.Error {
	return api.Errorf(api.Guarded, "variable %s of %s belongs to source %q", v.Name, v.Namespace, v.Source).WithHint("change it in its file of kind vars, and register that")
}

// Vars is a page of variables by namespace and name.
func (a *App) Vars(ctx context.Context, by Actor, p api.ListVarsParams) (api.VarPage, error) {
	page := api.VarPage{Items: []api.Var{}}
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
	arg := db.ListVarsParams{Namespaces: visible, Page: int32(limit + 1)}
	if p.Cursor != "" {
		parts, err := parseCursor(p.Cursor, 2)
		if err != nil {
			return page, err
		}
		arg.AfterNamespace, arg.AfterName = parts[0], parts[1]
	}
	rows, err := a.queries().ListVars(ctx, arg)
	if err != nil {
		return page, fmt.Errorf("list vars: %w", err)
	}
	for i, r := range rows {
		if i == limit {
			page.Next = cursor(rows[i-1].Namespace, rows[i-1].Name)
			break
		}
		page.Items = append(page.Items, varOf(r))
	}
	return page, nil
}

// Var is one variable. One that the actor may not see is not there.
func (a *App) Var(ctx context.Context, by Actor, ref PipelineRef) (api.Var, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return api.Var{}, err
	}
	if !by.sees(ref.Namespace) || !isName(ref.Namespace) || !pipeline.ValidVariable(ref.Name) {
		return api.Var{}, errNoVar(ref)
	}
	q := a.queries()
	v, err := oneVar(ctx, q, ref)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.NotFound {
		return v, a.noVar(ctx, q, ref)
	}
	return v, err
}

func oneVar(ctx context.Context, q *db.Queries, ref PipelineRef) (api.Var, error) {
	rows, err := q.ListVars(ctx, db.ListVarsParams{Namespaces: []string{ref.Namespace}, Name: ref.Name, Page: 1})
	if err != nil {
		return api.Var{}, fmt.Errorf("read a var: %w", err)
	}
	if len(rows) == 0 {
		return api.Var{}, errNoVar(ref)
	}
	return varOf(rows[0]), nil
}

func varOf(r db.ListVarsRow) api.Var {
	return api.Var{
		Namespace: r.Namespace, Name: r.Name, Value: r.Value, Source: r.Source, UpdatedAt: r.UpdatedAt.UTC(), UpdatedBy: r.UpdatedBy, UsedBy: orEmpty(r.UsedBy),
	}
}

// DeleteVar deletes a variable that was set by hand.
func (a *App) DeleteVar(ctx context.Context, by Actor, ref PipelineRef) error {
	if err := by.need(api.RoleAuthor, ""); err != nil {
		return err
	}
	if !by.May(api.RoleAuthor, ref.Namespace) || !isName(ref.Namespace) || !pipeline.ValidVariable(ref.Name) {
		return errNoVar(ref)
	}
	err := db.InTx(ctx, a.pool, func(q *db.Queries) error {
		if err := q.LockVars(ctx, []string{ref.Namespace}); err != nil {
			return fmt.Errorf("lock vars: %w", err)
		}
		v, err := oneVar(ctx, q, ref)
		if api.IsCode(err, api.NotFound) {
			return a.noVar(ctx, q, ref)
		}
		if err != nil {
			return err
		}
		if v.Source != "" {
			return errOwned(v)
		}
		n, err := q.DeleteVar(ctx, ref.Namespace, ref.Name)
		if err != nil {
			return fmt.Errorf("delete a var: %w", err)
		}
		if n == 0 {
			return errNoVar(ref)
		}
		detail := map[string]any{}
		if !pipeline.LooksLikeCredential(ref.Name, v.Value) {
			detail["from"] = printable(v.Value, 200)
		}
		return outsideEvent(ctx, q, by, "var", ref, "deleted", detail)
	})
	if err == nil {
		a.notifier.Notify(db.ChannelEvent)
	}
	return err
}

func errNoVar(ref PipelineRef) *api.Error {
	return api.Errorf(api.NotFound, "there is no variable %s in %s that you may see and change", show(ref.Name), show(ref.Namespace)).WithHint("synctl var ls -n NAMESPACE")
}

// noVar also says which name is near, to somebody who sees the namespace.
func (a *App) noVar(ctx context.Context, q *db.Queries, ref PipelineRef) error {
	e := errNoVar(ref)
	rows, err := q.NamespaceVars(ctx, []string{ref.Namespace})
	if err != nil {
		return fmt.Errorf("list vars: %w", err)
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.Name)
	}
	if near := nearest(ref.Name, names); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return e
}
