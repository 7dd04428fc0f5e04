package command

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

func (c *call) rerunCommand() *cli.Command {
	return &cli.Command{
		Name: "rerun", Category: groupRun, ArgsUsage: "RUN",
		Usage: "run again what an ended run has done, or a part of it",
		Description: "--failed: tasks that failed, were canceled, or were skipped because of those, and all that depends on them.\n" +
			"--from TASK: the task and all that depends on it. --all: everything. Tasks under finally run again in any case.\n" +
			"Without one of the three it is --failed, if something failed.\n" +
			"The run keeps its number, revision, params, and the outputs of what does not run again. With --rev latest\n" +
			"a new run of the newest revision is made instead, with the params of this one.\n" +
			"With -w, -f or --wait it stays and exits with the run's result: 0 succeeded, 3 failed, 8 canceled, 9 skipped.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "failed", Usage: "what did not go well, and what depends on it"},
			&cli.StringFlag{Name: "from", Usage: "this `TASK`, and what depends on it"},
			&cli.BoolFlag{Name: "all", Usage: "everything"},
			&cli.StringFlag{Name: "rev", Usage: "same, or latest for a new run of the newest revision (else same)"},
			&cli.BoolFlag{Name: "latest", Usage: "the same as --rev latest"},
			&cli.StringFlag{Name: "note", Usage: "a word kept with it"},
			&cli.StringFlag{Name: "key", Usage: "the same `KEY` does it once, however often it is sent"},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show progress until the run has ended"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "show the output of its tasks until it has ended"},
			&cli.BoolFlag{Name: "wait", Usage: "wait until it has ended"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, 1)
			if err != nil {
				return err
			}
			o := rerunOptions{
				Run: args[0], Failed: x.Bool("failed"), From: x.String("from"), All: x.Bool("all"), Rev: x.String("rev"), Latest: x.Bool("latest"),
				Note: x.String("note"), Key: x.String("key"),
			}
			switch {
			case x.Bool("follow"):
				o.Follow = followLogs
			case x.Bool("watch"):
				o.Follow = followWatch
			case x.Bool("wait"):
				o.Follow = followWait
			}
			return c.rerun(x.Context, o)
		},
	}
}

type rerunOptions struct {
	Run         string
	Failed, All bool
	From        string
	Rev         string
	Latest      bool
	Note, Key   string
	Follow      following
}

// mode is what the flags ask for; "" if they leave it open.
func (o rerunOptions) mode() (mode string, latest bool, err error) {
	var asked []string
	if o.Failed {
		mode, asked = "failed", append(asked, "--failed")
	}
	if o.From != "" {
		mode, asked = "from", append(asked, "--from")
	}
	if o.All {
		mode, asked = "all", append(asked, "--all")
	}
	switch o.Rev {
	case "", "same":
		latest = o.Latest
	case "latest":
		latest = true
	default:
		return "", false, usage("--rev %s: it is same or latest", quote(o.Rev))
	}
	if o.Latest && o.Rev == "same" {
		return "", false, usage("--rev same and --latest contradict each other")
	}
	if len(asked) > 1 {
		return "", false, usage("%s say different things; give one", strings.Join(asked, " and "))
	}
	if latest && mode != "" && mode != "all" {
		return "", false, usage("a new run runs as a whole: %s does not go with --rev latest", asked[0])
	}
	return mode, latest, nil
}

func (c *call) rerun(ctx context.Context, o rerunOptions) error {
	mode, latest, err := o.mode()
	if err != nil {
		return err
	}
	r, err := parseRef(o.Run)
	if err != nil {
		return err
	}
	if r.Task != "" {
		return usage("%s names a task; a run runs again", quote(o.Run)).withHint("--from %s", r.Task)
	}
	if r.Pipeline != "" && r.Run == "" {
		return usage("%s is a pipeline: which run?", quote(o.Run)).withHint("%s@failed, or one of: synctl runs %s", clean(o.Run), clean(o.Run))
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	at, err := c.runRef(ctx, r)
	if err != nil {
		return err
	}
	before, err := server.Run(ctx, at)
	if err != nil {
		return err
	}
	at = exact(at, before)
	name := c.runName(before.Pipeline, before.Number)
	if mode == "" && !latest && ended(before.State) {
		if before.State != api.RunStateFailed && before.State != api.RunStateCanceled {
			return usage("%s %s: say what is to run again", cleanLine(name), stateWords(before.State)).withHint("--from TASK, --all, or --rev latest")
		}
		mode = "failed"
	}
	req := api.RerunRequest{Mode: api.RerunRequestMode(cmp.Or(mode, "failed")), Task: o.From, Latest: latest, Note: o.Note}
	if latest {
		req.Mode = ""
	}
	// So that a request whose answer was lost is not done twice.
	run, created, err := server.Rerun(ctx, at, cmp.Or(o.Key, "synctl-"+rand.Text()), req)
	if err != nil {
		return c.paramErrors(err)
	}
	c.remember(run)
	at, name = exact(at, run), c.runName(run.Pipeline, run.Number)
	if latest && !created {
		c.ui.note("%s is the run of this key", name)
	}
	if o.Follow == followNot {
		return c.started(run, name)
	}
	run, err = c.follow(ctx, server, at, name, o.Follow)
	if err != nil {
		return err
	}
	return (&outcome{c: c, run: run, name: name, tail: tailOf(ctx, server, at), shown: o.Follow == followLogs}).tell()
}

// stateWords says how a run stands, behind its name.
func stateWords(s api.RunState) string {
	switch s {
	case api.RunStateSucceeded:
		return "has succeeded"
	case api.RunStateFailed:
		return "has failed"
	default:
		return "was " + string(s)
	}
}

func (c *call) markCommand() *cli.Command {
	return &cli.Command{
		Name: "mark", Category: groupRun, ArgsUsage: "RUN TASK STATE",
		Usage: "say by hand how a task of an ended run ended",
		Description: "STATE is succeeded, failed or skipped; TASK may name an item: load[3]. What was skipped because of how the\n" +
			"task had ended runs now, with what depends on it and with finally; where nothing was, only the result of the\n" +
			"run changes. What has run stays.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "why (required): it is shown on the task"},
			&cli.StringSliceFlag{Name: "set", Usage: "with succeeded: an output of the task, as `NAME=VALUE`; may be repeated"},
			&cli.StringFlag{Name: "key", Usage: "the same `KEY` does it once, however often it is sent"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 2, 3)
			if err != nil {
				return err
			}
			o := markOptions{Run: args[0], State: args[len(args)-1], Reason: x.String("reason"), Outputs: x.StringSlice("set"), Key: x.String("key")}
			if len(args) == 3 {
				o.Task = args[1]
			}
			return c.mark(x.Context, o)
		},
	}
}

type markOptions struct {
	Run, Task, State string
	Reason, Key      string
	Outputs          []string
}

func (c *call) mark(ctx context.Context, o markOptions) error {
	r, err := parseRef(o.Run)
	if err != nil {
		return err
	}
	switch {
	case r.Pipeline != "" && r.Run == "":
		return usage("%s is a pipeline: which run?", quote(o.Run)).withHint("%s@latest, or one of: synctl runs %s", clean(o.Run), clean(o.Run))
	case o.Task != "" && r.Task != "":
		return usage("the task is given twice: %s and %s", quote(r.Task), quote(o.Task))
	case o.Task != "":
		if err := r.task(o.Task, o.Task); err != nil {
			return err
		}
	case r.Task == "":
		return usage("which task of %s?", quote(o.Run)).withHint("synctl mark %s TASK %s --reason TEXT", clean(o.Run), clean(o.State))
	}
	if r.Attempt != 0 {
		return usage("a task is marked, not one of its attempts: leave out :%d", r.Attempt)
	}
	switch o.State {
	case "succeeded", "failed", "skipped":
	default:
		return usage("%s: a task is marked succeeded, failed or skipped", quote(o.State))
	}
	if strings.TrimSpace(o.Reason) == "" {
		return usage("--reason is missing: others will want to know why it is marked by hand")
	}
	req := api.MarkRequest{State: api.MarkRequestState(o.State), Reason: o.Reason}
	if req.Outputs, err = outputTexts(o.Outputs); err != nil {
		return err
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	at, err := c.runRef(ctx, r)
	if err != nil {
		return err
	}
	if r.Item != "" {
		index, err := c.itemIndex(ctx, server, at, r)
		if err != nil {
			return err
		}
		req.Index = &index
	}
	run, err := server.Mark(ctx, at, r.Task, cmp.Or(o.Key, "synctl-"+rand.Text()), req)
	if err != nil {
		return err
	}
	return c.marked(at, run, r, o.State)
}

// marked tells what a mark has come to.
func (c *call) marked(at client.RunRef, run api.Run, r ref, state string) error {
	name := c.runName(run.Pipeline, run.Number)
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(run)
	case formatName:
		return c.ui.outf("%s\n", cleanLine(name))
	}
	task := r.Task
	if r.Item != "" {
		task += "[" + r.Item + "]"
	}
	then := stateWords(run.State)
	if !ended(run.State) {
		then = "goes on with what it held up"
		c.remember(run)
	}
	l := map[string]look{"succeeded": lookMarked, "failed": lookFailed, "skipped": lookSkipped}[state]
	return c.ui.outf("%s %s marked %s; %s %s\n", c.ui.paintOut(l.shade, c.ui.mark(l)), cleanLine(name+"/"+task), state, cleanLine(c.name(at.Namespace, at.Pipeline)+fmt.Sprintf("#%d", run.Number)), then)
}

// outputTexts reads --set NAME=VALUE.
func outputTexts(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, o := range list {
		name, value, ok := strings.Cut(o, "=")
		if !ok || name == "" {
			return nil, usage("--set %s: it is written NAME=VALUE", quote(o))
		}
		if _, twice := out[name]; twice {
			return nil, usage("output %s is given twice", quote(name))
		}
		out[name] = value
	}
	return out, nil
}
