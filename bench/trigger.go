package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// touching is a pipeline whose only process writes its run's id to a file.
func touching(name, file string) string {
	return fmt.Sprintf("name: %s\ntasks:\n  only:\n    run: echo $SYN_RUN_ID > %s\n", name, file)
}

// pipe is the named pipe that the process of P9 writes to.
func (b *bench) pipe() string { return filepath.Join(b.dir, "started") }

// trigger measures P9: how long it takes on an idle system from asking the api
// for a run until its process has started, beside a bare NOTIFY from one
// connection to another.
func (b *bench) trigger(ctx context.Context, in *installation, f fleet) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	// Open for reading and writing: a reader alone would wait for a writer, and
	// see the end of the file with each of them.
	pipe, err := os.OpenFile(b.pipe(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer pipe.Close()
	said := make(chan string)
	go func() {
		defer close(said)
		for s := bufio.NewScanner(pipe); s.Scan(); {
			said <- s.Text()
		}
	}()
	bare, err := newEcho(ctx, in.url)
	if err != nil {
		return err
	}
	defer bare.close()

	before, err := value[int64](ctx, in.pool, `SELECT coalesce(max(id), 0) FROM run`)
	if err != nil {
		return err
	}
	n := b.size(100, 5)
	var starts, notifies []float64 // milliseconds
	for i := range n {
		// Long enough that nothing of the run before is left, and never in step
		// with a loop of anybody.
		if err := sleep(ctx, 250*time.Millisecond+time.Duration(i*37%100)*time.Millisecond); err != nil {
			return err
		}
		took, err := bare.once(ctx)
		if err != nil {
			return err
		}
		notifies = append(notifies, took.Seconds()*1000)
		began := time.Now()
		run, _, err := c.CreateRun(ctx, "default", "touch", "", api.RunRequest{})
		if err != nil {
			return fmt.Errorf("ask for a run: %w", err)
		}
		select {
		case text := <-said:
			starts = append(starts, time.Since(began).Seconds()*1000)
			if text != fmt.Sprint(run.ID) {
				return wrong("a process of run %s started, want one of run %d", text, run.ID)
			}
		case <-time.After(time.Minute):
			return wrong("no process of run %d started within a minute", run.ID)
		}
		if err := in.ended(ctx, run.ID); err != nil {
			return err
		}
	}
	if err := in.complete(ctx, before, expected{runs: n, rows: 1, attempts: 1}); err != nil {
		return err
	}
	b.tell(line{
		Row: "P9", What: "trigger → process start on an idle system, p50", Value: quantile(starts, 0.5), Unit: "ms", Gate: 10, Goal: 3, Values: starts,
		Note: fmt.Sprintf("bare NOTIFY %.2f ms: %.0f ×", quantile(notifies, 0.5), quantile(starts, 0.5)/quantile(notifies, 0.5)),
	})
	b.tell(line{
		Row: "P9", What: "trigger → process start on an idle system, p99", Value: quantile(starts, 0.99), Unit: "ms", Gate: 50, Goal: 10,
		Note: fmt.Sprintf("bare NOTIFY %.2f ms", quantile(notifies, 0.99)),
	})
	return nil
}

// makePipe makes the named pipe.
func (b *bench) makePipe() error {
	if err := syscall.Mkfifo(b.pipe(), 0o666); err != nil {
		return fmt.Errorf("make %s: %w", b.pipe(), err)
	}
	return nil
}

// echo is a NOTIFY from one connection to another.
type echo struct{ from, to *pgx.Conn }

func newEcho(ctx context.Context, url string) (*echo, error) {
	from, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	to, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	_, err = to.Exec(ctx, "LISTEN bench_echo")
	return &echo{from, to}, err
}

// once is how long it takes from sending a notification to receiving it.
func (e *echo) once(ctx context.Context) (time.Duration, error) {
	got := make(chan error, 1)
	go func() {
		_, err := e.to.WaitForNotification(ctx)
		got <- err
	}()
	began := time.Now()
	if _, err := e.from.Exec(ctx, "NOTIFY bench_echo"); err != nil {
		return 0, err
	}
	err := <-got
	return time.Since(began), err
}

func (e *echo) close() {
	_ = e.from.Close(context.Background())
	_ = e.to.Close(context.Background())
}
