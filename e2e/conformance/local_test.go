package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
)

// serverOnly says why a case cannot be played locally; "" if it can. What asks for
// one run and looks at its end needs no server.
func serverOnly(c *casefile.Case) string {
	blocks, runs := 0, 0
	if len(c.Secrets) > 0 {
		return "secrets"
	}
	for _, b := range c.Blocks {
		if b.File != "" {
			if strings.Contains(b.Text, "@HTTP@") {
				return "targets"
			}
			continue
		}
		blocks++
		for _, s := range b.Steps {
			switch s.Verb {
			case "run":
				runs++
				if o, err := parseRun(s.Text); err != nil || o.key != "" || o.as != "" || o.request.Params != nil {
					return "run as only a server has them"
				}
			case "server":
				return s.Text
			case "ends", "attempts", "outputs", "params", "order", "never", "together", "log":
				if strings.HasPrefix(s.Text, "@") {
					return "several runs"
				}
			default:
				return s.Verb
			}
		}
	}
	if blocks != 1 {
		return "files that change"
	}
	if runs == 0 {
		return "no run"
	}
	return ""
}

// playLocally plays a case with synctl run --local.
func (w *world) playLocally(t *testing.T, c *casefile.Case) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := &player{world: w, c: c, dir: t.TempDir()}
	files := ""
	var steps []casefile.Step
	for _, b := range c.Blocks {
		if b.File == "" {
			steps = b.Steps
			continue
		}
		if err := p.write(b.File, p.filled(b.Text)); err != nil {
			return err
		}
		if filepath.Ext(b.File) == ".yaml" && files == "" {
			files = b.File
		}
	}
	var run api.Run
	said := ""
	for _, s := range steps {
		s.Text = p.filled(s.Text)
		var err error
		switch s.Verb {
		case "run":
			run, said, err = p.runLocally(ctx, files, s.Text)
		case "ends":
			err = checkEnd(run, s.Text, s.Below)
		case "log":
			err = checkLocalLog(said, s.Text)
		default:
			err = expectation(s.Verb, s.Text, []api.Run{run})
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %s %s: %w\n%s", c.Path, s.Line, s.Verb, s.Text, err, cut(said))
		}
	}
	return nil
}

// runLocally gives the run, and what its tasks printed.
func (p *player) runLocally(ctx context.Context, file, text string) (api.Run, string, error) {
	var run api.Run
	o, err := parseRun(text)
	if err != nil {
		return run, "", err
	}
	args := []string{"exec", p.synctl, "run", "--local", file, "--pipeline", o.pipeline, "-n", p.c.Namespace(), "-o", "json"}
	for name, value := range o.request.Texts {
		args = append(args, "-p", name+"="+value)
	}
	if !o.request.At.IsZero() {
		args = append(args, "--at", o.request.At.Format(time.RFC3339))
	}
	for i := range args {
		if i > 0 {
			args[i] = "'" + strings.ReplaceAll(args[i], "'", `'\''`) + "'"
		}
	}
	stdout, stderr, _, err := command(ctx, p.dir, strings.Join(args, " "), []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LANG=C.UTF-8", "TZ=UTC", "SYNCTL_NO_INPUT=1",
		"GOMAXPROCS=4", // tasks of a case may wait for each other
	})
	if err != nil {
		return run, stderr, err
	}
	if err := json.Unmarshal([]byte(stdout), &run); err != nil {
		return run, stderr, fmt.Errorf("synctl run --local prints no run: %w", err)
	}
	return run, stderr, nil
}

// checkLocalLog looks for text among all that tasks printed: locally their output
// comes as one stream.
func checkLocalLog(said, text string) error {
	words, err := casefile.Words(text)
	switch {
	case err != nil:
		return err
	case len(words) < 2:
		return errors.New(`want TASK "part"`)
	case words[1] == "is" || strings.Contains(words[len(words)-1], "\n"):
		return nil // each line has its task in front
	}
	return checkText(said, "what is printed", words[1:])
}
