package advance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// Roll moves the rollups on by the runs that ended in a transaction, as its last
// act: all of them at once, so that transactions side by side take the rows of
// the rollups in one order and hold them for a moment only.
func (o *Outcome) Roll(ctx context.Context, q *db.Queries) error {
	if len(o.ended) == 0 {
		return nil
	}
	slices.SortFunc(o.ended, func(a, b db.FinishRunsRow) int {
		return cmp.Or(cmp.Compare(a.PipelineID, b.PipelineID), cmp.Compare(a.ID, b.ID))
	})
	if err := q.CountRuns(ctx, countRuns(o.ended)); err != nil {
		return fmt.Errorf("count runs: %w", err)
	}
	// A run that was opened again is not simply the newest: where one ended, the
	// newest are looked at anew.
	var again []int64
	for _, row := range o.ended {
		if row.Reopened {
			again = append(again, row.PipelineID)
		}
	}
	first := slices.DeleteFunc(o.ended, func(row db.FinishRunsRow) bool { return slices.Contains(again, row.PipelineID) })
	if err := q.NoteLastRuns(ctx, lastRuns(first)); err != nil {
		return fmt.Errorf("note last runs: %w", err)
	}
	if len(again) > 0 {
		if err := q.LockStats(ctx, again); err != nil {
			return fmt.Errorf("lock what the newest runs came to: %w", err)
		}
		if err := q.RestatPipelines(ctx, again); err != nil {
			return fmt.Errorf("look at the newest runs: %w", err)
		}
	}
	o.ended = nil
	return nil
}

// countRuns adds runs up by hour, pipeline and state.
func countRuns(rows []db.FinishRunsRow) db.CountRunsParams {
	type key struct {
		hour     time.Time
		pipeline int64
		state    string
	}
	var p db.CountRunsParams
	places := map[key]int{}
	for _, row := range rows {
		k := key{row.EndedAt.UTC().Truncate(time.Hour), row.PipelineID, row.State}
		i, ok := places[k]
		if !ok {
			i = len(p.Hours)
			places[k] = i
			p.Hours = append(p.Hours, k.hour)
			p.Pipelines = append(p.Pipelines, k.pipeline)
			p.States = append(p.States, k.state)
			p.Runs = append(p.Runs, 0)
			p.Seconds = append(p.Seconds, 0)
		}
		p.Runs[i]++
		p.Seconds[i] += row.Seconds
	}
	return p
}

// lastRuns says of each pipeline which of the runs is the newest, and how many
// failed after the last that succeeded. rows are in order of pipeline and id.
func lastRuns(rows []db.FinishRunsRow) db.NoteLastRunsParams {
	var p db.NoteLastRunsParams
	for _, row := range rows {
		i := len(p.Pipelines) - 1
		if i < 0 || p.Pipelines[i] != row.PipelineID {
			i++
			p.Pipelines = append(p.Pipelines, row.PipelineID)
			p.RunIds = append(p.RunIds, 0)
			p.States = append(p.States, "")
			p.EndedAts = append(p.EndedAts, time.Time{})
			p.OkAts = append(p.OkAts, time.Time{})
			p.FailedAts = append(p.FailedAts, time.Time{})
			p.Failures = append(p.Failures, 0)
		}
		p.RunIds[i], p.States[i], p.EndedAts[i] = row.ID, row.State, row.EndedAt
		switch flow.State(row.State) {
		case flow.Succeeded:
			p.OkAts[i], p.Failures[i] = row.EndedAt, 0
		case flow.Failed:
			p.FailedAts[i] = row.EndedAt
			p.Failures[i]++
		}
	}
	return p
}
