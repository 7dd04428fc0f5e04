package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time since the machine started. Go's own monotonic clock stands
// still during a suspend, so a lease counted on it would outlive the takeover.
func Now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return monotonic()
	}
	return time.Duration(t.Nano())
}
