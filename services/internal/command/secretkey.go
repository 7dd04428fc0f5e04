package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

// SecretKey is the command that makes and changes key files.
func SecretKey() *cli.Command {
	return &cli.Command{
		Name: "secret-key", Usage: "make and change the key file that secrets are sealed with",
		Description: "Without the key file nobody can read the secrets in the database: keep a copy of it, and not beside\n" +
			"the database's backups. To change keys: rotate, then reseal, then prune.",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make a key file with a new key; one that is there already is left as it is",
				Flags: []cli.Flag{SecretKeyFile(), &cli.BoolFlag{Name: "group-readable", Usage: "let the file's group read it: mode 0640"}},
				Action: func(c *cli.Context) error {
					file, err := keyFile(c)
					if err != nil {
						return err
					}
					created, err := secrets.Create(file, c.Bool("group-readable"))
					if err != nil {
						return err
					}
					if !created {
						fmt.Fprintf(c.App.Writer, "%s is there already\n", file)
						return nil
					}
					fmt.Fprintf(c.App.Writer, "%s made: keep a copy of it in a safe place\n", file)
					return nil
				},
			},
			{
				Name: "show", Usage: "tell which keys the file has, without what they are, and whether it can be used",
				Flags: []cli.Flag{SecretKeyFile()},
				Action: func(c *cli.Context) error {
					file, err := keyFile(c)
					if err != nil {
						return err
					}
					info, err := secrets.New(file).Info()
					if err != nil {
						return err
					}
					tellKeys(c, info)
					return nil
				},
			},
			{
				Name: "rotate", Usage: "add a new key to the file; from now on it seals",
				Description: "What older keys have sealed still opens. Where services have copies of the file, give the new one to\n" +
					"the executors first and to the api last: it alone seals.",
				Flags: []cli.Flag{SecretKeyFile()},
				Action: func(c *cli.Context) error {
					file, err := keyFile(c)
					if err != nil {
						return err
					}
					info, err := secrets.Rotate(file)
					if err != nil {
						return err
					}
					tellKeys(c, info)
					return nil
				},
			},
			{
				Name: "reseal", Usage: "seal all secrets in the database with the newest key; may be repeated",
				Description: "It needs the database user that migrates.",
				Flags:       []cli.Flag{Database(), SecretKeyFile()},
				Action: func(c *cli.Context) error {
					url, keys, err := sealed(c)
					if err != nil {
						return err
					}
					n, err := secrets.Reseal(c.Context, url, keys)
					if err != nil {
						return fmt.Errorf("after %d versions: %w", n, err)
					}
					fmt.Fprintf(c.App.Writer, "%d versions sealed anew\n", n)
					return nil
				},
			},
			{
				Name: "prune", Usage: "remove all keys but the newest from the file, if every secret opens with that one",
				Description: "It needs the database user that migrates. Secrets in older backups of the database then open only\n" +
					"with a copy of the file from before.",
				Flags: []cli.Flag{Database(), SecretKeyFile()},
				Action: func(c *cli.Context) error {
					url, _, err := sealed(c)
					if err != nil {
						return err
					}
					info, err := secrets.Prune(c.Context, url, c.String(FlagSecretKey))
					if err != nil {
						return err
					}
					tellKeys(c, info)
					return nil
				},
			},
		},
	}
}

func keyFile(c *cli.Context) (string, error) {
	if file := c.String(FlagSecretKey); file != "" {
		return file, nil
	}
	return "", errors.New("no key file: set SYN_SECRET_KEY_FILE or --secret-key-file")
}

// sealed is what the commands about sealed secrets need.
func sealed(c *cli.Context) (url string, keys *secrets.Keyring, err error) {
	if url, err = DatabaseURL(c); err != nil {
		return "", nil, err
	}
	file, err := keyFile(c)
	if err != nil {
		return "", nil, err
	}
	keys = secrets.New(file)
	return url, keys, keys.Check()
}

func tellKeys(c *cli.Context, info secrets.Info) {
	text := fmt.Sprintf("key %d seals", info.Primary)
	if len(info.Older) > 0 {
		var older []string
		for _, id := range info.Older {
			older = append(older, fmt.Sprint(id))
		}
		text += "; still opened by " + strings.Join(older, ", ")
	}
	fmt.Fprintln(c.App.Writer, text)
}
