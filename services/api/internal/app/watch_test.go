package app

import (
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func TestChangesAreToldInTheOrderInWhichTheyHappened(t *testing.T) {
	t.Parallel()
	at := func(seconds int) *time.Time {
		moment := time.Date(2026, 11, 22, 2, 0, seconds, 0, time.UTC)
		return &moment
	}
	now := []api.Task{
		{Name: "first", State: api.TaskStateRunning, StartedAt: at(9), Attempts: []api.Attempt{}}, // running again
		{Name: "second", State: api.TaskStateSucceeded, StartedAt: at(1), EndedAt: at(3), Attempts: []api.Attempt{}},
		{Name: "third", State: api.TaskStateWaiting, Reason: "backoff", StartedAt: at(1), Attempts: []api.Attempt{{Number: 1, EndedAt: at(2)}}},
		{Name: "fourth", State: api.TaskStateReady, ReadyAt: at(4), Attempts: []api.Attempt{}},
		{Name: "fifth", State: api.TaskStateWaiting, Attempts: []api.Attempt{}},
	}
	was := map[taskKey][]byte{}
	changed, err := changedTasks(now, was)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range changed {
		names = append(names, c.Name)
	}
	if got, want := strings.Join(names, " "), "fifth third second fourth first"; got != want {
		t.Errorf("changes = %q, want %q", got, want)
	}
	if again, err := changedTasks(now, was); err != nil || len(again) != 0 {
		t.Errorf("without a change %d are told (%v), want none", len(again), err)
	}
}
