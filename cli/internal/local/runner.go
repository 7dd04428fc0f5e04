package local

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// A runner is one run. Its loop alone changes it; executions only send their
// end.
type runner struct {
	o     Options
	g     *flow.Graph
	plans []*attempt.Plan
	home  *process.Home
	run   flow.Run

	rows   map[int]*flow.Task // own rows, by ordinal
	units  map[int]*unit      // what runs: tasks and items, by number
	queue  []int              // ready, in order
	timers []timer            // by time
	live   map[int]*execution
	ends   chan ended
	busy   *sync.WaitGroup
	done   *flow.Finish
	waits  map[int]*wait // what tasks wait for that no executor does
	news   chan message  // about them
	ctx    context.Context
	over   context.Context // ends when the loop has ended

	told sync.Mutex // held while Output or Events is called
}

// A unit is what has attempts: a task that is no fan-out, or an item.
type unit struct {
	state    flow.State
	reason   string
	detail   string
	item     any
	budget   flow.Budget
	attempts []Attempt
	outputs  map[string]any
	due      time.Time // when it was first released
	started  bool      // an attempt has started: the queue time-out is over
}

// A timer says what to look at when.
type timer struct {
	at     time.Time
	number int
	kind   timerKind
}

type timerKind uint8

const (
	timerBackoff timerKind = iota
	timerQueue
	timerRun
)

// loop drives the run to its end.
func (r *runner) loop(ctx context.Context) Result {
	started := r.o.Now()
	r.tell(Event{Kind: "run", State: string(flow.Running)})
	if limit := r.g.Pipeline().Timeout.Std(); limit > 0 {
		r.after(limit, 0, timerRun)
	}
	r.decide(r.g.Start, flow.Input{})
	canceled, again := ctx.Done(), r.o.CancelAgain
	for r.done == nil {
		r.launch()
		ring := r.alarm()
		var in flow.Input
		select {
		case e := <-r.ends:
			in.Ends, in.Look = r.ended(e), r.g.NeedsActive()
		case m := <-r.news:
			in.Ends = r.take(m)
		case <-ring.C:
			in = r.expired()
		case <-canceled:
			canceled = nil
			r.run.CancelRequested, in.Look = true, true
		case <-r.second(again):
			again = nil
			r.run.CancelRequested, r.run.CancelAgain, in.Look = true, true, true
		}
		ring.Stop()
		r.decide(r.g.Advance, in)
	}
	r.tell(Event{Kind: "run", State: string(r.done.State), Reason: r.done.Reason, Detail: r.done.Detail})
	return r.result(started)
}

// second is the channel of the second cancel, which counts after the first.
func (r *runner) second(again <-chan struct{}) <-chan struct{} {
	if !r.run.CancelRequested {
		return nil
	}
	return again
}

// launch starts what is queued, as far as there is room.
func (r *runner) launch() {
	for len(r.queue) > 0 && len(r.live) < r.o.MaxParallel {
		n := r.queue[0]
		r.queue = r.queue[1:]
		r.start(n)
	}
}

// after sets a timer.
func (r *runner) after(d time.Duration, number int, kind timerKind) {
	t := timer{r.o.Now().Add(d), number, kind}
	at, _ := slices.BinarySearchFunc(r.timers, t, func(a, b timer) int { return a.at.Compare(b.at) })
	r.timers = slices.Insert(r.timers, at, t)
}

// alarm rings when the first timer is due.
func (r *runner) alarm() *time.Timer {
	if len(r.timers) == 0 {
		return time.NewTimer(time.Hour)
	}
	return time.NewTimer(max(0, r.timers[0].at.Sub(r.o.Now())))
}

// expired takes the timers that are due.
func (r *runner) expired() flow.Input {
	var in flow.Input
	now := r.o.Now()
	for len(r.timers) > 0 && !r.timers[0].at.After(now) {
		t := r.timers[0]
		r.timers = r.timers[1:]
		switch t.kind {
		case timerBackoff:
			in.Ends = append(in.Ends, flow.End{Number: t.number, State: flow.Waiting})
		case timerRun:
			if r.run.Phase == flow.PhaseTasks {
				r.run.TimedOut, in.Look = true, true
			}
		case timerQueue:
			u := r.units[t.number]
			if u.started || u.state.Ended() || !r.leaveQueue(t.number) {
				continue
			}
			r.set(t.number, flow.Failed, "queue_timeout", "waited longer than its queue_timeout for a free place")
			in.Ends = append(in.Ends, flow.End{Number: t.number, State: flow.Failed})
			in.Look = true
		}
	}
	return in
}

func (r *runner) leaveQueue(number int) bool {
	at := slices.Index(r.queue, number)
	if at >= 0 {
		r.queue = slices.Delete(r.queue, at, at+1)
	}
	return at >= 0
}

// decide asks flow what happens and makes it true.
func (r *runner) decide(ask func(flow.Input) (flow.Decision, flow.Missing), in flow.Input) {
	for again := true; again && r.done == nil; {
		in.Run = r.run
		in.Run.Active = len(r.queue) + len(r.live)
		in.Tasks, in.Outputs = map[int]flow.Task{}, map[int]map[string]any{}
		r.facts(&in)
		if r.g.NeedsActive() {
			in.Held = r.held()
		}
		d, missing := ask(in)
		for !missing.None() {
			for _, o := range missing.Tasks {
				in.Tasks[o] = clone(*r.rows[o])
			}
			for _, o := range missing.Outputs {
				in.Outputs[o] = r.outputs(o)
			}
			for _, n := range missing.Awaited {
				in.Awaited[n] = r.awaited(n)
			}
			d, missing = ask(in)
		}
		bulk := r.apply(d)
		ask, in, again = r.g.Advance, flow.Input{Ends: bulk}, len(bulk) > 0
	}
}

func clone(t flow.Task) flow.Task {
	if t.Fan != nil {
		f := *t.Fan
		t.Fan = &f
	}
	return t
}

// held lists what the run's max_parallel holds back.
func (r *runner) held() []int {
	var held []int
	for o, t := range r.rows {
		if t.Reason == flow.ReasonMaxParallel && !t.State.Ended() {
			held = append(held, flow.Number(o))
		}
	}
	for n, u := range r.units {
		if _, index := flow.Split(n); index >= 0 && u.reason == flow.ReasonMaxParallel && u.state == flow.Waiting {
			held = append(held, n)
		}
	}
	slices.Sort(held)
	return held
}

// outputs are those of a task; of a fan-out each is a list.
func (r *runner) outputs(o int) map[string]any {
	if !r.g.Fan(o) {
		return r.units[flow.Number(o)].outputs
	}
	out := map[string]any{}
	fan := r.rows[o].Fan
	if fan == nil {
		return nil
	}
	for _, declared := range r.g.Task(o).Outputs {
		list := []any{}
		for i := range fan.Items {
			if u := r.units[flow.ItemNumber(o, i)]; u.state == flow.Succeeded {
				list = append(list, u.outputs[declared.Name])
			}
		}
		out[declared.Name] = list
	}
	return out
}

// apply makes a decision true, and gives the ends of what it canceled in bulk.
func (r *runner) apply(d flow.Decision) []flow.End {
	r.run, r.done = d.Run, d.Finish
	for _, c := range d.Changes {
		row := clone(c.Task)
		r.rows[c.Ordinal] = &row
		if c.From == "" && !r.g.Fan(c.Ordinal) {
			r.units[flow.Number(c.Ordinal)] = &unit{}
		}
		if u := r.units[flow.Number(c.Ordinal)]; u != nil {
			u.state, u.reason, u.detail = c.State, c.Reason, c.Detail
		}
		if c.State.Ended() && c.From != c.State {
			r.tell(Event{Kind: "task", Task: r.name(flow.Number(c.Ordinal)), State: string(c.State), Reason: c.Reason, Detail: c.Detail})
		}
	}
	for _, e := range d.Expand {
		for i, item := range e.Items {
			r.units[flow.ItemNumber(e.Ordinal, i)] = &unit{state: flow.Waiting, item: item}
		}
	}
	for _, n := range d.Hold {
		r.set(n, flow.Waiting, flow.ReasonMaxParallel, "")
	}
	for _, n := range d.Release {
		r.release(n)
	}
	bulk := r.await(d)
	for _, o := range d.CancelItems {
		bulk = append(bulk, r.cancel(flow.ItemNumber(o, 0), flow.Number(o+1), flow.ReasonFailFast)...)
	}
	if c := d.CancelPhase; c != nil {
		bulk = append(bulk, r.cancel(c.From, c.To, c.Reason)...)
	}
	return bulk
}

// release queues a task or an item.
func (r *runner) release(n int) {
	o, _ := flow.Split(n)
	r.set(n, flow.Ready, "", "")
	u := r.units[n]
	if limit := r.g.Task(o).QueueTimeout.Std(); limit > 0 && u.due.IsZero() {
		r.after(limit, n, timerQueue)
	}
	u.due = r.o.Now()
	r.queue = append(r.queue, n)
}

// set moves a task or an item to a state.
func (r *runner) set(n int, state flow.State, reason, detail string) {
	u := r.units[n]
	u.state, u.reason, u.detail = state, reason, detail
	if o, index := flow.Split(n); index < 0 {
		row := r.rows[o]
		row.State, row.Reason, row.Detail = state, reason, detail
	}
	if state.Ended() {
		r.tell(Event{Kind: "task", Task: r.name(n), State: string(state), Reason: reason, Detail: detail})
	}
}

// cancel ends everything in a range of numbers that has not started, and asks
// the rest to stop.
func (r *runner) cancel(from, to int, reason string) []flow.End {
	var ends []flow.End
	counts := map[int]int{}
	for _, n := range slices.Sorted(maps.Keys(r.units)) {
		if n < from || n >= to {
			continue
		}
		if r.live[n] != nil {
			r.live[n].stop(reason)
			continue
		}
		if r.units[n].state != flow.Waiting && !r.leaveQueue(n) || r.stopWait(n, reason) {
			continue
		}
		r.set(n, flow.Canceled, reason, "")
		if o, index := flow.Split(n); index >= 0 {
			counts[o]++
		} else {
			ends = append(ends, flow.End{Number: n, State: flow.Canceled})
		}
	}
	for _, o := range slices.Sorted(maps.Keys(r.rows)) {
		n := flow.Number(o)
		switch {
		case counts[o] > 0:
			ends = append(ends, flow.End{Number: flow.ItemNumber(o, 0), State: flow.Canceled, Count: counts[o]})
		case n >= from && n < to && r.g.Fan(o) && r.rows[o].State == flow.Waiting:
			r.rows[o].State, r.rows[o].Reason = flow.Canceled, reason
			r.tell(Event{Kind: "task", Task: r.name(n), State: string(flow.Canceled), Reason: reason})
			ends = append(ends, flow.End{Number: n, State: flow.Canceled})
		}
	}
	return ends
}

// ended takes the end of an execution, and of all others that have ended too.
func (r *runner) ended(first ended) []flow.End {
	var ends []flow.End
	for e, more := first, true; more; {
		if end, now := r.end(e); now {
			ends = append(ends, end)
		}
		select {
		case e = <-r.ends:
		default:
			more = false
		}
	}
	return ends
}

// end takes the end of one execution. It is to be told at once unless the task
// waits for its back-off.
func (r *runner) end(e ended) (flow.End, bool) {
	x := r.live[e.number]
	delete(r.live, e.number)
	x.cancel(nil)
	o, _ := flow.Split(e.number)
	u := r.units[e.number]
	e.end.StopReason = x.why
	after := flow.AfterAttempt(r.g.Task(o), u.budget, e.end, rand.Float64())
	u.budget = after.Budget
	e.attempt.State, e.attempt.Reason = after.Attempt, after.AttemptReason
	u.attempts = append(u.attempts, e.attempt)
	if after.State == flow.Succeeded {
		u.outputs = e.outputs
	}
	r.tell(Event{
		Kind: "attempt", Task: r.name(e.number), Attempt: e.attempt.Number, State: after.Attempt,
		Reason: after.AttemptReason, Detail: e.attempt.Detail, Delay: after.Delay,
	})
	r.set(e.number, after.State, after.Reason, after.Detail)
	if after.State == flow.Waiting && after.Delay > 0 {
		r.after(after.Delay, e.number, timerBackoff)
		return flow.End{}, false
	}
	return flow.End{Number: e.number, State: after.State}, true
}
