package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
	"github.com/synthesizer-dev/synthesizer/db"
)

// name is the task or item within its run.
func (t *taskFacts) name() string { return taskName(t.task.Name, t.number()) }

func (t *taskFacts) number() int32 {
	if t.index >= 0 {
		return int32(flow.ItemNumber(t.ordinal, t.index))
	}
	return int32(flow.Number(t.ordinal))
}

func (t *taskFacts) explain() api.Explanation {
	out := api.Explanation{
		Kind: api.ExplanationKindTask, Subject: t.runName() + "/" + t.name(), At: t.now.UTC(), State: t.state(),
	}
	a, headline := t.answer()
	if f := a.holds(); f != nil {
		out.Blocked, headline = true, t.name()+" "+f.does+"."
	}
	out.Summary, out.Findings = headline, a.findings()
	return out
}

// state is that of the task as people see it.
func (t *taskFacts) state() string {
	switch {
	case t.row == nil && t.open == nil:
		return t.run.Run.State
	case t.row == nil:
		return string(flow.Waiting)
	case t.row.LiveState != nil:
		return string(flow.Running)
	}
	return t.row.State
}

// answer is everything about a task, and the sentence that says it if nothing
// holds it.
func (t *taskFacts) answer() (*answer, string) {
	a := &answer{}
	switch {
	case t.row != nil && t.row.EndedAt != nil:
		return a, t.ended(a)
	case t.open == nil:
		return a, t.name() + " never ran: its run has ended, " + t.run.Run.State + "."
	case t.row != nil && t.row.LiveState != nil:
		headline := t.running(a)
		t.budgets(a)
		t.deadline(a)
		return a, headline
	case t.row != nil && t.row.Items != nil:
		return a, t.fan(a)
	}
	t.gates(a)
	t.budgets(a)
	t.deadline(a)
	switch {
	case a.holds() != nil:
		return a, ""
	case t.row != nil && t.row.ReadyRank != nil:
		return a, "Nothing blocks " + t.name() + ": an executor is about to take it."
	default:
		return a, "Nothing blocks " + t.name() + ": the scheduler is about to release it."
	}
}

// gates asks each gate in the order in which a task passes them.
func (t *taskFacts) gates(a *answer) {
	t.admission(a)
	t.stopping(a)
	t.phase(a)
	t.upstream(a)
	t.window(a)
	if t.task.Kind.Awaits() {
		t.timer(a)
		t.release(a)
		return
	}
	t.parallel(a)
	t.timer(a)
	t.slots(a)
	t.release(a)
	t.executors(a)
}

// stopping says that nothing of the run starts any more.
func (t *taskFacts) stopping(a *answer) {
	o := t.open
	tasks, _ := t.def.Graph.Size()
	switch {
	case t.ordinal >= tasks && o.State == string(flow.Running):
	case o.CancelRequestedAt != nil:
		a.closed(gate.Stopping, "does not start any more: its run is being canceled", "The run was asked to stop by "+value(t.run.Run.CanceledBy)+because(t.run.Run.CancelReason)+"; nothing of it starts any more.").
			since(o.CancelRequestedAt)
	case o.TimedOutAt != nil:
		a.closed(gate.Stopping, "does not start any more: its run ran out of time", "The run took longer than its timeout; nothing of it starts any more.").since(o.TimedOutAt)
	}
}

// phase holds back what runs finally.
func (t *taskFacts) phase(a *answer) {
	if !t.later(int(t.number())) || t.open.State == string(flow.Queued) {
		return
	}
	a.closed(gate.Finally, "waits for the tasks before finally", fmt.Sprintf("It runs finally: %s of the run %s not ended.", plural(int(t.open.Unfinished), "task"), have(int(t.open.Unfinished)))).
		since(t.open.AdmittedAt)
}

func have(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// upstream says which needs have not ended.
func (t *taskFacts) upstream(a *answer) {
	needs := t.needs(t.ordinal, false)
	if len(needs) == 0 || t.index >= 0 {
		return
	}
	var names, words []string
	var holders []api.Holder
	for _, o := range needs {
		r, born := t.others[o]
		name := t.def.Graph.Task(o).Name
		switch {
		case !born:
			names, words = append(names, name), append(words, name+" (not begun)")
		case r.EndedAt == nil:
			names, words = append(names, name), append(words, name+" ("+needWords(r)+")")
			if r.LiveState != nil {
				holders = append(holders, api.Holder{Task: name, State: "running", Executor: r.ExecutorName, Host: r.ExecutorHost, Since: value(r.ClaimedAt).UTC()})
			}
		}
	}
	if len(names) == 0 {
		text := "What it needs has ended: " + some(t.task.Needs) + "."
		if t.task.If != "" {
			text += " Its condition is " + string(t.task.If) + "."
		}
		a.open(gate.Needs, text)
		return
	}
	f := a.closed(gate.Needs, "waits for "+some(names), "It needs "+some(words)+".").since(t.open.AdmittedAt).
		heldBy(holders[:min(len(holders), maxHolders)], len(holders))
	if len(needs) > len(names) {
		f.Summary = fmt.Sprintf("It needs %s; %d of %d have ended.", some(words), len(needs)-len(names), len(needs))
	}
	f.frees("Looked at when they have ended.")
	if len(names) == 1 {
		f.frees("Looked at when it has ended.")
	}
	if len(holders) == 0 {
		f.Commands = []string{"synctl explain " + t.runName() + "/" + names[0]}
	}
}

// needWords is how far a need is.
func needWords(r db.ExplainTasksRow) string {
	switch {
	case r.Items != nil:
		return fmt.Sprintf("%d of %d items have ended", *r.Items-value(r.Unfinished), *r.Items)
	case r.LiveState != nil:
		return "running"
	case r.Reason != "":
		return r.State + ": " + spaced(r.Reason)
	}
	return r.State
}

// window holds back items of a fan-out beyond its own max_parallel.
func (t *taskFacts) window(a *answer) {
	if t.index < 0 || t.own == nil || t.row == nil || t.row.Attempt > 0 || t.queued() || t.task.MaxParallel == 0 {
		return
	}
	released := int(value(t.own.Released))
	flying := released - int(value(t.own.Items)-value(t.own.Unfinished))
	place := t.index - released
	if place < 0 || place < gate.Spare(t.task.MaxParallel, flying) {
		return
	}
	f := a.closed(gate.Items, "waits for its turn among the items of "+t.task.Name,
		fmt.Sprintf("At most %s of %s run at once: %d %s under way.", plural(t.task.MaxParallel, "item"), t.task.Name, flying, are(flying))).since(t.own.ReadyAt)
	f.Position = place + 1
	f.frees("Starts when items before it have ended.")
}

// queued says that it stands in a pool's queue or waits for an executor.
func (t *taskFacts) queued() bool {
	return t.row != nil && (t.row.ReadyRank != nil || t.row.WaiterRank != nil)
}

// parallel is the run's max_parallel.
func (t *taskFacts) parallel(a *answer) {
	limit := t.def.Graph.MaxParallel()
	if limit == 0 || t.row == nil || t.open.State == string(flow.Queued) || t.queued() {
		return
	}
	active := 0
	var holders []api.Holder
	for _, r := range t.active {
		active = int(r.Active)
		holders = append(holders, api.Holder{Task: taskName(r.Name, r.Number), State: r.State, Executor: r.ExecutorName, Host: r.ExecutorHost, Since: r.Since.UTC()})
	}
	spare, ahead := gate.Spare(limit, active), t.ahead()
	if spare > ahead {
		a.open(gate.MaxParallel, fmt.Sprintf("max_parallel of the run: %d of %d %s active.", active, limit, are(active)))
		return
	}
	text := fmt.Sprintf("max_parallel of the run is used up: %d of %d %s active.", active, limit, are(active))
	if spare > 0 {
		text = fmt.Sprintf("max_parallel of the run: %d of %d %s active, and %s before it %s due.", active, limit, are(active), plural(ahead, "task"), are(ahead))
	}
	a.closed(gate.MaxParallel, "waits for max_parallel of its run", text).
		since(t.row.DueAt).heldBy(holders, active).frees("Starts when one of them has ended, in the order of the file.")
}

// ahead counts what gets places under the run's max_parallel before the task,
// up to as many as there are at all.
func (t *taskFacts) ahead() (n int) {
	for _, r := range t.held {
		o, _ := flow.Split(int(r.Number))
		switch {
		case r.Items == nil:
			n++
		case o == t.ordinal:
			n += max(0, t.index-int(*r.Released))
		default:
			n += gate.Window(t.def.Graph.Task(o).MaxParallel, int(*r.Items), int(*r.Released), int(*r.Unfinished))
		}
	}
	return min(n, t.def.Graph.MaxParallel())
}

// timer is what ends by itself: a back-off, a wait; and what somebody ends.
func (t *taskFacts) timer(a *answer) {
	r := t.row
	if r == nil || t.queued() || r.State != string(flow.Waiting) {
		return
	}
	switch r.Reason {
	case flow.ReasonBackoff:
		if r.WakeAt == nil || gate.Over(*r.WakeAt, t.now) {
			a.open(gate.Backoff, "Its back-off is over.")
			return
		}
		text, began := "The attempt before failed", (*time.Time)(nil)
		if t.last != nil {
			text = fmt.Sprintf("Attempt %d of %d failed: %s", t.last.Attempt, max(int(t.last.Attempt), t.task.Retry.Limit+1), ending(t.last.State, t.last.Reason, t.last.ExitCode, t.last.Signal))
			began = &t.last.EndedAt
		}
		a.closed(gate.Backoff, "waits for its back-off to end", fmt.Sprintf("%s; attempt %d is due when the back-off is over.", text, r.Attempt+1)).since(began).until(r.WakeAt)
	case flow.ReasonWait, "event":
		f := a.closed(gate.Wait, "waits for what its wait says", or(r.Detail, "It is a wait, and what it waits for has not come.")).since(r.DueAt).until(r.WakeAt)
		if t.task.Wait != nil && t.task.Wait.HTTP != nil {
			f.frees("Ends when the answer is as until says: " + string(t.task.Wait.HTTP.Until) + ".")
			break
		}
		f.frees("Ends by itself.")
	case flow.ReasonApproval:
		t.asks(a)
	case flow.ReasonChild:
		t.calls(a)
	}
}

// asks is the question that a task puts to people.
func (t *taskFacts) asks(a *answer) {
	q := t.question
	switch {
	case q == nil: // not to be seen: the question comes with the wait
		a.closed(gate.Approval, "waits for an approval", "Somebody has to approve it.").since(t.row.DueAt)
		return
	case q.Decision != "":
		a.open(gate.Approval, "It was "+q.Decision+" by "+q.DecidedBy+".")
		return
	}
	f := a.closed(gate.Approval, "waits for an approval", "It asks: “"+firstLine(q.Prompt)+"”").since(&q.AskedAt).until(q.DeadlineAt)
	frees := "Goes on when somebody with role operator in " + t.run.Run.Namespace + " approves or rejects it."
	if q.DeadlineAt != nil {
		frees += " Without an answer by then it is " + map[bool]string{true: "approved", false: "rejected"}[t.task.Approval.OnTimeout == "approve"] + "."
	}
	f.frees(frees, "synctl approve "+t.runName()+" "+t.name(), "synctl reject "+t.runName()+" "+t.name())
}

// calls is the run of another pipeline.
func (t *taskFacts) calls(a *answer) {
	closed := func(headline, summary string) *finding {
		return a.closed(gate.Child, headline, summary).since(t.row.DueAt)
	}
	c := t.call
	if c == nil {
		closed("waits for the run that it started", "The run of another pipeline that it started has not ended.").frees("Ends with that run.")
		return
	}
	pipeline := c.Namespace + "/" + c.Pipeline
	it := []api.Holder{t.holder(0, c.Namespace, c.Pipeline, c.Number, "", c.State, "", "", 0, c.Since)}
	switch child := runName(c.Namespace, c.Pipeline, c.Number); {
	case !t.sees(c.Namespace):
		closed("waits for a run of another namespace", "It has started a run of another namespace.").heldBy(it, 1).frees("Ends with that run.")
	case c.Number == 0:
		closed("waits for a run of "+pipeline, "It has asked for a run of "+pipeline+", which the scheduler is about to make.").frees("Ends with that run.")
	default:
		closed("waits for "+child, "It has started "+child+", which has not ended.").heldBy(it, 1).frees("Ends with that run, and as it does.", "synctl explain "+child)
	}
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// slots is the pool.
func (t *taskFacts) slots(a *answer) {
	if t.row != nil && t.row.ReadyRank != nil {
		if t.task.Pool != nil {
			a.open(gate.Pool, fmt.Sprintf("It holds %s of pool %s.", plural(t.task.Pool.Slots, "slot"), t.task.Pool.Name))
		}
		return
	}
	p := t.pool
	if p == nil {
		return
	}
	wants := t.task.Pool.Slots
	if t.row != nil && t.row.WaiterSlots != nil {
		wants = int(*t.row.WaiterSlots)
	}
	size, taken := int(p.Slots), int(p.Taken)
	if t.poolStay == "" {
		a.open(gate.Pool, fmt.Sprintf("Pool %s has room: %d of %s taken, it needs %d.", p.Name, taken, plural(size, "slot"), wants))
		return
	}
	var holders []api.Holder
	all := 0
	for _, h := range t.poolHolders {
		all = int(h.Holders)
		holders = append(holders, t.holder(h.RunID, h.Namespace, h.Pipeline, h.RunNumber, taskName(h.Name, h.Number), h.State, h.ExecutorName, h.ExecutorHost, int(h.Slots), h.Since))
	}
	text := fmt.Sprintf("Pool %s is full: %d of %s taken, it needs %d.", p.Name, taken, plural(size, "slot"), wants)
	free := fmt.Sprintf("Pool %s has %s free", p.Name, plural(size-taken, "slot"))
	frees, commands := "Starts when enough slots are free, in the order of the queue.", cancels(holders, t.runName())
	switch ours := (flow.Pool{Slots: size, Reserve: int(p.ReserveScheduled)}).ForBackfills(); {
	case t.run.Run.BackfillID != nil && wants > ours:
		text = fmt.Sprintf("Pool %s never gives it enough: of its %s backfills may hold %d, it needs %d.", p.Name, plural(size, "slot"), ours, wants)
		frees, commands = "Starts when the pool has more slots or keeps fewer for scheduled runs: register it anew, or cancel the run.", []string{"synctl cancel " + t.runName()}
		holders, all = nil, 0
	case taken >= size:
	case t.poolStay == flow.PoolReserve:
		text = free + fmt.Sprintf(", and keeps %s for runs that are of no backfill.", plural(int(p.ReserveScheduled), "slot"))
	case t.poolStay == flow.PoolShare:
		text = free + ", but its backfill holds all that its share of the pool allows."
		frees, commands = "Starts when another task of the backfill gives up slots.", []string{fmt.Sprintf("synctl backfill show %d", *t.run.Run.BackfillID)}
	case t.poolStay == flow.PoolBehind && p.Before > 0:
		text = free + fmt.Sprintf(", it needs %d, and %s %s before it.", wants, plural(int(p.Before), "task"), are(int(p.Before)))
	default:
		text = free + fmt.Sprintf(", it needs %d.", wants)
	}
	f := a.closed(gate.Pool, "waits for pool "+p.Name, text).heldBy(holders, all).frees(frees, commands...)
	if t.row != nil && t.row.WaiterRank != nil {
		f.Position = int(p.Before) + 1
		f.since(t.row.WaiterSince)
	}
}

// holder names one who holds something, unless that may not be seen.
func (f *facts) holder(run int64, namespace, pipeline string, number int64, task, state, executor, host string, slots int, since time.Time) api.Holder {
	h := api.Holder{State: state, Executor: executor, Host: host, Slots: slots, Since: since.UTC()}
	if !f.sees(namespace) {
		h.Hidden = true
		return h
	}
	h.Run, h.Task = runName(namespace, pipeline, number), task
	return h
}

// release is the scheduler's: all gates before are open and it has not looked.
func (t *taskFacts) release(a *answer) {
	if a.holds() != nil || t.row != nil && t.row.ReadyRank != nil {
		return
	}
	// The last thing that had to happen before it could go.
	since := t.run.Run.CreatedAt
	later := func(at *time.Time) {
		if at != nil && at.After(since) {
			since = *at
		}
	}
	later(t.pipeline.LastEndedAt)
	later(t.open.AdmittedAt)
	for _, r := range t.others {
		later(r.EndedAt)
	}
	if r := t.row; r != nil {
		later(r.WakeAt)
		if t.question != nil {
			later(t.question.DecidedAt)
		}
		later(r.WaiterSince)
		later(r.DueAt)
		if t.own != nil {
			later(t.own.ReadyAt)
		}
		if r.WaiterRank != nil || t.index >= 0 || t.def.Graph.MaxParallel() > 0 {
			// Others may have made room a moment ago, and nobody notes when.
			later(&t.now)
		}
	}
	t.unlooked(a, since, "release it")
}

// unlooked says that the scheduler has not looked since something could go on.
func (f *facts) unlooked(a *answer, since time.Time, what string) {
	if f.now.Sub(since) > patience {
		a.closed(gate.Scheduler, "waits for a scheduler", "Nothing holds it, and no scheduler has looked at it.").since(&since).
			frees("Look whether a scheduler runs, and what it logs.")
		return
	}
	a.open(gate.Scheduler, "The scheduler is about to "+what+".")
}

// executors says who could take it.
func (t *taskFacts) executors(a *answer) {
	wanted := t.task.RunsOn
	var able, draining, others []string
	var fleet []gate.Executor
	size, free := 0, 0
	for _, e := range t.fleet {
		g := gate.Executor{Labels: e.Labels, Slots: int(e.Slots), Used: int(e.Used), Draining: e.Draining}
		fleet = append(fleet, g)
		switch {
		case !gate.Serves(e.Labels, wanted):
			others = append(others, e.Name+" ["+strings.Join(e.Labels, ", ")+"]")
		case e.Draining:
			draining = append(draining, e.Name)
		default:
			able = append(able, e.Name)
			size += g.Slots
			free += g.Free()
		}
	}
	with := ""
	if len(wanted) > 0 {
		with = " with " + labelsText(wanted)
	}
	if len(able) == 0 {
		t.nobody(a, with, draining, others)
		return
	}
	ready := t.row != nil && t.row.ReadyRank != nil
	switch {
	case ready && gate.Reached(fleet, wanted, t.beforeIt()):
		a.open(gate.Slots, fmt.Sprintf("%s of %s%s %s free.", plural(free, "slot"), plural(len(able), "live executor"), with, are(free)))
	case ready || free == 0:
		t.busyExecutors(a, able, with, size, free)
	default:
		a.open(gate.Labels, fmt.Sprintf("%s%s: %s of %d %s free.", sentence(plural(len(able), "live executor")), with, plural(free, "slot"), size, are(free)))
	}
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// nobody says that no executor could take it at all.
func (t *taskFacts) nobody(a *answer, with string, draining, others []string) {
	waits, text, frees := "waits for an executor"+with, "No executor is alive.", "Start an executor."
	switch {
	case len(draining) > 0:
		text = fmt.Sprintf("The only live %s%s takes nothing new: it is draining (%s).", "executor", with, draining[0])
		if len(draining) > 1 {
			text = fmt.Sprintf("The %d live executors%s take nothing new: they are draining (%s).", len(draining), with, some(draining))
		}
		frees = "Start another executor" + with + "."
	case len(others) > 0:
		text = fmt.Sprintf("No live executor has the %s. Alive: %s.", labelsText(t.task.RunsOn), some(others))
		frees = "Start an executor with --labels " + strings.Join(t.task.RunsOn, ",") + ", or change runs_on of the task."
	case with != "":
		frees = "Start an executor with --labels " + strings.Join(t.task.RunsOn, ",") + "."
	}
	f := a.closed(gate.Labels, waits, text).frees(frees)
	if t.row != nil && t.row.ReadyRank != nil {
		f.since(t.row.QueuedAt)
	}
}

// beforeIt counts the ready tasks that executors take before this one.
func (t *taskFacts) beforeIt() []gate.Before {
	var list []gate.Before
	for _, b := range t.before {
		list = append(list, gate.Before{Labels: b.Labels, Tasks: int(b.Tasks)})
	}
	return list
}

// busyExecutors says that those who could take it are at something else.
func (t *taskFacts) busyExecutors(a *answer, able []string, with string, size, free int) {
	who := "the live executor" + with
	if len(able) > 1 {
		who = fmt.Sprintf("the %d live executors%s", len(able), with)
	}
	text := fmt.Sprintf("All %s of %s %s busy.", plural(size, "slot"), who, are(size))
	switch {
	case size == 0:
		text = fmt.Sprintf("%s %s no slots.", sentence(who), have(len(able)))
	case size == 1 && free == 0:
		text = fmt.Sprintf("The only slot of %s is busy.", who)
	}
	before := 0
	for _, b := range t.before {
		if slices.ContainsFunc(t.fleet, func(e db.ExplainExecutorsRow) bool {
			return !e.Draining && gate.Serves(e.Labels, t.task.RunsOn) && gate.Serves(e.Labels, b.Labels)
		}) {
			before += int(b.Tasks)
		}
	}
	if free > 0 {
		text = fmt.Sprintf("%s of %s %s free, and %s %s before it.", sentence(plural(free, "slot")), who, are(free), plural(before, "task"), are(before))
	}
	var holders []api.Holder
	for _, h := range t.busy {
		holders = append(holders, t.holder(h.RunID, h.Namespace, h.Pipeline, h.RunNumber, taskName(h.Name, h.Number), "running", h.ExecutorName, h.ExecutorHost, 0, h.Since))
	}
	f := a.closed(gate.Slots, "waits for a free executor", text).heldBy(holders, max(len(holders), size-free)).frees("Starts when a slot is free, or start another executor" + with + ".")
	if t.row != nil && t.row.ReadyRank != nil {
		f.since(t.row.QueuedAt).Position = before + 1
		if p := t.task.Priority; p != 0 {
			f.Summary += fmt.Sprintf(" Its priority is %d.", p)
		}
	}
}
