package command

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Names of the flags that every command has.
const (
	flagContext   = "context"
	flagNamespace = "namespace"
	flagOutput    = "output"
	flagQuiet     = "quiet"
	flagVerbose   = "verbose"
	flagNoColor   = "no-color"
	flagNoInput   = "no-input"
	flagYes       = "yes"
	flagZone      = "tz"
	flagTimeout   = "timeout"
	flagProgress  = "progress"
	flagHelp      = "help"
)

const categoryShared = "Everywhere"

// withShared adds the flags that every command has. A command that gives a short
// name another meaning takes it from here.
func withShared(own []cli.Flag) []cli.Flag {
	taken := map[string]bool{}
	for _, f := range own {
		for _, n := range f.Names() {
			taken[n] = true
		}
	}
	short := func(name string) []string {
		if taken[name] {
			return nil
		}
		return []string{name}
	}
	list := []cli.Flag{
		&cli.StringFlag{Name: flagContext, Aliases: short("C"), Usage: "use this context instead of the current one"},
		&cli.StringFlag{Name: flagNamespace, Aliases: short("n"), Usage: "namespace of names that have none"},
		&cli.StringFlag{Name: flagOutput, Aliases: short("o"), Usage: "table, wide, json, yaml or name"},
		&cli.BoolFlag{Name: flagQuiet, Aliases: short("q"), Usage: "say only what was asked for"},
		&cli.BoolFlag{Name: flagVerbose, Aliases: short("v"), Usage: "show requests, and the causes of errors"},
		&cli.BoolFlag{Name: flagNoColor, Usage: "no colours"},
		&cli.BoolFlag{Name: flagNoInput, Usage: "never ask"},
		&cli.BoolFlag{Name: flagYes, Aliases: short("y"), Usage: "say yes to what would be asked"},
		&cli.StringFlag{Name: flagZone, Usage: "time `ZONE` that times are shown and read in"},
		&cli.StringFlag{Name: flagTimeout, Usage: "give up after this long (30s, 10m)"},
		&cli.StringFlag{Name: flagProgress, Usage: "auto, tty, plain or none"},
	}
	list = slices.DeleteFunc(list, func(f cli.Flag) bool { return taken[f.Names()[0]] })
	for _, f := range list {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Category = categoryShared
		case *cli.BoolFlag:
			f.Category = categoryShared
		}
	}
	return append(slices.Clone(own), list...)
}

// A line is what was typed, taken apart: the command, its flags and its arguments.
type line struct {
	command *cli.Command // nil: none was named
	path    []string     // its names, from the top
	flags   []string     // each as --name=value
	args    []string
	help    bool
}

// arrange takes a line apart by the flags of the command it names, wherever they
// stand. (The library stops at the first argument: what follows it would be lost
// without a word.)
func arrange(app *cli.App, words []string) (line, error) {
	l, rest, err := findCommand(app, words)
	if err != nil {
		return l, err
	}
	var own []cli.Flag
	if l.command == nil {
		own = app.Flags
	} else {
		own = l.command.Flags
	}
	flags := index(own)
	for i := 0; i < len(rest); i++ {
		word := rest[i]
		switch {
		case word == "--":
			l.args = append(l.args, rest[i+1:]...)
			return l, nil
		case word == "-" || !strings.HasPrefix(word, "-"):
			l.args = append(l.args, word)
		default:
			used, err := l.flag(flags, word, rest[i+1:])
			if err != nil {
				return l, err
			}
			i += used
		}
	}
	return l, nil
}

// findCommand takes the names of the command out of the words. Flags may stand
// before and between them.
func findCommand(app *cli.App, words []string) (line, []string, error) {
	var l line
	var rest []string
	commands := app.Commands
	before := index(app.Flags)
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "--" || len(commands) == 0 {
			return l, append(rest, words[i:]...), nil
		}
		if strings.HasPrefix(word, "-") && word != "-" {
			rest = append(rest, word)
			if takesNext(before, word) && i+1 < len(words) {
				i++
				rest = append(rest, words[i])
			}
			continue
		}
		at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(word) })
		if at < 0 {
			if l.command != nil && l.command.Action != nil {
				return l, append(rest, words[i:]...), nil
			}
			return l, nil, unknownCommand(l.path, commands, word)
		}
		l.command = commands[at]
		l.path = append(l.path, l.command.Name)
		commands = l.command.Subcommands
		before = index(l.command.Flags)
	}
	return l, rest, nil
}

func unknownCommand(path []string, commands []*cli.Command, word string) error {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	all := strings.Join(append([]string{"synctl"}, path...), " ")
	what := "unknown command " + quote(word)
	if len(path) > 0 {
		what += " after " + quote(strings.Join(path, " "))
	}
	if near := nearest(word, names); near != "" {
		what += "; did you mean " + quote(near) + "?"
	}
	return usage("%s", what).withHint("%s --help", all)
}

// A known flag: whether it takes a value.
type known struct {
	name  string
	value bool
}

func index(flags []cli.Flag) map[string]known {
	m := map[string]known{"h": {flagHelp, false}, flagHelp: {flagHelp, false}}
	for _, f := range flags {
		_, boolean := f.(*cli.BoolFlag)
		for _, n := range f.Names() {
			m[n] = known{f.Names()[0], !boolean}
		}
	}
	return m
}

// takesNext says whether a flag word is followed by its value.
func takesNext(flags map[string]known, word string) bool {
	if name, ok := strings.CutPrefix(word, "--"); ok {
		return !strings.Contains(name, "=") && flags[name].value
	}
	for i, r := range word[1:] {
		if k, ok := flags[string(r)]; !ok || k.value {
			return ok && i+len(string(r)) == len(word)-1
		}
	}
	return false
}

// flag adds one flag word; used is how many of the next words it took.
func (l *line) flag(flags map[string]known, word string, next []string) (used int, err error) {
	if name, ok := strings.CutPrefix(word, "--"); ok {
		name, value, inside := strings.Cut(name, "=")
		k, ok := flags[name]
		if !ok {
			return 0, l.unknownFlag(flags, "--"+name)
		}
		return l.set(k, "--"+name, value, inside, next)
	}
	letters := []rune(word[1:])
	for i, r := range letters {
		k, ok := flags[string(r)]
		if !ok {
			return 0, l.unknownFlag(flags, word)
		}
		rest := string(letters[i+1:])
		if k.value {
			return l.set(k, "-"+string(r), strings.TrimPrefix(rest, "="), rest != "", next)
		}
		if value, ok := strings.CutPrefix(rest, "="); ok {
			return l.set(k, "-"+string(r), value, true, next)
		}
		if _, err := l.set(k, "-"+string(r), "", false, nil); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func (l *line) set(k known, written, value string, inside bool, next []string) (used int, err error) {
	switch {
	case k.name == flagHelp:
		l.help = true
		return 0, nil
	case !k.value && !inside:
		value = "true"
	case !k.value && value != "true" && value != "false":
		return 0, usage("%s is true or false, not %s", written, quote(value)).withHint("%s --help", l.name())
	case k.value && !inside:
		if len(next) == 0 {
			return 0, usage("%s needs a value", written).withHint("%s --help", l.name())
		}
		value, used = next[0], 1
	}
	l.flags = append(l.flags, "--"+k.name+"="+value)
	return used, nil
}

func (l *line) name() string { return strings.Join(append([]string{"synctl"}, l.path...), " ") }

func (l *line) unknownFlag(flags map[string]known, word string) error {
	var names []string
	for n := range flags {
		if len(n) > 1 {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	what := "unknown flag " + quote(word)
	if near := nearest(strings.TrimLeft(word, "-"), names); near != "" {
		what += "; did you mean " + quote("--"+near) + "?"
	}
	return usage("%s", what).withHint("%s --help", l.name())
}

// nearest is the word with the smallest edit distance, if that is 2 at most (1
// for words up to four letters).
func nearest(word string, names []string) string {
	best, least := "", 3
	if len(word) <= 4 {
		least = 2
	}
	if len(word) > 64 {
		return ""
	}
	for _, n := range names {
		if d := distance(word, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour: what fingers do.
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
