// Package cputime measures, for tests, what a piece of work costs, whatever else
// the machine does meanwhile.
package cputime
