//go:build unix && !linux

package process

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxrssUnit is what the system counts memory in: Darwin bytes, BSD kilobytes.
var maxrssUnit = map[bool]int64{true: 1, false: 1024}[runtime.GOOS == "darwin"]

// start spawns the command with a goroutine for each stream and one for its
// end. The tree is the process group: these systems have nothing better.
func (p *Process) start() error {
	c := &p.cmd
	if err := check(c); err != nil {
		return err
	}
	path, err := lookup(c.Argv[0], c.Dir, c.Env)
	if err != nil {
		return explain(c, path, err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return &StartError{Reason: ReasonStart, Detail: "open " + os.DevNull, Err: err}
	}
	defer null.Close()
	var read, write [3]*os.File
	for s := Stdout; s <= Stderr; s++ {
		if read[s], write[s], err = os.Pipe(); err != nil {
			return &StartError{Reason: ReasonStart, Detail: "make a pipe: " + err.Error(), Err: err}
		}
		defer write[s].Close()
	}
	p.started = time.Now()
	pid, err := syscall.ForkExec(path, c.Argv, &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   lastOnly(c.Env),
		Files: []uintptr{null.Fd(), write[Stdout].Fd(), write[Stderr].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		read[Stdout].Close()
		read[Stderr].Close()
		return explain(c, path, err)
	}
	p.pid = pid
	if c.Nice != 0 {
		_ = unix.Setpriority(unix.PRIO_PGRP, pid, min(19, c.Nice))
	}
	woken := make(chan struct{}, 1)
	p.wake = func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	go p.serve(read, woken)
	return nil
}

// serve serves the process from its start to its end.
func (p *Process) serve(read [3]*os.File, woken <-chan struct{}) {
	defer close(p.done)
	var mu sync.Mutex // one block at a time goes to the sink
	var readers sync.WaitGroup
	for s := Stdout; s <= Stderr; s++ {
		readers.Go(func() {
			defer read[s].Close()
			buf := blocks.Get().(*[blockSize]byte)
			defer blocks.Put(buf)
			for {
				n, err := read[s].Read(buf[:])
				if n > 0 {
					mu.Lock()
					p.write(s, buf[:n])
					mu.Unlock()
				}
				if err != nil {
					return
				}
			}
		})
	}
	drained := make(chan struct{})
	go func() { readers.Wait(); close(drained) }()
	dead := make(chan struct{})
	end := ended{}
	var waitErr error
	go func() {
		defer close(dead)
		for {
			if _, waitErr = syscall.Wait4(p.pid, &end.status, 0, &end.usage); waitErr != syscall.EINTR {
				return
			}
		}
	}()

	killed := p.untilDead(dead, woken)
	end.at, end.killed, end.cause = time.Now(), killed, p.end()
	held := false
	select {
	case <-drained:
	case <-time.After(lateOutput):
		held = true
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	now := time.Now().Add(lateOutput)
	for s := Stdout; s <= Stderr; s++ {
		_ = read[s].SetReadDeadline(now)
	}
	<-drained
	r := p.resultOf(end)
	r.Late = held
	if waitErr != nil {
		r.State, r.Reason, r.Detail = Lost, ReasonLost, "its exit status was taken by somebody else: "+waitErr.Error()
	}
	p.result = r
}

// untilDead waits for the end of the main process, keeping timeout and grace,
// and reports whether it was killed.
func (p *Process) untilDead(dead, woken <-chan struct{}) (killed bool) {
	var timeout <-chan time.Time
	if p.cmd.Timeout > 0 {
		t := time.NewTimer(p.cmd.Timeout)
		defer t.Stop()
		timeout = t.C
	}
	for {
		var kill <-chan time.Time
		if at := p.stopped(); !at.IsZero() && !killed {
			kill = time.After(time.Until(at))
		}
		select {
		case <-dead:
			return killed
		case <-woken:
		case <-timeout:
			p.Stop(TimedOut)
		case <-kill:
			killed = true
			p.tree.strike(p.pid)
		}
	}
}
