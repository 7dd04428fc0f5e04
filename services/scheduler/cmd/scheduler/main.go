// Command scheduler decides what runs, and when.
package main

import (
	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/services/internal/command"
	"github.com/synthesizer-dev/synthesizer/services/scheduler"
)

const listen = "127.0.0.1:8081"

func main() {
	command.Main(&cli.App{
		Name:  "scheduler",
		Usage: "turn due ticks into runs, and runs into tasks that executors may claim",
		Description: "Start as many as you like: they share the work through the database and need no leader.\n" +
			"/healthz, /readyz and /metrics are served on --listen.",
		Flags:    command.Flags(listen),
		Commands: []*cli.Command{command.Healthcheck(listen)},
		Action: func(c *cli.Context) error {
			log, err := command.Logger(c)
			if err != nil {
				return err
			}
			url, err := command.DatabaseURL(c)
			if err != nil {
				return err
			}
			return scheduler.Run(c.Context, scheduler.Config{DatabaseURL: url, Listen: c.String(command.FlagListen), Log: log})
		},
	})
}
