package db

import (
	"context"
	"slices"
	"sync"
	"time"
)

// notifyGap is the shortest time between two notifications of one process. Every
// NOTIFY takes a lock of the whole server when it commits.
const notifyGap = 3 * time.Millisecond

// eventDelay is how long a notification for pages may wait for another to go
// with. Whoever watches a page does not see it, and a task that ends a moment
// after it was claimed does not find its wake-up held back by the gap.
const eventDelay = 30 * time.Millisecond

// A Notifier tells other processes to look now, outside the transactions that did
// the work, and at most once per few milliseconds however often it is asked.
type Notifier struct {
	pool *Pool
	kick chan struct{}

	mu      sync.Mutex
	pending []string // guarded by mu
}

// NewNotifier returns a Notifier that sends through pool once Run is called.
func NewNotifier(pool *Pool) *Notifier {
	return &Notifier{pool: pool, kick: make(chan struct{}, 1)}
}

// Notify asks for a notification on a channel, after the commit of what is to be
// seen. It never blocks.
func (n *Notifier) Notify(channel string) {
	n.mu.Lock()
	if slices.Contains(n.pending, channel) {
		n.mu.Unlock()
		return // on its way
	}
	n.pending = append(n.pending, channel)
	n.mu.Unlock()
	if channel == ChannelEvent {
		time.AfterFunc(eventDelay, n.send)
		return
	}
	n.send()
}

func (n *Notifier) send() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Run sends what Notify was asked for until ctx ends. One that cannot be sent is
// dropped: everybody polls as well.
func (n *Notifier) Run(ctx context.Context) {
	gap := time.NewTimer(0)
	defer gap.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		}
		if !n.flush(ctx) {
			continue
		}
		gap.Reset(notifyGap)
		select {
		case <-ctx.Done():
			return
		case <-gap.C:
		}
	}
}

// flush sends what is pending, and says whether there was anything.
func (n *Notifier) flush(ctx context.Context) bool {
	n.mu.Lock()
	channels := n.pending
	n.pending = nil
	n.mu.Unlock()
	if len(channels) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = n.pool.pgx.Exec(ctx, "SELECT pg_notify(c.name, '') FROM unnest($1::text[]) AS c (name)", channels)
	return true
}
