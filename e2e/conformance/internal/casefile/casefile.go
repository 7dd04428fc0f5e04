// Package casefile reads the cases of the conformance suite: Markdown whose
// fenced blocks are pipeline files and steps.
package casefile

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Case is one file: prose, and blocks in the order in which they count.
type Case struct {
	Path    string // needs/failed_stops.md
	Title   string
	Blocks  []Block
	Secrets []string // NAME=VALUE, for the file of the executors
	Fails   string   // what the case fails with, of a case that tests the runner
}

// Name is the path without its ending: the name of the test.
func (c *Case) Name() string { return strings.TrimSuffix(c.Path, ".md") }

// Subject is the folder that the case lies in.
func (c *Case) Subject() string { return path.Dir(c.Path) }

// Namespace is the one that the case has for itself.
func (c *Case) Namespace() string { return strings.NewReplacer("/", "-", "_", "-").Replace(c.Name()) }

// A Block is a file of the case, or steps.
type Block struct {
	File  string // "": steps
	Text  string
	Line  int // of its first line
	Steps []Step
}

// A Step is one line of steps, with what is indented below it.
type Step struct {
	Line  int
	Verb  string
	Text  string // the rest of the line
	Below []Line
}

// A Line is one line of a file.
type Line struct {
	Line int
	Text string
}

// verbs are the words that a step may begin with; true: lines may stand below.
var verbs = map[string]bool{
	"register": false, "refused": false, "warned": false, "unregistered": false,
	"run": false, "error": false, "await": false, "ends": true,
	"attempts": false, "outputs": false, "params": false, "log": false, "order": false, "never": false, "together": false,
	"runs": false, "tick": false, "backfill": false, "downtime": false, "aged": false, "cancel": false, "touch": false,
	"executor": false, "kill": false, "stop": false,
	"$": true, "server": false,
}

// ReadAll reads every case below the top of fsys.
func ReadAll(fsys fs.FS) ([]*Case, error) {
	names, err := fs.Glob(fsys, "*/*.md")
	if err != nil {
		return nil, fmt.Errorf("find cases: %w", err)
	}
	slices.Sort(names)
	var all []*Case
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read a case: %w", err)
		}
		c, err := Parse(name, string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// Parse reads one case. Whatever it does not know is an error.
func Parse(name, text string) (*Case, error) {
	c := &Case{Path: name}
	var info string // of the block that is open
	var body []Line
	open, prose := 0, 0
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == 0:
			info, open, body = strings.TrimSpace(fence), n, nil
		case isFence:
			if err := c.add(info, open+1, body); err != nil {
				return nil, err
			}
			open = 0
		case open > 0:
			body = append(body, Line{n, line})
		case c.Title == "":
			title, ok := strings.CutPrefix(line, "# ")
			if !ok {
				return nil, c.wrong(n, "a case begins with its title: # What it shows")
			}
			c.Title = title
		case strings.TrimSpace(line) != "":
			prose++
		}
	}
	switch {
	case open > 0:
		return nil, c.wrong(open, "the block is not closed")
	case prose == 0:
		return nil, c.wrong(1, "no word says which rule this shows, and why it is so")
	case !slices.ContainsFunc(c.Blocks, func(b Block) bool { return b.File == "" }):
		return nil, c.wrong(1, "no steps")
	}
	return c, nil
}

// add takes a block.
func (c *Case) add(info string, line int, body []Line) error {
	kind, name, _ := strings.Cut(info, " ")
	texts := make([]string, len(body))
	for i, l := range body {
		texts[i] = l.Text
	}
	text := strings.Join(texts, "\n") + "\n"
	switch {
	case info == "steps":
		steps, err := c.steps(body)
		if err != nil {
			return err
		}
		c.Blocks = append(c.Blocks, Block{Line: line, Steps: steps})
	case info == "secrets":
		for _, l := range body {
			if key, value, ok := strings.Cut(l.Text, "="); !ok || key == "" || value == "" {
				return c.wrong(l.Line, "a secret is NAME=VALUE")
			}
			c.Secrets = append(c.Secrets, l.Text)
		}
	case info == "fails":
		c.Fails = strings.TrimSpace(text)
	case name != "" && name == path.Base(name) && !strings.Contains(name, " ") && (kind == "yaml" || kind == "json" || kind == "sh" || kind == "text"):
		c.Blocks = append(c.Blocks, Block{File: name, Text: text, Line: line})
	default:
		return c.wrong(line-1, "a block is steps, secrets, or a file: yaml NAME.yaml; found %q", info)
	}
	return nil
}

func (c *Case) steps(body []Line) ([]Step, error) {
	var steps []Step
	for _, l := range body {
		text := strings.TrimSpace(l.Text)
		below := strings.HasPrefix(l.Text, " ") || strings.HasPrefix(text, ">") || strings.HasPrefix(text, "2>") || strings.HasPrefix(text, "!>")
		switch {
		case text == "" || strings.HasPrefix(l.Text, "#"):
			continue
		case below && (len(steps) == 0 || !verbs[steps[len(steps)-1].Verb]):
			return nil, c.wrong(l.Line, "nothing above takes lines below it")
		case below:
			s := &steps[len(steps)-1]
			s.Below = append(s.Below, Line{l.Line, text})
			continue
		}
		verb, rest, _ := strings.Cut(text, " ")
		if _, ok := verbs[verb]; !ok {
			return nil, c.wrong(l.Line, "no step is called %q", verb)
		}
		steps = append(steps, Step{Line: l.Line, Verb: verb, Text: strings.TrimSpace(rest)})
	}
	if len(steps) == 0 {
		return nil, c.wrong(1, "a block of steps without any")
	}
	return steps, nil
}

func (c *Case) wrong(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", c.Path, line, fmt.Sprintf(format, args...))
}

// Words splits a line at spaces. "…" is one word, with \" and \n as in Go; the
// quotes may also stand inside a word: name="two words".
func Words(text string) ([]string, error) {
	var words []string
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		var word strings.Builder
		for text != "" && text[0] != ' ' {
			if text[0] != '"' {
				word.WriteByte(text[0])
				text = text[1:]
				continue
			}
			quoted, err := strconv.QuotedPrefix(text)
			if err != nil {
				return nil, fmt.Errorf("a quote that is not closed: %s", text)
			}
			plain, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", quoted, err)
			}
			word.WriteString(plain)
			text = text[len(quoted):]
		}
		words = append(words, word.String())
	}
	return words, nil
}
