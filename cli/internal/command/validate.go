package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// Groups of commands, in the order that people meet them.
const (
	groupAuthor = "1 Author"
	groupDeploy = "2 Deploy"
	groupRun    = "3 Run"
	groupAccess = "4 Access"
	groupItself = "5 Itself"
)

func itoa(n int) string { return strconv.Itoa(n) }

func asAPI(err error) (*api.Error, bool) { return errors.AsType[*api.Error](err) }

func (c *call) validateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Category: groupAuthor, ArgsUsage: "[PATH…]",
		Usage: "check files, without a server",
		Description: "Reads every *.yaml and *.yml below the paths (pipelines/ if none is given) and shows\n" +
			"all that is wrong, with its place. Exits with 1 if there is an error.",
		Action: func(x *cli.Context) error {
			return c.validate(x.Context, validateOptions{Paths: x.Args().Slice()})
		},
	}
}

type validateOptions struct{ Paths []string }

// validate checks files.
func (c *call) validate(_ context.Context, o validateOptions) error {
	paths, err := c.paths(o.Paths)
	if err != nil {
		return err
	}
	files, err := c.readFiles(paths)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return &saying{status: ExitNotFound, message: "no *.yaml or *.yml in " + strings.Join(paths, ", ")}
	}
	source, problems := pipeline.Parse(files, pipeline.Options{Namespace: c.Namespace, Now: c.Now()})
	if c.ui.format == formatJSON {
		list := problems.List
		if list == nil {
			list = []pipeline.Problem{}
		}
		err = c.ui.data(struct {
			Files    int                `json:"files"`
			Problems []pipeline.Problem `json:"problems"`
			More     int                `json:"more,omitempty"`
		}{len(files), list, problems.More})
	} else {
		err = c.ui.out(c.ui.fit(problems.Text(files, c.ui.colorOut)))
		c.annotate(findingsOf(problems))
		if err == nil && !problems.HasErrors() {
			err = c.ui.outf("%s %s in %s\n", c.ui.paintOut(green, "✓"), documents(source), plural(len(files), "file"))
		}
	}
	if err != nil {
		return err
	}
	if problems.HasErrors() {
		return status(ExitError)
	}
	return nil
}

// documents counts what a source defines.
func documents(s *pipeline.Source) string {
	counts := map[string]int{}
	for _, d := range s.Documents {
		counts[d.Kind]++
	}
	var parts []string
	for _, kind := range []string{pipeline.DocumentPipeline, pipeline.DocumentPool} {
		if n := counts[kind]; n > 0 {
			parts = append(parts, plural(n, kind))
		}
	}
	if n := counts[pipeline.DocumentVars]; n > 0 {
		parts = append(parts, plural(n, "document")+" of vars")
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

func plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return itoa(n) + " " + word
}

func findingsOf(ps pipeline.Problems) []api.Finding {
	list := make([]api.Finding, 0, len(ps.List))
	for _, p := range ps.List {
		list = append(list, api.Finding{
			Severity: api.FindingSeverity(p.Severity), Code: p.Code, Message: p.Message, Hint: p.Hint,
			Where: api.Where{File: p.File, Line: p.Line, Col: p.Col, Length: p.Len},
		})
	}
	return list
}

// annotate marks the lines in the way that GitHub Actions shows beside a change.
func (c *call) annotate(list []api.Finding) {
	if c.Getenv("GITHUB_ACTIONS") != "true" {
		return
	}
	for _, f := range list {
		c.ui.say(fmt.Sprintf("::%s file=%s,line=%d,col=%d,title=%s::%s", f.Severity, property(f.Where.File), f.Where.Line, f.Where.Col, property(f.Code), message(f.Message)))
	}
}

var (
	messageEscapes  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func message(s string) string  { return messageEscapes.Replace(clean(s)) }
func property(s string) string { return propertyEscapes.Replace(clean(s)) }
