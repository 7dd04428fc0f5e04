//go:build unix

package process

import (
	"os"

	"golang.org/x/sys/unix"
)

// openPlain opens a file for reading without following a link or waiting for
// the other end of a pipe.
func openPlain(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
