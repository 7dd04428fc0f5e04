package command

import (
	"cmp"
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func (c *call) contextCommand() *cli.Command {
	one := func(do func(context.Context, string) error) cli.ActionFunc {
		return func(x *cli.Context) error {
			args, err := args(x, 1, 1)
			if err != nil {
				return err
			}
			return do(x.Context, args[0])
		}
	}
	return &cli.Command{
		Name: "context", Category: groupItself, Usage: "the servers that you use, by name",
		Subcommands: []*cli.Command{
			{
				Name: "ls", Usage: "list contexts",
				Action: func(x *cli.Context) error {
					if _, err := args(x, 0, 0); err != nil {
						return err
					}
					return c.contexts(x.Context)
				},
			},
			{Name: "use", ArgsUsage: "NAME", Usage: "make a context the current one", Action: one(c.useContext)},
			{
				Name: "add", ArgsUsage: "NAME URL", Usage: "add a context, or change one",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "confirm", Usage: "always: ask before every register"},
				},
				Action: func(x *cli.Context) error {
					args, err := args(x, 2, 2)
					if err != nil {
						return err
					}
					return c.addContext(x.Context, contextOptions{Name: args[0], URL: args[1], Confirm: x.String("confirm")})
				},
			},
			{Name: "rm", ArgsUsage: "NAME", Usage: "forget a context and its token", Action: one(c.removeContext)},
		},
	}
}

// A listedContext is a context as it is listed.
type listedContext struct {
	Name      string `json:"name"`
	URL       string `json:"url"`
	Namespace string `json:"namespace,omitempty"`
	Current   bool   `json:"current"`
	SignedIn  bool   `json:"signed_in"`
	From      string `json:"from"` // the file that says so
}

func (c *call) contexts(context.Context) error {
	conf, err := c.home.config()
	if err != nil {
		return err
	}
	creds, err := c.home.credentials()
	if err != nil {
		return err
	}
	used, _ := c.resolve() // none may be chosen
	var list []listedContext
	for _, n := range conf.names() {
		x := conf.Contexts[n]
		list = append(list, listedContext{
			Name: n, URL: x.URL, Namespace: x.Namespace, Current: used != nil && used.Name == n, SignedIn: creds.Tokens[n] != "", From: c.home.configFile(),
		})
	}
	if used != nil && used.Name == "" {
		list = append(list, listedContext{Name: "-", URL: used.URL, Namespace: used.Namespace, Current: true, SignedIn: used.Token != "", From: used.From})
	} else if s, ok, err := c.home.local(); err == nil && ok {
		list = append(list, listedContext{Name: "-", URL: s.URL, SignedIn: s.Token != "", From: c.home.localFile()})
	}
	if c.ui.machine() {
		return listed(c, list, func(x listedContext) string { return x.Name })
	}
	if len(list) == 0 {
		c.ui.note("no contexts yet → synctl login URL")
		return nil
	}
	s := sheet{columns: []column{{name: "name"}, {name: "url", cut: true}, {name: "namespace", rank: 2}, {name: "token", rank: 1}, {name: "from", rank: 3, cut: true}}}
	for _, x := range list {
		name := cell{human: "  " + x.Name, program: x.Name}
		if x.Current {
			name = cell{human: "* " + x.Name, program: x.Name + " (current)", shade: bold}
		}
		token := "no"
		if x.SignedIn {
			token = "yes"
		}
		s.add(name, same(x.URL), same(x.Namespace), same(token), same(x.From))
	}
	return c.ui.table(s)
}

func (c *call) useContext(_ context.Context, name string) error {
	conf, err := c.home.config()
	if err != nil {
		return err
	}
	if err := conf.has(name); err != nil {
		return err
	}
	conf.Current = name
	if err := c.home.saveConfig(conf); err != nil {
		return err
	}
	c.ui.note("%s context %s is now current: %s", c.ui.paintErr(green, "✓"), quote(name), clean(conf.Contexts[name].URL))
	return nil
}

func (c config) has(name string) error {
	if _, ok := c.Contexts[name]; ok {
		return nil
	}
	e := api.Errorf(api.NotFound, "there is no context %s", quote(name)).WithHint("synctl context ls")
	if near := nearest(name, c.names()); near != "" {
		e.Hint = "did you mean " + quote(near) + "?"
	}
	return e
}

type contextOptions struct{ Name, URL, Confirm string }

func (c *call) addContext(_ context.Context, o contextOptions) error {
	if !pipeline.ValidName(o.Name) {
		return usage("%s is not a name: small letters, digits, _ and -", quote(o.Name))
	}
	if o.Confirm != "" && o.Confirm != "always" {
		return usage("--confirm %s: it is always, or not given", quote(o.Confirm))
	}
	server, err := c.dial(o.URL, "", -1) // checks the address
	if err != nil {
		return err
	}
	conf, err := c.home.config()
	if err != nil {
		return err
	}
	x, known := conf.Contexts[o.Name]
	moved := known && !sameURL(x.URL, server.URL())
	x.URL = server.URL()
	x.Namespace, x.Zone, x.Confirm = cmp.Or(c.Namespace, x.Namespace), cmp.Or(c.Zone, x.Zone), cmp.Or(o.Confirm, x.Confirm)
	conf.Contexts[o.Name] = x
	if conf.Current == "" {
		conf.Current = o.Name
	}
	if moved {
		// A token is for one server, and is shown to no other.
		if err := c.dropToken(o.Name); err != nil {
			return err
		}
	}
	if err := c.home.saveConfig(conf); err != nil {
		return err
	}
	c.ui.note("%s context %s is %s; sign in: synctl login -C %s", c.ui.paintErr(green, "✓"), quote(o.Name), clean(x.URL), o.Name)
	return nil
}

func (c *call) dropToken(name string) error {
	creds, err := c.home.credentials()
	if err != nil {
		return err
	}
	if _, ok := creds.Tokens[name]; !ok {
		return nil
	}
	delete(creds.Tokens, name)
	return c.home.saveCredentials(creds)
}

func (c *call) removeContext(_ context.Context, name string) error {
	conf, err := c.home.config()
	if err != nil {
		return err
	}
	if err := conf.has(name); err != nil {
		return err
	}
	delete(conf.Contexts, name)
	text := ""
	if conf.Current == name {
		conf.Current = ""
		text = "; none is current now"
	}
	if err := c.dropToken(name); err != nil {
		return err
	}
	if err := c.home.saveConfig(conf); err != nil {
		return err
	}
	c.ui.note("%s context %s is gone%s", c.ui.paintErr(green, "✓"), quote(name), strings.TrimSpace(text))
	return nil
}
