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
		Flags: append(command.Flags(listen),
			&cli.IntFlag{Name: "late-starts", EnvVars: []string{"SYN_LATE_STARTS"}, Value: scheduler.DefaultLateStarts, Usage: "how many late `TICKS` start in a minute at most, as after an outage, over all schedulers; 0 is any number"},
			&cli.IntFlag{Name: "keep-runs", EnvVars: []string{"SYN_KEEP_RUNS"}, Value: scheduler.DefaultKeep.Runs, Usage: "how many `DAYS` runs, ticks, events and backfills are kept at least"},
			&cli.IntFlag{Name: "keep-logs", EnvVars: []string{"SYN_KEEP_LOGS"}, Value: scheduler.DefaultKeep.Logs, Usage: "how many `DAYS` output is kept at least"},
			&cli.IntFlag{Name: "keep-keys", EnvVars: []string{"SYN_KEEP_KEYS"}, Value: scheduler.DefaultKeep.Things, Usage: "how many `DAYS` idempotency keys and stopped executors are kept"},
		),
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
			return scheduler.Run(c.Context, scheduler.Config{
				DatabaseURL: url, Listen: c.String(command.FlagListen), Log: log, LateStarts: c.Int("late-starts"),
				Keep: scheduler.Keep{Runs: c.Int("keep-runs"), Logs: c.Int("keep-logs"), Things: c.Int("keep-keys")},
			})
		},
	})
}
