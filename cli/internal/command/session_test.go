package command

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/synthesizer-dev/synthesizer/cli/client"
)

var update = flag.Bool("update", false, "rewrite the golden files of the sessions")

// TestSessions runs the program in memory, as people and scripts do:
//
//	synctl ARGS        in a pipe, or on a terminal of $TTY columns
//	status N ARGS      the same, and it must exit with N
//	sent TEXT          the server has been asked for this
//	local URL MODE     a server on this machine has left its address
//	mode MODE FILE     the file has these permissions
func TestSessions(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "session"),
		UpdateScripts: *update, // fix what is wrong first: it writes whatever comes
		Setup: func(env *testscript.Env) error {
			server := newContract(env.T().(testing.TB))
			env.Values["server"] = server
			env.Setenv("SYNCTL_URL", server.URL)
			env.Setenv("SYNCTL_TOKEN", goodToken)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("LANG", "C.UTF-8")
			env.Setenv("TERM", "xterm")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"synctl": func(ts *testscript.TestScript, neg bool, args []string) {
				if code := inScript(ts, args); (code != ExitOK) != neg {
					ts.Fatalf("exit status %d", code)
				}
			},
			"status": func(ts *testscript.TestScript, neg bool, args []string) {
				if code := inScript(ts, args[1:]); strconv.Itoa(code) != args[0] {
					ts.Fatalf("exit status %d, want %s", code, args[0])
				}
			},
			"sent": func(ts *testscript.TestScript, neg bool, args []string) {
				server := ts.Value("server").(*contract)
				server.mu.Lock()
				defer server.mu.Unlock()
				if all := strings.Join(server.requests, "\n"); strings.Contains(all, args[0]) == neg {
					ts.Fatalf("sent:\n%s", all)
				}
			},
			"local": func(ts *testscript.TestScript, neg bool, args []string) {
				file := ts.MkAbs("home/.local/state/synthesizer/local.json")
				mode, err := strconv.ParseUint(args[1], 8, 32)
				ts.Check(err)
				ts.Check(os.WriteFile(file, []byte(`{"url":"`+args[0]+`","token":"`+goodToken+`"}`), 0o600))
				ts.Check(os.Chmod(file, os.FileMode(mode)))
			},
			"mode": func(ts *testscript.TestScript, neg bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[1]))
				ts.Check(err)
				if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
					ts.Fatalf("mode %s, want %s", got, args[0])
				}
			},
		},
	})
}

func inScript(ts *testscript.TestScript, args []string) int {
	server := ts.Value("server").(*contract)
	address := strings.TrimPrefix(server.URL, "http://")
	replace := strings.NewReplacer(address, "synth.test", ts.MkAbs(".")+string(filepath.Separator), "WORK/")
	columns, _ := strconv.Atoi(ts.Getenv("TTY"))
	var stdin strings.Builder
	stdin.WriteString(ts.Getenv("ANSWER"))
	if name := ts.Getenv("STDIN"); name != "" {
		stdin.WriteString(ts.ReadFile(name))
	}
	env := Env{
		Stdin: strings.NewReader(stdin.String()), Stdout: translated{ts.Stdout(), replace}, Stderr: translated{ts.Stderr(), replace},
		StdinTTY: columns > 0, StdoutTTY: columns > 0, StderrTTY: columns > 0,
		Size:   func() (int, int) { return columns, 24 },
		Getenv: ts.Getenv, Dir: ts.MkAbs("."), Local: time.UTC, Now: func() time.Time { return now }, Session: "1", Version: "v0.9.2",
		Dial: func(o client.Options) (*client.Client, error) {
			o.URL = strings.Replace(o.URL, "synth.test", address, 1)
			o.Patience = -1
			return client.New(o)
		},
		ReadSecret:  func() (string, error) { return ts.Getenv("ANSWER"), nil },
		OpenBrowser: func(string) error { return nil },
		Git: func(_ context.Context, _ string, args ...string) (string, error) {
			switch args[0] {
			case "rev-parse":
				if args[1] == "HEAD" {
					return "3f2a91c", nil
				}
				return "/src/finance-repo", nil
			default:
				return "", errors.New("no git")
			}
		},
		Hold: func(bool) {},
	}
	ctx := context.Background()
	if after := ts.Getenv("INTERRUPT"); after != "" {
		d, err := time.ParseDuration(after)
		ts.Check(err)
		c, cancel := context.WithCancelCause(ctx)
		ctx = c
		defer time.AfterFunc(d, func() { cancel(errInterrupted) }).Stop()
	}
	return Run(ctx, env, args)
}

// translated hides what differs from one test to the next.
type translated struct {
	w interface{ Write([]byte) (int, error) }
	r *strings.Replacer
}

func (t translated) Write(p []byte) (int, error) {
	if _, err := t.w.Write([]byte(t.r.Replace(string(p)))); err != nil {
		return 0, err
	}
	return len(p), nil
}
