package process

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Init makes process 1 of a container an init: it starts the same program
// again as its child, passes signals on, reaps every orphan, and returns the
// child's exit status with true; the caller then exits with it. In any other
// process it returns false at once. A main calls it before anything else.
//
// The reaper is a process of its own because nobody can reap orphans beside
// other code that waits for its own children: each may take the other's.
func Init() (status int, done bool) {
	if os.Getpid() != 1 {
		return 0, false
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	child, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "start again below process 1:", err)
		return 1, true
	}
	go func() {
		for s := range signals {
			switch s {
			case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE:
			default:
				_ = syscall.Kill(child, s.(syscall.Signal))
			}
		}
	}()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 1, true // cannot happen: the child is ours
		case pid == child && ws.Signaled():
			return 128 + int(ws.Signal()), true
		case pid == child && ws.Exited():
			return ws.ExitStatus(), true
		}
	}
}
