package process

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loop is the goroutine that serves one process.
type loop struct {
	p     *Process
	out   [3]int // read ends by stream; -1 is closed
	pidfd int

	poll    *os.File // an epoll instance over out and pidfd
	epoll   int      // its descriptor; File.Fd would make it block
	raw     syscall.RawConn
	events  [4]unix.EpollEvent
	n       int                // events of the last wait
	collect func(uintptr) bool // collectEvents, bound once

	mu       sync.Mutex // guards the deadline, which wake moves
	deadline time.Time
	woken    bool
}

// pidToken is the epoll data of the process itself; streams have their number.
const pidToken = 0

// open makes the epoll instance and hands it to the runtime's poller.
func (l *loop) open() error {
	if l.pidfd < 0 {
		if err := l.waitInBackground(); err != nil {
			return err
		}
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	add := func(fd, token int) {
		if err == nil {
			err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(token)})
		}
	}
	add(l.out[Stdout], int(Stdout))
	add(l.out[Stderr], int(Stderr))
	add(l.pidfd, pidToken)
	if err == nil {
		err = unix.SetNonblock(ep, true)
	}
	l.poll, l.epoll = os.NewFile(uintptr(ep), "epoll"), ep
	if err != nil {
		return err
	}
	l.raw, err = l.poll.SyscallConn()
	l.collect = l.collectEvents
	if err == nil {
		err = l.poll.SetReadDeadline(time.Time{}) // fails if it cannot be polled
	}
	return err
}

// waitInBackground stands in for the process's descriptor on kernels without
// them: a thread waits, and a pipe's end tells the loop.
func (l *loop) waitInBackground() error {
	var pair [2]int
	if err := unix.Pipe2(pair[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	l.pidfd = pair[0]
	go func() {
		for unix.Waitid(unix.P_PID, l.p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		_ = unix.Close(pair[1])
	}()
	return nil
}

// close releases every descriptor.
func (l *loop) close() {
	for s := Stdout; s <= Stderr; s++ {
		l.closeStream(s)
	}
	if l.pidfd >= 0 {
		_ = unix.Close(l.pidfd)
		l.pidfd = -1
	}
	if l.poll != nil {
		_ = l.poll.Close()
	}
}

// closeStream closes a read end. It leaves the poll first: a child that is
// just being started elsewhere may hold a copy of the descriptor for a moment.
func (l *loop) closeStream(s Stream) {
	if l.out[s] >= 0 {
		if l.poll != nil {
			_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, l.out[s], nil)
		}
		_ = unix.Close(l.out[s])
		l.out[s] = -1
	}
}

// drained reports whether all output has been read to its end.
func (l *loop) drained() bool { return l.out[Stdout] < 0 && l.out[Stderr] < 0 }

// wake makes a wait return.
func (l *loop) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.woken = true
	l.deadline = time.Unix(1, 0)
	_ = l.poll.SetReadDeadline(l.deadline)
}

// wait waits for events, a wake or the deadline (zero: none).
func (l *loop) wait(deadline time.Time) {
	l.n = 0
	l.mu.Lock()
	if l.woken {
		l.woken = false
		l.mu.Unlock()
		return
	}
	if deadline != l.deadline {
		l.deadline = deadline
		_ = l.poll.SetReadDeadline(deadline)
	}
	l.mu.Unlock()
	if err := l.raw.Read(l.collect); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		time.Sleep(time.Millisecond) // cannot happen; if it does, it must not spin
	}
}

// collectEvents takes what is there; false parks the goroutine until more is.
func (l *loop) collectEvents(fd uintptr) bool {
	n, err := unix.EpollWait(int(fd), l.events[:], 0)
	if err != nil {
		return err != unix.EINTR
	}
	l.n = n
	return n > 0
}

// serve handles the events of a wait and reports whether the main process has
// ended.
func (l *loop) serve() bool {
	over := false
	for _, e := range l.events[:l.n] {
		if e.Fd == pidToken {
			over = true
			_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, l.pidfd, nil)
			continue
		}
		l.read(Stream(e.Fd))
	}
	return over
}

// read takes one block of a stream.
func (l *loop) read(s Stream) {
	buf := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(buf)
	n, err := unix.Read(l.out[s], buf[:])
	switch {
	case n > 0:
		l.p.write(s, buf[:n])
	case err == unix.EAGAIN || err == unix.EINTR:
	default:
		l.closeStream(s)
	}
}

// run serves the process from its start to the proof that its tree is dead.
func (l *loop) run() {
	p := l.p
	defer close(p.done)
	end := ended{}
	end.killed = l.untilEnd()
	end.at = time.Now()
	end.cause = p.end()

	// The main process is dead but not reaped: its number still names its
	// group, and nobody else can have it.
	until := end.at.Add(lateOutput)
	if end.killed {
		until = end.at
	}
	l.drain(until, true)
	held := !l.drained() && !end.killed
	survivors := p.tree.sweep(p.pid)
	if !l.drained() {
		p.tree.strike(p.pid)
		l.drain(time.Now().Add(lateOutput), false)
	}
	if c := p.tree.cgroup; c != nil {
		end.oom, end.peak = c.oomKills() > 0, c.peak()
	}
	var err error
	for {
		if _, err = syscall.Wait4(p.pid, &end.status, 0, &end.usage); err != syscall.EINTR {
			break
		}
	}
	survivors += p.tree.finish()
	l.close()
	r := p.resultOf(end)
	r.Late, r.Survivors = held, survivors
	if err != nil {
		r.State, r.Reason, r.Detail = Lost, ReasonLost, "its exit status was taken by somebody else: "+err.Error()
	}
	p.result = r
}

// untilEnd serves the process until its main process is dead, and reports
// whether it was killed for that.
func (l *loop) untilEnd() (killed bool) {
	p := l.p
	var timeout time.Time
	if p.cmd.Timeout > 0 {
		timeout = p.started.Add(p.cmd.Timeout)
	}
	for {
		killAt := p.stopped()
		deadline := killAt
		if killAt.IsZero() {
			deadline = timeout
		} else if killed {
			deadline = time.Time{}
		}
		l.wait(deadline)
		if l.serve() {
			return killed
		}
		if deadline.IsZero() || time.Now().Before(deadline) {
			continue
		}
		if killAt.IsZero() {
			p.Stop(TimedOut)
		} else {
			killed = true
			p.tree.strike(p.pid)
		}
	}
}

// drain reads what is left of the output, until its end or a deadline, or
// until a KILL was asked for if that counts.
func (l *loop) drain(deadline time.Time, breakable bool) {
	for !l.drained() {
		now := time.Now()
		if at := l.p.stopped(); breakable && !at.IsZero() && at.Before(deadline) {
			deadline = at
		}
		if !now.Before(deadline) {
			return
		}
		l.wait(deadline)
		l.serve()
	}
}
