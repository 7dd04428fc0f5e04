package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// An outcome tells how a run that was followed has ended.
type outcome struct {
	c    *call
	run  api.Run
	name string // as people call it
	// tail reads the last lines of an attempt's output; nil: nobody can.
	tail func(t api.Task) []string
	// shown says that the output has been shown already.
	shown bool
	// local says that there is no server to ask for more; again is then the command
	// that runs it once more.
	local bool
	again string
}

const (
	tailBytes = 16 << 10
	tailLines = 12
)

// tailOf reads the end of what the last attempt of a task wrote.
func tailOf(ctx context.Context, server *client.Client, at client.RunRef) func(api.Task) []string {
	return func(t api.Task) []string {
		part, err := server.Log(ctx, client.LogRef{RunRef: at, Task: t.Name, Index: t.Index, Attempt: lastAttempt(t).Number}, -tailBytes, tailBytes)
		if err != nil {
			return nil // the log may be gone; the rest is worth telling
		}
		return lastLines(string(part.Data), part.Offset > 0)
	}
}

// lastLines are the last lines of a text that is not empty; the first one of a
// text that was cut is no line.
func lastLines(text string, cut bool) []string {
	text = strings.TrimRight(strings.ToValidUTF8(text, "\ufffd"), "\r\n\t ")
	if cut {
		if _, rest, ok := strings.Cut(text, "\n"); ok {
			text = rest
		}
	}
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for i, l := range lines {
		lines[i] = logLine(l)
	}
	return lines
}

// tell shows the end and gives the status that stands for it.
func (o *outcome) tell() error {
	c := o.c
	var err error
	switch c.ui.format {
	case formatJSON, formatYAML:
		err = c.ui.data(o.run)
	case formatName:
		err = c.ui.outf("%s\n", cleanLine(o.name))
	}
	if err != nil {
		return err
	}
	color := c.ui.colorOut
	if c.ui.machine() {
		color = c.ui.colorErr
	}
	text := o.text(color)
	if c.ui.machine() {
		c.ui.note("%s", strings.TrimSuffix(text, "\n"))
	} else if err := c.ui.outf("%s", text); err != nil {
		return err
	}
	if exit := exitOfRun(o.run.State); exit != ExitOK {
		return status(exit)
	}
	return nil
}

func (o *outcome) text(color bool) string {
	l := lookOfRun(o.run.State, o.run.Reason)
	if l == lookTimedOut || l == lookLost {
		l.glyph, l.ascii = lookFailed.glyph, lookFailed.ascii
	}
	glyph := l.glyph
	if !o.c.ui.utf8 {
		glyph = l.ascii
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", paint(color, l.shade, glyph), paint(color, bold, cleanLine(o.name)), o.run.State)
	if d := took(o.run.StartedAt, o.run.EndedAt, time.Time{}); d != "" && o.run.EndedAt != nil {
		b.WriteString(" in " + d)
	}
	culprit, others := o.culprit()
	switch {
	case o.run.State == api.RunStateSucceeded:
		if text := paramsText(o.run.Outputs); text != "" {
			b.WriteString("  " + text)
		}
	case culprit != nil:
		b.WriteString(": " + cleanLine(taskName(culprit.Name, culprit.Index, culprit.Item)))
		if n := lastAttempt(*culprit).Number; n > 0 {
			b.WriteString(", " + api.AttemptWords(n, culprit.RetryLimit))
		}
		b.WriteString(", " + taskWords(*culprit))
	case o.run.Reason != "" && o.run.Reason != string(o.run.State):
		b.WriteString(": " + strings.ReplaceAll(cleanLine(o.run.Reason), "_", " "))
	}
	if by := cleanLine(o.run.CanceledBy); by != "" && o.run.State == api.RunStateCanceled {
		b.WriteString(" by " + by)
		if why := cleanLine(o.run.CancelReason); why != "" {
			b.WriteString(" (" + why + ")")
		}
	}
	b.WriteByte('\n')
	if culprit == nil {
		return b.String()
	}
	if o.tail != nil && !o.shown && len(culprit.Attempts) > 0 {
		for _, line := range o.tail(*culprit) {
			b.WriteString("  " + line + "\n")
		}
	}
	if others > 0 {
		fmt.Fprintf(&b, "  %s failed too\n", plural(others, "other task"))
	}
	if names := o.notRun(); len(names) > 0 {
		fmt.Fprintf(&b, "  %d not run: %s\n", len(names), cleanLine(strings.Join(names, ", ")))
	}
	o.commands(&b, *culprit)
	return b.String()
}

// commands are what to type next.
func (o *outcome) commands(b *strings.Builder, culprit api.Task) {
	type hint struct{ command, what string }
	var hints []hint
	if !o.local {
		if n := lastAttempt(culprit); n.Number > 0 {
			what := "full log"
			if n.LogBytes > 0 {
				what += fmt.Sprintf(" (%s)", bytesText(n.LogBytes))
			}
			hints = append(hints, hint{"synctl logs " + shellWord(o.name+"/"+taskName(culprit.Name, culprit.Index, culprit.Item)), what})
		}
		hints = append(hints, hint{"synctl show " + shellWord(o.name), "every task, with its attempts"})
	}
	if !o.local && o.run.State == api.RunStateFailed {
		hints = append(hints, hint{"synctl rerun " + shellWord(o.name) + " --failed -w", "try again from " + culprit.Name})
	}
	if o.again != "" && o.local {
		hints = append(hints, hint{o.again, "run it again"})
	}
	width := 0
	for _, h := range hints {
		width = max(width, len([]rune(h.command)))
	}
	for _, h := range hints {
		fmt.Fprintf(b, "  %-*s  %s\n", width, cleanLine(h.command), h.what)
	}
}

// culprit is the task that failed first, and how many failed beside it.
func (o *outcome) culprit() (first *api.Task, others int) {
	if o.run.State != api.RunStateFailed {
		return nil, 0
	}
	for i, t := range o.run.Tasks {
		// A fan-out failed because an item did.
		if t.State != api.TaskStateFailed || t.Items != nil && t.Items.Failed > 0 {
			continue
		}
		if first == nil {
			first = &o.run.Tasks[i]
			continue
		}
		others++
		if t.EndedAt != nil && first.EndedAt != nil && t.EndedAt.Before(*first.EndedAt) {
			first = &o.run.Tasks[i]
		}
	}
	return first, others
}

// notRun are the tasks that a failure kept from running.
func (o *outcome) notRun() []string {
	var names []string
	for _, t := range o.run.Tasks {
		if t.Index == nil && t.State == api.TaskStateSkipped && t.Reason == "upstream" {
			names = append(names, t.Name)
		}
	}
	const most = 10
	if n := len(names); n > most {
		names = append(names[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return names
}

func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
}

// shellWord is a word as a shell wants it typed.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,#") == "" && !strings.HasPrefix(s, "#") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
