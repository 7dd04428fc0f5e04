package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// Base is what every page has.
type Base struct {
	Title  string
	Symbol string // glyph of the state, in front of the title
	Nav    string // the entry of the header that this page belongs to
	Path   string // of this page, with its query
	Who    string // who is signed in; empty: nobody
	Signed bool   // by a session, which can be ended
	Zone   *time.Location
	Now    time.Time
	Theme  string // light, dark; empty: as the system has it
	Keys   bool   // single-key shortcuts work
	Many   bool   // there is more than one namespace
	JSON   string // this page's address in the API; empty: it has none
	Live   string // this page's stream; empty: it has none
	// Command does in a terminal what this page shows.
	Command string
	Flash   string
	Assets  *assets
	Version string
}

// A Ref names a pipeline on pages.
type Ref struct {
	Namespace, Name string
	Many            bool
}

// String is the name as it is shown: with its namespace where there are several.
func (r Ref) String() string {
	if r.Many {
		return r.Namespace + "/" + r.Name
	}
	return r.Name
}

// Command is the name as it is typed.
func (r Ref) Command() string {
	if r.Namespace != "default" {
		return r.Namespace + "/" + r.Name
	}
	return r.Name
}

// URL is the pipeline's page, or one below it.
func (r Ref) URL(below ...string) string {
	u := "/p/" + url.PathEscape(r.Namespace) + "/" + url.PathEscape(r.Name)
	for _, b := range below {
		u += "/" + url.PathEscape(b)
	}
	return u
}

// Run is the page of one of its runs.
func (r Ref) Run(number int64, below ...string) string {
	return r.URL(append([]string{fmt.Sprint(number)}, below...)...)
}

func refOf(pipeline string, many bool) Ref {
	ns, name, _ := strings.Cut(pipeline, "/")
	return Ref{ns, name, many}
}

// A May says whether the reader may do something, and what is missing if not.
type May struct {
	OK      bool
	Missing string
}

func may(by app.Actor, role api.Role, namespace string) May {
	if by.May(role, namespace) {
		return May{OK: true}
	}
	return May{Missing: fmt.Sprintf("needs role %s in %s, %s has %s", role, namespace, by.Name, by.Role)}
}

// PipelinesPage is the list of pipelines.
type PipelinesPage struct {
	Base
	Q, State string
	States   []Option
	List     PipelineList
}

// Filtered tells whether a filter is set.
func (p PipelinesPage) Filtered() bool { return p.Q != "" || p.State != "" }

// An Option is a choice of a select or a group of radio buttons.
type Option struct {
	Value, Label string
	Chosen       bool
}

// PipelineList is the region #pipelines.
type PipelineList struct {
	Rows     []PipelineRow
	Filtered bool
	Clear    string // the list without its filter
	More     string // address of the next page
	Zone     string
	Live     string // its stream
}

// A PipelineRow is one line of the list.
type PipelineRow struct {
	Ref         Ref
	Look        Look
	Description string
	Note        string // why nothing happens: paused, or a schedule that is broken
	NoteBad     bool
	Strip       Strip
	Last        *RunLink
	Schedule    string
	Words       string
	Next        *Moment
	Run         May
	Removed     bool
}

// A RunLink is a run in short.
type RunLink struct {
	Look   Look
	Number int64
	URL    string
	Took   string
	At     Moment
}

// Strip is a row of small bars, the newest right.
type Strip struct {
	Bars  []Bar
	Label string
}

// A Bar is one run of a strip.
type Bar struct {
	Look         Look
	X, Y, Height int
	URL, Label   string
}

// PipelinePage is the page of one pipeline, with one of its tabs.
type PipelinePage struct {
	Base
	Header     PipelineHead
	Tab        string // runs, ticks, definition
	Runs       RunTable
	Next       NextTicks
	Ticks      TickTable
	Definition Definition
	Facts      []Fact
}

// PipelineHead is the region #pipeline-head.
type PipelineHead struct {
	Ref         Ref
	Look        Look
	State       string
	Description string
	Schedules   []ScheduleLine
	NextIn      *Moment
	Pause       *PauseLine
	Problems    []string
	Revision    int
	Commit      string
	Owner       string
	MayRun      May
	MayPause    May
	Removed     *Moment
}

// A ScheduleLine is one schedule in words.
type ScheduleLine struct {
	ID, Text, Words, Zone string
	Alone                 bool // the only one: its id says nothing
}

// A PauseLine says who holds a pipeline back, and why.
type PauseLine struct {
	By, Reason string
	At         Moment
	Until      *Moment
}

// RunTable is a list of runs: the region #runs.
type RunTable struct {
	Rows  []RunRow
	Whose bool // the pipeline is named in each row
	Empty string
	Hint  string // the command that fills it
	More  string
	Zone  string
	Live  string // its stream, if it is not the page's
}

// A RunRow is one run in a list.
type RunRow struct {
	Ref      Ref
	Number   int64
	URL      string
	Look     Look
	Trigger  string
	By       string
	Params   string
	Due      Moment
	Started  string // after it was due
	Took     string
	Revision int
}

// NextTicks is the region #pipeline-next.
type NextTicks struct {
	Rows   []NextRow
	Paused bool
	Zone   string
	None   string
}

// A NextRow is a coming tick, or a local time that does not come.
type NextRow struct {
	Local, LocalZone string
	Yours            *Moment // where the reader's zone differs
	UTC              string
	In               Moment
	Note             string
	Fires            bool
	Schedule         string
}

// TickTable is what was decided about ticks.
type TickTable struct {
	Rows []TickRow
	More string
	Zone string
}

// A TickRow is one decision.
type TickRow struct {
	Look     Look
	At       Moment
	Until    *Moment
	Words    string
	Schedule string
	Run      int64
	URL      string
	Decided  Moment
}

// Definition is a revision's text.
type Definition struct {
	Lines    []string
	First    int
	Revision int
	Facts    []Fact
	Older    []Option // other revisions; Value is the address
}

// A Fact is a name and a value.
type Fact struct {
	Name, Value, URL string
	At               *Moment
	Mono             bool
}

// RunPage is the page of a run.
type RunPage struct {
	Base
	Ref     Ref
	Head    RunHead
	Problem Problem
	Tasks   Gantt
	Log     LogTail
	Details Details
}

// RunHead is the region #run-head.
type RunHead struct {
	Ref            Ref
	Number         int64
	Look           Look
	Title          string // of the browser's tab
	Over           bool
	Facts          []Fact
	Previous, Next int64
	MayCancel      May
	Cancelable     bool
	Stopping       string // who asked it to stop
	Note           string
	MayRun         May
}

// Problem is the region #run-problem: what is wrong, or what it waits for.
type Problem struct {
	Kind     string // failed, waiting, running; empty: nothing to say
	Look     Look
	Heading  string
	Facts    []string
	Lines    []LogLine
	Cut      bool // lines before these are left out
	LogURL   string
	LogLine  int
	Others   string
	Commands []string
}

// Gantt is the region #run-tasks: tasks and when they ran, row by row.
type Gantt struct {
	Rows  []GanttRow
	Axis  []AxisMark
	Zone  string
	Empty string
	Total string
	Pages []Option // of many tasks; Value is the address
	Worst bool     // of many tasks it shows those that matter first
	Live  bool
}

// An AxisMark is a label of the time axis; At is a share of it.
type AxisMark struct{ At, Label string }

// A GanttRow is one task or one item.
type GanttRow struct {
	ID       string
	Name     string
	URL      string // empty: it has no attempt
	Look     Look
	Attempts []AttemptLink
	Counts   string // of a fan-out
	Why      string
	Bars     []GanttBar
	Took     string
	Label    string // of the bars, for those who do not see them
	Finally  bool
	Items    []GanttRow
	More     string // address of all items
	MoreText string
	Open     bool
}

// An AttemptLink is one of several attempts.
type AttemptLink struct {
	Number int
	Look   Look
	URL    string
	Took   string
	Here   bool
}

// A GanttBar is a stretch of a row; X and Width are shares of the whole.
type GanttBar struct {
	Kind     string // upstream, gate, run, backoff
	Hue      string
	X, Width string
	URL      string
	Label    string
}

// LogTail is the region #run-log: the end of one attempt's log.
type LogTail struct {
	Heading string
	URL     string
	Lines   []LogLine
	Empty   string
	Key     string // attempt and line that the stream goes on from
	Ref     app.LogRef
	Live    bool
	Zone    string
}

// Details is the region #run-details.
type Details struct {
	Params, Outputs []Fact
	Facts           []Fact
}

// AttemptPage is the page of one attempt, with its log.
type AttemptPage struct {
	Base
	Ref      Ref
	Number   int64
	Task     string // with its item
	Head     AttemptHead
	Log      LogView
	Script   string
	Facts    []Fact
	Outputs  []Fact
	Download string
}

// AttemptHead is the region #attempt-head.
type AttemptHead struct {
	Ref      Ref
	Number   int64
	Task     string
	Item     string
	Look     Look
	Title    string
	Over     bool
	Words    []string
	Detail   string
	Attempts []AttemptLink
}

// LogView is the region #log-region: a page of a log.
type LogView struct {
	Lines                     []LogLine
	Summary                   string
	Empty                     string
	First, Older, Newer, Last string // addresses of other pages
	Missing                   string // at the end
	Key                       string
	Ref                       app.LogRef
	Live                      bool
	Zone                      string
	End                       string // how the attempt ended
}

// A LogLine is one line of a log, ready to be shown.
type LogLine struct {
	Number  int
	At      string
	Stderr  bool
	Spans   []Span
	Missing string // what was not kept before it
	Longer  string // how much of it is left out
	URL     string // of the line, where it is shown elsewhere
}

// A Span is a stretch of text with one look.
type Span struct{ Class, Text string }

// RunForm is the form that starts a run.
type RunForm struct {
	Base
	Ref      Ref
	Revision int
	Key      string
	Fields   []Field
	Note     string
	At       string
	AtZone   string
	Errors   []FormError
	Problem  string // wrong with the whole
	Hint     string
	Recent   []RecentParams
	Manual   bool
	MayRun   May
	Shell    string // the same from a terminal
	Busy     string
}

// A Field is a param as a form has it.
type Field struct {
	ID, Name    string
	Label       string
	Description string
	Required    bool
	Widget      string // radio, select, check, boolean, number, date, datetime, json, area, text
	Options     []Option
	Value       string
	Default     string
	Bounds      string
	Error       string
	Mode        string // inputmode
}

// A FormError is one line of a form's error summary.
type FormError struct{ ID, Message, Hint string }

// RecentParams are the params of an earlier run, to be used again.
type RecentParams struct {
	Number int64
	URL    string
	Text   string
	Look   Look
}

// ConfirmPage asks before something is done: cancel, pause, resume.
type ConfirmPage struct {
	Base
	Ref      Ref
	Number   int64
	Heading  string
	Sentence []string
	Names    []string
	Action   string
	Button   string
	Danger   bool
	Back     string
	Reason   string // label of the reason's field; empty: there is none
	Required bool
	Typed    string
	Until    bool
	UntilAt  string
	Problem  string
	May      May
}

// RunsPage is the list of all runs.
type RunsPage struct {
	Base
	State  string
	States []Option
	Since  string
	Sinces []Option
	Runs   RunTable
}

// LoginPage signs somebody in.
type LoginPage struct {
	Base
	To      string
	Problem string
}

// AccountPage holds who is signed in, and preferences.
type AccountPage struct {
	Base
	Rights  []Fact
	Themes  []Option
	ZoneIs  string
	Shift   bool
	Problem string
}

// ErrorPage says what went wrong.
type ErrorPage struct {
	Base
	Status    int
	Heading   string
	Message   string
	Hint      string
	RequestID string
	Up        string
	UpText    string
	Retry     bool
}

// A Moment is an instant as a page shows it.
type Moment struct {
	At    string // RFC 3339
	Title string
	Text  string
	Ago   bool // a script adds how long ago it was, or how soon it comes
	Rel   string
}

// moment shows an instant in the reader's zone: with its day unless that is today's.
func (b Base) moment(t time.Time) Moment {
	local := t.In(b.Zone)
	layout := "2 Jan 15:04"
	switch {
	case local.Year() != b.Now.In(b.Zone).Year():
		layout = "2 Jan 2006 15:04"
	case local.Format("2006-01-02") == b.Now.In(b.Zone).Format("2006-01-02"):
		layout = "15:04:05"
		if local.Second() == 0 {
			layout = "15:04"
		}
	}
	m := Moment{
		At: t.UTC().Format(time.RFC3339), Text: local.Format(layout),
		Title: t.UTC().Format("2006-01-02 15:04:05.000") + " UTC",
	}
	if b.Zone.String() != "UTC" {
		m.Title += " · " + local.Format("15:04:05") + " " + b.Zone.String()
	}
	return m
}

func (b Base) ago(t time.Time) Moment {
	m := b.moment(t)
	m.Ago = true
	if d := b.Now.Sub(t); d >= 0 {
		m.Rel = roughly(d) + " ago"
	} else {
		m.Rel = "in " + roughly(-d)
	}
	return m
}

func (b Base) maybe(t *time.Time) *Moment {
	if t == nil {
		return nil
	}
	m := b.ago(*t)
	return &m
}

// zone names the reader's zone for the head of a table.
func (b Base) zone() string { return b.Zone.String() }

// valueText is a JSON value on one line, cut at n characters.
func valueText(raw json.RawMessage, n int) string {
	s := string(raw)
	var text string
	if json.Unmarshal(raw, &text) == nil && len(s) > 0 && s[0] == '"' {
		s = text
	}
	return cut(tidy(strings.ReplaceAll(s, "\n", "⏎")), n)
}

// short is the beginning of a name that nobody reads to its end.
func short(s string, n int) string { return s[:min(len(s), n)] }

func cut(s string, n int) string {
	r := []rune(s)
	if len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// paramsText is a run's params on one line.
func paramsText(v api.Values, n int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, name+"="+valueText(v[name], 40))
	}
	return cut(strings.Join(parts, " "), n)
}
