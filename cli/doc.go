// Package cli holds everything of Synthesizer that runs on a user's own
// machine: the pipeline format, its schedule, expression and decision rules,
// the process runner, the HTTP contract with its client, and the command.
package cli
