package app

import (
	"context"
	"fmt"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// polls tells what tasks and items of a run ask services for, by number.
func polls(ctx context.Context, q *db.Queries, run int64, def *revision.Revision, low, high int32) (map[int32]api.Poll, error) {
	if !def.Graph.Polls() {
		return nil, nil
	}
	rows, err := q.HTTPWaitsOf(ctx, db.HTTPWaitsOfParams{RunID: run, Low: low, High: high})
	if err != nil {
		return nil, fmt.Errorf("read what waits for answers: %w", err)
	}
	list := make(map[int32]api.Poll, len(rows))
	for _, r := range rows {
		list[r.Number] = api.Poll{
			Target: r.Target, Served: r.Served, URL: r.Address, Tries: int(r.Tries), LastStatus: int(r.LastStatus), LastError: r.LastError,
			Since: r.Since.UTC(), AskedAt: orZero(r.AskedAt), NextAt: r.NextAt.UTC(),
		}
	}
	return list, nil
}

// withPoll adds to a task what it asks for.
func withPoll(t *api.Task, all map[int32]api.Poll, number int32) {
	p, ok := all[number]
	if !ok {
		return
	}
	t.Poll = &p
	if t.Detail == "" {
		t.Detail = p.Sentence()
	}
}
