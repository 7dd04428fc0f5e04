package schedule_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		spec schedule.Spec
		from string
		n    int
		want []string
	}{
		{schedule.Spec{Cron: "0 2 * * *", Zone: "Europe/Berlin"}, "2027-03-26T23:00:00Z", 2, []string{
			"2027-03-27T02:00 CET 01:00Z",
			"2027-03-28T02:00  01:00Z moved: does not exist → fires 03:00 CEST, 01:00Z (dst.gap: next)",
		}},
		{schedule.Spec{Cron: "0 2 * * *", Zone: "Europe/Berlin", Gap: "skip"}, "2027-03-26T23:00:00Z", 2, []string{
			"2027-03-27T02:00 CET 01:00Z",
			"2027-03-28T02:00  01:00Z dropped: does not exist → does not fire (dst.gap: skip)",
			"2027-03-29T02:00 CEST 00:00Z",
		}},
		{schedule.Spec{Cron: "*/20 * * * *", Zone: "Europe/Berlin"}, "2027-03-28T00:30:00Z", 2, []string{
			"2027-03-28T01:40 CET 00:40Z",
			"2027-03-28T02:00  01:00Z dropped: to 02:40 do not exist → 3 ticks do not fire (follows the clock)",
			"2027-03-28T03:00 CEST 01:00Z",
		}},
		{schedule.Spec{Cron: "30 2 * * *", Zone: "Europe/Berlin"}, "2027-10-30T12:00:00Z", 2, []string{
			"2027-10-31T02:30 CEST 00:30Z first: first of two (dst.overlap: first)",
			"2027-11-01T02:30 CET 01:30Z",
		}},
		{schedule.Spec{Cron: "30 2 * * *", Zone: "Europe/Berlin", Overlap: "both"}, "2027-10-30T12:00:00Z", 2, []string{
			"2027-10-31T02:30 CEST 00:30Z first: first of two (dst.overlap: both)",
			"2027-10-31T02:30 CET 01:30Z second: second of two (dst.overlap: both)",
		}},
		{schedule.Spec{Cron: "30 * * * *", Zone: "Europe/Berlin"}, "2027-10-31T00:00:00Z", 2, []string{
			"2027-10-31T02:30 CEST 00:30Z first: first of two (follows the clock)",
			"2027-10-31T02:30 CET 01:30Z second: second of two (follows the clock)",
		}},
		{schedule.Spec{Cron: "30 23 * * *", Zone: "America/Nuuk"}, "2027-03-27T12:00:00Z", 1, []string{
			"2027-03-27T23:30  01:00Z moved: does not exist → fires Sun 28 Mar 00:00 -01:00, 01:00Z (dst.gap: next)",
		}},
		{schedule.Spec{Cron: "0 12 * * *", Zone: "Pacific/Apia"}, "2011-12-30T00:00:00Z", 1, []string{
			"2011-12-30T12:00  10:00Z dropped: does not exist → does not fire (the calendar was corrected)",
			"2011-12-31T12:00 +14:00 22:00Z",
		}},
		{schedule.Spec{Every: 90 * time.Second, Anchor: instant(t, "2026-01-01T00:00:00Z")}, "2026-01-01T00:00:00Z", 2, []string{
			"2026-01-01T00:01:30 UTC 00:01Z", "2026-01-01T00:03 UTC 00:03Z",
		}},
		{schedule.Spec{At: []time.Time{instant(t, "2026-01-01T00:00:00Z")}, Zone: "Europe/Berlin"}, "2025-01-01T00:00:00Z", 2, []string{
			"2026-01-01T01:00 CET 00:00Z",
		}},
	} {
		var got []string
		for _, u := range must(t, c.spec).Explain(instant(t, c.from), c.n) {
			line := fmt.Sprintf("%s %s %s", u.Local, u.Zone, u.At.Format("15:04Z"))
			if u.Note != "" {
				line += " " + string(u.Note) + ": " + u.Text
			}
			got = append(got, line)
			if u.Fires != (u.Note != schedule.NoteDropped) {
				t.Errorf("%s: Fires = %v", line, u.Fires)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v:\n got %s\nwant %s", c.spec, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
}

func TestWarnings(t *testing.T) {
	now := instant(t, "2026-11-22T12:00:00Z")
	for _, c := range []struct {
		spec schedule.Spec
		want []string
	}{
		{schedule.Spec{Cron: "*/90 * * * *"}, []string{`SYN1206 cron+0,4 "*/90" in minutes runs only at minute 0 → write 0`}},
		{schedule.Spec{Cron: "0 5,*/24 * * *"}, []string{`SYN1206 cron+4,4 "*/24" in hours runs only at hour 0 → write 0`}},
		{schedule.Spec{Cron: "0 0 1 */12 *"}, []string{`SYN1206 cron+6,4 "*/12" in months runs only at month JAN → write JAN`}},
		{schedule.Spec{Cron: "0 0 * * */7"}, []string{`SYN1206 cron+8,3 "*/7" in weekdays runs only at weekday SUN → write SUN`}},
		{schedule.Spec{Cron: "10-20/30 1 * * *"}, []string{`SYN1206 cron+0,8 "10-20/30" in minutes runs only at minute 10 → write 10`}},
		{schedule.Spec{Cron: "*/59 */23 */30 */11 */6"}, nil},
		{schedule.Spec{Cron: "30 2 * * *", Zone: "Europe/Berlin"}, []string{
			"SYN1210 cron+0,10 02:30 does not exist on 2027-03-28 in Europe/Berlin; it fires at 03:00 (dst.gap: next)",
			"SYN1210 cron+0,10 02:30 comes twice on 2027-10-31 in Europe/Berlin; it fires the first time (dst.overlap: first)",
		}},
		{schedule.Spec{Cron: "30 2 * * *", Zone: "Europe/Berlin", Gap: "skip", Overlap: "both"}, []string{
			"SYN1210 cron+0,10 02:30 does not exist on 2027-03-28 in Europe/Berlin; it does not fire (dst.gap: skip)",
			"SYN1210 cron+0,10 02:30 comes twice on 2027-10-31 in Europe/Berlin; it fires both times (dst.overlap: both)",
		}},
		{schedule.Spec{Cron: "30 4 * * *", Zone: "Europe/Berlin"}, nil},
		{schedule.Spec{Cron: "*/30 * * * *", Zone: "Europe/Berlin"}, nil},
		{schedule.Spec{Cron: "30 2 * * *", Zone: "Asia/Tokyo"}, nil},
		{schedule.Spec{Cron: "30 2 * * *"}, nil},
		{schedule.Spec{Every: 24 * time.Hour, Zone: "Europe/Berlin", Anchor: instant(t, "2001-01-01T08:00:00Z")}, []string{
			`SYN1210 every+0,0 every: 1d counts elapsed time; 09:00 becomes 10:00 in summer → cron: "0 9 * * *"`,
		}},
		{schedule.Spec{Every: 7 * 24 * time.Hour, Zone: "Europe/Berlin"}, []string{
			`SYN1210 every+0,0 every: 1w counts elapsed time; 00:00 becomes 01:00 in summer → cron: "0 0 * * 1"`,
		}},
		{schedule.Spec{Every: 24 * time.Hour}, nil},
		{schedule.Spec{Every: 23 * time.Hour, Zone: "Europe/Berlin"}, nil},
		{schedule.Spec{At: []time.Time{now, now.Add(time.Hour)}}, []string{
			"SYN1205 at+0,0 2026-11-22T12:00:00Z is past; it never fires → remove it",
		}},
	} {
		s := must(t, c.spec)
		var got []string
		for _, w := range s.Warnings(now) {
			line := fmt.Sprintf("%s %s+%d,%d %s", w.Code, w.Field, w.Offset, w.Len, w.Message)
			if w.Hint != "" {
				line += " → " + w.Hint
			}
			got = append(got, line)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v:\n got %s\nwant %s", c.spec, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
	// The same daily interval, asked in summer.
	s := must(t, schedule.Spec{Every: 24 * time.Hour, Zone: "Europe/Berlin", Anchor: instant(t, "2001-01-01T08:00:00Z")})
	w := s.Warnings(instant(t, "2027-07-01T00:00:00Z"))
	if len(w) != 1 || !strings.Contains(w[0].Message, "09:00 becomes 10:00 in summer") || w[0].Hint != `cron: "0 9 * * *"` {
		t.Errorf("in summer: %+v", w)
	}
}

func TestIntervalsOfEvery(t *testing.T) {
	s := must(t, schedule.Spec{Every: 36 * time.Hour, Zone: "America/New_York"})
	anchor := instant(t, "2001-01-01T05:00:00Z") // midnight there
	if next, _ := s.NextAt(anchor.Add(-1)); !next.Equal(anchor) {
		t.Errorf("the anchor is no tick: %v", next)
	}
	if next, _ := s.NextAt(anchor.Add(-37 * time.Hour)); !next.Equal(anchor.Add(-36 * time.Hour)) {
		t.Errorf("before the anchor: %v", next)
	}
	for _, year := range []int{3, 1700, 2026, 2400, 9998} { // further than a Duration reaches
		at := time.Date(year, 5, 6, 7, 8, 9, 10, time.UTC)
		next, ok := s.NextAt(at)
		prev, ok2 := s.PrevAt(next)
		if !ok || !ok2 || !next.After(at) || next.Sub(prev) != 36*time.Hour || prev.After(at) || (next.Unix()-anchor.Unix())%(36*3600) != 0 || next.Nanosecond() != 0 {
			t.Errorf("around %v: %v and %v", at, prev, next)
		}
	}
	if n := s.Count(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)); n != 2434463 {
		t.Errorf("Count over all time = %d", n)
	}
}
