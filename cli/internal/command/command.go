// Package command is synctl: its commands, what they print and how they end.
package command

import (
	"cmp"
	"context"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// Run does what a line says and returns the exit status.
func Run(ctx context.Context, env Env, words []string) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &call{Env: env, ui: newUI(env, cancel), home: home{env}}
	return c.end(ctx, c.run(ctx, words))
}

// run finds the command and runs it.
func (c *call) run(ctx context.Context, words []string) error {
	app := c.app()
	l, err := arrange(app, words)
	if err != nil {
		return err
	}
	if l.help || l.command == nil && len(l.args) == 0 || l.command != nil && l.command.Action == nil && len(l.args) == 0 {
		return c.help(app, l)
	}
	line := append([]string{"synctl"}, l.path...)
	line = append(line, l.flags...)
	if l.command == nil {
		line = append([]string{"synctl"}, l.flags...)
	}
	return app.RunContext(ctx, append(append(line, "--"), l.args...))
}

// end says what is to be said about an error, in two lines, and gives the status.
func (c *call) end(ctx context.Context, err error) int {
	if c.ui.closed() {
		return ExitOK
	}
	if err == nil {
		return ExitOK
	}
	exit, message, hint := endOf(ctx, err)
	if message != "" {
		c.problem(err, message, hint)
	}
	return exit
}

func (c *call) problem(err error, message, hint string) {
	var b strings.Builder
	b.WriteString(c.ui.paintErr(red, "✕") + " ")
	e, _ := asAPI(err)
	if e != nil && e.Where.File != "" && len(e.Problems) == 0 {
		b.WriteString(cleanLine(place(e.Where)) + "  ")
	}
	b.WriteString(clean(message))
	if hint != "" {
		b.WriteString("\n  → " + clean(hint))
	}
	if c.Verbose && e != nil {
		if e.RequestID != "" {
			b.WriteString("\n  request " + cleanLine(e.RequestID))
		}
		if e.Cause != nil {
			b.WriteString("\n  because: " + clean(e.Cause.Error()))
		}
	}
	c.ui.say(b.String())
}

// app is the tree of commands.
func (c *call) app() *cli.App {
	app := &cli.App{
		Name: "synctl", HelpName: "synctl", Usage: "register, run and watch pipelines",
		Version: c.Version, HideVersion: true, HideHelp: true, HideHelpCommand: true,
		DisableSliceFlagSeparator: true,
		Reader:                    c.Stdin, Writer: stdoutWriter{c.ui}, ErrWriter: c.Stderr,
		ExitErrHandler:  func(*cli.Context, error) {}, // Run returns the status, nobody exits
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return usage("%s", sentence(err)) },
		CommandNotFound: func(*cli.Context, string) {},
		Flags:           withShared(nil),
		Commands: []*cli.Command{
			c.validateCommand(), c.nextCommand(),
			c.registerCommand(), c.lsCommand(), c.showCommand(), c.openCommand(), c.pauseCommand(), c.resumeCommand(),
			c.runCommand(), c.runsCommand(), c.watchCommand(), c.logsCommand(), c.explainCommand(), c.cancelCommand(), c.rerunCommand(), c.markCommand(), c.backfillCommand(),
			c.approveCommand(), c.rejectCommand(), c.approvalsCommand(),
			c.poolCommand(), c.secretCommand(), c.varCommand(),
			c.loginCommand(), c.logoutCommand(), c.whoamiCommand(), c.tokenCommand(),
			c.contextCommand(), c.completionCommand(), c.completeCommand(), c.versionCommand(), c.helpCommand(),
		},
	}
	each(app.Commands, func(cmd *cli.Command) {
		cmd.HideHelp, cmd.HideHelpCommand = true, true
		cmd.Flags = withShared(cmd.Flags)
		cmd.OnUsageError = app.OnUsageError
		if act := cmd.Action; act != nil {
			cmd.Action = func(x *cli.Context) error { return c.act(x, act) }
		}
	})
	return app
}

func each(commands []*cli.Command, f func(*cli.Command)) {
	for _, cmd := range commands {
		f(cmd)
		each(cmd.Subcommands, f)
	}
}

// act reads the flags that every command has and runs the command's own action.
func (c *call) act(x *cli.Context, act cli.ActionFunc) error {
	c.Context, c.Namespace = x.String(flagContext), x.String(flagNamespace)
	c.Zone, c.Progress = x.String(flagZone), cmp.Or(x.String(flagProgress), "auto")
	c.Verbose, c.Yes = x.Bool(flagVerbose), x.Bool(flagYes)
	c.NoInput = x.Bool(flagNoInput) || c.Getenv("SYNCTL_NO_INPUT") != ""
	c.ui.quiet = x.Bool(flagQuiet)
	if x.Bool(flagNoColor) {
		c.ui.colorOut, c.ui.colorErr = false, false
	}
	from := "--output"
	format := x.String(flagOutput)
	if format == "" {
		format, from = cmp.Or(c.Getenv("SYNCTL_OUTPUT"), formatTable), "SYNCTL_OUTPUT"
	}
	formats := []string{formatTable, formatWide, formatJSON, formatYAML, formatName}
	if x.Command.Name == "validate" {
		formats = []string{formatTable, "text", formatJSON}
	}
	if !slices.Contains(formats, format) {
		return usage("%s %s: it is one of %s", from, quote(format), strings.Join(formats, ", "))
	}
	c.ui.format = format
	if all := []string{"auto", "tty", "plain", "none"}; !slices.Contains(all, c.Progress) {
		return usage("--progress %s: it is one of %s", quote(c.Progress), strings.Join(all, ", "))
	}
	if text := x.String(flagTimeout); text != "" {
		d, err := parseDuration(flagTimeout, text)
		if err != nil {
			return err
		}
		if d <= 0 {
			return usage("--timeout %s: it is longer than nothing", quote(text))
		}
		ctx, cancel := context.WithTimeoutCause(x.Context, d, errTimeout)
		defer cancel()
		x.Context = ctx
	}
	return act(x)
}

// args checks how many arguments there are.
func args(x *cli.Context, least, most int) ([]string, error) {
	got := x.Args().Slice()
	name := "synctl " + strings.TrimPrefix(x.Command.HelpName, "synctl ")
	switch {
	case len(got) < least:
		return nil, usage("%s is missing", firstMissing(x.Command.ArgsUsage, len(got))).withHint("%s --help", name)
	case most >= 0 && len(got) > most:
		return nil, usage("one argument too many: %s", quote(got[most])).withHint("%s --help", name)
	}
	return got, nil
}

func firstMissing(usage string, have int) string {
	words := strings.Fields(usage)
	if have < len(words) {
		return strings.Trim(words[have], "[]….")
	}
	return "an argument"
}

// stdoutWriter is stdout for what writes by itself.
type stdoutWriter struct{ ui *ui }

func (w stdoutWriter) Write(p []byte) (int, error) {
	if err := w.ui.out(string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (u *ui) closed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bad == errClosed //nolint:errorlint // it is set nowhere else
}

// buildVersion is what this program was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func place(w api.Where) string {
	return strings.Join([]string{w.File, itoa(w.Line), itoa(w.Col)}, ":")
}
