// Package flow decides a run: which tasks become ready, which are skipped,
// how a fan-out goes on, and when the run ends and how.
//
// It is pure. What it decides from is a definition and the rows of a run; what
// it gives back is a Decision, which the caller makes true in one transaction.
// The scheduler does that on tables, a local run in memory, and both therefore
// come to the same end.
//
// Decisions are fed by Ends: small facts about rows that have already changed,
// each told exactly once, in any order and in any batches. The order changes
// neither the states that tasks end in nor the result of the run.
package flow
