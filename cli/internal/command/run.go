package command

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func (c *call) runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Category: groupRun, ArgsUsage: "PIPELINE",
		Usage: "start a run",
		Description: "Returns at once with the run's name; with -w, -f or --wait it stays and exits with the run's\n" +
			"result: 0 succeeded, 3 failed, 8 canceled, 9 skipped. Ctrl-C leaves the run alone.\n" +
			"With --local the argument is a file, and its pipeline runs here, without a server.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "param", Aliases: []string{"p"}, Usage: "a param, as `NAME=VALUE`; may be repeated"},
			&cli.StringFlag{Name: "params-file", Usage: "params as a JSON object in this `FILE` (- is stdin)"},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show progress until the run has ended"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "show the output of its tasks until it has ended"},
			&cli.BoolFlag{Name: "wait", Usage: "wait until it has ended"},
			&cli.StringFlag{Name: "key", Usage: "the same `KEY` starts one run, however often it is sent"},
			&cli.StringFlag{Name: "at", Usage: "the `TIME` that the run is for, instead of now"},
			&cli.StringFlag{Name: "note", Usage: "a word shown on the run"},
			&cli.BoolFlag{Name: "local", Usage: "run the pipeline of a file on this machine"},
			&cli.StringFlag{Name: "pipeline", Usage: "with --local: which one, where the file has several"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, 1)
			if err != nil {
				return err
			}
			o := runOptions{
				Of: args[0], Params: x.StringSlice("param"), ParamsFile: x.String("params-file"), Key: x.String("key"), At: x.String("at"),
				Note: x.String("note"), Pipeline: x.String("pipeline"),
			}
			switch {
			case x.Bool("follow"):
				o.Follow = followLogs
			case x.Bool("watch"):
				o.Follow = followWatch
			case x.Bool("wait"):
				o.Follow = followWait
			}
			if x.Bool("local") {
				return c.runLocal(x.Context, o)
			}
			return c.start(x.Context, o)
		},
	}
}

type runOptions struct {
	Of            string
	Params        []string
	ParamsFile    string
	Follow        following
	Key, At, Note string
	Pipeline      string
}

// start asks for a run, and follows it where that is wanted.
func (c *call) start(ctx context.Context, o runOptions) error {
	if c.isFile(o.Of) {
		return usage("%s is a file; run starts a pipeline that is registered", quote(o.Of)).withHint("synctl run --local %s, or synctl register %s", clean(o.Of), clean(o.Of))
	}
	r, err := parseRef(o.Of)
	if err != nil {
		return err
	}
	if r.Pipeline == "" || r.Run != "" || r.Task != "" {
		return usage("%s names a run; run starts a pipeline", quote(o.Of))
	}
	if r.Namespace == "" {
		r.Namespace = c.namespace()
	}
	req := api.RunRequest{Note: o.Note}
	if req.Texts, err = textParams(o.Params); err != nil {
		return err
	}
	if req.Params, err = c.fileParams(o.ParamsFile, req.Texts); err != nil {
		return err
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	if o.At != "" {
		if req.At, err = k.parseTime("at", o.At); err != nil {
			return err
		}
		if c.StderrTTY {
			c.ui.note("for %s = %s", k.date(req.At), instant(req.At))
		}
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	key := o.Key
	if key == "" {
		// So that a request whose answer was lost is not a second run.
		key = "synctl-" + rand.Text()
	}
	run, created, err := server.CreateRun(ctx, r.Namespace, r.Pipeline, key, req)
	if err != nil {
		return c.paramErrors(err)
	}
	c.remember(run)
	name := c.runName(run.Pipeline, run.Number)
	if !created {
		c.ui.note("%s is the run of this key", name)
	}
	if o.Follow == followNot {
		return c.started(run, name)
	}
	at, err := c.runRef(ctx, ref{Namespace: r.Namespace, Pipeline: r.Pipeline, Run: fmt.Sprint(run.Number)})
	if err != nil {
		return err
	}
	run, err = c.follow(ctx, server, at, name, o.Follow)
	if err != nil {
		return err
	}
	end := &outcome{c: c, run: run, name: name, tail: tailOf(ctx, server, at), shown: o.Follow == followLogs}
	return end.tell()
}

// started tells of a run that nobody follows.
func (c *call) started(run api.Run, name string) error {
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(run)
	}
	if err := c.ui.outf("%s\n", cleanLine(name)); err != nil {
		return err
	}
	if c.StdoutTTY && c.ui.format != formatName {
		c.ui.note("%s %s  %s\n  synctl watch %s", c.ui.paintErr(blue, c.ui.mark(lookOfRun(run.State, run.Reason))), run.State, cleanLine(run.URL), shellWord(name))
	}
	return nil
}

// textParams reads -p NAME=VALUE.
func textParams(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range list {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usage("-p %s: it is written NAME=VALUE", quote(p))
		}
		if _, twice := out[name]; twice {
			return nil, usage("param %s is given twice", quote(name))
		}
		out[name] = value
	}
	return out, nil
}

// maxParams is how large the values of a run may be.
const maxParams = 256 << 10

// fileParams reads the params of a file.
func (c *call) fileParams(file string, texts map[string]string) (api.Values, error) {
	if file == "" {
		return nil, nil
	}
	in := c.Stdin
	if file != "-" {
		f, err := os.Open(c.path(file))
		if err != nil {
			return nil, &saying{status: ExitNotFound, message: fmt.Sprintf("there is no file %s to read params from", quote(file))}
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxParams+1))
	if err != nil {
		return nil, fmt.Errorf("read params: %w", err)
	}
	if len(text) > maxParams {
		return nil, usage("--params-file %s holds more than 256 KiB", quote(file))
	}
	var values api.Values
	if err := json.Unmarshal(text, &values); err != nil {
		return nil, usage("--params-file %s is no JSON object: %s", quote(file), sentence(err)).withHint(`{"name": value, …}`)
	}
	for name := range values {
		if _, twice := texts[name]; twice {
			return nil, usage("param %s is given twice: by -p and in %s", quote(name), quote(file))
		}
	}
	return values, nil
}

// paramErrors shows each param that is wrong on a line.
func (c *call) paramErrors(err error) error {
	e, ok := asAPI(err)
	if !ok || len(e.Problems) < 2 {
		return err
	}
	var b strings.Builder
	b.WriteString(e.Message)
	for _, p := range e.Problems {
		b.WriteString("\n  " + cleanLine(p.Message))
		if p.Hint != "" {
			b.WriteString(" → " + cleanLine(p.Hint))
		}
	}
	return &saying{status: ExitOf(e.Code), message: b.String(), hint: e.Hint}
}

func (c *call) watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Category: groupRun, ArgsUsage: "[RUN]",
		Usage:       "follow a run to its end, and exit with its result",
		Description: "The run that this terminal started last, if none is named. Ctrl-C leaves the run alone.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "show the output of its tasks"}},
		Action: func(x *cli.Context) error {
			args, err := args(x, 0, 1)
			if err != nil {
				return err
			}
			o := watchOptions{Run: "@last", Follow: followWatch}
			if len(args) > 0 {
				o.Run = args[0]
			}
			if x.Bool("follow") {
				o.Follow = followLogs
			}
			return c.watch(x.Context, o)
		},
	}
}

type watchOptions struct {
	Run    string
	Follow following
}

func (c *call) watch(ctx context.Context, o watchOptions) error {
	r, err := parseRef(o.Run)
	if err != nil {
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
	run, err := server.Run(ctx, at)
	if err != nil {
		return r.taskHint(err)
	}
	at = exact(at, run)
	name := c.runName(run.Pipeline, run.Number)
	if run, err = c.follow(ctx, server, at, name, o.Follow); err != nil {
		return err
	}
	end := &outcome{c: c, run: run, name: name, tail: tailOf(ctx, server, at), shown: o.Follow == followLogs}
	return end.tell()
}
