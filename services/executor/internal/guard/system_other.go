//go:build unix && !linux

package guard

import (
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Now is the clock that leases are counted on. All processes of a host agree
// on it.
func Now() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func harden() {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2)
	unix.CloseOnExec(lockFd)
}
