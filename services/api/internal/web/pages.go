package web

import (
	"fmt"
	"net/url"
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
	// Questions is how many wait for an answer; 100: at least so many.
	Questions int
	JSON      string // this page's address in the API; empty: it has none
	Live      string // this page's stream; empty: it has none
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

// Act is a page that does something to a run. "-" stands where the name of a
// task would: no task can be called so, and none hides behind an act.
func (r Ref) Act(number int64, act string) string { return r.Run(number, "-", act) }

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
	Tab        string // runs, ticks, backfills, definition
	Why        Why
	Runs       RunTable
	Next       NextTicks
	Ticks      TickTable
	Backfills  BackfillList
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
	MayPause    May // also asks for backfills
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
