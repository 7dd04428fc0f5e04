package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
)

// runName is the run as answers name it.
func (f *facts) runName() string {
	return runName(f.run.Run.Namespace, f.run.Run.Pipeline, f.run.Run.Number)
}

// short is the run's name within its namespace.
func (f *facts) short() string { return fmt.Sprintf("%s#%d", f.run.Run.Pipeline, f.run.Run.Number) }

// explain answers for a run. parts stand for its open tasks; waiting is how many
// more only wait for them.
func (f *facts) explain(parts []part, waiting int) api.Explanation {
	r := f.run.Run
	out := api.Explanation{Kind: api.ExplanationKindRun, Subject: f.runName(), At: f.now.UTC(), State: r.State}
	a := &answer{}
	switch {
	case f.open == nil:
		out.Summary = f.ended(a)
	case f.open.State == string(flow.Queued):
		f.queue(a)
		out.Summary = "Nothing blocks " + f.short() + ": the scheduler is about to start it."
		if h := a.holds(); h != nil {
			out.Blocked, out.Summary = true, f.short()+" "+h.does+"."
		}
	default:
		out.Blocked, out.Summary = f.progress(a, parts, waiting)
		f.runDeadline(a)
		f.pauseNote(a)
	}
	out.Findings = a.findings()
	return out
}

func (f *facts) ended(a *answer) string {
	r := f.run.Run
	text := r.State
	if r.Reason != "" && r.Reason != r.State {
		text += ": " + spaced(r.Reason)
	}
	if r.CanceledBy != nil && r.State == string(flow.Canceled) {
		text += " by " + *r.CanceledBy + because(r.CancelReason)
	}
	a.note("state", "It has ended.").since(r.EndedAt)
	return f.short() + " has ended: " + text + "."
}

// queue asks the gates before a run starts.
func (f *facts) queue(a *answer) {
	if f.open.CancelRequestedAt != nil {
		a.closed(gate.Stopping, "does not start any more: it is being canceled", "It was asked to stop by "+value(f.run.Run.CanceledBy)+because(f.run.Run.CancelReason)+".").since(f.open.CancelRequestedAt)
	}
	f.admit(a)
	f.looked(a)
	f.labels(a)
	f.pauseNote(a)
}

// looked says whether the scheduler has had its time.
func (f *facts) looked(a *answer) {
	if a.holds() != nil {
		return
	}
	since := f.open.CreatedAt
	if at := f.pipeline.LastEndedAt; at != nil && at.After(since) {
		since = *at
	}
	f.unlooked(a, since, "start it")
}

// admission is the group of the run that a task belongs to.
func (t *taskFacts) admission(a *answer) {
	if t.open.State == string(flow.Queued) {
		t.admit(a)
	}
}

// admit is the concurrency group.
func (f *facts) admit(a *answer) {
	g := f.group
	name := f.run.Run.ConcurrencyGroup
	if p := f.pipeline; gate.Starts(p.FrozenAt != nil) != "" {
		a.closed(gate.Frozen, "is frozen", "Its pipeline is frozen by "+value(p.FrozenBy)+because(p.FreezeReason)+": no run of it starts.").since(p.FrozenAt).until(p.FrozenUntil).
			frees("Starts when the pipeline is thawed.")
		return
	}
	if g.starts && g.beside && g.running >= g.limit {
		a.open(gate.Group, fmt.Sprintf("%s is full: %d of %d running. It starts beside them: one of them waits for it.", groupName(name), g.running, g.limit))
		return
	}
	if g.starts {
		a.open(gate.Group, fmt.Sprintf("%s has room: %d of %d running.", groupName(name), g.running, g.limit))
		return
	}
	if g.turn != nil {
		text := "It is of a late tick: as after an outage, these start a few at a time, each when its turn comes."
		if !g.turn.own {
			text = "A late tick before it waits for its turn to start, and the ticks of a group keep their order."
		}
		a.closed(gate.Late, "waits for its turn among late ticks", text).since(&f.open.CreatedAt).until(&g.turn.at).
			frees("Starts then. How many start in a minute is a setting of the scheduler, --late-starts; runs by hand do not wait for it.")
		return
	}
	var holders []api.Holder
	for _, r := range g.rows {
		if r.RunID == f.run.Run.ID || r.State == string(flow.Queued) && g.running >= g.limit {
			continue
		}
		since := r.CreatedAt
		if r.AdmittedAt != nil {
			since = *r.AdmittedAt
		}
		state := r.State
		if r.CancelRequested {
			state = "stopping"
		}
		holders = append(holders, f.holder(r.RunID, r.Namespace, r.Pipeline, r.Number, "", state, "", "", 0, since))
	}
	all := len(holders)
	holders = holders[:min(all, maxHolders)]
	text := fmt.Sprintf("%s is full: %d of %d running.", groupName(name), g.running, g.limit)
	if g.running < g.limit {
		text = fmt.Sprintf("%s has room for %d more, and %s %s queued before it.", groupName(name), g.limit-g.running, plural(g.before, "run"), are(g.before))
	}
	waits := "waits for a place: " + f.run.Run.Pipeline + " runs " + times(g.limit)
	if name != "" {
		waits = "waits for its group " + name
	}
	frees := "Starts when a run ends, in the order in which they were created."
	x := a.closed(gate.Group, waits, text).since(&f.open.CreatedAt).heldBy(holders, max(all, g.running)).frees(frees, cancels(holders, f.runName())...)
	x.Position = g.before + 1
}

func times(limit int) string {
	if limit == 1 {
		return "once at a time"
	}
	return fmt.Sprintf("%d times at once", limit)
}

func groupName(name string) string {
	if name == "" {
		return "The pipeline's own group"
	}
	return "Group " + name
}

// labels says which sets of labels no live executor has.
func (f *facts) labels(a *answer) {
	p := f.def.Graph.Pipeline()
	missing := map[string][]string{}
	var wanted [][]string
	for _, t := range slices.Concat(p.Tasks, p.Finally) {
		if t.Kind.Awaits() || slices.ContainsFunc(f.fleet, fleetServes(t.RunsOn)) {
			continue
		}
		key := strings.Join(t.RunsOn, ",")
		if missing[key] == nil {
			wanted = append(wanted, t.RunsOn)
		}
		missing[key] = append(missing[key], t.Name)
	}
	for _, labels := range wanted {
		names := missing[strings.Join(labels, ",")]
		if len(labels) == 0 {
			if len(f.fleet) == 0 {
				a.closed(gate.Labels, "waits for an executor", "No executor is alive.").frees("Start an executor.")
			} else {
				a.closed(gate.Labels, "waits for an executor", "All live executors are draining.").frees("Start another executor.")
			}
			continue
		}
		a.closed(gate.Labels, "waits for an executor with "+labelsText(labels), fmt.Sprintf("No live executor that takes work has the %s, which %s %s.", labelsText(labels), some(names), ask(len(names)))).
			frees("Start an executor with --labels " + strings.Join(labels, ",") + ", or change runs_on.")
	}
	if len(wanted) == 0 && len(f.fleet) > 0 {
		a.open(gate.Labels, "Live executors have the labels of all tasks.")
	}
}

func ask(n int) string {
	if n == 1 {
		return "asks for"
	}
	return "ask for"
}

// pauseNote says that a pause is not what holds a run back.
func (f *facts) pauseNote(a *answer) {
	if f.pipeline.PausedAt != nil {
		a.open(gate.Paused, "The pipeline is paused by "+value(f.pipeline.PausedBy)+": that holds its ticks back, not this run.").since(f.pipeline.PausedAt)
	}
}

// progress says what a run is at: which of its tasks go on, and what holds the
// others.
func (f *facts) progress(a *answer, parts []part, waiting int) (blocked bool, summary string) {
	running, going, held := 0, 0, 0
	var first string
	for _, p := range parts {
		inner, headline := p.answer()
		h := inner.holds()
		switch {
		case h == nil && p.row != nil && p.row.LiveState != nil:
			running += p.tasks
			x := a.note("state", alike(headline, p.tasks)).since(p.row.ClaimedAt)
			x.since(p.row.StartedAt)
		case h == nil:
			going += p.tasks
			a.note("state", alike(strings.TrimPrefix(headline, "Nothing blocks "), p.tasks))
		default:
			held += p.tasks
			x := *h
			x.part, x.of, x.Summary = true, p.name(), p.name()+": "+x.Summary
			if p.tasks > 1 {
				x.Summary += fmt.Sprintf(" So do %d more.", p.tasks-1)
			}
			a.add(x)
			first = cmp.Or(first, p.name()+" "+h.does)
		}
	}
	if waiting > 0 {
		a.note("needs", fmt.Sprintf("%s %s only for others of the run.", sentence(plural(waiting, "task")), waitWord(waiting)))
	}
	counts := counted(running, going, held+waiting)
	switch {
	case running+going > 0 && first != "":
		return false, fmt.Sprintf("%s goes on: %s; %s.", f.short(), counts, first)
	case running+going > 0:
		return false, fmt.Sprintf("%s goes on: %s.", f.short(), counts)
	case first != "":
		return true, fmt.Sprintf("Nothing of %s runs: %s.", f.short(), first)
	}
	f.looking(a)
	if h := a.holds(); h != nil {
		return true, f.short() + " " + h.does + "."
	}
	return false, "Nothing blocks " + f.short() + ": the scheduler is about to look at it."
}

// looking is for a run of which nothing is left but a look of the scheduler.
func (f *facts) looking(a *answer) {
	since := f.now
	if !f.open.Woken && f.open.AdmittedAt != nil {
		since = *f.open.AdmittedAt
	}
	f.unlooked(a, since, "look at it")
}

func counted(running, going, waiting int) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{running, "running"}, {going, "about to start"}, {waiting, "waiting"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(parts, ", ")
}

func waitWord(n int) string {
	if n == 1 {
		return "waits"
	}
	return "wait"
}

// alike is a sentence about one task that is true of more.
func alike(text string, tasks int) string {
	if tasks == 1 {
		return text
	}
	return text + fmt.Sprintf(" So it is with %d more.", tasks-1)
}
