package schedule

import (
	"fmt"
	"time"
)

// Upcoming is a line of a preview: a tick, or a local time that does not fire.
type Upcoming struct {
	Tick
	Fires bool
	Zone  string // the abbreviation or offset at the instant; "" for a local time that does not exist
	Text  string // what a clock change does to it, in words; "" for an ordinary tick
}

// Explain previews the first n ticks after a moment. Local times that a clock
// change swallows stand between them; they are not counted, and several of
// one gap share a line.
func (s *Schedule) Explain(from time.Time, n int) []Upcoming {
	var lines []Upcoming
	for after := from; n > 0; n-- {
		t, ok := s.ticks.next(after)
		until := t
		if !ok { // nothing fires any more, but the next year may tell why
			until = after.AddDate(1, 0, 0)
		}
		lines = append(lines, s.dropped(after, until)...)
		if !ok {
			break
		}
		lines = append(lines, s.upcoming(s.tick(t)))
		after = t
	}
	return lines
}

func (s *Schedule) upcoming(t Tick) Upcoming {
	u := Upcoming{Tick: t, Fires: true}
	local := t.At.In(s.clock.loc)
	u.Zone = zoneName(local)
	if s.cron == nil || t.Note == NoteNone {
		return u
	}
	why := "dst.overlap: " + string(s.cron.overlap)
	if s.cron.follows {
		why = "follows the clock"
	}
	switch t.Note {
	case NoteMoved:
		u.Text = fmt.Sprintf("does not exist → fires %s %s, %sZ (dst.gap: next)", landing(t, local), u.Zone, t.At.Format("15:04"))
		u.Zone = ""
	case NoteFirst:
		u.Text = fmt.Sprintf("first of two (%s)", why)
	case NoteSecond:
		u.Text = fmt.Sprintf("second of two (%s)", why)
	}
	return u
}

// landing writes when a moved tick fires, with its date where it is another.
func landing(t Tick, local time.Time) string {
	if local.Format("2006-01-02") == t.Local[:10] {
		return local.Format("15:04")
	}
	return local.Format("Mon 2 Jan 15:04")
}

// zoneName is the abbreviation, or the offset where the zone has none.
func zoneName(t time.Time) string {
	name, _ := t.Zone()
	if name == "" || name[0] == '+' || name[0] == '-' {
		return t.Format("-07:00")
	}
	return name
}

// dropped lists what the gaps between two instants swallow.
func (s *Schedule) dropped(after, until time.Time) []Upcoming {
	if s.cron == nil || s.clock.fixed {
		return nil
	}
	var lines []Upcoming
	from, end := clamp(after).Unix(), clamp(until).Unix()
	for st := s.clock.stretch(from); st.end <= end && st.end != forever; {
		st = s.clock.stretch(st.end)
		shift := st.off - st.before
		if shift <= 0 {
			continue
		}
		reason := ""
		switch {
		case s.cron.follows:
			reason = "follows the clock"
		case shift >= correction:
			reason = "the calendar was corrected"
		case s.cron.skip:
			reason = "dst.gap: skip"
		default:
			continue
		}
		lo, hi := st.wall(st.start)-shift, st.wall(st.start)
		n := s.cron.cal.count(lo, hi)
		if n == 0 {
			continue
		}
		wall, _ := s.cron.cal.next(lo, hi)
		text := "does not exist → does not fire (" + reason + ")"
		if n > 1 {
			last, _ := s.cron.cal.prev(lo, hi)
			text = fmt.Sprintf("to %s do not exist → %d ticks do not fire (%s)", wallText(last)[11:], n, reason)
		}
		lines = append(lines, Upcoming{
			Tick: Tick{At: time.Unix(st.start, 0).UTC(), Local: wallText(wall), Note: NoteDropped},
			Text: text,
		})
	}
	return lines
}
