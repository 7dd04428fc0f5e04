package command

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// How to follow a run.
type following int

const (
	followNot   following = iota
	followWait            // wait, and say nothing until the end
	followWatch           // show progress
	followLogs            // show progress and output
)

const (
	repaintEvery = 250 * time.Millisecond
	stillEvery   = 30 * time.Second
)

// A follower shows a run while it goes on.
type follower struct {
	c  *call
	mu sync.Mutex
	p  *progress
	// style is tty, plain or none.
	style string
	lines int // that the picture on the terminal has
	log   *logPrinter
}

func (c *call) newFollower(name string, how following) *follower {
	style := c.Progress
	terminal := c.StdoutTTY
	if c.ui.machine() {
		terminal = c.StderrTTY
	}
	switch {
	case how == followWait:
		style = "none"
	case how == followLogs && style != "none":
		style = "plain" // what is repainted cannot stand between lines of output
	case style == "auto" && terminal && c.ui.paints:
		style = "tty"
	case style == "auto":
		style = "plain"
	}
	if c.ui.quiet && style == "plain" {
		style = "none"
	}
	return &follower{c: c, p: &progress{name: name}, style: style}
}

// follow shows a run until it has ended, and gives it whole.
func (c *call) follow(ctx context.Context, server *client.Client, at client.RunRef, name string, how following) (api.Run, error) {
	f := c.newFollower(name, how)
	g, gctx := errgroup.WithContext(ctx)
	stop := make(chan struct{})
	g.Go(func() error {
		defer close(stop)
		return server.Watch(gctx, at, func(e client.RunEvent) error { return f.hear(e) })
	})
	if how == followLogs {
		f.log = newLogPrinter(c.ui, true, false)
		f.log.toStderr = c.ui.machine()
		g.Go(func() error {
			err := server.FollowLogs(gctx, at, api.FollowLogsParams{Follow: true}, func(e client.LogEvent) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.log.event(e)
			})
			f.mu.Lock()
			defer f.mu.Unlock()
			return joinErr(err, f.log.flush())
		})
	}
	g.Go(func() error { return f.tick(gctx, stop) })
	err := g.Wait()
	f.clear()
	if err != nil {
		return api.Run{}, c.detached(ctx, err, name)
	}
	run, err := server.Run(ctx, at)
	if err != nil {
		return api.Run{}, c.detached(ctx, err, name)
	}
	return run, c.allTasks(ctx, server, at, &run)
}

func joinErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// detached says that the run goes on without whoever followed it.
func (c *call) detached(ctx context.Context, err error, name string) error {
	if ctx.Err() == nil {
		return err
	}
	exit, _, _ := endOf(ctx, ctx.Err())
	message := "still running: " + name
	switch exit {
	case ExitOK:
		return ctx.Err()
	case ExitTimeout:
		message = "timed out waiting; still running: " + name
	}
	return &saying{status: exit, message: message, hint: fmt.Sprintf("synctl watch %s, or synctl cancel %s", name, name)}
}

// hear takes in an event and shows what it changed.
func (f *follower) hear(e client.RunEvent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes := f.p.hear(e)
	if f.style != "plain" {
		return nil // the picture is repainted by the clock
	}
	for _, ch := range changes {
		if err := f.say(f.p.line(ch, f.c.Now())); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) say(line string) error {
	// Beside lines of output, what happens is an aside.
	if f.c.ui.machine() || f.log != nil {
		f.c.ui.say(line)
		return nil
	}
	return f.c.ui.outf("%s\n", line)
}

// tick repaints, or says now and then that something is still running.
func (f *follower) tick(ctx context.Context, stop <-chan struct{}) error {
	every := stillEvery
	switch f.style {
	case "none":
		return nil
	case "tty":
		every = repaintEvery
		f.repaint()
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if f.style == "tty" {
			f.repaint()
			continue
		}
		f.mu.Lock()
		line := f.p.still(f.c.Now())
		if line != "" {
			_ = f.say(line) // a closed pipe ends the context
		}
		f.mu.Unlock()
	}
}

// repaint draws the picture over the one before.
func (f *follower) repaint() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.p.run.State == "" {
		return
	}
	lines := f.p.picture(f.c.ui, f.c.Now())
	f.draw(f.erase() + strings.Join(lines, "\n") + "\n")
	f.lines = len(lines)
}

// clear takes the picture off the terminal: what follows says it all.
func (f *follower) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lines > 0 {
		f.draw(f.erase())
		f.lines = 0
	}
}

func (f *follower) erase() string {
	if f.lines == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\x1b[J", f.lines)
}

func (f *follower) draw(text string) {
	text = f.c.ui.fit(text)
	if f.c.ui.machine() {
		f.c.ui.raw(text)
		return
	}
	_ = f.c.ui.out(text) // a closed pipe ends the context
}
