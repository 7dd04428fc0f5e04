package main

import (
	"os"
	"strings"
	"testing"
)

// Every row is measured, small and quick, for the checks that come with it. What
// the figures are says nothing here.
func TestShort(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	var out strings.Builder
	err := run(t.Context(), options{short: true, pipelines: 200}, &out)
	if err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, row := range []string{"P1 ", "P2 ", "P3 ", "P4 ", "P7 ", "P9 ", "P14", "P15"} {
		if !strings.Contains(out.String(), "\n"+row) {
			t.Errorf("no row %s in the report", row)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for q, want := range map[float64]int{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile of 1 … 100 at %v = %d, want %d", q, got, want)
		}
	}
}

// A child that has ended is still counted.
func TestTree(t *testing.T) {
	all := table{1: {0, 100}, 10: {1, 5}, 11: {10, 7}, 12: {11, 9}, 20: {1, 50}}
	if got := all.tree(10); got != 21 {
		t.Errorf("tree(10) = %d, want 21", got)
	}
	used, _, machine, err := look(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if used > machine {
		t.Errorf("this process used %s, the whole machine %s", used, machine)
	}
}

func TestQueries(t *testing.T) {
	const log = `2026-11-24 05:00:00.000 UTC [1] synthesizer api LOG:  duration: 0.1 ms  parse stmt_1: SELECT 1
2026-11-24 05:00:00.000 UTC [1] synthesizer api LOG:  duration: 0.1 ms  bind stmt_1: SELECT 1
2026-11-24 05:00:00.000 UTC [1] synthesizer api LOG:  duration: 0.1 ms  execute stmt_1: -- name: Installation :one
	SELECT 1
2026-11-24 05:00:00.000 UTC [2] synthesizer scheduler upkeep LOG:  duration: 0.1 ms  statement: begin
2026-11-24 05:00:00.000 UTC [3] bench LOG:  duration: 0.1 ms  statement: SELECT 2
2026-11-24 05:00:00.000 UTC [2] synthesizer scheduler WARNING:  there is no transaction in progress
`
	got := queries([]byte(log))
	if n := got["synthesizer api"]; n.total != 1 || n.by["Installation"] != 1 {
		t.Errorf("api: %+v, want Installation once", n)
	}
	if n := got["synthesizer scheduler"]; n.total != 1 || n.by["begin"] != 1 {
		t.Errorf("scheduler: %+v, want begin once", n)
	}
	if n := got["synthesizer executor"]; n.total != 0 {
		t.Errorf("executor: %+v, want nothing", n)
	}
}

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		line line
		want string
	}{
		{line{Value: 5, Gate: 1, Goal: 4, More: true}, "goal"},
		{line{Value: 2, Gate: 1, Goal: 4, More: true}, "gate"},
		{line{Value: 0.5, Gate: 1, Goal: 4, More: true}, "BELOW"},
		{line{Value: 10, Gate: 20, Goal: 10}, "goal"},
		{line{Value: 15, Gate: 20, Goal: 10}, "gate"},
		{line{Value: 25, Gate: 20, Goal: 10}, "BELOW"},
		{line{Value: 25}, ""},
	} {
		if got := test.line.verdict(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.line, got, test.want)
		}
	}
}
