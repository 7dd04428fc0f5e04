package flow

import (
	"fmt"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func chain(n int) *pipeline.Pipeline {
	var tasks pipeline.Tasks
	for i := range n {
		t := task(fmt.Sprintf("t%d", i))
		if i > 0 {
			t.Needs = []string{tasks[i-1].Name}
		}
		tasks = append(tasks, t)
	}
	return define(tasks)
}

// fan is one task, n that need it, and one that needs those.
func fan(n int) *pipeline.Pipeline {
	tasks := pipeline.Tasks{task("first")}
	last := task("last")
	for i := range n {
		tasks = append(tasks, task(fmt.Sprintf("t%d", i), needs("first")))
		last.Needs = append(last.Needs, tasks[i+1].Name)
	}
	return define(append(tasks, last))
}

func BenchmarkStart(b *testing.B) {
	for name, p := range map[string]*pipeline.Pipeline{"chain=100": chain(100), "fan=100": fan(98), "items=10000": define(pipeline.Tasks{task("a", forEach(numbers(MaxItems)...))})} {
		b.Run(name, func(b *testing.B) {
			g := compile(b, p)
			b.ReportAllocs()
			for b.Loop() {
				g.Start(Input{})
			}
		})
	}
}

// BenchmarkWhole runs a run from its start to its end, one end a decision,
// rows loaded as they are asked for.
func BenchmarkWhole(b *testing.B) {
	for name, p := range map[string]*pipeline.Pipeline{"chain=100": chain(100), "fan=100": fan(98), "chain=500": chain(500), "fan=500": fan(498), "items=10000": define(pipeline.Tasks{task("a", forEach(numbers(MaxItems)...), window(100))})} {
		b.Run(name, func(b *testing.B) {
			g := compile(b, p)
			b.ReportAllocs()
			ends, reads := 0, 0
			for b.Loop() {
				ends, reads = whole(b, g)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(ends), "ns/end")
			b.ReportMetric(float64(reads), "rows-read")
		})
	}
}

func whole(b testing.TB, g *Graph) (ends, reads int) {
	d, _ := g.Start(Input{})
	rows := make(map[int]Task, len(d.Changes))
	var queue []int
	take := func() {
		for _, c := range d.Changes {
			rows[c.Ordinal] = c.Task
		}
		queue = append(queue, d.Release...)
	}
	take()
	for ; len(queue) > 0; ends++ {
		n := queue[0]
		queue = queue[1:]
		if o, index := Split(n); index < 0 {
			t := rows[o]
			t.State = Succeeded
			rows[o] = t
		}
		in := Input{Run: d.Run, Ends: []End{{Number: n, State: Succeeded}}}
		for {
			var missing Missing
			if d, missing = g.Advance(in); missing.None() {
				break
			}
			in.Tasks = map[int]Task{}
			for _, o := range missing.Tasks {
				in.Tasks[o] = rows[o]
				reads++
			}
		}
		take()
	}
	if d.Finish == nil || d.Finish.State != Succeeded {
		b.Fatalf("the run ended %+v", d.Finish)
	}
	return ends, reads
}

// What a run costs grows with its edges, not with their square.
func TestCostGrowsWithEdges(t *testing.T) {
	for name, p := range map[string]*pipeline.Pipeline{"chain": chain(500), "fan": fan(498)} {
		edges := 0
		for _, task := range p.Tasks {
			edges += len(task.Needs)
		}
		if _, reads := whole(t, compile(t, p)); reads > edges {
			t.Errorf("%s: %d rows read, %d edges", name, reads, edges)
		}
	}
	if _, reads := whole(t, compile(t, define(pipeline.Tasks{task("a", forEach(numbers(MaxItems)...), window(10))}))); reads > MaxItems {
		t.Errorf("fan-out: %d rows read", reads)
	}
}
