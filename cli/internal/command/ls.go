package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func (c *call) lsCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Category: groupDeploy, ArgsUsage: "[GLOB]",
		Usage: "list pipelines",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "label", Aliases: []string{"l"}, Usage: "only with this label, `KEY=VALUE`; may be repeated"},
			&cli.StringFlag{Name: "state", Usage: "only paused ones, or by the state of the newest run"},
			&cli.StringFlag{Name: "limit", Usage: "how many (50), or all"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 0, 1)
			if err != nil {
				return err
			}
			o := lsOptions{Labels: x.StringSlice("label"), State: x.String("state"), Limit: x.String("limit")}
			if len(args) > 0 {
				o.Glob = args[0]
			}
			return c.ls(x.Context, o)
		},
	}
}

type lsOptions struct {
	Glob, State, Limit string
	Labels             []string
}

func (c *call) ls(ctx context.Context, o lsOptions) error {
	limit, err := parseLimit(o.Limit)
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
	p := api.ListPipelinesParams{Namespace: c.givenNamespace(), Q: o.Glob, Label: o.Labels, State: api.PipelineState(o.State)}
	list, next, err := collect(limit, func(cursor string, n int) ([]api.Pipeline, string, error) {
		p.Cursor, p.Limit = cursor, n
		page, err := server.Pipelines(ctx, p)
		return page.Items, page.Next, err
	}, streamer[api.Pipeline](c, limit))
	if err != nil {
		return err
	}
	switch {
	case c.ui.format == formatJSON && limit < 0:
		return nil
	case c.ui.format == formatJSON || c.ui.format == formatYAML:
		return c.ui.data(listOf(list, next))
	case c.ui.format == formatName:
		for _, p := range list {
			if err := c.ui.outf("%s\n", cleanLine(c.name(p.Namespace, p.Name))); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		if o.Glob != "" || o.State != "" || len(o.Labels) > 0 {
			c.ui.note("no pipeline is like that")
		} else {
			c.ui.note("no pipelines yet → synctl register PATH")
		}
		return nil
	}
	if err := c.ui.table(c.pipelineSheet(list, k)); err != nil {
		return err
	}
	if next != "" {
		c.ui.note("… more → --limit all")
	}
	return nil
}

func (c *call) pipelineSheet(list []api.Pipeline, k clock) sheet {
	s := sheet{columns: []column{
		{name: "name"},
		{name: "last run", rank: 0},
		{name: "ended", rank: 3},
		{name: "next tick", rank: 1},
		{name: "schedule", rank: 2, cut: true},
		{name: "owner", wide: true},
		{name: "source", wide: true},
		{name: "rev", wide: true},
	}}
	for _, p := range list {
		last := cell{human: c.ui.mark(lookNever) + " never", program: "never"}
		ended := cell{}
		if r := p.LastRun; r != nil {
			l := lookOfRun(r.State, r.Reason)
			last = cell{fmt.Sprintf("%s #%d %s", c.ui.mark(l), r.Number, r.State), fmt.Sprintf("#%d %s", r.Number, r.State), l.shade}
			ended = cell{human: k.whenOf(r.EndedAt), program: instantOf(r.EndedAt)}
		}
		tick := cell{human: k.whenOf(p.NextTick), program: instantOf(p.NextTick)}
		if p.Paused != nil {
			words := "paused"
			if p.Paused.Reason != "" {
				words += ": " + cleanLine(p.Paused.Reason)
			}
			tick = cell{human: c.ui.mark(lookPaused) + " " + words, program: words}
		}
		var texts []string
		for _, s := range p.Schedules {
			text := s.Text
			if s.Timezone != "" && s.Timezone != "UTC" && !strings.HasPrefix(s.Text, "every") {
				text += " " + s.Timezone
			}
			if s.Broken != "" {
				text += " (broken: " + s.Broken + ")"
			}
			texts = append(texts, text)
		}
		s.add(cell{cleanLine(c.name(p.Namespace, p.Name)), p.Namespace + "/" + p.Name, bold}, last, ended, tick, same(strings.Join(texts, ", ")),
			same(p.Owner), same(p.Source), same(itoa(p.Revision)))
	}
	return s
}

// parseLimit reads how many are wanted: 0 is a page, -1 all.
func parseLimit(text string) (int, error) {
	switch text {
	case "":
		return 0, nil
	case "all":
		return -1, nil
	}
	n := 0
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 1 || itoa(n) != text {
		return 0, usage("--limit %s: a number, or all", quote(text))
	}
	return n, nil
}

// collect reads pages until there are as many as wanted. With each, nothing is
// kept: every page is handed on.
func collect[T any](limit int, page func(cursor string, n int) ([]T, string, error), each func([]T) error) (list []T, next string, err error) {
	for {
		want := api.DefaultPage
		switch {
		case limit < 0:
			want = api.MaxPage
		case limit > 0:
			want = min(limit-len(list), api.MaxPage)
		}
		part, cursor, err := page(next, want)
		if err != nil {
			return nil, "", err
		}
		next = cursor
		if each != nil {
			if err := each(part); err != nil {
				return nil, "", err
			}
		} else {
			list = append(list, part...)
		}
		if next == "" || limit == 0 || limit > 0 && len(list) >= limit {
			return list, next, nil
		}
	}
}

// streamer writes each item as a line of JSON where all of them are wanted.
func streamer[T any](c *call, limit int) func([]T) error {
	if limit >= 0 || c.ui.format != formatJSON {
		return nil
	}
	return func(part []T) error {
		for _, item := range part {
			if err := c.ui.jsonLine(item); err != nil {
				return err
			}
		}
		return nil
	}
}

func (c *call) runsCommand() *cli.Command {
	return &cli.Command{
		Name: "runs", Category: groupRun, ArgsUsage: "[PIPELINE]",
		Usage: "list runs, newest first",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "state", Usage: "only in this state; may be repeated"},
			&cli.StringFlag{Name: "since", Usage: "made at or after: 24h, yesterday, 2026-11-22"},
			&cli.StringFlag{Name: "until", Usage: "made before"},
			&cli.StringFlag{Name: "limit", Usage: "how many (50), or all"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 0, 1)
			if err != nil {
				return err
			}
			o := runsOptions{States: x.StringSlice("state"), Since: x.String("since"), Until: x.String("until"), Limit: x.String("limit")}
			if len(args) > 0 {
				o.Pipeline = args[0]
			}
			return c.runs(x.Context, o)
		},
	}
}

type runsOptions struct {
	Pipeline, Since, Until, Limit string
	States                        []string
}

func (c *call) runs(ctx context.Context, o runsOptions) error {
	limit, err := parseLimit(o.Limit)
	if err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	p := api.ListRunsParams{Namespace: c.givenNamespace()}
	if o.Pipeline != "" {
		r, err := parseRef(o.Pipeline)
		if err != nil {
			return err
		}
		if r.Pipeline == "" || r.Run != "" {
			return usage("%s names a run; runs lists those of a pipeline", quote(o.Pipeline)).withHint("synctl show %s", clean(o.Pipeline))
		}
		if r.Namespace == "" {
			r.Namespace = c.namespace()
		}
		p.Namespace, p.Pipeline = "", r.Namespace+"/"+r.Pipeline
	}
	for _, s := range o.States {
		p.State = append(p.State, api.RunState(s))
	}
	if known := []string{"queued", "running", "succeeded", "failed", "canceled", "skipped"}; slices.ContainsFunc(o.States, func(s string) bool { return !slices.Contains(known, s) }) {
		return usage("--state %s: it is one of %s", quote(strings.Join(o.States, ", ")), strings.Join(known, ", "))
	}
	if o.Since != "" {
		if p.Since, err = k.parseSince("since", o.Since); err != nil {
			return err
		}
	}
	if o.Until != "" {
		if p.Until, err = k.parseSince("until", o.Until); err != nil {
			return err
		}
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	list, next, err := collect(limit, func(cursor string, n int) ([]api.Run, string, error) {
		p.Cursor, p.Limit = cursor, n
		page, err := server.Runs(ctx, p)
		return page.Items, page.Next, err
	}, streamer[api.Run](c, limit))
	if err != nil {
		return err
	}
	switch {
	case c.ui.format == formatJSON && limit < 0:
		return nil
	case c.ui.format == formatJSON || c.ui.format == formatYAML:
		return c.ui.data(listOf(list, next))
	case c.ui.format == formatName:
		for _, r := range list {
			if err := c.ui.outf("%s\n", cleanLine(c.runName(r.Pipeline, r.Number))); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		switch {
		case len(o.States) > 0 || o.Since != "" || o.Until != "":
			c.ui.note("no run is like that")
		case o.Pipeline != "":
			// An empty list may be a name with a typing mistake in it.
			ns, name := splitPipeline(p.Pipeline)
			if _, err := server.Pipeline(ctx, ns, name); err != nil {
				return err
			}
			fallthrough
		default:
			c.ui.note("no runs yet → synctl run PIPELINE -w")
		}
		return nil
	}
	if err := c.ui.table(c.runSheet(list, k)); err != nil {
		return err
	}
	if next != "" {
		c.ui.note("… more → --limit all")
	}
	return nil
}

func (c *call) runSheet(list []api.Run, k clock) sheet {
	s := sheet{columns: []column{
		{name: "run"},
		{name: "state"},
		{name: "created", rank: 1},
		{name: "took", rank: 2},
		{name: "trigger", rank: 3},
		{name: "params", rank: 4, cut: true},
		{name: "scheduled", wide: true},
		{name: "by", wide: true},
		{name: "rev", wide: true},
	}}
	for _, r := range list {
		l := lookOfRun(r.State, r.Reason)
		words := string(r.State)
		if r.Reason != "" && r.Reason != "tasks" && r.Reason != string(r.State) {
			words += ": " + strings.ReplaceAll(r.Reason, "_", " ")
		}
		s.add(cell{c.runName(r.Pipeline, r.Number), fmt.Sprintf("%s#%d", r.Pipeline, r.Number), bold},
			cell{c.ui.mark(l) + " " + words, words, l.shade},
			cell{human: k.when(r.CreatedAt), program: instant(r.CreatedAt)}, same(took(r.StartedAt, r.EndedAt, k.now)),
			same(r.Trigger), same(paramsText(r.Params)), cell{human: k.when(r.ScheduledAt), program: instant(r.ScheduledAt)}, same(r.RequestedBy), same(itoa(r.Revision)))
	}
	return s
}
