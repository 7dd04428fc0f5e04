// Package gate says what may hold work back: a predicate for each gate, over
// values. Whoever decides asks them, and so does whoever explains, so that the
// answer to "why is it not running?" cannot differ from the decision.
package gate

import (
	"math"
	"slices"
	"time"
)

// A Name is one gate, as answers spell it.
type Name string

// The gates, in the order in which work passes them.
const (
	Removed Name = "removed" // the pipeline has left its source
	Paused  Name = "paused"
	Frozen  Name = "frozen"
	// Schedule holds ticks that can never come: there is no schedule, or it is broken.
	Schedule    Name = "schedule"
	Late        Name = "late"         // the run of a late tick waits for its turn to start
	Group       Name = "group"        // the concurrency group of the run
	Stopping    Name = "stopping"     // the run was asked to stop, or ran out of time
	Finally     Name = "finally"      // tasks of the run that have not ended
	Needs       Name = "needs"        // tasks that have not ended
	Condition   Name = "condition"    // if
	Items       Name = "items"        // of a fan-out: how many run at once
	MaxParallel Name = "max_parallel" // of the run
	Backoff     Name = "backoff"
	Wait        Name = "wait"
	Approval    Name = "approval"
	Child       Name = "child" // the run of another pipeline
	Pool        Name = "pool"
	Labels      Name = "labels"    // no live executor has them
	Slots       Name = "slots"     // no executor that has them is free
	Scheduler   Name = "scheduler" // nobody has looked yet
)

// Ticks is the gate that keeps a pipeline's ticks from becoming runs; "" if
// none does.
func Ticks(paused, frozen bool) Name {
	switch {
	case paused:
		return Paused
	case frozen:
		return Frozen
	}
	return ""
}

// Starts is the gate that keeps a pipeline's queued runs from starting, whatever
// their group says; "" if none does. A pause holds back ticks alone.
func Starts(frozen bool) Name {
	if frozen {
		return Frozen
	}
	return ""
}

// A Pace is how many runs of late ticks start in a minute at most; 0: any number.
type Pace int

// grace is how long a turn lasts, once it has come.
const grace = 5 * time.Second

// Apart is how far apart turns are. No minute sees more starts than it may, though
// a turn is used up to a grace late, and a start carries the time at which its
// transaction began.
func (p Pace) Apart() time.Duration {
	if p <= 0 {
		return 0
	}
	apart := (time.Minute + grace + time.Second) / time.Duration(p)
	return apart.Truncate(time.Microsecond) + time.Microsecond
}

// A Turn says how the run of a late tick stands with the time it has drawn.
type Turn int

const (
	TurnNone  Turn = iota // it has drawn none, or did not use it in time: it draws one
	TurnAhead             // it waits
	TurnCome              // it may start
)

// TurnOf says how a run stands whose turn is at; nil is none.
func TurnOf(at *time.Time, now time.Time) Turn {
	switch {
	case at == nil || now.Sub(*at) > grace:
		return TurnNone
	case at.After(now):
		return TurnAhead
	}
	return TurnCome
}

// InTurn says whether a look of the scheduler lets the run of a late tick start,
// whose turn is at, when the next turn that nobody has is free.
func InTurn(at *time.Time, free, now time.Time) bool {
	switch TurnOf(at, now) {
	case TurnNone:
		return Over(free, now)
	case TurnAhead:
		return false
	}
	return true
}

// Room says whether a run of a group may start: nobody waits before it, and
// fewer than its own limit run.
func Room(running, before, limit int) bool { return before == 0 && running < limit }

// Spare is how many more may be active under a limit; 0 is no limit.
func Spare(limit, active int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return max(0, limit-active)
}

// Window is how many more items of a fan-out may be released now: of those that
// run, so many were released and so many have not ended; limit is how many may be
// under way at once, 0 is no limit.
func Window(limit, run, released, unfinished int) int {
	underWay := released - (run - unfinished)
	return min(run-released, Spare(limit, underWay))
}

// Over says whether a time that was to be waited for has come.
func Over(until, now time.Time) bool { return !now.Before(until) }

// Fits says whether a pool with this many slots, of which so many are taken or
// promised to those before, gives a task what it asks for. One that asks for
// more than there is takes the pool alone.
func Fits(slots, taken, wants int) bool { return wants <= slots-taken || taken == 0 }

// Serves says whether an executor with these labels may run a task that asks
// for those.
func Serves(labels, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(l string) bool { return !slices.Contains(labels, l) })
}

// An Executor is what decides whether it claims.
type Executor struct {
	Labels      []string
	Slots, Used int
	Stopped     bool // or its lease is over
	Draining    bool
}

// Free is how many more tasks it claims now.
func (e Executor) Free() int {
	if e.Stopped || e.Draining {
		return 0
	}
	return max(0, e.Slots-e.Used)
}

// Reached says whether a ready task is claimed as soon as everybody claims,
// whoever comes first: some executors together have more free slots than tasks
// stand before it that any of them might take instead. before counts the tasks
// of lower rank by the labels they ask for.
func Reached(executors []Executor, wanted []string, before []Before) bool {
	var able []Executor
	for _, e := range executors {
		if Serves(e.Labels, wanted) && e.Free() > 0 {
			able = append(able, e)
		}
	}
	reached := func(some []Executor) bool {
		free, ahead := 0, 0
		for _, e := range some {
			free += e.Free()
		}
		for _, b := range before {
			if slices.ContainsFunc(some, func(e Executor) bool { return Serves(e.Labels, b.Labels) }) {
				ahead += b.Tasks
			}
		}
		return ahead < free
	}
	if reached(able) {
		return true
	}
	// Those with the same labels look at the same tasks.
	for _, e := range able {
		alike := slices.DeleteFunc(slices.Clone(able), func(o Executor) bool { return !slices.Equal(o.Labels, e.Labels) })
		if reached(alike) {
			return true
		}
	}
	return false
}

// Before is how many ready tasks that ask for these labels stand before another.
type Before struct {
	Labels []string
	Tasks  int
}
