//go:build !linux

package process

import "errors"

// Cgroup is a Linux control group; other systems have none.
type Cgroup struct{}

// Limits bound a tree where the host delegates the controllers; 0 is none.
type Limits struct {
	Memory    int64 // bytes
	Processes int64
}

var errNoCgroup = errors.New("no cgroups on this system")

func findCgroups() (string, error) { return "", errNoCgroup }

func newCgroup(string, Limits) (*Cgroup, error) { return nil, errNoCgroup }

func (c *Cgroup) procs() []int  { return nil }
func (c *Cgroup) kill()         {}
func (c *Cgroup) remove() int   { return 0 }
func (c *Cgroup) oomKills() int { return 0 }

func enableControllers(string) {}

func killCgroup(string) {}

func removeCgroup(string) int { return 0 }

func cgroupProcs(string) []int { return nil }
