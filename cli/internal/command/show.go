package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

func (c *call) showCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Category: groupDeploy, ArgsUsage: "REF",
		Usage:       "show a pipeline, a run or a task",
		Description: "A name alone is the pipeline; name@latest and name#12 are runs, name#12/load a task of one.",
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, 1)
			if err != nil {
				return err
			}
			return c.show(x.Context, showOptions{Ref: args[0]})
		},
	}
}

type showOptions struct{ Ref string }

func (c *call) show(ctx context.Context, o showOptions) error {
	r, err := parseRef(o.Ref)
	if err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	if r.Pipeline != "" && r.Run == "" {
		if r.Namespace == "" {
			r.Namespace = c.namespace()
		}
		p, err := server.Pipeline(ctx, r.Namespace, r.Pipeline)
		if err != nil {
			return r.taskHint(err)
		}
		return c.showPipeline(p, k)
	}
	at, err := c.runRef(ctx, r)
	if err != nil {
		return err
	}
	run, err := server.Run(ctx, at)
	if err != nil {
		return r.taskHint(err)
	}
	if err := c.allTasks(ctx, server, exact(at, run), &run); err != nil {
		return err
	}
	if r.Task != "" {
		return c.showTask(ctx, server, exact(at, run), run, r, k)
	}
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(run)
	case formatName:
		return c.ui.outf("%s\n", cleanLine(c.runName(run.Pipeline, run.Number)))
	}
	return c.ui.outf("%s", c.runText(run, k))
}

// allTasks adds the tasks that one answer had no room for.
func (c *call) allTasks(ctx context.Context, server *client.Client, at client.RunRef, run *api.Run) error {
	for run.NextTasks != "" {
		page, err := server.Tasks(ctx, at, api.ListTasksParams{Cursor: run.NextTasks, Limit: api.MaxPage})
		if err != nil {
			return err
		}
		run.Tasks = append(run.Tasks, page.Items...)
		run.NextTasks = page.Next
	}
	return nil
}

func (c *call) showPipeline(p api.Pipeline, k clock) error {
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(p)
	case formatName:
		return c.ui.outf("%s\n", cleanLine(c.name(p.Namespace, p.Name)))
	}
	var f facts
	head := c.ui.paintOut(bold, p.Namespace+"/"+p.Name)
	if !p.RemovedAt.IsZero() {
		head += "  removed " + c.moment(k, p.RemovedAt)
	}
	if p.Paused != nil {
		head += "  " + c.ui.mark(lookPaused) + " paused by " + cleanLine(p.Paused.By) + " " + quote(p.Paused.Reason)
		if p.Paused.Until != nil {
			head += " until " + c.moment(k, *p.Paused.Until)
		}
	}
	if p.Description != "" {
		f.add("description", cleanLine(p.Description))
	}
	f.add("owner", cleanLine(p.Owner))
	var labels []string
	for key, value := range p.Labels {
		labels = append(labels, cleanLine(key+"="+value))
	}
	slices.Sort(labels)
	f.add("labels", strings.Join(labels, " "))
	for _, s := range p.Schedules {
		text := cleanLine(s.Text + " " + s.Timezone)
		if s.ID != "default" {
			text = cleanLine(s.ID) + ": " + text
		}
		if s.NextTick != nil {
			text += ", next " + c.moment(k, *s.NextTick)
		}
		if s.Broken != "" {
			text += ", broken: " + cleanLine(s.Broken)
		}
		f.add("schedule", text)
	}
	for _, param := range p.Params {
		text := cleanLine(param.Name) + " " + cleanLine(param.Type)
		switch {
		case len(param.Default) > 0:
			text += " = " + cleanLine(string(param.Default))
		case param.Required:
			text += ", required"
		}
		if param.Description != "" {
			text += "  " + cleanLine(param.Description)
		}
		f.add("param", text)
	}
	revision := itoa(p.Revision)
	if p.GitCommit != "" {
		revision += " (git " + cleanLine(p.GitCommit[:min(12, len(p.GitCommit))]) + ")"
	}
	f.add("revision", revision+" from source "+cleanLine(p.Source))
	f.add("runs", fmt.Sprintf("%d running, %d queued", p.Running, p.Queued))
	f.add("page", cleanLine(p.URL))
	text := head + "\n" + f.text()
	for _, r := range p.Recent {
		l := lookOfRun(r.State, r.Reason)
		text += fmt.Sprintf("  %s #%-6d %-10s %-8s %s\n", c.ui.paintOut(l.shade, c.ui.mark(l)), r.Number, r.State, took(r.StartedAt, r.EndedAt, k.now), c.moment(k, r.CreatedAt))
	}
	return c.ui.outf("%s", text)
}

// moment is a time for whoever reads stdout.
func (c *call) moment(k clock, t time.Time) string {
	if !c.StdoutTTY {
		return instant(t)
	}
	return k.when(t)
}

// facts are names with values, one below the other.
type facts [][2]string

func (f *facts) add(name, value string) {
	if value != "" {
		*f = append(*f, [2]string{name, value})
	}
}

func (f facts) text() string {
	var b strings.Builder
	for _, x := range f {
		fmt.Fprintf(&b, "  %-12s %s\n", x[0], x[1])
	}
	return b.String()
}

// runText is a run for people: what it is, and its tasks.
func (c *call) runText(run api.Run, k clock) string {
	l := lookOfRun(run.State, run.Reason)
	var b strings.Builder
	words := string(run.State)
	if run.Reason != "" && run.Reason != words {
		words += ": " + strings.ReplaceAll(cleanLine(run.Reason), "_", " ")
	}
	fmt.Fprintf(&b, "%s %s  %s\n", c.ui.paintOut(l.shade, c.ui.mark(l)), c.ui.paintOut(bold, c.runName(run.Pipeline, run.Number)), c.ui.paintOut(l.shade, words))
	var f facts
	f.add("params", paramsText(run.Params))
	f.add("outputs", paramsText(run.Outputs))
	f.add("trigger", strings.TrimSpace(cleanLine(run.Trigger+" "+run.RequestedBy)))
	if p := run.Parent; p != nil {
		f.add("called by", cleanLine(c.runName(p.Pipeline, p.Number)+"/"+p.Task))
	}
	if up := run.TriggeredBy; up != nil {
		f.add("triggered by", cleanLine(c.runName(up.Pipeline, up.Number)))
	}
	if run.Backfill != 0 {
		f.add("backfill", fmt.Sprintf("%d  synctl backfill show %d", run.Backfill, run.Backfill))
	}
	f.add("note", cleanLine(run.Note))
	full := k.full
	if !c.StdoutTTY {
		full = instant
	}
	f.add("scheduled", full(run.ScheduledAt))
	if run.StartedAt != nil {
		f.add("started", full(*run.StartedAt))
	}
	if run.EndedAt != nil {
		f.add("ended", full(*run.EndedAt)+", took "+took(run.StartedAt, run.EndedAt, k.now))
	}
	if run.CanceledBy != "" {
		f.add("canceled by", strings.TrimSpace(cleanLine(run.CanceledBy+" "+run.CancelReason)))
	}
	f.add("revision", itoa(run.Revision))
	f.add("id", fmt.Sprint(run.ID))
	f.add("page", cleanLine(run.URL))
	for _, up := range run.FollowUps {
		f.add("triggered", c.followUpText(up))
	}
	b.WriteString(f.text())
	width := 0
	for _, t := range run.Tasks {
		width = max(width, len([]rune(taskName(t.Name, t.Index, t.Item))))
	}
	for _, t := range run.Tasks {
		b.WriteString(c.taskLine(t, min(width, 40), k) + "\n")
	}
	for _, t := range run.Tasks {
		if t.Approval != nil && t.State == api.TaskStateWaiting {
			b.WriteString(taskName(t.Name, t.Index, t.Item) + " asks\n" + c.questionFacts(*t.Approval, true, k).text())
		}
	}
	return b.String()
}

// taskLine is a task of a run on a line.
func (c *call) taskLine(t api.Task, width int, k clock) string {
	l := lookOfTask(t)
	indent := "  "
	if t.Index != nil {
		indent = "    "
	}
	line := fmt.Sprintf("%s%s %-*s %7s  %s", indent, c.ui.paintOut(l.shade, c.ui.mark(l)), width, cleanLine(taskName(t.Name, t.Index, t.Item)), took(t.StartedAt, t.EndedAt, k.now), taskWords(t))
	if n := len(t.Attempts); n > 1 {
		line += fmt.Sprintf(" (%d attempts)", n)
	}
	if t.Items != nil {
		line += fmt.Sprintf("  %d of %d items", t.Items.Total-t.Items.Unfinished, t.Items.Total)
	}
	if t.Child != nil {
		line += "  → " + c.linkText(*t.Child)
	}
	return strings.TrimRight(line, " ")
}

// linkText is another run and how it stands.
func (c *call) linkText(l api.RunLink) string {
	return strings.TrimSpace(cleanLine(c.runName(l.Pipeline, l.Number) + " " + l.State))
}

// followUpText is what a trigger made of the end of a run.
func (c *call) followUpText(f api.FollowUp) string {
	ns, name := splitPipeline(f.Pipeline)
	switch {
	case f.Number != 0:
		return c.linkText(api.RunLink{Pipeline: f.Pipeline, Number: f.Number, State: f.State})
	case f.Dropped == "paused":
		return cleanLine(c.name(ns, name)) + ": no run, it was paused"
	case f.Dropped != "":
		return cleanLine(c.name(ns, name) + ": no run, " + strings.ReplaceAll(f.Dropped, "_", " "))
	}
	return cleanLine(c.name(ns, name)) + ": about to start"
}

func (c *call) showTask(ctx context.Context, server *client.Client, at client.RunRef, run api.Run, r ref, k clock) error {
	var found []api.Task
	index := -1
	if r.Item != "" {
		var err error
		if index, err = c.itemIndex(ctx, server, at, r); err != nil {
			return err
		}
	}
	var names []string
	for _, t := range run.Tasks {
		if t.Index == nil {
			names = append(names, t.Name)
		}
		if t.Name == r.Task && (index < 0 || t.Index != nil && *t.Index == index) {
			found = append(found, t)
		}
	}
	if len(found) == 0 {
		e := api.Errorf(api.NotFound, "%s has no task %s", c.runName(run.Pipeline, run.Number), quote(r.Task)).WithHint("synctl show %s", c.runName(run.Pipeline, run.Number))
		if near := nearest(r.Task, names); near != "" {
			e.Hint = "did you mean " + quote(near) + "?"
		}
		return e
	}
	switch c.ui.format {
	case formatJSON, formatYAML:
		if len(found) == 1 {
			return c.ui.data(found[0])
		}
		return c.ui.data(listOf(found, ""))
	case formatName:
		for _, t := range found {
			if err := c.ui.outf("%s/%s\n", c.runName(run.Pipeline, run.Number), cleanLine(taskName(t.Name, t.Index, t.Item))); err != nil {
				return err
			}
		}
		return nil
	}
	var b strings.Builder
	for _, t := range found {
		b.WriteString(strings.TrimPrefix(c.taskLine(t, 0, k), "  ") + "\n")
		var f facts
		f.add("needs", strings.Join(t.Needs, ", "))
		if len(t.Item) > 0 && string(t.Item) != "null" {
			f.add("item", cleanLine(string(t.Item)))
		}
		f.add("outputs", paramsText(t.Outputs))
		if t.Approval != nil {
			f = append(f, c.questionFacts(*t.Approval, t.State == api.TaskStateWaiting, k)...)
		}
		for _, a := range t.Attempts {
			text := fmt.Sprintf("%d  %s", a.Number, a.State)
			if a.State == api.AttemptStateFailed {
				text += ": " + failureWords(a.Reason, a)
			}
			text += "  " + cleanLine(a.Executor)
			if a.StartedAt != nil {
				text += "  " + c.moment(k, *a.StartedAt) + ", took " + took(a.StartedAt, a.EndedAt, k.now)
			}
			if a.Detail != "" {
				text += "  " + cleanLine(a.Detail)
			}
			f.add("attempt", text)
		}
		b.WriteString(f.text())
	}
	return c.ui.outf("%s", b.String())
}

// paramsText are values as name=value, in order of names.
func paramsText(values api.Values) string {
	var parts []string
	for name := range values {
		parts = append(parts, name)
	}
	slices.Sort(parts)
	for i, name := range parts {
		parts[i] = cleanLine(name + "=" + valueText(values[name]))
	}
	return strings.Join(parts, " ")
}

// valueText is a JSON value as a person would type it: a string without quotes.
func valueText(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	return string(value)
}
