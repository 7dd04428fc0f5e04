package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/internal/cputime"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// Zones of every kind: hours and half hours, at two and at midnight, both
// hemispheres, a lost day, corrections by three hours, rules of Ramadan.
var oddZones = []string{
	"Europe/Vienna", "America/New_York", "America/Santiago", "Africa/Cairo", "Australia/Lord_Howe",
	"Pacific/Apia", "Antarctica/Troll", "Asia/Tehran", "America/Nuuk", "Asia/Hebron", "Antarctica/Casey",
	"Africa/Casablanca", "Europe/Dublin", "America/Caracas", "Asia/Pyongyang", "Pacific/Chatham", "America/Havana",
	"Asia/Beirut", "Europe/Istanbul", "America/Asuncion",
}

var tellingCrons = []string{
	"20 2 * * *", "10,40 2 * * *", "*/25 2 * * *", "7 * * * *", "0 0 * * *", "30 0 * * *", "0-59 0-3 * * *",
	"15 23 * * *", "59 23 * * SUN", "0 0 1 * *", "*/10 * * * *", "0 */2 * * *", "30 1,2,3 * * 0,6", "0 3 * * *",
	"45 1 L * *", "5 0 15W * MON", "30 2 * * SUNL", "0 0 30 12 *", "0,30 0-23 * * *", "5/20 */3 * * *",
}

// changes finds the offset changes of a zone by looking every quarter of an hour.
func changes(loc *time.Location, from, to time.Time) []time.Time {
	var list []time.Time
	_, last := from.In(loc).Zone()
	for t := from; t.Before(to); t = t.Add(15 * time.Minute) {
		if _, off := t.In(loc).Zone(); off != last {
			list, last = append(list, t), off
		}
	}
	return list
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := schedule.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func must(t testing.TB, spec schedule.Spec) *schedule.Schedule {
	t.Helper()
	s, err := schedule.New(spec)
	if err != nil {
		t.Fatalf("New(%+v): %v", spec, err)
	}
	return s
}

func TestTicksAroundEveryClockChange(t *testing.T) {
	from, to := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC)
	if testing.Short() {
		from, to = time.Date(2009, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	for _, name := range oddZones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loc := zone(t, name)
			turn := 0
			var all []*schedule.Schedule
			var wants []*oracle
			var rules [][2]string
			for _, text := range tellingCrons {
				o := newOracle(text)
				for _, gap := range []string{"next", "skip"} {
					for _, overlap := range []string{"first", "second", "both"} {
						spec := schedule.Spec{Cron: text, Zone: name, Gap: schedule.Gap(gap), Overlap: schedule.Overlap(overlap)}
						if o.follows {
							if gap != "next" || overlap != "first" {
								continue
							}
							spec.Gap, spec.Overlap = "", ""
						}
						all, wants, rules = append(all, must(t, spec)), append(wants, o), append(rules, [2]string{gap, overlap})
					}
				}
			}
			for _, change := range changes(loc, from, to) {
				f := shoot(loc, change.Add(-60*time.Hour), change.Add(60*time.Hour))
				for i, s := range all {
					// Every rule meets every kind of change; not each of the
					// eighty changes of a zone.
					if turn++; turn%3 != 0 && len(all) > 0 && !testing.Short() {
						continue
					}
					compare(t, s, wants[i].ticks(f, rules[i][0], rules[i][1]), change.Add(-30*time.Hour), change.Add(30*time.Hour))
				}
			}
		})
	}
}

// compare checks Next, Prev, Between and Count on [from, to) against a list.
func compare(t *testing.T, s *schedule.Schedule, minutes []int64, from, to time.Time) {
	t.Helper()
	var want []time.Time
	for _, m := range minutes {
		if at := time.Unix(m*60, 0).UTC(); !at.Before(from) && at.Before(to) {
			want = append(want, at)
		}
	}
	var got, back []time.Time
	for tick := range s.Between(from, to, 0) {
		got = append(got, tick.At)
	}
	spec := s.Spec()
	if !slices.Equal(got, want) {
		t.Fatalf("%s %s %s/%s: ticks from %v to %v:\n got %v\nwant %v", spec.Zone, spec.Cron, spec.Gap, spec.Overlap, from, to, got, want)
	}
	for at, ok := s.PrevAt(to); ok && !at.Before(from); at, ok = s.PrevAt(at) {
		back = append(back, at)
	}
	slices.Reverse(back)
	if !slices.Equal(back, want) {
		t.Fatalf("%s %s %s/%s: backward:\n got %v\nwant %v", spec.Zone, spec.Cron, spec.Gap, spec.Overlap, back, want)
	}
	if n := s.Count(from, to); n != int64(len(want)) {
		t.Fatalf("%s %s %s/%s: Count(%v, %v) = %d, want %d", spec.Zone, spec.Cron, spec.Gap, spec.Overlap, from, to, n, len(want))
	}
	for range 5 { // asking from anywhere gives what stepping gives
		at := from.Add(time.Duration(rand.Int64N(int64(to.Sub(from))))) //nolint:gosec // a test
		i, _ := slices.BinarySearchFunc(want, at.Add(1), time.Time.Compare)
		if next, ok := s.NextAt(at); i < len(want) && (!ok || !next.Equal(want[i])) {
			t.Fatalf("%s %s: Next(%v) = %v, want %v", spec.Zone, spec.Cron, at, next, want[i])
		}
		i, _ = slices.BinarySearchFunc(want, at, time.Time.Compare)
		if prev, ok := s.PrevAt(at); i > 0 && (!ok || !prev.Equal(want[i-1])) {
			t.Fatalf("%s %s: Prev(%v) = %v, want %v", spec.Zone, spec.Cron, at, prev, want[i-1])
		}
	}
}

// The tables below were worked out by hand.

func TestViennaByHand(t *testing.T) {
	spring := [2]string{"2027-03-28T00:00:00+01:00", "2027-03-29T00:00:00+02:00"}
	autumn := [2]string{"2027-10-31T00:00:00+02:00", "2027-11-01T00:00:00+01:00"}
	for _, c := range []struct {
		cron, gap, overlap string
		day                [2]string
		want               []string
	}{
		{"20 2 * * *", "", "", spring, []string{"03:00+02:00 moved"}},
		{"20 2 * * *", "next", "first", spring, []string{"03:00+02:00 moved"}},
		{"20 2 * * *", "skip", "", spring, nil},
		{"10,40 2 * * *", "", "", spring, []string{"03:00+02:00 moved"}},
		{"20 2,3 * * *", "", "", spring, []string{"03:00+02:00 moved", "03:20+02:00"}},
		{"0 2,3 * * *", "", "", spring, []string{"03:00+02:00 moved"}},
		{"0 2,3 * * *", "skip", "", spring, []string{"03:00+02:00"}},
		{"*/25 2 * * *", "", "", spring, nil},
		{"20 2 * * *", "", "", autumn, []string{"02:20+02:00 first"}},
		{"20 2 * * *", "", "second", autumn, []string{"02:20+01:00 second"}},
		{"20 2 * * *", "", "both", autumn, []string{"02:20+02:00 first", "02:20+01:00 second"}},
		{"10,40 2 * * *", "", "", autumn, []string{"02:10+02:00 first", "02:40+02:00 first"}},
		{"*/25 2 * * *", "", "", autumn, []string{
			"02:00+02:00 first", "02:25+02:00 first", "02:50+02:00 first",
			"02:00+01:00 second", "02:25+01:00 second", "02:50+01:00 second",
		}},
		{"0 3 * * *", "", "", autumn, []string{"03:00+01:00"}},
		{"59 1 * * *", "", "second", autumn, []string{"01:59+02:00"}},
	} {
		t.Run(fmt.Sprint(c.cron, c.gap, c.overlap, c.day[0][:10]), func(t *testing.T) {
			s := must(t, schedule.Spec{Cron: c.cron, Zone: "Europe/Vienna", Gap: schedule.Gap(c.gap), Overlap: schedule.Overlap(c.overlap)})
			if got := day(t, s, c.day); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	hourly := must(t, schedule.Spec{Cron: "7 * * * *", Zone: "Europe/Vienna"})
	if n := len(day(t, hourly, spring)); n != 23 {
		t.Errorf("hourly fires %d times in spring, want 23", n)
	}
	if n := len(day(t, hourly, autumn)); n != 25 {
		t.Errorf("hourly fires %d times in autumn, want 25", n)
	}
}

// day lists the ticks between two instants as the zone's wall shows them.
func day(t *testing.T, s *schedule.Schedule, span [2]string) []string {
	t.Helper()
	var list []string
	for tick := range s.Between(instant(t, span[0]), instant(t, span[1]), 0) {
		line := tick.At.In(s.Zone()).Format("15:04-07:00")
		if tick.Note != "" {
			line += " " + string(tick.Note)
		}
		list = append(list, line)
	}
	return list
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

func TestOddZonesByHand(t *testing.T) {
	for _, c := range []struct {
		name, zone, cron string
		gap, overlap     string
		from, to         string
		want             []string // UTC
	}{
		{
			"half an hour is missing", "Australia/Lord_Howe", "15 2 * * *", "", "",
			"2027-10-01T00:00:00Z", "2027-10-04T00:00:00Z", // 3 October, 02:00 → 02:30 = 15:30Z
			[]string{"2027-10-01T15:45:00Z", "2027-10-02T15:30:00Z", "2027-10-03T15:15:00Z"},
		},
		{
			"half an hour comes twice", "Australia/Lord_Howe", "45 1 * * *", "", "both",
			"2027-04-03T00:00:00Z", "2027-04-04T00:00:00Z", // 4 April, 02:00 → 01:30 = 15:00Z
			[]string{"2027-04-03T14:45:00Z", "2027-04-03T15:15:00Z"},
		},
		{
			"midnight is missing", "America/Santiago", "0 0 * * *", "", "",
			"2027-09-04T00:00:00Z", "2027-09-06T00:00:00Z", // 5 September, 00:00 → 01:00 = 04:00Z
			[]string{"2027-09-04T04:00:00Z", "2027-09-05T04:00:00Z"},
		},
		{
			"two hours are missing", "Antarctica/Troll", "30 1 * * *", "", "",
			"2027-03-27T00:00:00Z", "2027-03-29T00:00:00Z", // 28 March, 01:00Z → 03:00
			[]string{"2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-28T23:30:00Z"},
		},
		{
			"two hours come twice", "Antarctica/Troll", "30 1 * * *", "", "second",
			"2027-10-30T12:00:00Z", "2027-10-31T12:00:00Z", // 31 October, 03:00 → 01:00 = 01:00Z
			[]string{"2027-10-31T01:30:00Z"},
		},
		{
			"a day is missing and nothing makes up for it", "Pacific/Apia", "0 12 * * *", "", "",
			"2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z", // 30 December does not exist
			[]string{"2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"},
		},
		{
			"three hours come twice and do not fire again", "Antarctica/Casey", "30 23 * * *", "", "both",
			"2010-03-04T00:00:00Z", "2010-03-06T00:00:00Z", // 5 March, 02:00+11 → 23:00+08 on the 4th
			[]string{"2010-03-04T12:30:00Z", "2010-03-05T15:30:00Z"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := must(t, schedule.Spec{Cron: c.cron, Zone: c.zone, Gap: schedule.Gap(c.gap), Overlap: schedule.Overlap(c.overlap)})
			var got []string
			for tick := range s.Between(instant(t, c.from), instant(t, c.to), 0) {
				got = append(got, tick.At.Format(time.RFC3339))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// The mapping goes from one change to the next and looks at no third one.
func TestChangesAreFurtherApartThanTheyAreLong(t *testing.T) {
	for _, name := range schedule.ZoneNames() {
		loc := zone(t, name)
		from := time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)
		var last time.Time
		var lastShift time.Duration
		for at := from; ; {
			_, end := at.In(loc).ZoneBounds()
			if end.IsZero() || end.Year() > 2100 {
				break
			}
			_, off := at.In(loc).Zone()
			_, then := end.In(loc).Zone()
			if shift := time.Duration(then-off) * time.Second; shift != 0 {
				if !last.IsZero() && end.Sub(last) < shift.Abs()+lastShift.Abs() {
					t.Errorf("%s: changes at %v and %v are too close", name, last, end)
				}
				last, lastShift = end, shift
			}
			if !end.After(at) { // 31 December of a leap year
				end = at.Add(24 * time.Hour)
			}
			at = end
		}
	}
}

// quick fails the test if a function takes more of the processor than a limit,
// three times in a row: once may be the collector of garbage.
func quick(t interface {
	Helper()
	Errorf(format string, args ...any)
}, limit time.Duration, f func(),
) {
	t.Helper()
	best := time.Duration(1 << 62)
	for range 3 {
		if best = min(best, cputime.Of(f)); best <= limit {
			return
		}
	}
	t.Errorf("took %v, want less than %v", best, limit)
}
