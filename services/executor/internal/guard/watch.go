package guard

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/process"
)

// renewal is one line from the executor.
type renewal struct {
	until time.Duration // of Now
	n     uint64
}

// watch is the guard's work.
type watch struct {
	home   string
	margin time.Duration
	out    io.Writer
	lines  chan renewal // closed at the executor's end
}

// read passes renewals on until the executor's end of the pipe is closed.
func (w *watch) read(stdin io.Reader) {
	defer close(w.lines)
	lines := bufio.NewReaderSize(stdin, 256)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		f := fields(line)
		if len(f) != 3 || f[0] != "until" {
			continue
		}
		until, err1 := strconv.ParseInt(f[1], 10, 64)
		n, err2 := strconv.ParseUint(f[2], 10, 64)
		if err1 == nil && err2 == nil {
			w.lines <- renewal{time.Duration(until), n}
		}
	}
}

// look bounds how long the guard sleeps: Go's timers stand still while a
// machine is suspended, its lease does not.
const look = 250 * time.Millisecond

// run watches the lease. While it is over the guard kills again and again:
// an executor that wakes up may start something before it looks at the time.
func (w *watch) run() int {
	fmt.Fprintln(w.out, "ready 0")
	var until time.Duration // 0: no lease yet
	again := time.Duration(0)
	timer := time.NewTimer(time.Hour)
	for {
		pause := time.Hour
		if until != 0 {
			pause = min(until-w.margin-Now(), look)
		}
		if pause <= 0 {
			killed, left := process.KillHome(w.home)
			if killed > 0 {
				fmt.Fprintln(w.out, "killed", killed)
			}
			if again = min(2*again+10*time.Millisecond, time.Second); killed > 0 || left > 0 {
				again = 10 * time.Millisecond
			}
			pause = again
		}
		timer.Reset(pause)
		select {
		case r, ok := <-w.lines:
			if !ok {
				process.KillHome(w.home)
				return 0
			}
			until, again = r.until, 0
			fmt.Fprintln(w.out, "ok", r.n)
		case <-timer.C:
		}
	}
}

// fields splits a line at its spaces.
func fields(line []byte) []string { return strings.Fields(string(line)) }
