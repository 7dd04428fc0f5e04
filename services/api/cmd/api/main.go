// Command api serves the REST API and the pages.
package main

import (
	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/services/api"
	"github.com/synthesizer-dev/synthesizer/services/internal/command"
)

const listen = ":8080"

func main() {
	command.Main(&cli.App{
		Name: "api", Usage: "serve the REST API and the pages",
		Flags: append(command.Flags(listen),
			&cli.StringFlag{Name: "base-url", EnvVars: []string{"SYN_BASE_URL"}, Usage: "where people reach the pages, such as https://synth.example.com"},
			command.SecretKeyFile(),
			&cli.BoolFlag{Name: "insecure-no-auth", EnvVars: []string{"SYN_INSECURE_NO_AUTH"}, Usage: "check nobody; on a loopback address alone"},
		),
		Commands: []*cli.Command{migrate, token, command.SecretKey(), command.Healthcheck(listen)},
		Action: func(c *cli.Context) error {
			log, err := command.Logger(c)
			if err != nil {
				return err
			}
			url, err := command.DatabaseURL(c)
			if err != nil {
				return err
			}
			return api.Run(c.Context, api.Config{
				DatabaseURL: url, Listen: c.String(command.FlagListen), Log: log,
				BaseURL: c.String("base-url"), SecretKeyFile: c.String(command.FlagSecretKey), InsecureNoAuth: c.Bool("insecure-no-auth"),
			})
		},
	})
}
