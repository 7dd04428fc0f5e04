package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// patience is how long a step waits for what it wants. Nothing is timed: the
// machine may be busy.
const patience = 90 * time.Second

// A player plays one case on the server.
type player struct {
	*world
	c     *casefile.Case
	dir   string // of its files
	files []string

	fresh bool                     // a file has changed since the last register
	refs  map[string]client.RunRef // by name
	made  []client.RunRef          // in order
	last  client.RunRef            // the run that steps speak of

	executors map[string]*programs.Service // of the case alone, by name

	err      error // of the step before, if it may be expected
	warnings []api.Finding
	patience time.Duration // of the step that is played
}

// play plays a case and says where it does not hold.
func (w *world) play(t *testing.T, c *casefile.Case) error {
	p := &player{world: w, c: c, dir: t.TempDir(), refs: map[string]client.RunRef{}, executors: map[string]*programs.Service{}}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	defer p.clear(context.WithoutCancel(ctx))
	w.files.serve(c.Namespace(), p.dir)
	if err := p.write(".synctl.toml", fmt.Sprintf("source = %q\n", c.Namespace())); err != nil {
		return err
	}
	for i, b := range c.Blocks {
		if b.File != "" {
			if err := p.write(b.File, p.filled(b.Text)); err != nil {
				return err
			}
			if ext := filepath.Ext(b.File); ext == ".yaml" && !slices.Contains(p.files, b.File) {
				p.files = append(p.files, b.File)
			}
			p.fresh = true
			continue
		}
		if err := p.steps(ctx, b.Steps, c.Fails != "" && i == len(c.Blocks)-1); err != nil {
			return err
		}
	}
	return nil
}

// clear ends what the case has left: its runs, and the ticks of its schedules.
func (p *player) clear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_ = p.touch("go")
	for _, e := range p.executors {
		e.Kill()
	}
	pipelines, err := p.Pipelines(ctx, api.ListPipelinesParams{Namespace: p.c.Namespace(), Limit: 200})
	if err != nil {
		return // the case itself says what is wrong
	}
	for _, x := range pipelines.Items {
		if len(x.Schedules) > 0 && x.Paused == nil {
			_, _ = p.Pause(ctx, x.Namespace, x.Name, api.PauseRequest{Reason: "the case is over"})
		}
	}
	for range 2 {
		runs, err := p.Runs(ctx, api.ListRunsParams{Namespace: p.c.Namespace(), State: []api.RunState{api.RunStateQueued, api.RunStateRunning}, Limit: 200})
		if err != nil {
			return
		}
		for _, r := range runs.Items {
			_, name, _ := strings.Cut(r.Pipeline, "/")
			_, _ = p.Cancel(ctx, client.RunRef{Namespace: p.c.Namespace(), Pipeline: name, Run: strconv.FormatInt(r.Number, 10)}, api.CancelRequest{Reason: "the case is over"})
		}
	}
}

// filled puts in what only the player knows.
func (p *player) filled(text string) string {
	return strings.NewReplacer("@DIR@", p.dir, "@NS@", p.c.Namespace(), "@HTTP@", p.world.files.url+"/"+p.c.Namespace()).Replace(text)
}

func (p *player) write(name, text string) error {
	return os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600)
}

func (p *player) touch(name string) error { return p.write(name, "") }

// expecting are the steps that take the error of the step before.
var expecting = []string{"error", "refused"}

// steps plays a block of steps. If the last of them is there to fail, nobody has
// to wait for what never comes.
func (p *player) steps(ctx context.Context, steps []casefile.Step, fails bool) error {
	if first := steps[0].Verb; p.fresh && first != "register" && first != "unregistered" {
		if err := p.register(ctx, ""); err != nil {
			return fmt.Errorf("%s:%d: register: %w\n%s", p.c.Path, steps[0].Line, err, findings(err))
		}
	}
	p.fresh = false
	refused := 0
	for i, s := range steps {
		s.Text = p.filled(s.Text)
		p.patience = patience
		if fails && i == len(steps)-1 {
			p.patience = 2 * time.Second
		}
		if !slices.Contains(expecting, s.Verb) {
			p.err = nil
		}
		err := p.step(ctx, s)
		next := ""
		if i+1 < len(steps) {
			next = steps[i+1].Verb
		}
		if _, ok := errors.AsType[*api.Error](err); ok && slices.Contains(expecting, next) {
			p.err, err = err, nil
		}
		if s.Verb == "refused" {
			refused++
			if n := problems(p.err); err == nil && next != "refused" && n != refused {
				err = fmt.Errorf("%d problems are found, and %d are told of\n%s", n, refused, findings(p.err))
			}
		} else {
			refused = 0
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %s %s: %w\n%s", p.c.Path, s.Line, s.Verb, s.Text, err, findings(err))
		}
	}
	return nil
}

// step plays one step.
func (p *player) step(ctx context.Context, s casefile.Step) error {
	switch s.Verb {
	case "unregistered", "server":
		return nil
	case "register":
		return p.register(ctx, s.Text)
	case "run":
		return p.run(ctx, s.Text)
	case "error":
		return checkError(p.err, s.Text)
	case "refused":
		e, ok := errors.AsType[*api.Error](p.err)
		if !ok {
			return errors.New("it is accepted")
		}
		return checkFinding(e.Problems, api.FindingSeverityError, s.Text)
	case "warned":
		return checkFinding(p.warnings, api.FindingSeverityWarning, s.Text)
	case "runs":
		return p.runs(ctx, s.Text)
	case "tick":
		return p.tick(ctx, s.Text)
	case "downtime":
		return p.downtime(ctx, s.Text)
	case "backfill":
		return p.backfill(ctx, s.Text)
	case "touch":
		return p.touch(s.Text)
	case "executor", "kill", "stop":
		return p.executor(s.Verb, s.Text)
	case "$":
		return p.shell(ctx, s)
	}
	refs, text, err := p.chosen(ctx, s.Text)
	if err != nil {
		return err
	}
	switch s.Verb {
	case "await":
		return p.await(ctx, refs[0], text)
	case "ends":
		return p.ends(ctx, refs[0], text, s.Below)
	case "cancel":
		_, err := p.Cancel(ctx, refs[0], api.CancelRequest{Reason: text})
		return err
	case "log":
		return p.log(ctx, refs[0], text)
	case "aged":
		return p.aged(ctx, refs[0], text)
	}
	var runs []api.Run
	for _, ref := range refs {
		run, err := p.whole(ctx, ref)
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	return expectation(s.Verb, text, runs)
}

// expectation checks what is known of runs, here and locally.
func expectation(verb, text string, runs []api.Run) error {
	words, err := casefile.Words(text)
	if err != nil {
		return err
	}
	switch verb {
	case "attempts":
		return checkAttempts(runs[0], text)
	case "outputs":
		return checkOutputs(runs[0], text)
	case "params":
		return checkValues(runs[0].Params, text, "params")
	case "order":
		return checkOrder(runs[0], text)
	case "never":
		return checkNever(runs, words)
	case "together":
		return checkTogether(runs, words)
	}
	return fmt.Errorf("nobody knows how to %s", verb)
}

// chosen takes the runs off that a step names with @; none: the last one.
func (p *player) chosen(ctx context.Context, text string) ([]client.RunRef, string, error) {
	var refs []client.RunRef
	for strings.HasPrefix(text, "@") {
		word, rest, _ := strings.Cut(text, " ")
		ref, err := p.named(ctx, word[1:])
		if err != nil {
			return nil, "", err
		}
		refs, text = append(refs, ref), strings.TrimSpace(rest)
	}
	if len(refs) == 0 {
		refs = []client.RunRef{p.last}
	}
	if refs[0].Pipeline == "" {
		return nil, "", errors.New("no run is meant: none was asked for yet")
	}
	p.last = refs[0]
	return refs, text, nil
}

// named is a run by the name that a step gave it, or as pipeline or pipeline#2,
// which it waits for.
func (p *player) named(ctx context.Context, name string) (client.RunRef, error) {
	if ref, ok := p.refs[name]; ok {
		return ref, nil
	}
	pipeline, number, ok := strings.Cut(name, "#")
	if !ok {
		number = "latest"
	}
	ref := client.RunRef{Namespace: p.c.Namespace(), Pipeline: pipeline, Run: number}
	var run api.Run
	var err error
	if !p.soon(ctx, func() bool { run, err = p.Run(ctx, ref); return err == nil }) {
		return ref, fmt.Errorf("wait for the run @%s: %w", name, err)
	}
	ref.Run = strconv.FormatInt(run.Number, 10)
	return ref, nil
}

// soon waits until a condition holds.
func (p *player) soon(ctx context.Context, holds func() bool) bool {
	deadline := time.Now().Add(p.patience)
	for wait := 20 * time.Millisecond; ; wait = min(wait*5/4, 250*time.Millisecond) {
		if holds() {
			return true
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return false
		}
		time.Sleep(wait)
	}
}

// whole is a run with all its tasks.
func (p *player) whole(ctx context.Context, ref client.RunRef) (api.Run, error) {
	run, err := p.Run(ctx, ref)
	for cursor := run.NextTasks; err == nil && cursor != ""; {
		var page api.TaskPage
		if page, err = p.Tasks(ctx, ref, api.ListTasksParams{Cursor: cursor}); err == nil {
			run.Tasks, cursor = append(run.Tasks, page.Items...), page.Next
		}
	}
	return run, err
}
