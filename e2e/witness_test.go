package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A witness sees what tasks really do, whatever anybody reports: a task connects
// to its socket (start), says what it does, and when the last process that holds
// the connection is dead, the kernel closes it (end). Only the test's clock counts.
type witness struct {
	socket string
	listen net.Listener

	mu      sync.Mutex // guards what follows
	effects []effect
}

// An effect is one thing that a task did.
type effect struct {
	run     int64
	task    string
	index   int // -1: not an item
	attempt int
	pid     int
	at      time.Time
	what    string // start, done, end
}

func newWitness(t testing.TB) *witness {
	t.Helper()
	// Not t.TempDir: a socket's path must be short.
	dir, err := os.MkdirTemp("", "syn-w-")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{socket: filepath.Join(dir, "s")}
	if w.listen, err = net.Listen("unix", w.socket); err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := w.listen.Accept()
			if err != nil {
				return
			}
			served.Go(func() { w.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = w.listen.Close()
		for _, e := range w.all() { // nobody may outlive the test
			if e.what == "start" && !w.ended(e) {
				_ = syscall.Kill(e.pid, syscall.SIGKILL)
			}
		}
		served.Wait()
		_ = os.RemoveAll(dir)
	})
	return w
}

// serve listens to one attempt until all its processes are dead.
func (w *witness) serve(c net.Conn) {
	defer c.Close()
	var e effect
	lines := bufio.NewScanner(c) // short lines of our own program
	for lines.Scan() {
		at := time.Now()
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if word == "start" {
			f := strings.Fields(rest)
			if len(f) != 4 {
				continue
			}
			e.run, _ = strconv.ParseInt(f[0], 10, 64)
			e.attempt, _ = strconv.Atoi(f[2])
			e.pid, _ = strconv.Atoi(f[3])
			e.task, e.index = f[1], -1
			if name, item, ok := strings.Cut(f[1], "["); ok {
				e.task = name
				e.index, _ = strconv.Atoi(strings.TrimSuffix(item, "]"))
			}
		}
		w.note(e, word, at)
	}
	w.note(e, "end", time.Now())
}

func (w *witness) note(e effect, what string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.what, e.at = what, at
	w.effects = append(w.effects, e)
}

func (w *witness) all() []effect {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.effects)
}

// find gives what a task of a run did, in order.
func (w *witness) find(run int64, attempt int, what string) (effect, bool) {
	for _, e := range w.all() {
		if e.run == run && e.attempt == attempt && e.what == what {
			return e, true
		}
	}
	return effect{}, false
}

func (w *witness) ended(of effect) bool {
	return slices.ContainsFunc(w.all(), func(e effect) bool {
		return e.what == "end" && e.run == of.run && e.task == of.task && e.index == of.index && e.attempt == of.attempt
	})
}

// running counts attempts that have started and not ended.
func (w *witness) running() int {
	n := 0
	for _, e := range w.all() {
		switch e.what {
		case "start":
			n++
		case "end":
			n--
		}
	}
	return n
}

// command is the YAML list of a task's command. The plan says what each attempt
// does, the last of it what all later ones do, separated by "/":
//
//	work=100ms  be done after a while
//	hold        never end
//	+stubborn   ignore SIGTERM
//	+family     have a child in another session that shares the connection
func (w *witness) command(plan string) string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("[%q, witness, %q, %q]", self, w.socket, plan)
}

// beWitness is the program that tasks run.
func beWitness(args []string) int {
	attempt, err := strconv.Atoi(os.Getenv("SYN_ATTEMPT"))
	if err != nil || len(args) != 2 {
		fmt.Fprintln(os.Stderr, "witness: run by tasks only")
		return 2
	}
	plans := strings.Split(args[1], "/")
	plan := strings.Split(plans[min(attempt, len(plans))-1], "+")
	if slices.Contains(plan, "stubborn") {
		signal.Ignore(syscall.SIGTERM)
	}
	c, err := net.Dial("unix", args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		return 2
	}
	defer c.Close()
	if slices.Contains(plan, "family") {
		f, err := c.(*net.UnixConn).File()
		if err != nil {
			fmt.Fprintln(os.Stderr, "witness:", err)
			return 2
		}
		child := exec.Command("/bin/sh", "-c", "trap '' TERM HUP; sleep 7007 & wait")
		child.Env = []string{"SYN_DIR=" + os.Getenv("SYN_DIR")} // by which it is found where there are no cgroups
		child.ExtraFiles = []*os.File{f}
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			fmt.Fprintln(os.Stderr, "witness:", err)
			return 2
		}
		_ = f.Close()
	}
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }
	say("start %s %s %s %d", os.Getenv("SYN_RUN_ID"), os.Getenv("SYN_TASK"), os.Getenv("SYN_ATTEMPT"), os.Getpid())
	fmt.Printf("attempt %d: %s\n", attempt, strings.Join(plan, "+"))
	if plan[0] == "hold" {
		for {
			time.Sleep(time.Hour)
		}
	}
	for_, _ := time.ParseDuration(strings.TrimPrefix(plan[0], "work="))
	time.Sleep(for_)
	say("done")
	return 0
}
