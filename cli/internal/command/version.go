package command

import (
	"context"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

func (c *call) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Category: groupItself, Usage: "the version of synctl",
		Action: func(x *cli.Context) error {
			if _, err := args(x, 0, 0); err != nil {
				return err
			}
			return c.version(x.Context)
		},
	}
}

func (c *call) version(context.Context) error {
	v := struct {
		Version string `json:"version"`
		Go      string `json:"go"`
		Tzdata  string `json:"tzdata"`
	}{c.Version, runtime.Version(), schedule.TZVersion}
	switch c.ui.format {
	case formatJSON, formatYAML:
		return c.ui.data(v)
	case formatName:
		return c.ui.outf("%s\n", v.Version)
	}
	return c.ui.outf("synctl %s (%s, tzdata %s)\n", v.Version, v.Go, v.Tzdata)
}
