package command

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

func (c *call) backfillCommand() *cli.Command {
	return &cli.Command{
		Name: "backfill", Category: groupRun, ArgsUsage: "PIPELINE",
		Usage: "make runs for ticks of the past",
		Description: "Shows what it would do, and asks. Runs are made a few at a time, and scheduled ones go first.\n" +
			"backfill ls [PIPELINE] lists backfills; backfill show, pause, resume and cancel ID steer one;\n" +
			"backfill change ID --max N --pool-share P says how much of it runs at once.\n" +
			"A pipeline that is called like a verb is written with its namespace: default/ls.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "first `TIME`: a date of the schedule's zone, or an instant"},
			&cli.StringFlag{Name: "to", Usage: "last `TIME`; a date is included as a whole"},
			&cli.StringFlag{Name: "where", Usage: "missing (else), failed: those that failed too, or all"},
			&cli.StringFlag{Name: "order", Usage: "newest (else) or oldest first"},
			&cli.StringFlag{Name: "schedule", Usage: "which `ID`, where the pipeline has several"},
			&cli.IntFlag{Name: "max", Usage: "how many runs at once (3)"},
			&cli.StringFlag{Name: "pool-share", Usage: "how much of each pool it may hold, `P`%"},
			&cli.StringSliceFlag{Name: "param", Aliases: []string{"p"}, Usage: "a param instead of the schedule's, `NAME=VALUE`"},
			&cli.StringFlag{Name: "note", Usage: "kept with the backfill and its runs"},
			&cli.StringFlag{Name: "key", Usage: "idempotency key: the same key starts it once"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only show what it would do"},
			&cli.StringFlag{Name: "reason", Usage: "with pause and cancel: why"},
			&cli.BoolFlag{Name: "runs", Usage: "with cancel: its runs that have not ended too"},
			&cli.StringFlag{Name: "limit", Usage: "with ls and show: how many (50)"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, 2)
			if err != nil {
				return err
			}
			o := backfillOptions{
				Of: args[0], Params: x.StringSlice("param"), Key: x.String("key"), DryRun: x.Bool("dry-run"), Share: x.String("pool-share"),
				Request: api.BackfillRequest{
					From: x.String("from"), To: x.String("to"), Where: api.BackfillRequestWhere(x.String("where")), Order: api.BackfillRequestOrder(x.String("order")),
					Schedule: x.String("schedule"), Max: x.Int("max"), Note: x.String("note"),
				},
			}
			verb, rest := args[0], args[1:]
			switch verb {
			case "ls":
				return c.backfills(x.Context, rest, x.String("limit"))
			case "show", "change", "pause", "resume", "cancel":
				if len(rest) != 1 {
					return usage("backfill %s needs the number of a backfill", verb).withHint("synctl backfill ls")
				}
				id, err := strconv.ParseInt(strings.TrimPrefix(rest[0], "#"), 10, 64)
				if err != nil || id < 1 {
					return usage("%s is no number of a backfill", quote(rest[0])).withHint("synctl backfill ls")
				}
				how := steering{Verb: verb, Change: api.BackfillChange{Reason: x.String("reason"), Runs: x.Bool("runs")}, Quota: api.BackfillQuota{Max: x.Int("max")}, Limit: x.String("limit")}
				if how.Quota.PoolShare, err = poolShare(o.Share); err != nil {
					return err
				}
				if verb == "change" && how.Quota == (api.BackfillQuota{}) {
					return usage("backfill change needs --max or --pool-share")
				}
				return c.steerBackfill(x.Context, id, how)
			}
			if len(rest) > 0 {
				return usage("backfill takes one pipeline, found %s too", quote(rest[0]))
			}
			return c.backfill(x.Context, o)
		},
	}
}

type backfillOptions struct {
	Of, Key, Share string
	Params         []string
	DryRun         bool
	Request        api.BackfillRequest
}

// backfill shows what a backfill would do, asks, and starts it.
func (c *call) backfill(ctx context.Context, o backfillOptions) error {
	r, err := parseRef(o.Of)
	if err != nil {
		return err
	}
	if r.Pipeline == "" || r.Run != "" || r.Task != "" {
		return usage("%s names a run; backfill is for a pipeline", quote(o.Of))
	}
	if r.Namespace == "" {
		r.Namespace = c.namespace()
	}
	req := o.Request
	if req.From == "" || req.To == "" {
		return usage("--from and --to are missing: which ticks?").withHint("synctl backfill %s --from 2026-10-20 --to 2026-10-27", shellWord(r.Pipeline))
	}
	if req.PoolShare, err = poolShare(o.Share); err != nil {
		return err
	}
	if req.Texts, err = textParams(o.Params); err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	if req.From, err = backfillTime(k, "from", req.From); err != nil {
		return err
	}
	if req.To, err = backfillTime(k, "to", req.To); err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	preview, err := server.PreviewBackfill(ctx, r.Namespace, r.Pipeline, api.PreviewBackfillParams{
		Schedule: req.Schedule, From: req.From, To: req.To, Where: api.PreviewBackfillParamsWhere(req.Where), Limit: 20,
	})
	if err != nil {
		return err
	}
	if o.DryRun && c.ui.machine() {
		return c.ui.data(preview)
	}
	most := req.Max
	if most == 0 {
		most = 3
	}
	if err := c.showPreview(preview, k, most, o.DryRun); err != nil {
		return err
	}
	if o.DryRun {
		return nil
	}
	if preview.Run > 0 {
		if err := c.confirm(ctx, fmt.Sprintf("Start %s?", plural(preview.Run, "run"))); err != nil {
			return err
		}
	}
	req.Hash = preview.Hash
	key := o.Key
	if key == "" {
		key = "synctl-" + rand.Text()
	}
	b, created, err := server.StartBackfill(ctx, r.Namespace, r.Pipeline, key, req)
	if err != nil {
		return c.paramErrors(err)
	}
	if !created {
		c.ui.note("backfill %d is the one of this key", b.ID)
	}
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(b)
	}
	if err := c.ui.outf("%d\n", b.ID); err != nil {
		return err
	}
	if c.StdoutTTY && c.ui.format != formatName {
		c.ui.note("backfill %d %s\n  synctl backfill show %d\n  %s", b.ID, b.State, b.ID, cleanLine(b.URL))
	}
	return nil
}

// poolShare reads a percentage; 0: none was given.
func poolShare(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil || n < 1 || n > 100 {
		return 0, usage("--pool-share %s: it is 1%% to 100%%", quote(text))
	}
	return n, nil
}

// backfillTime leaves dates to the server, which knows the schedule's zone.
func backfillTime(k clock, flag, text string) (string, error) {
	if _, err := time.Parse(time.DateOnly, text); err == nil {
		return text, nil
	}
	at, err := k.parseTime(flag, text)
	if err != nil {
		return "", err
	}
	return at.UTC().Format(time.RFC3339), nil
}

// showPreview tells what a backfill would do: to those who are asked on stderr,
// where it is all that is wanted on stdout.
func (c *call) showPreview(p api.BackfillPreview, k clock, most int, result bool) error {
	parts := []string{fmt.Sprintf("%d to run", p.Run)}
	for _, state := range slices.Sorted(maps.Keys(p.Counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", p.Counts[state], cleanLine(state)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", plural(p.Ticks, "tick"), strings.Join(parts, ", "))
	if side := min(most, p.Limit); p.Run > 0 && p.Seconds > 0 && side > 0 {
		fmt.Fprintf(&b, "about %s, %d at once\n", duration(time.Duration(p.Seconds/float64(side)*float64(time.Second))), side)
	}
	for _, t := range p.Items {
		fmt.Fprintf(&b, "  %-9s %s", cleanLine(t.State), strings.Replace(cleanLine(t.Local), "T", " ", 1))
		if t.Note != "" {
			fmt.Fprintf(&b, " (%s)", cleanLine(t.Note))
		}
		if t.Detail != "" {
			fmt.Fprintf(&b, "  %s", cleanLine(t.Detail))
		}
		b.WriteByte('\n')
	}
	if n := p.Ticks - len(p.Items); n > 0 {
		fmt.Fprintf(&b, "  … %d more\n", n)
	}
	fmt.Fprintf(&b, "times are those of %s\n", cleanLine(p.Timezone))
	if result {
		return c.ui.outf("%s", b.String())
	}
	if !c.ui.machine() {
		c.ui.note("%s", strings.TrimSuffix(b.String(), "\n"))
	}
	return nil
}

// backfills lists backfills.
func (c *call) backfills(ctx context.Context, of []string, text string) error {
	limit, err := parseLimit(text)
	if err != nil {
		return err
	}
	p := api.ListBackfillsParams{Namespace: c.givenNamespace()}
	if len(of) > 0 {
		r, err := parseRef(of[0])
		if err != nil {
			return err
		}
		if r.Namespace == "" {
			r.Namespace = c.namespace()
		}
		p.Pipeline, p.Namespace = r.Namespace+"/"+r.Pipeline, ""
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	list, next, err := collect(limit, func(cursor string, n int) ([]api.Backfill, string, error) {
		p.Cursor, p.Limit = cursor, n
		page, err := server.Backfills(ctx, p)
		return page.Items, page.Next, err
	}, streamer[api.Backfill](c, limit))
	if err != nil {
		return err
	}
	switch {
	case c.ui.format == formatJSON && limit < 0:
		return nil
	case c.ui.format == formatJSON || c.ui.format == formatYAML:
		return c.ui.data(listOf(list, next))
	case c.ui.format == formatName:
		return listed(c, list, func(b api.Backfill) string { return strconv.FormatInt(b.ID, 10) })
	}
	if len(list) == 0 {
		c.ui.note("no backfills")
		return nil
	}
	s := sheet{columns: []column{{name: "id"}, {name: "pipeline"}, {name: "state"}, {name: "done"}, {name: "failed", rank: 1}, {name: "from", rank: 2}, {name: "until", rank: 2}, {name: "by", rank: 3}}}
	for _, b := range list {
		done := fmt.Sprintf("%d/%d", b.Ticks-b.Waiting-b.Open, b.Ticks)
		s.rows = append(s.rows, []cell{
			both(strconv.FormatInt(b.ID, 10)), both(cleanLine(b.Pipeline)), both(string(b.State)), both(done), both(strconv.Itoa(b.Failed)),
			{human: k.date(b.From), program: instant(b.From)},
			{human: k.date(b.Until), program: instant(b.Until)},
			both(cleanLine(b.RequestedBy)),
		})
	}
	return c.ui.table(s)
}

func both(text string) cell { return cell{human: text, program: text} }

// steering is what becomes of a backfill.
type steering struct {
	Verb   string
	Change api.BackfillChange
	Quota  api.BackfillQuota
	Limit  string
}

// steerBackfill shows a backfill, after a change where there is one.
func (c *call) steerBackfill(ctx context.Context, id int64, how steering) error {
	limit, err := parseLimit(how.Limit)
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
	b, err := changeBackfill(ctx, server, id, how, limit)
	if err != nil {
		return err
	}
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(b)
	case formatName:
		return c.ui.outf("%d\n", b.ID)
	}
	return c.ui.outf("%s", c.backfillText(b, k, how.Verb == "show"))
}

func changeBackfill(ctx context.Context, server *client.Client, id int64, how steering, limit int) (api.Backfill, error) {
	switch how.Verb {
	case "change":
		return server.ChangeBackfill(ctx, id, how.Quota)
	case "pause":
		return server.PauseBackfill(ctx, id, how.Change)
	case "resume":
		return server.ResumeBackfill(ctx, id)
	case "cancel":
		return server.CancelBackfill(ctx, id, how.Change)
	}
	p := api.GetBackfillParams{}
	if limit > 0 {
		p.Limit = min(limit, 200)
	}
	return server.Backfill(ctx, id, p)
}

func (c *call) backfillText(b api.Backfill, k clock, ticks bool) string {
	var t strings.Builder
	fmt.Fprintf(&t, "backfill %d of %s  %s", b.ID, cleanLine(b.Pipeline), b.State)
	if b.Reason != "" {
		fmt.Fprintf(&t, ": %s", cleanLine(b.Reason))
	}
	fmt.Fprintf(&t, "\n%d of %d done: %d succeeded, %d failed", b.Ticks-b.Waiting-b.Open, b.Ticks, b.Succeeded, b.Failed)
	for _, n := range []struct {
		n    int
		what string
	}{{b.Canceled, "canceled"}, {b.Skipped, "skipped"}, {b.Passed, "done by others"}, {b.Open, "under way"}, {b.Waiting, "to come"}} {
		if n.n > 0 {
			fmt.Fprintf(&t, ", %d %s", n.n, n.what)
		}
	}
	fmt.Fprintf(&t, "\n%s to %s, %s, %s first, %d at once, %d%% of pools, by %s\n", c.stamp(k, b.From), c.stamp(k, b.Until), b.Where, b.Order, b.Max, b.PoolShare, cleanLine(b.RequestedBy))
	if b.Seconds > 0 {
		fmt.Fprintf(&t, "about %s left\n", duration(time.Duration(b.Seconds*float64(time.Second))))
	}
	if !ticks {
		return t.String()
	}
	for _, x := range b.Items {
		fmt.Fprintf(&t, "  %-9s %s", cleanLine(x.State), strings.Replace(cleanLine(x.Local), "T", " ", 1))
		if x.RunNumber > 0 {
			fmt.Fprintf(&t, "  #%d", x.RunNumber)
		}
		if x.Detail != "" {
			fmt.Fprintf(&t, "  %s", cleanLine(x.Detail))
		}
		t.WriteByte('\n')
	}
	if b.Next != "" {
		fmt.Fprintln(&t, "  … more → --limit 200")
	}
	return t.String()
}
