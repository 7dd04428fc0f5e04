package command

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func (c *call) explainCommand() *cli.Command {
	return &cli.Command{
		Name: "explain", Category: groupRun, ArgsUsage: "REF",
		Usage: "say why a pipeline, a run or a task does not run",
		Description: "A name alone is the pipeline; name@latest and name#12 are runs, name#12/load a task of one,\n" +
			"name#12/load[3] an item. It tells what holds it, since when, who holds that and what frees it.\n" +
			"It exits with 0 when nothing blocks, with 2 when something does.",
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, 1)
			if err != nil {
				return err
			}
			return c.why(x.Context, explainOptions{Ref: args[0]})
		},
	}
}

type explainOptions struct{ Ref string }

func (c *call) why(ctx context.Context, o explainOptions) error {
	r, err := parseRef(o.Ref)
	if err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	e, err := c.explanation(ctx, r)
	if err != nil {
		return r.taskHint(err)
	}
	k.now = e.At // ages are by the database's clock
	switch c.ui.format {
	case formatJSON, formatYAML:
		err = c.ui.data(e)
	case formatName:
		err = c.ui.outf("%s\n", cleanLine(strings.TrimPrefix(e.Subject, c.namespace()+"/")))
	default:
		err = c.ui.outf("%s", c.explanationText(e, k))
	}
	if err == nil && e.Blocked {
		return status(ExitBlocked)
	}
	return err
}

// explanation asks the server about what a reference names.
func (c *call) explanation(ctx context.Context, r ref) (api.Explanation, error) {
	server, err := c.server()
	if err != nil {
		return api.Explanation{}, err
	}
	if r.Pipeline != "" && r.Run == "" {
		if r.Namespace == "" {
			r.Namespace = c.namespace()
		}
		return server.ExplainPipeline(ctx, r.Namespace, r.Pipeline)
	}
	at, err := c.runRef(ctx, r)
	if err != nil {
		return api.Explanation{}, err
	}
	if r.Task == "" {
		return server.ExplainRun(ctx, at)
	}
	task := r.Task
	if r.Item != "" {
		index, err := c.itemIndex(ctx, server, at, r)
		if err != nil {
			return api.Explanation{}, err
		}
		task = fmt.Sprintf("%s[%d]", task, index)
	}
	return server.ExplainTask(ctx, at, task)
}

// lookOfExplanation is the look of the state, or of what holds it.
func lookOfExplanation(e api.Explanation) look {
	if e.Blocked && len(e.Findings) > 0 {
		switch e.Findings[0].Gate {
		case "backoff":
			return lookBackoff
		case "approval":
			return lookAsk
		case "paused", "frozen":
			return lookPaused
		case "needs", "finally":
			return lookWaiting
		case "removed", "stopping":
			return lookStopping
		}
		return lookGate
	}
	if e.Kind == api.ExplanationKindTask {
		return lookOfTask(api.Task{State: api.TaskState(e.State)})
	}
	return lookOfRun(api.RunState(e.State), "")
}

// explanationText is an answer for people: the sentence, then the findings under
// the label of their standing.
func (c *call) explanationText(e api.Explanation, k clock) string {
	l := lookOfExplanation(e)
	var b strings.Builder
	columns := 0
	if c.StdoutTTY {
		columns, _ = c.ui.size()
	}
	fmt.Fprintf(&b, "%s %s\n", c.ui.paintOut(l.shade, c.ui.mark(l)), c.ui.paintOut(bold, cleanLine(e.Summary)))
	namespace := c.namespace()
	label := ""
	for _, f := range e.Findings {
		head := ""
		if now := f.Standing.Label(); now != label {
			head, label = now, now
		}
		text := strings.TrimSuffix(cleanLine(f.Summary), ".")
		for _, more := range []string{f.Place(), c.sinceText(k, f), c.untilText(k, f)} {
			if more != "" {
				text += ", " + more
			}
		}
		hang(&b, head, text+".", columns)
		for _, line := range c.holderLines(f, namespace, k) {
			hang(&b, "", "  "+line, columns)
		}
		if f.Frees != "" {
			hang(&b, "", "→ "+cleanLine(f.Frees), columns)
		}
		for _, command := range f.Commands {
			hang(&b, "", "  "+cleanLine(api.ShortCommand(command, namespace)), 0)
		}
	}
	return b.String()
}

// holderLines are who holds a gate, in columns.
func (c *call) holderLines(f api.GateFinding, namespace string, k clock) []string {
	width := 0
	for _, h := range f.Holders {
		width = max(width, len([]rune(h.Name(namespace))))
	}
	lines := make([]string, 0, len(f.Holders)+1)
	for _, h := range f.Holders {
		line := fmt.Sprintf("%-*s  %s", min(width, 48), cleanLine(h.Name(namespace)), cleanLine(h.Does()))
		if !h.Since.IsZero() {
			line += ", " + c.span(k, h.Since)
		}
		lines = append(lines, line)
	}
	if more := f.Others(); more != "" {
		lines = append(lines, more)
	}
	return lines
}

// span is how long something has gone on; for a program, since when.
func (c *call) span(k clock, since time.Time) string {
	if !c.StdoutTTY {
		return "since " + instant(since)
	}
	return "for " + duration(k.now.Sub(since).Truncate(time.Second))
}

func (c *call) sinceText(k clock, f api.GateFinding) string {
	if f.Since.IsZero() {
		return ""
	}
	if !c.StdoutTTY {
		return "since " + instant(f.Since)
	}
	return fmt.Sprintf("since %s (%s)", k.short(f.Since), duration(k.now.Sub(f.Since).Truncate(time.Second)))
}

func (c *call) untilText(k clock, f api.GateFinding) string {
	if f.Until.IsZero() {
		return ""
	}
	word := ""
	if f.Standing != api.StandingNote {
		word = "until "
	}
	if !c.StdoutTTY {
		return word + instant(f.Until)
	}
	distance := "in " + duration(f.Until.Sub(k.now).Truncate(time.Second))
	if f.Until.Before(k.now) {
		distance = duration(k.now.Sub(f.Until).Truncate(time.Second)) + " ago"
	}
	return fmt.Sprintf("%s%s (%s)", word, k.short(f.Until), distance)
}

// short is a time of day, with its day unless that is today's.
func (c clock) short(t time.Time) string {
	t, n := t.In(c.zone), c.now.In(c.zone)
	if t.YearDay() == n.YearDay() && t.Year() == n.Year() {
		return t.Format("15:04:05")
	}
	return c.date(t)
}

// labelWidth is that of the words before findings.
const labelWidth = 12

// hang writes a text behind a label, its further lines below its first; columns
// 0 breaks none.
func hang(b *strings.Builder, label, text string, columns int) {
	indent := 2 + labelWidth
	inner := len(text) - len(strings.TrimLeft(text, " "))
	line := ""
	flush := func() {
		fmt.Fprintf(b, "  %-*s%s\n", labelWidth, label, line)
		label, line = "", ""
	}
	words := slices.Collect(strings.SplitSeq(text[inner:], " "))
	for i, w := range words {
		switch {
		case i == 0:
			line = strings.Repeat(" ", inner) + w
		case columns > 0 && indent+len([]rune(line))+1+len([]rune(w)) > columns:
			flush()
			line = strings.Repeat(" ", inner) + w
		default:
			line += " " + w
		}
	}
	flush()
}
