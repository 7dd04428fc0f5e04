// Package boottime is a clock that only moves forward and does not stand still
// while the machine is suspended: what leases are counted on.
package boottime
