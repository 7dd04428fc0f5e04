package flow

// stop asks for everything of the phase to be canceled.
func (s *step) stop() {
	from, to := s.g.phaseOf(s.run.Phase)
	s.d.CancelPhase = &CancelPhase{From: Number(from), To: Number(to), Reason: s.stopReason(), Again: s.run.CancelAgain}
	if s.run.Phase == PhaseTasks && s.run.TimedOut && !s.run.CancelRequested {
		s.because(ReasonTimedOut)
	}
}

// turn goes to the next phase, or to the end of the run, when a phase is over.
func (s *step) turn() {
	if s.run.Unfinished > 0 {
		return
	}
	if s.run.Phase == PhaseTasks && s.run.Reason == "" {
		s.run.TimedOut = false // all had ended by themselves
	}
	_, finally := s.g.Size()
	if s.run.Phase == PhaseTasks && finally > 0 {
		s.run.Phase, s.run.Unfinished = PhaseFinally, finally
		from, to := s.g.phaseOf(PhaseFinally)
		for o := from; o < to; o++ {
			switch {
			case s.run.Reopened:
				s.need(o)
			case s.known(o) == nil:
				s.untouched(o)
			}
		}
		if s.missed() {
			return
		}
		for o := from; o < to; o++ {
			r := s.rows[o]
			switch {
			case s.run.CancelAgain:
				s.skipItems(r)
				s.settle(r, Canceled, ReasonCanceled, "")
			case len(s.g.nodes[o].needs) == 0:
				s.due(o)
			}
		}
	}
	if s.run.Unfinished == 0 && !s.missed() {
		s.finish()
	}
}

// result is how the run stands: in finally, how tasks went.
func (s *step) result() State {
	state, _ := s.run.Standing()
	return state
}

func (s *step) finish() {
	f := Finish{State: s.result(), Reason: s.run.Reason, Outputs: map[string]any{}}
	if s.run.Reason == ReasonFinally && f.State == Succeeded {
		f.State = Failed
	}
	if f.State == Canceled && f.Reason == "" {
		f.Reason = ReasonCanceled
	}
	if f.State == Succeeded {
		outputs, err, ok := s.runOutputs()
		if !ok {
			return
		}
		if err != nil {
			f.State, f.Reason, f.Detail = Failed, ReasonOutputs, err.Error()
		} else {
			f.Outputs = outputs
		}
	}
	s.run.Reason = f.Reason
	s.d.Finish = &f
}
