package explain

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
	"github.com/synthesizer-dev/synthesizer/db"
)

// pipelineFacts are what an answer about a pipeline is made from.
type pipelineFacts struct {
	*facts
	schedules []db.SchedulesOfRow
	last      *db.ListTicksRow
	running   int
	current   *facts // the newest run that runs
	parts     []part // its open tasks
	waiting   int
	queued    []db.ExplainQueuedRow
	first     *facts // the first run that is queued
}

func (x *Explainer) pipeline(ctx context.Context, id int64) (*pipelineFacts, error) {
	f := &pipelineFacts{facts: &facts{sees: x.sees}}
	var err error
	if f.pipeline, err = x.q.ExplainPipeline(ctx, id); err != nil {
		return nil, fmt.Errorf("read a pipeline: %w", err)
	}
	f.now = f.pipeline.Now
	if f.def, err = x.revisions.One(ctx, x.q, f.pipeline.RevisionID); err != nil {
		return nil, err
	}
	if f.schedules, err = x.q.SchedulesOf(ctx, []int64{id}); err != nil {
		return nil, fmt.Errorf("read schedules: %w", err)
	}
	ticks, err := x.q.ListTicks(ctx, db.ListTicksParams{PipelineID: id, Page: 1})
	if err != nil {
		return nil, fmt.Errorf("read the last tick: %w", err)
	}
	if len(ticks) > 0 {
		f.last = &ticks[0]
	}
	if err := x.openRuns(ctx, id, f); err != nil {
		return nil, err
	}
	if f.fleet, err = x.q.ExplainExecutors(ctx); err != nil {
		return nil, fmt.Errorf("read executors: %w", err)
	}
	return f, nil
}

func (x *Explainer) openRuns(ctx context.Context, id int64, f *pipelineFacts) (err error) {
	if f.queued, err = x.q.ExplainQueued(ctx, 1, id); err != nil {
		return fmt.Errorf("read queued runs: %w", err)
	}
	if len(f.queued) > 0 {
		if f.first, err = x.run(ctx, f.queued[0].RunID); err != nil {
			return err
		}
	}
	running, err := x.q.ExplainRunning(ctx, id)
	if err != nil {
		return fmt.Errorf("count running runs: %w", err)
	}
	if f.running = int(running.Running); f.running == 0 {
		return nil
	}
	if f.current, err = x.run(ctx, running.Newest); err != nil {
		return err
	}
	f.parts, f.waiting, err = x.open(ctx, f.current)
	return err
}

func fleetServes(wanted []string) func(db.ExplainExecutorsRow) bool {
	return func(e db.ExplainExecutorsRow) bool { return !e.Draining && gate.Serves(e.Labels, wanted) }
}

func (f *pipelineFacts) ref() string { return f.pipeline.Namespace + "/" + f.pipeline.Name }

func (f *pipelineFacts) explain() api.Explanation {
	p := f.pipeline
	out := api.Explanation{Kind: api.ExplanationKindPipeline, Subject: f.ref(), At: f.now.UTC(), State: f.state()}
	a := &answer{}
	headline := ""
	if p.RemovedAt != nil {
		a.closed(gate.Removed, "was removed", "It was removed from its source; its runs are kept.").since(p.RemovedAt).frees("Register it again.", "synctl register")
	} else {
		f.ticks(a)
		f.schedule(a)
		f.progress(a)
		f.queue(a)
		f.labels(a)
		headline = f.next(a)
	}
	f.history(a)
	if h := a.holds(); h != nil {
		out.Blocked, headline = true, p.Name+" "+h.does+"."
	}
	out.Summary, out.Findings = headline, a.findings()
	return out
}

func (f *pipelineFacts) state() string {
	p := f.pipeline
	switch {
	case p.RemovedAt != nil:
		return "removed"
	case p.PausedAt != nil:
		return "paused"
	case p.FrozenAt != nil:
		return "frozen"
	case f.running > 0:
		return "running"
	case len(f.queued) > 0:
		return "queued"
	}
	return "idle"
}

// ticks are what holds all ticks back.
func (f *pipelineFacts) ticks(a *answer) {
	p := f.pipeline
	if gate.Ticks(p.PausedAt != nil, false) != "" {
		x := a.closed(gate.Paused, "is paused", "It is paused by "+value(p.PausedBy)+because(p.PauseReason)+": its ticks are skipped, runs by hand start.").since(p.PausedAt).until(p.PausedUntil)
		x.frees("Goes on when it is resumed.", "synctl resume "+f.ref())
		if p.PausedUntil != nil {
			x.Frees = "Goes on by itself then, or when it is resumed."
		}
	}
	if gate.Ticks(false, p.FrozenAt != nil) != "" {
		a.closed(gate.Frozen, "is frozen", "It is frozen by "+value(p.FrozenBy)+because(p.FreezeReason)+": its ticks are skipped, and no run of it starts.").since(p.FrozenAt).until(p.FrozenUntil).
			frees("Goes on when it is thawed.")
	}
	if p.PausedAt == nil && p.FrozenAt == nil {
		a.open(gate.Paused, "It is neither paused nor frozen.")
	}
}

// schedule says whether ticks come at all.
func (f *pipelineFacts) schedule(a *answer) {
	live, next := 0, 0
	for _, s := range f.schedules {
		if s.EndedAt != nil {
			continue
		}
		live++
		if s.Broken != nil {
			a.closed(gate.Schedule, "waits for a schedule that can be read", fmt.Sprintf("Schedule %s is broken: %s.", s.Name, *s.Broken)).frees("Mend the file and register it again.", "synctl register")
		} else if s.NextAt != nil {
			next++
		}
	}
	switch {
	case live == 0:
		a.open(gate.Schedule, "It has no schedule: it runs when somebody asks for it.")
	case next == 0 && a.holds() == nil:
		a.closed(gate.Schedule, "waits for a tick, and none will come", "Its schedule has no more ticks.").frees("Change the schedule, or run it by hand.", "synctl run "+f.ref())
	}
}

// progress is what holds tasks of its newest run that runs.
func (f *pipelineFacts) progress(a *answer) {
	if f.current == nil {
		return
	}
	inner := &answer{}
	blocked, summary := f.current.progress(inner, f.parts, f.waiting)
	number := fmt.Sprintf("#%d ", f.current.run.Run.Number)
	first := true
	for _, x := range inner.list {
		if !x.held {
			continue
		}
		x.Summary = number + x.Summary
		x.does = "does not go on: " + x.of + " of #" + strconv.FormatInt(f.current.run.Run.Number, 10) + " " + x.does
		x.part, first = !blocked || !first, false
		a.add(x)
	}
	text := fmt.Sprintf("%s of it %s.", sentence(plural(f.running, "run")), runs(f.running))
	if f.running == 1 {
		text = summary
	}
	a.note("runs", text).since(f.current.open.AdmittedAt)
}

// queue is what holds the first of its runs that wait, unless others run.
func (f *pipelineFacts) queue(a *answer) {
	if f.first == nil {
		return
	}
	inner := &answer{}
	f.first.admit(inner)
	x := inner.list[0]
	n := int(f.queued[0].Queued)
	x.Summary = fmt.Sprintf("%s %s queued, #%d first. %s", sentence(plural(n, "run")), are(n), f.queued[0].Number, x.Summary)
	x.part = f.running > 0
	a.add(x)
}

// next says when the next tick comes, and gives the sentence for a pipeline that
// nothing holds.
func (f *pipelineFacts) next(a *answer) string {
	var next *time.Time
	name := ""
	for _, s := range f.schedules {
		if s.EndedAt == nil && s.NextAt != nil && (next == nil || s.NextAt.Before(*next)) {
			next, name = s.NextAt, s.Name
		}
	}
	what := f.pipeline.Name
	if f.running > 0 {
		what += ": " + plural(f.running, "run") + " of it " + runs(f.running)
	}
	if next == nil && f.running > 0 {
		return "Nothing blocks " + what + "."
	}
	if next == nil {
		return "Nothing blocks " + what + ": it runs when somebody asks for it."
	}
	if f.now.Sub(*next) > patience {
		a.closed(gate.Scheduler, "waits for a scheduler", "Its next tick is overdue: no scheduler has decided it.").since(next).frees("Look whether a scheduler runs, and what it logs.")
		return ""
	}
	a.note("tick", "Its next tick, of schedule "+name+".").until(next)
	if f.running > 0 {
		return "Nothing blocks " + what + "."
	}
	return "Nothing blocks " + what + ": its next tick will become a run."
}

func runs(n int) string {
	if n == 1 {
		return "goes on"
	}
	return "go on"
}

// history is the last decision about a tick.
func (f *pipelineFacts) history(a *answer) {
	t := f.last
	if t == nil {
		return
	}
	text := "Its last tick was " + t.State
	if t.State == "run" {
		text = "Its last tick became a run"
		if t.RunNumber != nil {
			text = fmt.Sprintf("Its last tick became #%d", *t.RunNumber)
		}
	}
	if t.Reason != "" {
		text += ": " + spaced(t.Reason)
	}
	if t.Detail != "" && !slices.Contains([]string{"run"}, t.State) {
		text += " (" + t.Detail + ")"
	}
	a.note("tick", text+".").since(&t.FireAt)
}
