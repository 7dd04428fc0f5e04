package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/process"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/output"
	"github.com/synthesizer-dev/synthesizer/services/internal/boottime"
	"github.com/synthesizer-dev/synthesizer/services/internal/ending"
)

const (
	// Tasks must not take the processor from the renewal of the lease, nor
	// live on when memory runs out and the executor dies.
	taskNice = 5
	taskOOM  = 500
	// logPatience is how long the end of an attempt waits for its last output
	// to be stored.
	logPatience = 10 * time.Second
)

// execute runs one attempt to its end and says how that was.
func (w *Worker) execute(h *held) ending.Report {
	if !w.cfg.Lease.Held() || w.gone(h) {
		return handBack("the lease was lost before the start")
	}
	if w.cfg.Runner != nil {
		return w.pretend(h)
	}
	place, err := w.cfg.Home.Attempt(fmt.Sprintf("%d.%d.%d", h.live.RunID, h.live.Number, h.attempt), process.Limits{})
	if err != nil {
		w.cfg.Log.Error("make the directory of an attempt", "err", err)
		return handBack("no directory could be made for it") // ours is the fault, not the task's
	}
	h.place = place
	r, secrets, report := w.render(h, place)
	if report != nil {
		discard(place)
		return *report
	}
	masker := output.NewMasker(secrets)
	h.log = output.New(output.Config{Store: &store{w: w, h: h}, Spool: place.Log, Masker: masker, Limit: r.LogLimit})
	if !w.cfg.Lease.Held() {
		discard(place)
		return handBack("the lease was lost before the start")
	}
	h.began = boottime.Now()
	proc, err := process.Start(context.Background(), process.Command{
		Argv: r.Argv, Env: r.Env, Dir: r.Dir, Grace: r.Grace, Timeout: r.Timeout,
		Output: h.log, Cgroup: place.Cgroup, Nice: taskNice, OOMScoreAdj: taskOOM,
	})
	if err != nil {
		_, _ = h.log.Close(w.ctx)
		h.log = nil
		reason := process.ReasonStart
		if e, ok := errors.AsType[*process.StartError](err); ok {
			reason = e.Reason
		}
		return unstarted(flow.AttemptFailed, reason, clean(masker.String(err.Error())))
	}
	w.begin(h, proc, nil)
	result := proc.Wait()
	w.outlive(h, place, result)
	return w.finish(h, place, masker, result)
}

// discard gives up the place of an attempt that was never started, but for its
// directory.
func discard(place *process.Attempt) {
	_ = place.Discard() // what stays is swept with the home
}

// gone says whether an attempt is somebody else's.
func (w *Worker) gone(h *held) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return h.lost || w.lost
}

// render makes what the attempt is given. A report says why it cannot be.
func (w *Worker) render(h *held, place *process.Attempt) (attempt.Rendered, []output.Secret, *ending.Report) {
	c := h.given
	if place != nil {
		c.Dir, c.Output, c.Summary = place.Dir, place.Output, place.Summary
	} else {
		c.Dir = "/"
	}
	var secrets []output.Secret
	sealed := h.sealed
	h.sealed = nil
	c.Secret = func(name string) (string, error) {
		value, err := w.secret(c.Run.Namespace, name, sealed)
		if err == nil {
			secrets = append(secrets, output.Secret{Name: name, Value: value})
		}
		return value, err
	}
	r, err := h.plan.Render(c)
	h.given = attempt.Context{} // large, and not needed any more
	if err == nil {
		return r, secrets, nil
	}
	reason := flow.ReasonExpression
	if e, ok := errors.AsType[*attempt.Error](err); ok {
		reason = e.Reason
	}
	report := unstarted(flow.AttemptFailed, reason, clean(output.NewMasker(secrets).String(err.Error())))
	return r, nil, &report
}

// pretend lets the Runner stand in for a process.
func (w *Worker) pretend(h *held) ending.Report {
	r, _, report := w.render(h, nil)
	if report != nil {
		return *report
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	w.begin(h, nil, cancel)
	return reportOf(w.cfg.Runner.Run(ctx, r))
}

// reportOf says how a command ended.
func reportOf(r process.Result) ending.Report {
	out := ending.Report{
		State: string(r.State), Reason: r.Reason, Detail: r.Detail, ExitCode: r.ExitCode, Signal: r.Signal,
		Started: true, StartedAgo: -1, CPU: r.CPU.Milliseconds(), MaxRSS: -1,
		Drained: r.State == process.Lost && r.Reason == process.ReasonDrained,
	}
	if r.MaxRSS > 0 {
		out.MaxRSS = r.MaxRSS
	}
	if r.State == process.Succeeded {
		out.Reason, out.Detail = "", ""
	}
	if r.Late {
		if out.Detail != "" {
			out.Detail += "; "
		}
		out.Detail += "a process that it left behind held its output open and was killed"
	}
	return out
}

// finish turns the end of a process into a report, and sees to what it left:
// outputs, summary, the rest of its log.
func (w *Worker) finish(h *held, place *process.Attempt, masker *output.Masker, result process.Result) ending.Report {
	lost := func() ending.Report {
		_, _ = h.log.Close(canceled)
		return ending.Report{State: flow.AttemptLost, Reason: flow.ReasonLost, Started: true, StartedAgo: -1, CPU: -1, MaxRSS: -1}
	}
	// A failure may be the work of the guard: then this is not how the task
	// ended.
	if !w.cfg.Lease.Held() || result.State == process.Failed && !w.cfg.Lease.Certain() || w.gone(h) {
		w.mu.Lock()
		h.lost = true
		w.mu.Unlock()
		return lost()
	}
	report := reportOf(result)
	w.collectOutputs(h, place, masker, &report)
	report.Detail = clean(masker.String(report.Detail))
	if summary, err := process.ReadSummary(place.Summary); err == nil && len(summary.Text) > 0 {
		report.Summary = clean(masker.String(string(summary.Text)))
		if summary.Cut > 0 {
			report.Summary += fmt.Sprintf("\n\n*(%d bytes more were cut)*\n", summary.Cut)
		}
	}
	saved := h.saved(report)
	w.mu.Lock()
	h.result = &saved
	w.mu.Unlock()
	// How it ended outlives this process: the next executor on this host
	// reports it if we do not get to.
	if err := w.save(h, place, result.Ran); err != nil {
		w.cfg.Log.Warn("the result of an attempt could not be saved; it runs again if this executor dies now", "err", err)
	}
	ctx, cancel := context.WithTimeout(w.ctx, logPatience)
	defer cancel()
	stats, err := h.log.Close(ctx)
	h.stats = stats
	if errors.Is(err, output.ErrLost) {
		w.mu.Lock()
		w.lose(h)
		w.mu.Unlock()
	}
	if stats.Seen == 0 {
		h.log = nil
	}
	return report
}

// canceled is a context that is over.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// clean makes text fit for the database, which takes neither NUL nor what is
// not UTF-8.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
