package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The services as programs, each with what it is started with.
var programs = []struct {
	name string
	args []string
}{
	{"api", []string{"--insecure-no-auth"}},
	{"scheduler", nil},
	{"executor", nil},
}

// build builds the services' programs from this source.
func (b *bench) build(ctx context.Context) error {
	if b.built {
		return nil
	}
	args := []string{"build", "-o", b.dir + "/"}
	for _, p := range programs {
		args = append(args, fmt.Sprintf("./services/%s/cmd/%[1]s", p.name))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the services: %w\n%s", err, out)
	}
	b.built = true
	return nil
}

// A program is one service as a process of its own.
type program struct {
	name    string
	address string // of its listener
	cmd     *exec.Cmd
	log     *os.File
	began   time.Time // just before it was executed
}

// start executes a service's program. It does not wait until it is ready.
func (b *bench) start(in *installation, name string, args ...string) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(b.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(b.dir, name), args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir,
		"SYN_DATABASE_URL=" + in.url, "SYN_LISTEN=" + address, "SYN_LOG_LEVEL=warn",
	}
	if name == "executor" {
		cmd.Env = append(cmd.Env, "SYN_WORK_DIR="+filepath.Join(b.dir, "work"))
	}
	cmd.Stdout, cmd.Stderr = log, log
	p := &program{name: name, address: address, cmd: cmd, log: log, began: time.Now()}
	if err := cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// stop ends a program in good order, and a program that does not end by force.
func (p *program) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	err := p.cmd.Wait()
	kill.Stop()
	if err = errors.Join(err, p.log.Close()); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return nil
}

// A fleet is one program of each service.
type fleet []*program

// startFleet starts all programs and waits until they are ready.
func (b *bench) startFleet(ctx context.Context, in *installation) (f fleet, err error) {
	for _, p := range programs {
		started, err := b.start(in, p.name, p.args...)
		if err != nil {
			return nil, errors.Join(err, f.stop())
		}
		f = append(f, started)
		if err := ready(ctx, started.address); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w\n%s", p.name, err, b.tail(p.name)), f.stop())
		}
	}
	return f, nil
}

func (f fleet) stop() error {
	var errs []error
	for _, p := range f {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// of is the program of a service.
func (f fleet) of(name string) *program {
	for _, p := range f {
		if p.name == name {
			return p
		}
	}
	return nil
}

// tail is the last that a program logged.
func (b *bench) tail(name string) string {
	text, err := os.ReadFile(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
