package main

import (
	"context"
	"fmt"
)

// throughput lets the raw limit, River and Synthesizer take turns: P1, P2, P3.
func (b *bench) throughput(ctx context.Context) error {
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

	rounds, noisy, err := b.takeTurns(ctx, contenders)
	if err != nil {
		return err
	}
	b.report.Rounds["throughput"] = rounds
	for _, c := range contenders {
		var rates []float64
		for _, r := range rounds {
			rates = append(rates, r.of(c.name()).Rate)
		}
		b.tell(line{Row: "", What: c.name(), Value: median(rates), Unit: "tasks/s", Noisy: noisy, Values: rates, Note: fmt.Sprintf("%d tasks a round", c.tasks())})
	}
	return nil
}
