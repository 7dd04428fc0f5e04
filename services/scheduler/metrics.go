package scheduler

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/advance"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/plan"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/reap"
)

// metrics count what the loops do.
type metrics struct {
	ticks    *prometheus.CounterVec
	late     prometheus.Histogram
	released prometheus.Counter
	runs     *prometheus.CounterVec
	seconds  prometheus.Histogram
	triggers *prometheus.CounterVec
	reapings *prometheus.CounterVec
	repairs  *prometheus.CounterVec
}

func newMetrics(r *prometheus.Registry) *metrics {
	m := &metrics{
		ticks:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "synthesizer_ticks_total", Help: "Ticks decided, by what they became."}, []string{"state"}),
		late:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "synthesizer_tick_lateness_seconds", Help: "From the time of a tick to its run.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)}),
		released: prometheus.NewCounter(prometheus.CounterOpts{Name: "synthesizer_tasks_released_total", Help: "Tasks that became ready."}),
		runs:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "synthesizer_runs_ended_total", Help: "Runs that ended, by state."}, []string{"state"}),
		seconds:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "synthesizer_run_seconds", Help: "How long runs took.", Buckets: prometheus.ExponentialBuckets(0.1, 4, 10)}),
		triggers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "synthesizer_triggers_total", Help: "Triggers answered after the end of a run, by what they got."}, []string{"answer"}),
		reapings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "synthesizer_reaped_total", Help: "What the reaper acted on: dead executors, lost attempts, runs and queued tasks out of time, pauses that were over."}, []string{"what"}),
		repairs:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "synthesizer_repairs_total", Help: "What the sweep had to mend. Anything but 0 is a defect."}, []string{"what"}),
	}
	r.MustRegister(m.ticks, m.late, m.released, m.runs, m.seconds, m.triggers, m.reapings, m.repairs)
	return m
}

func (m *metrics) planned(o plan.Outcome) {
	for state, n := range o.Ticks {
		m.ticks.WithLabelValues(state).Add(float64(n))
	}
	for _, late := range o.Late {
		m.late.Observe(late.Seconds())
	}
	m.advanced(o.Outcome)
}

func (m *metrics) advanced(o advance.Outcome) {
	m.released.Add(float64(o.Released))
	for _, end := range o.Finished {
		m.runs.WithLabelValues(string(end.State)).Inc()
		m.seconds.Observe(end.Seconds)
	}
	for _, answer := range o.Triggers {
		m.triggers.WithLabelValues(answer).Inc()
	}
}

func (m *metrics) reaped(o reap.Outcome) {
	for what, n := range map[string]int{"executor": o.Dead, "attempt": o.Lost, "run": o.TimedOut, "queued": o.Late, "pause": o.Resumed} {
		if n > 0 {
			m.reapings.WithLabelValues(what).Add(float64(n))
		}
	}
}

func (m *metrics) mended(runs, groups, backfills int) {
	m.repairs.WithLabelValues("run").Add(float64(runs))
	m.repairs.WithLabelValues("group").Add(float64(groups))
	m.repairs.WithLabelValues("backfill").Add(float64(backfills))
}
