package executor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/synthesizer-dev/synthesizer/services/executor/internal/poll"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/worker"
)

// metrics count what the executor does.
type metrics struct {
	claimed     prometheus.Counter
	ended       *prometheus.CounterVec
	refused     prometheus.Counter
	handedBack  prometheus.Counter
	lost        prometheus.Counter
	recovered   prometheus.Counter
	dropped     prometheus.Counter
	leaseLosses prometheus.Counter
	guardKills  prometheus.Counter
	claim       prometheus.Histogram
	polls       *prometheus.CounterVec
}

func newMetrics(r *prometheus.Registry, slots int, running func() int) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "synthesizer_executor_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		claimed:     counter("claimed_total", "Tasks claimed."),
		ended:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "synthesizer_executor_attempts_ended_total", Help: "Attempts reported, by the state they ended in."}, []string{"state"}),
		refused:     counter("reports_refused_total", "Reports of attempts that were somebody else's by then."),
		handedBack:  counter("handed_back_total", "Attempts given back to the queue without cost."),
		lost:        counter("attempts_lost_total", "Attempts that were found to be somebody else's while they ran, and killed."),
		recovered:   counter("results_recovered_total", "Results of dead executors on this host that were reported."),
		dropped:     counter("log_dropped_bytes_total", "Bytes of output that were not stored: beyond the limit, or the store was away."),
		leaseLosses: counter("lease_losses_total", "Leases lost: everything that ran was killed."),
		guardKills:  counter("guard_kills_total", "Processes that the guard killed."),
		claim: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "synthesizer_executor_claim_seconds", Help: "Round trips that claimed something.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12),
		}),
	}
	m.polls = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "synthesizer_executor_polls_total", Help: "Answers of services that tasks wait for, by what they meant: waiting, error, succeeded, failed."}, []string{"result"})
	r.MustRegister(m.ended, m.claim, m.polls,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "synthesizer_executor_slots", Help: "Attempts that may run at once."}, func() float64 { return float64(slots) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "synthesizer_executor_running", Help: "Attempts that run."}, func() float64 { return float64(running()) }),
	)
	return m
}

func (m *metrics) told(o worker.Outcome) {
	m.claimed.Add(float64(o.Claimed))
	for state, n := range o.Ended {
		m.ended.WithLabelValues(state).Add(float64(n))
	}
	m.refused.Add(float64(o.Refused))
	m.handedBack.Add(float64(o.HandedBack))
	m.lost.Add(float64(o.Lost))
	m.dropped.Add(float64(max(0, o.Dropped)))
	if o.Claim > 0 {
		m.claim.Observe(o.Claim.Seconds())
	}
}

func (m *metrics) polled(o poll.Outcome) {
	m.polls.WithLabelValues("waiting").Add(float64(o.Asked - o.Wrong))
	m.polls.WithLabelValues("error").Add(float64(o.Wrong))
	m.polls.WithLabelValues("succeeded").Add(float64(o.Ended))
	m.polls.WithLabelValues("failed").Add(float64(o.Failed))
}
