package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
)

// register stores the case's files: [prune] [paused] [source:NAME] [dry].
func (p *player) register(ctx context.Context, text string) error {
	req := api.RegisterRequest{Source: p.c.Namespace(), Namespace: p.c.Namespace(), Files: []api.SourceFile{}}
	for word := range strings.FieldsSeq(text) {
		source, other := strings.CutPrefix(word, "source:")
		switch {
		case other:
			req.Source = source
		case word == "prune":
			req.Prune, req.Confirm = true, 1000
		case word == "paused":
			req.Paused = true
		case word == "dry":
			req.DryRun = true
		default:
			return fmt.Errorf("register takes prune, paused, dry and source:NAME; found %q", word)
		}
	}
	for _, name := range p.files {
		data, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			return err
		}
		req.Files = append(req.Files, api.SourceFile{Name: name, Text: string(data)})
	}
	out, err := p.Register(ctx, req)
	p.warnings = out.Problems
	return err
}

// run asks for a run: PIPELINE [NAME=VALUE…] [{…}] [as:NAME] [key:KEY] [at:TIME].
func (p *player) run(ctx context.Context, text string) error {
	o, err := parseRun(text)
	if err != nil {
		return err
	}
	run, _, err := p.CreateRun(ctx, p.c.Namespace(), o.pipeline, o.key, o.request)
	if err != nil {
		return err
	}
	p.last = client.RunRef{Namespace: p.c.Namespace(), Pipeline: o.pipeline, Run: strconv.FormatInt(run.Number, 10)}
	p.made = append(p.made, p.last)
	if o.as != "" {
		p.refs[o.as] = p.last
	}
	return nil
}

type runStep struct {
	pipeline, as, key string
	request           api.RunRequest
}

func parseRun(text string) (runStep, error) {
	var o runStep
	text, object, _ := strings.Cut(text, " {")
	if object != "" {
		values, err := decodeValues("{" + object)
		if err != nil {
			return o, err
		}
		o.request.Params = values
	}
	words, err := casefile.Words(text)
	if err != nil {
		return o, err
	}
	if len(words) == 0 {
		return o, errors.New("run needs a pipeline")
	}
	o.pipeline = words[0]
	for _, word := range words[1:] {
		name, value, param := strings.Cut(word, "=")
		option, rest, _ := strings.Cut(word, ":")
		switch {
		case option == "as":
			o.as = rest
		case option == "key":
			o.key = rest
		case option == "at":
			if o.request.At, err = time.Parse(time.RFC3339, rest); err != nil {
				return o, err
			}
		case param:
			if o.request.Texts == nil {
				o.request.Texts = map[string]string{}
			}
			o.request.Texts[name] = value
		default:
			return o, fmt.Errorf("run takes NAME=VALUE, as:NAME, key:KEY and at:TIME; found %q", word)
		}
	}
	return o, nil
}

// downtime makes the schedules of a pipeline as they would be if nobody had looked
// at them for so long: PIPELINE 90m. If it is paused, it is so for as long. It does not do so right before a full hour,
// so that cases can count the ticks of hourly schedules.
func (p *player) downtime(ctx context.Context, text string) error {
	name, rest, _ := strings.Cut(text, " ")
	long, err := time.ParseDuration(rest)
	if err != nil {
		return err
	}
	for time.Now().Minute() == 59 && time.Now().Second() >= 45 {
		time.Sleep(time.Second)
	}
	tag, err := p.Pool.Exec(ctx, `
		WITH pause AS (
			UPDATE pipeline SET paused_at = paused_at - $3::interval WHERE namespace = $1 AND name = $2 AND paused_at IS NOT NULL
		)
		UPDATE schedule AS s SET next_at = s.next_at - $3::interval
		FROM pipeline AS p WHERE p.id = s.pipeline_id AND p.namespace = $1 AND p.name = $2`, p.c.Namespace(), name, long)
	if err == nil && tag.RowsAffected() == 0 {
		err = fmt.Errorf("pipeline %s has no schedule", name)
	}
	p.outage()
	return err
}

// aged makes a task that stands in the queue of a pool as it would be if it had
// come so much earlier: TASK 90m.
func (p *player) aged(ctx context.Context, ref client.RunRef, text string) error {
	name, rest, _ := strings.Cut(text, " ")
	long, err := time.ParseDuration(rest)
	if err != nil {
		return err
	}
	run, err := p.Run(ctx, ref)
	if err != nil {
		return err
	}
	tag, err := p.Pool.Exec(ctx, `
		UPDATE waiter AS w SET rank = w.rank - extract(epoch FROM $3::interval) * 1000, since = w.since - $3::interval
		FROM task AS t WHERE t.run_id = w.run_id AND t.number = w.number AND w.run_id = $1 AND t.name = $2`, run.ID, name, long)
	if err == nil && tag.RowsAffected() == 0 {
		err = fmt.Errorf("task %s waits for no pool", name)
	}
	return err
}

// executor starts an executor for the case alone, executor NAME LABEL…, kills it as
// kill -9 does, or stops it as a supervisor would.
func (p *player) executor(verb, text string) error {
	name, labels, _ := strings.Cut(text, " ")
	e := p.executors[name]
	switch {
	case verb == "executor" && e == nil && labels != "":
		p.executors[name] = p.Executor("--name", p.c.Namespace()+"-"+name, "--labels", strings.ReplaceAll(labels, " ", ","), "--slots", "4", "--grace", "1s")
	case verb == "executor" || e == nil || labels != "":
		return errors.New("want executor NAME LABEL…, once, and then kill NAME or stop NAME")
	case verb == "kill":
		e.Kill()
	case verb == "stop":
		e.Stop(30 * time.Second)
	}
	return nil
}

// shell runs a command line beside the files of the case, as a user who has
// signed in would.
func (p *player) shell(ctx context.Context, s casefile.Step) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	line, code, err := exitOf(s)
	if err != nil {
		return err
	}
	stdout, stderr, got, err := command(ctx, p.dir, p.filled(line), []string{
		"PATH=" + filepath.Dir(p.synctl) + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + p.dir, "LANG=C.UTF-8", "TZ=UTC",
		"SYNCTL_URL=" + p.URL(), "SYNCTL_TOKEN=" + p.Token, "SYNCTL_NAMESPACE=" + p.c.Namespace(), "SYNCTL_NO_INPUT=1",
	})
	if err != nil {
		return err
	}
	if got != code {
		return fmt.Errorf("exit status %d, want %d\n%s\n%s", got, code, cut(stdout), cut(stderr))
	}
	below := slices.Clone(s.Below)
	for i := range below {
		below[i].Text = p.filled(below[i].Text)
	}
	return checkSession(stdout, stderr, below)
}

// exitOf takes the exit status off that a command line is to have: … # exit 3.
func exitOf(s casefile.Step) (line string, code int, err error) {
	line, text, ok := strings.Cut(s.Text, "# exit ")
	if ok {
		code, err = strconv.Atoi(strings.TrimSpace(text))
	}
	return line, code, err
}

func command(ctx context.Context, dir, line string, env []string) (stdout, stderr string, exit int, err error) {
	var out, say strings.Builder
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &say
	err = cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), say.String(), ended.ExitCode(), nil
	}
	return out.String(), say.String(), 0, err
}
