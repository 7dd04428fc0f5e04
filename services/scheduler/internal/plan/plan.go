// Package plan turns schedules that are due into ticks, and ticks into runs.
package plan

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/loop"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
)

// batchSize is how many schedules one transaction decides.
const batchSize = 500

// A Planner decides ticks. Planners may work side by side: a schedule that one
// has locked is passed over by the others.
type Planner struct {
	pool      *db.Pool
	revisions *revision.Cache
	advancer  *advance.Advancer
	pace      gate.Pace
	told      func(Outcome)
	log       *slog.Logger

	timer *time.Timer   // rings when the next schedule becomes due
	due   chan struct{} // what it rings
	alone int           // so many schedules are decided one by one: a batch has failed
	now   *time.Time    // for tests; nil: the database's clock
}

// New makes a Planner that leaves late ticks to an Admitter of the same pace. told
// hears what each turn did, once it is committed.
func New(pool *db.Pool, revisions *revision.Cache, advancer *advance.Advancer, pace gate.Pace, log *slog.Logger, told func(Outcome)) *Planner {
	p := &Planner{pool: pool, revisions: revisions, advancer: advancer, pace: pace, told: told, log: log, due: make(chan struct{}, 1)}
	p.timer = time.AfterFunc(time.Hour, p.Hint)
	return p
}

// Outcome is what a transaction did.
type Outcome struct {
	Ticks map[string]int // by state
	Late  []time.Duration
	advance.Outcome
}

// Due delivers when the next schedule becomes due, or when Hint was called.
func (p *Planner) Due() <-chan struct{} { return p.due }

// Hint makes the next turn early: a schedule may be new. It never blocks.
func (p *Planner) Hint() {
	select {
	case p.due <- struct{}{}:
	default:
	}
}

// Step decides a batch of due schedules. What is wrong with one schedule
// becomes its tick row and takes the schedule out of the loop, not an error: it
// must not hold up the rest.
func (p *Planner) Step(ctx context.Context) error {
	size := batchSize
	if p.alone > 0 {
		size = 1
	}
	var out Outcome
	var due []due
	err := db.InTx(ctx, p.pool, func(q *db.Queries) (err error) {
		out = Outcome{Ticks: map[string]int{}}
		if due, err = lock(ctx, q, p.now, size); err != nil || len(due) == 0 {
			return err
		}
		return p.batch(ctx, q, due, &out)
	})
	switch {
	case err != nil && len(due) > 0 && !advance.Transient(ctx, err):
		return p.isolate(ctx, due, err)
	case err != nil:
		return fmt.Errorf("plan: %w", err)
	}
	p.alone = max(0, p.alone-len(due))
	p.told(out)
	if len(due) == size {
		return loop.ErrMore
	}
	return p.sleep(ctx)
}

// isolate deals with a batch that cannot be decided. The schedules of a large
// one are tried one by one; one that fails alone is broken, is taken out of the
// loop and says why.
func (p *Planner) isolate(ctx context.Context, due []due, cause error) error {
	if len(due) > 1 {
		p.log.Warn("plan: a batch cannot be decided, trying its schedules one by one", "schedules", len(due), "error", cause)
		p.alone = len(due)
		return loop.ErrMore
	}
	s := due[0]
	if db.IsCutShort(cause) {
		return fmt.Errorf("plan %s/%s: %w", s.Namespace, s.Pipeline, cause) // no fault of its own
	}
	p.log.Error("plan: a schedule cannot be decided and is taken out of the loop", "pipeline", s.Namespace+"/"+s.Pipeline, "schedule", s.Name, "error", cause)
	p.alone = max(0, p.alone-1)
	err := p.pool.Queries().BreakSchedule(ctx, cause.Error(), s.ID)
	if err != nil {
		return fmt.Errorf("take schedule %d out of the loop: %w", s.ID, err)
	}
	return loop.ErrMore
}

// sleep sets the alarm for the next schedule that becomes due.
func (p *Planner) sleep(ctx context.Context) error {
	next, err := p.pool.Queries().NextDue(ctx, nil)
	if err != nil {
		return fmt.Errorf("look for the next tick: %w", err)
	}
	if next.NextAt == nil {
		p.timer.Stop()
		return nil
	}
	// A schedule that is due and locked by somebody else must not make us spin.
	p.timer.Reset(max(next.NextAt.Sub(next.Now), 5*time.Millisecond))
	return nil
}

// A due schedule is locked, and so is what its pipeline says.
type due struct {
	db.LockDueSchedulesRow
	Namespace, Pipeline string
	Paused, Frozen      bool
	PausedUntil         *time.Time
}

// lock locks up to n schedules that are due now and reads their pipelines.
func lock(ctx context.Context, q *db.Queries, now *time.Time, n int) ([]due, error) {
	rows, err := q.LockDueSchedules(ctx, now, int32(n))
	if err != nil {
		return nil, fmt.Errorf("lock due schedules: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = row.PipelineID
	}
	pipelines, err := q.PlannedPipelines(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read pipelines: %w", err)
	}
	byID := make(map[int64]db.PlannedPipelinesRow, len(pipelines))
	for _, p := range pipelines {
		byID[p.ID] = p
	}
	all := make([]due, len(rows))
	for i, row := range rows {
		p := byID[row.PipelineID]
		all[i] = due{row, p.Namespace, p.Name, p.Paused, p.Frozen, p.PausedUntil}
	}
	return all, nil
}

// A want is a tick that becomes a run, on its way.
type want struct {
	schedule  due
	rev       *revision.Revision
	fireAt    time.Time
	created   flow.Created
	run       flow.Run
	group     int64
	state     flow.State // running or queued
	scheduled int        // index of its tick in the ticks of the batch
}

// late says that the run is made by catch-up: it does not count towards its
// group's max_queued, and waits for its turn to start.
func (w *want) late(now time.Time) bool { return now.Sub(w.fireAt) > time.Minute }
