package cputime_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/internal/cputime"
)

// Work is counted, and waiting is not: that is what the machine does with others.
func TestWorkIsCountedAndWaitingIsNot(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it is not measured here")
	}
	n := 0
	little := cputime.Of(func() { n += strings.Count(strings.Repeat("a", 1<<10), "a") })
	much := cputime.Of(func() {
		for range 1 << 14 {
			n += strings.Count(strings.Repeat("a", 1<<14), "aa")
		}
	})
	if much < 10*little || much < time.Millisecond {
		t.Errorf("a little took %v, %d times as much %v", little, 1<<18, much)
	}
	ready := make(chan bool)
	waited := cputime.Of(func() {
		time.AfterFunc(50*time.Millisecond, func() { close(ready) })
		<-ready
	})
	if waited > 40*time.Millisecond {
		t.Errorf("waiting for 50 ms took %v", waited)
	}
}
