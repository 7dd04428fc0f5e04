package web

import (
	"slices"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// Why is the box that says why something does not go on: the region #run-why or
// #pipeline-why. Its sentences are those of synctl explain.
type Why struct {
	Heading string // empty: there is nothing to say
	Summary string
	Holds   []WhyLine // what holds it
	Rest    []WhyLine // what does not, and what else there is to know
	Command string
	Whole   string // where the answer for the whole run is, if this one is for a task
}

// A WhyLine is one finding.
type WhyLine struct {
	Label    string // because, then …; empty: as the line before
	Text     string // up to Since, or up to Until
	Since    *Moment
	Age      string // how long that is, up to Until
	Until    *Moment
	Holders  []WhyHolder
	More     string
	Frees    string
	Commands []string
}

// A WhyHolder is who holds a gate.
type WhyHolder struct{ Name, URL, Does string }

// whyBox makes the box of an answer; an empty one where nothing is held. Findings
// about gates that hide names are left out: the page says them elsewhere.
func whyBox(b Base, ref Ref, e *api.Explanation, hide ...string) Why {
	var w Why
	if e == nil {
		return w
	}
	holds := false
	label := ""
	for _, f := range e.Findings {
		if slices.Contains(hide, f.Gate) {
			continue
		}
		line := whyLine(b, ref, f)
		if line.Label == label {
			line.Label = ""
		} else {
			label = line.Label
		}
		switch f.Standing {
		case api.StandingBlocks, api.StandingAhead:
			holds = holds || f.Standing == api.StandingBlocks
			w.Holds = append(w.Holds, line)
		default:
			w.Rest = append(w.Rest, line)
		}
	}
	if !holds {
		return Why{}
	}
	w.Summary = tidy(e.Summary)
	_, name, _ := strings.Cut(e.Subject, "/")
	switch e.Kind {
	case api.ExplanationKindTask:
		_, task, _ := strings.Cut(name, "/")
		w.Heading = "Why is " + task + " waiting?"
	case api.ExplanationKindRun:
		_, number, _ := strings.Cut(name, "#")
		w.Heading = "Why is #" + number + " waiting?"
		if !e.Blocked {
			w.Heading = "What does #" + number + " wait for?"
		}
	default:
		w.Heading = "Why does " + ref.String() + " not run?"
		if !e.Blocked {
			w.Heading = "What does " + ref.String() + " wait for?"
		}
	}
	w.Command = "synctl explain " + shellWord(strings.TrimPrefix(e.Subject, "default/"))
	return w
}

func whyLine(b Base, ref Ref, f api.GateFinding) WhyLine {
	line := WhyLine{Label: f.Standing.Label(), Text: strings.TrimSuffix(tidy(cut(f.Summary, 600)), "."), More: f.Others(), Frees: tidy(f.Frees)}
	if p := f.Place(); p != "" {
		line.Text += ", " + p
	}
	until := ""
	if !f.Until.IsZero() {
		m := b.ago(f.Until)
		line.Until, until = &m, ","
		if f.Standing != api.StandingNote {
			until = ", until"
		}
	}
	if f.Since.IsZero() {
		line.Text += until
	} else {
		m := b.moment(f.Since)
		line.Since, line.Age = &m, "("+roughly(b.Now.Sub(f.Since))+")"+until
		line.Text += ", since"
	}
	for _, h := range f.Holders {
		holder := WhyHolder{Name: tidy(h.Name(ref.Namespace)), Does: tidy(h.Does())}
		if pipeline, number, ok := strings.Cut(h.Run, "#"); ok {
			holder.URL = refOf(pipeline, b.Many).URL(number)
		}
		if !h.Since.IsZero() {
			holder.Does += ", for " + roughly(b.Now.Sub(h.Since))
		}
		line.Holders = append(line.Holders, holder)
	}
	for _, c := range f.Commands {
		line.Commands = append(line.Commands, tidy(api.ShortCommand(c, "default")))
	}
	return line
}
