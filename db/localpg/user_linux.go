package localpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// nobody is who Postgres runs as where root may make no user namespace.
const nobody = 65534

// An account is whom the binaries run as. Postgres refuses root; a namespace of
// its own, in which root is user 1000, satisfies it while files stay root's.
type account struct {
	namespace bool
	uid       int // 0 keeps the caller's
}

func serverUser(ctx context.Context, bin Binaries) (account, error) {
	if os.Getuid() != 0 {
		return account{}, nil
	}
	in := account{namespace: true}
	probe := exec.CommandContext(ctx, bin.tool("postgres"), "--version")
	probe.SysProcAttr = in.attr()
	if probe.Run() == nil {
		return in, nil
	}
	out := account{uid: nobody}
	probe = exec.CommandContext(ctx, bin.tool("postgres"), "--version")
	probe.SysProcAttr = out.attr()
	if err := probe.Run(); err != nil {
		return account{}, fmt.Errorf("postgres refuses root, and neither a user namespace nor user %d can run it: %w", nobody, err)
	}
	return out, nil
}

func (a account) attr() *syscall.SysProcAttr {
	switch {
	case a.namespace:
		return &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		}
	case a.uid != 0:
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.uid)}}
	default:
		return nil
	}
}

// own gives files to the account; those that are missing are left out.
func (a account) own(files ...string) error {
	if a.uid == 0 {
		return nil
	}
	for _, f := range files {
		if err := os.Chown(f, a.uid, a.uid); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// reach makes sure that the account can get to dir, whose owner it becomes.
func (a account) reach(dir string) error {
	if a.uid == 0 {
		return nil
	}
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		info, err := os.Stat(up)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("postgres refuses root, and this system lets root make no user namespace, so it would run as user %d, who may not enter %s: choose a directory elsewhere, such as below /var/lib", a.uid, up)
		}
		if up == filepath.Dir(up) {
			return nil
		}
	}
}
