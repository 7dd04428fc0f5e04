package boottime

import "time"

var started = time.Now()

// monotonic is the fallback where the system has no such clock.
func monotonic() time.Duration { return time.Since(started) }
