// Package guard kills an executor's tasks when the executor itself cannot.
//
// The guard is a small child process of the executor, started before the first
// claim. It hears each renewal of the lease through a pipe, and kills every
// process of the executor's tasks shortly before the lease ends, or at once
// when the pipe closes because the executor is dead. So the tasks of an
// executor that was killed or stopped are dead before anybody else may claim
// them.
package guard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// Config says what to guard.
type Config struct {
	// Home holds the executor's tasks. The guard shares its lock.
	Home *process.Home
	// Margin is how long before the end of the lease the guard kills; 0 means
	// a second.
	Margin time.Duration
	// Killed is called when the guard reports that the lease ended and it
	// killed n processes; again if more appeared. It may be nil. An executor
	// that was stopped hears it when it runs again.
	Killed func(n int)
}

// ErrSilent is returned by Renewed when the guard is dead or does not answer.
// The executor must not go on without one: it drains and starts another.
var ErrSilent = errors.New("the guard does not answer")

// Guard is the executor's end of a guard process.
type Guard struct {
	cmd    *exec.Cmd
	in     *os.File // renewals
	dead   chan struct{}
	killed func(int)

	mu    sync.Mutex    // guards sent
	sent  uint64        // number of the last renewal
	heard atomic.Uint64 // number of the last one it confirmed
}

// lockFd is where the guard finds the lock that it shares.
const lockFd = 3

// Start starts a guard: exe with args, which must lead to Main. It returns when
// the guard watches; until the first renewal it kills only when the executor
// dies. The guard lives on when ctx ends: Close ends it.
func Start(ctx context.Context, exe string, args []string, cfg Config) (*Guard, error) {
	margin := cfg.Margin
	if margin == 0 {
		margin = time.Second
	}
	renewals, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	out, answers, err := os.Pipe()
	if err != nil {
		renewals.Close()
		in.Close()
		return nil, fmt.Errorf("start guard: %w", err)
	}

	// Not CommandContext: the guard must outlive everything but its pipe.
	cmd := exec.Command(exe, append(append([]string{}, args...), cfg.Home.Dir(), margin.String())...)
	cmd.Env = []string{} // it needs nothing, and must not carry the database's address
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = renewals, answers, os.Stderr
	cmd.ExtraFiles = []*os.File{cfg.Home.Lock()}
	cmd.SysProcAttr = ownSession()
	err = cmd.Start()
	// The guard's ends are its own: its death must show at ours.
	renewals.Close()
	answers.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("start guard: %w", err)
	}
	g := &Guard{cmd: cmd, in: in, dead: make(chan struct{}), killed: cfg.Killed}
	ready := make(chan struct{})
	go g.listen(out, ready)
	select {
	case <-ready:
		return g, nil
	case <-g.dead:
		in.Close()
		return nil, errors.New("start guard: it ended at once")
	case <-ctx.Done():
		g.Kill()
		return nil, fmt.Errorf("start guard: %w", context.Cause(ctx))
	}
}

// listen reads the guard's answers until it is dead.
func (g *Guard) listen(out *os.File, ready chan<- struct{}) {
	defer close(g.dead)
	defer out.Close()
	lines := bufio.NewReaderSize(out, 256)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			break
		}
		word, n, ok := parse(line)
		switch {
		case !ok:
		case word == "ready":
			close(ready)
		case word == "ok":
			g.heard.Store(uint64(n))
		case word == "killed" && g.killed != nil:
			g.killed(int(n))
		}
	}
	_ = g.cmd.Wait()
}

// Renewed tells the guard that the lease is good until a time of Now: the
// lease's length counted from the moment the renewal was sent. It does not
// wait. It returns ErrSilent if the guard is dead or has not confirmed the
// renewal before this one.
func (g *Guard) Renewed(until time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.heard.Load() < g.sent {
		return ErrSilent
	}
	g.sent++
	// The pipe holds thousands of these, so a write that blocks is a guard
	// that is not there.
	_ = g.in.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := fmt.Fprintf(g.in, "until %d %d\n", until, g.sent); err != nil {
		return fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return nil
}

// Confirmed reports whether the guard has heard the last renewal.
func (g *Guard) Confirmed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.heard.Load() == g.sent
}

// Done is closed when the guard is dead.
func (g *Guard) Done() <-chan struct{} { return g.dead }

// Pid returns the guard's process id.
func (g *Guard) Pid() int { return g.cmd.Process.Pid }

// Close ends the guard and waits for it. It kills what still runs first, so
// tasks must have ended. It may be called more than once.
func (g *Guard) Close() {
	_ = g.in.Close()
	<-g.dead
}

// Kill kills a guard that does not answer, and waits for its end. The tasks
// live on; whoever calls it starts another guard or drains.
func (g *Guard) Kill() {
	_ = g.cmd.Process.Kill()
	<-g.dead
	_ = g.in.Close()
}

// parse splits a line "word number\n".
func parse(line []byte) (word string, n int64, ok bool) {
	f := fields(line)
	if len(f) < 2 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(f[1], 10, 64)
	return f[0], n, err == nil
}

// Main is the guard process: args are the home and the margin, stdin has the
// renewals and stdout takes the answers. It returns the exit status, after the
// executor's end and the death of everything in the home.
func Main(args []string, stdin io.Reader, stdout io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "guard: started by an executor only")
		return 2
	}
	margin, err := time.ParseDuration(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
		return 2
	}
	harden()
	w := &watch{home: args[0], margin: margin, out: stdout, lines: make(chan renewal)}
	go w.read(stdin)
	return w.run()
}
