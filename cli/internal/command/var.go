package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func (c *call) varCommand() *cli.Command {
	return &cli.Command{
		Name: "var", Category: groupDeploy, Usage: "set, read and delete the variables of a namespace",
		Subcommands: []*cli.Command{
			{
				Name: "set", ArgsUsage: "NAME VALUE", Usage: "set a variable by hand",
				Description: "Runs made from then on read it as ${{ vars.NAME }}; those made before keep what they were\n" +
					"made with. A variable of a file is changed in the file.",
				Action: func(x *cli.Context) error {
					words := x.Args().Slice()
					if name, value, ok := strings.Cut(x.Args().First(), "="); ok && len(words) == 1 {
						words = []string{name, value}
					}
					if len(words) != 2 {
						return usage("expected a name and a value").withHint("synctl var set REGION eu-west-1")
					}
					return c.setVar(x.Context, words[0], words[1])
				},
			},
			{
				Name: "get", ArgsUsage: "NAME", Usage: "print the value of a variable",
				Action: func(x *cli.Context) error {
					args, err := args(x, 1, 1)
					if err != nil {
						return err
					}
					return c.getVar(x.Context, args[0])
				},
			},
			{
				Name: "ls", Usage: "list variables", Description: "Of the namespace that -n names; without it, of all.",
				Action: func(x *cli.Context) error {
					if _, err := args(x, 0, 0); err != nil {
						return err
					}
					return c.listVars(x.Context)
				},
			},
			{
				Name: "rm", ArgsUsage: "NAME", Usage: "delete a variable that was set by hand",
				Action: func(x *cli.Context) error {
					args, err := args(x, 1, 1)
					if err != nil {
						return err
					}
					return c.removeVar(x.Context, args[0])
				},
			},
		},
	}
}

func (c *call) setVar(ctx context.Context, text, value string) error {
	ns, name, err := c.outside(text, "variable")
	if err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	stored, err := server.SetVar(ctx, ns, name, value)
	if err != nil {
		return err
	}
	for _, w := range stored.Warnings {
		c.ui.warn("%s", clean(w))
	}
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(stored)
	case formatName:
		return c.ui.outf("%s\n", cleanLine(name))
	}
	c.ui.note("%s %s of %s is set; runs from now on read it", c.ui.paintErr(green, "✓"), name, ns)
	return nil
}

func (c *call) getVar(ctx context.Context, text string) error {
	ns, name, err := c.outside(text, "variable")
	if err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	v, err := server.Var(ctx, ns, name)
	if err != nil {
		return err
	}
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(v)
	case formatName:
		return c.ui.outf("%s\n", cleanLine(v.Name))
	}
	if c.StdoutTTY {
		return c.ui.outf("%s\n", clean(v.Value))
	}
	return c.ui.outf("%s\n", v.Value)
}

func (c *call) listVars(ctx context.Context) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	ns, err := c.chosen()
	if err != nil {
		return err
	}
	p := api.ListVarsParams{Namespace: ns}
	list, _, err := collect(-1, func(cursor string, n int) ([]api.Var, string, error) {
		p.Cursor, p.Limit = cursor, n
		page, err := server.Vars(ctx, p)
		return page.Items, page.Next, err
	}, nil)
	if err != nil {
		return err
	}
	if c.ui.machine() {
		return listed(c, list, func(v api.Var) string { return v.Namespace + "/" + v.Name })
	}
	t := sheet{columns: []column{{name: "namespace", rank: 1}, {name: "name"}, {name: "value", cut: true}, {name: "from", rank: 2}, {name: "changed", rank: 3}, {name: "used by", cut: true, rank: 4}}}
	for _, v := range list {
		from := "by hand"
		if v.Source != "" {
			from = "source " + v.Source
		} else if v.UpdatedBy != "" {
			from = v.UpdatedBy
		}
		t.add(same(v.Namespace), same(v.Name), same(v.Value), same(from), cell{human: k.when(v.UpdatedAt), program: instantOf(&v.UpdatedAt)}, same(strings.Join(v.UsedBy, ", ")))
	}
	if len(list) == 0 {
		c.ui.note("no variables; set one: synctl var set NAME VALUE")
	}
	return c.ui.table(t)
}

func (c *call) removeVar(ctx context.Context, text string) error {
	ns, name, err := c.outside(text, "variable")
	if err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	v, err := server.Var(ctx, ns, name)
	if err != nil {
		return err
	}
	if v.Source == "" {
		if err := c.confirm(ctx, usedBy("", v.UsedBy, "read it", ". ")+fmt.Sprintf("Delete variable %s of %s?", name, ns)); err != nil {
			return err
		}
	}
	if err := server.DeleteVar(ctx, ns, name); err != nil {
		return err
	}
	c.ui.note("%s variable %s of %s is deleted%s", c.ui.paintErr(green, "✓"), name, ns, cleanLine(usedBy("; ", v.UsedBy, "still read it", "")))
	return nil
}
