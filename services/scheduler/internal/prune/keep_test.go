package prune_test

import (
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/prune"
)

func TestKeepIsChecked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		keep prune.Keep
		want string
	}{
		{prune.DefaultKeep, ""},
		{prune.Keep{Runs: 2, Logs: 2, Things: 7}, ""},
		{prune.Keep{Runs: 1, Logs: 1, Things: 30}, "--keep-runs"},
		{prune.Keep{Runs: 90, Logs: 0, Things: 30}, "--keep-logs"},
		{prune.Keep{Runs: 90, Logs: 30, Things: 3}, "--keep-keys"},
		{prune.Keep{Runs: 10, Logs: 30, Things: 30}, "not kept longer"},
	} {
		err := tt.keep.Check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.keep, err, tt.want)
		}
	}
}
