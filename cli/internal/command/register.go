package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

func (c *call) registerCommand() *cli.Command {
	return &cli.Command{
		Name: "register", Category: groupDeploy, ArgsUsage: "[PATH…]",
		Usage: "store the pipelines of files, all of them or none",
		Description: "Stores what the files define in one transaction and says what is new, changed and\n" +
			"unchanged. What this source has on the server but not in the files is kept, unless\n" +
			"--prune says to remove it; only then is there a question.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "prune", Usage: "remove what the source owns and the files no longer hold"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would change, and change nothing"},
			&cli.StringFlag{Name: "source", Usage: "`NAME` of what owns these pipelines (else the repository's)"},
			&cli.BoolFlag{Name: "paused", Usage: "new pipelines start paused"},
			&cli.IntFlag{Name: "yes-really", Usage: "agree to the removal of `N` pipelines, where that is many"},
		},
		Action: func(x *cli.Context) error {
			return c.register(x.Context, registerOptions{
				Paths: x.Args().Slice(), Prune: x.Bool("prune"), DryRun: x.Bool("dry-run"), Source: x.String("source"),
				Paused: x.Bool("paused"), Confirm: x.Int("yes-really"),
			})
		},
	}
}

type registerOptions struct {
	Paths                 []string
	Prune, DryRun, Paused bool
	Source                string
	Confirm               int
}

// register stores the files of a source.
func (c *call) register(ctx context.Context, o registerOptions) error {
	c.besides(o.Paths)
	paths, err := c.paths(o.Paths)
	if err != nil {
		return err
	}
	files, err := c.readFiles(paths)
	if err != nil {
		return err
	}
	if len(files) == 0 && !o.Prune {
		return &saying{status: ExitNotFound, message: "no *.yaml or *.yml in " + strings.Join(paths, ", ")}
	}
	// What is wrong with the files is shown with their lines, before anything is sent.
	_, problems := pipeline.Parse(files, pipeline.Options{Namespace: c.givenNamespace(), Now: c.Now()})
	if problems.HasErrors() {
		c.ui.say(strings.TrimSuffix(problems.Text(files, c.ui.colorErr), "\n"))
		c.annotate(findingsOf(problems))
		return status(ExitError)
	}
	t, err := c.resolve()
	if err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	k := c.checkout(ctx, paths)
	source, err := c.source(o.Source, k, paths)
	if err != nil {
		return err
	}
	req := api.RegisterRequest{
		Source: source, Namespace: c.givenNamespace(), Prune: o.Prune, Confirm: o.Confirm, DryRun: o.DryRun, Paused: o.Paused, Git: k.git,
		Files: make([]api.SourceFile, len(files)),
	}
	for i, f := range files {
		req.Files[i] = api.SourceFile{Name: f.Name, Text: string(f.Text)}
	}
	if !o.DryRun && (o.Prune || t.Confirm == "always") && !c.Yes {
		if err := c.agree(ctx, server.Register, req, t); err != nil {
			return err
		}
	}
	done, err := server.Register(ctx, req)
	if err != nil {
		return c.refusedFiles(err, files)
	}
	return c.registered(done, o, t)
}

// agree shows what a register would do and asks, where something would be removed
// or the context says to ask always.
func (c *call) agree(ctx context.Context, try func(context.Context, api.RegisterRequest) (api.Registration, error), req api.RegisterRequest, t *target) error {
	req.DryRun = true
	plan, err := try(ctx, req)
	if err != nil {
		return err
	}
	n := tally(plan)
	if n.removed == 0 && (t.Confirm != "always" || n.added+n.changed == 0) {
		return nil
	}
	if c.asks() {
		c.ui.say(strings.TrimSuffix(c.changes(plan, c.ui.colorErr), "\n"))
	}
	return c.confirm(ctx, fmt.Sprintf("%d to add, %d to change, %d to remove. Apply to %s?", n.added, n.changed, n.removed, t.show()))
}

// refusedFiles shows what the server found wrong in files, with their lines.
func (c *call) refusedFiles(err error, files []pipeline.File) error {
	e, ok := asAPI(err)
	if !ok || len(e.Problems) == 0 {
		return err
	}
	lines := map[string][]string{}
	for _, f := range files {
		lines[f.Name] = strings.Split(string(f.Text), "\n")
	}
	for _, p := range e.Problems {
		c.ui.say(strings.TrimSuffix(c.finding(p, lines[p.Where.File]), "\n"))
	}
	c.annotate(e.Problems)
	message := e.Message
	if len(e.Problems) == 1 && message == e.Problems[0].Message {
		message = "nothing was stored"
	}
	return &saying{status: ExitOf(e.Code), message: message}
}

// finding shows one problem the way validate does.
func (c *call) finding(f api.Finding, lines []string) string {
	var b strings.Builder
	severity := c.ui.paintErr(red, "error  ")
	if f.Severity == api.FindingSeverityWarning {
		severity = c.ui.paintErr(amber, "warning")
	}
	if f.Where.File != "" {
		fmt.Fprintf(&b, "%s  ", c.ui.paintErr(bold, cleanLine(place(f.Where))))
	}
	fmt.Fprintf(&b, "%s %s\n", severity, cleanLine(f.Message))
	if n := f.Where.Line; n > 0 && n <= len(lines) {
		fmt.Fprintf(&b, "%5d | %s\n", n, cleanLine(lines[n-1]))
	}
	if f.Hint != "" {
		fmt.Fprintf(&b, "      → %s\n", cleanLine(f.Hint))
	}
	return b.String()
}

// registered shows what a register did.
func (c *call) registered(done api.Registration, o registerOptions, t *target) error {
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(done)
	case formatName:
		for _, p := range done.Pipelines {
			if err := c.ui.outf("%s\n", c.name(p.Namespace, p.Name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := c.ui.out(c.ui.fit(c.changes(done, c.ui.colorOut))); err != nil {
		return err
	}
	for _, f := range done.Problems {
		c.ui.say(strings.TrimSuffix(c.finding(f, nil), "\n"))
	}
	c.annotate(done.Problems)
	n := tally(done)
	summary := fmt.Sprintf("%d new, %d changed, %d unchanged", n.added, n.changed, n.same)
	if o.Prune {
		summary += fmt.Sprintf(", %d removed", n.removed)
	}
	if o.DryRun {
		return c.ui.outf("%s; nothing was stored (--dry-run)\n", summary)
	}
	return c.ui.outf("%s %s: registered in one transaction on %s\n", c.ui.paintOut(green, "✓"), summary, t.show())
}

type tallied struct{ added, changed, removed, same int }

func tally(r api.Registration) tallied {
	var n tallied
	for _, p := range r.Pipelines {
		switch p.Change {
		case api.RegisteredPipelineChangeNew:
			n.added++
		case api.RegisteredPipelineChangeChanged:
			n.changed++
		case api.RegisteredPipelineChangeRemoved:
			n.removed++
		case api.RegisteredPipelineChangeUnchanged:
			n.same++
		}
	}
	return n
}

// changes lists what becomes of each pipeline; those that stay as they are are
// only counted.
func (c *call) changes(r api.Registration, color bool) string {
	type row struct {
		mark              shade
		sign, name, words string
	}
	k, err := c.clock()
	if err != nil {
		k = clock{now: c.Now(), zone: c.Local}
	}
	var rows []row
	width := 0
	for _, p := range r.Pipelines {
		x := row{name: cleanLine(c.name(p.Namespace, p.Name))}
		switch p.Change {
		case api.RegisteredPipelineChangeNew:
			x.mark, x.sign, x.words = green, "+", "new"
		case api.RegisteredPipelineChangeChanged:
			x.mark, x.sign, x.words = amber, "~", fmt.Sprintf("rev %d → %d", p.Previous, p.Revision)
		case api.RegisteredPipelineChangeRemoved:
			x.mark, x.sign, x.words = red, "-", "removed"
		case api.RegisteredPipelineChangeKept:
			x.mark, x.sign, x.words = plain, "-", "on the server, not in the files; kept (use --prune to remove)"
		default:
			continue
		}
		if p.Change == api.RegisteredPipelineChangeNew || p.Change == api.RegisteredPipelineChangeChanged {
			if p.Schedule != "" {
				x.words += "  " + cleanLine(p.Schedule)
			}
			if p.FirstTick != nil {
				x.words += "  first tick " + c.stamp(k, *p.FirstTick)
			}
		}
		width = max(width, len(x.name))
		rows = append(rows, x)
	}
	var b strings.Builder
	for _, x := range rows {
		fmt.Fprintf(&b, "  %s %-*s  %s\n", paint(color, x.mark, x.sign), width, x.name, x.words)
	}
	for _, o := range r.Others {
		if o.Change != api.RegisteredOtherChangeUnchanged {
			fmt.Fprintf(&b, "  %s %s %s  %s\n", "~", o.Kind, cleanLine(c.name(o.Namespace, o.Name)), o.Change)
		}
	}
	if n := tally(r).same; n > 0 {
		fmt.Fprintf(&b, "  = %d unchanged\n", n)
	}
	return b.String()
}

// stamp is a time for whoever reads stdout.
func (c *call) stamp(k clock, t time.Time) string {
	if !c.StdoutTTY {
		return instant(t)
	}
	return k.date(t) + " (" + k.when(t) + ")"
}

// show is the server as its user calls it.
func (t *target) show() string {
	if t.Name != "" {
		return t.Name
	}
	return t.URL
}

// givenNamespace is the namespace that the call names, if it does.
func (c *call) givenNamespace() string {
	if t, err := c.resolve(); err == nil {
		return t.Namespace
	}
	return c.Namespace
}
