package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cli/browser"
	"golang.org/x/term"

	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// An Env is the whole world outside the command: a test hands in another one and
// runs the program in memory.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// What the streams are. A terminal that cannot repaint (TERM=dumb) is one
	// all the same.
	StdinTTY, StdoutTTY, StderrTTY bool
	// Size is that of the terminal; zeros: not known.
	Size func() (columns, rows int)

	Getenv func(string) string
	// Dir is the working directory.
	Dir string
	// Local is the reader's time zone.
	Local *time.Location
	Now   func() time.Time
	// Session tells terminals apart, for @last.
	Session string
	Version string

	// Dial makes the client of a server.
	Dial func(client.Options) (*client.Client, error)
	// ReadSecret reads a line without showing it; the prompt is on stderr.
	ReadSecret func() (string, error)
	// OpenBrowser shows an address in a browser.
	OpenBrowser func(url string) error
	// Git runs git in a directory.
	Git func(ctx context.Context, dir string, args ...string) (string, error)
	// Again is closed by a second interrupt, where somebody holds on after the
	// first.
	Again <-chan struct{}
	// Hold says that the first interrupt has work left to do.
	Hold func(bool)
}

// errInterrupted is why a context ends on Ctrl-C.
var errInterrupted = errors.New("interrupted")

// Main runs synctl in this process and returns its exit status.
func Main(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	again := make(chan struct{})
	var hold atomic.Bool
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel(errInterrupted)
		<-signals
		if !hold.Load() {
			os.Exit(ExitInterrupted)
		}
		close(again)
		<-signals
		os.Exit(ExitInterrupted)
	}()
	// Asked for, a broken pipe is an error of the write, and no signal that ends
	// the process with a status of its own.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	env := system()
	env.Again, env.Hold = again, hold.Store
	return Run(ctx, env, args)
}

// system is the world as the process finds it.
func system() Env {
	out := int(os.Stdout.Fd())
	stdout := term.IsTerminal(out)
	if !stdout && term.IsTerminal(int(os.Stderr.Fd())) {
		out = int(os.Stderr.Fd())
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		StdinTTY: term.IsTerminal(int(os.Stdin.Fd())), StdoutTTY: stdout, StderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
		Size: func() (int, int) {
			columns, rows, err := term.GetSize(out)
			if err != nil {
				return 0, 0
			}
			return columns, rows
		},
		Getenv: os.Getenv, Dir: dir, Local: time.Local, Now: time.Now, Session: session(), Version: buildVersion(),
		Dial: client.New,
		ReadSecret: func() (string, error) {
			text, err := term.ReadPassword(int(os.Stdin.Fd()))
			return string(text), err
		},
		OpenBrowser: openBrowser,
		Git:         git,
		Again:       make(chan struct{}),
		Hold:        func(bool) {},
	}
}

func openBrowser(url string) error {
	browser.Stdout, browser.Stderr = io.Discard, io.Discard
	return browser.OpenURL(url)
}

// gitPatience is how long git may take: what it knows is a courtesy.
const gitPatience = 3 * time.Second

func git(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(out.String()), nil
}
