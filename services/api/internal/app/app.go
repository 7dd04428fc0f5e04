// Package app holds the use cases of the api: one method each, with all the rules; rest and web are skins over it.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

// Config is what an App needs. Pool is required.
type Config struct {
	Pool    *db.Pool
	Log     *slog.Logger // nil: slog's default
	Version string
	// BaseURL is where people find the pages, without a slash at its end; it is
	// the start of every url in answers. Empty: answers carry paths alone.
	BaseURL string
	// Secrets seals the values of secrets; nil: none can be set.
	Secrets *secrets.Keyring
	// Poll is how often streams look by themselves; zero means a second.
	Poll time.Duration
}

// An App answers for all pipelines and runs of one database. Its methods may be
// called side by side.
type App struct {
	pool      *db.Pool
	log       *slog.Logger
	version   string
	base      string
	poll      time.Duration
	secrets   *secrets.Keyring
	revisions *revision.Cache
	notifier  *db.Notifier
	hints     hints
	lines     lineCache
	registers chan struct{} // a place per register under way
}

// parallelRegisters bounds how much memory and time registers take together.
const parallelRegisters = 4

// New makes an App. Listen must run as long as it is used.
func New(cfg Config) *App {
	a := &App{
		pool: cfg.Pool, log: cfg.Log, version: cfg.Version, base: strings.TrimSuffix(cfg.BaseURL, "/"), poll: cfg.Poll, secrets: cfg.Secrets,
		revisions: revision.NewCache(2000), notifier: db.NewNotifier(cfg.Pool), registers: make(chan struct{}, parallelRegisters),
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.poll <= 0 {
		a.poll = time.Second
	}
	return a
}

// Listen sends and hears notifications until ctx is done. Without it everything
// works, only later: what waits for a notification polls too.
func (a *App) Listen(ctx context.Context) error {
	var g sync.WaitGroup
	g.Go(func() { a.notifier.Run(ctx) })
	g.Go(func() { db.Listen(ctx, a.pool, a.log, func(string) { a.hints.tell() }, db.ChannelEvent) })
	g.Wait()
	return nil
}

// queries are for single reads.
func (a *App) queries() *db.Queries { return a.pool.Queries() }

// hints let many streams wait for the next notification.
type hints struct {
	mu   sync.Mutex
	next chan struct{} // guarded by mu; closed by tell; nil: nobody waits
}

func (h *hints) wait() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == nil {
		h.next = make(chan struct{})
	}
	return h.next
}

func (h *hints) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next != nil {
		close(h.next)
		h.next = nil
	}
}

// pause waits for a notification, the poll interval, or the end of ctx, and
// tells whether to go on. A little time passes in any case, so that a busy
// server's streams send what changed together.
func (a *App) pause(ctx context.Context, hint <-chan struct{}) bool {
	const together = 150 * time.Millisecond
	settle := time.NewTimer(min(together, a.poll))
	defer settle.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-settle.C:
	}
	timer := time.NewTimer(a.poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-hint:
	}
	return true
}

// pipelineURL is the page of a pipeline.
func (a *App) pipelineURL(namespace, name string) string {
	return a.base + "/p/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
}

// runURL is the page of a run.
func (a *App) runURL(namespace, name string, number int64) string {
	return fmt.Sprintf("%s/%d", a.pipelineURL(namespace, name), number)
}
