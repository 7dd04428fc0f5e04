package app

import (
	"context"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// Hint is closed when the database says that something has happened.
func (a *App) Hint() <-chan struct{} { return a.hints.wait() }

// Changes are the pipelines that events tell of.
type Changes struct {
	At        string // where to go on
	Pipelines []int64
}

// Changes gives the pipelines that something happened to since an earlier
// answer; the empty text begins now. Some come twice, none is left out.
func (a *App) Changes(ctx context.Context, since string) (Changes, error) {
	if since == "" {
		row, err := a.queries().PageChanges(ctx, "9223372036854775807")
		if err != nil {
			return Changes{}, fmt.Errorf("read where events stand: %w", err)
		}
		return Changes{At: row.At}, nil
	}
	row, err := a.queries().PageChanges(ctx, since)
	if err != nil {
		return Changes{}, fmt.Errorf("read events: %w", err)
	}
	return Changes{At: row.At, Pipelines: row.Pipelines}, nil
}

// PipelineID is the id by which Changes names a pipeline.
func (a *App) PipelineID(ctx context.Context, by Actor, ref PipelineRef) (int64, error) {
	if err := by.need(api.RoleViewer, ""); err != nil {
		return 0, err
	}
	row, err := a.find(ctx, a.queries(), by, ref)
	return row.ID, err
}

// Sweep is how often live pages look by themselves.
const Sweep = 2 * time.Second
