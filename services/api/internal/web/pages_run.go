package web

import (
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// RunPage is the page of a run.
type RunPage struct {
	Base
	Ref     Ref
	Head    RunHead
	Problem Problem
	Ask     AskList
	Why     Why
	Tasks   Gantt
	Started FollowUps
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
	Reruns         []RerunLink // of a run that has ended
}

// FollowUps is the region #run-started: what triggers made of the run's end.
type FollowUps struct {
	Rows []FollowUpRow
	Open bool // some are yet to be made
}

// A FollowUpRow is a run that the end of another started, or did not start.
type FollowUpRow struct {
	Look Look
	Name string
	URL  string
	Word string
}

// A RerunLink leads to a way to run an ended run again.
type RerunLink struct {
	Label, URL string
	Main       bool
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
	Why      bool // #run-why says more
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
	WhyURL   string       // where more is said about that
	Child    *FollowUpRow // the run that it has called
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
	Earlier         []Fact // ends it had before it was opened again
}

// AttemptPage is the page of one attempt, with its log.
type AttemptPage struct {
	Base
	Ref      Ref
	Number   int64
	Task     string // with its item
	Head     AttemptHead
	Await    Await
	Ask      AskList
	Log      LogView
	Script   string
	Facts    []Fact
	Outputs  []Fact
	Download string
}

// Await is the region #task-await: what a task does that runs on no executor.
type Await struct {
	On       bool         // the task is one of those
	Question *Ask         // one that is not open any more
	Child    *FollowUpRow // the run that it has called
	Empty    string       // what there is to say instead
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
	// Where it may be run again from, and marked, when its run has ended.
	Rerun, Mark string
	May         May
}

// MarkPage asks how a task ended.
type MarkPage struct {
	Base
	Ref     Ref
	Number  int64
	Task    string // with its item
	Now     Look
	Open    bool // the run goes on
	States  []Option
	Fields  []Field // its declared outputs
	Typed   string
	Problem string
	Action  string
	Key     string
	Back    string
	May     May
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
	Key      string // sent with it, so that twice is once; empty: it is so by itself
	Button   string
	Danger   bool
	Back     string
	Reason   string // label of the reason's field; empty: there is none
	// Where the reason is shown, if not on the run.
	ReasonHint string
	Required   bool
	Choices    []Option // other ways, each with its page
	Check      string   // label of a box that does more; empty: there is none
	Backfill   int64    // what it is about; 0: no backfill
	Typed      string
	Until      bool
	UntilAt    string
	Problem    string
	May        May
}
