// Package ending writes the ends of attempts. Executors, the holders of remote
// shards and the reaper all go through it, so that an attempt ends in one way
// only: flow says what becomes of its task, and one statement guarded by the
// lease token writes everything.
package ending

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
)

// Live is what the live row of an attempt says when it ends.
type Live struct {
	RunID                       int64
	Number                      int32
	Token                       uuid.UUID
	Executor                    uuid.UUID
	Failures, Losses, Handbacks int16
	LastLoser                   *uuid.UUID
	Losers                      int16
}

// A Report is how an attempt ended.
type Report struct {
	State    string // succeeded, failed, timed_out, canceled, lost
	Reason   string
	Detail   string
	ExitCode *int
	Signal   string
	// Started says whether a process may have run.
	Started bool
	// StartedAgo is how many milliseconds ago it started, -1 if it did not or
	// if the start is stored already.
	StartedAgo int64
	Drained    bool
	StopReason string // why it was asked to stop, "" if it was not
	CPU        int64  // milliseconds, -1 unknown
	MaxRSS     int64  // bytes, -1 unknown

	Outputs    string // JSON of the declared outputs; "" none
	RawOutputs string // JSON of all that was written; "" none
	Summary    string
}

// A Batch collects ends to be written by one statement. Its zero value is ready.
type Batch struct{ p db.EndAttemptsParams }

// Len says how many ends the batch holds.
func (b *Batch) Len() int { return len(b.p.RunIds) }

// Add takes up the end of an attempt of task. random, in [0, 1), spreads
// back-off. It returns what becomes of the task.
func (b *Batch) Add(task *pipeline.Task, l Live, r Report, random float64) flow.After {
	budget := flow.Budget{Failures: int(l.Failures), Losses: int(l.Losses), HandBacks: int(l.Handbacks), Losers: int(l.Losers)}
	if l.LastLoser != nil {
		budget.LastLoser = l.LastLoser.String()
	}
	after := flow.AfterAttempt(task, budget, flow.AttemptEnd{
		State: r.State, Reason: r.Reason, ExitCode: r.ExitCode, Started: r.Started, Drained: r.Drained,
		Executor: l.Executor.String(), StopReason: r.StopReason,
	}, random)

	p := &b.p
	p.RunIds = append(p.RunIds, l.RunID)
	p.Numbers = append(p.Numbers, l.Number)
	p.Tokens = append(p.Tokens, l.Token)
	p.States = append(p.States, after.Attempt)
	p.Reasons = append(p.Reasons, after.AttemptReason)
	p.Details = append(p.Details, r.Detail)
	code := int32(-1)
	if r.ExitCode != nil {
		code = int32(*r.ExitCode)
	}
	p.ExitCodes = append(p.ExitCodes, code)
	p.Signals = append(p.Signals, r.Signal)
	p.StartedAgos = append(p.StartedAgos, r.StartedAgo)
	p.CpuMss = append(p.CpuMss, r.CPU)
	p.MaxRsss = append(p.MaxRsss, r.MaxRSS)
	p.RawOutputs = append(p.RawOutputs, r.RawOutputs)
	p.Summaries = append(p.Summaries, r.Summary)
	p.TaskStates = append(p.TaskStates, string(after.State))
	p.TaskReasons = append(p.TaskReasons, after.Reason)
	detail := after.Detail
	if detail == "" && after.State != flow.Succeeded {
		detail = r.Detail
	}
	p.TaskDetails = append(p.TaskDetails, detail)
	outputs := ""
	if after.State == flow.Succeeded {
		outputs = r.Outputs
	}
	p.Outputs = append(p.Outputs, outputs)
	p.Delays = append(p.Delays, after.Delay.Milliseconds())
	p.Failures = append(p.Failures, int32(after.Budget.Failures))
	p.Losses = append(p.Losses, int32(after.Budget.Losses))
	p.Handbacks = append(p.Handbacks, int32(after.Budget.HandBacks))
	loser, err := uuid.Parse(after.Budget.LastLoser)
	if err != nil {
		loser = uuid.Nil
	}
	p.LastLosers = append(p.LastLosers, loser)
	p.Losers = append(p.Losers, int32(after.Budget.Losers))
	cause := ""
	if after.Final {
		cause = "final"
	}
	p.Causes = append(p.Causes, cause)
	return after
}

// Write stores the ends and returns the tokens of those that were still ours
// to end. What is missing belongs to somebody else, who decided otherwise: its
// process must die, and nothing more may be written for it.
func (b *Batch) Write(ctx context.Context, q *db.Queries) (map[uuid.UUID]bool, error) {
	if b.Len() == 0 {
		return nil, nil
	}
	rows, err := q.EndAttempts(ctx, b.p)
	if err != nil {
		return nil, fmt.Errorf("end attempts: %w", err)
	}
	ended := make(map[uuid.UUID]bool, len(rows))
	for _, row := range rows {
		ended[row.LeaseToken] = true
	}
	return ended, nil
}
