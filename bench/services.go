package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/scheduler"
)

// inside are a scheduler and an executor in this process. The executor's tasks
// are no processes: they only count.
type inside struct {
	ran  *counter
	stop func() error
}

// slots is how many tasks the executor inside runs at once.
const slots = 500

// startInside starts both and waits until they are ready.
func (b *bench) startInside(ctx context.Context, in *installation) (*inside, error) {
	s := &inside{ran: &counter{runs: map[string]int{}}}
	running, cancel := context.WithCancel(ctx)
	g, running := errgroup.WithContext(running)
	s.stop = func() error { cancel(); return g.Wait() }
	for _, run := range []func(probes string) error{
		func(probes string) error {
			return scheduler.Run(running, scheduler.Config{DatabaseURL: in.url, Listen: probes, Log: in.log})
		},
		func(probes string) error {
			return executor.Run(running, executor.Config{DatabaseURL: in.url, Listen: probes, Log: in.log, Slots: slots, Grace: -1, Runner: s.ran})
		},
	} {
		probes, err := freeAddress()
		if err == nil {
			g.Go(func() error { return run(probes) })
			err = ready(running, probes)
		}
		if err != nil {
			cancel()
			return nil, fmt.Errorf("%w: %w", err, g.Wait())
		}
	}
	return s, nil
}

// freeAddress is an address of this machine that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// ready waits until the service behind an address of probes says that it is.
func ready(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return eventually(ctx, time.Millisecond, "it is ready", func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // not there yet
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode == http.StatusOK, nil
	})
}

// logger is what services inside this process log to.
func (b *bench) logger() *slog.Logger {
	if b.verbose {
		return slog.New(slog.NewTextHandler(b.out, nil))
	}
	return slog.New(slog.NewTextHandler(b.out, &slog.HandlerOptions{Level: slog.LevelError}))
}
