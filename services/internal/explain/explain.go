// Package explain says why a pipeline, a run or a task does not run: it reads
// the rows of one snapshot and asks the gates that the scheduler and the claim
// decide by.
package explain

import (
	"context"
	"fmt"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// Limits of an answer.
const (
	maxHolders = 5   // listed of those who hold a gate
	maxGroup   = 200 // runs of a group that are read
	maxAlike   = 12  // kinds of open tasks that a run's answer looks at
)

// patience is how long something that nothing holds may lie before the answer
// is that no scheduler looks.
const patience = 10 * time.Second

// An Explainer answers from what one transaction sees. Use db.InSnapshot, so
// that all of it is from the same moment.
type Explainer struct {
	q         *db.Queries
	revisions *revision.Cache
	sees      func(namespace string) bool
}

// New makes an Explainer. What lies in namespaces that sees denies is counted
// and not named.
func New(q *db.Queries, revisions *revision.Cache, sees func(namespace string) bool) *Explainer {
	return &Explainer{q: q, revisions: revisions, sees: sees}
}

// Task explains a task of a run, or an item, by its number. An item that is not
// there is an *api.Error.
func (x *Explainer) Task(ctx context.Context, run int64, number int) (api.Explanation, error) {
	f, err := x.run(ctx, run)
	if err != nil {
		return api.Explanation{}, err
	}
	t, err := x.task(ctx, f, number)
	if err != nil {
		return api.Explanation{}, err
	}
	return t.explain(), nil
}

// Run explains a run.
func (x *Explainer) Run(ctx context.Context, run int64) (api.Explanation, error) {
	f, err := x.run(ctx, run)
	if err != nil {
		return api.Explanation{}, err
	}
	if f.open == nil || f.open.State == string(flow.Queued) {
		return f.explain(nil, 0), nil
	}
	parts, waiting, err := x.open(ctx, f)
	if err != nil {
		return api.Explanation{}, err
	}
	return f.explain(parts, waiting), nil
}

const lastNumber = 1<<31 - 1

// A part is a task that stands for all that are held alike.
type part struct {
	*taskFacts
	tasks int
}

// open reads what stands for each kind of open task of a run. Those that only
// wait for others are counted, not read: they are held by the ones that are.
func (x *Explainer) open(ctx context.Context, f *facts) (parts []part, waiting int, err error) {
	alike, err := x.q.ExplainOpenTasks(ctx, db.ExplainOpenTasksParams{RunID: f.run.Run.ID, Low: 0, High: lastNumber})
	if err != nil {
		return nil, 0, fmt.Errorf("read open tasks: %w", err)
	}
	for _, a := range alike {
		switch {
		case a.Standing == "items": // its items speak for it
			continue
		case a.Standing == "needs" || f.later(int(a.First)):
			waiting += int(a.Tasks)
			continue
		case len(parts) == maxAlike:
			continue
		}
		t, err := x.task(ctx, f, int(a.First))
		if err != nil {
			return nil, 0, err
		}
		parts = append(parts, part{t, int(a.Tasks)})
	}
	return parts, waiting, nil
}

// later says that a task runs finally and it is not yet time for that.
func (f *facts) later(number int) bool {
	ordinal, _ := flow.Split(number)
	tasks, _ := f.def.Graph.Size()
	return ordinal >= tasks && f.open != nil && f.open.Phase == string(flow.PhaseTasks)
}

// Pipeline explains a pipeline.
func (x *Explainer) Pipeline(ctx context.Context, id int64) (api.Explanation, error) {
	f, err := x.pipeline(ctx, id)
	if err != nil {
		return api.Explanation{}, err
	}
	return f.explain(), nil
}
