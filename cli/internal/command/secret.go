package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func (c *call) secretCommand() *cli.Command {
	return &cli.Command{
		Name: "secret", Category: groupDeploy, Usage: "set, list and delete the secrets of a namespace",
		Subcommands: []*cli.Command{
			{
				Name: "set", ArgsUsage: "NAME", Usage: "set a secret; nobody can read it back",
				Description: "The value comes from stdin, or is asked for on a terminal without being shown; never from\n" +
					"the command line, which others can see. One line end at its end is left away, as\n" +
					"echo and editors add it.\n" +
					"  pass show warehouse | synctl secret set WAREHOUSE_DSN -n finance",
				Flags: []cli.Flag{&cli.StringFlag{Name: "from-file", Usage: "read the value from this `FILE`"}},
				Action: func(x *cli.Context) error {
					// Whatever stands behind the name may be the secret itself: it is not repeated.
					if x.NArg() > 1 || strings.Contains(x.Args().First(), "=") {
						return usage("the value of a secret is not taken from the command line: process lists and the shell's history show it").withHint("synctl secret set NAME asks for it, or reads stdin")
					}
					args, err := args(x, 1, 1)
					if err != nil {
						return err
					}
					return c.setSecret(x.Context, secretOptions{Name: args[0], File: x.String("from-file")})
				},
			},
			{
				Name: "ls", Usage: "list secrets, also those that pipelines name and that are not set",
				Description: "Of the namespace that -n names; without it, of all.",
				Action: func(x *cli.Context) error {
					if _, err := args(x, 0, 0); err != nil {
						return err
					}
					return c.listSecrets(x.Context)
				},
			},
			{
				Name: "rm", ArgsUsage: "NAME", Usage: "delete a secret with all its versions",
				Action: func(x *cli.Context) error {
					args, err := args(x, 1, 1)
					if err != nil {
						return err
					}
					return c.removeSecret(x.Context, args[0])
				},
			},
		},
	}
}

type secretOptions struct{ Name, File string }

// outside is the namespace and name of a secret or a variable: NAME, or
// NAMESPACE/NAME.
func (c *call) outside(text, what string) (ns, name string, err error) {
	ns, name, scoped := strings.Cut(text, "/")
	if !scoped {
		ns, name = c.namespace(), text
	}
	if !pipeline.ValidVariable(name) || !pipeline.ValidName(ns) {
		// It may be a value in the place of the name.
		return "", "", usage(`what was given is no name of a %s: those have letters, digits and "_", and no digit in front`, what)
	}
	return ns, name, nil
}

// maxSecret is how many bytes the value of a secret may have.
const maxSecret = 64 << 10

func (c *call) setSecret(ctx context.Context, o secretOptions) error {
	ns, name, err := c.outside(o.Name, "secret")
	if err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	value, err := c.readValue(o, ns)
	if err != nil {
		return err
	}
	stored, err := server.SetSecret(ctx, ns, name, value)
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
	c.ui.note("%s %s of %s is set, version %d", c.ui.paintErr(green, "✓"), name, ns, stored.Secret.Version)
	return nil
}

// readValue reads the value of a secret: from a file, a terminal, or stdin.
func (c *call) readValue(o secretOptions, ns string) (string, error) {
	var text string
	switch {
	case o.File != "" && o.File != "-":
		f, err := os.Open(c.path(o.File))
		if err != nil {
			return "", fmt.Errorf("read the value: %w", err)
		}
		defer f.Close()
		if text, err = readSome(f); err != nil {
			return "", err
		}
	case o.File == "" && c.StdinTTY && !c.asks():
		return "", usage("needs a terminal to ask for the value").withHint("pipe it in: … | synctl secret set %s", o.Name)
	case o.File == "" && c.StdinTTY:
		fmt.Fprintf(c.Stderr, "Value of %s in %s (not shown): ", cleanLine(o.Name), ns)
		read, err := c.ReadSecret()
		fmt.Fprintln(c.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the value: %w", err)
		}
		text = read
	default:
		var err error
		if text, err = readSome(c.Stdin); err != nil {
			return "", err
		}
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return "", usage("no value was given").withHint("… | synctl secret set %s", o.Name)
	case len(text) > maxSecret:
		return "", usage("the value is larger than 64 KiB")
	}
	return text, nil
}

func readSome(r io.Reader) (string, error) {
	read, err := io.ReadAll(io.LimitReader(r, maxSecret+3))
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	return string(read), nil
}

func (c *call) listSecrets(ctx context.Context) error {
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
	p := api.ListSecretsParams{Namespace: ns}
	list, _, err := collect(-1, func(cursor string, n int) ([]api.Secret, string, error) {
		p.Cursor, p.Limit = cursor, n
		page, err := server.Secrets(ctx, p)
		return page.Items, page.Next, err
	}, nil)
	if err != nil {
		return err
	}
	if c.ui.machine() {
		return listed(c, list, func(s api.Secret) string { return s.Namespace + "/" + s.Name })
	}
	t := sheet{columns: []column{{name: "namespace", rank: 1}, {name: "name"}, {name: "version"}, {name: "set"}, {name: "by", rank: 3}, {name: "last read", rank: 2}, {name: "used by", cut: true}}}
	for _, s := range list {
		set, version := cell{human: k.when(s.SetAt), program: instantOf(&s.SetAt)}, same(fmt.Sprint(s.Version))
		if s.Version == 0 {
			set, version = cell{human: "not set", program: "not set", shade: red}, same("")
		}
		read := cell{human: "never", program: ""}
		if !s.ReadAt.IsZero() {
			read = cell{human: k.when(s.ReadAt), program: instantOf(&s.ReadAt)}
			if s.ReadBy != "" {
				read.human += " " + s.ReadBy
			}
		}
		t.add(same(s.Namespace), same(s.Name), version, set, same(s.SetBy), read, same(strings.Join(s.UsedBy, ", ")))
	}
	if len(list) == 0 {
		c.ui.note("no secrets; set one: synctl secret set NAME")
	}
	return c.ui.table(t)
}

// chosen is the namespace that a list is asked for; "" is all that there are.
func (c *call) chosen() (string, error) {
	t, err := c.resolve()
	if err != nil {
		return "", err
	}
	return cmp.Or(c.Namespace, t.Namespace), nil
}

func (c *call) removeSecret(ctx context.Context, text string) error {
	ns, name, err := c.outside(text, "secret")
	if err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	s, err := server.Secret(ctx, ns, name)
	if err != nil {
		return err
	}
	if err := c.confirm(ctx, usedBy("", s.UsedBy, "fail without it", ". ")+"Delete secret "+name+" of "+ns+" with all its versions?"); err != nil {
		return err
	}
	if err := server.DeleteSecret(ctx, ns, name); err != nil {
		return err
	}
	c.ui.note("%s secret %s of %s is deleted%s", c.ui.paintErr(green, "✓"), name, ns, cleanLine(usedBy("; ", s.UsedBy, "fail from now on", "")))
	return nil
}

// usedBy says what becomes of the tasks that use something, between two texts; ""
// where none does.
func usedBy(before string, pipelines []string, fate, behind string) string {
	if len(pipelines) == 0 {
		return ""
	}
	const shown = 5
	list := strings.Join(pipelines[:min(shown, len(pipelines))], ", ")
	if n := len(pipelines); n > shown {
		list += fmt.Sprintf(" and %d more", n-shown)
	}
	return before + "tasks of " + list + " " + fate + behind
}
