package command

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// A progress is a run as far as it is known, kept up to date by its events.
type progress struct {
	name string // as people call it
	run  api.Run
	said api.RunState // the state that was told last
	// tasks are in the order of the run; items follow their task.
	tasks []api.Task
}

// A change is something that happened to a run or to one of its tasks.
type change struct {
	task *api.Task // nil: the run
	run  api.Run
}

func sameTask(a, b api.Task) bool {
	if a.Name != b.Name || (a.Index == nil) != (b.Index == nil) {
		return false
	}
	return a.Index == nil || *a.Index == *b.Index
}

// hear takes an event in and says what it changed. The whole run comes again
// after a lost connection: what is known already changes nothing.
func (p *progress) hear(e client.RunEvent) []change {
	var changes []change
	switch {
	case e.Run != nil:
		was := p.said
		tasks := e.Run.Tasks
		p.run = *e.Run
		p.run.Tasks = nil
		for _, t := range tasks {
			changes = append(changes, p.put(t)...)
		}
		if p.run.State == was {
			break
		}
		own := change{run: p.run}
		switch {
		case !ended(p.run.State): // what its tasks did came after
			changes = slices.Insert(changes, 0, own)
			p.said = p.run.State
		case e.Kind == "end": // its last tasks may be told after the run's own end
			changes = append(changes, own)
			p.said = p.run.State
		}
	case e.Task != nil:
		changes = p.put(*e.Task)
	}
	return changes
}

// put takes a task in.
func (p *progress) put(t api.Task) []change {
	i := slices.IndexFunc(p.tasks, func(x api.Task) bool { return sameTask(x, t) })
	if i < 0 {
		at := len(p.tasks)
		if t.Index != nil {
			// Items stand behind their task, by index.
			for j, x := range p.tasks {
				if x.Name == t.Name && (x.Index == nil || *x.Index < *t.Index) {
					at = j + 1
				}
			}
		}
		p.tasks = slices.Insert(p.tasks, at, t)
		if t.State == api.TaskStateWaiting {
			return nil
		}
		return []change{{task: &t}}
	}
	old := p.tasks[i]
	p.tasks[i] = t
	if old.State == t.State && old.Reason == t.Reason && len(old.Attempts) == len(t.Attempts) {
		return nil
	}
	if t.State == api.TaskStateWaiting && t.Reason == "" {
		return nil
	}
	return []change{{task: &t}}
}

func ended(s api.RunState) bool {
	switch s {
	case api.RunStateSucceeded, api.RunStateFailed, api.RunStateCanceled, api.RunStateSkipped:
		return true
	default:
		return false
	}
}

func over(s api.TaskState) bool {
	switch s {
	case api.TaskStateSucceeded, api.TaskStateFailed, api.TaskStateCanceled, api.TaskStateSkipped:
		return true
	default:
		return false
	}
}

// line is a change as a pipe or a log gets it.
func (p *progress) line(ch change, now time.Time) string {
	if ch.task == nil {
		return p.runLine(ch.run, now)
	}
	t := *ch.task
	at := now
	a := lastAttempt(t)
	var facts []string
	switch {
	case t.State == api.TaskStateRunning:
		at = orTime(t.StartedAt, orTime(a.StartedAt, now))
		if a.Executor != "" {
			facts = append(facts, "executor="+a.Executor)
		}
		if a.Number > 0 {
			facts = append(facts, fmt.Sprintf("attempt=%d", a.Number))
		}
	case over(t.State) || t.State == api.TaskStateWaiting:
		if over(t.State) {
			at = orTime(t.EndedAt, now)
		} else {
			at = orTime(a.EndedAt, now)
		}
		if t.Reason != "" && t.Reason != "exit" && t.Reason != string(t.State) {
			facts = append(facts, "reason="+t.Reason)
		}
		if a.ExitCode != nil && *a.ExitCode != 0 {
			facts = append(facts, fmt.Sprintf("exit=%d", *a.ExitCode))
		}
		if len(t.Attempts) > 1 || t.State == api.TaskStateFailed && a.Number > 0 {
			facts = append(facts, fmt.Sprintf("attempt=%d", a.Number))
		}
		if d := took(a.StartedAt, a.EndedAt, now); d != "" && a.EndedAt != nil {
			facts = append(facts, "duration="+strings.ReplaceAll(d, " ", ""))
		}
		if t.Reason == "backoff" && !t.WakeAt.IsZero() {
			facts = append(facts, "until="+instant(t.WakeAt))
		}
	}
	text := fmt.Sprintf("%s %s/%s %s", instant(at), p.name, taskName(t.Name, t.Index, t.Item), t.State)
	for _, f := range facts {
		text += " " + f
	}
	return cleanLine(text)
}

func (p *progress) runLine(run api.Run, now time.Time) string {
	at := now
	var facts []string
	switch {
	case run.State == api.RunStateQueued:
		at = run.CreatedAt
	case run.State == api.RunStateRunning:
		at = orTime(run.StartedAt, now)
	case ended(run.State):
		at = orTime(run.EndedAt, now)
		if d := took(run.StartedAt, run.EndedAt, now); d != "" {
			facts = append(facts, "duration="+strings.ReplaceAll(d, " ", ""))
		}
		if run.Reason != "" && run.Reason != "tasks" && run.Reason != string(run.State) {
			facts = append(facts, "reason="+run.Reason)
		}
		var failed, skipped []string
		for _, t := range p.tasks {
			switch {
			case t.Index != nil:
			case t.State == api.TaskStateFailed:
				failed = append(failed, t.Name)
			case t.State == api.TaskStateSkipped && t.Reason == "upstream":
				skipped = append(skipped, t.Name)
			}
		}
		if len(failed) > 0 {
			facts = append(facts, "failed="+strings.Join(failed, ","))
		}
		if len(skipped) > 0 {
			facts = append(facts, "skipped="+strings.Join(skipped, ","))
		}
	}
	text := fmt.Sprintf("%s %s %s", instant(at), p.name, run.State)
	for _, f := range facts {
		text += " " + f
	}
	return cleanLine(text)
}

func orTime(t *time.Time, otherwise time.Time) time.Time {
	if t == nil || t.IsZero() {
		return otherwise
	}
	return *t
}

// still says what is running, for those who wait without a terminal.
func (p *progress) still(now time.Time) string {
	var parts []string
	for _, t := range p.tasks {
		if t.State == api.TaskStateRunning && t.Items == nil {
			parts = append(parts, taskName(t.Name, t.Index, t.Item)+" "+took(t.StartedAt, nil, now))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	const most = 5
	if n := len(parts); n > most {
		parts = append(parts[:most], fmt.Sprintf("and %d more", n-most))
	}
	return cleanLine(fmt.Sprintf("%s %s still running: %s", instant(now), p.name, strings.Join(parts, ", ")))
}

// patience is how long a task may be ready before that is worth a word.
const patience = 3 * time.Second

// lasts is how long something has lasted, in whole seconds: on a terminal smaller
// ones only flicker.
func lasts(start, end *time.Time, now time.Time) string {
	if start == nil || end != nil {
		return took(start, end, now)
	}
	return took(start, nil, start.Add(max(now.Sub(*start), 0).Truncate(time.Second)))
}

// manyTasks is how many a terminal shows one by one.
const manyTasks = 20

// picture is the run as a terminal shows it, no higher and no wider than that.
func (p *progress) picture(u *ui, now time.Time) []string {
	width, height := u.size()
	if !u.utf8 {
		width -= 8 // ASCII glyphs and dots are longer than what they stand for
	}
	l := lookOfRun(p.run.State, p.run.Reason)
	head := u.mark(l) + " " + p.name
	if text := paramsText(p.run.Params); text != "" {
		head += "  " + text
	}
	right := lasts(p.run.StartedAt, p.run.EndedAt, now)
	if right == "" {
		right = string(p.run.State)
	}
	lines := []string{padded(head, right, width)}

	shown, waiting, finished := p.shown(height - 3)
	names := 0
	for _, t := range shown {
		names = max(names, len([]rune(taskName(t.Name, t.Index, t.Item))))
	}
	names = min(names, max(12, width/2-12))
	for _, t := range shown {
		l := lookOfTask(t)
		text := fmt.Sprintf("  %s %-*s %7s", paint(u.colorErr || u.colorOut, l.shade, u.mark(l)), names, middle(cleanLine(taskName(t.Name, t.Index, t.Item)), names, "…"), p.time(t, now))
		room := width - names - 14
		if words := p.words(t, now); words != "" && room > 10 {
			text += "  " + cutAt(words, room)
		}
		lines = append(lines, strings.TrimRight(text, " "))
	}
	var rest []string
	if finished > 0 {
		rest = append(rest, fmt.Sprintf("%d done", finished))
	}
	if waiting > 0 {
		rest = append(rest, fmt.Sprintf("%d waiting", waiting))
	}
	if len(rest) > 0 {
		lines = append(lines, "  "+u.mark(lookWaiting)+" "+strings.Join(rest, ", "))
	}
	return lines
}

// shown chooses the tasks that a terminal has room for, and counts the others.
func (p *progress) shown(room int) (list []api.Task, waiting, finished int) {
	own := 0
	for _, t := range p.tasks {
		if t.Items == nil {
			own++
		}
	}
	few := own <= manyTasks && own <= room
	for _, t := range p.tasks {
		plainWait := t.State == api.TaskStateWaiting && (t.Reason == "" || t.Reason == "upstream")
		switch {
		case plainWait:
			waiting++
		case t.Index != nil && over(t.State) && t.State != api.TaskStateFailed:
			// Its task counts it.
		case !few && over(t.State) && t.State != api.TaskStateFailed:
			finished++
		case len(list) < max(room-1, 1):
			list = append(list, t)
		case over(t.State):
			finished++
		default:
			waiting++
		}
	}
	return list, waiting, finished
}

func (p *progress) time(t api.Task, now time.Time) string {
	if t.State == api.TaskStateReady || t.State == api.TaskStateWaiting {
		return lasts(t.ReadyAt, nil, now)
	}
	return lasts(t.StartedAt, t.EndedAt, now)
}

func (p *progress) words(t api.Task, now time.Time) string {
	a := lastAttempt(t)
	switch {
	case t.Items != nil:
		text := fmt.Sprintf("%d of %d", t.Items.Total-t.Items.Unfinished, t.Items.Total)
		if t.Items.Failed > 0 {
			text += fmt.Sprintf(", %d failed", t.Items.Failed)
		}
		return text
	case t.State == api.TaskStateRunning:
		text := cleanLine(a.Executor)
		if a.Number > 1 {
			text += fmt.Sprintf("  attempt %d", a.Number)
		}
		return text
	case t.State == api.TaskStateWaiting && t.Reason == "backoff" && t.WakeAt.After(now):
		return "retrying in " + duration((t.WakeAt.Sub(now) + time.Second - 1).Truncate(time.Second))
	case t.State == api.TaskStateReady && (t.ReadyAt == nil || now.Sub(*t.ReadyAt) < patience):
		return "ready" // it would be strange if an executor had it already
	case t.State == api.TaskStateSucceeded:
		return ""
	default:
		return taskWords(t)
	}
}

// padded puts a text at each end of a line.
func padded(left, right string, width int) string {
	room := width - len([]rune(right)) - 3
	left = cutAt(cleanLine(left), room)
	return left + strings.Repeat(" ", max(1, width-1-len([]rune(left))-len([]rune(right)))) + right
}

func cutAt(text string, width int) string {
	if r := []rune(text); len(r) > width && width > 1 {
		return string(r[:width-1]) + "…"
	}
	return text
}
