package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
)

// A status is how something stands: failed (exit 3).
type status struct {
	state, reason string
	code          *int
}

var statusForm = regexp.MustCompile(`^([a-z_]+)(?: \(([a-z_]+)(?: (\d+))?\))?$`)

func parseStatus(text string) (status, error) {
	m := statusForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return status{}, fmt.Errorf("%q is no state with a reason, as in: failed (exit 3)", text)
	}
	s := status{state: m[1], reason: m[2]}
	if m[3] != "" {
		code, err := strconv.Atoi(m[3])
		if err != nil {
			return status{}, err
		}
		s.code = &code
	}
	return s, nil
}

func (s status) String() string {
	switch {
	case s.code != nil && s.reason != "":
		return fmt.Sprintf("%s (%s %d)", s.state, s.reason, *s.code)
	case s.reason != "":
		return fmt.Sprintf("%s (%s)", s.state, s.reason)
	}
	return s.state
}

// matches tells whether something stands as wanted; an exit code only counts
// where one is wanted.
func (s status) matches(want status) bool {
	if want.code != nil && (s.code == nil || *s.code != *want.code) {
		return false
	}
	return s.state == want.state && s.reason == want.reason
}

func runStatus(run api.Run) status { return status{state: string(run.State), reason: run.Reason} }

func taskStatus(t api.Task) status {
	s := status{state: string(t.State), reason: t.Reason}
	if n := len(t.Attempts); n > 0 {
		s.code = t.Attempts[n-1].ExitCode
	}
	return s
}

func attemptStatus(a api.Attempt) status {
	return status{string(a.State), a.Reason, a.ExitCode}
}

func taskName(t api.Task) string {
	if t.Index == nil {
		return t.Name
	}
	return fmt.Sprintf("%s[%d]", t.Name, *t.Index)
}

// find gives a task or an item.
func find(run api.Run, name string) (api.Task, error) {
	for _, t := range run.Tasks {
		if taskName(t) == name {
			return t, nil
		}
	}
	return api.Task{}, fmt.Errorf("the run has no task %s", name)
}

// spread gives what runs for the names: a task, or all its items; * is everything.
func spread(run api.Run, names []string) ([]api.Task, error) {
	var all []api.Task
	for _, name := range names {
		n := len(all)
		for _, t := range run.Tasks {
			if name == "*" || t.Name == name || taskName(t) == name {
				all = append(all, t)
			}
		}
		if len(all) == n {
			return nil, fmt.Errorf("the run has no task %s", name)
		}
	}
	return all, nil
}

var taskForm = regexp.MustCompile(`^(\S+)\s+(.+?)(?: after (\d+) attempts?)?$`)

// checkTasks compares all tasks of a run with lines. Each task has a line; items
// need none, and name[*] stands for all of them.
func checkTasks(run api.Run, lines []casefile.Line) error {
	named := map[string]bool{}
	for _, line := range lines {
		m := taskForm.FindStringSubmatch(line.Text)
		if m == nil {
			return fmt.Errorf("line %d: want TASK STATE (REASON), found %q", line.Line, line.Text)
		}
		want, err := parseStatus(m[2])
		if err != nil {
			return fmt.Errorf("line %d: %w", line.Line, err)
		}
		var found []api.Task
		for _, t := range run.Tasks {
			if base, all := strings.CutSuffix(m[1], "[*]"); taskName(t) == m[1] || all && t.Name == base && t.Index != nil {
				found = append(found, t)
			}
		}
		if len(found) == 0 {
			return fmt.Errorf("line %d: the run has no task %s", line.Line, m[1])
		}
		named[m[1]] = true
		for _, t := range found {
			if got := taskStatus(t); !got.matches(want) {
				return fmt.Errorf("line %d: %s is %v, want %v%s", line.Line, taskName(t), got, want, because(t))
			}
			if m[3] != "" && strconv.Itoa(len(t.Attempts)) != m[3] {
				return fmt.Errorf("line %d: %s has %d attempts, want %s", line.Line, taskName(t), len(t.Attempts), m[3])
			}
		}
	}
	for _, t := range run.Tasks {
		if t.Index == nil && !named[t.Name] {
			return fmt.Errorf("nothing is said of task %s, which is %v", t.Name, taskStatus(t))
		}
	}
	return nil
}

// because is what a task says about its state.
func because(t api.Task) string {
	text := t.Detail
	if n := len(t.Attempts); n > 0 && text == "" {
		text = t.Attempts[n-1].Detail
	}
	if text != "" {
		text = ": " + text
	}
	return text
}

// checkAttempts is: TASK: STATE (REASON), STATE (REASON) …
func checkAttempts(run api.Run, text string) error {
	name, list, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf("want TASK: STATE (REASON), …")
	}
	t, err := find(run, name)
	if err != nil {
		return err
	}
	wants := strings.Split(list, ",")
	if strings.TrimSpace(list) == "none" {
		wants = nil
	}
	if len(wants) != len(t.Attempts) {
		return fmt.Errorf("%s has %d attempts, want %d", name, len(t.Attempts), len(wants))
	}
	for i, text := range wants {
		want, err := parseStatus(text)
		if err != nil {
			return err
		}
		if got := attemptStatus(t.Attempts[i]); !got.matches(want) {
			return fmt.Errorf("attempt %d of %s is %v, want %v", i+1, name, got, want)
		}
	}
	return nil
}

// checkOutputs is: {…} of the run, or TASK {…}.
func checkOutputs(run api.Run, text string) error {
	name, list, ok := strings.Cut(text, "{")
	if !ok {
		return fmt.Errorf("want a JSON object")
	}
	got, what := run.Outputs, "the run"
	if name = strings.TrimSpace(name); name != "" {
		t, err := find(run, name)
		if err != nil {
			return err
		}
		got, what = t.Outputs, name
	}
	return checkValues(got, "{"+list, "outputs of "+what)
}

// checkValues compares all values with a JSON object.
func checkValues(got api.Values, text, what string) error {
	want, err := decode([]byte(text))
	if err != nil {
		return err
	}
	whole, err := json.Marshal(got)
	if err != nil {
		return err
	}
	found, err := decode(whole)
	if err != nil {
		return err
	}
	if m, ok := found.(map[string]any); !ok || m == nil {
		found = map[string]any{}
	}
	if diff := cmp.Diff(want, found); diff != "" {
		return fmt.Errorf("%s are %s, want %s", what, whole, text)
	}
	return nil
}

// decode reads JSON and leaves numbers as they are written.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return v, nil
}

// A stretch is the time in which an attempt ran.
type stretch struct {
	of       string
	from, to time.Time
}

func stretches(tasks []api.Task) []stretch {
	var all []stretch
	for _, t := range tasks {
		for _, a := range t.Attempts {
			if a.StartedAt != nil && a.EndedAt != nil {
				all = append(all, stretch{taskName(t), *a.StartedAt, *a.EndedAt})
			}
		}
	}
	return all
}

// checkOrder is: a < b < c, each ended before the next began.
func checkOrder(run api.Run, text string) error {
	var before []stretch
	for name := range strings.SplitSeq(text, "<") {
		tasks, err := spread(run, []string{strings.TrimSpace(name)})
		if err != nil {
			return err
		}
		ran := stretches(tasks)
		if len(ran) == 0 {
			return fmt.Errorf("%s never ran", strings.TrimSpace(name))
		}
		for _, a := range before {
			for _, b := range ran {
				if b.from.Before(a.to) {
					return fmt.Errorf("%s began at %s, before %s ended at %s", b.of, clock(b.from), a.of, clock(a.to))
				}
			}
		}
		before = ran
	}
	return nil
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// width is how many of them ran at once, at most.
func width(all []stretch) int {
	most := 0
	for _, a := range all {
		n := 0
		for _, b := range all {
			if !b.from.After(a.from) && b.to.After(a.from) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// checkNever is: more than N of TASK…
func checkNever(runs []api.Run, words []string) error {
	if len(words) < 5 || words[0] != "more" || words[1] != "than" || words[3] != "of" {
		return fmt.Errorf("want: never more than N of TASK…")
	}
	limit, err := strconv.Atoi(words[2])
	if err != nil {
		return err
	}
	all, err := ran(runs, words[4:])
	if err != nil {
		return err
	}
	if len(all) <= limit {
		return fmt.Errorf("only %d ran: this shows nothing", len(all))
	}
	if n := width(all); n > limit {
		return fmt.Errorf("%d ran at once, want %d at most", n, limit)
	}
	return nil
}

// checkTogether is: TASK TASK…, all of which ran at one moment.
func checkTogether(runs []api.Run, words []string) error {
	all, err := ran(runs, words)
	if err != nil {
		return err
	}
	if n := width(all); n < 2 || n < len(all) {
		return fmt.Errorf("%d of %d ran at once, want all", n, len(all))
	}
	return nil
}

func ran(runs []api.Run, names []string) ([]stretch, error) {
	var all []stretch
	for _, run := range runs {
		tasks, err := spread(run, names)
		if err != nil {
			return nil, err
		}
		all = append(all, stretches(tasks)...)
	}
	return all, nil
}

// checkText is: "part", lacks "part", or is "all".
func checkText(got, what string, words []string) error {
	switch {
	case len(words) == 1 && !strings.Contains(got, words[0]):
		return fmt.Errorf("%s does not say %q:\n%s", what, words[0], cut(got))
	case len(words) == 2 && words[0] == "lacks" && strings.Contains(got, words[1]):
		return fmt.Errorf("%s says %q:\n%s", what, words[1], cut(got))
	case len(words) == 2 && words[0] == "is" && got != words[1]:
		return fmt.Errorf("%s is %q, want %q", what, cut(got), words[1])
	case len(words) != 1 && (len(words) != 2 || !slices.Contains([]string{"lacks", "is"}, words[0])):
		return fmt.Errorf(`want "part", lacks "part", or is "all"`)
	}
	return nil
}

// cut shortens what was printed for a message.
func cut(text string) string {
	const most = 2000
	if len(text) <= most {
		return text
	}
	return text[:most/2] + "\n…\n" + text[len(text)-most/2:]
}

// checkSession compares what a command printed with the lines below it, which
// must come in this order.
func checkSession(stdout, stderr string, lines []casefile.Line) error {
	rest := map[string]string{">": stdout, "2>": stderr}
	for _, line := range lines {
		mark, want, _ := strings.Cut(line.Text, " ")
		want = strings.TrimSpace(want)
		switch mark {
		case ">", "2>":
			_, after, ok := strings.Cut(rest[mark], want)
			if !ok {
				return fmt.Errorf("line %d: %q is not printed, or not in this order:\n%s\n%s", line.Line, want, cut(stdout), cut(stderr))
			}
			rest[mark] = after
		case "!>":
			if strings.Contains(stdout+stderr, want) {
				return fmt.Errorf("line %d: %q is printed:\n%s\n%s", line.Line, want, cut(stdout), cut(stderr))
			}
		default:
			return fmt.Errorf("line %d: below a command stand > what is printed, 2> on standard error, !> not at all", line.Line)
		}
	}
	return nil
}
