package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc's processor times on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// A meter tells what a turn cost the machine.
type meter struct {
	pg     *postgres
	at     time.Time
	self   time.Duration
	server time.Duration
	busy   time.Duration
	wal    int64
}

// A cost is what one turn used.
type cost struct {
	Seconds  float64 `json:"seconds"`
	Client   float64 `json:"client_cpu_s"`   // this process and its children
	Postgres float64 `json:"postgres_cpu_s"` // the server and all its processes
	WAL      int64   `json:"wal_bytes"`
	// Foreign is the share of the machine that somebody else used meanwhile.
	Foreign float64 `json:"foreign"`
}

// startMeter begins to measure.
func startMeter(ctx context.Context, pg *postgres) (*meter, error) {
	m := &meter{pg: pg}
	var err error
	if m.wal, err = pg.wal(ctx); err != nil {
		return nil, err
	}
	m.self, m.server, m.busy, err = look(pg.pid)
	m.at = time.Now()
	return m, err
}

// stop says what was used since the start.
func (m *meter) stop(ctx context.Context) (cost, error) {
	wall := time.Since(m.at)
	self, server, busy, err := look(m.pg.pid)
	if err != nil {
		return cost{}, err
	}
	wal, err := m.pg.wal(ctx)
	if err != nil {
		return cost{}, err
	}
	c := cost{
		Seconds: wall.Seconds(), Client: (self - m.self).Seconds(), Postgres: (server - m.server).Seconds(), WAL: wal - m.wal,
	}
	c.Foreign = max(0, ((busy-m.busy).Seconds()-c.Client-c.Postgres)/(c.Seconds*float64(runtime.NumCPU())))
	return c, nil
}

// look reads the processor time used so far by this process and its children, by
// Postgres, and by the whole machine.
func look(postmaster int) (self, server, machine time.Duration, err error) {
	all, err := processes()
	if err != nil {
		return 0, 0, 0, err
	}
	machine, err = machineTime()
	return all.tree(os.Getpid()), all.tree(postmaster), machine, err
}

// An entry is one line of the table of processes. used includes children that
// have ended and were waited for, so a tree's sum never shrinks.
type entry struct {
	parent int
	used   time.Duration
}

type table map[int]entry

// processes reads the table of processes.
func processes() (table, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("measure processor time: %w", err)
	}
	t := table{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			t[pid] = p
		}
	}
	return t, nil
}

func readProcess(pid int) (entry, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return entry{}, false // it has ended meanwhile
	}
	// The name stands in brackets and may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return entry{}, false
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return n
	}
	return entry{parent: int(number(1)), used: time.Duration(number(11)+number(12)+number(13)+number(14)) * tick}, true
}

// tree is what a process and all that descend from it have used.
func (t table) tree(root int) time.Duration {
	sum := t[root].used
	for pid, p := range t {
		for up, steps := p.parent, 0; up > 1 && steps < 64; up, steps = t[up].parent, steps+1 {
			if up == root && pid != root {
				sum += p.used
				break
			}
		}
	}
	return sum
}

// machineTime is the time that all processors were busy, whoever kept them so.
func machineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("measure processor time: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var busy int64
	for i, f := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal; guests are in user.
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/stat: %w", err)
		}
		busy += n
	}
	return time.Duration(busy) * tick, nil
}

// memory is the resident size of a process, in bytes.
func memory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d says nothing about its memory", pid)
}
