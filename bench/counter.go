package main

import (
	"context"
	"strings"
	"sync"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// A counter runs tasks that do nothing, and knows how often each was run,
// whatever the database says.
type counter struct {
	mu   sync.Mutex
	runs map[string]int // by the key that an attempt shares with its retries
}

// Run is a task that does nothing but being counted.
func (c *counter) Run(_ context.Context, r attempt.Rendered) process.Result {
	key := ""
	for _, e := range r.Env {
		if k, ok := strings.CutPrefix(e, "SYN_IDEMPOTENCY_KEY="); ok {
			key = k
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[key]++
	zero := 0
	return process.Result{State: process.Succeeded, ExitCode: &zero}
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs = map[string]int{}
}

// exactly checks that n tasks were run, once each.
func (c *counter) exactly(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, times := range c.runs {
		if times != 1 {
			return wrong("the task with the key %q ran %d times", key, times)
		}
	}
	if len(c.runs) != n {
		return wrong("%d tasks ran, want %d", len(c.runs), n)
	}
	return nil
}
