package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// span is the stretch of time that a chart shows.
type span struct {
	from  time.Time
	width time.Duration
}

// share is where an instant lies, as a share of the width.
func (s span) share(t time.Time) float64 {
	return min(1, max(0, float64(t.Sub(s.from))/float64(s.width)))
}

func percent(f float64) string { return strconv.FormatFloat(f*100, 'f', 2, 64) + "%" }

// steps are the distances that marks of a time axis may have.
var steps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour,
}

// axis chooses the stretch that a run's chart shows, in whole steps, so that it
// does not change with every second while the run goes on.
func axis(from, to time.Time, zone *time.Location) (span, []AxisMark) {
	length := max(to.Sub(from), 500*time.Millisecond)
	step := steps[len(steps)-1]
	for _, s := range steps {
		if length <= 8*s {
			step = s
			break
		}
	}
	whole := (length + step - 1) / step * step
	s := span{from, whole}
	var marks []AxisMark
	for at := time.Duration(0); at < whole && len(marks) < 12; at += step {
		label := from.In(zone).Format("15:04:05")
		if at > 0 {
			label = "+" + strings.TrimSuffix(strings.TrimSuffix(duration(at), " 00 s"), " 00 m")
		}
		marks = append(marks, AxisMark{At: percent(float64(at) / float64(whole)), Label: label})
	}
	return s, marks
}

// gantt turns the tasks of a run into rows of one table: names and bars share them.
func gantt(b Base, ref Ref, got app.RunPage, task string, page int) Gantt {
	run := got.Run
	out := Gantt{Zone: b.zone(), Live: run.EndedAt == nil}
	if len(run.Tasks) == 0 {
		switch run.State {
		case api.RunStateQueued:
			out.Empty = "Its tasks appear when it starts."
		default:
			out.Empty = "It has no tasks."
		}
		return out
	}
	from := run.CreatedAt
	switch {
	case run.StartedAt != nil:
		from = *run.StartedAt
	default: // opened again, and queued: from where it had ended
		for _, t := range run.Tasks {
			if n := len(t.Attempts); n > 0 && t.Attempts[n-1].EndedAt != nil && t.Attempts[n-1].EndedAt.After(from) {
				from = *t.Attempts[n-1].EndedAt
			}
		}
	}
	to := b.Now
	if run.EndedAt != nil {
		to = *run.EndedAt
	}
	s, marks := axis(from, to, b.Zone)
	out.Axis = marks
	g := ganttRows{b: b, ref: ref, run: run, span: s, to: to, waits: got.Waits}
	ended := 0
	for _, t := range run.Tasks {
		if t.EndedAt != nil {
			ended++
		}
	}
	out.Total = fmt.Sprintf("%d of %s ended", ended, plural(len(run.Tasks), "task"))
	shown, pages := taskRows(run.Tasks, page)
	if pages > 1 {
		for n := range pages {
			out.Pages = append(out.Pages, Option{Value: ref.Run(run.Number) + query("rows", strconv.Itoa(n+1)), Label: fmt.Sprintf("%d–%d", n*rowsPage+1, min((n+1)*rowsPage, len(run.Tasks))), Chosen: n+1 == page})
		}
		out.Worst = page == 0
	}
	for _, i := range shown {
		t := run.Tasks[i]
		row := g.row(t, fmt.Sprintf("t%d", i), got.Due[t.Name])
		for k, item := range got.Items[t.Name] {
			row.Items = append(row.Items, g.row(item, fmt.Sprintf("t%d-%d", i, k), time.Time{}))
		}
		if t.Items != nil {
			row.Open = task == t.Name
			if shown := len(row.Items); shown > 0 && shown < t.Items.Total && !row.Open {
				row.More, row.MoreText = ref.Run(run.Number)+query("task", t.Name), fmt.Sprintf("all %s items", number(int64(t.Items.Total)))
			} else if row.Open && got.NextItems != "" {
				row.More, row.MoreText = ref.Run(run.Number)+query("task", t.Name, "after", got.NextItems), "more items"
			}
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// rowsPage is how many tasks the page of a run shows.
const rowsPage = 60

// taskRows chooses the tasks to be shown: a page of them, or without one those
// that failed, those at work and those to come before those that are done. They
// stay in their order.
func taskRows(tasks []api.Task, page int) (shown []int, pages int) {
	pages = (len(tasks) + rowsPage - 1) / rowsPage
	var order []int
	for i := range tasks {
		order = append(order, i)
	}
	if pages <= 1 {
		return order, pages
	}
	if page > 0 {
		page = min(page, pages)
		return order[(page-1)*rowsPage : min(page*rowsPage, len(tasks))], pages
	}
	rank := func(t api.Task) int {
		switch {
		case t.State == api.TaskStateFailed:
			return 0
		case t.State == api.TaskStateRunning:
			return 1
		case t.EndedAt == nil:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(order, func(a, b int) int { return rank(tasks[a]) - rank(tasks[b]) })
	order = order[:rowsPage]
	slices.Sort(order)
	return order, pages
}

type ganttRows struct {
	b     Base
	ref   Ref
	run   api.Run
	span  span
	to    time.Time // now, or when the run ended
	waits map[string]string
}

func (g ganttRows) row(t api.Task, id string, due time.Time) GanttRow {
	row := GanttRow{ID: id, Name: t.Name, Look: taskLook(t.State, t.Reason), Why: g.why(t), Finally: t.Finally}
	if t.Index != nil {
		row.Name = "[" + strconv.Itoa(*t.Index) + "] " + valueText(t.Item, 60)
	}
	if t.Items != nil {
		row.Counts = counts(*t.Items)
		if t.EndedAt == nil && t.Items.Total > 0 {
			row.Look = lookRunning
		}
	}
	for _, a := range t.Attempts {
		row.Attempts = append(row.Attempts, AttemptLink{Number: a.Number, Look: attemptLook(a.State, a.Reason), URL: attemptURL(g.ref, g.run.Number, t, a.Number), Took: took(a.StartedAt, a.EndedAt, g.b.Now)})
	}
	if n := len(row.Attempts); n > 0 {
		row.URL = row.Attempts[n-1].URL
	} else if g.run.EndedAt != nil || t.Approval != nil || t.Child != nil {
		row.URL = attemptURL(g.ref, g.run.Number, t, 1) // why it did not run, and what can be done
	}
	if t.Child != nil {
		link := runLink(g.b, *t.Child)
		row.Child = &link
	}
	if t.EndedAt == nil && t.Index == nil && t.Items == nil && (t.State == api.TaskStateWaiting || t.State == api.TaskStateReady) && g.run.EndedAt == nil {
		row.WhyURL = g.ref.Run(g.run.Number) + query("task", t.Name) + "#run-why"
		if t.Approval != nil && t.Reason == "approval" {
			row.WhyURL = "#run-ask"
		}
	}
	g.bars(&row, t, due)
	return row
}

// counts say how the items of a fan-out stand.
func counts(c api.ItemCounts) string {
	if c.Total == 0 {
		return "no items"
	}
	parts := []string{plural(c.Total, "item")}
	for _, p := range []struct {
		n    int
		word string
	}{{c.Failed, "failed"}, {c.Canceled, "canceled"}, {c.Skipped, "skipped"}, {c.Unfinished, "to go"}} {
		if p.n > 0 {
			parts = append(parts, number(int64(p.n))+" "+p.word)
		}
	}
	return strings.Join(parts, " · ")
}

// why says what a task that does not run waits for, or how one ended.
func (g ganttRows) why(t api.Task) string {
	n := len(t.Attempts)
	if t.Items != nil && t.EndedAt == nil {
		return ""
	}
	if t.Approval != nil && t.Approval.Decision != "" && t.EndedAt != nil && t.State != api.TaskStateCanceled && t.Reason != "marked" {
		return answered(*t.Approval)
	}
	switch t.State {
	case api.TaskStateWaiting:
		switch {
		case t.Approval != nil && t.Reason == "approval":
			return "needs approval"
		case t.Child != nil && t.Reason == "child":
			return "waits for its run"
		case t.Index == nil && g.waits[t.Name] != "":
			return g.waits[t.Name]
		case t.Reason == "backoff" && !t.WakeAt.IsZero():
			return "retrying in " + roughly(t.WakeAt.Sub(g.b.Now))
		case t.Detail != "":
			return tidy(cut(t.Detail, 200))
		case t.Reason != "" && t.Reason != "upstream":
			return "waiting: " + strings.ReplaceAll(t.Reason, "_", " ")
		}
		return "waiting" + g.open(t.Needs)
	case api.TaskStateReady:
		return "ready, no free executor"
	case api.TaskStateRunning:
		if n > 0 && t.Attempts[n-1].State != api.AttemptStateRunning {
			return attemptLook(t.Attempts[n-1].State, "").Word + " by " + tidy(cut(t.Attempts[n-1].Executor, 40))
		}
		return ""
	case api.TaskStateFailed:
		if n > 0 {
			return exitWords(t.Attempts[n-1])
		}
		if t.Items != nil {
			return ""
		}
		return tidy(cut(t.Detail, 200))
	case api.TaskStateSkipped:
		if t.Detail != "" {
			return tidy(cut(t.Detail, 200))
		}
		return taskLook(t.State, t.Reason).Word
	case api.TaskStateCanceled:
		return "canceled"
	}
	return ""
}

// open names the needs of a task that have not ended.
func (g ganttRows) open(needs []string) string {
	var names []string
	for _, n := range needs {
		for _, t := range g.run.Tasks {
			if t.Name == n && t.EndedAt == nil {
				names = append(names, n)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	if len(names) > 3 {
		return fmt.Sprintf(" for %s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return " for " + strings.Join(names, ", ")
}

// bars draws what a task did: waited for others, waited for a place, ran.
func (g ganttRows) bars(row *GanttRow, t api.Task, due time.Time) {
	var words []string
	add := func(kind, hue string, from, to time.Time, url, label string) {
		if !to.After(from) && kind != "run" {
			return
		}
		x, end := g.span.share(from), g.span.share(to)
		row.Bars = append(row.Bars, GanttBar{Kind: kind, Hue: hue, X: percent(x), Width: percent(max(end-x, 0)), URL: url, Label: label})
		words = append(words, label)
	}
	began := g.span.from
	switch {
	case t.Index != nil:
	case !due.IsZero() && t.State != api.TaskStateSkipped:
		add("upstream", "neutral", began, due, "", "waited on upstream "+duration(due.Sub(began)))
	case t.EndedAt == nil && t.State == api.TaskStateWaiting && len(t.Attempts) == 0:
		add("upstream", "neutral", began, g.to, "", "waiting on upstream")
	}
	at := due
	if t.Items != nil && len(t.Attempts) == 0 {
		if !due.IsZero() {
			end := g.to
			if t.EndedAt != nil {
				end = *t.EndedAt
			}
			add("run", row.Look.Hue, due, end, "", row.Look.Word+" "+duration(end.Sub(due)))
			row.Took = duration(end.Sub(due))
		}
	}
	early := 0
	for i, a := range t.Attempts {
		if a.EndedAt != nil && !a.EndedAt.After(began) {
			early++ // before the run was opened again
			words = append(words, fmt.Sprintf("attempt %d %s before it ran again", a.Number, attemptLook(a.State, a.Reason).Word))
			continue
		}
		if !at.IsZero() {
			kind, word := "gate", "waited for a place "
			if i > early {
				kind, word = "backoff", "waited to retry "
			}
			add(kind, "neutral", at, a.ClaimedAt, "", word+duration(a.ClaimedAt.Sub(at)))
		}
		start, end := a.ClaimedAt, g.b.Now
		if a.StartedAt != nil {
			start = *a.StartedAt
		}
		if a.EndedAt != nil {
			end = *a.EndedAt
		}
		look := attemptLook(a.State, a.Reason)
		add("run", look.Hue, start, end, row.Attempts[i].URL, fmt.Sprintf("attempt %d %s %s", a.Number, look.Word, duration(end.Sub(start))))
		at = end
	}
	if t.EndedAt == nil && !at.IsZero() && (t.State == api.TaskStateReady || t.State == api.TaskStateWaiting) && t.Items == nil {
		add("gate", "neutral", at, g.to, "", "waiting "+duration(g.to.Sub(at)))
	}
	if t.EndedAt != nil && !due.IsZero() && len(t.Attempts) == 0 && (t.Approval != nil || t.Child != nil) {
		if t.Child != nil {
			add("run", row.Look.Hue, due, *t.EndedAt, "", "its run took "+duration(t.EndedAt.Sub(due)))
		} else {
			add("gate", "neutral", due, *t.EndedAt, "", "waited for an answer "+duration(t.EndedAt.Sub(due)))
		}
		row.Took = duration(t.EndedAt.Sub(due))
	}
	if n := len(t.Attempts); n > 0 {
		if early == n {
			early = 0 // it did not run again
		}
		first, last := t.Attempts[early], t.Attempts[n-1]
		start := first.ClaimedAt
		if first.StartedAt != nil {
			start = *first.StartedAt
		}
		row.Took = took(&start, last.EndedAt, g.b.Now)
	}
	row.Label = strings.Join(words, ", ")
}
