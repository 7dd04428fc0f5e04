package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func (c *call) loginCommand() *cli.Command {
	return &cli.Command{
		Name: "login", Category: groupAccess, ArgsUsage: "[URL]",
		Usage:       "sign in to a server, and make it the current context",
		Description: "Asks for a token, or reads it from stdin: echo TOKEN | synctl login URL --token-stdin",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "token-stdin", Usage: "read the token from stdin"},
			&cli.StringFlag{Name: "name", Usage: "what to call the context (else by its host)"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 0, 1)
			if err != nil {
				return err
			}
			o := loginOptions{TokenStdin: x.Bool("token-stdin"), Name: cmp.Or(x.String("name"), c.Context)}
			if len(args) > 0 {
				o.URL = args[0]
			}
			return c.login(x.Context, o)
		},
	}
}

type loginOptions struct {
	URL, Name  string
	TokenStdin bool
}

// defaultURL is where a server on this machine is by default.
const defaultURL = "http://127.0.0.1:8080"

func (c *call) login(ctx context.Context, o loginOptions) error {
	conf, err := c.home.config()
	if err != nil {
		return err
	}
	address := o.URL
	if address == "" {
		address = defaultURL
		if known, ok := conf.Contexts[cmp.Or(o.Name, conf.Current)]; ok {
			address = known.URL
		}
		address = cmp.Or(c.Getenv("SYNCTL_URL"), address)
	}
	if !strings.Contains(address, "://") {
		return usage("%s is no address of a server", quote(address)).withHint("write it as https://%s or http://…", clean(address))
	}
	server, err := c.dial(address, "", -1)
	if err != nil {
		return err
	}
	address = server.URL()
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		c.ui.warn("%s is not encrypted: everybody on the way can read the token", address)
	}
	token, err := c.readToken(o, address)
	if err != nil {
		return err
	}
	if server, err = c.dial(address, token, 0); err != nil {
		return err
	}
	who, err := server.Whoami(ctx)
	if err != nil {
		if api.IsCode(err, api.Unauthenticated) {
			return api.Errorf(api.Unauthenticated, "%s does not know this token", address).WithHint("was all of it pasted? lost: api token --reset, on the server")
		}
		return err
	}
	name := cmp.Or(o.Name, contextName(conf, u))
	known := conf.Contexts[name]
	known.URL, known.Namespace = address, cmp.Or(c.Namespace, known.Namespace)
	conf.Contexts[name] = known
	conf.Current = name
	creds, err := c.home.credentials()
	if err != nil {
		return err
	}
	creds.Tokens[name] = token
	if err := c.home.saveCredentials(creds); err != nil {
		return err
	}
	if err := c.home.saveConfig(conf); err != nil {
		return err
	}
	as := cleanLine(who.Name)
	if who.Anonymous {
		as = "nobody: this server checks no one"
	}
	c.ui.note("%s signed in as %s; context %s is now current", c.ui.paintErr(green, "✓"), as, quote(name))
	return nil
}

// maxToken is more than a token has; what is piped in may have words around it.
const maxToken = 64 << 10

func (c *call) readToken(o loginOptions, address string) (string, error) {
	var text string
	switch {
	case o.TokenStdin:
		read, err := io.ReadAll(io.LimitReader(c.Stdin, maxToken))
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		text = string(read)
	case !c.asks():
		return "", usage("needs a terminal to ask for the token").withHint("echo TOKEN | synctl login %s --token-stdin", address)
	default:
		fmt.Fprintf(c.Stderr, "Token for %s (not shown): ", address)
		read, err := c.ReadSecret()
		fmt.Fprintln(c.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		text = read
	}
	words := strings.Fields(text)
	for _, w := range words {
		if strings.HasPrefix(w, "syn_") {
			return w, nil
		}
	}
	switch len(words) {
	case 0:
		return "", usage("no token was given")
	case 1:
		return words[0], nil
	default:
		return "", usage("what was given is no token: those begin with syn_")
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// contextName calls a server by its host: the context that has the address
// already keeps its name.
func contextName(conf config, u *url.URL) string {
	for _, n := range conf.names() {
		if sameURL(conf.Contexts[n].URL, u.String()) {
			return n
		}
	}
	name := "local"
	if host := u.Hostname(); !isLoopback(host) {
		name = host
		if net.ParseIP(host) == nil {
			name, _, _ = strings.Cut(host, ".")
		}
	}
	free := name
	for i := 2; ; i++ {
		if _, taken := conf.Contexts[free]; !taken {
			return free
		}
		free = name + "-" + strconv.Itoa(i)
	}
}

func (c *call) logoutCommand() *cli.Command {
	return &cli.Command{
		Name: "logout", Category: groupAccess,
		Usage:       "forget the token of the current context",
		Description: "The token itself still holds: synctl token revoke ends it.",
		Action: func(x *cli.Context) error {
			if _, err := args(x, 0, 0); err != nil {
				return err
			}
			return c.logout(x.Context)
		},
	}
}

func (c *call) logout(context.Context) error {
	conf, err := c.home.config()
	if err != nil {
		return err
	}
	name := cmp.Or(c.Context, c.Getenv("SYNCTL_CONTEXT"), conf.Current)
	creds, err := c.home.credentials()
	if err != nil {
		return err
	}
	if _, ok := creds.Tokens[name]; !ok {
		return api.Errorf(api.NotFound, "not signed in, so there is nothing to forget").WithHint("synctl context ls")
	}
	delete(creds.Tokens, name)
	if err := c.home.saveCredentials(creds); err != nil {
		return err
	}
	c.ui.note("%s forgot the token of context %s", c.ui.paintErr(green, "✓"), quote(name))
	return nil
}

func (c *call) whoamiCommand() *cli.Command {
	return &cli.Command{
		Name: "whoami", Category: groupAccess,
		Usage: "who the server takes you for",
		Action: func(x *cli.Context) error {
			if _, err := args(x, 0, 0); err != nil {
				return err
			}
			return c.whoami(x.Context)
		},
	}
}

func (c *call) whoami(ctx context.Context) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	who, err := server.Whoami(ctx)
	if err != nil {
		return err
	}
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(who)
	case formatName:
		return c.ui.outf("%s\n", cleanLine(who.Name))
	}
	text := fmt.Sprintf("%s, %s", cleanLine(who.Name), who.Role)
	if len(who.Namespaces) > 0 {
		text += " in " + cleanLine(strings.Join(who.Namespaces, ", "))
	}
	if who.Anonymous {
		text += " (this server checks no one)"
	}
	if !who.ExpiresAt.IsZero() {
		k, err := c.clock()
		if err != nil {
			return err
		}
		text += ", token ends " + c.stamp(k, who.ExpiresAt)
	}
	t, err := c.resolve()
	if err != nil {
		return err
	}
	return c.ui.outf("%s on %s\n", text, cleanLine(t.URL))
}

func (c *call) tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Category: groupAccess, Usage: "make, list and revoke tokens",
		Subcommands: []*cli.Command{
			{
				Name: "create", ArgsUsage: "NAME", Usage: "make a token; it is shown this once",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "role", Value: "viewer", Usage: "viewer, operator, author or admin"},
					&cli.StringSliceFlag{Name: "in", Usage: "only in this `NAMESPACE`; may be repeated"},
					&cli.StringFlag{Name: "expires", Usage: "ends after this long (90d), or at a time"},
				},
				Action: func(x *cli.Context) error {
					args, err := args(x, 1, 1)
					if err != nil {
						return err
					}
					return c.createToken(x.Context, tokenOptions{Name: args[0], Role: x.String("role"), Namespaces: x.StringSlice("in"), Expires: x.String("expires")})
				},
			},
			{
				Name: "ls", Usage: "list tokens",
				Action: func(x *cli.Context) error {
					if _, err := args(x, 0, 0); err != nil {
						return err
					}
					return c.listTokens(x.Context)
				},
			},
			{
				Name: "revoke", ArgsUsage: "ID", Usage: "end a token",
				Action: func(x *cli.Context) error {
					args, err := args(x, 1, 1)
					if err != nil {
						return err
					}
					id, err := strconv.ParseInt(args[0], 10, 64)
					if err != nil || id < 1 {
						return usage("%s is no id of a token", quote(args[0])).withHint("synctl token ls")
					}
					return c.revokeToken(x.Context, id)
				},
			},
		},
	}
}

type tokenOptions struct {
	Name, Role, Expires string
	Namespaces          []string
}

func (c *call) createToken(ctx context.Context, o tokenOptions) error {
	req := api.TokenRequest{Name: o.Name, Role: api.Role(o.Role), Namespaces: o.Namespaces}
	switch req.Role {
	case api.RoleViewer, api.RoleOperator, api.RoleAuthor, api.RoleAdmin:
	default:
		return usage("--role %s: it is viewer, operator, author or admin", quote(o.Role))
	}
	if o.Expires != "" {
		k, err := c.clock()
		if err != nil {
			return err
		}
		// A length of time is from now on, as +90d is.
		text := o.Expires
		if !strings.ContainsAny(text[:1], "+-") {
			if _, err := parseDuration("expires", text); err == nil {
				text = "+" + text
			}
		}
		if req.ExpiresAt, err = k.parseTime("expires", text); err != nil {
			return err
		}
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	made, err := server.CreateToken(ctx, req)
	if err != nil {
		return err
	}
	if c.ui.format == formatJSON || c.ui.format == formatYAML {
		return c.ui.data(made)
	}
	c.ui.note("token %d, %s, for %s; it is shown this once:", made.Token.ID, made.Token.Role, quote(made.Token.Name))
	return c.ui.outf("%s\n", cleanLine(made.Secret))
}

func (c *call) listTokens(ctx context.Context) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	p := api.ListTokensParams{}
	list, _, err := collect(-1, func(cursor string, n int) ([]api.Token, string, error) {
		p.Cursor, p.Limit = cursor, n
		page, err := server.Tokens(ctx, p)
		return page.Items, page.Next, err
	}, nil)
	if err != nil {
		return err
	}
	if c.ui.machine() {
		return listed(c, list, func(t api.Token) string { return strconv.FormatInt(t.ID, 10) })
	}
	s := sheet{columns: []column{{name: "id"}, {name: "name", cut: true}, {name: "role"}, {name: "namespaces", rank: 3}, {name: "last used", rank: 1}, {name: "ends", rank: 2}, {name: "made by", rank: 4}}}
	for _, t := range list {
		ends := cell{human: k.when(t.ExpiresAt), program: instantOf(&t.ExpiresAt)}
		if !t.RevokedAt.IsZero() {
			ends = cell{human: "revoked " + k.when(t.RevokedAt), program: "revoked " + instant(t.RevokedAt), shade: slate}
		}
		s.add(same(strconv.FormatInt(t.ID, 10)), same(t.Name), same(string(t.Role)), same(cmp.Or(strings.Join(t.Namespaces, ","), "all")),
			cell{human: k.when(t.LastUsedAt), program: instantOf(&t.LastUsedAt)}, ends, same(t.CreatedBy))
	}
	return c.ui.table(s)
}

func (c *call) revokeToken(ctx context.Context, id int64) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	if err := server.RevokeToken(ctx, id); err != nil {
		return err
	}
	c.ui.note("%s token %d is revoked", c.ui.paintErr(green, "✓"), id)
	return nil
}
