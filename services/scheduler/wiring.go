package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/prune"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/reap"
)

// A hint makes a loop's next turn early.
type hint chan struct{}

func newHint() hint { return make(hint, 1) }

func (h hint) give() {
	select {
	case h <- struct{}{}:
	default:
	}
}

// spread tells those who have work now what a transaction did.
func spread(o advance.Outcome, notify *db.Notifier, woken, groups, backfills, asked hint) {
	if o.Released > 0 {
		notify.Notify(db.ChannelReady)
	}
	if o.Polls {
		notify.Notify(db.ChannelPoll)
	}
	if o.Stopped {
		notify.Notify(db.ChannelStop)
	}
	if len(o.Finished) > 0 || o.Runs > 0 {
		notify.Notify(db.ChannelEvent)
	}
	if o.Woken {
		woken.give()
		groups.give()
	}
	if o.Backfill {
		backfills.give()
	}
	if o.Asked {
		asked.give()
	}
}

// wakeAfter makes advance, admit, backfill and follow look at once at what the reaper has left for
// them, or has seen that somebody has.
func wakeAfter(o reap.Outcome, woken, groups, backfills, asked hint) {
	if o.Woken || o.Lost+o.TimedOut+o.Late > 0 {
		woken.give()
	}
	if o.Admit {
		groups.give()
	}
	if o.Backfill {
		backfills.give()
	}
	if o.Asked {
		asked.give()
	}
}

// A door lets steps pass once something has been done before the first of them.
type door struct {
	mu   sync.Mutex
	done bool
	open func(context.Context) error
}

func newDoor(open func(context.Context) error) *door { return &door{open: open} }

// before is step behind the door.
func (d *door) before(step func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := d.pass(ctx); err != nil {
			return err
		}
		return step(ctx)
	}
}

func (d *door) pass(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return nil
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	d.done = true
	return nil
}

// prepare is what has to be true before any loop works: the server keeps what it
// acknowledges, the schema is one we speak, and today has its partitions. What
// is allowed and not wise is told once.
func prepare(ctx context.Context, pool *db.Pool, pruner *prune.Pruner, log *slog.Logger) error {
	findings, err := db.CheckServer(ctx, pool)
	if err != nil {
		return fmt.Errorf("look at the server's settings: %w", err)
	}
	for _, f := range findings {
		if f.Fatal {
			return fmt.Errorf("%s is %s: %s", f.Setting, f.Value, f.Message)
		}
		log.Warn("database: "+f.Message, "setting", f.Setting, "value", f.Value)
	}
	if err := db.CheckSchema(ctx, pool); err != nil {
		return err
	}
	if err := pruner.Prepare(ctx); err != nil {
		return err
	}
	if _, err := pool.Queries().NoteTzdata(ctx, schedule.TZVersion); err != nil {
		return fmt.Errorf("note the time zone data in use: %w", err)
	}
	return nil
}

// enoughDays says whether history has partitions for the days to come.
func enoughDays(ctx context.Context, pool *db.Pool) error {
	days, err := pool.Queries().PartitionsAhead(ctx, nil)
	if err != nil {
		return fmt.Errorf("count partitions: %w", err)
	}
	if days < 3 {
		return fmt.Errorf("history has partitions for %d days ahead, 3 are the least", days)
	}
	return nil
}
