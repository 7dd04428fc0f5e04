package main

import (
	"context"
	"fmt"
	"strings"
)

// throughput lets the raw limit, River and Synthesizer take turns: P1, P2, P3.
func (b *bench) throughput(ctx context.Context) (err error) {
	var contenders []contender
	defer func() {
		for _, c := range contenders {
			c.close()
		}
	}()
	url, err := b.pg.database(ctx, "raw")
	if err != nil {
		return err
	}
	r, err := newRaw(ctx, url, b.size(200_000, 5_000))
	if err != nil {
		return err
	}
	contenders = append(contenders, r)
	if url, err = b.pg.database(ctx, "river"); err != nil {
		return err
	}
	p, err := newPeer(ctx, url, b.size(40_000, 2_000))
	if err != nil {
		return err
	}
	contenders = append(contenders, p)

	in, err := b.install(ctx, "throughput")
	if err != nil {
		return err
	}
	defer in.close()
	ones, fans := b.size(3500, 100), b.size(300, 5)
	when := schedule(b.period())
	if err := in.register(ctx, "ones", named("one", ones, oneTask(when))); err != nil {
		return err
	}
	if err := in.register(ctx, "fans", named("fan", fans, fanOut(when))); err != nil {
		return err
	}
	for _, shape := range []string{"one", "fan"} {
		if err := in.park(ctx, shape); err != nil {
			return err
		}
	}
	if err := in.settle(ctx); err != nil {
		return err
	}
	services, err := b.startInside(ctx, in)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, services.stop()) }()
	contenders = append(contenders,
		&ours{bench: b, in: in, shape: "fan", pipelines: fans, attempts: width + 2, rows: width + 3, period: b.period(), ran: services.ran},
		&ours{bench: b, in: in, shape: "one", pipelines: ones, attempts: 1, rows: 1, period: b.period(), ran: services.ran})

	rounds, noisy, err := b.takeTurns(ctx, contenders)
	if err != nil {
		return err
	}
	b.report.Rounds["throughput"] = rounds
	for _, c := range contenders {
		b.tell(rate(rounds, c, noisy))
	}
	for _, l := range []struct {
		row, what, of, over string
		gate, goal          float64
	}{
		{"P1", "1 → fan of 100 → 1, tasks/s over River's jobs/s", "fan", "river", 1, 4},
		{"P2", "one-task pipelines, tasks/s over River's jobs/s", "one", "river", 0.5, 2},
		{"P3", "1 → fan of 100 → 1 over the raw limit", "fan", "raw", 0.2, 1},
	} {
		values := ratios(rounds, l.of, l.over)
		b.tell(line{Row: l.row, What: l.what, Value: median(values), Unit: "×", Gate: l.gate, Goal: l.goal, More: true, Noisy: noisy, Values: values})
	}
	return b.invariants(ctx, in)
}

// invariants lets the product check itself after all that has been done to it.
func (b *bench) invariants(ctx context.Context, in *installation) error {
	skipped, err := in.report(ctx)
	if len(skipped) > 0 {
		b.say("  not finished in %s: %s", patience, strings.Join(skipped, ", "))
	}
	return err
}

// rate is what one contender did, with what it cost.
func rate(rounds []round, c contender, noisy bool) line {
	var rates, client, server, wal []float64
	for _, r := range rounds {
		t := r.of(c.name())
		rates = append(rates, t.Rate)
		client, server = append(client, t.per(t.Client)), append(server, t.per(t.Postgres))
		wal = append(wal, float64(t.WAL)/float64(t.Tasks))
	}
	return line{
		What: c.name(), Value: median(rates), Unit: "tasks/s", More: true, Noisy: noisy, Values: rates,
		Note: fmt.Sprintf("CPU a task: %.0f µs here, %.0f µs in Postgres; WAL %.0f B a task; %d tasks a round",
			median(client), median(server), median(wal), c.tasks()),
	}
}
