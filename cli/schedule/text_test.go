package schedule_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "0.5s": 500 * time.Millisecond,
		"1w2d3h4m5s6ms": (9*24+3)*time.Hour + 4*time.Minute + 5*time.Second + 6*time.Millisecond,
		"1.5h":          90 * time.Minute, "0s": 0, "0.000001ms": 1, "1h0.5m": time.Hour + 30*time.Second,
		"15250w": 15250 * 7 * 24 * time.Hour, "1.10h": 66 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		if got, err := schedule.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for text, word := range map[string]string{
		"": "empty", "5": "has no unit", "1.5": "has no unit", "-5m": "sign", "+5m": "sign", "5 m": "space", " 5m": "space",
		"P1D": "ISO 8601", "PT5M": "ISO 8601", "1e9": "units", "1e9s": "units", "9999999h": "292 years", "30m1h": "order", "1h1h": "each once", "5M": "units",
		"5y": "units", "5us": "units", ".5s": "not a number", "5.s": "not a number", "1..5s": "not a number", "01h": "leading zero",
		"m": "not a number", "5m5": "no unit", "0.0000001ms": "nanosecond", "99999999999999999999s": "292 years", "15250w9d": "292 years",
		"５m": "not a number", "5m\n": "not a number", strings.Repeat("9", 100_000): "too long",
	} {
		got, err := schedule.ParseDuration(text)
		e, ok := errors.AsType[*schedule.Error](err)
		if !ok || e.Code != "SYN1009" || !strings.Contains(e.Message, word) || e.Hint == "" || len(e.Error()) > 500 {
			t.Errorf("ParseDuration(%.40q) = %v, %v, want an error with %q", text, got, err, word)
		}
	}
	_, err := schedule.ParseDuration("5")
	if want := `"5" has no unit → 5s, 5m, 5h`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	for want, d := range map[string]time.Duration{
		"0s": 0, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour, "1w": 7 * 24 * time.Hour, "1s500ms": 1500 * time.Millisecond,
		"-5m": -5 * time.Minute, "0.000001ms": 1, "1w1d1h1m1s1ms": (8*24+1)*time.Hour + time.Minute + time.Second + time.Millisecond,
	} {
		if got := schedule.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestDurationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "d"))
		if got, err := schedule.ParseDuration(schedule.FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%d → %q → %d, %v", d, schedule.FormatDuration(d), got, err)
		}
	})
	if s := schedule.FormatDuration(math.MinInt64); s[0] != '-' {
		t.Errorf("FormatDuration(MinInt64) = %q", s)
	}
}

func TestInstants(t *testing.T) {
	vienna := zone(t, "Europe/Vienna")
	for _, c := range []struct {
		text string
		loc  *time.Location
		want string
	}{
		{"2026-11-22T05:30:00Z", vienna, "2026-11-22T05:30:00Z"},
		{"2026-11-22T05:30:00+01:00", nil, "2026-11-22T04:30:00Z"},
		{"2026-11-22 05:30:00-05:30", nil, "2026-11-22T11:00:00Z"},
		{"2026-11-22T05:30:00.25Z", nil, "2026-11-22T05:30:00.25Z"},
		{"2026-11-22T05:30", vienna, "2026-11-22T04:30:00Z"},
		{"2026-11-22 05:30:15", vienna, "2026-11-22T04:30:15Z"},
		{"2026-11-22", vienna, "2026-11-21T23:00:00Z"},
		{"2026-11-22", nil, "2026-11-22T00:00:00Z"},
		{"2027-10-31T02:30", vienna, "2027-10-31T00:30:00Z"}, // comes twice: the first
		{"2027-10-31T03:00", vienna, "2027-10-31T02:00:00Z"},
		{"2027-03-28T03:00", vienna, "2027-03-28T01:00:00Z"},
		{"2024-02-29", nil, "2024-02-29T00:00:00Z"},
	} {
		got, err := schedule.ParseInstant(c.text, c.loc)
		if err != nil || got.Format(time.RFC3339Nano) != c.want || got.Location() != time.UTC {
			t.Errorf("ParseInstant(%q) = %v, %v, want %v", c.text, got, err, c.want)
		}
	}
	for text, word := range map[string]string{
		"": "not an instant", "now": "not an instant", "2027-03-28T02:30": "does not exist in Europe/Vienna: the clock goes from 02:00 to 03:00 → 2027-03-28T03:00",
		"2026-13-01": "does not exist", "2026-02-29": "does not exist", "2026-00-10": "does not exist", "0000-01-01": "does not exist",
		"2026-11-22T24:00": "time of day", "2026-11-22T05:60": "time of day", "2026-11-22T05:30:60Z": "time of day",
		"2026-11-22T05": "not an instant", "2026-11-22T5:30": "not an instant", "2026-11-22T05:30Z": "2026-11-22T05:30:00Z",
		"2026-11-22T05:30:00+1:00": "not an instant", "2026-11-22T05:30:00+25:00": "not an instant", "2026-11-22T05:30:00 Z": "not an instant",
		"2026-11-22T05:30:00.Z": "not an instant", "2026-11-22T05:30:00.1234567890Z": "not an instant", "2026-11-22T05:30:00.5": "fraction",
		"2026-11-22t05:30": "not an instant", "2026-11-22T05:30:00z": "not an instant", "2026-11-22T05:30 ": "not an instant", "20261122": "not an instant",
		"1766000000": "not an instant", "2026-1-2": "not an instant", "２026-11-22": "not an instant", "2026-11-22T": "not an instant",
	} {
		got, err := schedule.ParseInstant(text, vienna)
		e, ok := errors.AsType[*schedule.Error](err)
		if !ok || e.Code != "SYN1009" || !strings.Contains(e.Error(), word) {
			t.Errorf("ParseInstant(%q) = %v, %v, want an error with %q", text, got, err, word)
		}
	}
	if _, err := schedule.ParseInstant("2027-09-05", zone(t, "America/Santiago")); err == nil || !strings.Contains(err.Error(), "2027-09-05T01:00") {
		t.Errorf("a midnight that does not exist: %v", err)
	}
}

func TestTimesOfDay(t *testing.T) {
	if h, m, err := schedule.ParseTimeOfDay("23:05"); h != 23 || m != 5 || err != nil {
		t.Errorf("23:05 = %d, %d, %v", h, m, err)
	}
	for _, text := range []string{"", "7:5", "7:00 pm", "24:00", "12:60", "12:00:00", "1200", "12:0x", " 12:00"} {
		if _, _, err := schedule.ParseTimeOfDay(text); err == nil {
			t.Errorf("ParseTimeOfDay(%q) is accepted", text)
		}
	}
}

func TestZones(t *testing.T) {
	for name, want := range map[string]string{
		"europe/berlin": `did you mean "Europe/Berlin"?`, "Berlin": `did you mean "Europe/Berlin"?`, "New York": `did you mean "America/New_York"?`,
		"Europe/Berln": `did you mean "Europe/Berlin"?`, "Eurpoe/Vienna": `did you mean "Europe/Vienna"?`, "right/Europe/Berlin": `did you mean "Europe/Berlin"?`,
		"US/Eastern": `did you mean "America/New_York"?`, "Asia/Calcutta": `did you mean "Asia/Kolkata"?`, "Europe/Kiev": `did you mean "Europe/Kyiv"?`,
		"EST5EDT4": `did you mean "America/New_York"?`, "EST": `did you mean "America/Panama"?`, "utc": `did you mean "UTC"?`, "Zulu": `did you mean "UTC"?`,
		"Local": `"UTC", or a name`, "localtime": `"UTC", or a name`, "posixrules": `"UTC", or a name`, "": "Europe/Berlin", "../../etc/passwd": "Europe/Berlin",
		"+02:00": "Etc/GMT-2 is UTC+2", "UTC-5": "Etc/GMT+5 is UTC-5", "+05:30": "Europe/Berlin", "Etc/UTC\x00": `did you mean "Etc/UTC"?`,
		strings.Repeat("x", 100_000): "Europe/Berlin", "Europe/Berlin/": `did you mean "Europe/Berlin"?`, "/etc/localtime": "Europe/Berlin",
	} {
		_, err := schedule.LoadZone(name)
		e, ok := errors.AsType[*schedule.Error](err)
		if !ok || e.Code != "SYN1207" || e.Field != "timezone" || !strings.Contains(e.Hint, want) || len(e.Error()) > 500 {
			t.Errorf("LoadZone(%.40q) = %+v, want a hint with %s", name, err, want)
		}
		quick(t, 100*time.Millisecond, func() { schedule.LoadZone(name) })
	}
	_, err := schedule.LoadZone("europe/berlin")
	if want := `unknown time zone "europe/berlin"; did you mean "Europe/Berlin"?`; err.Error() != want {
		t.Errorf("got %s, want %s", err, want)
	}
	names := schedule.ZoneNames()
	for _, name := range []string{"UTC", "Etc/UTC", "Europe/Vienna", "Europe/Stockholm", "Asia/Kolkata", "America/Nuuk", "Etc/GMT-14", "Europe/Vatican"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not known", name)
		}
	}
	for _, name := range names {
		if loc := zone(t, name); loc.String() != name && name != "Etc/UTC" {
			t.Errorf("zone %s calls itself %s", name, loc)
		}
	}
	if a, b := zone(t, "Europe/Vienna"), zone(t, "Europe/Vienna"); a != b {
		t.Error("a zone is loaded twice")
	}
}

// A host whose zone files say something else must not matter.
func TestZonesComeFromTheProgram(t *testing.T) {
	t.Setenv("ZONEINFO", t.TempDir())
	t.Setenv("TZ", "Asia/Tokyo")
	s := must(t, schedule.Spec{Cron: "0 12 * * *", Zone: "Africa/Nairobi"})
	if tick, _ := s.Next(instant(t, "2026-01-01T00:00:00Z")); tick.At.Hour() != 9 {
		t.Errorf("noon in Nairobi is %v", tick.At)
	}
}

func TestNextTimeOfDay(t *testing.T) {
	berlin, apia := zone(t, "Europe/Berlin"), zone(t, "Pacific/Apia")
	for name, c := range map[string]struct {
		after string
		h, m  int
		loc   *time.Location
		want  string
	}{
		"later today":            {"2026-11-22T05:59:59.5Z", 7, 0, berlin, "2026-11-22T06:00:00Z"},
		"strictly after":         {"2026-11-22T06:00:00Z", 7, 0, berlin, "2026-11-23T06:00:00Z"},
		"no zone":                {"2026-11-22T06:00:00Z", 7, 0, nil, "2026-11-22T07:00:00Z"},
		"in a gap":               {"2027-03-28T00:00:00Z", 2, 30, berlin, "2027-03-28T01:00:00Z"},
		"after the gap":          {"2027-03-28T01:00:00Z", 2, 30, berlin, "2027-03-29T00:30:00Z"},
		"twice, before":          {"2027-10-31T00:00:00Z", 2, 30, berlin, "2027-10-31T00:30:00Z"},
		"twice, between":         {"2027-10-31T00:45:00Z", 2, 30, berlin, "2027-11-01T01:30:00Z"},
		"a day that is left out": {"2011-12-30T09:00:00Z", 23, 0, apia, "2011-12-30T10:00:00Z"}, // 23:00 of the 30th is no more
		"the day after it":       {"2011-12-30T10:00:00Z", 23, 0, apia, "2011-12-31T09:00:00Z"},
	} {
		after, err := time.Parse(time.RFC3339Nano, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := schedule.NextTimeOfDay(after, c.h, c.m, c.loc).Format(time.RFC3339); got != c.want {
			t.Errorf("%s: after %s comes %s, want %s", name, c.after, got, c.want)
		}
	}
}
