package command

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

func (c *call) logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Category: groupRun, ArgsUsage: "[RUN] [TASK]",
		Usage:       "the output of a run's tasks",
		Description: "Of the run that this terminal started last, if none is named. A name alone is the newest run.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "stay until the run has ended, and exit with its result"},
			&cli.BoolFlag{Name: "failed", Usage: "only of attempts that failed"},
			&cli.IntFlag{Name: "attempt", Usage: "only of this attempt"},
			&cli.IntFlag{Name: "tail", Usage: "only the last `N` lines of each attempt"},
			&cli.StringFlag{Name: "since", Usage: "only what was written since: 10m, or a time"},
			&cli.StringFlag{Name: "grep", Usage: "only lines that match this regular `EXPR`ession"},
			&cli.BoolFlag{Name: "times", Usage: "with the time of each line"},
			&cli.BoolFlag{Name: "raw", Usage: "the bytes as they were written, of one attempt"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 0, 2)
			if err != nil {
				return err
			}
			o := logsOptions{
				Run: "@last", Follow: x.Bool("follow"), Failed: x.Bool("failed"), Attempt: x.Int("attempt"), Tail: x.Int("tail"), HasTail: x.IsSet("tail"),
				Since: x.String("since"), Grep: x.String("grep"), Times: x.Bool("times"), Raw: x.Bool("raw"),
			}
			if len(args) > 0 {
				o.Run = args[0]
			}
			if len(args) > 1 {
				o.Task = args[1]
			}
			return c.logs(x.Context, o)
		},
	}
}

type logsOptions struct {
	Run, Task                  string
	Follow, Failed, Times, Raw bool
	Attempt, Tail              int
	HasTail                    bool
	Since, Grep                string
}

func (c *call) logs(ctx context.Context, o logsOptions) error {
	r, err := parseRef(o.Run)
	if err != nil {
		return err
	}
	if o.Task != "" {
		if r.Task != "" {
			return usage("%s names a task already", quote(o.Run))
		}
		if err := r.task(o.Run+"/"+o.Task, o.Task); err != nil {
			return err
		}
	}
	if o.Attempt > 0 {
		r.Attempt = o.Attempt
	}
	if o.HasTail && o.Tail < 1 {
		return usage("--tail %d: at least 1", o.Tail)
	}
	if o.Attempt < 0 {
		return usage("--attempt %d: attempts are numbered from 1", o.Attempt)
	}
	k, err := c.clock()
	if err != nil {
		return err
	}
	p := api.FollowLogsParams{Task: r.Task, Attempt: r.Attempt, Failed: o.Failed, Follow: o.Follow}
	if o.Since != "" {
		if p.Since, err = k.parseSince("since", o.Since); err != nil {
			return err
		}
	}
	printer := newLogPrinter(c.ui, r.Task == "" || r.Item == "", o.Times)
	printer.tail, printer.zone = o.Tail, k.zone
	printer.json = c.ui.format == formatJSON
	if o.Grep != "" {
		if printer.grep, err = regexp.Compile(o.Grep); err != nil {
			return usage("--grep %s: %s", quote(o.Grep), sentence(err))
		}
	}
	server, err := c.server()
	if err != nil {
		return err
	}
	at, err := c.runRef(ctx, r)
	if err != nil {
		return err
	}
	run, err := server.Run(ctx, at)
	if err != nil {
		return r.taskHint(err)
	}
	at = exact(at, run)
	name := c.runName(run.Pipeline, run.Number)
	if r.Task != "" {
		if err := c.checkTask(ctx, server, at, &run, r, name); err != nil {
			return err
		}
	}
	if r.Item != "" {
		index, err := c.itemIndex(ctx, server, at, r)
		if err != nil {
			return err
		}
		p.Index = &index
	}
	if o.Raw {
		return c.rawLog(ctx, server, at, r, p.Index)
	}
	// One task without items needs no name in front of each line.
	if r.Task != "" && !slices.ContainsFunc(run.Tasks, func(t api.Task) bool { return t.Name == r.Task && t.Items != nil }) {
		printer.prefix = r.Attempt == 0 && slices.ContainsFunc(run.Tasks, func(t api.Task) bool { return t.Name == r.Task && len(t.Attempts) > 1 })
	}
	err = server.FollowLogs(ctx, at, p, printer.event)
	if err = joinErr(err, printer.flush()); err != nil {
		if o.Follow {
			return c.detached(ctx, err, name)
		}
		return err
	}
	if !o.Follow {
		if printer.lines == 0 && !printer.json {
			c.ui.note("%s", c.noOutput(run, r, o))
		}
		return nil
	}
	if run, err = server.Run(ctx, at); err != nil {
		return err
	}
	l := lookOfRun(run.State, run.Reason)
	c.ui.note("%s %s %s in %s", c.ui.paintErr(l.shade, c.ui.mark(l)), name, run.State, took(run.StartedAt, run.EndedAt, k.now))
	if exit := exitOfRun(run.State); exit != ExitOK {
		return status(exit)
	}
	return nil
}

// checkTask says that there is no such task before an empty log would.
func (c *call) checkTask(ctx context.Context, server *client.Client, at client.RunRef, run *api.Run, r ref, name string) error {
	if err := c.allTasks(ctx, server, at, run); err != nil {
		return err
	}
	var names []string
	for _, t := range run.Tasks {
		if t.Name == r.Task {
			return nil
		}
		names = append(names, t.Name)
	}
	if len(run.Tasks) == 0 {
		return nil // its tasks are not born yet
	}
	e := api.Errorf(api.NotFound, "%s has no task %s", name, quote(r.Task)).WithHint("synctl show %s", name)
	if near := nearest(r.Task, names); near != "" {
		e.Hint = "did you mean " + quote(near) + "?"
	}
	return e
}

// noOutput says why there is nothing to read.
func (c *call) noOutput(run api.Run, r ref, o logsOptions) string {
	for _, t := range run.Tasks {
		if t.Name == r.Task && t.Index == nil && len(t.Attempts) == 0 && t.Items == nil {
			return fmt.Sprintf("%s did not run: %s", cleanLine(t.Name), taskWords(t))
		}
	}
	switch {
	case o.Failed:
		return "no attempt failed"
	case o.Grep != "":
		return "no line matches"
	case !ended(run.State):
		return "no output yet: " + string(run.State) + " → -f to follow"
	default:
		return "no output"
	}
}

// rawLog passes on the bytes of one attempt.
func (c *call) rawLog(ctx context.Context, server *client.Client, at client.RunRef, r ref, index *int) error {
	if r.Task == "" {
		return usage("--raw is for one task").withHint("synctl logs %s/TASK --raw", "RUN")
	}
	from := int64(0)
	for {
		part, err := server.Log(ctx, client.LogRef{RunRef: at, Task: r.Task, Index: index, Attempt: r.Attempt}, from, 0)
		if err != nil {
			return err
		}
		if gap := part.Offset - from; gap > 0 {
			c.ui.note("%s not kept", bytesText(gap))
		}
		if err := c.ui.out(string(part.Data)); err != nil {
			return err
		}
		if part.Next <= from || part.Next >= part.Size {
			return nil
		}
		from = part.Next
	}
}

// A logPrinter makes lines of pieces of output. It is for one goroutine.
type logPrinter struct {
	ui       *ui
	prefix   bool
	times    bool
	json     bool
	toStderr bool
	zone     *time.Location
	tail     int
	grep     *regexp.Regexp

	lines   int
	sources []*logSource // in the order in which they first spoke
	width   int          // of the longest name so far
}

// A logSource is one attempt.
type logSource struct {
	name    string
	task    string
	index   int
	attempt int
	partial string
	at      time.Time
	kept    []string // the last lines, where only those are wanted
}

func newLogPrinter(u *ui, prefix, times bool) *logPrinter {
	return &logPrinter{ui: u, prefix: prefix, times: times, zone: u.env.Local}
}

func (p *logPrinter) source(task string, index *int, item []byte, attempt int) *logSource {
	i := -1
	if index != nil {
		i = *index
	}
	for _, s := range p.sources {
		if s.task == task && s.index == i && s.attempt == attempt {
			return s
		}
	}
	s := &logSource{task: task, index: i, attempt: attempt, name: cleanLine(taskName(task, index, item))}
	if attempt > 1 {
		s.name += fmt.Sprintf(":%d", attempt)
	}
	p.sources = append(p.sources, s)
	p.width = max(p.width, len([]rune(s.name)))
	return s
}

// event prints what an event adds.
func (p *logPrinter) event(e client.LogEvent) error {
	switch {
	case e.Piece != nil && p.json:
		p.lines++
		return p.ui.jsonLine(e.Piece)
	case e.Piece != nil:
		s := p.source(e.Piece.Task, e.Piece.Index, e.Piece.Item, e.Piece.Attempt)
		return p.write(s, e.Piece.Text, e.Piece.At)
	case e.Cut != nil && p.json:
		return p.ui.jsonLine(e.Cut)
	case e.Cut != nil:
		s := p.source(e.Cut.Task, e.Cut.Index, nil, e.Cut.Attempt)
		if err := p.end(s); err != nil {
			return err
		}
		return p.print(s, fmt.Sprintf("-- %s not kept --", bytesText(e.Cut.To-e.Cut.From)), s.at)
	}
	return nil
}

// maxPartial is how long a line may get before it is printed without its end.
const maxPartial = 64 << 10

func (p *logPrinter) write(s *logSource, text string, at time.Time) error {
	s.at = at
	text = s.partial + text
	for {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok {
			break
		}
		if err := p.line(s, line, at); err != nil {
			return err
		}
		text = rest
	}
	s.partial = text
	if len(s.partial) > maxPartial {
		return p.end(s)
	}
	return nil
}

// end prints a line that has no end.
func (p *logPrinter) end(s *logSource) error {
	if s.partial == "" {
		return nil
	}
	line := s.partial
	s.partial = ""
	return p.line(s, line, s.at)
}

func (p *logPrinter) line(s *logSource, line string, at time.Time) error {
	line = logLine(line)
	if p.grep != nil && !p.grep.MatchString(line) {
		return nil
	}
	return p.print(s, line, at)
}

func (p *logPrinter) print(s *logSource, line string, at time.Time) error {
	p.lines++
	head := ""
	if p.prefix {
		head = p.ui.fit(fmt.Sprintf("%s%s | ", s.name, strings.Repeat(" ", p.width-len([]rune(s.name)))))
	}
	if p.times {
		stamp := at.UTC().Format("2006-01-02T15:04:05.000Z")
		if p.ui.env.StdoutTTY {
			stamp = at.In(p.zone).Format("15:04:05.000")
		}
		head += stamp + " "
	}
	line = p.ui.paintOut(dim, head) + line + "\n"
	if p.tail > 0 {
		s.kept = append(s.kept, line)
		if len(s.kept) > 2*p.tail {
			s.kept = slices.Clone(s.kept[len(s.kept)-p.tail:])
		}
		return nil
	}
	if p.toStderr {
		p.ui.raw(line)
		return nil
	}
	return p.ui.out(line)
}

// flush prints what has been held back.
func (p *logPrinter) flush() error {
	for _, s := range p.sources {
		if err := p.end(s); err != nil {
			return err
		}
		for _, line := range s.kept[max(0, len(s.kept)-max(p.tail, 1)):] {
			if err := p.ui.out(line); err != nil {
				return err
			}
		}
		s.kept = nil
	}
	return nil
}

// logLine is a line of output as a terminal may have it: of progress that
// overwrites itself the last state, and nothing that a terminal obeys.
func logLine(line string) string {
	line = strings.TrimRight(line, "\r")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	return clean(line)
}
