package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/services/api"
	"github.com/synthesizer-dev/synthesizer/services/internal/command"
)

var token = &cli.Command{
	Name: "token", Usage: "print an admin token, once; --reset makes another and ends those before",
	Flags: []cli.Flag{command.Database(), &cli.BoolFlag{Name: "reset", Usage: "end the tokens handed out before"}},
	Action: func(c *cli.Context) error {
		url, err := command.DatabaseURL(c)
		if err != nil {
			return err
		}
		secret, err := api.OperatorToken(c.Context, url, c.Bool("reset"))
		if err == nil {
			fmt.Fprintln(c.App.Writer, secret)
		}
		return err
	},
}
