package flow

import (
	"cmp"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
)

// A candidate is a number that may be released, or the next count items of a
// fan-out.
type candidate struct {
	number, count int
	items         []int // their indexes, if they do not follow each other
	window        bool
	again         bool // came back: only its number is known, no row
	held          bool // was held already
}

// at is the number of the ith of a candidate.
func (c *candidate) at(i int) int {
	if c.items == nil {
		return c.number + i
	}
	o, _ := Split(c.number)
	return ItemNumber(o, c.items[i])
}

// release spends what the run's max_parallel leaves, in order of the numbers.
func (s *step) release() {
	if s.d.Finish != nil {
		return
	}
	free := 0
	if limit := s.g.p.MaxParallel; limit > 0 {
		free = gate.Spare(limit, s.run.Active)
		s.offerHeld()
		if s.missed() {
			return
		}
		slices.SortFunc(s.may, func(a, b candidate) int { return cmp.Compare(a.number, b.number) })
	} else {
		for _, c := range s.may {
			free += c.count
		}
	}
	size := 0
	for _, c := range s.may {
		size += c.count
	}
	s.d.Release = make([]int, 0, min(free, size))
	for _, c := range s.may {
		n := min(free, c.count)
		free -= n
		for i := range n {
			s.d.Release = append(s.d.Release, c.at(i))
		}
		s.released(c, n)
	}
	slices.Sort(s.d.Release)
	s.run.Active += len(s.d.Release)
}

// released notes that n of a candidate are released and the rest is held.
func (s *step) released(c candidate, n int) {
	o, _ := Split(c.number)
	switch {
	case c.window:
		r := s.rows[o]
		reason := ""
		if n < c.count {
			reason = ReasonMaxParallel
		}
		if n > 0 || r.Reason != reason {
			r.Fan.Released += n
			r.Reason, r.touched = reason, true
		}
	case c.again && n == 0 && !c.held:
		s.d.Hold = append(s.d.Hold, c.number)
	case !c.again:
		r := s.rows[o]
		r.touched = true
		if n == 0 {
			r.Reason = ReasonMaxParallel
		} else {
			r.released = true
		}
	}
}

// offerHeld makes candidates of what the run's max_parallel held back.
func (s *step) offerHeld() {
	if s.stopping() {
		return
	}
	for _, number := range s.in.Held {
		o, index := Split(number)
		if number < 0 || o >= len(s.g.nodes) {
			continue
		}
		if s.g.nodes[o].items == nil {
			s.may = append(s.may, candidate{number: number, count: 1, again: true, held: true})
			continue
		}
		r := s.need(o)
		if r == nil || r.Fan == nil || r.State.Ended() || s.failing(r) {
			continue
		}
		if index >= 0 {
			s.may = append(s.may, candidate{number: number, count: 1, again: true, held: true})
		} else if !r.listed {
			r.listed = true
			s.window(r)
		}
	}
}
