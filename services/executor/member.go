package executor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/lease"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/poll"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/worker"
)

// A member is this process's place in the fleet, from one lease to its end. A
// process whose lease was lost comes back as a new one: under the old id
// others may have taken its work already.
type member struct {
	lease  *lease.Lease
	worker *worker.Worker
	poller *poll.Poller
}

// serve is a member of the fleet until ctx is done, and again whenever the
// lease was lost.
func (e *executor) serve(ctx context.Context) error {
	// What serves the work outlives ctx: it is needed while the work is
	// drained.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() { e.notify.Run(own) })
	parts.Go(func() { db.Listen(own, e.control, e.cfg.Log, e.heard, db.ChannelReady, db.ChannelStop, db.ChannelPoll) })

	var saved []worker.Saved
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		left, err := e.join(ctx, own, saved)
		saved = left
		if ctx.Err() != nil {
			return err
		}
		if time.Since(began) > time.Minute {
			failures = 0
		}
		e.cfg.Log.Error("not in the fleet; trying again", "err", err)
		full := min(100*time.Millisecond<<min(failures, 10), 5*time.Second)
		failures++
		select {
		case <-ctx.Done():
		case <-time.After(full/2 + rand.N(full/2)):
		}
	}
	return nil
}

// heard passes a notification on.
func (e *executor) heard(channel string) {
	m := e.now.Load()
	switch {
	case m == nil:
	case channel == db.ChannelPoll:
		m.poller.Kick()
	case channel == db.ChannelStop:
		m.worker.StopsAsked()
	default:
		m.worker.Kick()
	}
}

// join becomes a member and works until ctx is done (nil) or the lease is lost
// (why). It reports the results that a predecessor saved, and returns those
// that it could not report itself.
func (e *executor) join(ctx, own context.Context, saved []worker.Saved) (left []worker.Saved, err error) {
	left = saved // until they are reported
	var (
		installation db.InstallationRow
		home         *process.Home
		swept        []worker.Saved
		noHome       error
		making       sync.WaitGroup
	)
	if e.cfg.Runner == nil {
		making.Go(func() { home, swept, noHome = e.home(ctx) })
	}
	making.Go(func() { _ = e.beat.Ping(ctx) }) // connects
	installation, err = e.installation(ctx)
	making.Wait()
	left = append(left, swept...)
	if home != nil {
		defer func() {
			if err := home.Close(); err != nil {
				e.cfg.Log.Error("close the work directory", "err", err)
			}
		}()
	}
	if err := errors.Join(err, noHome); err != nil {
		return left, err
	}

	id := uuid.New()
	m := &member{}
	m.lease, err = e.lease(ctx, id, installation.Epoch, home, func(draining bool) { m.worker.Renewed(draining) })
	if err != nil {
		return left, err
	}
	m.worker = worker.New(worker.Config{
		Executor: id, Installation: installation.ID, Slots: e.cfg.Slots, Labels: e.cfg.Labels, Lease: m.lease,
		Control: e.control, Logs: e.logs, Revisions: e.revisions, Home: home, Runner: e.cfg.Runner, Path: e.cfg.TaskPath,
		OwnSecret: e.secrets.Lookup, Secrets: e.keys, Room: e.room, Notify: e.notify.Notify, Told: e.metrics.told, Log: e.cfg.Log,
	})
	m.poller = e.newPoller(installation.ID, id)
	e.cfg.Log.Info("joined the fleet", "id", id, "name", e.cfg.Name, "slots", e.cfg.Slots, "labels", e.cfg.Labels, "targets", len(e.targets))

	var parts sync.WaitGroup
	working, stop := context.WithCancel(own)
	defer parts.Wait()
	defer stop()
	polling, halt := context.WithCancel(working)
	defer context.AfterFunc(ctx, halt)() // others may ask while the rest is drained
	parts.Go(func() { m.poller.Run(polling) })
	kept := make(chan error, 1)
	parts.Go(func() { kept <- m.lease.Keep(working) })
	left = e.recover(working, m.lease, left)
	if home != nil {
		parts.Go(func() { e.sweepAgain(working, m.lease) })
	}
	e.now.Store(m)
	defer e.now.Store(nil)
	claimer := make(chan struct{})
	go func() { defer close(claimer); m.worker.Run(working) }()

	select {
	case <-ctx.Done():
		e.drain(own, id, m.worker)
	case <-m.lease.Lost():
	}
	if why := m.lease.Err(); why != nil {
		e.metrics.leaseLosses.Inc()
		unreported := m.worker.Abandon()
		stop()
		<-claimer
		m.worker.Wait()
		m.lease.Close()
		if errors.Is(why, lease.ErrRestored) {
			return nil, why // nothing from before the restore is believed
		}
		return append(left, unreported...), fmt.Errorf("lease lost: %w", why)
	}
	stop()
	<-claimer
	<-kept //nolint:errcheck // why the lease ended was told already
	m.worker.Wait()
	if err := m.lease.Leave(own); err != nil {
		e.cfg.Log.Warn("the fleet does not know that this executor is gone; it will notice", "err", err)
	}
	return left, nil
}

// installation is who we work for, once the schema is one that we speak.
func (e *executor) installation(ctx context.Context) (db.InstallationRow, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := db.CheckSchema(ctx, e.control); err != nil {
		return db.InstallationRow{}, err
	}
	row, err := e.control.Queries().Installation(ctx)
	if err != nil {
		return row, fmt.Errorf("read the installation: %w", err)
	}
	return row, nil
}

// home makes the place for this member's attempts, after everything that dead
// executors left on this host has been killed and removed.
func (e *executor) home(ctx context.Context) (*process.Home, []worker.Saved, error) {
	home, err := process.OpenHome(ctx, e.cfg.WorkDir)
	if err != nil {
		return nil, nil, err
	}
	saved, err := e.sweep(ctx)
	if err != nil {
		// What cannot be killed may run beside its next attempt: nothing is
		// claimed on this host.
		return nil, nil, errors.Join(err, home.Close())
	}
	if path, why := home.Cgroup(); path == "" {
		e.cfg.Log.Info("no cgroups: process trees are found by session and environment", "why", why)
	}
	return home, saved, nil
}

// sweep kills and removes what dead executors left on this host, and returns
// the results that they saved.
func (e *executor) sweep(ctx context.Context) ([]worker.Saved, error) {
	var saved []worker.Saved
	swept, err := process.SweepLeftovers(ctx, e.cfg.WorkDir, func(name string, content []byte) {
		s, err := worker.ReadSaved(content)
		if err != nil {
			e.cfg.Log.Warn("a result that a dead executor saved cannot be read", "name", name, "err", err)
			return
		}
		saved = append(saved, s)
	})
	if len(swept.Homes) > 0 {
		e.cfg.Log.Warn("swept what dead executors left", "executors", len(swept.Homes), "attempts", swept.Attempts, "results", len(saved))
	}
	return saved, err
}

// sweepAgain sweeps for as long as the lease holds: an executor that died just
// before this one started may still have a guard that kills its tasks, and
// others on this host die later. Soon at first, because saved results are worth
// something only while the lease of the dead lasts.
func (e *executor) sweepAgain(ctx context.Context, l *lease.Lease) {
	for pause := e.cfg.Renew / 20; ; pause = min(2*pause, time.Minute) {
		select {
		case <-ctx.Done():
			return
		case <-l.Lost():
			return
		case <-time.After(pause):
		}
		saved, err := e.sweep(ctx)
		if err != nil && ctx.Err() == nil {
			e.cfg.Log.Error("sweep what dead executors left", "err", err)
		}
		e.recover(ctx, l, saved)
	}
}

// recover reports saved results before anything is claimed, and returns those
// that are still to be reported. While the database is away it tries again.
func (e *executor) recover(ctx context.Context, l *lease.Lease, saved []worker.Saved) []worker.Saved {
	for {
		n, err := worker.Recover(ctx, e.control, e.revisions, saved)
		switch {
		case ctx.Err() != nil:
			return saved
		case err == nil:
			if n > 0 {
				e.metrics.recovered.Add(float64(n))
				e.notify.Notify(db.ChannelWake)
				e.notify.Notify(db.ChannelEvent)
				e.cfg.Log.Info("reported the results of dead executors", "results", n)
			}
			return nil
		case !db.IsUnavailable(err):
			e.cfg.Log.Error("the results of dead executors cannot be reported; their tasks run again", "err", err)
			return nil
		}
		e.cfg.Log.Warn("report the results of dead executors", "err", err)
		select {
		case <-ctx.Done():
			return saved
		case <-l.Lost():
			return saved
		case <-time.After(e.cfg.Renew / 5):
		}
	}
}

// drain ends a member in good order.
func (e *executor) drain(ctx context.Context, id uuid.UUID, w *worker.Worker) {
	e.cfg.Log.Info("draining", "running", w.Running(), "grace", e.cfg.Grace)
	var told sync.WaitGroup
	told.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, e.cfg.Renew)
		defer cancel()
		if err := e.beat.Queries().DrainExecutor(ctx, "shutdown", id); err != nil {
			e.cfg.Log.Warn("tell the fleet that this executor drains", "err", err)
		}
	})
	w.Drain(max(e.cfg.Grace, 0), e.cfg.Hasten)
	told.Wait()
}
