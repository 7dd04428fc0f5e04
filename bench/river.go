package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// peer is River, a job queue on Postgres, with the settings of its own benchmark:
// two thousand workers, fetching as often as it pays. Its jobs are inserted
// before its time begins.
type peer struct {
	pool   *pgxpool.Pool
	n      int
	client *river.Client[pgx.Tx]
	worked *atomic.Int64
}

type noop struct {
	Number int `json:"number"`
}

func (noop) Kind() string { return "noop" }

type noopWorker struct {
	river.WorkerDefaults[noop]
	peer *peer
}

// Work counts: it is all that the job does.
func (w *noopWorker) Work(context.Context, *river.Job[noop]) error {
	w.peer.worked.Add(1)
	return nil
}

func newPeer(ctx context.Context, url string, n int) (*peer, error) {
	pool, err := open(ctx, url, 20)
	if err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("migrate river: %w", err)
	}
	return &peer{pool: pool, n: n}, nil
}

func (p *peer) name() string { return "river" }
func (p *peer) tasks() int   { return p.n }
func (p *peer) close()       { p.pool.Close() }

func (p *peer) prepare(ctx context.Context) error {
	if _, err := p.pool.Exec(ctx, `TRUNCATE river_job`); err != nil {
		return err
	}
	p.worked = &atomic.Int64{}
	workers := river.NewWorkers()
	river.AddWorker(workers, &noopWorker{peer: p})
	client, err := river.NewClient(riverpgxv5.New(p.pool), &river.Config{
		FetchCooldown:     2 * time.Millisecond,
		FetchPollInterval: 20 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler),
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2000}},
		Workers:           workers,
	})
	if err != nil {
		return err
	}
	p.client = client
	for at := 0; at < p.n; {
		params := make([]river.InsertManyParams, 0, 2000)
		for ; at < p.n && len(params) < cap(params); at++ {
			params = append(params, river.InsertManyParams{Args: noop{Number: at}})
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
	}
	_, err = p.pool.Exec(ctx, `VACUUM ANALYZE river_job`)
	return err
}

// run is over when every job's completion is stored, which River tells its
// subscribers about.
func (p *peer) run(ctx context.Context) error {
	events, cancel := p.client.SubscribeConfig(&river.SubscribeConfig{
		Kinds: []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed}, ChanSize: p.n + 1,
	})
	defer cancel()
	if err := p.client.Start(ctx); err != nil {
		return fmt.Errorf("start river: %w", err)
	}
	for range p.n {
		select {
		case e := <-events:
			if e.Kind != river.EventKindJobCompleted {
				return wrong("job %d of river: %s", e.Job.ID, e.Kind)
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for river's jobs: %w", ctx.Err())
		}
	}
	return nil
}

func (p *peer) check(ctx context.Context) error {
	if err := p.client.Stop(ctx); err != nil {
		return fmt.Errorf("stop river: %w", err)
	}
	n, err := value[int](ctx, p.pool, `SELECT count(*) FROM river_job WHERE state = 'completed' AND attempt = 1`)
	if err != nil {
		return err
	}
	if n != p.n || int(p.worked.Load()) != p.n {
		return wrong("%d of %d jobs of river were completed in one attempt, %d worked", n, p.n, p.worked.Load())
	}
	return nil
}
