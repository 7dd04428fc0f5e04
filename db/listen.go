package db

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// The channels of NOTIFY. A notification says only "look now"; what there is to
// see are rows, and every loop looks by itself after a while.
const (
	// ChannelWake: the scheduler's inbox has something that is due.
	ChannelWake = "syn_wake"
	// ChannelSchedule: a schedule was added or changed, or a pipeline resumed.
	ChannelSchedule = "syn_schedule"
	// ChannelReady: there is work for executors.
	ChannelReady = "syn_ready"
	// ChannelPoll: there is something new that executors ask services for.
	ChannelPoll = "syn_poll"
	// ChannelStop: live attempts were asked to stop.
	ChannelStop = "syn_stop"
	// ChannelEvent: there are new events, for pages that show them as they come.
	ChannelEvent = "syn_event"
)

// Listen calls heard with the name of a channel for every notification, on one
// connection of its own, until ctx ends. Notifications are lost while there is no
// connection, so heard is also called for every channel after every connect. It
// must not block: what it wakes does the work.
func Listen(ctx context.Context, p *Pool, log *slog.Logger, heard func(channel string), channels ...string) {
	for failures := 0; ctx.Err() == nil; {
		err := p.listen(ctx, func() { failures = 0 }, heard, channels)
		if ctx.Err() != nil {
			return
		}
		failures++
		log.Warn("no notifications from the database; polling goes on", "error", err)
		// 100 ms, 200 ms … 10 s, spread so that replicas do not come back in step.
		full := min(100*time.Millisecond<<min(failures-1, 10), 10*time.Second)
		wait := time.NewTimer(full/2 + rand.N(full/2))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

// listen is one connection's life.
func (p *Pool) listen(ctx context.Context, connected func(), heard func(string), channels []string) error {
	cfg, err := connConfig(p.url, p.name+" listen")
	if err != nil {
		return err
	}
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, cfg)
	if err != nil {
		return err
	}
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(bye)
	}()
	for _, c := range channels {
		if _, err := conn.Exec(dial, "LISTEN "+pgx.Identifier{c}.Sanitize()); err != nil {
			return err
		}
	}
	connected()
	for _, c := range channels {
		heard(c)
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		heard(n.Channel)
	}
}
