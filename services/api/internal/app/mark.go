package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/reopen"
)

// Mark says by hand how a task of an ended run, or an item, ended. What was
// skipped because of how it had ended runs now.
func (a *App) Mark(ctx context.Context, by Actor, ref RunRef, task, key string, req api.MarkRequest) (api.Run, error) {
	row, def, err := a.endedRun(ctx, by, ref, key)
	if err != nil {
		return api.Run{}, err
	}
	m := reopen.Marking{State: flow.State(req.State), By: by.Name}
	switch m.State {
	case flow.Succeeded, flow.Failed, flow.Skipped:
	default:
		return api.Run{}, api.Errorf(api.Unprocessable, "%s is no way to mark a task", show(string(req.State))).WithHint("succeeded, failed or skipped")
	}
	if m.Why, err = note("reason", req.Reason, 500); err != nil {
		return api.Run{}, err
	}
	if m.Why == "" {
		return api.Run{}, api.Errorf(api.Unprocessable, "reason is missing: others will want to know why a task is marked by hand")
	}
	ordinal, err := ordinalOf(def, exactly(row), task)
	if err != nil {
		return api.Run{}, err
	}
	name := task
	m.Number = flow.Number(ordinal)
	if req.Index != nil {
		if !def.Graph.Fan(ordinal) {
			return api.Run{}, api.Errorf(api.Unprocessable, "%s has no items", task).WithHint("leave out the index")
		}
		m.Number = flow.ItemNumber(ordinal, min(max(0, *req.Index), flow.MaxItems))
		name = fmt.Sprintf("%s[%d]", task, *req.Index)
	}
	if m.Outputs, err = markedOutputs(def.Graph, ordinal, req); err != nil {
		return api.Run{}, err
	}
	content, err := contentHash("mark "+name, req)
	if err != nil {
		return api.Run{}, err
	}
	err = a.reopening(ctx, row, def, key, content, func(q *db.Queries, run reopen.Run) error {
		marked, err := reopen.Mark(ctx, q, run, def.Number, m)
		switch {
		case errors.Is(err, reopen.ErrNoTask):
			return api.Errorf(api.NotFound, "run %s has no %s", exactly(row), name)
		case errors.Is(err, reopen.ErrSame):
			return api.Errorf(api.Conflict, "%s of run %s is %s already", name, exactly(row), m.State)
		case err != nil:
			return reopenError(err, row, "")
		case len(marked.Reset.Tasks) == 0:
			return nil
		}
		return nil
	})
	if err != nil {
		return api.Run{}, err
	}
	return a.head(ctx, row.Run.ID)
}

// markedOutputs checks the outputs that come with a mark, as if the task had
// written them. None leave those that are there.
func markedOutputs(g *flow.Graph, ordinal int, req api.MarkRequest) ([]byte, error) {
	if len(req.Outputs) == 0 {
		return nil, nil
	}
	t := g.Task(ordinal)
	switch {
	case flow.State(req.State) != flow.Succeeded:
		return nil, api.Errorf(api.Unprocessable, "outputs are of what succeeded").WithHint("leave them out")
	case g.Fan(ordinal) && req.Index == nil:
		return nil, api.Errorf(api.Unprocessable, "the outputs of %s are those of its items", t.Name).WithHint("mark an item: %s[0]", t.Name)
	}
	written := make(map[string]pipeline.RawOutput, len(req.Outputs))
	for name, text := range req.Outputs {
		if !slices.ContainsFunc(t.Outputs, func(o pipeline.Output) bool { return o.Name == name }) {
			return nil, api.Errorf(api.Unprocessable, "%s declares no output %s", t.Name, show(name))
		}
		if strings.ContainsRune(text, 0) {
			return nil, api.Errorf(api.Unprocessable, "output %s holds the character U+0000, which cannot be stored", name)
		}
		written[name] = pipeline.RawOutput{Text: text}
	}
	for _, o := range t.Outputs {
		if _, ok := written[o.Name]; !ok && o.Required {
			return nil, api.Errorf(api.Unprocessable, "output %s is missing: a mark that gives outputs gives all that are required", o.Name)
		}
	}
	checked, bad := t.CheckOutputs(written)
	if bad != nil {
		return nil, api.Errorf(api.Unprocessable, "%s", bad.Detail)
	}
	data, err := expr.ToJSON(checked)
	if err != nil {
		return nil, fmt.Errorf("write outputs: %w", err)
	}
	return data, nil
}
