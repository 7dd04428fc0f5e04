//go:build unix

package command

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// session is the terminal session that this process belongs to.
func session() string {
	id, err := unix.Getsid(0)
	if err != nil {
		return ""
	}
	return strconv.Itoa(id)
}
