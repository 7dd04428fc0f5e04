package command

import (
	"cmp"
	"context"
	"crypto/rand"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func (c *call) approveCommand() *cli.Command {
	return c.answerCommand("approve", "say yes to a task that asks for approval", true)
}

func (c *call) rejectCommand() *cli.Command {
	return c.answerCommand("reject", "say no to a task that asks for approval", false)
}

func (c *call) answerCommand(name, text string, yes bool) *cli.Command {
	return &cli.Command{
		Name: name, Category: groupRun, ArgsUsage: "RUN TASK",
		Usage:       text,
		Description: "RUN/TASK as one word is fine, too. Of two answers the first counts. synctl approvals lists what is asked.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "comment", Usage: "a word kept with the answer"},
			&cli.StringFlag{Name: "key", Usage: "the same `KEY` does it once, however often it is sent"},
		},
		Action: func(x *cli.Context) error {
			args, err := args(x, 1, 2)
			if err != nil {
				return err
			}
			o := answerOptions{Run: args[0], Yes: yes, Comment: x.String("comment"), Key: x.String("key")}
			if len(args) == 2 {
				o.Task = args[1]
			}
			return c.answer(x.Context, o)
		},
	}
}

type answerOptions struct {
	Run, Task    string
	Yes          bool
	Comment, Key string
}

func (c *call) answer(ctx context.Context, o answerOptions) error {
	r, err := parseRef(o.Run)
	if err != nil {
		return err
	}
	switch {
	case r.Pipeline != "" && r.Run == "":
		return usage("%s is a pipeline: which run?", quote(o.Run)).withHint("%s@latest, or one of: synctl approvals", clean(o.Run))
	case o.Task != "" && r.Task != "":
		return usage("the task is given twice: %s and %s", quote(r.Task), quote(o.Task))
	case o.Task == "" && r.Task == "":
		return usage("which task of %s?", quote(o.Run)).withHint("synctl approvals")
	}
	task := cmp.Or(o.Task, r.Task)
	server, err := c.server()
	if err != nil {
		return err
	}
	at, err := c.runRef(ctx, r)
	if err != nil {
		return err
	}
	a, err := server.Answer(ctx, at, task, o.Yes, cmp.Or(o.Key, rand.Text()), api.AnswerRequest{Comment: o.Comment})
	if err != nil {
		return err
	}
	if c.ui.machine() {
		return listed(c, []api.Approval{a}, c.questionName)
	}
	return c.ui.outf("%s %s\n", cleanLine(c.questionName(a)), a.Decision)
}

func (c *call) questionName(a api.Approval) string {
	return c.runName(a.Pipeline, a.Run) + "/" + a.Task
}

// questionFacts are a question, and its answer or, while it is open, who may give
// it and how.
func (c *call) questionFacts(a api.Approval, open bool, k clock) facts {
	var f facts
	for i, line := range strings.Split(strings.TrimSpace(a.Prompt), "\n") {
		f.add(map[bool]string{true: "question"}[i == 0], cleanLine(line))
	}
	f.add("asked", c.moment(k, a.AskedAt))
	if a.Decision != "" {
		text := a.Decision + " by " + cmp.Or(cleanLine(a.DecidedBy), "its time-out") + "  " + c.moment(k, a.DecidedAt)
		if a.Comment != "" {
			text += "  " + quote(a.Comment)
		}
		f.add("answer", text)
	}
	if a.Decision != "" || !open {
		return f
	}
	if !a.DeadlineAt.IsZero() {
		text := c.moment(k, a.DeadlineAt)
		if a.OnTimeout != "" {
			text += ", then it is " + map[bool]string{true: "approved", false: "rejected"}[a.OnTimeout == "approve"]
		}
		f.add("until", text)
	}
	namespace, _ := splitPipeline(a.Pipeline)
	var who []string
	for _, x := range a.Approvers {
		who = append(who, strings.Replace(cleanLine(x), "role:", "role ", 1)+" in "+cleanLine(namespace))
	}
	if !a.MayAnswer {
		who = append(who, "which this token has not")
	}
	f.add("may answer", strings.Join(who, ", "))
	of := cleanLine(c.runName(a.Pipeline, a.Run) + " " + a.Task)
	f.add("to answer", "synctl approve "+of)
	f.add("", "synctl reject "+of)
	return f
}

func (c *call) approvalsCommand() *cli.Command {
	return &cli.Command{
		Name: "approvals", Category: groupRun,
		Usage: "list what waits for a person's approval, oldest first",
		Action: func(x *cli.Context) error {
			if _, err := args(x, 0, 0); err != nil {
				return err
			}
			return c.approvals(x.Context)
		},
	}
}

func (c *call) approvals(ctx context.Context) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	p := api.ListApprovalsParams{Namespace: c.givenNamespace()}
	list, _, err := collect(-1, func(cursor string, n int) ([]api.Approval, string, error) {
		p.Cursor, p.Limit = cursor, n
		page, err := server.Approvals(ctx, p)
		return page.Items, page.Next, err
	}, nil)
	if err != nil {
		return err
	}
	if c.ui.machine() {
		return listed(c, list, c.questionName)
	}
	if len(list) == 0 {
		return c.ui.outf("nothing waits for approval\n")
	}
	for _, a := range list {
		line := c.questionName(a) + "  asked " + instant(a.AskedAt)
		if !a.DeadlineAt.IsZero() {
			line += ", until " + instant(a.DeadlineAt)
		}
		if !a.MayAnswer {
			line += ", not for this token to answer"
		}
		first, rest, _ := strings.Cut(strings.TrimSpace(a.Prompt), "\n")
		if rest != "" {
			first += " …"
		}
		if err := c.ui.outf("%s\n  %s\n", cleanLine(line), cleanLine(first)); err != nil {
			return err
		}
	}
	return nil
}
