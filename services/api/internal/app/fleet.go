package app

import (
	"context"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// Executors are those seen in the last day, living ones first.
func (a *App) Executors(ctx context.Context, by Actor) (api.ExecutorList, error) {
	out := api.ExecutorList{Items: []api.Executor{}}
	if err := by.need(api.RoleViewer, ""); err != nil {
		return out, err
	}
	rows, err := a.queries().ListExecutors(ctx)
	if err != nil {
		return out, fmt.Errorf("list executors: %w", err)
	}
	for _, r := range rows {
		out.Items = append(out.Items, api.Executor{
			ID: r.ID.String(), Name: r.Name, Host: r.Host, Version: r.Version, State: api.ExecutorState(r.State), Slots: int(r.Slots), Used: int(r.Used),
			Labels: orEmpty(r.Labels), Serves: r.Serves, StartedAt: r.StartedAt.UTC(), LeaseUntil: r.LeaseUntil.UTC(), StoppedAt: orZero(r.StoppedAt),
		})
	}
	return out, nil
}

// Version says what serves here.
func (a *App) Version(ctx context.Context) (api.Version, error) {
	row, err := a.queries().Clock(ctx)
	if err != nil {
		return api.Version{}, fmt.Errorf("read the clock: %w", err)
	}
	return api.Version{Version: a.version, Tzdata: schedule.TZVersion, Installation: row.ID.String(), Now: row.Now.UTC()}, nil
}
