//go:build !linux

// Package cputime measures, for tests, what a piece of work costs, whatever else
// the machine does meanwhile.
package cputime

import "time"

// Of runs f. What it takes is not known on this system.
func Of(f func()) time.Duration {
	f()
	return 0
}
