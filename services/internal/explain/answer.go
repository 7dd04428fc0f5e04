package explain

import (
	"fmt"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
)

// A finding is one line of an answer on its way.
type finding struct {
	api.GateFinding
	held bool   // a gate that is closed
	part bool   // … to a part of the subject, while others go on
	of   string // that part
	note bool   // no gate at all
	does string // what it does to its subject: "waits for pool warehouse"
}

// An answer collects findings in the order in which work passes the gates.
type answer struct{ list []finding }

// closed adds a gate that holds.
func (a *answer) closed(name gate.Name, does, summary string) *finding {
	return a.add(finding{GateFinding: api.GateFinding{Gate: string(name), Summary: summary}, held: true, does: does})
}

// open adds a gate that does not hold.
func (a *answer) open(name gate.Name, summary string) *finding {
	return a.add(finding{GateFinding: api.GateFinding{Gate: string(name), Summary: summary}})
}

// note adds what is worth knowing beside the gates.
func (a *answer) note(name, summary string) *finding {
	return a.add(finding{GateFinding: api.GateFinding{Gate: name, Summary: summary}, note: true})
}

func (a *answer) add(f finding) *finding {
	a.list = append(a.list, f)
	return &a.list[len(a.list)-1]
}

// holds is the first gate that is closed; nil: none is.
func (a *answer) holds() *finding {
	for i := range a.list {
		if a.list[i].held && !a.list[i].part {
			return &a.list[i]
		}
	}
	return nil
}

// findings puts what holds first, then what comes after it, then what does not
// hold, then the notes.
func (a *answer) findings() []api.GateFinding {
	out := []api.GateFinding{}
	first := a.holds()
	for _, s := range []api.Standing{api.StandingBlocks, api.StandingAhead, api.StandingOpen, api.StandingNote} {
		for i := range a.list {
			f := &a.list[i]
			if f.standing(f == first) == s {
				f.Standing = s
				out = append(out, f.GateFinding)
			}
		}
	}
	return out
}

func (f *finding) standing(first bool) api.Standing {
	switch {
	case f.note:
		return api.StandingNote
	case !f.held:
		return api.StandingOpen
	case first || f.part:
		return api.StandingBlocks
	}
	return api.StandingAhead
}

// since sets when it began; nil and the zero time are unknown.
func (f *finding) since(t *time.Time) *finding {
	if t != nil {
		f.Since = t.UTC()
	}
	return f
}

// until sets when it changes by itself.
func (f *finding) until(t *time.Time) *finding {
	if t != nil {
		f.Until = t.UTC()
	}
	return f
}

// frees says what opens the gate, and what to type.
func (f *finding) frees(how string, commands ...string) *finding {
	f.Frees, f.Commands = how, commands
	return f
}

// heldBy lists holders, of so many.
func (f *finding) heldBy(list []api.Holder, all int) *finding {
	f.Holders, f.More = list, max(0, all-len(list))
	return f
}

// cancels are commands that end the runs of the first holders.
func cancels(holders []api.Holder, except string) []string {
	var list []string
	for _, h := range holders {
		if h.Run == "" || h.Run == except || len(list) == 1 {
			continue
		}
		list = append(list, "synctl cancel "+h.Run)
	}
	return slices.Compact(list)
}

// runName is a run as answers name it.
func runName(namespace, pipeline string, number int64) string {
	return fmt.Sprintf("%s/%s#%d", namespace, pipeline, number)
}
