package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func (c *call) pauseCommand() *cli.Command {
	return &cli.Command{
		Name: "pause", Category: groupDeploy, ArgsUsage: "PIPELINE…",
		Usage: "hold back the ticks of pipelines",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "why (required): it is shown wherever the pipeline is"},
			&cli.StringFlag{Name: "until", Usage: "resume by itself at this `TIME`"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, -1)
			if err != nil {
				return err
			}
			return c.pause(x.Context, pauseOptions{Pipelines: args, Reason: x.String("reason"), Until: x.String("until")})
		},
	}
}

type pauseOptions struct {
	Pipelines     []string
	Reason, Until string
}

func (c *call) pause(ctx context.Context, o pauseOptions) error {
	if strings.TrimSpace(o.Reason) == "" {
		return usage("--reason is missing: others will want to know").withHint("synctl pause %s --reason TEXT", clean(o.Pipelines[0]))
	}
	req := api.PauseRequest{Reason: o.Reason}
	if o.Until != "" {
		k, err := c.clock()
		if err != nil {
			return err
		}
		if req.Until, err = k.parseTime("until", o.Until); err != nil {
			return err
		}
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	return c.eachPipeline(o.Pipelines, "paused", func(ns, name string) (api.Pipeline, error) { return server.Pause(ctx, ns, name, req) })
}

func (c *call) resumeCommand() *cli.Command {
	return &cli.Command{
		Name: "resume", Category: groupDeploy, ArgsUsage: "PIPELINE…",
		Usage: "let the ticks of pipelines run again",
		Flags: []cli.Flag{&cli.StringFlag{Name: "catchup", Usage: "ticks that were held back: none, latest or all (else none)"}},
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, -1)
			if err != nil {
				return err
			}
			return c.resume(x.Context, resumeOptions{Pipelines: args, Catchup: x.String("catchup")})
		},
	}
}

type resumeOptions struct {
	Pipelines []string
	Catchup   string
}

func (c *call) resume(ctx context.Context, o resumeOptions) error {
	switch o.Catchup {
	case "", "none", "latest", "all":
	default:
		return usage("--catchup %s: it is none, latest or all", quote(o.Catchup))
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	req := api.ResumeRequest{Catchup: api.ResumeRequestCatchup(o.Catchup)}
	return c.eachPipeline(o.Pipelines, "resumed", func(ns, name string) (api.Pipeline, error) { return server.Resume(ctx, ns, name, req) })
}

// eachPipeline does something to each pipeline, also when one of them cannot be
// done: what was done and what was not is told apart.
func (c *call) eachPipeline(names []string, done string, do func(ns, name string) (api.Pipeline, error)) error {
	refs := make([]ref, len(names))
	for i, text := range names {
		r, err := parseRef(text)
		if err != nil {
			return err
		}
		if r.Pipeline == "" || r.Run != "" {
			return usage("%s names a run, not a pipeline", quote(text))
		}
		if r.Namespace == "" {
			r.Namespace = c.namespace()
		}
		refs[i] = r
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	var list []api.Pipeline
	var failed []error
	for _, r := range refs {
		p, err := do(r.Namespace, r.Pipeline)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		list = append(list, p)
		if !c.ui.machine() {
			text := fmt.Sprintf("%s %s %s", c.ui.paintOut(green, "✓"), cleanLine(c.name(p.Namespace, p.Name)), done)
			switch {
			case p.Paused != nil && p.Paused.Until != nil:
				text += " until " + c.stamp(k, *p.Paused.Until)
			case p.Paused == nil && p.NextTick != nil:
				text += ", next tick " + c.stamp(k, *p.NextTick)
			}
			if err := c.ui.outf("%s\n", text); err != nil {
				return err
			}
		}
	}
	if c.ui.machine() {
		if err := listed(c, list, func(p api.Pipeline) string { return c.name(p.Namespace, p.Name) }); err != nil {
			return err
		}
	}
	return c.several(failed)
}

// several ends with the first of some errors, after the others have been told.
func (c *call) several(failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	for _, err := range failed[1:] {
		_, message, hint := endOf(context.Background(), err)
		c.problem(err, message, hint)
	}
	return failed[0]
}

func (c *call) cancelCommand() *cli.Command {
	return &cli.Command{
		Name: "cancel", Category: groupRun, ArgsUsage: "RUN…",
		Usage:       "stop runs",
		Description: "Tasks are told to end, then killed; finally tasks still run. A second cancel stops those too.",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "why; shown on the run"}},
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, -1)
			if err != nil {
				return err
			}
			return c.cancel(x.Context, cancelOptions{Runs: args, Reason: x.String("reason")})
		},
	}
}

type cancelOptions struct {
	Runs   []string
	Reason string
}

func (c *call) cancel(ctx context.Context, o cancelOptions) error {
	var refs []ref
	for _, text := range o.Runs {
		r, err := parseRef(text)
		if err != nil {
			return err
		}
		if r.Task != "" {
			return usage("%s names a task; a run is canceled as a whole", quote(text))
		}
		if r.Pipeline != "" && r.Run == "" {
			// A name alone is the newest run, and who cancels should say which.
			return usage("%s is a pipeline: which run?", quote(text)).withHint("%s@latest, or one of: synctl runs %s --state running", clean(text), clean(text))
		}
		refs = append(refs, r)
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	var list []api.Run
	var failed []error
	for _, r := range refs {
		at, err := c.runRef(ctx, r)
		if err == nil {
			var run api.Run
			run, err = server.Cancel(ctx, at, api.CancelRequest{Reason: o.Reason})
			if err == nil {
				list = append(list, run)
				if !c.ui.machine() {
					state := "is stopping"
					if ended(run.State) {
						state = string(run.State)
					}
					err = c.ui.outf("%s %s %s\n", c.ui.paintOut(slate, c.ui.mark(lookStopping)), cleanLine(c.runName(run.Pipeline, run.Number)), state)
				}
			}
		}
		if errors.Is(err, errClosed) {
			return err
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if c.ui.machine() {
		if err := listed(c, list, func(r api.Run) string { return c.runName(r.Pipeline, r.Number) }); err != nil {
			return err
		}
	}
	return c.several(failed)
}

// listed writes things for a program.
func listed[T any](c *call, list []T, name func(T) string) error {
	if c.ui.format != formatName {
		return c.ui.data(listOf(list, ""))
	}
	for _, x := range list {
		if err := c.ui.outf("%s\n", cleanLine(name(x))); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) openCommand() *cli.Command {
	return &cli.Command{
		Name: "open", Category: groupDeploy, ArgsUsage: "[REF]",
		Usage:       "open the page of a pipeline or run in a browser",
		Description: "Without a terminal, or with --no-input, it prints the address.",
		Action: func(x *cli.Context) error {
			args, err := args(x, 0, 1)
			if err != nil {
				return err
			}
			o := openOptions{}
			if len(args) > 0 {
				o.Ref = args[0]
			}
			return c.open(x.Context, o)
		},
	}
}

type openOptions struct{ Ref string }

func (c *call) open(ctx context.Context, o openOptions) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	address := server.URL() + "/"
	if o.Ref != "" {
		r, err := parseRef(o.Ref)
		if err != nil {
			return err
		}
		if r.Pipeline != "" && r.Run == "" {
			if r.Namespace == "" {
				r.Namespace = c.namespace()
			}
			p, err := server.Pipeline(ctx, r.Namespace, r.Pipeline)
			if err != nil {
				return err
			}
			address = p.URL
			if address == "" {
				address = fmt.Sprintf("%s/p/%s/%s", server.URL(), p.Namespace, p.Name)
			}
		} else {
			at, err := c.runRef(ctx, r)
			if err != nil {
				return err
			}
			run, err := server.Run(ctx, at)
			if err != nil {
				return err
			}
			address = run.URL
			if r.Task != "" {
				address += "?task=" + r.Task
			}
		}
	}
	address = cleanLine(address)
	if c.ui.machine() || !c.StdoutTTY || c.NoInput {
		return c.ui.outf("%s\n", address)
	}
	if err := c.OpenBrowser(address); err != nil {
		c.ui.note("no browser could be started; the address is")
	}
	return c.ui.outf("%s\n", address)
}
