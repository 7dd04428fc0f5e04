package conformance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
)

// await waits for a state: run STATE (REASON), or TASK STATE (REASON).
func (p *player) await(ctx context.Context, ref client.RunRef, text string) error {
	name, rest, _ := strings.Cut(text, " ")
	want, err := parseStatus(rest)
	if err != nil {
		return err
	}
	var got status
	if p.soon(ctx, func() bool {
		run, failure := p.whole(ctx, ref)
		if err = failure; err != nil {
			return false
		}
		got = runStatus(run)
		if name != "run" {
			var task api.Task
			if task, err = find(run, name); err != nil {
				return false
			}
			got = taskStatus(task)
		}
		return got.matches(want)
	}) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s is %v after %s, want %v", name, got, p.patience, want)
	}
	return err
}

// ends waits for the end of a run and compares it and all its tasks.
func (p *player) ends(ctx context.Context, ref client.RunRef, text string, below []casefile.Line) error {
	var run api.Run
	var err error
	if !p.soon(ctx, func() bool { run, err = p.Run(ctx, ref); return err == nil && run.EndedAt != nil }) {
		if err == nil {
			run, _ = p.whole(ctx, ref)
			err = fmt.Errorf("it is still %v\n%s", runStatus(run), table(run))
		}
		return err
	}
	if run, err = p.whole(ctx, ref); err != nil {
		return err
	}
	return checkEnd(run, text, below)
}

func checkEnd(run api.Run, text string, below []casefile.Line) error {
	want, err := parseStatus(text)
	if err != nil {
		return err
	}
	if got := runStatus(run); !got.matches(want) {
		return fmt.Errorf("the run is %v, want %v\n%s", got, want, table(run))
	}
	if len(below) == 0 {
		return nil
	}
	return checkTasks(run, below)
}

// table is what became of each task.
func table(run api.Run) string {
	var b strings.Builder
	for _, t := range run.Tasks[:min(len(run.Tasks), 30)] {
		fmt.Fprintf(&b, "  %s  %v%s\n", taskName(t), taskStatus(t), because(t))
	}
	return b.String()
}

// log is: TASK[:ATTEMPT] "part", lacks "part", or is "all".
func (p *player) log(ctx context.Context, ref client.RunRef, text string) error {
	words, err := casefile.Words(text)
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return errors.New(`want TASK "part"`)
	}
	l := client.LogRef{RunRef: ref}
	name, attempt, ok := strings.Cut(words[0], ":")
	if ok {
		if l.Attempt, err = strconv.Atoi(attempt); err != nil {
			return err
		}
	}
	l.Task = name
	if task, index, ok := strings.Cut(name, "["); ok {
		i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
		if err != nil {
			return err
		}
		l.Task, l.Index = task, &i
	}
	var printed []byte
	for part := (client.LogPart{}); ; {
		if part, err = p.Log(ctx, l, part.Next, 0); err != nil {
			return err
		}
		printed = append(printed, part.Data...)
		if len(part.Data) == 0 || part.Next >= part.Size {
			return checkText(string(printed), "the log of "+words[0], words[1:])
		}
	}
}

// runs waits until a pipeline has so many runs: PIPELINE N [STATE (REASON)].
func (p *player) runs(ctx context.Context, text string) error {
	words := strings.SplitN(text, " ", 3)
	if len(words) < 2 {
		return errors.New("want PIPELINE N [STATE (REASON)]")
	}
	want, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	var state *status
	if len(words) == 3 {
		s, err := parseStatus(words[2])
		if err != nil {
			return err
		}
		state = &s
	}
	n := 0
	if p.soon(ctx, func() bool {
		var page api.RunPage
		if page, err = p.Runs(ctx, api.ListRunsParams{Pipeline: p.c.Namespace() + "/" + words[0], Limit: 200}); err != nil {
			return false
		}
		n = 0
		for _, r := range page.Items {
			if state == nil || runStatus(r).matches(*state) {
				n++
			}
		}
		return n == want
	}) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%d runs, want %d", n, want)
	}
	return err
}

// tick waits for rows of the ledger: PIPELINE STATE [(REASON)] [×N], where N is
// how many ticks the rows stand for together, and N+ that many at least; without
// it, one at least.
func (p *player) tick(ctx context.Context, text string) error {
	text, count, exact := strings.Cut(text, "×")
	name, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	want, err := parseStatus(rest)
	if err != nil {
		return err
	}
	wanted := int64(1)
	if exact {
		count, exact = strings.CutSuffix(count, "+")
		exact = !exact
		if wanted, err = strconv.ParseInt(count, 10, 64); err != nil {
			return err
		}
	}
	var found []string
	if p.soon(ctx, func() bool {
		var page api.TickPage
		if page, err = p.Ticks(ctx, p.c.Namespace(), name, api.ListTicksParams{Limit: 200}); err != nil {
			return false
		}
		n := int64(0)
		found = nil
		for _, tick := range page.Items {
			found = append(found, fmt.Sprintf("%s (%s) ×%d", tick.State, tick.Reason, max(1, tick.Ticks)))
			if string(tick.State) == want.state && tick.Reason == want.reason {
				n += max(1, tick.Ticks)
			}
		}
		if exact {
			return n == wanted
		}
		return n >= wanted
	}) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("the ledger has %s", strings.Join(found, ", "))
	}
	return err
}

// backfill waits until the newest backfill of a pipeline stands so: PIPELINE STATE.
func (p *player) backfill(ctx context.Context, text string) error {
	name, want, _ := strings.Cut(text, " ")
	var newest api.Backfill
	var err error
	if p.soon(ctx, func() bool {
		var page api.BackfillPage
		if page, err = p.Backfills(ctx, api.ListBackfillsParams{Pipeline: p.c.Namespace() + "/" + name, Limit: 1}); err != nil || len(page.Items) == 0 {
			return false
		}
		newest = page.Items[0]
		return string(newest.State) == want
	}) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("the backfill is %q, want %s: %d of %d ticks to come, %d under way", newest.State, want, newest.Waiting, newest.Ticks, newest.Open)
	}
	return err
}
