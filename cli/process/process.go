// Package process runs one command with everything it starts: directory,
// environment, process tree, timeout, output, exit status.
package process

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Stream tells which of a command's two output streams a block came from.
type Stream uint8

// The streams of a command.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// String returns "stdout" or "stderr".
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// A Sink takes a command's output block by block, in order of arrival as far
// as two pipes can tell. Blocks end anywhere, also within a character. Write
// is called by one goroutine at a time, must not keep p, and must not block
// for long: while it does, the command's pipes fill up and its timeout waits.
type Sink interface {
	Write(stream Stream, p []byte)
}

// A Cause is why somebody stops a command. It is an error, so that it can be
// the cause of a canceled context.
type Cause uint8

// Causes of a stop.
const (
	Canceled  Cause = iota + 1 // somebody asked for it
	TimedOut                   // it ran longer than it may
	Drained                    // its executor shuts down and hands the work back
	LeaseLost                  // somebody else may own the work by now
)

// Error names the cause.
func (c Cause) Error() string {
	switch c {
	case Canceled:
		return "canceled"
	case TimedOut:
		return "timed out"
	case Drained:
		return "drained"
	case LeaseLost:
		return "lease lost"
	}
	return "stopped"
}

// Command says what to run and how. The zero value of each optional field is
// usable.
type Command struct {
	// Argv is the program and its arguments. A program without a slash is
	// looked for in the PATH of Env, never in that of the caller.
	Argv []string
	// Env is the child's whole environment; of two entries with one name the
	// later counts. An entry SYN_DIR=… also marks the tree: what left its
	// session is found by it where there is no cgroup.
	Env []string
	// Dir is the working directory, absolute.
	Dir string
	// Grace is the time between TERM and KILL when the command is stopped; 0
	// kills at once.
	Grace time.Duration
	// Timeout bounds the run by the monotonic clock; 0 means no bound.
	Timeout time.Duration
	// Output takes what the command prints; nil discards it. It is drained in
	// either case, so that a full pipe never blocks a command.
	Output Sink
	// Cgroup holds the whole tree; nil where the host has none to offer. It
	// belongs to the process from Start on, and is removed at the end.
	Cgroup *Cgroup
	// Nice is added to the niceness of the tree.
	Nice int
	// OOMScoreAdj is the tree's oom_score_adj if it is not 0: the higher, the
	// earlier the kernel takes it when memory runs out.
	OOMScoreAdj int
}

// lateOutput is how long a finished command's descendants may go on to write
// before they are killed.
const lateOutput = time.Second

// Process is a command that was started. Its methods may be called from any
// goroutine.
type Process struct {
	cmd     Command
	pid     int
	started time.Time
	tree    tree
	done    chan struct{}
	result  Result
	detach  func() bool // ends the watch over the context
	noPidfd bool        // for the test of kernels without

	mu     sync.Mutex // guards what follows
	cause  Cause      // of the first Stop that found the command running
	killAt time.Time  // when the grace is over; zero: not stopped
	ended  bool       // the main process is dead: its pid may be anybody's
	wake   func()     // makes the loop look at the above
}

// Start starts a command in a session of its own with file descriptors 0 to 2
// and nothing else of the caller's. When ctx ends, the command is stopped, with
// the context's cause if that is a Cause, else as canceled. An error is a
// *StartError, and says which reason the attempt ends with; the cgroup is
// removed then, too.
func Start(ctx context.Context, c Command) (*Process, error) {
	p := &Process{cmd: c, done: make(chan struct{})}
	p.tree = tree{cgroup: c.Cgroup, mark: markOf(c.Env)}
	if err := p.start(); err != nil {
		if c.Cgroup != nil {
			c.Cgroup.remove()
		}
		return nil, err
	}
	if ctx.Done() != nil {
		p.detach = context.AfterFunc(ctx, func() {
			cause, ok := errors.AsType[Cause](context.Cause(ctx))
			if !ok {
				cause = Canceled
			}
			p.Stop(cause)
		})
	}
	return p, nil
}

// Run starts a command, waits for its end and returns how that was; a command
// that could not be started is a failed one.
func Run(ctx context.Context, c Command) Result {
	at := time.Now()
	p, err := Start(ctx, c)
	if err != nil {
		return failedStart(err, at)
	}
	return p.Wait()
}

// Pid returns the id of the main process, which is also that of its session
// and group.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the command has ended, its tree is dead and its output
// was handed over.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for Done and tells how the command ended. It may be called more
// than once.
func (p *Process) Wait() Result {
	<-p.done
	if p.detach != nil {
		p.detach()
	}
	return p.result
}

// Stop sends TERM to the whole tree, and KILL when the grace is over. It does
// not wait. The first cause counts; of later calls only LeaseLost changes
// anything: it kills at once, because somebody else may start the same work.
func (p *Process) Stop(cause Cause) {
	grace := p.cmd.Grace
	if cause == LeaseLost {
		grace = 0
	}
	p.stop(cause, grace)
}

// Kill kills the whole tree at once. It does not wait.
func (p *Process) Kill(cause Cause) { p.stop(cause, 0) }

// stop notes the cause and signals the tree. The loop does what comes later.
func (p *Process) stop(cause Cause, grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		if cause == LeaseLost { // do not wait for late output
			p.killAt = time.Now()
			p.wake()
		}
		return
	}
	first := p.cause == 0
	if first || cause == LeaseLost {
		p.cause = cause
	}
	at := time.Now().Add(grace)
	if first || at.Before(p.killAt) {
		p.killAt = at
	}
	if first && grace > 0 {
		p.tree.terminate(p.pid)
	}
	p.wake()
}

// stopped reports the time of the KILL that was asked for; zero means none.
func (p *Process) stopped() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killAt
}

// end marks the main process as dead and returns the cause of the stop that
// came before.
func (p *Process) end() Cause {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	return p.cause
}

// write hands a block to the sink.
func (p *Process) write(s Stream, b []byte) {
	if p.cmd.Output != nil {
		p.cmd.Output.Write(s, b)
	}
}

// blockSize is what one read takes: all that a pipe holds by default.
const blockSize = 64 << 10

// blocks lends read buffers, so that a silent process holds none.
var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}
