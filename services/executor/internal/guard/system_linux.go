package guard

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Now is the clock that leases are counted on: it goes on while the machine is
// suspended, and all processes of a host agree on it.
func Now() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	}
	return time.Duration(ts.Nano())
}

// ownSession takes the guard out of the executor's session, so that what a
// terminal or a supervisor sends to the executor's group does not reach it.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// harden lets the guard outlive the polite signals of a shutdown, and makes it
// the last that the kernel takes when memory runs out, where that is allowed.
func harden() {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0)
	unix.CloseOnExec(lockFd)
}
