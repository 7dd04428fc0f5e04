package flow

import (
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// Tasks that no executor runs: they wait for a time, for a person, or for a run
// of another pipeline, as a row. Whatever may end the waiting is told as an End
// in state Waiting, which means no more than "look at it again": what is true
// is in Input.Awaited. So such Ends may be told twice, too early, or in vain.

// awaits is what a task waits for.
type awaits struct {
	reason string
	until  value // wait: for or at
	prompt value // approval
	params value // of a child
	http   bool  // wait: for the answer of a service
	reads  reads
}

func (g *Graph) compileAwaits(n *node, names []string) error {
	t := n.task
	a := &awaits{}
	var field string
	var text any
	var into *value
	switch {
	case t.Kind == pipeline.KindWait && t.Wait != nil && t.Wait.For != "":
		a.reason, field, text, into = ReasonWait, "wait.for", string(t.Wait.For), &a.until
	case t.Kind == pipeline.KindWait && t.Wait != nil && t.Wait.At != "":
		a.reason, field, text, into = ReasonWait, "wait.at", string(t.Wait.At), &a.until
	case t.Kind == pipeline.KindWait && t.Wait != nil && t.Wait.HTTP != nil:
		// Executors make the request, and say when the condition is true.
		n.awaits = &awaits{reason: ReasonWait, http: true}
		g.waits, g.polls = true, true
		return nil
	case t.Kind == pipeline.KindApproval && t.Approval != nil:
		a.reason, field, text, into = ReasonApproval, "approval.prompt", string(t.Approval.Prompt), &a.prompt
	case t.Kind == pipeline.KindPipeline && t.Sub != nil:
		params := t.Sub.Params
		if params == nil {
			params = map[string]any{}
		}
		a.reason, field, text, into = ReasonChild, "pipeline.params", params, &a.params
	case t.Kind == pipeline.KindWait || t.Kind == pipeline.KindApproval || t.Kind == pipeline.KindPipeline:
		return fmt.Errorf("a task of kind %s says nothing to wait for", t.Kind)
	default:
		return nil
	}
	names = slices.Clone(names)
	switch {
	case t.ForEach != nil:
		names = append(names, "item", "index")
	case len(t.Matrix) > 0:
		names = append(names, "matrix")
	}
	var refs []expr.Ref
	var err error
	if *into, err = compileValue(text, dynamic(false, names...), &refs); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	a.reads = g.readsOf(refs, n)
	n.awaits = a
	g.waits, g.asks, g.calls = g.waits || a.reason == ReasonWait, g.asks || a.reason == ReasonApproval, g.calls || a.reason == ReasonChild
	return nil
}

// await has a task begin to wait. Its row is there.
func (s *step) await(n *node, r *row) {
	if !s.ready(n.awaits.reads, n.when.implied) {
		return
	}
	a, err := s.begin(n, Number(n.ordinal), nil)
	if err != nil {
		reason, detail := problem(err)
		s.foresee(r.Ordinal)
		s.settle(r, Failed, reason, detail)
		return
	}
	r.Reason, r.Detail, r.touched = a.Reason, "", true
	s.d.Await = append(s.d.Await, a)
}

// beginItems has the next n items of a fan-out begin to wait. One that cannot
// takes no place.
func (s *step) beginItems(r *row, n int) {
	node := &s.g.nodes[r.Ordinal]
	if !s.ready(node.awaits.reads, node.when.implied) {
		return
	}
	made, here := s.expanded[r.Ordinal]
	run := r.Fan.Items // how many of them run this time
	if r.Again != nil {
		run = len(r.Again)
	}
	for f := r.Fan; n > 0 && f.Released < run; {
		index := f.Released
		if r.Again != nil {
			index = r.Again[index]
		}
		number := ItemNumber(r.Ordinal, index)
		known, ok := s.in.Awaited[number]
		if here {
			known, ok = Awaited{Item: made[index]}, true
		}
		f.Released++
		r.touched = true
		switch {
		case !ok:
			s.askAwaited(number)
			n--
		case s.retry(node, number, known):
			n--
		case node.task.FailFast:
			return
		}
	}
}

// retry has a task or an item begin, for the first time or once more. One that
// cannot ends failed.
func (s *step) retry(n *node, number int, known Awaited) bool {
	a, err := s.begin(n, number, known.Item)
	if err == nil {
		s.d.Await = append(s.d.Await, a)
		return true
	}
	reason, detail := problem(err)
	s.over(Settled{Number: number, State: Failed, Reason: reason, Detail: detail, Failures: known.Failures})
	return false
}

// over ends what waited, or sends it back for another try. It counts when the
// caller tells of it, like any other end.
func (s *step) over(e Settled) { s.d.Settle = append(s.d.Settle, e) }

// problem is what a task says that cannot begin to wait.
func problem(err error) (reason, detail string) {
	if IsTooLarge(err) {
		return ReasonOutputsTooLarge, err.Error()
	}
	return ReasonExpression, err.Error()
}

// begin works out what a task or an item waits for.
func (s *step) begin(n *node, number int, item any) (Awaiting, error) {
	t, w := n.task, n.awaits
	a := Awaiting{Number: number, Reason: w.reason}
	if t.Timeout > 0 {
		a.Deadline = s.in.Now.Add(t.Timeout.Std())
	}
	if w.http {
		a.HTTP = true
		return a, nil
	}
	vars := s.vars(w.reads)
	if _, index := Split(number); index >= 0 {
		if n.items.matrix {
			vars.Names["matrix"] = item
		} else {
			vars.Names["item"], vars.Names["index"] = item, int64(index)
		}
	}
	switch w.reason {
	case ReasonApproval:
		v, err := w.prompt.eval(vars)
		if err == nil {
			a.Prompt, err = promptText(v)
		}
		return a, of("approval.prompt", err)
	case ReasonChild:
		v, err := w.params.eval(vars)
		if err != nil {
			return a, of("pipeline.params", err)
		}
		params, _ := v.(map[string]any)
		a.Child = &Child{Namespace: t.Sub.Namespace, Name: t.Sub.Name, Params: params, Wait: t.Sub.Wait}
		return a, nil
	}
	v, err := w.until.eval(vars)
	if err != nil && t.Wait.For != "" {
		return a, of("wait.for", err)
	} else if err != nil {
		return a, of("wait.at", err)
	}
	a.WakeAt, err = t.Wait.Until(v, s.in.Now, s.g.Zone(s.run.Zone))
	return a, err
}

// of says which field an error is about.
func of(field string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

// maxPrompt is how large a rendered prompt may be.
const maxPrompt = 10 << 10

func promptText(v any) (string, error) {
	text, err := expr.Text(v)
	if err != nil {
		return "", err
	}
	if len(text) > maxPrompt {
		return "", fmt.Errorf("it has %d bytes, 10 KiB at most", len(text))
	}
	return text, nil
}

func (s *step) askAwaited(number int) {
	if s.missing.awaited == nil {
		s.missing.awaited = map[int]bool{}
	}
	s.missing.awaited[number] = true
}

// look looks at a task or an item that waits, because something about it may
// have changed: its time has come, somebody decided, its child ended.
func (s *step) look(number int) {
	o, index := Split(number)
	a, ok := s.in.Awaited[number]
	if !ok {
		s.askAwaited(number)
	}
	var r *row // of a fan-out
	if index >= 0 {
		if r = s.need(o); r == nil || r.Fan == nil {
			return
		}
	}
	if !ok || a.State != Waiting || s.looked[number] {
		return // it ended in the meantime, and nobody took this wake back
	}
	if s.looked == nil {
		s.looked = map[int]bool{}
	}
	s.looked[number] = true
	n := &s.g.nodes[o]
	if a.Reason == ReasonChild {
		s.child(n, r, number, a)
		return
	}
	if s.stopping() || r != nil && s.failing(r) {
		return // it ends canceled
	}
	now := s.in.Now
	switch {
	case a.Reason == ReasonApproval:
		s.approval(n, number, a)
	case a.Reason == ReasonWait:
		s.wait(n, number, a)
	case a.Reason == ReasonBackoff && now.Before(a.WakeAt):
		s.again(number, a.WakeAt)
	case a.Reason == ReasonBackoff && s.ready(n.awaits.reads, n.when.implied):
		s.retry(n, number, a)
	}
}

func (s *step) again(number int, at time.Time) {
	if !at.IsZero() {
		s.d.Again = append(s.d.Again, Later{number, at})
	}
}

// wait ends what waited for a time. What came first counts, however late
// somebody looks.
func (s *step) wait(n *node, number int, a Awaited) {
	due := firstOf(a.WakeAt, a.Deadline)
	e := Settled{Number: number, State: Succeeded, Failures: a.Failures}
	byTime := !n.awaits.http
	switch {
	case a.Answer != nil:
		e.State, e.Reason, e.Detail, e.Outputs = a.Answer.State, a.Answer.Reason, a.Answer.Detail, a.Answer.Outputs
	case due.IsZero() && !byTime, s.in.Now.Before(due):
		s.again(number, due)
		return
	case byTime && !due.Before(a.WakeAt):
	case n.task.Wait.OnTimeout == "skip":
		e.State, e.Reason = Skipped, ReasonTimedOut
	default:
		e.State, e.Reason = Failed, ReasonTimedOut
	}
	s.over(e)
}

// approval ends a question that was answered, or whose time is over.
func (s *step) approval(n *node, number int, a Awaited) {
	ask := n.task.Approval
	e := Settled{Number: number, State: Succeeded, Failures: a.Failures}
	v := a.Decision
	reason := ReasonRejected
	if v == nil {
		if a.Deadline.IsZero() || s.in.Now.Before(a.Deadline) {
			s.again(number, a.Deadline)
			return
		}
		v = &Verdict{Approved: ask.OnTimeout == "approve"}
		e.Verdict, reason = v, ReasonTimedOut
	}
	decision := "approved"
	if !v.Approved {
		decision = ReasonRejected
		switch ask.OnReject {
		case "continue":
		case "skip":
			e.State, e.Reason = Skipped, reason
		default:
			e.State, e.Reason = Failed, reason
		}
	}
	if e.State == Succeeded {
		e.Outputs = map[string]any{"decision": decision, "by": v.By}
	}
	s.over(e)
}

// child looks at the run that a task asked for; r is the fan-out of an item.
func (s *step) child(n *node, r *row, number int, a Awaited) {
	c := a.Child
	if c == nil {
		return
	}
	late := !a.Deadline.IsZero() && !s.in.Now.Before(a.Deadline)
	switch {
	case c.State == "" && (!c.Made || n.task.Sub.Wait) && c.Refused == "":
		switch {
		case !late:
			s.again(number, a.Deadline)
		case c.Stop == "":
			s.d.StopChildren = append(s.d.StopChildren, number)
		}
	case c.Refused == "" && !n.task.Sub.Wait:
		s.over(Settled{Number: number, State: Succeeded, Failures: a.Failures})
	default:
		s.over(s.childEnd(n, r, number, a))
	}
}

// childEnd says what the end of a child makes of the task that asked for it.
func (s *step) childEnd(n *node, r *row, number int, a Awaited) Settled {
	t, c := n.task, a.Child
	e := Settled{Number: number, State: c.State, Reason: c.Reason, Failures: a.Failures}
	cause := "exit"
	switch {
	case c.State == Succeeded:
		outputs, bad := t.CheckValues(c.Outputs)
		if bad == nil {
			e.Outputs, e.Reason = outputs, ""
			return e
		}
		e.State, e.Reason, e.Detail = Failed, bad.Reason, bad.Detail
		if bad.Reason == ReasonOutputsTooLarge {
			cause = ""
		}
	case stops(c.Stop):
		e.State, e.Reason = Canceled, c.Stop
		return e
	case c.Stop == ReasonTimedOut, c.Refused == ReasonTimedOut:
		e.State, e.Reason, cause = Failed, ReasonTimedOut, ReasonTimedOut
	case c.Refused != "":
		e.State, e.Reason, e.Detail, cause = Failed, c.Refused, c.Detail, ""
	case c.State != Failed:
		return e
	case c.Reason == ReasonTimedOut:
		cause = ReasonTimedOut
	}
	switch {
	case s.stopping():
		e.State, e.Reason, e.Detail = Canceled, s.stopReason(), ""
	case r != nil && s.failing(r), cause == "", !slices.Contains(t.Retry.When, cause), a.Failures >= t.Retry.Limit:
		e.Failures++
	default:
		e.Failures++
		e.State, e.Reason, e.Detail = Waiting, ReasonBackoff, ""
		e.WakeAt = s.in.Now.Add(Backoff(t.Retry, e.Failures, s.in.Random))
	}
	return e
}
