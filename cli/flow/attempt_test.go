package flow

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"pgregory.net/rapid"
)

func exit(code int) AttemptEnd {
	e := AttemptEnd{State: AttemptFailed, Reason: "exit", ExitCode: &code, Started: true}
	if code == 0 {
		e.State, e.Reason = AttemptSucceeded, ""
	}
	return e
}

func failed(reason string) AttemptEnd {
	return AttemptEnd{State: AttemptFailed, Reason: reason, Started: true}
}

func lostUnder(executor string) AttemptEnd {
	return AttemptEnd{State: AttemptLost, Reason: ReasonLost, Started: true, Executor: executor}
}

func stopped(e AttemptEnd, reason string) AttemptEnd {
	e.StopReason = reason
	return e
}

func TestAfterAttempt(t *testing.T) {
	plain := task("a")
	once := task("a", lost(0))
	try := task("a", retry(1))
	only75 := task("a", retry(5))
	only75.Retry.When = nil
	fatal := task("a", retry(5))
	fatal.ExitCodes.Fatal = []int{64}
	noTimeouts := task("a", retry(5))
	noTimeouts.Retry.When = []string{"exit"}
	drained := AttemptEnd{State: AttemptLost, Reason: ReasonDrained, Drained: true, Started: true, Executor: "e1"}
	unstarted := AttemptEnd{State: AttemptLost, Reason: ReasonLost, Executor: "e1"}

	for name, c := range map[string]struct {
		task   *pipeline.Task
		budget Budget
		end    AttemptEnd
		want   After
	}{
		"success":              {plain, Budget{HandBacks: 3}, exit(0), After{State: Succeeded, Attempt: "succeeded"}},
		"success after a stop": {plain, Budget{}, stopped(exit(0), ReasonCanceled), After{State: Succeeded, Attempt: "succeeded"}},
		"failure without a budget": {
			plain,
			Budget{},
			exit(1),
			After{State: Failed, Reason: "exit", Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "exit"},
		},
		"failure with a budget": {
			try,
			Budget{},
			exit(1),
			After{State: Waiting, Reason: ReasonBackoff, Delay: 10 * time.Second, Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "exit"},
		},
		"failure, budget spent": {
			try,
			Budget{Failures: 1},
			exit(1),
			After{State: Failed, Reason: "exit", Budget: Budget{Failures: 2}, Attempt: "failed", AttemptReason: "exit"},
		},
		"skip": {
			try,
			Budget{},
			exit(99),
			After{State: Skipped, Reason: ReasonExitCode, Attempt: "succeeded", AttemptReason: ReasonExitCode},
		},
		"75 alone": {
			only75,
			Budget{},
			exit(75),
			After{State: Waiting, Reason: ReasonBackoff, Delay: 10 * time.Second, Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "exit"},
		},
		"not 75": {
			only75,
			Budget{},
			exit(1),
			After{State: Failed, Reason: "exit", Final: true, Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "exit"},
		},
		"fatal code": {
			fatal,
			Budget{},
			exit(64),
			After{State: Failed, Reason: "exit", Final: true, Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "exit"},
		},
		"signal": {
			try,
			Budget{},
			failed("signal"),
			After{State: Waiting, Reason: ReasonBackoff, Delay: 10 * time.Second, Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "signal"},
		},
		"missing outputs may be retried": {
			try,
			Budget{},
			failed("outputs_missing"),
			After{State: Waiting, Reason: ReasonBackoff, Delay: 10 * time.Second, Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "outputs_missing"},
		},
		"too large outputs may not": {
			try,
			Budget{},
			failed("outputs_too_large"),
			After{State: Failed, Reason: "outputs_too_large", Final: true, Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "outputs_too_large"},
		},
		"not found is final": {
			try,
			Budget{},
			failed("not_found"),
			After{State: Failed, Reason: "not_found", Final: true, Budget: Budget{Failures: 1}, Attempt: "failed", AttemptReason: "not_found"},
		},
		"time-out": {
			try,
			Budget{},
			AttemptEnd{State: AttemptTimedOut, Reason: "timed_out", Started: true},
			After{State: Waiting, Reason: ReasonBackoff, Delay: 10 * time.Second, Budget: Budget{Failures: 1}, Attempt: "timed_out", AttemptReason: "timed_out"},
		},
		"time-out that is not retried": {
			noTimeouts,
			Budget{},
			AttemptEnd{State: AttemptTimedOut, Reason: "timed_out", Started: true},
			After{State: Failed, Reason: "timed_out", Final: true, Budget: Budget{Failures: 1}, Attempt: "timed_out", AttemptReason: "timed_out"},
		},
		"canceled": {
			try,
			Budget{},
			stopped(exit(143), ReasonCanceled),
			After{State: Canceled, Reason: ReasonCanceled, Attempt: "failed", AttemptReason: "exit"},
		},
		"fail_fast": {
			try,
			Budget{},
			stopped(AttemptEnd{State: AttemptCanceled, Started: true}, ReasonFailFast),
			After{State: Canceled, Reason: ReasonFailFast, Attempt: "canceled"},
		},
		"lost after a stop": {
			plain,
			Budget{},
			stopped(lostUnder("e1"), ReasonRunTimedOut),
			After{State: Canceled, Reason: ReasonRunTimedOut, Attempt: "lost", AttemptReason: "lost"},
		},
		"lost": {
			plain,
			Budget{},
			lostUnder("e1"),
			After{State: Waiting, Budget: Budget{Losses: 1, LastLoser: "e1", Losers: 1}, Attempt: "lost", AttemptReason: "lost"},
		},
		"lost budget spent under one executor": {
			plain,
			Budget{Losses: 3, LastLoser: "e1", Losers: 1},
			lostUnder("e1"),
			After{State: Failed, Reason: ReasonLost, Budget: Budget{Losses: 4, LastLoser: "e1", Losers: 1}, Attempt: "lost", AttemptReason: "lost"},
		},
		"poison": {
			plain,
			Budget{Losses: 3, LastLoser: "e1", Losers: 1},
			lostUnder("e2"),
			After{State: Failed, Reason: ReasonPoison, Budget: Budget{Losses: 4, LastLoser: "e2", Losers: 2}, Attempt: "lost", AttemptReason: "lost"},
		},
		"handed back": {
			plain,
			Budget{Losses: 3},
			drained,
			After{State: Waiting, Budget: Budget{Losses: 3, HandBacks: 1}, Attempt: "lost", AttemptReason: "drained"},
		},
		"handed back ten times": {
			plain,
			Budget{HandBacks: 10},
			drained,
			After{State: Waiting, Budget: Budget{Losses: 1}, Attempt: "lost", AttemptReason: "drained"},
		},
		"at most once, started": {
			once,
			Budget{},
			lostUnder("e1"),
			After{State: Failed, Reason: ReasonLost, Budget: Budget{Losses: 1, LastLoser: "e1", Losers: 1}, Attempt: "lost", AttemptReason: "lost"},
		},
		"at most once, started, drained": {
			once,
			Budget{},
			drained,
			After{State: Failed, Reason: ReasonLost, Budget: Budget{Losses: 1}, Attempt: "lost", AttemptReason: "drained"},
		},
		"at most once, not started": {
			once,
			Budget{},
			unstarted,
			After{State: Waiting, Budget: Budget{HandBacks: 1, LastLoser: "e1", Losers: 1}, Attempt: "lost", AttemptReason: "lost"},
		},
		"kills whoever takes it before its start": {
			once,
			Budget{HandBacks: 10, LastLoser: "e2", Losers: 2},
			unstarted,
			After{
				State: Failed, Reason: ReasonPoison, Detail: "handed back or lost before its start more than 10 times in a row",
				Budget: Budget{HandBacks: 10, LastLoser: "e1", Losers: 2}, Attempt: "lost", AttemptReason: "lost",
			},
		},
		"not started, but the start is not committed first": {
			plain,
			Budget{},
			unstarted,
			After{State: Waiting, Budget: Budget{Losses: 1, LastLoser: "e1", Losers: 1}, Attempt: "lost", AttemptReason: "lost"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := AfterAttempt(c.task, c.budget, c.end, 0.5)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	r := pipeline.Retry{Delay: pipeline.Duration(10 * time.Second), Backoff: 2, MaxDelay: pipeline.Duration(time.Minute), Jitter: 0.2}
	for n, want := range []time.Duration{10, 20, 40, 60, 60} {
		if got := Backoff(r, n+1, 0.5); got != want*time.Second {
			t.Errorf("after failure %d: %v, want %v", n+1, got, want*time.Second)
		}
	}
	if low, high := Backoff(r, 1, 0), Backoff(r, 1, 0.999999); low != 8*time.Second || high <= 11*time.Second || high > 12*time.Second {
		t.Errorf("jitter from %v to %v", low, high)
	}
	if got := Backoff(r, 4, 0.99); got != time.Minute {
		t.Errorf("the cap does not hold: %v", got)
	}
	if got := Backoff(pipeline.Retry{}, 20, 0.3); got != 0 {
		t.Errorf("no delay: %v", got)
	}
	if got := Backoff(pipeline.Retry{Delay: pipeline.Duration(time.Hour), Backoff: 10, MaxDelay: pipeline.Duration(7 * 24 * time.Hour)}, 20, 0.5); got != 7*24*time.Hour {
		t.Errorf("large delays: %v", got)
	}
}

// Whatever ends come, a task ends, within its budgets.
func TestBudgetsAreFinite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		task := task("a", retry(rapid.IntRange(0, 5).Draw(t, "retry")), lost(rapid.IntRange(0, 5).Draw(t, "lost")))
		var b Budget
		failures, losses, free := 0, 0, 0
		for n := 0; ; n++ {
			var e AttemptEnd
			switch rapid.IntRange(0, 3).Draw(t, "end") {
			case 0:
				e = exit(1)
				failures++
			case 1:
				e = lostUnder(rapid.SampledFrom([]string{"e1", "e2"}).Draw(t, "executor"))
				losses++
			case 2:
				e = AttemptEnd{State: AttemptLost, Executor: "e1"}
			default:
				e = AttemptEnd{State: AttemptLost, Drained: true, Started: rapid.Bool().Draw(t, "started")}
			}
			a := AfterAttempt(task, b, e, 0)
			b = a.Budget
			if a.State == Failed {
				break
			}
			if a.State != Waiting {
				t.Fatalf("state %s", a.State)
			}
			free++
			if failures > task.Retry.Limit || losses > task.Lost {
				t.Fatalf("goes on after %d failures and %d losses", failures, losses)
			}
			if limit := (task.Retry.Limit + task.Lost + 2) * 12; free > limit {
				t.Fatalf("goes on after %d attempts", free)
			}
		}
	})
}
