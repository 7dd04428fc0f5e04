package flow

import (
	"fmt"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
)

// itemEnd counts the end of an item, or lets it run once more.
func (s *step) itemEnd(o int, e End) {
	r := s.need(o)
	if r == nil || r.Fan == nil || r.State.Ended() {
		return
	}
	s.list(r)
	if e.State == Waiting {
		if !s.stopping() && !s.failing(r) {
			s.may = append(s.may, candidate{number: e.Number, count: 1, again: true})
		}
		return
	}
	n := max(e.Count, 1)
	before := s.failing(r)
	f := r.Fan
	f.Unfinished -= n
	switch e.State {
	case Succeeded:
		f.OK += n
	case Failed:
		f.Failed += n
	case Canceled:
		f.Canceled += n
	case Skipped:
		f.Skipped += n
	}
	r.touched = true
	if s.failing(r) && !before {
		r.Reason = "" // nothing of it is held any more
		if !s.stopping() {
			s.d.CancelItems = append(s.d.CancelItems, o)
		}
	}
}

// list has a fan-out looked at once all ends are counted.
func (s *step) list(r *row) {
	if !r.listed {
		r.listed = true
		s.fans = append(s.fans, r.Ordinal)
	}
}

// recounted looks at a fan-out that was counted anew.
func (s *step) recounted(r *row) {
	s.list(r)
	if r.Fan.Unfinished > 0 && s.failing(r) && !s.stopping() && !slices.Contains(s.d.CancelItems, r.Ordinal) {
		s.d.CancelItems = append(s.d.CancelItems, r.Ordinal)
	}
}

// failing says that an item failed and takes the others along.
func (s *step) failing(r *row) bool {
	return r.Fan.Failed > 0 && s.g.nodes[r.Ordinal].task.FailFast
}

// fan goes on with a fan-out after its items' ends have been counted.
func (s *step) fan(o int) {
	r := s.rows[o]
	f := r.Fan
	if f.Unfinished > 0 {
		s.window(r)
		return
	}
	state, reason := f.result(), ""
	switch state {
	case Canceled:
		reason = s.stopReason()
	case Skipped:
		reason = ReasonExitCode
	}
	detail := ""
	if state == Failed || state == Canceled {
		detail = f.detail()
	}
	s.settle(r, state, reason, detail)
}

// result is how a fan-out ends once all its items have ended.
func (f *Fan) result() State {
	switch {
	case f.Failed > 0:
		return Failed
	case f.Canceled > 0:
		return Canceled
	case f.OK > 0 || f.Items == 0:
		return Succeeded
	}
	return Skipped
}

func (f *Fan) detail() string {
	if f.Failed > 0 {
		return fmt.Sprintf("%d of %d items failed", f.Failed, f.Items)
	}
	return fmt.Sprintf("%d of %d items were canceled", f.Canceled, f.Items)
}

// stopReason is why a task that ends canceled now was canceled.
func (s *step) stopReason() string {
	if s.run.Phase == PhaseTasks && s.run.TimedOut && !s.run.CancelRequested {
		return ReasonRunTimedOut
	}
	return ReasonCanceled
}

// window offers the next items of a fan-out for release.
func (s *step) window(r *row) {
	f := r.Fan
	run := f.Items // how many of them run this time
	if r.Again != nil {
		run = len(r.Again)
	}
	if s.stopping() || s.failing(r) || f.Released >= run {
		return
	}
	n := gate.Window(s.g.nodes[r.Ordinal].task.MaxParallel, run, f.Released, f.Unfinished)
	switch {
	case n <= 0:
		return
	case s.g.nodes[r.Ordinal].awaits != nil:
		s.beginItems(r, n)
		return
	}
	c := candidate{number: ItemNumber(r.Ordinal, f.Released), count: n, window: true}
	if r.Again != nil {
		c.items = r.Again[f.Released : f.Released+n]
		c.number = ItemNumber(r.Ordinal, c.items[0])
	}
	s.may = append(s.may, c)
}

// resume goes on with a fan-out that a rerun has set back: its items are there.
func (s *step) resume(r *row) {
	r.State, r.touched = Ready, true
	if r.Fan.Unfinished > 0 {
		s.window(r)
		return
	}
	s.foresee(r.Ordinal)
	s.settle(r, r.Fan.result(), "", "")
}

// skipItems ends the items of a fan-out that was set back and does not run.
func (s *step) skipItems(r *row) {
	if r.Fan == nil || r.Fan.Unfinished == 0 {
		return
	}
	r.Fan.Skipped += r.Fan.Unfinished
	r.Fan.Unfinished = 0
	s.d.SkipItems = append(s.d.SkipItems, r.Ordinal)
}

// expand makes the items of a fan-out.
func (s *step) expand(n *node, r *row) {
	list, err, ok := s.itemsOf(n)
	if !ok {
		return
	}
	switch {
	case err != nil:
		s.broken(r, n.items.field(), err)
	case len(list) > MaxItems:
		s.broken(r, n.items.field(), tooMany(len(list)))
	case s.run.Rows+len(list) > MaxRows:
		s.settle(r, Failed, ReasonTooManyItems, fmt.Sprintf("%d items and %d rows so far, %d rows a run at most", len(list), s.run.Rows, MaxRows))
	case len(list) == 0:
		r.Fan = &Fan{}
		s.foresee(n.ordinal)
		s.settle(r, Succeeded, "", "")
	default:
		s.run.Rows += len(list)
		r.State, r.touched = Ready, true
		r.Fan = &Fan{Items: len(list), Unfinished: len(list)}
		s.d.Expand = append(s.d.Expand, Expansion{Ordinal: n.ordinal, Items: list})
		if s.expanded == nil {
			s.expanded = map[int][]any{}
		}
		s.expanded[n.ordinal] = list
		s.window(r)
	}
}
