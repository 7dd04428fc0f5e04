package executor_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
)

// noop runs nothing.
type noop struct{}

func (noop) Run(context.Context, attempt.Rendered) process.Result {
	zero := 0
	return process.Result{State: process.Succeeded, ExitCode: &zero}
}

// BenchmarkEnds is how many tasks a second one executor claims, runs and
// reports, b.N being tasks. A correctness check rides along.
func BenchmarkEnds(b *testing.B) {
	for _, bench := range []struct {
		name   string
		items  bool // one run with many items, else many runs of one task
		change func(*executor.Config)
	}{
		{"noop/items", true, func(c *executor.Config) { c.Runner, c.Slots = noop{}, 500 }},
		{"noop/runs", false, func(c *executor.Config) { c.Runner, c.Slots = noop{}, 500 }},
		{"true/items", true, func(c *executor.Config) { c.Slots = 8 }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := exectest.New(b, "name: p\ntasks:\n  a: {for_each: [x], command: [/bin/true]}\n---\nname: q\ntasks:\n  a: {command: [/bin/true]}\n")
			if bench.items {
				for left := b.N; left > 0; left -= 10_000 {
					w.ReleaseItems(w.Run("p"), "p", "a", min(left, 10_000))
				}
			} else {
				w.RunMany("q", "a", b.N)
			}
			w.Exec(`VACUUM (ANALYZE) ready, live, task, run`)
			b.ResetTimer()
			began, used := time.Now(), ownCPU()
			r := start(b, w, bench.change)
			for exectest.Value[int64](w, `SELECT (SELECT count(*) FROM (SELECT 1 FROM ready LIMIT 1) x) + (SELECT count(*) FROM live)`) > 0 {
				time.Sleep(5 * time.Millisecond)
			}
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "tasks/s")
			b.ReportMetric(float64((ownCPU()-used).Microseconds())/float64(b.N), "cpu-µs/task")
			b.ReportMetric(float64(serverCPU(w).Microseconds())/float64(b.N), "pg-µs/task")
			b.StopTimer()
			r.stop(b)
			if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt WHERE state = 'succeeded'`); n != int64(b.N) {
				b.Errorf("%d attempts succeeded, want %d", n, b.N)
			}
		})
	}
}

// ownCPU is what this process and its children that have ended have used.
func ownCPU() time.Duration {
	var own, children syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children)
	return time.Duration(own.Utime.Nano() + own.Stime.Nano() + children.Utime.Nano() + children.Stime.Nano())
}

// serverCPU is what the executor's sessions have used at the server, which is
// on this machine.
func serverCPU(w *exectest.World) time.Duration {
	pids := exectest.Value[[]int32](w, `SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name LIKE 'synthesizer executor%' AND datname = current_database()`)
	const tick = 10 * time.Millisecond
	var sum time.Duration
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, n := range f[11:13] {
			v, _ := strconv.Atoi(n)
			sum += time.Duration(v) * tick
		}
	}
	return sum
}
