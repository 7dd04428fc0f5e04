package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// Every way of writing a line that the library would read wrongly.
func TestLineTakenApart(t *testing.T) {
	t.Parallel()
	c := &call{ui: newUI(Env{Getenv: func(string) string { return "" }}, nil)}
	tests := []struct {
		name, line      string
		command         string
		flags, args     []string
		help            bool
		wrong, wrongFix string
	}{
		{name: "flags behind arguments", line: "run etl -p region=eu -w", command: "run", flags: []string{"--param=region=eu", "--watch=true"}, args: []string{"etl"}},
		{name: "flags before the command", line: "-o json --namespace finance run etl", command: "run", flags: []string{"--output=json", "--namespace=finance"}, args: []string{"etl"}},
		{name: "a value like a command", line: "-n run ls", command: "ls", flags: []string{"--namespace=run"}},
		{name: "a value in the same word", line: "run -pk=v -p=k2=v2 --param=k3=v3 etl", command: "run", flags: []string{"--param=k=v", "--param=k2=v2", "--param=k3=v3"}, args: []string{"etl"}},
		{name: "letters together", line: "run -wy etl", command: "run", flags: []string{"--watch=true", "--yes=true"}, args: []string{"etl"}},
		{name: "letters together, the last with a value", line: "run -wpk=v etl", command: "run", flags: []string{"--watch=true", "--param=k=v"}, args: []string{"etl"}},
		{name: "letters together, the value behind", line: "run -wp k=v etl", command: "run", flags: []string{"--watch=true", "--param=k=v"}, args: []string{"etl"}},
		{name: "a value that begins with a dash", line: "runs --since -2h etl", command: "runs", flags: []string{"--since=-2h"}, args: []string{"etl"}},
		{name: "an empty value", line: "run etl --note=", command: "run", flags: []string{"--note="}, args: []string{"etl"}},
		{name: "a switch that is off", line: "run etl --watch=false", command: "run", flags: []string{"--watch=false"}, args: []string{"etl"}},
		{name: "a switch takes no value", line: "run -w etl", command: "run", flags: []string{"--watch=true"}, args: []string{"etl"}},
		{name: "the end of flags", line: "run -w -- -p etl", command: "run", flags: []string{"--watch=true"}, args: []string{"-p", "etl"}},
		{name: "a dash is an argument", line: "run etl --params-file - -", command: "run", flags: []string{"--params-file=-"}, args: []string{"etl", "-"}},
		{name: "a command in a command", line: "context -o json ls --quiet", command: "context ls", flags: []string{"--output=json", "--quiet=true"}},
		{name: "-n is how many, where it is", line: "next -n 3 etl", command: "next", flags: []string{"--count=3"}, args: []string{"etl"}},
		{name: "-n before such a command", line: "-n 3 next etl", command: "next", flags: []string{"--count=3"}, args: []string{"etl"}},
		{name: "an argument like a command", line: "show run", command: "show", args: []string{"run"}},
		{name: "an argument called help", line: "show help", command: "show", args: []string{"help"}},
		{name: "help anywhere", line: "run etl -h", command: "run", args: []string{"etl"}, help: true},
		{name: "help in front", line: "--help run", command: "run", help: true},
		{name: "nothing", line: ""},

		{name: "unknown command", line: "rnu etl", wrong: `unknown command "rnu"; did you mean "run"?`, wrongFix: "synctl --help"},
		{name: "unknown command below", line: "token creat", wrong: `unknown command "creat" after "token"; did you mean "create"?`, wrongFix: "synctl token --help"},
		{name: "hidden commands are no suggestion", line: "__complet", wrong: `unknown command "__complet"`, wrongFix: "synctl --help"},
		{name: "unknown flag", line: "run etl --wathc", wrong: `unknown flag "--wathc"; did you mean "--watch"?`, wrongFix: "synctl run --help"},
		{name: "one dash is for letters", line: "run etl -watch", wrong: `unknown flag "-watch"; did you mean "--watch"?`, wrongFix: "synctl run --help"},
		{name: "no value", line: "run etl -p", wrong: `-p needs a value`, wrongFix: "synctl run --help"},
		{name: "a switch with a value", line: "run etl --watch=1", wrong: `--watch is true or false, not "1"`, wrongFix: "synctl run --help"},
		{name: "a flag of another command", line: "ls --watch", wrong: `unknown flag "--watch"`, wrongFix: "synctl ls --help"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, err := arrange(c.app(), strings.Fields(test.line))
			if test.wrong != "" {
				e, ok := errors.AsType[*usageError](err)
				if !ok || e.message != test.wrong || e.hint != test.wrongFix {
					t.Fatalf("arrange(%q) = %v (%+v), want %q → %q", test.line, err, e, test.wrong, test.wrongFix)
				}
				return
			}
			if err != nil {
				t.Fatalf("arrange(%q): %v", test.line, err)
			}
			if got := strings.Join(l.path, " "); got != test.command {
				t.Errorf("command = %q, want %q", got, test.command)
			}
			if diff := cmp.Diff(test.flags, l.flags); diff != "" {
				t.Errorf("flags (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.args, l.args); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if l.help != test.help {
				t.Errorf("help = %v, want %v", l.help, test.help)
			}
		})
	}
}

// The library must agree about what a line says: no flag of a command may be
// called like one that all have, and each has the shared ones.
func TestFlagsAreUnambiguous(t *testing.T) {
	t.Parallel()
	c := &call{ui: newUI(Env{Getenv: func(string) string { return "" }}, nil)}
	app := c.app()
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, cmd := range commands {
			seen := map[string]bool{"h": true, "help": true}
			for _, f := range cmd.Flags {
				for _, n := range f.Names() {
					if seen[n] {
						t.Errorf("%s %s: two flags are called %s", path, cmd.Name, n)
					}
					seen[n] = true
				}
			}
			for _, name := range []string{flagContext, flagNamespace, flagOutput, flagTimeout} {
				if !seen[name] {
					t.Errorf("%s %s has no --%s", path, cmd.Name, name)
				}
			}
			if cmd.Usage == "" && !cmd.Hidden {
				t.Errorf("%s %s does not say what it does", path, cmd.Name)
			}
			walk(path+" "+cmd.Name, cmd.Subcommands)
		}
	}
	walk("synctl", app.Commands)
}
