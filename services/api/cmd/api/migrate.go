package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/command"
)

var migrate = &cli.Command{
	Name: "migrate", Usage: "bring the database up to date; may be repeated, and run several times at once",
	Flags: []cli.Flag{
		command.Database(),
		&cli.PathFlag{Name: "logins", EnvVars: []string{"SYN_MIGRATE_LOGINS"}, Usage: "file with lines `user group password`: database users to make, or bring up to date, for the services"},
	},
	Action: func(c *cli.Context) error {
		url, err := command.DatabaseURL(c)
		if err != nil {
			return err
		}
		var logins []db.Login
		if file := c.Path("logins"); file != "" {
			text, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("read the logins: %w", err)
			}
			if logins, err = db.ParseLogins(string(text)); err != nil {
				return err
			}
		}
		report, err := db.Migrate(c.Context, url)
		for _, w := range report.Warnings {
			fmt.Fprintln(c.App.ErrWriter, "! "+w)
		}
		if err != nil {
			return err
		}
		if err := db.EnsureLogins(c.Context, url, logins); err != nil {
			return fmt.Errorf("make database users: %w", err)
		}
		fmt.Fprintf(c.App.Writer, "schema %d, %d migrations applied, %d partitions made\n", report.Version, len(report.Applied), report.Partitions)
		return nil
	},
}
