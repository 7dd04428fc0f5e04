package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db"
	apiservice "github.com/synthesizer-dev/synthesizer/services/api"
)

// An installation is one migrated database of Synthesizer.
type installation struct {
	name string // of the database
	url  string
	pool *pgxpool.Pool
	log  *slog.Logger
}

// install makes a database with everything in it that migrate makes.
func (b *bench) install(ctx context.Context, name string) (*installation, error) {
	url, err := b.pg.database(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := db.Migrate(ctx, url); err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	pool, err := open(ctx, url, 4)
	if err != nil {
		return nil, err
	}
	return &installation{name: name, url: url, pool: pool, log: b.logger()}, nil
}

func (i *installation) close() { i.pool.Close() }

// perFile is how many pipelines the bench writes into one file.
const perFile = 100

// register stores pipelines as a user would: files over HTTP to the api.
func (i *installation) register(ctx context.Context, source string, pipelines []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return apiservice.Run(ctx, apiservice.Config{DatabaseURL: i.url, Listener: listener, InsecureNoAuth: true, Log: i.log})
	})
	g.Go(func() error {
		defer cancel()
		c, err := client.New(client.Options{URL: "http://" + listener.Addr().String(), UserAgent: "bench"})
		if err != nil {
			return err
		}
		// A register is one transaction: a hundred thousand pipelines are several sources.
		const atOnce = 5000
		for at := 0; at < len(pipelines); at += atOnce {
			req := api.RegisterRequest{Source: fmt.Sprintf("%s_%d", source, at/atOnce)}
			for part := pipelines[at:min(at+atOnce, len(pipelines))]; len(part) > 0; part = part[min(perFile, len(part)):] {
				req.Files = append(req.Files, api.SourceFile{
					Name: fmt.Sprintf("%s_%d.yaml", source, len(req.Files)),
					Text: strings.Join(part[:min(perFile, len(part))], "---\n"),
				})
			}
			if _, err := c.Register(ctx, req); err != nil {
				return fmt.Errorf("register: %w", err)
			}
		}
		return nil
	})
	return g.Wait()
}

// settle brings statistics and visibility up to date, as hours of autovacuum do.
func (i *installation) settle(ctx context.Context) error {
	_, err := i.pool.Exec(ctx, "VACUUM ANALYZE")
	return err
}

// patience is how long one of the product's own checks may take. Some look at
// every pair of something, and a benchmark leaves a lot of everything.
const patience = 3 * time.Second

// report runs the checks that the product has of itself, and says which of them
// took too long to be finished.
func (i *installation) report(ctx context.Context) (skipped []string, err error) {
	rows, err := i.pool.Query(ctx, `SELECT v.viewname FROM pg_views AS v WHERE v.schemaname = 'inv' AND v.viewname LIKE 'inv\_%' ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("list the invariants: %w", err)
	}
	views, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the invariants: %w", err)
	}
	var bad []string
	for _, view := range views {
		var n int64
		err := pgx.BeginFunc(ctx, i.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", patience.Milliseconds())); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "SET LOCAL search_path = inv, public"); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{"inv", view}.Sanitize()).Scan(&n)
		})
		const tookTooLong = "57014"
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == tookTooLong && ctx.Err() == nil {
			skipped = append(skipped, view)
			continue
		}
		if err != nil {
			return skipped, fmt.Errorf("check %s: %w", view, err)
		}
		if n > 0 {
			bad = append(bad, fmt.Sprintf("%s (%d)", view, n))
		}
	}
	if len(bad) > 0 {
		return skipped, wrong("invariants broken: %s", strings.Join(bad, ", "))
	}
	return skipped, nil
}

// period is the distance of the ticks of what the bench makes due by hand: longer
// than any turn, and short enough to wait for the next.
func (b *bench) period() time.Duration {
	if b.short {
		return time.Hour
	}
	return 30 * time.Second
}

// schedule is when a pipeline of the bench is due: every period from the epoch
// on, so that everybody knows its ticks.
func schedule(period time.Duration) string {
	return fmt.Sprintf("{every: %s, anchor: 2001-01-01T00:00:00Z}", period)
}

// oneTask is the smallest pipeline.
func oneTask(schedule string) func(name string) string {
	return func(name string) string {
		return fmt.Sprintf("name: %s\nschedule: %s\ntasks:\n  only: {command: [/bin/true]}\n", name, schedule)
	}
}

// width is how many items the fan of fanOut has.
const width = 100

// fanOut is a task, a hundred items that need it, and one that needs them all.
func fanOut(schedule string) func(name string) string {
	items := make([]string, width)
	for i := range items {
		items[i] = fmt.Sprint(i)
	}
	return func(name string) string {
		return fmt.Sprintf(`name: %s
schedule: %s
tasks:
  first: {command: [/bin/true]}
  each: {needs: first, for_each: [%s], command: [/bin/true]}
  last: {needs: each, command: [/bin/true]}
`, name, schedule, strings.Join(items, ", "))
	}
}

// named makes n definitions with names of their own.
func named(prefix string, n int, of func(name string) string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = of(fmt.Sprintf("%s_%06d", prefix, i))
	}
	return all
}

// eventually asks every few milliseconds until the answer is yes.
func eventually(ctx context.Context, every time.Duration, what string, ask func() (bool, error)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		yes, err := ask()
		if err != nil {
			return fmt.Errorf("wait until %s: %w", what, err)
		}
		if yes {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return wrong("waited in vain until %s: %v", what, context.Cause(ctx))
		}
	}
}
