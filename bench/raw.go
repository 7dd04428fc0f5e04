package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// raw is the limit: a table with a small state and a partial index, claimed and
// completed a thousand rows at a time by four clients, and nothing else.
type raw struct {
	pool *pgxpool.Pool
	n    int
}

const (
	rawClients = 4
	rawBatch   = 1000
)

func newRaw(ctx context.Context, url string, n int) (*raw, error) {
	pool, err := open(ctx, url, rawClients)
	if err != nil {
		return nil, err
	}
	_, err = pool.Exec(ctx, `
CREATE TABLE task (
	id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	state      smallint NOT NULL DEFAULT 0,   -- 0 ready, 1 claimed, 2 done
	claims     smallint NOT NULL DEFAULT 0,
	payload    text NOT NULL,
	claimed_at timestamptz,
	ended_at   timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX task_ready ON task (id) WHERE state = 0`)
	if err != nil {
		return nil, fmt.Errorf("make the raw table: %w", err)
	}
	return &raw{pool: pool, n: n}, nil
}

func (r *raw) name() string { return "raw" }
func (r *raw) tasks() int   { return r.n }
func (r *raw) close()       { r.pool.Close() }

func (r *raw) prepare(ctx context.Context) error {
	if _, err := r.pool.Exec(ctx, `TRUNCATE task RESTART IDENTITY`); err != nil {
		return err
	}
	if _, err := r.pool.Exec(ctx, `INSERT INTO task (payload) SELECT 'task ' || n FROM generate_series(1, $1) AS n`, r.n); err != nil {
		return err
	}
	_, err := r.pool.Exec(ctx, `VACUUM ANALYZE task`)
	return err
}

func (r *raw) run(ctx context.Context) error {
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range rawClients {
		g.Go(func() error {
			for {
				ids, err := r.claim(ctx)
				if err != nil {
					return fmt.Errorf("claim: %w", err)
				}
				if len(ids) == 0 {
					return nil
				}
				tag, err := r.pool.Exec(ctx, `UPDATE task SET state = 2, ended_at = now() WHERE id = ANY($1) AND state = 1`, ids)
				if err != nil {
					return fmt.Errorf("complete: %w", err)
				}
				done.Add(tag.RowsAffected())
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if done.Load() != int64(r.n) {
		return wrong("%d of %d rows were completed", done.Load(), r.n)
	}
	return nil
}

func (r *raw) claim(ctx context.Context) ([]int64, error) {
	rows, err := r.pool.Query(ctx, `
UPDATE task AS t SET state = 1, claims = t.claims + 1, claimed_at = now()
FROM (SELECT id FROM task WHERE state = 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) AS k
WHERE t.id = k.id
RETURNING t.id`, rawBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ids := make([]int64, 0, rawBatch)
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func (r *raw) check(ctx context.Context) error {
	n, err := value[int](ctx, r.pool, `SELECT count(*) FROM task WHERE state = 2 AND claims = 1`)
	if err != nil {
		return err
	}
	if n != r.n {
		return wrong("%d of %d rows were claimed and completed exactly once", n, r.n)
	}
	return nil
}
