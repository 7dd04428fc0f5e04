// Package schedule turns cron expressions, intervals and listed instants into ticks.
package schedule

import (
	"fmt"
	"strings"
	"time"
)

// Gap says what becomes of a local time that a clock change leaves out.
// The zero value means GapNext.
type Gap string

const (
	GapNext Gap = "next" // fire at the first instant after the gap
	GapSkip Gap = "skip" // do not fire
)

// Overlap says which occurrence of a local time fires when a clock change
// makes it come twice. The zero value means OverlapFirst.
type Overlap string

const (
	OverlapFirst  Overlap = "first"
	OverlapSecond Overlap = "second"
	OverlapBoth   Overlap = "both"
)

// MaxInstants is how many instants a schedule may list.
const MaxInstants = 1000

const (
	minEvery = time.Second
	maxEvery = 52 * week
)

// Spec is one schedule as a file gives it. Exactly one of Cron, Every and At
// is set.
type Spec struct {
	Cron  string
	Every time.Duration
	At    []time.Time

	Anchor  time.Time // with Every only; zero: 2001-01-01T00:00 in Zone
	Zone    string    // a canonical IANA name; "" means UTC
	Gap     Gap       // fixed-time crons only
	Overlap Overlap   // fixed-time crons only
}

// Schedule knows the ticks of one Spec. It never changes and may be shared by
// goroutines.
type Schedule struct {
	spec  Spec
	clock clock
	ticks ticks
	cron  *cronTicks // set for crons, the same value as ticks
	odd   []Warning  // what New found worth saying
}

// ticks is what the three kinds of schedule have in common. Instants run from
// minInstant to maxInstant; a kind answers false where it has nothing there.
type ticks interface {
	next(after time.Time) (time.Time, bool)
	prev(before time.Time) (time.Time, bool)
	// count counts the ticks from first to last, both included.
	count(first, last time.Time) int64
}

// Error says what is wrong with a schedule and what to write instead. Offset
// and Len mark the place inside the text of Field, in code points.
type Error struct {
	Code    string // "SYN1203"
	Message string
	Hint    string
	Field   string // "cron", "every", "at", "anchor", "timezone", "dst" …
	Offset  int
	Len     int
}

// Error joins message and hint on one line.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	if strings.HasPrefix(e.Hint, "did you mean") {
		return e.Message + "; " + e.Hint
	}
	return e.Message + " → " + e.Hint
}

// Warning says what is legal and probably not meant.
type Warning struct {
	Code    string
	Message string
	Hint    string
	Field   string
	Offset  int
	Len     int
}

// Note tells what a clock change does to a tick.
type Note string

const (
	NoteNone    Note = ""
	NoteMoved   Note = "moved"   // its local time does not exist; it fires right after the gap
	NoteFirst   Note = "first"   // its local time comes twice; this is the first
	NoteSecond  Note = "second"  // its local time comes twice; this is the second
	NoteDropped Note = "dropped" // its local time does not exist, and nothing fires
)

// Tick is one due instant.
type Tick struct {
	At    time.Time // UTC
	Local string    // the wall clock it was meant for: 2006-01-02T15:04, with seconds where they are not zero
	Note  Note
}

// New checks a Spec completely. Its error is an *Error.
func New(spec Spec) (*Schedule, error) {
	if err := checkKind(spec); err != nil {
		return nil, err
	}
	loc := time.UTC
	if spec.Zone != "" {
		var err error
		if loc, err = LoadZone(spec.Zone); err != nil {
			return nil, err
		}
	}
	s := &Schedule{spec: spec, clock: newClock(loc)}
	var err error
	switch {
	case spec.Cron != "":
		err = s.initCron()
	case len(spec.At) > 0:
		err = s.initList()
	default:
		err = s.initEvery()
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func checkKind(spec Spec) error {
	var kinds []string
	if spec.Cron != "" {
		kinds = append(kinds, "cron")
	}
	if spec.Every != 0 {
		kinds = append(kinds, "every")
	}
	if len(spec.At) > 0 {
		kinds = append(kinds, "at")
	}
	if len(kinds) != 1 {
		found := "none"
		if len(kinds) > 0 {
			found = strings.Join(kinds, " and ")
		}
		return &Error{Code: "SYN1201", Field: "schedule", Message: "a schedule has one of cron, every, at; found " + found, Hint: "keep one"}
	}
	if !spec.Anchor.IsZero() && spec.Every == 0 {
		return &Error{Code: "SYN1209", Field: "anchor", Message: "anchor is for every", Hint: "remove anchor"}
	}
	switch spec.Gap {
	case "", GapNext, GapSkip:
	default:
		return &Error{Code: "SYN1009", Field: "dst", Message: fmt.Sprintf("dst.gap is next or skip, found %s", quote(string(spec.Gap))), Hint: "next"}
	}
	switch spec.Overlap {
	case "", OverlapFirst, OverlapSecond, OverlapBoth:
	default:
		return &Error{Code: "SYN1009", Field: "dst", Message: fmt.Sprintf("dst.overlap is first, second or both, found %s", quote(string(spec.Overlap))), Hint: "first"}
	}
	if spec.Cron == "" && spec.setsDST() {
		return &Error{
			Code: "SYN1209", Field: "dst", Hint: "remove dst",
			Message: fmt.Sprintf("dst does nothing here: %s knows no clock changes", kinds[0]),
		}
	}
	return nil
}

func (s Spec) setsDST() bool { return s.Gap != "" || s.Overlap != "" }

func (s *Schedule) initCron() error {
	expr, err := parseCron(s.spec.Cron)
	if err != nil {
		return err
	}
	if expr.followsClock() && s.spec.setsDST() {
		return &Error{
			Code: "SYN1209", Field: "dst", Hint: "remove dst, or write minute and hour without *",
			Message: fmt.Sprintf("dst does nothing here: %s follows the clock", quote(s.spec.Cron)),
		}
	}
	cal, err := newCalendar(expr)
	if err != nil {
		return err
	}
	c := &cronTicks{cal: cal, clock: s.clock, follows: expr.followsClock(), skip: s.spec.Gap == GapSkip, overlap: s.spec.Overlap}
	if c.overlap == "" {
		c.overlap = OverlapFirst
	}
	s.cron, s.ticks, s.odd = c, c, expr.odd
	return nil
}

// Zone is the zone of the schedule's local times.
func (s *Schedule) Zone() *time.Location { return s.clock.loc }

// Spec gives back what the schedule was made of.
func (s *Schedule) Spec() Spec { return s.spec }

// FollowsClock tells whether the schedule is a cron whose minute or hour field
// begins with "*": it fires at every matching minute the clock shows, while
// other crons fire once for each local time.
func (s *Schedule) FollowsClock() bool { return s.cron != nil && s.cron.follows }
