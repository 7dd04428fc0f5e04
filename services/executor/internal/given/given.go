// Package given reads what tasks are rendered from: facts of their runs, values of items, and what earlier tasks gave.
package given

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A Reader keeps facts of runs in memory. It may be used by many goroutines.
type Reader struct {
	installation string
	facts        *lru.Cache[int64, facts]
}

const factsKept = 8192

// New makes a Reader that knows nothing yet.
func New(installation uuid.UUID) *Reader {
	kept, _ := lru.New[int64, facts](factsKept) // fails only for a size below one
	return &Reader{installation: installation.String(), facts: kept}
}

// A Want is a task or an item that is to be rendered.
type Want struct {
	Run      int64
	Number   int32
	Revision *revision.Revision
	Reads    attempt.Reads
}

// facts are what a run's attempts are told of it. They never change.
type facts struct {
	run      flow.Run
	schedule int64 // that ticked; 0: none did
	fireAt   time.Time
}

// factsOf turns a row into what attempts are told.
func factsOf(row db.AttemptFactsRow, rev *revision.Revision) (facts, error) {
	f := facts{run: flow.Run{
		ID: row.ID, Number: row.Number, Namespace: row.Namespace, Pipeline: row.Pipeline, Revision: rev.Number, Trigger: row.Trigger,
		ScheduledAt: row.ScheduledAt, CreatedAt: row.CreatedAt, IntervalStart: row.IntervalStart, IntervalEnd: row.IntervalEnd,
	}}
	params, err := expr.FromJSON(row.Params)
	if err != nil {
		return f, fmt.Errorf("read the params of run %d: %w", row.ID, err)
	}
	f.run.Params, _ = params.(map[string]any)
	if err := json.Unmarshal(row.Vars, &f.run.Vars); err != nil {
		return f, fmt.Errorf("read the vars of run %d: %w", row.ID, err)
	}
	// A backfill's run is a request of its own, though it stands for a tick.
	if row.Trigger == "schedule" && row.ScheduleID != nil && row.FireAt != nil {
		f.schedule, f.fireAt = *row.ScheduleID, *row.FireAt
	}
	if row.Schedule != nil {
		list := rev.Graph.Pipeline().Schedules
		if i := slices.IndexFunc(list, func(s pipeline.Schedule) bool { return s.ID == *row.Schedule }); i >= 0 {
			f.run.Zone = list[i].Timezone
		}
	}
	return f, nil
}
