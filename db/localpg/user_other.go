//go:build !linux

package localpg

import (
	"context"
	"errors"
	"os"
	"syscall"
)

type account struct{}

func serverUser(context.Context, Binaries) (account, error) {
	if os.Getuid() == 0 {
		return account{}, errors.New("postgres refuses to run as root: use an ordinary user")
	}
	return account{}, nil
}

func (account) attr() *syscall.SysProcAttr { return nil }
func (account) own(...string) error        { return nil }
func (account) reach(string) error         { return nil }
