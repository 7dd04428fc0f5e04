// Package command is the command line that every service has.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/services/internal/service"
)

// Names of the shared flags.
const (
	FlagDatabase  = "database-url"
	FlagListen    = "listen"
	FlagLogLevel  = "log-level"
	FlagLogFormat = "log-format"
	FlagSecretKey = "secret-key-file"
)

// Flags are the flags of every service, with their environment variables.
// listen is the default address; empty: none.
func Flags(listen string) []cli.Flag {
	return []cli.Flag{
		Database(),
		&cli.StringFlag{Name: FlagListen, EnvVars: []string{"SYN_LISTEN"}, Value: listen, Usage: "address to listen on"},
		&cli.StringFlag{Name: FlagLogLevel, EnvVars: []string{"SYN_LOG_LEVEL"}, Value: "info", Usage: "debug, info, warn or error"},
		&cli.StringFlag{Name: FlagLogFormat, EnvVars: []string{"SYN_LOG_FORMAT"}, Value: "auto", Usage: "auto, text or json"},
	}
}

// Database is the flag that names the database.
func Database() cli.Flag {
	return &cli.StringFlag{Name: FlagDatabase, EnvVars: []string{"SYN_DATABASE_URL"}, Usage: "the Postgres all services share, as `URL`"}
}

// SecretKeyFile is the flag that names the key file of secrets.
func SecretKeyFile() cli.Flag {
	return &cli.StringFlag{Name: FlagSecretKey, EnvVars: []string{"SYN_SECRET_KEY_FILE"}, Usage: "`FILE` with the key of secrets, as api secret-key create makes it; mode 0600"}
}

// Healthcheck is the command that asks the service on this machine whether it
// is ready.
func Healthcheck(listen string) *cli.Command {
	return &cli.Command{
		Name: "healthcheck", Usage: "exit 0 if the service on this machine is ready",
		Flags:  []cli.Flag{&cli.StringFlag{Name: FlagListen, EnvVars: []string{"SYN_LISTEN"}, Value: listen, Usage: "address it listens on"}},
		Action: func(c *cli.Context) error { return service.Probe(c.Context, c.String(FlagListen)) },
	}
}

// Logger makes the logger that the flags ask for, and makes it slog's default.
func Logger(c *cli.Context) (*slog.Logger, error) {
	log, err := service.Logger(os.Stderr, c.String(FlagLogLevel), c.String(FlagLogFormat))
	if err != nil {
		return nil, err
	}
	slog.SetDefault(log)
	return log, nil
}

// DatabaseURL is the database's address, or an error that says how to give it.
func DatabaseURL(c *cli.Context) (string, error) {
	if url := c.String(FlagDatabase); url != "" {
		return url, nil
	}
	return "", errors.New("no database: set SYN_DATABASE_URL or --database-url, such as postgres://user@host:5432/synthesizer")
}

// Main runs the command line until it ends or the process is told to stop, and
// exits: 0, 1 after an error, 64 for a line that makes no sense. A second signal
// ends the process at once.
func Main(app *cli.App) {
	app.Version = service.Version()
	app.HideHelpCommand = true
	app.Suggest = true
	app.DisableSliceFlagSeparator = true
	// An action takes no arguments, so one that is left over is a mistyped command.
	serve := app.Action
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			fmt.Fprintf(os.Stderr, "✕ unknown command %q → %s --help\n", c.Args().First(), app.Name)
			os.Exit(64)
		}
		return serve(c)
	}
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		fmt.Fprintf(os.Stderr, "✕ %v → %s --help\n", err, app.Name)
		os.Exit(64)
		return nil
	}
	app.ExitErrHandler = func(*cli.Context, error) {} // Main exits, nobody else

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from now on a signal has its ordinary effect
	err := app.RunContext(ctx, os.Args)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "✕ %s: %v\n", app.Name, err)
		os.Exit(1)
	}
}
