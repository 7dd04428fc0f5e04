package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func (c *call) poolCommand() *cli.Command {
	return &cli.Command{
		Name: "pool", Category: groupRun, Usage: "list pools; show who holds the slots of one and who waits",
		Subcommands: []*cli.Command{
			{
				Name: "ls", Usage: "list pools",
				Flags: []cli.Flag{&cli.StringFlag{Name: "limit", Usage: "how many (50), or all"}},
				Action: func(x *cli.Context) error {
					if _, err := args(x, 0, 0); err != nil {
						return err
					}
					return c.listPools(x.Context, x.String("limit"))
				},
			},
			{
				Name: "show", ArgsUsage: "POOL", Usage: "show who holds its slots, and who waits for them in which order",
				Flags: []cli.Flag{&cli.IntFlag{Name: "limit", Value: 100, Usage: "how many of each, 1000 at most"}},
				Action: func(x *cli.Context) error {
					args, err := args(x, 1, 1)
					if err != nil {
						return err
					}
					return c.showPool(x.Context, args[0], x.Int("limit"))
				},
			},
		},
	}
}

func (c *call) listPools(ctx context.Context, limitText string) error {
	limit, err := parseLimit(limitText)
	if err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	p := api.ListPoolsParams{Namespace: c.givenNamespace()}
	list, next, err := collect(limit, func(cursor string, n int) ([]api.Pool, string, error) {
		p.Cursor, p.Limit = cursor, n
		page, err := server.Pools(ctx, p)
		return page.Items, page.Next, err
	}, streamer[api.Pool](c, limit))
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
		c.ui.note("no pools → a document with kind: pool")
		return nil
	}
	s := sheet{columns: []column{{name: "name"}, {name: "used"}, {name: "waiting"}, {name: "reserve", rank: 1}, {name: "description", rank: 2, cut: true}, {name: "source", wide: true}}}
	for _, p := range list {
		used := cell{human: fmt.Sprintf("%d/%d", p.Used, p.Slots), program: fmt.Sprintf("%d/%d", p.Used, p.Slots)}
		if p.Used >= p.Slots {
			used.human, used.shade = c.ui.mark(lookGate)+" "+used.human+" full", lookGate.shade
		}
		s.add(cell{cleanLine(c.name(p.Namespace, p.Name)), p.Namespace + "/" + p.Name, bold}, used, same(itoa(p.Waiting)), same(itoa(p.ReserveScheduled)),
			same(p.Description), same(p.Source))
	}
	if err := c.ui.table(s); err != nil {
		return err
	}
	if next != "" {
		c.ui.note("… more → --limit all")
	}
	return nil
}

func (c *call) showPool(ctx context.Context, name string, limit int) error {
	namespace, pool, ok := strings.Cut(name, "/")
	if !ok {
		namespace, pool = c.namespace(), name
	}
	if namespace == "" || pool == "" || strings.Contains(pool, "/") {
		return usage("%s is no name of a pool", quote(name)).withHint("synctl pool ls")
	}
	if limit < 1 || limit > 1000 {
		return usage("--limit %d: 1 to 1000", limit)
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	d, err := server.Pool(ctx, namespace, pool, limit)
	if err != nil {
		return err
	}
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(d)
	case formatName:
		return c.ui.outf("%s\n", cleanLine(c.name(d.Pool.Namespace, d.Pool.Name)))
	}
	if c.StdoutTTY {
		if err := c.ui.outf("%s", c.poolHead(d.Pool)); err != nil {
			return err
		}
	}
	if len(d.Holders)+len(d.Waiters) == 0 {
		c.ui.note("nobody holds a slot, nobody waits")
		return nil
	}
	if err := c.ui.table(c.poolSheet(d, k)); err != nil {
		return err
	}
	for _, more := range []struct {
		shown, all int
		do         string
	}{{len(d.Holders), d.Pool.Holding, "hold slots"}, {len(d.Waiters), d.Pool.Waiting, "wait"}} {
		if more.shown < more.all && more.shown >= limit {
			c.ui.note("… and %d more %s → --limit", more.all-more.shown, more.do)
		}
	}
	return nil
}

// poolHead is the pool in a line or two.
func (c *call) poolHead(p api.Pool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %d of %d slots used, %d waiting", c.ui.paintOut(bold, cleanLine(c.name(p.Namespace, p.Name))), p.Used, p.Slots, p.Waiting)
	if p.ReserveScheduled > 0 {
		fmt.Fprintf(&b, ", %d kept from backfills", p.ReserveScheduled)
	}
	b.WriteByte('\n')
	if p.Description != "" {
		fmt.Fprintf(&b, "%s\n", cleanLine(p.Description))
	}
	return b.String()
}

// poolSheet lists holders, then waiters by their position.
func (c *call) poolSheet(d api.PoolDetail, k clock) sheet {
	s := sheet{columns: []column{{name: "state"}, {name: "task"}, {name: "slots"}, {name: "since"}, {name: "executor", rank: 1}}}
	row := func(t api.PoolTask, l look, state, word string) {
		human, program := "a task of another namespace", ""
		if t.Namespace != "" {
			task := t.Task
			if t.Index != nil {
				task = fmt.Sprintf("%s[%d]", task, *t.Index)
			}
			human = fmt.Sprintf("%s#%d/%s", c.name(t.Namespace, t.Pipeline), t.Run, task)
			program = fmt.Sprintf("%s/%s#%d/%s", t.Namespace, t.Pipeline, t.Run, task)
		}
		executor := t.Executor
		if t.Host != "" && t.Host != t.Executor {
			executor += " (" + t.Host + ")"
		}
		s.add(cell{c.ui.mark(l) + " " + state, word, l.shade}, cell{human: cleanLine(human), program: program}, same(itoa(t.Slots)),
			cell{human: k.whenOf(&t.Since), program: instantOf(&t.Since)}, same(cleanLine(executor)))
	}
	for _, t := range d.Holders {
		l := lookOfTask(api.Task{State: api.TaskState(t.State)})
		row(t, l, string(t.State), string(t.State))
	}
	for _, t := range d.Waiters {
		state := fmt.Sprintf("waiting, position %d", t.Position)
		if t.Backfill {
			state += ", backfill"
		}
		row(t, lookGate, state, fmt.Sprintf("waiting %d", t.Position))
	}
	return s
}
