package poll

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/attempt"
	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/given"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A job is one request to be made.
type job struct {
	row    db.TakeHTTPWaitsRow
	target *served
	plan   *attempt.RequestPlan
	given  attempt.Context
}

// A result is what came of a request.
type result struct {
	row     db.TakeHTTPWaitsRow
	back    bool          // it was not made after all
	pause   time.Duration // until the next, counted from this one
	lease   time.Duration // for which the wait was taken
	address string
	status  int
	err     string

	state, reason, detail, outputs string // "" if it does not end the wait
}

// news says whether something is to be written: the wait was taken for longer
// than its pause, or this answer is another one than the one before.
func (r result) news() bool {
	return r.pause != max(r.lease, time.Duration(r.row.EveryMs)*time.Millisecond) || text(r.row.Address) != r.address ||
		number(r.row.LastStatus) != r.status || text(r.row.LastError) != r.err
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func number(p *int32) int {
	if p == nil {
		return 0
	}
	return int(*p)
}

// start makes the requests of what was taken, each in a goroutine of its own.
// There are never more than there is room for.
func (p *Poller) start(ctx context.Context, rows []db.TakeHTTPWaitsRow) {
	if len(rows) == 0 {
		return
	}
	jobs := p.prepare(ctx, rows)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range jobs {
		j.target.tokens--
		j.target.flight++
		p.flight++
		p.work.Go(func() {
			r := p.ask(j)
			p.mu.Lock()
			j.target.flight--
			p.flight--
			p.results = append(p.results, r)
			p.mu.Unlock()
			p.Kick()
		})
	}
}

// prepare reads what requests are made from. What cannot be asked is a result
// already.
func (p *Poller) prepare(ctx context.Context, rows []db.TakeHTTPWaitsRow) []*job {
	var ids []int64
	for _, row := range rows {
		ids = append(ids, row.RevisionID)
	}
	slices.Sort(ids)
	found, broken, err := p.cfg.Revisions.Load(ctx, p.cfg.Pool.Queries(), slices.Compact(ids))
	if err != nil {
		p.giveBack(rows, err)
		return nil
	}
	var jobs, ask []*job
	var wants []given.Want
	batch := p.cfg.Given.Batch()
	for _, row := range rows {
		j := &job{row: row, target: p.targets[row.Target]}
		rev := found[row.RevisionID]
		err := broken[row.RevisionID]
		if err == nil {
			j.plan, err = p.plan(rev, row)
		}
		if err != nil {
			p.wrong(j, fmt.Errorf("its definition cannot be read: %w", err))
			continue
		}
		if c, ok := p.contexts.Get(key{row.RunID, row.Number}); ok {
			j.given = c
			jobs = append(jobs, j)
			continue
		}
		w := given.Want{Run: row.RunID, Number: row.Number, Revision: rev, Reads: j.plan.Reads()}
		batch.Need(w)
		ask, wants = append(ask, j), append(wants, w)
	}
	if len(ask) == 0 {
		return jobs
	}
	err = db.InOneTrip(ctx, p.cfg.Pool, batch.Asks(ctx)...)
	if err == nil {
		err = batch.Take()
	}
	if err != nil {
		rest := make([]db.TakeHTTPWaitsRow, len(ask))
		for i, j := range ask {
			rest[i] = j.row
		}
		p.giveBack(rest, err)
		return jobs
	}
	for i, j := range ask {
		if j.given, err = batch.Give(wants[i]); err != nil {
			p.wrong(j, err)
			continue
		}
		// Outputs of earlier tasks may be large; all else is small, or shared.
		if len(wants[i].Reads.Outputs) == 0 {
			p.contexts.Add(key{j.row.RunID, j.row.Number}, j.given)
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// plan is the compiled request of a task.
func (p *Poller) plan(rev *revision.Revision, row db.TakeHTTPWaitsRow) (*attempt.RequestPlan, error) {
	ordinal, _ := flow.Split(int(row.Number))
	k := planKey{rev.ID, ordinal}
	if plan, ok := p.plans.Get(k); ok {
		return plan, nil
	}
	plan, err := attempt.CompileRequest(rev.Graph, ordinal)
	if err != nil {
		return nil, err
	}
	p.plans.Add(k, plan)
	return plan, nil
}

// giveBack lets others ask.
func (p *Poller) giveBack(rows []db.TakeHTTPWaitsRow, err error) {
	p.cfg.Log.Error("read what requests are made from", "waits", len(rows), "err", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, row := range rows {
		p.results = append(p.results, result{row: row, back: true})
	}
}

// wrong notes why no request can be made.
func (p *Poller) wrong(j *job, err error) {
	r := p.result(j)
	r.address, r.err = text(j.row.Address), clean(err.Error())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results = append(p.results, r)
}

func (p *Poller) result(j *job) result {
	return result{row: j.row, pause: time.Duration(j.row.EveryMs) * time.Millisecond, lease: j.target.Timeout + margin}
}

// ask makes one request and says what the answer means.
func (p *Poller) ask(j *job) result {
	r := p.result(j)
	r.address = text(j.row.Address)
	ctx, cancel := context.WithTimeout(p.asking, j.target.Timeout+margin/2)
	defer cancel()
	c := j.given
	c.Attempt = 1
	c.Secret = func(name string) (string, error) { return p.cfg.Secret(ctx, c.Run.Namespace, name) }
	q, err := j.plan.Render(c)
	if e, ok := errors.AsType[*attempt.Error](err); ok && e.Reason != attempt.ReasonSecret {
		// It is made of what never changes: it will not mend.
		return r.end("failed", e.Reason, e.Error(), "")
	}
	if err != nil {
		r.err = clean(err.Error())
		return r
	}
	r.address = shown(q.URL)
	answer, err := j.target.client.Do(ctx, q)
	if answer != nil {
		r.status = answer.Status
		r.pause = max(r.pause, min(answer.RetryAfter(time.Now()), maxPause))
	}
	if p.asking.Err() != nil {
		r.back = true
		return r
	}
	if err != nil {
		r.err = clean(err.Error())
		return r
	}
	p.reading <- struct{}{}
	defer func() { <-p.reading }()
	over, outputs, bad, err := q.Answered(answer.Response())
	switch {
	case err != nil:
		r.err = clean(answer.Mask(err.Error()))
	case bad != nil:
		return r.end("failed", bad.Reason, answer.Mask(bad.Detail), "")
	case over:
		return r.succeed(outputs, answer.Leaks)
	}
	return r
}

func (r result) end(state, reason, detail, outputs string) result {
	r.state, r.reason, r.detail, r.outputs = state, reason, clean(detail), outputs
	return r
}

// succeed ends a wait whose condition is true, if its outputs are fit to be kept.
func (r result) succeed(outputs map[string]any, leaks func(string) (string, bool)) result {
	if len(outputs) == 0 {
		return r.end("succeeded", "", "", "{}")
	}
	data, err := expr.ToJSON(outputs)
	switch name, leaked := leaks(string(data)); {
	case err != nil:
		return r.end("failed", "outputs_type", err.Error(), "")
	case leaked:
		return r.end("failed", "outputs_secret", "an output holds the secret "+name, "")
	case holdsNUL(outputs):
		return r.end("failed", "outputs_type", "an output holds the character U+0000", "")
	}
	return r.end("succeeded", "", "", string(data))
}

// holdsNUL says whether a value holds what the database does not take.
func holdsNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.ContainsRune(v, 0)
	case []any:
		return slices.ContainsFunc(v, holdsNUL)
	case map[string]any:
		for k, e := range v {
			if holdsNUL(k) || holdsNUL(e) {
				return true
			}
		}
	}
	return false
}

// shown is an address as people see it: without what stands behind the question
// mark.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return clean(u.Scheme + "://" + u.Host + u.EscapedPath())
}

// clean is a text as the database and pages take it.
func clean(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
	if r := []rune(s); len(r) > 500 {
		s = string(r[:499]) + "…"
	}
	return s
}
