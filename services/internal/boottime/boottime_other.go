//go:build !linux

package boottime

import "time"

// Now is a monotonic time.
func Now() time.Duration { return monotonic() }
