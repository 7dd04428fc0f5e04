package main

import (
	"context"
	"fmt"
	"time"
)

// window is over how long the pipelines of P7 are due.
const window = 60 * time.Second

// onceAt is a pipeline that is due at one instant, and then not for a year.
func onceAt(name string, at time.Time) string {
	return fmt.Sprintf("name: %s\nschedule: {every: 52w, anchor: %q}\ntasks:\n  only: {command: [/bin/true]}\n",
		name, at.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

// lag measures P7: how late tasks start when many pipelines are due, evenly over
// a minute, each at an instant of its own. The tasks do nothing; scheduler and
// executor are in this process, which does nothing else meanwhile.
func (b *bench) lag(ctx context.Context) (err error) {
	in, err := b.install(ctx, "lag")
	if err != nil {
		return err
	}
	defer in.close()
	n, span := b.pipelines, window
	if b.short {
		n, span = 200, 5*time.Second
	}
	services, err := b.startInside(ctx, in)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, services.stop()) }()

	// All must be registered before the first is due: about a thousand a second
	// are registered, on a slow machine.
	first := time.Now().Add(5*time.Second + time.Duration(n)*time.Millisecond).Truncate(time.Second)
	all := make([]string, n)
	for i := range all {
		all[i] = onceAt(fmt.Sprintf("lag_%06d", i), first.Add(span*time.Duration(i)/time.Duration(n)))
	}
	if err := in.register(ctx, "lag", all); err != nil {
		return err
	}
	if err := in.settle(ctx); err != nil {
		return err
	}
	if late := time.Since(first); late > 0 {
		return fmt.Errorf("registering %d pipelines took %s longer than there was time for", n, late)
	}
	if err := sleep(ctx, time.Until(first.Add(-100*time.Millisecond))); err != nil {
		return err
	}
	m, err := startMeter(ctx, b.pg)
	if err != nil {
		return err
	}
	if err := sleep(ctx, time.Until(first.Add(span))); err != nil {
		return err
	}
	used, err := m.stop(ctx)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := in.finished(waiting); err != nil {
		return err
	}
	if err := services.ran.exactly(n); err != nil {
		return err
	}
	if err := in.complete(ctx, 0, expected{runs: n, ticks: n, rows: 1, attempts: 1}); err != nil {
		return err
	}
	var lags [3]float64
	for i, q := range []float64{0.5, 0.99, 1} {
		lags[i], err = value[float64](ctx, in.pool, `
SELECT 1000 * percentile_disc($1) WITHIN GROUP (ORDER BY extract(epoch FROM coalesce(a.started_at, a.claimed_at) - r.fire_at)::float8)
FROM attempt AS a JOIN run AS r ON r.id = a.run_id`, q)
		if err != nil {
			return err
		}
	}
	noisy := used.Foreign > foreignLimit
	what := fmt.Sprintf("start lag, %d pipelines due over %s", n, span)
	b.tell(line{Row: "P7", What: what + ", p99", Value: lags[1], Unit: "ms", Gate: 250, Goal: 50, Noisy: noisy, Note: fmt.Sprintf("p50 %.1f ms, last %.0f ms", lags[0], lags[2])})
	b.tell(line{
		Row: "P7", What: what + ", cores in all", Value: (used.Client + used.Postgres) / used.Seconds, Unit: "", Gate: 1.3, Goal: 1, Noisy: noisy,
		Note: fmt.Sprintf("%.2f scheduler and executor, %.2f Postgres", used.Client/used.Seconds, used.Postgres/used.Seconds),
	})
	return b.invariants(ctx, in)
}
