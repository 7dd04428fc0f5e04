package command

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// help shows what a command does, or all commands.
func (c *call) help(app *cli.App, l line) error {
	if l.command == nil {
		return c.ui.out(c.ui.fit(c.overview(app)))
	}
	return c.ui.out(c.ui.fit(c.commandHelp(l.command, l.path)))
}

func (c *call) overview(app *cli.App) string {
	var b strings.Builder
	b.WriteString("synctl: " + app.Usage + "\n\nUsage: synctl COMMAND [FLAGS] [ARGUMENTS]\n")
	groups := map[string][]*cli.Command{}
	var order []string
	width := 0
	for _, cmd := range app.Commands {
		if cmd.Hidden {
			continue
		}
		if groups[cmd.Category] == nil {
			order = append(order, cmd.Category)
		}
		groups[cmd.Category] = append(groups[cmd.Category], cmd)
		width = max(width, len(cmd.Name)+1+len([]rune(cmd.ArgsUsage)))
	}
	slices.Sort(order)
	for _, g := range order {
		_, name, _ := strings.Cut(g, " ")
		fmt.Fprintf(&b, "\n%s\n", paint(c.ui.colorOut, bold, name))
		for _, cmd := range groups[g] {
			head := strings.TrimSpace(cmd.Name + " " + cmd.ArgsUsage)
			fmt.Fprintf(&b, "  %-*s  %s\n", width, head, cmd.Usage)
		}
	}
	b.WriteString("\n`synctl COMMAND --help` shows the flags of a command; `synctl help TOPIC` explains:\n  " + strings.Join(topicNames(), ", ") + ", and every code such as SYN1203\n")
	return b.String()
}

func (c *call) commandHelp(cmd *cli.Command, path []string) string {
	var b strings.Builder
	name := "synctl " + strings.Join(path, " ")
	fmt.Fprintf(&b, "%s: %s\n\n", paint(c.ui.colorOut, bold, name), cmd.Usage)
	if len(cmd.Subcommands) > 0 {
		fmt.Fprintf(&b, "Usage: %s COMMAND\n\n", name)
		width := 0
		for _, sub := range cmd.Subcommands {
			width = max(width, len(sub.Name)+1+len([]rune(sub.ArgsUsage)))
		}
		for _, sub := range cmd.Subcommands {
			fmt.Fprintf(&b, "  %-*s  %s\n", width, strings.TrimSpace(sub.Name+" "+sub.ArgsUsage), sub.Usage)
		}
		return b.String()
	}
	fmt.Fprintf(&b, "Usage: %s\n", strings.TrimSpace(name+" [FLAGS] "+cmd.ArgsUsage))
	if cmd.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", cmd.Description)
	}
	var own, everywhere []string
	for _, f := range cmd.Flags {
		if text, shared := flagHelpLine(f); shared {
			everywhere = append(everywhere, text)
		} else {
			own = append(own, text)
		}
	}
	if len(own) > 0 {
		b.WriteString("\nFlags\n" + strings.Join(own, ""))
	}
	b.WriteString("\nEverywhere\n" + strings.Join(everywhere, ""))
	return b.String()
}

// flagHelpLine is a flag with its names, its value and what it does.
func flagHelpLine(f cli.Flag) (text string, shared bool) {
	var names []string
	for _, n := range f.Names() {
		dashes := "--"
		if len(n) == 1 {
			dashes = "-"
		}
		names = append(names, dashes+n)
	}
	slices.SortStableFunc(names, func(a, b string) int { return len(a) - len(b) })
	head := strings.Join(names, ", ")
	if len(names) == 1 {
		head = "    " + head
	}
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "", false
	}
	value, usage := placeholder(doc.GetUsage())
	if doc.TakesValue() {
		head += " " + value
	}
	category := ""
	if f, ok := f.(cli.CategorizableFlag); ok {
		category = f.GetCategory()
	}
	return fmt.Sprintf("  %-24s %s\n", head, usage), category == categoryShared
}

// placeholder takes the name of a flag's value, written in backquotes, out of its
// description.
func placeholder(usage string) (name, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "VALUE", usage
	}
	name, after, _ := strings.Cut(rest, "`")
	return name, before + name + after
}

func (c *call) helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Category: groupItself, ArgsUsage: "[TOPIC]", Usage: "explain a command, a topic or a code",
		Action: func(x *cli.Context) error {
			return c.explain(x.Context, x.App, x.Args().Slice())
		},
	}
}

func (c *call) explain(_ context.Context, app *cli.App, words []string) error {
	if len(words) == 0 {
		return c.help(app, line{})
	}
	word := words[0]
	if text, ok := topics[word]; ok && len(words) == 1 {
		return c.ui.out(c.ui.fit(text))
	}
	if code := strings.ToUpper(word); strings.HasPrefix(code, "SYN") && len(words) == 1 {
		return c.explainCode(code)
	}
	l, err := arrange(app, words)
	if err == nil && l.command != nil && len(l.args) == 0 {
		return c.help(app, l)
	}
	names := topicNames()
	for _, cmd := range app.Commands {
		if !cmd.Hidden {
			names = append(names, cmd.Name)
		}
	}
	e := usage("there is no help about %s", quote(strings.Join(words, " "))).withHint("synctl help")
	if near := nearest(word, names); near != "" {
		e.hint = "did you mean " + quote(near) + "?"
	}
	return e
}

//go:embed codes.txt
var codeTable string

func (c *call) explainCode(code string) error {
	for row := range strings.Lines(codeTable) {
		fields := strings.Split(strings.TrimSuffix(row, "\n"), "\t")
		if fields[0] == code {
			return c.ui.outf("%s  %s\n  for example: %s\n  → %s\n", c.ui.paintOut(bold, code), fields[1], fields[2], fields[3])
		}
	}
	return &saying{status: ExitNotFound, message: "there is no code " + quote(code), hint: "a code is SYN and four digits, as in SYN1203"}
}

func topicNames() []string {
	var names []string
	for n := range topics {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

var topics = map[string]string{
	"exit-codes": `Exit codes

    0  done; the run that was followed succeeded
    1  an error; validate found problems
    2  explain: something blocks
    3  the run that was followed failed (run -w, run -f, run --wait, watch, logs -f)
    4  what was named does not exist
    5  refused: not signed in, no right, a guard
    6  conflict: the server moved, a key came back with other content, a queue is full
    7  timed out waiting; the run goes on
    8  the run was canceled, or you said no
    9  the run that was followed was skipped
   64  the line makes no sense, or it needs a terminal
  130  Ctrl-C
`,
	"refs": `References

  nightly_etl              a pipeline; where a run is wanted, its newest one
  nightly_etl@latest       its newest run
  nightly_etl@failed       its newest run that failed
  nightly_etl#1841         a run by its number
  90412000000001           a run by its id (SYN_RUN_ID)
  @last                    the run that this terminal started last
  https://…/p/ns/name/12   the address of a page

  …/load                   a task of the run
  …/extract[3]             an item of it, by index; [eu] by its label
  …/load:2                 its second attempt

  finance/nightly_etl#1841 in another namespace. Without one: --namespace, else
                           SYNCTL_NAMESPACE, else the context's, else default.
`,
	"environment": `Environment

  SYNCTL_URL, SYNCTL_TOKEN  the server to use, and the token for it
  SYNCTL_CONTEXT            the context to use
  SYNCTL_NAMESPACE          namespace of names that have none
  SYNCTL_OUTPUT             table, wide, json, yaml or name
  SYNCTL_TZ                 time zone that times are shown and read in
  SYNCTL_NO_INPUT           never ask, if set to anything
  SYNCTL_CONFIG             the config file, else ~/.config/synctl/config.toml
  NO_COLOR, CLICOLOR_FORCE  colours: never, always
  TERM=dumb                 no colours and nothing repainted
  LC_ALL, LC_CTYPE, LANG    glyphs are ASCII unless these say UTF-8

Which server: --context, SYNCTL_URL, SYNCTL_CONTEXT, context in .synctl.toml beside
the pipelines, the current context, the server that make run started on this machine.
`,
	"scripting": `Scripting

  -o json    one object, or {"items": […], "next": "…"}; fields are added, never renamed
  -o name    a reference a line
  --limit all -o json   one object a line, for as many as there are

  In a pipe a table has all columns, separated by tabs, with times in UTC.
  The answer is on stdout, all else on stderr: synctl run etl -w -o json | jq .state
  Nothing is asked without a terminal: what would ask exits with 64 and names the flag.
  --key makes run safe to repeat: the same key starts one run.
`,
}
