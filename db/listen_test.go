package db_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// eventually polls a condition that another process or goroutine makes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

func TestNotificationsArriveAndConnectionsComeBack(t *testing.T) {
	t.Parallel()
	u := dbtest.URL(t)
	pool, conn := dbtest.Open(t, db.Config{URL: u, AppName: "ears"}), connect(t, u)
	heard := make(chan string, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		db.Listen(ctx, pool, slog.New(slog.DiscardHandler), func(c string) { heard <- c }, db.ChannelWake, db.ChannelReady)
	})
	n := db.NewNotifier(pool)
	n.Notify(db.ChannelReady) // before Run: kept
	wg.Go(func() { n.Run(ctx) })
	next := func() string {
		select {
		case c := <-heard:
			return c
		case <-time.After(15 * time.Second):
			t.Fatal("nothing heard for 15 s")
			return ""
		}
	}
	// Each connect stands for what may have been missed before it.
	first := []string{next(), next()}
	if !slices.Equal(first, []string{db.ChannelWake, db.ChannelReady}) {
		t.Fatalf("heard %q after the first connect, want both channels", first)
	}
	for range 3 {
		n.Notify(db.ChannelWake)
		for next() != db.ChannelWake {
		}
	}

	for range 2 {
		exec(t, conn, "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.application_name = 'ears listen'")
		again := map[string]bool{}
		for len(again) < 2 {
			again[next()] = true
		}
	}
	n.Notify(db.ChannelReady)
	for next() != db.ChannelReady {
	}
}

func TestAFloodOfNotificationsIsFew(t *testing.T) {
	t.Parallel()
	u := dbtest.URL(t)
	pool, conn := dbtest.Open(t, db.Config{URL: u}), connect(t, u)
	exec(t, conn, "LISTEN "+db.ChannelWake)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	n := db.NewNotifier(pool)
	wg.Go(func() { n.Run(ctx) })
	begin := time.Now()
	for range 10_000 {
		n.Notify(db.ChannelWake)
	}
	took := time.Since(begin)
	count := 0
	for {
		wait, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		_, err := conn.WaitForNotification(wait)
		stop()
		if err != nil {
			break
		}
		count++
	}
	if most := int(took/(3*time.Millisecond)) + 2; count == 0 || count > most {
		t.Errorf("10 000 requests within %v became %d notifications, want 1 to %d", took, count, most)
	}
}
