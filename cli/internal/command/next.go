package command

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

func (c *call) nextCommand() *cli.Command {
	return &cli.Command{
		Name: "next", Category: groupAuthor, ArgsUsage: "[PIPELINE|FILE]",
		Usage: "the coming ticks",
		Description: "Of a pipeline on the server, of the pipelines in a file, or of a cron expression;\n" +
			"without any, the next tick of every pipeline. A file and an expression need no server.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Value: 5, Usage: "how many"},
			&cli.StringFlag{Name: "from", Usage: "after this `TIME` instead of now"},
			&cli.StringFlag{Name: "cron", Usage: "of this cron `EXPR`ession, in the zone of --tz (UTC)"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 0, 1)
			if err != nil {
				return err
			}
			o := nextOptions{Count: x.Int("count"), From: x.String("from"), Cron: x.String("cron"), IsCron: x.IsSet("cron")}
			if len(args) > 0 {
				o.Of = args[0]
			}
			return c.next(x.Context, o)
		},
	}
}

type nextOptions struct {
	Of, From, Cron string
	IsCron         bool
	Count          int
}

// A comingTick is a line of the answer. Ticks that do not happen are lines for
// people; programs get those that do.
type comingTick struct {
	api.NextTick
	Pipeline string `json:"pipeline,omitempty"`

	fires bool
	zone  string // abbreviation; "" for a local time that does not exist
	text  string // what a clock change does to it
}

func (c *call) next(ctx context.Context, o nextOptions) error {
	if o.Count < 1 || o.Count > api.MaxNextTicks {
		return usage("-n %d: 1 to %d", o.Count, api.MaxNextTicks)
	}
	if o.IsCron && o.Of != "" {
		return usage("--cron and %s: one of them", quote(o.Of))
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	from := k.now
	if o.From != "" {
		if from, err = k.parseTime("from", o.From); err != nil {
			return err
		}
	}
	var list []comingTick
	switch {
	case o.IsCron:
		spec := schedule.Spec{Cron: o.Cron, Zone: c.Zone}
		list, err = coming(spec, "", from, o.Count)
		if err != nil {
			return usage("%s", sentence(err))
		}
	case o.Of != "" && c.isFile(o.Of):
		list, err = c.nextOfFile(o.Of, from, o.Count)
	case o.Of != "":
		list, err = c.nextOfPipeline(ctx, o.Of, from, o)
	default:
		if o.From != "" {
			return usage("--from needs a pipeline, a file or --cron")
		}
		list, err = c.nextOfAll(ctx, o.Count)
	}
	if err != nil {
		return err
	}
	return c.showTicks(list, k, o)
}

// isFile tells a file from the name of a pipeline.
func (c *call) isFile(arg string) bool {
	ext := filepath.Ext(arg)
	return ext == ".yaml" || ext == ".yml" || strings.HasPrefix(arg, ".") || filepath.IsAbs(arg) || !pipeline.ValidName(arg) && exists(c.path(arg))
}

// coming are the next ticks of a schedule.
func coming(spec schedule.Spec, id string, from time.Time, n int) ([]comingTick, error) {
	s, err := schedule.New(spec)
	if err != nil {
		return nil, err
	}
	var list []comingTick
	for _, u := range s.Explain(from, n) {
		list = append(list, comingTick{
			NextTick: api.NextTick{At: u.At.UTC(), Local: u.Local, Timezone: s.Zone().String(), Schedule: id, Note: string(u.Note)},
			fires:    u.Fires, zone: u.Zone, text: u.Text,
		})
	}
	return list, nil
}

func (c *call) nextOfFile(name string, from time.Time, n int) ([]comingTick, error) {
	files, err := c.readFiles([]string{name})
	if err != nil {
		return nil, err
	}
	source, problems := pipeline.Parse(files, pipeline.Options{Namespace: c.Namespace})
	if problems.HasErrors() {
		c.ui.say(strings.TrimSuffix(problems.Text(files, c.ui.colorErr), "\n"))
		return nil, status(ExitError)
	}
	var list []comingTick
	pipelines := source.Pipelines()
	for _, p := range pipelines {
		of, err := ticksOf(p, from, n)
		if err != nil {
			return nil, err
		}
		if len(pipelines) > 1 {
			for i := range of {
				of[i].Pipeline = p.Namespace + "/" + p.Name
			}
		}
		list = append(list, of...)
	}
	return firstTicks(list, n), nil
}

// ticksOf are the next ticks of all schedules of a pipeline.
func ticksOf(p *pipeline.Pipeline, from time.Time, n int) ([]comingTick, error) {
	var list []comingTick
	for _, s := range p.Schedules {
		of, err := coming(s.Spec(), s.ID, from, n)
		if err != nil {
			return nil, fmt.Errorf("schedule %s: %w", s.ID, err)
		}
		list = append(list, of...)
	}
	return list, nil
}

// firstTicks keeps the first n that fire, and what does not happen among them.
func firstTicks(list []comingTick, n int) []comingTick {
	slices.SortStableFunc(list, func(a, b comingTick) int { return a.At.Compare(b.At) })
	fired := 0
	for i, t := range list {
		if t.fires {
			fired++
		}
		if fired == n {
			return list[:i+1]
		}
	}
	return list
}

func (c *call) nextOfPipeline(ctx context.Context, name string, from time.Time, o nextOptions) ([]comingTick, error) {
	r, err := parseRef(name)
	if err != nil {
		return nil, err
	}
	server, err := c.server()
	if err != nil {
		return nil, err
	}
	if r.Namespace == "" {
		r.Namespace = c.namespace()
	}
	p := api.NextTicksParams{Limit: o.Count}
	if o.From != "" {
		p.From = from
	}
	answer, err := server.NextTicks(ctx, r.Namespace, r.Pipeline, p)
	if err != nil {
		return nil, err
	}
	list := make([]comingTick, 0, len(answer.Items))
	for _, t := range answer.Items {
		list = append(list, told(t))
	}
	return list, nil
}

// told puts a tick of the server in the words that a local one has.
func told(t api.NextTick) comingTick {
	out := comingTick{NextTick: t, fires: true}
	zone, err := schedule.LoadZone(t.Timezone)
	if err != nil {
		return out
	}
	local := t.At.In(zone)
	out.zone = zoneName(local)
	switch schedule.Note(t.Note) {
	case schedule.NoteMoved:
		out.text = fmt.Sprintf("does not exist → fires %s %s, %sZ (dst.gap: next)", local.Format("15:04"), out.zone, t.At.UTC().Format("15:04"))
		out.zone = ""
	case schedule.NoteFirst:
		out.text = "first of two"
	case schedule.NoteSecond:
		out.text = "second of two"
	}
	return out
}

// nextOfAll is the next tick of every pipeline that has one.
func (c *call) nextOfAll(ctx context.Context, n int) ([]comingTick, error) {
	server, err := c.server()
	if err != nil {
		return nil, err
	}
	var list []comingTick
	p := api.ListPipelinesParams{Namespace: c.givenNamespace(), Limit: api.MaxPage}
	for {
		page, err := server.Pipelines(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			for _, s := range item.Schedules {
				if s.NextTick == nil || item.Paused != nil {
					continue
				}
				t := told(api.NextTick{At: s.NextTick.UTC(), Timezone: s.Timezone, Schedule: s.ID})
				if zone, err := schedule.LoadZone(s.Timezone); err == nil {
					t.Local = s.NextTick.In(zone).Format("2006-01-02T15:04")
				}
				t.Pipeline = item.Namespace + "/" + item.Name
				list = append(list, t)
			}
		}
		if page.Next == "" {
			return firstTicks(list, n), nil
		}
		p.Cursor = page.Next
	}
}

func (c *call) showTicks(list []comingTick, k clock, o nextOptions) error {
	fires := slices.DeleteFunc(slices.Clone(list), func(t comingTick) bool { return !t.fires })
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(listOf(fires, ""))
	case formatName:
		for _, t := range fires {
			if err := c.ui.outf("%s\n", instant(t.At)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		c.ui.note("no tick is to come")
		return nil
	}
	if !c.StdoutTTY {
		return c.ui.out(c.ui.fit(ticksForPipe(list)))
	}
	schedules := map[string]bool{}
	width := 0
	for _, t := range list {
		schedules[t.Schedule] = true
		width = max(width, len(c.tickName(t, true)))
	}
	for _, t := range list {
		local, _ := time.Parse("2006-01-02T15:04", t.Local[:min(16, len(t.Local))])
		line := fmt.Sprintf("  %s %-5s", local.Format("Mon _2 Jan 2006 15:04"), t.zone)
		if t.text == "" || t.zone != "" {
			line += "  " + t.At.Format("15:04Z")
		}
		if d := t.At.Sub(k.now); t.text == "" && o.From == "" && d >= 0 {
			line += "   in " + duration(d.Truncate(time.Second))
		}
		if t.text != "" {
			line += "  " + t.text
		}
		if name := c.tickName(t, len(schedules) > 1); name != "" {
			line = fmt.Sprintf("  %-*s", width, name) + line
		}
		if err := c.ui.outf("%s\n", strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// tickName says whose tick it is, where there are several.
func (c *call) tickName(t comingTick, schedules bool) string {
	var parts []string
	if t.Pipeline != "" {
		ns, name := splitPipeline(t.Pipeline)
		parts = append(parts, cleanLine(c.name(ns, name)))
	}
	if schedules && t.Schedule != "" && t.Schedule != "default" {
		parts = append(parts, cleanLine(t.Schedule))
	}
	return strings.Join(parts, " ")
}

func ticksForPipe(list []comingTick) string {
	s := sheet{columns: []column{{name: "at"}, {name: "local"}, {name: "timezone"}, {name: "pipeline"}, {name: "schedule"}, {name: "note"}}}
	for _, t := range list {
		at := instant(t.At)
		if !t.fires {
			at = ""
		}
		s.add(same(at), same(t.Local), same(t.Timezone), same(t.Pipeline), same(t.Schedule), same(t.text))
	}
	return s.tsv()
}
