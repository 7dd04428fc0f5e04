package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

const bashCompletion = `# synctl completion for bash: eval "$(synctl completion bash)"
_synctl() {
    local IFS=$'\n'
    COMP_WORDBREAKS=${COMP_WORDBREAKS//[#:@]/}
    COMPREPLY=($(synctl __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _synctl synctl
`

const zshCompletion = `# synctl completion for zsh: eval "$(synctl completion zsh)"
_synctl() {
    local -a words_
    words_=("${(@f)$(synctl __complete -- "${(@)words[2,$CURRENT]}" 2>/dev/null)}")
    if [[ -n "$words_" ]]; then compadd -- $words_; else _files; fi
}
compdef _synctl synctl
`

func (c *call) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Category: groupItself, ArgsUsage: "SHELL", Usage: "a script that completes words: bash or zsh",
		Description: "eval \"$(synctl completion bash)\" in ~/.bashrc, or with zsh in ~/.zshrc",
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, 1)
			if err != nil {
				return err
			}
			switch args[0] {
			case "bash":
				return c.ui.out(bashCompletion)
			case "zsh":
				return c.ui.out(zshCompletion)
			default:
				return usage("no completion for %s: there is bash and zsh", quote(args[0]))
			}
		},
	}
}

func (c *call) completeCommand() *cli.Command {
	return &cli.Command{
		Name: "__complete", Hidden: true,
		Action: func(x *cli.Context) error {
			for _, word := range c.complete(x.Context, x.App, x.Args().Slice()) {
				if err := c.ui.outf("%s\n", cleanLine(word)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// complete gives the words that may stand where the last one begins. Whatever
// goes wrong: there are none.
func (c *call) complete(ctx context.Context, app *cli.App, words []string) []string {
	last := ""
	if n := len(words); n > 0 {
		last, words = words[n-1], words[:n-1]
	}
	l, rest, err := findCommand(app, words)
	if err != nil {
		return nil
	}
	var list []string
	switch {
	case len(rest) > 0 && valueOf(l.command, rest[len(rest)-1]) == flagOutput:
		list = []string{formatTable, formatWide, formatJSON, formatYAML, formatName}
	case len(rest) > 0 && valueOf(l.command, rest[len(rest)-1]) == flagContext:
		if conf, err := c.home.config(); err == nil {
			list = conf.names()
		}
	case len(rest) > 0 && valueOf(l.command, rest[len(rest)-1]) != "":
	case strings.HasPrefix(last, "-"):
		if l.command != nil {
			for _, f := range l.command.Flags {
				list = append(list, "--"+f.Names()[0])
			}
		}
		list = append(list, "--"+flagHelp)
	case l.command == nil:
		list = commandNames(app.Commands)
	case len(l.command.Subcommands) > 0:
		list = commandNames(l.command.Subcommands)
	default:
		list = c.argumentWords(ctx, l)
	}
	list = slices.DeleteFunc(list, func(w string) bool { return !strings.HasPrefix(w, last) })
	slices.Sort(list)
	return list
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, cmd := range commands {
		if !cmd.Hidden {
			names = append(names, cmd.Name)
		}
	}
	return names
}

// valueOf is the flag whose value comes next, if one does.
func valueOf(cmd *cli.Command, word string) string {
	if cmd == nil || !strings.HasPrefix(word, "-") {
		return ""
	}
	flags := index(cmd.Flags)
	if !takesNext(flags, word) {
		return ""
	}
	if name, ok := strings.CutPrefix(word, "--"); ok {
		return flags[name].name
	}
	return flags[word[len(word)-1:]].name
}

func (c *call) argumentWords(ctx context.Context, l line) []string {
	switch l.path[0] {
	case "run", "ls", "show", "open", "pause", "resume", "runs", "watch", "logs", "explain", "cancel", "rerun", "mark", "approve", "reject", "next":
		names := c.pipelineNames(ctx)
		if l.path[0] != "run" && l.path[0] != "pause" && l.path[0] != "resume" {
			names = append(names, "@last")
		}
		return names
	case "completion":
		return []string{"bash", "zsh"}
	case "help":
		return append(topicNames(), commandNames(c.app().Commands)...)
	case "context":
		if conf, err := c.home.config(); err == nil && len(l.path) > 1 && l.path[1] != "add" {
			return conf.names()
		}
	}
	return nil
}

const (
	completionPatience = 300 * time.Millisecond
	completionKeeps    = 5 * time.Second
)

// pipelineNames asks the server, and remembers the answer for as long as a person
// keeps pressing the key.
func (c *call) pipelineNames(ctx context.Context) []string {
	t, err := c.resolve()
	if err != nil {
		return nil
	}
	sum := sha256.Sum256([]byte(t.URL + "\n" + t.Token + "\n" + t.Namespace))
	file := filepath.Join(c.home.stateDir(), "synctl", "names-"+hex.EncodeToString(sum[:8]))
	if info, err := os.Stat(file); err == nil && c.Now().Sub(info.ModTime()) < completionKeeps {
		if text, err := os.ReadFile(file); err == nil {
			return strings.Fields(string(text))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	server, err := c.dial(t.URL, t.Token, -1)
	if err != nil {
		return nil
	}
	page, err := server.Pipelines(ctx, api.ListPipelinesParams{Namespace: t.Namespace, Limit: api.MaxPage})
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range page.Items {
		names = append(names, cleanLine(c.name(p.Namespace, p.Name)))
	}
	_ = writePrivate(file, []byte(strings.Join(names, "\n"))) // it only saves the next question
	return names
}
