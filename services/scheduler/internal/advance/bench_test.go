package advance_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// BenchmarkLife is the life of runs of the shape 1 → 100 → 1, from their
// request to their end, with one scheduler and one executor that runs nothing
// and reports and claims in batches.
func BenchmarkLife(b *testing.B) {
	w := schedtest.New(b)
	var text strings.Builder
	text.WriteString("name: p\nconcurrency: {limit: 1000}\ntasks:\n  first: {run: x}\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  t%d: {needs: first, run: x}\n", i)
	}
	text.WriteString("  last: {needs: [")
	for i := range 100 {
		fmt.Fprintf(&text, "%st%d", map[bool]string{true: ", "}[i > 0], i)
	}
	text.WriteString("], run: x}\n")
	w.Register(text.String(), time.Time{})

	runs := max(1, b.N/102)
	ids := make([]int64, runs)
	for i := range ids {
		ids[i] = w.Trigger("p")
	}
	b.ResetTimer()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			_ = w.Admitter.Step(ctx)
			_ = w.Advancer.Step(ctx)
		}
	}()
	done := 0
	lanes, err := w.Pool.Queries().Lanes(ctx)
	if err != nil {
		b.Fatal(err)
	}
	var held []db.ClaimReadyRow
	for done < runs*102 {
		err := db.InTx(ctx, w.Pool, func(q *db.Queries) error {
			var batch ending.Batch
			for _, c := range held {
				rev, err := w.Cache.One(ctx, q, c.RevisionID)
				if err != nil {
					return err
				}
				ordinal, _ := flow.Split(int(c.Number))
				batch.Add(rev.Graph.Task(ordinal), ending.Live{RunID: c.RunID, Number: c.Number, Token: c.LeaseToken, Executor: w.Executor}, ending.Report{State: "succeeded", Started: true, StartedAgo: 1}, 0)
			}
			if _, err := batch.Write(ctx, q); err != nil {
				return err
			}
			p := db.ClaimReadyParams{Executor: w.Executor, Free: 500, Lanes: []int32{lanes[0].ID}, Lows: []int64{-1 << 62}}
			for range 500 {
				p.Tokens = append(p.Tokens, uuid.New())
			}
			done += len(held)
			var err error
			held, err = q.ClaimReady(ctx, p)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		if len(held) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	b.ReportMetric(float64(runs*102)/b.Elapsed().Seconds(), "tasks/s")
}
