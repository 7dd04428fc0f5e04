package command

import (
	"fmt"
	"strings"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// duration writes how long something took: 640ms, 12s, 2m05s, 3h04m, 2d 4h.
func duration(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	switch {
	case d == 0:
		return "0s"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second && d%time.Second >= 100*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// instant is a time for a program.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func instantOf(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return instant(*t)
}

// A clock shows times to a person, in a zone.
type clock struct {
	now  time.Time
	zone *time.Location
}

// when is a time as seen from now: relative up to a day, then with its date.
func (c clock) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	switch d := c.now.Sub(t); {
	case d >= 0 && d < time.Second:
		return "now"
	case d >= 0 && d < 24*time.Hour:
		return duration(d.Truncate(time.Second)) + " ago"
	case d < 0 && d > -24*time.Hour:
		return "in " + duration((-d).Truncate(time.Second))
	default:
		return c.date(t)
	}
}

func (c clock) whenOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return c.when(*t)
}

// date is a time with its day and zone.
func (c clock) date(t time.Time) string {
	t = t.In(c.zone)
	layout := "Mon 2 Jan 15:04 "
	if t.Year() != c.now.In(c.zone).Year() {
		layout = "2 Jan 2006 15:04 "
	}
	return t.Format(layout) + zoneName(t)
}

// full is a time to the second, with the day, the zone and how far off it is.
func (c clock) full(t time.Time) string {
	t = t.In(c.zone)
	text := t.Format("Mon 2 Jan 2006 15:04:05 ") + zoneName(t)
	if d := c.now.Sub(t); d < 24*time.Hour && d > -24*time.Hour {
		text += " (" + c.when(t) + ")"
	}
	return text
}

func zoneName(t time.Time) string {
	name, _ := t.Zone()
	if name == "" || name[0] == '+' || name[0] == '-' {
		return t.Format("-07:00")
	}
	return name
}

// parseTime reads a moment as people type it: RFC 3339, 2026-11-22 02:00, a
// date, -2h, +30m, now, today, yesterday, tomorrow.
func (c clock) parseTime(flag, text string) (time.Time, error) {
	day := func(offset int) time.Time {
		n := c.now.In(c.zone)
		// Noon exists on every day; the start of a day may not.
		noon := time.Date(n.Year(), n.Month(), n.Day()+offset, 12, 0, 0, 0, c.zone)
		start, err := schedule.ParseInstant(noon.Format("2006-01-02"), c.zone)
		if err != nil {
			return noon.Add(-11 * time.Hour)
		}
		return start
	}
	switch text {
	case "now":
		return c.now, nil
	case "today":
		return day(0), nil
	case "yesterday":
		return day(-1), nil
	case "tomorrow":
		return day(1), nil
	}
	if len(text) > 1 && (text[0] == '-' || text[0] == '+') {
		d, err := schedule.ParseDuration(text[1:])
		if err == nil && text[0] == '-' {
			return c.now.Add(-d), nil
		} else if err == nil {
			return c.now.Add(d), nil
		}
		return time.Time{}, usage("--%s %s: %s", flag, quote(text), sentence(err))
	}
	t, err := schedule.ParseInstant(text, c.zone)
	if err != nil {
		return time.Time{}, usage("--%s %s: %s", flag, quote(text), sentence(err)).withHint("2026-11-22T02:00:00Z, 2026-11-22 02:00, -2h or yesterday")
	}
	return t, nil
}

// parseSince reads how far back to look: a duration, or a moment.
func (c clock) parseSince(flag, text string) (time.Time, error) {
	if d, err := schedule.ParseDuration(strings.TrimPrefix(text, "-")); err == nil {
		return c.now.Add(-d), nil
	}
	return c.parseTime(flag, text)
}

func sentence(err error) string { return clean(err.Error()) }

func parseDuration(flag, text string) (time.Duration, error) {
	d, err := schedule.ParseDuration(text)
	if err != nil {
		return 0, usage("--%s %s: %s", flag, quote(text), sentence(err))
	}
	return d, nil
}

// took is how long something lasted, or has lasted so far.
func took(start, end *time.Time, now time.Time) string {
	switch {
	case start == nil:
		return ""
	case end == nil:
		return duration(now.Sub(*start))
	default:
		return duration(end.Sub(*start))
	}
}
