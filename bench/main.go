// The bench measures Synthesizer beside what it is compared with: River, a raw
// claim on the same Postgres, a shell loop, a bare NOTIFY. All take turns in one
// run on one server, and every figure comes with a check that nothing was lost,
// done twice or done too early.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A bench is one run.
type bench struct {
	options
	out    io.Writer
	pg     *postgres
	dir    string // of this run: data, binaries, logs
	built  bool   // the programs are in dir
	report *report
}

// options are what the command line says.
type options struct {
	short     bool
	rounds    int
	rows      string
	pipelines int
	results   string
	explain   time.Duration
	statement bool
	profile   string
	keep      bool
	verbose   bool
}

// wants says whether one of the rows is asked for.
func (o options) wants(rows ...string) bool {
	return o.rows == "" || slices.ContainsFunc(strings.Split(o.rows, ","), func(r string) bool {
		return slices.Contains(rows, strings.ToUpper(strings.TrimSpace(r)))
	})
}

func main() {
	var o options
	flag.BoolVar(&o.short, "short", false, "small and quick: for the checks, not for the figures")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds in which contenders take turns")
	flag.StringVar(&o.rows, "rows", "", "only these rows, such as P1,P4")
	flag.IntVar(&o.pipelines, "pipelines", 10_000, "pipelines registered for P2, P7 and P14")
	flag.StringVar(&o.results, "results", "results", "directory of the results; empty keeps none")
	flag.DurationVar(&o.explain, "explain", 0, "log plans of statements that take longer, and keep the server's log")
	flag.BoolVar(&o.statement, "statements", false, "tell which statements of P1 and P2 took the server's time (needs pg_stat_statements, and costs a little)")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a profile of this process, which holds scheduler and executor in P1, P2 and P7")
	flag.BoolVar(&o.keep, "keep", false, "keep the directory of the run: server log, logs of services")
	flag.BoolVar(&o.verbose, "v", false, "show what services log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // nothing is left to be undone
	}
}

// run measures what the options ask for and prints and keeps the report. It fails
// if a result was wrong, not if a figure is poor.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.short {
		o.rounds = 1
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	b := &bench{options: o, out: out, report: newReport(o.short)}
	if b.dir, err = os.MkdirTemp("", "synthesizer-bench-"); err != nil {
		return err
	}
	if o.keep || o.explain > 0 {
		defer b.say("kept: %s", b.dir)
	} else {
		defer os.RemoveAll(b.dir)
	}
	// The server may run as another user, who has to get there.
	if err := os.Chmod(b.dir, 0o711); err != nil {
		return err
	}
	if b.pg, err = startPostgres(ctx, b.dir+"/postgres", o); err != nil {
		return err
	}
	defer b.pg.stop()
	if b.report.Server, err = b.pg.version(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx); err != nil {
		return err
	}
	b.report.write(out)
	if o.results != "" {
		name, err := b.report.save(o.results)
		if err != nil {
			return fmt.Errorf("keep the results: %w", err)
		}
		b.say("\nkept as %s", name)
	}
	if len(b.report.Failures) > 0 {
		return fmt.Errorf("%d results were wrong", len(b.report.Failures))
	}
	return nil
}

// measure does one group of rows after the other. A wrong result is part of the
// report, and the next group goes on.
func (b *bench) measure(ctx context.Context) error {
	for _, g := range []struct {
		title string
		rows  []string
		run   func(context.Context) error
	}{
		{"throughput", []string{"P1", "P2", "P3"}, b.throughput},
		{"start lag", []string{"P7"}, b.lag},
		{"the services as programs", []string{"P4", "P9", "P14", "P15"}, b.programs},
	} {
		if !b.wants(g.rows...) {
			continue
		}
		b.say("%s (%s)", g.title, strings.Join(g.rows, ", "))
		err := g.run(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.report.Failures = append(b.report.Failures, fmt.Sprintf("%s: %v", g.title, err))
			b.say("  WRONG: %v", err)
		}
	}
	return nil
}

// programs measures what needs real processes of the services.
func (b *bench) programs(ctx context.Context) (err error) {
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := b.makePipe(); err != nil {
		return err
	}
	in, err := b.install(ctx, "programs")
	if err != nil {
		return err
	}
	defer in.close()
	n := b.pipelines
	if b.short {
		n = 200
	}
	// Nothing of these is due while the bench runs.
	if err := in.register(ctx, "idle", named("idle", n, oneTask(`"0 0 1 1 *"`))); err != nil {
		return err
	}
	mine := []string{chained("chain", links), touching("touch", b.pipe()), oneTask(`"0 0 1 1 *"`)("only")}
	if err := in.register(ctx, "mine", mine); err != nil {
		return err
	}
	if err := in.settle(ctx); err != nil {
		return err
	}
	if b.wants("P15") {
		if err := b.readiness(ctx, in); err != nil {
			return fmt.Errorf("readiness: %w", err)
		}
	}
	if b.wants("P14") {
		if err := b.idle(ctx, in); err != nil {
			return fmt.Errorf("idle: %w", err)
		}
	}
	if !b.wants("P4", "P9") {
		return nil
	}
	f, err := b.startFleet(ctx, in)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, f.stop()) }()
	if b.wants("P9") {
		if err := b.trigger(ctx, in, f); err != nil {
			return fmt.Errorf("trigger: %w", err)
		}
	}
	if b.wants("P4") {
		if err := b.chain(ctx, in, f); err != nil {
			return fmt.Errorf("chain: %w", err)
		}
	}
	return b.invariants(ctx, in)
}

// joined is both errors, or the one that there is.
func joined(err, other error) error {
	if err == nil || other == nil {
		if err == nil {
			return other
		}
		return err
	}
	return errors.Join(err, other)
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }

func (b *bench) tell(l line) { b.report.Lines = append(b.report.Lines, l) }

// size is a number of things: as many as a figure needs, or as few as a check does.
func (b *bench) size(full, short int) int {
	if b.short {
		return short
	}
	return full
}
