package scheduler_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/explain"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// explained asks within one snapshot, as the api does.
func explained(w *schedtest.World, ask func(context.Context, *explain.Explainer) (api.Explanation, error)) api.Explanation {
	w.T.Helper()
	var e api.Explanation
	err := db.InSnapshot(w.T.Context(), w.Pool, func(q *db.Queries) (err error) {
		e, err = ask(w.T.Context(), explain.New(q, w.Cache, func(ns string) bool { return ns != "secret" }))
		return err
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return e
}

func explainTask(w *schedtest.World, run int64, ordinal, item int) api.Explanation {
	w.T.Helper()
	number := flow.Number(ordinal)
	if item >= 0 {
		number = flow.ItemNumber(ordinal, item)
	}
	return explained(w, func(ctx context.Context, x *explain.Explainer) (api.Explanation, error) {
		return x.Task(ctx, run, number)
	})
}

func explainRun(w *schedtest.World, run int64) api.Explanation {
	w.T.Helper()
	return explained(w, func(ctx context.Context, x *explain.Explainer) (api.Explanation, error) { return x.Run(ctx, run) })
}

func explainPipeline(w *schedtest.World, name string) api.Explanation {
	w.T.Helper()
	id := schedtest.Value[int64](w, `SELECT id FROM pipeline WHERE name = $1`, name)
	return explained(w, func(ctx context.Context, x *explain.Explainer) (api.Explanation, error) { return x.Pipeline(ctx, id) })
}

// text is an answer without its times.
func text(e api.Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, %s, blocked: %t\n%s\n", e.Kind, e.Subject, e.State, e.Blocked, e.Summary)
	for _, f := range e.Findings {
		fmt.Fprintf(&b, "  %-6s %-12s %s", f.Standing, f.Gate, f.Summary)
		if p := f.Place(); p != "" {
			b.WriteString(" (" + p + ")")
		}
		if !f.Since.IsZero() {
			b.WriteString(" since")
		}
		if !f.Until.IsZero() {
			b.WriteString(" until")
		}
		b.WriteString("\n")
		for _, h := range f.Holders {
			fmt.Fprintf(&b, "           %s: %s\n", h.Name("default"), h.Does())
		}
		if more := f.Others(); more != "" {
			fmt.Fprintf(&b, "           %s\n", more)
		}
		if f.Frees != "" {
			fmt.Fprintf(&b, "         → %s\n", f.Frees)
		}
		for _, c := range f.Commands {
			fmt.Fprintf(&b, "           %s\n", c)
		}
	}
	return b.String()
}

// fleet replaces the executors of a world.
func fleet(w *schedtest.World, list ...string) []uuid.UUID {
	w.T.Helper()
	w.Exec(`UPDATE executor SET stopped_at = now() WHERE stopped_at IS NULL`)
	var ids []uuid.UUID
	for _, e := range list { // name slots labels
		f := strings.Fields(e)
		labels := []string{}
		if len(f) > 2 {
			labels = strings.Split(f[2], ",")
		}
		id := uuid.New()
		w.Exec(`INSERT INTO executor (id, name, host, slots, labels, lease_until) VALUES ($1, $2, $2 || '.lan', $3::text::int, $4, now() + interval '1 hour')`, id, f[0], f[1], labels)
		ids = append(ids, id)
	}
	return ids
}

// lateTicks gives the runs of ticks that were due while nobody looked: the first
// of three has had its turn and has ended.
func lateTicks(w *schedtest.World) []int64 {
	w.T.Helper()
	w.Paced(1)
	w.Exec(`UPDATE schedule SET next_at = date_trunc('year', now(), 'UTC') + ascii(name) % 96 * interval '1 hour'`)
	if err := w.Planner.Step(w.T.Context()); !schedtest.IsMore(err) {
		w.T.Fatal(err)
	}
	w.Settle()
	w.End(w.Claims(1)[0], "succeeded", "")
	w.Settle()
	return schedtest.Value[[]int64](w, `SELECT array_agg(run_id ORDER BY run_id) FROM open_run`)
}

// Answers of many situations, word by word.
func TestExplainSaysWhyInAllSituations(t *testing.T) {
	t.Parallel()
	const called = "name: c\ntasks:\n  work: {run: x}\n---\n"
	const yearly = "name: p\nschedule:\n  - {id: a, cron: \"0 1 1 1 *\", catchup_window: 366d}\n  - {id: b, cron: \"0 2 1 1 *\", catchup_window: 366d}\n  - {id: c, cron: \"0 3 1 1 *\", catchup_window: 366d}\n" +
		"concurrency: {limit: 2}\ntasks:\n  a: {run: x}\n"
	const pools = "kind: pool\nname: warehouse\nslots: 2\n---\n"
	const wide = "kind: pool\nname: warehouse\nslots: 4\n---\n"
	tests := []struct {
		name string
		file string
		do   func(w *schedtest.World) api.Explanation
	}{
		{"queued behind a run of its own group", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			first := w.Trigger("p")
			w.Settle()
			_ = first
			w.Trigger("p")
			run := w.Trigger("p")
			w.Settle()
			return explainRun(w, run)
		}},
		{"late ticks after an outage", yearly, func(w *schedtest.World) api.Explanation {
			return explainRun(w, lateTicks(w)[0])
		}},
		{"a pipeline of late ticks", yearly, func(w *schedtest.World) api.Explanation {
			lateTicks(w)
			return explainPipeline(w, "p")
		}},
		{"a tick behind a late one", yearly, func(w *schedtest.World) api.Explanation {
			list := lateTicks(w)
			last := list[len(list)-1]
			w.Exec(`UPDATE open_run SET counted = true WHERE run_id = $1`, last)
			return explainRun(w, last)
		}},
		{"a run by hand among late ticks", yearly, func(w *schedtest.World) api.Explanation {
			lateTicks(w)
			return explainRun(w, w.Trigger("p"))
		}},
		{"a task of a queued run", "name: p\ntasks:\n  a: {run: x}\n  b: {run: x, needs: a, runs_on: [gpu]}\n", func(w *schedtest.World) api.Explanation {
			w.Trigger("p")
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 1, -1)
		}},
		{"a run about to start", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			return explainRun(w, w.Trigger("p"))
		}},
		{"a frozen pipeline's run", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			w.Exec(`UPDATE pipeline SET frozen_at = now(), frozen_by = 'ana', freeze_reason = 'release', frozen_until = now() + interval '1 hour'`)
			run := w.Trigger("p")
			w.Settle()
			return explainRun(w, run)
		}},
		{"waiting for what it needs", "name: p\ntasks:\n  a: {run: x}\n  b: {run: x}\n  c: {run: x, needs: [a, b]}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			c := w.Claims(1)
			w.End(c[0], "succeeded", "")
			w.Settle()
			w.Claims(1)
			return explainTask(w, run, 2, -1)
		}},
		{"waiting for finally", "name: p\ntasks:\n  a: {run: x}\nfinally:\n  z: {run: x}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 1, -1)
		}},
		{"skipped after a failure far before it", "name: p\ntasks:\n  a: {run: x}\n  b: {run: x, needs: a}\n  c: {run: x, needs: b}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.End(w.Claims(1)[0], "failed", "")
			w.Settle()
			return explainTask(w, run, 2, -1)
		}},
		{"skipped by its condition", "name: p\ntasks:\n  a: {run: x}\n  b: {run: x, needs: a, if: failure()}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.End(w.Claims(1)[0], "succeeded", "")
			w.Settle()
			return explainTask(w, run, 1, -1)
		}},
		{"backing off", "name: p\ntasks:\n  a: {run: x, retry: {limit: 3, delay: 1h, max_delay: 2h}}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.End(w.Claims(1)[0], "failed", "")
			w.Settle()
			return explainTask(w, run, 0, -1)
		}},
		{"a run of which all back off", "name: p\ntasks:\n  a: {run: x, retry: {limit: 3, delay: 1h, max_delay: 2h}}\n  b: {run: x, needs: a}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.End(w.Claims(1)[0], "failed", "")
			w.Settle()
			return explainRun(w, run)
		}},
		{"a full pool", pools + "name: p\nconcurrency: {limit: 10}\ntasks:\n  a: {run: x, pool: {name: warehouse, slots: 2}}\n  b: {run: x, pool: warehouse, queue_timeout: 1h}\n", func(w *schedtest.World) api.Explanation {
			w.Trigger("p")
			w.Settle()
			w.Claims(1)
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 1, -1)
		}},
		{"a pool with too little room", pools + "name: p\nconcurrency: {limit: 10}\ntasks:\n  a: {run: x, pool: warehouse}\n  b: {run: x, pool: {name: warehouse, slots: 2}}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 1, -1)
		}},
		{"a pool keeps the rest for scheduled runs", wide + "name: p\nconcurrency: {limit: 10}\ntasks:\n  a: {run: x, pool: warehouse}\n  b: {run: x, pool: {name: warehouse, slots: 2}}\n", func(w *schedtest.World) api.Explanation {
			w.Exec(`UPDATE pool SET reserve_scheduled = 2`)
			run := w.Trigger("p")
			w.OfBackfill(run, 100)
			w.Settle()
			return explainTask(w, run, 1, -1)
		}},
		{"a backfill holds its share of a pool", wide + "name: p\nconcurrency: {limit: 10}\ntasks:\n  a: {run: x, pool: warehouse}\n  b: {run: x, pool: warehouse}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.OfBackfill(run, 25)
			w.Settle()
			return explainTask(w, run, 1, -1)
		}},
		{"a pool that was made too small for a backfill", wide + "name: p\ntasks:\n  a: {run: x, pool: {name: warehouse, slots: 2}}\n", func(w *schedtest.World) api.Explanation {
			w.Exec(`UPDATE pool SET reserve_scheduled = 3`)
			run := w.Trigger("p")
			w.OfBackfill(run, 100)
			w.Settle()
			return explainTask(w, run, 0, -1)
		}},
		{"no executor has its label", "name: p\ntasks:\n  a: {run: x, runs_on: [gpu]}\n", func(w *schedtest.World) api.Explanation {
			fleet(w, "wh-1 4 linux", "wh-2 2")
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 0, -1)
		}},
		{"no executor at all", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			fleet(w)
			run := w.Trigger("p")
			w.Settle()
			return explainRun(w, run)
		}},
		{"the only executor drains", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			fleet(w, "wh-1 4")
			w.Exec(`UPDATE executor SET draining_at = now()`)
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 0, -1)
		}},
		{"all slots are busy", "name: p\nconcurrency: {limit: 10}\ntasks:\n  a: {run: x, priority: 10}\n", func(w *schedtest.World) api.Explanation {
			wh := fleet(w, "wh-1 2", "wh-2 4 gpu")
			w.Exec(`UPDATE executor SET draining_at = now() WHERE name = 'wh-2'`)
			for range 4 {
				w.Trigger("p")
			}
			w.Settle()
			w.ClaimsOf(wh[0], 2)
			w.Exec(`UPDATE ready SET rank = run_id`)
			return explainTask(w, schedtest.Value[int64](w, `SELECT max(run_id) FROM ready`), 0, -1)
		}},
		{"about to be claimed", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			fleet(w, "wh-1 2")
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 0, -1)
		}},
		{"running", "name: p\ntimeout: 2h\ntasks:\n  a: {run: x, retry: 2}\n", func(w *schedtest.World) api.Explanation {
			wh := fleet(w, "wh-1 2")
			run := w.Trigger("p")
			w.Settle()
			w.ClaimsOf(wh[0], 1)
			w.Exec(`UPDATE live SET state = 'running', started_at = claimed_at`)
			return explainTask(w, run, 0, -1)
		}},
		{"max_parallel of the run", "name: p\nmax_parallel: 1\ntasks:\n  a: {run: x}\n  b: {run: x}\n", func(w *schedtest.World) api.Explanation {
			wh := fleet(w, "wh-1 2")
			run := w.Trigger("p")
			w.Settle()
			w.ClaimsOf(wh[0], 2)
			return explainTask(w, run, 1, -1)
		}},
		{"an item whose turn has not come", "name: p\ntasks:\n  a: {run: x, for_each: [p, q, r, s], max_parallel: 2}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.Claims(2)
			return explainTask(w, run, 0, 3)
		}},
		{"a fan-out at work", "name: p\ntasks:\n  a: {run: x, for_each: [p, q, r, s], max_parallel: 2}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.End(w.Claims(2)[0], "succeeded", "")
			w.Settle()
			return explainTask(w, run, 0, -1)
		}},
		{"a run at work with a task at a pool", pools + "name: p\ntasks:\n  a: {run: x, pool: {name: warehouse, slots: 2}}\n  b: {run: x, pool: warehouse}\n  c: {run: x, needs: b}\n", func(w *schedtest.World) api.Explanation {
			wh := fleet(w, "wh-1 2")
			run := w.Trigger("p")
			w.Settle()
			w.ClaimsOf(wh[0], 2)
			return explainRun(w, run)
		}},
		{"a run that was asked to stop", "name: p\ntasks:\n  a: {run: x}\n  b: {run: x, needs: a}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.Claims(1)
			w.Cancel(run)
			return explainTask(w, run, 1, -1)
		}},
		{"a run that has ended", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.End(w.Claims(1)[0], "failed", "")
			w.Settle()
			return explainRun(w, run)
		}},
		{"a paused pipeline", "name: p\nschedule: \"0 2 * * *\"\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			w.Exec(`UPDATE pipeline SET paused_at = now(), paused_by = 'ana', pause_reason = 'migration', paused_until = now() + interval '1 day'`)
			return explainPipeline(w, "p")
		}},
		{"a pipeline that waits for its tick", "name: p\nschedule: \"0 2 * * *\"\ntasks:\n  a: {run: x, runs_on: [linux]}\n", func(w *schedtest.World) api.Explanation {
			fleet(w, "wh-1 2 linux")
			return explainPipeline(w, "p")
		}},
		{"a pipeline whose only run backs off", "name: p\ntasks:\n  a: {run: x, retry: {limit: 3, delay: 1h, max_delay: 2h}}\n", func(w *schedtest.World) api.Explanation {
			w.Trigger("p")
			w.Settle()
			w.End(w.Claims(1)[0], "failed", "")
			w.Settle()
			return explainPipeline(w, "p")
		}},
		{"a pipeline at work with more in its queue", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			for range 3 {
				w.Trigger("p")
			}
			w.Settle()
			w.Claims(1)
			return explainPipeline(w, "p")
		}},
		{"a broken schedule", "name: p\nschedule: \"0 2 * * *\"\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			w.Exec(`UPDATE schedule SET broken = 'no such zone', next_at = NULL`)
			return explainPipeline(w, "p")
		}},
		{"a removed pipeline", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			w.Exec(`UPDATE pipeline SET removed_at = now()`)
			return explainPipeline(w, "p")
		}},
		{"a pool held from a namespace that is not the reader's", "kind: pool\nname: warehouse\nslots: 1\n---\nname: p\nconcurrency: {limit: 10}\ntasks:\n  a: {run: x, pool: warehouse}\n", func(w *schedtest.World) api.Explanation {
			other := w.Trigger("p")
			w.Settle()
			w.Claims(1)
			run := w.Trigger("p")
			w.Settle()
			w.Exec(`UPDATE run SET namespace = 'secret' WHERE id = $1`, other)
			return explainTask(w, run, 0, -1)
		}},
		{"a pipeline that asks for labels nobody has", "name: p\ntasks:\n  a: {run: x, runs_on: [gpu]}\n  b: {run: x, runs_on: [gpu]}\n", func(w *schedtest.World) api.Explanation {
			fleet(w, "wh-1 2 linux")
			return explainPipeline(w, "p")
		}},
		{"a pipeline whose tick is overdue", "name: p\nschedule: \"0 2 * * *\"\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			w.Exec(`UPDATE schedule SET next_at = now() - interval '2 minutes'`)
			return explainPipeline(w, "p")
		}},
		{"waiting for an approval", "name: p\ntasks:\n  ask: {approval: {prompt: \"Load ${{ run.number }}?\\nThink twice.\", on_timeout: approve}, timeout: 2h}\n", func(w *schedtest.World) api.Explanation {
			fleet(w)
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 0, -1)
		}},
		{"a run that waits for an approval", "name: p\ntasks:\n  ask: {approval: {prompt: \"Load it?\"}}\n  load: {run: x, needs: ask}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			return explainRun(w, run)
		}},
		{"approved a moment ago", "name: p\ntasks:\n  ask: {approval: {prompt: \"Load it?\"}}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.Exec(`UPDATE approval SET asked_at = now() - interval '1 hour', decision = 'approved', decided_at = now(), decided_by = 'ana'`)
			w.Exec(`UPDATE task SET due_at = now() - interval '1 hour'`)
			return explainTask(w, run, 0, -1)
		}},
		{"waiting for the run that it started", called + "name: p\ntasks:\n  call: {pipeline: {name: c}, timeout: 2h, retry: {limit: 2}}\n", func(w *schedtest.World) api.Explanation {
			fleet(w)
			run := w.Trigger("p")
			w.Settle()
			return explainTask(w, run, 0, -1)
		}},
		{"a run that is yet to be made", called + "name: p\ntasks:\n  call: {pipeline: {name: c}}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			for _, step := range []func(context.Context) error{w.Admitter.Step, w.Advancer.Step} {
				if err := step(w.T.Context()); !schedtest.IsMore(err) {
					w.T.Fatal(err)
				}
			}
			return explainTask(w, run, 0, -1)
		}},
		{"a run of a namespace that is not the reader's", called + "name: p\ntasks:\n  call: {pipeline: {name: c}}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Settle()
			w.Exec(`UPDATE child_run SET namespace = 'secret'`)
			return explainTask(w, run, 0, -1)
		}},
		{"a run that starts beside the one that waits for it", "name: d\nconcurrency: {group: g}\ntasks:\n  work: {run: x}\n---\nname: c\nconcurrency: {group: g}\ntasks:\n  call: {pipeline: {name: d}}\n---\nname: p\ntasks:\n  call: {pipeline: {name: c}}\n", func(w *schedtest.World) api.Explanation {
			w.Trigger("p")
			w.Turn()
			w.Turn()
			return explainRun(w, schedtest.Value[int64](w, `SELECT run_id FROM child_run WHERE pipeline = 'd'`))
		}},
		{"no scheduler looks", "name: p\ntasks:\n  a: {run: x}\n", func(w *schedtest.World) api.Explanation {
			run := w.Trigger("p")
			w.Exec(`UPDATE open_run SET created_at = now() - interval '2 minutes'`)
			return explainRun(w, run)
		}},
	}
	var all strings.Builder
	answers := make([]string, len(tests))
	t.Run("situations", func(t *testing.T) {
		for i, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				w := schedtest.New(t)
				w.Register(tt.file, schedtest.Value[time.Time](w, `SELECT now() + interval '1 hour'`))
				answers[i] = text(tt.do(w))
			})
		}
	})
	for i, tt := range tests {
		fmt.Fprintf(&all, "# %s\n%s\n", tt.name, answers[i])
	}
	got := regexp.MustCompile(`test \[\]`).ReplaceAllString(all.String(), "test []")
	golden(t, filepath.Join("testdata", "explain.txt"), got)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("answers differ from %s (-update rewrites it):\n%s", file, got)
	}
}
