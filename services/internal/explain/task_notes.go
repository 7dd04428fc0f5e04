package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
)

// running says where a live attempt is.
func (t *taskFacts) running(a *answer) string {
	r := t.row
	on := r.ExecutorName
	if on == "" {
		on = "an executor that is gone"
	}
	switch {
	case r.StopRequestedAt != nil:
		a.note("state", fmt.Sprintf("Attempt %d on %s was asked to stop: %s.", *r.LiveAttempt, on, spaced(value(r.StopReason)))).since(r.StopRequestedAt)
		return t.name() + " is stopping on " + on + "."
	case r.StartedAt == nil:
		a.note("state", fmt.Sprintf("Attempt %d was claimed by %s and is about to start.", *r.LiveAttempt, on)).since(r.ClaimedAt)
		return t.name() + " was claimed by " + on + "."
	}
	a.note("state", fmt.Sprintf("Attempt %d runs on %s.", *r.LiveAttempt, on)).since(r.StartedAt)
	if limit := t.task.Timeout.Std(); limit > 0 {
		end := r.StartedAt.Add(limit)
		a.note("timeout", "The attempt is stopped if it has not ended by then.").until(&end)
	}
	return t.name() + " runs on " + on + "."
}

// ended says how a task came to its end.
func (t *taskFacts) ended(a *answer) string {
	r := t.row
	text := r.State
	switch r.State {
	case string(flow.Skipped):
		text = t.skipped(a)
	case string(flow.Succeeded):
		if r.Attempt > 1 {
			text = fmt.Sprintf("succeeded on attempt %d", r.Attempt)
		}
	default:
		if r.Reason != "" && r.Reason != r.State {
			text += ": " + spaced(r.Reason)
		}
		if t.last != nil && r.State == string(flow.Failed) {
			text = fmt.Sprintf("failed on attempt %d: %s", t.last.Attempt, ending(t.last.State, t.last.Reason, t.last.ExitCode, t.last.Signal))
		}
	}
	f := a.note("state", "It has ended.").since(r.EndedAt)
	if r.Detail != "" {
		f.Summary = "It has ended: " + strings.TrimSuffix(r.Detail, ".") + "."
	}
	if r.State == string(flow.Skipped) {
		return t.name() + " was skipped: " + text + "."
	}
	return t.name() + " has ended: " + text + "."
}

// skipped says why a task was passed over.
func (t *taskFacts) skipped(a *answer) string {
	switch t.row.Reason {
	case flow.ReasonUpstream:
		var culprits, names []string
		for _, o := range slices.Sorted(keys(t.others)) {
			r := t.others[o]
			direct := slices.Contains(t.needs(t.ordinal, false), o)
			if r.State == string(flow.Failed) || r.State == string(flow.Canceled) || direct && r.State == string(flow.Skipped) && r.Reason != flow.ReasonUpstream {
				if names = append(names, r.Name); r.Reason == "" || r.Reason == r.State {
					culprits = append(culprits, r.Name+" "+r.State)
				} else {
					culprits = append(culprits, r.Name+" "+r.State+" ("+spaced(r.Reason)+")")
				}
			}
		}
		if len(culprits) == 0 {
			return "what it needs did not succeed"
		}
		a.note("needs", "It comes after "+some(culprits)+".").frees("", "synctl explain "+t.runName()+"/"+names[0])
		return some(culprits)
	case flow.ReasonCondition:
		return "its condition was false: " + string(t.task.If)
	case flow.ReasonExitCode:
		return "its exit code says skip"
	}
	return spaced(t.row.Reason)
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// fan says how far a fan-out is.
func (t *taskFacts) fan(a *answer) string {
	r := t.row
	items, left := int(*r.Items), int(value(r.Unfinished))
	text := fmt.Sprintf("%d of %s have ended", items-left, plural(items, "item"))
	if n := value(r.Failed); n > 0 {
		text += fmt.Sprintf(", %d failed", n)
	}
	if limit := t.task.MaxParallel; limit > 0 {
		text += fmt.Sprintf("; at most %d run at once", limit)
	}
	a.note("state", "It is a fan-out: "+text+".").since(r.ReadyAt).frees("Ends with its last item.", "synctl explain "+t.runName()+"/"+t.name()+"[0]")
	return t.name() + " runs its items: " + text + "."
}

// budgets says what is left of each.
func (t *taskFacts) budgets(a *answer) {
	failures, losses := int16(0), int16(0)
	if r := t.row; r != nil {
		failures, losses = r.Failures, r.Losses
		if r.LiveFailures != nil {
			failures, losses = *r.LiveFailures, value(r.LiveLosses)
		}
	}
	if n := t.task.Retry.Limit; t.task.Kind.Awaits() {
		if n > 0 {
			a.note("budget", fmt.Sprintf("Budgets: %d of %s spent.", min(int(failures), n), retryWord(n)))
		}
		return // it has no executor to lose
	}
	retries := "no retries"
	if n := t.task.Retry.Limit; n > 0 {
		retries = fmt.Sprintf("%d of %s spent", min(int(failures), n), retryWord(n))
	}
	a.note("budget", fmt.Sprintf("Budgets: %s; %d of %d lost executors spent.", retries, losses, t.task.Lost))
}

func retryWord(n int) string {
	if n == 1 {
		return "1 retry"
	}
	return fmt.Sprintf("%d retries", n)
}

// deadline says what ends it whatever happens.
func (t *taskFacts) deadline(a *answer) {
	if r := t.row; r != nil {
		if r.DeadlineAt != nil && r.Reason != flow.ReasonApproval { // whose finding says so
			a.note("timeout", "It times out if it has not ended by then.").until(r.DeadlineAt)
		}
		for _, at := range []*time.Time{r.ReadyDeadline, r.WaiterDeadline} {
			if at != nil {
				a.note("queue_timeout", "It fails with queue_timeout if it has not started by then.").until(at)
			}
		}
	}
	t.runDeadline(a)
}

func (f *facts) runDeadline(a *answer) {
	if f.open != nil && f.open.DeadlineAt != nil {
		a.note("timeout", "The run times out if it has not ended by then.").until(f.open.DeadlineAt)
	}
}
