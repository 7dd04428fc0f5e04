package schedule_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

func TestRefusedCrons(t *testing.T) {
	for _, c := range []struct {
		cron, code string
		at, length int
		message    string // a part of it
		hint       string // a part of it
	}{
		{"0 2 * *", "SYN1202", 0, 7, `cron "0 2 * *" has four fields`, "minute hour day month weekday"},
		{"0 */5 * * * *", "SYN1202", 0, 13, `cron "0 */5 * * * *" has six fields; there is no seconds field`, "every: 10s, or five fields"},
		{"0 0 0 1 1 * 2030 x", "SYN1202", 0, 18, "eight fields", ""},
		{"   ", "SYN1202", 0, 0, "empty", ""},
		{strings.Repeat("1,", 200) + "1 * * * *", "SYN1202", 0, 0, "at most", ""},
		{strings.Repeat(",", 100_000), "SYN1202", 0, 0, "at most", ""},

		{"61 2 * * *", "SYN1203", 0, 2, "minute 61 is above 59", "0 to 59"},
		{"75 * * * *", "SYN1203", 0, 2, "minute 75 is above 59", ""},
		{"0 26 * * *", "SYN1203", 2, 2, "hour 26 is above 23", ""},
		{"0 0 0 * *", "SYN1203", 4, 1, "day 0 is below 1", ""},
		{"0 0 32 * *", "SYN1203", 4, 2, "day 32 is above 31", ""},
		{"0 0 1 14 *", "SYN1203", 6, 2, "month 14 is above 12", ""},
		{"0 0 * * 8", "SYN1203", 8, 1, "weekday 8 is above 7", ""},
		{"70/5 * * * *", "SYN1203", 0, 2, "minute 70 is above 59", ""},
		{"7,99 * * * *", "SYN1203", 2, 2, "minute 99 is above 59", ""},
		{"12345678901234567890 * * * *", "SYN1203", 0, 20, "is above 59", ""},
		{"0 22-2 * * *", "SYN1203", 2, 4, "hours 22-2 run backward", "22-23,0-2"},
		{"40-20 * * * *", "SYN1203", 0, 5, "minutes 40-20 run backward", "40-59,0-20"},
		{"0 0 * NOV-FEB *", "SYN1203", 6, 7, "months NOV-FEB run backward", "NOV-DEC,JAN-FEB"},
		{"0 0 * * FRI-MON", "SYN1203", 8, 7, "weekdays FRI-MON run backward", "FRI-SUN,MON"},
		{"0 0 * * 7-2", "SYN1203", 8, 3, "run backward", "SUN-TUE"},
		{"0 0 * * 5-0", "SYN1203", 8, 3, "run backward", "FRI-SUN"},
		{"0 22-2/2 * * *", "SYN1203", 2, 6, "run backward", "22,0,2"},
		{"*/0 * * * *", "SYN1203", 2, 1, "step 0", "from 1"},
		{"*/00 * * * *", "SYN1203", 2, 2, "step 0", ""},
		{"*/ * * * *", "SYN1203", 2, 1, "step", ""},
		{"*/x * * * *", "SYN1203", 2, 1, `step "X" is not a number`, ""},
		{"*/5/5 * * * *", "SYN1203", 2, 3, "step", ""},
		{"1,,5 * * * *", "SYN1203", 1, 1, `empty item in "1,,5"`, "comma"},
		{"3,,9 * * * *", "SYN1203", 1, 1, "empty item", ""},
		{"3, * * * *", "SYN1203", 1, 1, "empty item", ""},
		{"3, 4 * * * *", "SYN1202", 0, 12, "six fields", ""},
		{",3 * * * *", "SYN1203", 0, 1, "empty item", ""},
		{"+5 * * * *", "SYN1203", 0, 2, `"+5" is not a minute`, "no sign"},
		{"-5 * * * *", "SYN1203", 0, 1, "end missing", ""},
		{"5- * * * *", "SYN1203", 2, 1, "end missing", ""},
		{"1-2-3 * * * *", "SYN1203", 2, 3, `"2-3" is not a minute`, "one range"},
		{"? * * * *", "SYN1203", 0, 1, `"?" is not a minute`, `"*"`},
		{"0 0 ? * MON", "SYN1203", 4, 1, "is not a day", `"*"`},
		{"H * * * *", "SYN1203", 0, 1, `"H" is not a minute`, "jitter"},
		{"H/5 * * * *", "SYN1203", 0, 1, `"H" is not a minute`, "jitter"},
		{"** * * * *", "SYN1203", 0, 2, `"**" is not a minute`, "stands alone"},
		{"0 MON * * *", "SYN1203", 2, 3, `"MON" is not an hour`, ""},
		{"0 0 * JANUARY *", "SYN1203", 6, 7, "is not a month", "JAN"},
		{"0 0 * * MOM", "SYN1203", 8, 3, "is not a weekday", `did you mean "MON"?`},
		{"L * * * *", "SYN1203", 0, 1, "is not a minute", "FRIL"},
		{"0 0 * * L", "SYN1203", 8, 1, "L as weekday", "FRIL"},
		{"0 0 LW * *", "SYN1203", 4, 2, "not supported", "15W"},
		{"0 0 L-3 * *", "SYN1203", 4, 3, "not supported", ""},
		{"0 0 15L * *", "SYN1203", 4, 3, "is not a day", ""},
		{"0 0 32W * *", "SYN1203", 4, 2, "day 32 is above 31", ""},
		{"0 0 0W * *", "SYN1203", 4, 1, "day 0 is below 1", ""},
		{"0 0 W * *", "SYN1203", 4, 1, "is not a day", ""},
		{"0 0 1-15W * *", "SYN1203", 6, 3, "is not a day", ""},
		{"0 0 * * 15W", "SYN1203", 8, 3, "is not a weekday", "15th"},
		{"0 0 * * FRI#6", "SYN1203", 12, 1, "no weekday number 6", "1 to 5"},
		{"0 0 * * FRI#0", "SYN1203", 12, 1, "no weekday number 0", ""},
		{"0 0 * * FRI#", "SYN1203", 12, 1, "no weekday number", ""},
		{"0 0 * * #2", "SYN1203", 8, 1, "", ""},
		{"0 0 * * 8#2", "SYN1203", 8, 1, "weekday 8 is above 7", ""},
		{"0 0 2#2 * *", "SYN1203", 4, 3, "is not a day", "FRI#2"},
		{"0 0 * * 9L", "SYN1203", 8, 1, "weekday 9 is above 7", ""},
		{"0 0 * * MON-FRIL", "SYN1203", 8, 7, "is not a weekday", ""},
		{"0 0 * * MON#2-3", "SYN1203", 12, 3, "", ""},

		{"\u00b9 * * * *", "SYN1203", 0, 1, "U+00B9", "0 to 9"},
		{"0 \uff15 * * *", "SYN1203", 2, 1, "U+FF15", "0 to 9"},
		{"0\u00a02 * * *", "SYN1203", 1, 1, "U+00A0", "ordinary space"},
		{"0 2 * * *\n", "SYN1203", 9, 1, "line break", "remove"},
		{"0 2 * * *\x00", "SYN1203", 9, 1, "U+0000", ""},
		{"0 2 * * \xff", "SYN1203", 8, 1, "UTF-8", ""},
		{"0 2 * * \u202eMON", "SYN1203", 8, 1, "U+202E", ""},

		{"TZ=UTC 0 2 * * *", "SYN1204", 0, 6, "put the zone in timezone: UTC", "remove TZ=UTC"},
		{"CRON_TZ=Europe/Rome 0 2 * * *", "SYN1204", 0, 19, "put the zone in timezone: Europe/Rome", ""},
		{"TZ=UTC", "SYN1204", 0, 6, "timezone", ""},
		{"TZ=", "SYN1204", 0, 3, "timezone", ""},
		{"tz=UTC 0 2 * * *", "SYN1204", 0, 6, "timezone", ""},
		{"@every 1ns", "SYN1204", 0, 6, "@every", "every:"},
		{"@every 10m", "SYN1204", 0, 6, "@every", "every: 10m"},
		{"@reboot", "SYN1204", 0, 7, "@reboot", ""},
		{"@fortnight", "SYN1204", 0, 10, "unknown macro @fortnight; there are @hourly @daily @weekly @monthly @yearly", ""},
		{"@Daily", "SYN1204", 0, 6, "unknown macro", `did you mean "@daily"?`},
		{"@always", "SYN1204", 0, 7, "unknown macro", ""},
		{"@5minutes", "SYN1204", 0, 9, "unknown macro", ""},
		{"@10minutes", "SYN1204", 0, 10, "unknown macro", ""},
		{"@15minutes", "SYN1204", 0, 10, "unknown macro", ""},
		{"@30minutes", "SYN1204", 0, 10, "unknown macro", ""},
		{"@everysecond", "SYN1204", 0, 12, "unknown macro", ""},
		{"@daily 5", "SYN1204", 7, 1, "@daily stands alone", ""},
		{"@", "SYN1204", 0, 1, "unknown macro", ""},

		{"0 0 30 2 *", "SYN1205", 0, 10, `"0 0 30 2 *" never comes: February has no 30th`, ""},
		{"0 0 31 2,4 *", "SYN1205", 0, 12, "never comes: neither February nor April has a 31st", ""},
		{"0 0 31 4,6,9 *", "SYN1205", 0, 14, "none of April, June and September has a 31st", ""},
		{"0 0 31W 2 *", "SYN1205", 0, 11, "February has no 31st", ""},
		{"0 0 30-31 FEB */2", "SYN1205", 0, 17, "February has no 30th", ""},
		{"0 0 */30 * */1,MON#3", "", 0, 0, "", ""},
		{"0 0 */40 * MON#3", "SYN1205", 0, 16, "never comes: no day of month */40 is a weekday MON#3", ""},
	} {
		_, err := schedule.New(schedule.Spec{Cron: c.cron})
		if c.code == "" {
			if err != nil {
				t.Errorf("New(%q): %v", c.cron, err)
			}
			continue
		}
		e, ok := errors.AsType[*schedule.Error](err)
		if !ok {
			t.Errorf("New(%.40q) = %v, want an *Error", c.cron, err)
			continue
		}
		if e.Code != c.code || e.Offset != c.at || e.Len != c.length || e.Field != "cron" || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("New(%.40q):\n got %s %s+%d,%d %q → %q\nwant %s cron+%d,%d …%q… → …%q…",
				c.cron, e.Code, e.Field, e.Offset, e.Len, e.Message, e.Hint, c.code, c.at, c.length, c.message, c.hint)
		}
		if e.Hint == "" {
			t.Errorf("New(%.40q): no hint beside %q", c.cron, e.Message)
		}
		for _, word := range []string{"invalid", "illegal", "failed to"} {
			if strings.Contains(e.Error(), word) {
				t.Errorf("New(%.40q): message says %q: %s", c.cron, word, e)
			}
		}
		if len(e.Error()) > 1024 {
			t.Errorf("New(%.40q): message of %d bytes", c.cron, len(e.Error()))
		}
	}
}

func TestCronByHand(t *testing.T) {
	from := "2026-01-01T00:00:00Z" // a Thursday
	for _, c := range []struct {
		cron string
		want []string // the first ticks after from
	}{
		{"0 0 1 1 *", []string{"2027-01-01T00:00", "2028-01-01T00:00"}},
		{"@yearly", []string{"2027-01-01T00:00"}},
		{"@annually", []string{"2027-01-01T00:00"}},
		{"@monthly", []string{"2026-02-01T00:00"}},
		{"@weekly", []string{"2026-01-04T00:00", "2026-01-11T00:00"}},
		{"@daily", []string{"2026-01-02T00:00"}},
		{"@midnight", []string{"2026-01-02T00:00"}},
		{"@hourly", []string{"2026-01-01T01:00"}},
		{"  007  02\t*  *   * ", []string{"2026-01-01T02:07", "2026-01-02T02:07"}},
		{"0 0 29 2 *", []string{"2028-02-29T00:00", "2032-02-29T00:00"}},
		{"0 12 L * *", []string{"2026-01-31T12:00", "2026-02-28T12:00", "2026-03-31T12:00"}},
		{"0 12 15W * *", []string{"2026-01-15T12:00", "2026-02-16T12:00", "2026-03-16T12:00"}},
		{"0 12 1W * *", []string{"2026-01-01T12:00", "2026-02-02T12:00", "2026-03-02T12:00", "2026-04-01T12:00"}},
		{"0 12 31W * *", []string{"2026-01-30T12:00", "2026-03-31T12:00", "2026-05-29T12:00"}},
		{"0 12 * * 5L", []string{"2026-01-30T12:00", "2026-02-27T12:00"}},
		{"0 12 * * fril", []string{"2026-01-30T12:00", "2026-02-27T12:00"}},
		{"0 12 * * 0L", []string{"2026-01-25T12:00", "2026-02-22T12:00"}},
		{"0 12 * * 7L", []string{"2026-01-25T12:00", "2026-02-22T12:00"}},
		{"0 12 * * MON#2", []string{"2026-01-12T12:00", "2026-02-09T12:00"}},
		{"0 12 * * 7#1", []string{"2026-01-04T12:00", "2026-02-01T12:00"}},
		{"0 12 * * MON#5", []string{"2026-03-30T12:00", "2026-06-29T12:00"}},
		{"0 0 13 * FRI", []string{"2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00", "2026-01-16T00:00"}},
		{"0 0 */2 * FRI", []string{"2026-01-09T00:00", "2026-01-23T00:00", "2026-02-13T00:00"}},
		{"0 0 13 * *,FRI", []string{"2026-01-13T00:00", "2026-02-13T00:00"}},
		{"0 0 13 * FRI,*", []string{"2026-01-02T00:00", "2026-01-03T00:00"}},
		{"0 0 13 * */2", []string{"2026-01-13T00:00", "2026-06-13T00:00"}},
		{"0 0 * * FRI-SUN", []string{"2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00", "2026-01-09T00:00"}},
		{"0 0 * * 4-7/3", []string{"2026-01-04T00:00", "2026-01-08T00:00"}},
		{"0 0 * * 1/3", []string{"2026-01-04T00:00", "2026-01-05T00:00", "2026-01-08T00:00"}},
		{"0 0 * * 7", []string{"2026-01-04T00:00"}},
		{"0 0 * * sun-tue", []string{"2026-01-04T00:00", "2026-01-05T00:00", "2026-01-06T00:00", "2026-01-11T00:00"}},
		{"50/5 23 * * *", []string{"2026-01-01T23:50", "2026-01-01T23:55", "2026-01-02T23:50"}},
		{"*/90 * * * *", []string{"2026-01-01T01:00", "2026-01-01T02:00"}},
		{"0 0 1 jul *", []string{"2026-07-01T00:00"}},
		{"0 0 1 */5 *", []string{"2026-06-01T00:00", "2026-11-01T00:00", "2027-01-01T00:00"}},
	} {
		s := must(t, schedule.Spec{Cron: c.cron})
		at := instant(t, from)
		var got []string
		for range c.want {
			tick, ok := s.Next(at)
			if !ok {
				break
			}
			got, at = append(got, tick.Local), tick.At
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q:\n got %q\nwant %q", c.cron, got, c.want)
		}
	}
}

func TestLeapDaysOver2100(t *testing.T) {
	s := must(t, schedule.Spec{Cron: "0 0 29 2 *", Zone: "America/New_York"})
	if tick, ok := s.Next(instant(t, "2096-03-01T00:00:00Z")); !ok || tick.Local != "2104-02-29T00:00" {
		t.Errorf("after 2096: %v %v, want 2104", tick, ok)
	}
	if tick, ok := s.Prev(instant(t, "2104-02-28T00:00:00Z")); !ok || tick.Local != "2096-02-29T00:00" {
		t.Errorf("before 2104: %v %v, want 2096", tick, ok)
	}
	s = must(t, schedule.Spec{Cron: "0 0 29 2 */7"}) // Sundays
	if tick, ok := s.Next(instant(t, "2088-03-01T00:00:00Z")); !ok || tick.Local != "2128-02-29T00:00" {
		t.Errorf("Sunday 29 February after 2088: %v %v, want 2128", tick, ok)
	}
	if _, ok := s.Next(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)); ok {
		t.Error("a tick after the year 9999")
	}
}

// A gap that holds every candidate for ever: the search must end.
func TestNeverFiringForEver(t *testing.T) {
	s := must(t, schedule.Spec{Cron: "30 2 * 3 SUNL", Zone: "Europe/Vienna", Gap: schedule.GapSkip})
	quick(t, 100*time.Millisecond, func() {
		if tick, ok := s.Next(instant(t, "2027-01-01T00:00:00Z")); ok {
			t.Errorf("fires at %v", tick)
		}
	})
	lines := s.Explain(instant(t, "2027-01-01T00:00:00Z"), 1)
	if len(lines) != 1 || lines[0].Fires || lines[0].Text != "does not exist → does not fire (dst.gap: skip)" {
		t.Errorf("Explain = %+v", lines)
	}
}

func TestKindsAndFieldsWithoutEffect(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		spec                 schedule.Spec
		code, field, message string
	}{
		{schedule.Spec{}, "SYN1201", "schedule", "a schedule has one of cron, every, at; found none"},
		{schedule.Spec{Cron: "* * * * *", Every: time.Hour}, "SYN1201", "schedule", "found cron and every"},
		{schedule.Spec{Every: time.Hour, At: []time.Time{now}}, "SYN1201", "schedule", "found every and at"},
		{schedule.Spec{Cron: "*/5 * * * *", Gap: "next"}, "SYN1209", "dst", `dst does nothing here: "*/5 * * * *" follows the clock`},
		{schedule.Spec{Cron: "@hourly", Overlap: "both"}, "SYN1209", "dst", "follows the clock"},
		{schedule.Spec{Every: time.Hour, Gap: "skip"}, "SYN1209", "dst", "dst does nothing here"},
		{schedule.Spec{At: []time.Time{now}, Overlap: "first"}, "SYN1209", "dst", "dst does nothing here"},
		{schedule.Spec{Cron: "0 0 * * *", Anchor: now}, "SYN1209", "anchor", "anchor is for every"},
		{schedule.Spec{Cron: "0 0 * * *", Gap: "later"}, "SYN1009", "dst", "next or skip"},
		{schedule.Spec{Cron: "0 0 * * *", Overlap: "last"}, "SYN1009", "dst", "first, second or both"},
		{schedule.Spec{Every: time.Millisecond}, "SYN1203", "every", "every 1ms is below 1s"},
		{schedule.Spec{Every: -time.Hour}, "SYN1203", "every", "below 1s"},
		{schedule.Spec{Every: 53 * 7 * 24 * time.Hour}, "SYN1203", "every", "every 53w is above 52w"},
		{schedule.Spec{At: make([]time.Time, 1001)}, "SYN1203", "at", "1001 instants"},
		{schedule.Spec{Cron: "0 0 * * *", Zone: "europe/berlin"}, "SYN1207", "timezone", "unknown time zone"},
	} {
		_, err := schedule.New(c.spec)
		e, ok := errors.AsType[*schedule.Error](err)
		if !ok || e.Code != c.code || e.Field != c.field || !strings.Contains(e.Message, c.message) || e.Hint == "" {
			t.Errorf("New(%+v) = %+v, want %s %s …%s…", c.spec, err, c.code, c.field, c.message)
		}
	}
}
