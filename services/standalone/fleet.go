package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/services/internal/service"
)

// A fleet is services that run together: when one fails, all stop; they stop in
// the reverse order of their start, each when the one before has ended.
type fleet struct {
	// ctx is done when the fleet has to stop.
	ctx   context.Context
	fail  context.CancelCauseFunc
	parts []*part
}

type part struct {
	service *service.Service
	stop    context.CancelFunc
	done    chan struct{}
	err     error // set before done is closed
}

func newFleet(ctx context.Context) *fleet {
	f := &fleet{}
	f.ctx, f.fail = context.WithCancelCause(ctx)
	return f
}

// start runs a service until the fleet stops it. An end before that stops the
// fleet.
func (f *fleet) start(s *service.Service, run func(context.Context) error) {
	// Not the fleet's context: that would stop them all at once.
	ctx, stop := context.WithCancel(context.WithoutCancel(f.ctx))
	p := &part{service: s, stop: stop, done: make(chan struct{})}
	f.parts = append(f.parts, p)
	go func() {
		defer close(p.done)
		p.err = run(ctx)
		switch {
		case p.err != nil:
			p.err = fmt.Errorf("%s: %w", s.Name, p.err)
		case ctx.Err() == nil:
			p.err = fmt.Errorf("%s ended by itself", s.Name)
		}
		if p.err != nil {
			f.fail(p.err)
		}
	}()
}

// ready waits until every service can do its job.
func (f *fleet) ready(within time.Duration) error {
	deadline := time.Now().Add(within)
	for {
		var errs []error
		for _, p := range f.parts {
			ctx, cancel := context.WithTimeout(f.ctx, 3*time.Second)
			errs = append(errs, p.service.Ready(ctx))
			cancel()
		}
		err := errors.Join(errs...)
		switch {
		case f.ctx.Err() != nil:
			return nil // run sees it, and stop says why
		case err == nil:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("not ready after %s: %w", within, err)
		}
		select {
		case <-f.ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop stops the services one after the other and returns what went wrong.
func (f *fleet) stop() error {
	var errs []error
	for _, p := range slices.Backward(f.parts) {
		p.stop()
		<-p.done
		errs = append(errs, p.err)
	}
	f.fail(nil)
	return errors.Join(errs...)
}
