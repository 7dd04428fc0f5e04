package process

import (
	"syscall"
	"time"
)

// tree is everything a command started.
type tree struct {
	cgroup *Cgroup
	mark   string // entry of the environment, for trees without a cgroup
}

// killWait bounds how long killed processes may take to disappear: one that
// sits in the kernel cannot be killed at all.
const killWait = 10 * time.Second

// terminate asks the whole tree to end. Each process is told once: some take
// a second TERM for impatience. A stopped one is woken to hear it.
func (t *tree) terminate(pid int) {
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	_ = syscall.Kill(-pid, syscall.SIGCONT)
	rest := func(other int) {
		if g, err := syscall.Getpgid(other); err == nil && g == pid {
			return
		}
		_ = syscall.Kill(other, syscall.SIGTERM)
		_ = syscall.Kill(other, syscall.SIGCONT)
	}
	if t.cgroup != nil {
		for _, other := range t.cgroup.procs() {
			rest(other)
		}
		return
	}
	for _, f := range scan(t.member(pid)) {
		rest(f.pid)
	}
}

// member tells which processes belong to the tree beside its main process,
// dead or alive. None of them is older than that, which spares most of the
// work of looking at their environment.
func (t *tree) member(pid int) func(proc) bool {
	since := startOf(pid)
	return func(f proc) bool {
		return f.pid != pid && f.start >= since && (f.session == pid || f.marked(t.mark))
	}
}

// strike sends KILL to the whole tree while its main process lives, and does
// not wait.
func (t *tree) strike(pid int) {
	if t.cgroup != nil {
		t.cgroup.kill()
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

// sweep kills what is left when the main process is dead but not yet reaped,
// so that its number still means its group. It returns how many are still
// there after killWait. With a cgroup there is nothing to look for: finish
// proves it empty.
func (t *tree) sweep(pid int) int {
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	if t.cgroup != nil {
		return 0
	}
	_, left := killMatching(t.member(pid))
	return left
}

// finish removes the cgroup, killing what is left in it. It returns how many
// are still there.
func (t *tree) finish() int {
	if t.cgroup == nil {
		return 0
	}
	return t.cgroup.remove()
}

// killMatching kills processes until no more match. It returns how many there
// were at most, and how many still match after killWait.
func killMatching(match func(proc) bool) (killed, left int) {
	deadline := time.Now().Add(killWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		found := scan(match)
		killed = max(killed, len(found))
		if len(found) == 0 || time.Now().After(deadline) {
			return killed, len(found)
		}
		for _, f := range found {
			killProc(f, match)
		}
		time.Sleep(pause)
	}
}
