// Command executor runs tasks on the machine it is started on.
package main

import (
	"cmp"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/internal/command"
)

const listen = "127.0.0.1:8082"

func main() {
	if status, done := executor.Child(); done {
		os.Exit(status)
	}
	signals, hasten := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { <-signals; <-signals; close(hasten) }() // the second one ends the grace
	command.Main(&cli.App{
		Name:  "executor",
		Usage: "claim ready tasks and run them on this machine",
		Description: "Start as many as you like, also several on one machine: they share the work through the database.\n" +
			"/healthz, /readyz and /metrics are served on --listen.",
		Flags: append(command.Flags(listen),
			&cli.IntFlag{Name: "slots", EnvVars: []string{"SYN_SLOTS"}, Usage: "tasks at once (default: four per CPU)"},
			&cli.StringSliceFlag{Name: "labels", EnvVars: []string{"SYN_LABELS"}, Usage: "`LABEL` that tasks may ask for with runs_on; repeat, or separate by commas"},
			&cli.StringFlag{Name: "name", EnvVars: []string{"SYN_NAME"}, Usage: "what people call this executor (default: the host's name)"},
			&cli.StringFlag{Name: "targets", EnvVars: []string{"SYN_TARGETS"}, Usage: "`FILE` of the remote systems that it may ask"},
			&cli.StringSliceFlag{Name: "serves", EnvVars: []string{"SYN_SERVES"}, Usage: "`TARGET` of the file that it serves, * for any part of the name; repeat, or separate by commas (default: all)"},
			&cli.StringFlag{Name: "work-dir", EnvVars: []string{"SYN_WORK_DIR"}, Usage: "where tasks have their directories (default: below the user's state directory)"},
			&cli.StringFlag{Name: "task-path", EnvVars: []string{"SYN_TASK_PATH"}, Value: executor.DefaultTaskPath, Usage: "PATH for tasks"},
			&cli.StringFlag{Name: "secrets-file", EnvVars: []string{"SYN_SECRETS_FILE"}, Usage: "secrets of this executor's own: lines [NAMESPACE/]NAME=VALUE, or JSON by namespace; mode 0600"},
			command.SecretKeyFile(),
			&cli.DurationFlag{Name: "grace", EnvVars: []string{"SYN_GRACE"}, Value: executor.DefaultGrace, Usage: "how long running tasks may finish when told to stop"},
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
			return executor.Run(c.Context, executor.Config{
				DatabaseURL: url, Listen: c.String(command.FlagListen), Log: log, Hasten: hasten,
				Name: c.String("name"), Slots: c.Int("slots"), Labels: executor.List(c.StringSlice("labels")), TargetsFile: c.String("targets"), Serves: executor.List(c.StringSlice("serves")),
				WorkDir: c.String("work-dir"), TaskPath: c.String("task-path"), SecretsFile: c.String("secrets-file"), SecretKeyFile: c.String(command.FlagSecretKey), Grace: cmp.Or(c.Duration("grace"), -1),
			})
		},
	})
}
