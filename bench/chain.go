package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// links is how many processes the chain of P4 has.
const links = 100

// chained is a pipeline of processes, each needing the one before.
func chained(name string, n int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "name: %s\ntasks:\n", name)
	for i := range n {
		need := ""
		if i > 0 {
			need = fmt.Sprintf("needs: t%d, ", i-1)
		}
		fmt.Fprintf(&s, "  t%d: {%scommand: [/bin/true]}\n", i, need)
	}
	return s.String()
}

// loop is what a chain is compared with: a shell that runs the same processes one
// after the other.
type loop struct{ n int }

func (l *loop) name() string                  { return "loop" }
func (l *loop) tasks() int                    { return l.n }
func (l *loop) close()                        {}
func (l *loop) prepare(context.Context) error { return nil }
func (l *loop) check(context.Context) error   { return nil }

func (l *loop) run(ctx context.Context) error {
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true || exit 1; i=$((i+1)); done", l.n)
	if err := exec.CommandContext(ctx, "/bin/sh", "-c", script).Run(); err != nil {
		return fmt.Errorf("run the loop: %w", err)
	}
	return nil
}

// chain is one run of a chain, asked for through the api, until it has ended.
type chain struct {
	in     *installation
	client *client.Client
	fleet  fleet
	n      int
	before int64
	cpu    map[string][]float64 // milliseconds a task, of each program by itself
}

func (c *chain) name() string { return "chain" }
func (c *chain) tasks() int   { return c.n }
func (c *chain) close()       {}

// prepare waits until the services have nothing to do any more.
func (c *chain) prepare(ctx context.Context) (err error) {
	if c.before, err = value[int64](ctx, c.in.pool, `SELECT coalesce(max(id), 0) FROM run`); err != nil {
		return err
	}
	return sleep(ctx, 300*time.Millisecond)
}

func (c *chain) run(ctx context.Context) error {
	began := map[string]time.Duration{}
	for _, p := range c.fleet {
		began[p.name] = ran(p.cmd.Process.Pid)
	}
	run, _, err := c.client.CreateRun(ctx, "default", "chain", "", api.RunRequest{})
	if err != nil {
		return fmt.Errorf("ask for a run: %w", err)
	}
	err = c.in.ended(ctx, run.ID)
	for _, p := range c.fleet {
		c.cpu[p.name] = append(c.cpu[p.name], 1000*(ran(p.cmd.Process.Pid)-began[p.name]).Seconds()/float64(c.n))
	}
	return err
}

// ended waits until a run is not open any more.
func (i *installation) ended(ctx context.Context, run int64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return eventually(ctx, 5*time.Millisecond, fmt.Sprintf("run %d has ended", run), func() (bool, error) {
		return value[bool](ctx, i.pool, `SELECT NOT EXISTS (SELECT FROM open_run WHERE run_id = $1)`, run)
	})
}

func (c *chain) check(ctx context.Context) error {
	return c.in.complete(ctx, c.before, expected{runs: 1, rows: c.n, attempts: c.n})
}

// steps says where the time of a link of the last chain goes, by the database's
// clock: times are those at which transactions began.
func (c *chain) steps(ctx context.Context) (string, error) {
	return value[string](ctx, c.in.pool, `
SELECT format('a link: ready → claimed %s ms, → started %s, → ended %s, → next ready %s',
	round(percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM s.claimed_at - s.ready_at)) * 1000, 1),
	round(percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM s.started_at - s.claimed_at)) * 1000, 1),
	round(percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM s.ended_at - s.started_at)) * 1000, 1),
	round(percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM s.next - s.ended_at)) * 1000, 1))
FROM (SELECT a.*, lead(a.ready_at) OVER (ORDER BY a.number) AS next FROM attempt AS a WHERE a.run_id > $1) AS s`, c.before)
}

// chain measures P4: a chain of real processes beside a shell loop.
func (b *bench) chain(ctx context.Context, in *installation, f fleet) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	ours := &chain{in: in, client: c, fleet: f, n: links, cpu: map[string][]float64{}}
	contenders := []contender{&loop{n: links}, ours}
	rounds, noisy, err := b.takeTurns(ctx, contenders)
	if err != nil {
		return err
	}
	b.report.Rounds["chain"] = rounds
	for _, c := range contenders {
		b.tell(rate(rounds, c, noisy))
	}
	steps, err := ours.steps(ctx)
	if err != nil {
		return err
	}
	values := ratios(rounds, "loop", "chain")
	b.tell(line{
		Row: "P4", What: fmt.Sprintf("chain of %d processes, trigger → finished, over a shell loop", links), Value: median(values), Unit: "×",
		Gate: 5, Goal: 1.5, Noisy: noisy, Values: values,
		Note: fmt.Sprintf("CPU a link: %.1f ms scheduler, %.1f ms executor, %.1f ms api; %s", median(ours.cpu["scheduler"]), median(ours.cpu["executor"]), median(ours.cpu["api"]), steps),
	})
	return nil
}

// client calls the fleet's api.
func (f fleet) client() (*client.Client, error) {
	return client.New(client.Options{URL: "http://" + f.of("api").address, UserAgent: "bench"})
}
