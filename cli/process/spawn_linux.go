package process

import (
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxrssUnit is what the system counts memory in.
const maxrssUnit = 1024

// null is what children read as stdin. It is opened once and never closed.
var null = sync.OnceValues(func() (*os.File, error) { return os.Open(os.DevNull) })

// sealed runs sealInherited once: all that Go opens is closed on exec anyway.
var sealed = sync.OnceFunc(sealInherited)

// sealInherited keeps the descriptors that this process inherited from its
// children.
func sealInherited() {
	if unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// start spawns the command and its loop. One goroutine serves a process, and
// no thread waits for it: pipes and the process's own descriptor are polled
// together, which also keeps the order in which the streams were written to.
func (p *Process) start() error {
	c := &p.cmd
	if err := check(c); err != nil {
		return err
	}
	path, err := lookup(c.Argv[0], c.Dir, c.Env)
	if err != nil {
		return explain(c, path, err)
	}
	stdin, err := null()
	if err != nil {
		return &StartError{Reason: ReasonStart, Detail: "open " + os.DevNull, Err: err}
	}
	sealed()

	l := &loop{p: p, pidfd: -1, out: [3]int{-1, -1, -1}}
	var child [3]int
	child[0] = int(stdin.Fd())
	for s := Stdout; s <= Stderr; s++ {
		var pair [2]int
		if err := unix.Pipe2(pair[:], unix.O_CLOEXEC); err != nil {
			l.close()
			closeAll(child[1:s])
			return &StartError{Reason: ReasonStart, Detail: "make a pipe: " + err.Error(), Err: err}
		}
		l.out[s], child[s] = pair[0], pair[1]
		_ = unix.SetNonblock(pair[0], true)
	}
	attr := &syscall.SysProcAttr{Setsid: true}
	if !p.noPidfd {
		attr.PidFD = &l.pidfd
	}
	if c.Cgroup != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, c.Cgroup.fd
	}
	proc := &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   lastOnly(c.Env),
		Files: []uintptr{uintptr(child[0]), uintptr(child[1]), uintptr(child[2])},
		Sys:   attr,
	}
	p.started = time.Now()
	pid, err := syscall.ForkExec(path, c.Argv, proc)
	if err != nil && attr.UseCgroupFD {
		// One error serves for the program and the cgroup. Some hosts let us
		// make cgroups but not start a child in one: then go on without.
		attr.UseCgroupFD = false
		if pid, err = syscall.ForkExec(path, c.Argv, proc); err == nil {
			c.Cgroup.remove()
			p.tree.cgroup = nil
		}
	}
	closeAll(child[1:])
	if err != nil {
		l.close()
		return explain(c, path, err)
	}
	p.pid = pid
	if c.Nice != 0 {
		_ = unix.Setpriority(unix.PRIO_PGRP, pid, min(19, c.Nice))
	}
	if c.OOMScoreAdj != 0 {
		_ = writeControl("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", strconv.Itoa(c.OOMScoreAdj))
	}
	if err := l.open(); err != nil {
		// The child runs, but nobody could hear it: it must not.
		p.tree.strike(pid)
		p.tree.sweep(pid)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		l.close()
		return &StartError{Reason: ReasonStart, Detail: "watch the process: " + err.Error(), Err: err}
	}
	p.wake = l.wake
	go l.run()
	return nil
}

// closeAll closes descriptors.
func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
