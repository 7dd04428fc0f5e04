package process

import (
	"bytes"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// proc is a living process as /proc shows it.
type proc struct {
	pid, group, session int
	start               uint64 // in ticks since the boot

	environ func() []byte // read when asked for, because it is dear
}

// environLimit bounds what is read of one process's environment.
const environLimit = 1 << 20

// marked reports whether the environment holds the entry.
func (p proc) marked(entry string) bool {
	if entry == "" {
		return false
	}
	return hasEntry(p.environ(), entry, false)
}

// markedBelow reports whether the environment holds an entry that begins so.
func (p proc) markedBelow(prefix string) bool {
	return hasEntry(p.environ(), prefix, true)
}

// hasEntry reports whether an environment block holds an entry.
func hasEntry(env []byte, entry string, prefix bool) bool {
	for e := range bytes.SplitSeq(env, []byte{0}) {
		if string(e) == entry || prefix && bytes.HasPrefix(e, []byte(entry)) {
			return true
		}
	}
	return false
}

// scan returns the living processes that match, without the caller itself.
func scan(match func(proc) bool) []proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	self := os.Getpid()
	var out []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == self || pid == 1 {
			continue
		}
		if p, ok := readProc(pid); ok && match(p) {
			out = append(out, p)
		}
	}
	return out
}

// readProc reads one process; zombies count as gone, as they cannot do anything any more.
func readProc(pid int) (proc, bool) {
	base := "/proc/" + strconv.Itoa(pid)
	var buf [1024]byte
	n := readOnce(base+"/stat", buf[:])
	stat := buf[:n]
	if n == 0 {
		return proc{}, false
	}
	// The name between parentheses may hold anything, so fields are counted
	// from the last one: state, parent, group, session.
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 20 || f[0][0] == 'X' {
		return proc{}, false
	}
	if f[0][0] == 'Z' && len(f[17]) == 1 && f[17][0] <= '1' {
		return proc{}, false // with more threads only its first one is dead
	}
	group, _ := strconv.Atoi(string(f[2]))
	session, _ := strconv.Atoi(string(f[3]))
	start, _ := strconv.ParseUint(string(f[19]), 10, 64)
	var env []byte
	read := false
	environ := func() []byte {
		if !read {
			env, read = readLimited(base+"/environ", environLimit), true
		}
		return env
	}
	return proc{pid: pid, group: group, session: session, start: start, environ: environ}, true
}

// readOnce reads the beginning of a file of /proc, with the fewest calls: a
// scan reads hundreds.
func readOnce(path string, buf []byte) int {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	n, _ := unix.Read(fd, buf)
	return max(0, n)
}

// readLimited returns the beginning of a file, nothing if it cannot be read.
func readLimited(path string, limit int) []byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	out := make([]byte, 0, 8<<10)
	for len(out) < limit {
		if len(out) == cap(out) {
			out = append(out, make([]byte, cap(out))...)[:len(out)]
		}
		n, err := unix.Read(fd, out[len(out):cap(out)])
		if n <= 0 || err != nil {
			break
		}
		out = out[:len(out)+n]
	}
	return out
}

// startOf returns when a process started, also of a zombie; 0 if it is gone.
func startOf(pid int) uint64 {
	var buf [1024]byte
	stat := buf[:readOnce("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])]
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 20 {
		return 0
	}
	start, _ := strconv.ParseUint(string(f[19]), 10, 64)
	return start
}

// killProc kills a process that was found, after making sure that its number
// still means the same one.
func killProc(p proc, match func(proc) bool) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		if err == unix.ENOSYS {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		return
	}
	defer unix.Close(fd)
	if again, ok := readProc(p.pid); ok && match(again) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}
