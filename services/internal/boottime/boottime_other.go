//go:build !linux

// Package boottime is a clock that only moves forward and does not stand still
// while the machine is suspended: what leases are counted on.
package boottime

import "time"

// Now is a monotonic time.
func Now() time.Duration { return monotonic() }
