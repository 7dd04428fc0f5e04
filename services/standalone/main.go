// Command standalone is all of Synthesizer in one process, on a Postgres that it
// starts itself: for trying it out and for development.
package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/internal/command"
)

const listen = "127.0.0.1:8080"

func main() {
	// This program is also the init and the guard of its executor.
	if status, done := executor.Child(); done {
		os.Exit(status)
	}
	signals, hasten := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { <-signals; <-signals; close(hasten) }() // the second one ends the grace of running tasks
	command.Main(&cli.App{
		Name:  "standalone",
		Usage: "run everything in one process, on a Postgres of its own",
		Description: "It keeps its data and finds it again at the next start. Address and token are also written to\n" +
			"${XDG_STATE_HOME:-~/.local/state}/synthesizer/local.json, which synctl uses on this machine.",
		Flags: append(flags(),
			&cli.StringFlag{Name: "data-dir", EnvVars: []string{"SYN_DATA_DIR"}, Usage: "keep everything in `DIR` (default: ${XDG_STATE_HOME:-~/.local/state}/synthesizer)"},
			&cli.StringFlag{Name: command.FlagSecretKey, EnvVars: []string{"SYN_SECRET_KEY_FILE"}, Usage: "`FILE` with the key of secrets (default: secret.key in the data directory, made at the first start)"},
			&cli.StringFlag{Name: "register", Usage: "register the pipelines in `DIR` once everything runs"},
			&cli.IntFlag{Name: "slots", EnvVars: []string{"SYN_SLOTS"}, Usage: "run at most `N` tasks at a time (default: as the executor)"},
			&cli.StringFlag{Name: "targets", EnvVars: []string{"SYN_TARGETS"}, Usage: "`FILE` of the remote systems that tasks may ask"},
			&cli.StringFlag{Name: "work-dir", EnvVars: []string{"SYN_WORK_DIR"}, Usage: "tasks get their directories below `DIR` (default: work, in the data directory)"},
		),
		Action: func(c *cli.Context) error {
			log, err := command.Logger(c)
			if err != nil {
				return err
			}
			return run(c.Context, config{
				DatabaseURL: c.String(command.FlagDatabase), Listen: c.String(command.FlagListen),
				SecretKeyFile: c.String(command.FlagSecretKey), DataDir: c.String("data-dir"), WorkDir: c.String("work-dir"), Targets: c.String("targets"), Register: c.String("register"), Slots: c.Int("slots"),
				Log: log, Out: c.App.Writer, Hasten: hasten,
			})
		},
	})
}

// flags are those of every service. Only what is wrong is logged: people look at
// this terminal, and pages and synctl tell the rest.
func flags() []cli.Flag {
	all := command.Flags(listen)
	for _, f := range all {
		if level, ok := f.(*cli.StringFlag); ok && level.Name == command.FlagLogLevel {
			level.Value = "warn"
		}
	}
	return all
}
