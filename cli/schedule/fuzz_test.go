package schedule_test

import (
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

func FuzzCron(f *testing.F) {
	for _, text := range tellingCrons {
		f.Add(text, uint8(0), int64(1_800_000_000))
	}
	for _, text := range []string{
		"75 * * * *", "*/0 * * * *", "40-20 * * * *", "3,,9 * * * *", "+5 * * * *", "5- * * * *", "1-2-3 * * * *", "7,99 * * * *", "TZ=UTC 0 2 * * *", "CRON_TZ=",
		"99999999999999999999 * * * *", "\u00b9 * * * *", "0\u00a02 * * *", "0 0 31 2,4 *", "@every 1ns", "@reboot", "0 0 L-3 * *", "0 0 ? * *", "H * * * *",
		"0 0 15W * FRI#2", "0 0 * * 7-7/3", "0 0 *,L * *,5L", "0 0 29 2 */7", "*/99999 * * * *", "0 0 LW * *", "0 0 * * #", "0 0 W * L",
	} {
		f.Add(text, uint8(3), int64(-5_000_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, place uint8, unix int64) {
		spec := schedule.Spec{Cron: text, Zone: oddZones[int(place)%len(oddZones)]}
		quick(t, 100*time.Millisecond, func() {
			if s, err := schedule.New(spec); err == nil {
				s.Next(time.Unix(unix, 0))
				s.Prev(time.Unix(unix, 0))
				s.Warnings(time.Unix(unix, 0))
			}
		})
		s, err := schedule.New(spec)
		if err != nil {
			e, ok := errors.AsType[*schedule.Error](err)
			if !ok || e.Code == "" || e.Message == "" || len(e.Error()) > 4096 || !utf8.ValidString(e.Error()) {
				t.Fatalf("%q: %v", text, err)
			}
			if n := utf8.RuneCountInString(text); e.Offset < 0 || e.Offset > n || e.Offset+e.Len > n+1 {
				t.Fatalf("%q: place %d+%d of %d", text, e.Offset, e.Len, n)
			}
			return
		}
		at := time.Unix(unix, 0)
		if next, ok := s.Next(at); ok {
			if !next.At.After(at) && unix > -62135596800 {
				t.Fatalf("%q: Next(%v) = %v", text, at, next.At)
			}
			if again, ok := s.PrevAt(next.At.Add(1)); !ok || !again.Equal(next.At) {
				t.Fatalf("%q: Prev after Next(%v) = %v, want %v", text, at, again, next.At)
			}
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, text := range []string{"-5m", "0", "9999999h", "1e9", "5", "5 m", "P1D", "1h30m", "0.5s", "1w2d3h4m5s6ms", "0.000001ms", "15250w"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := schedule.ParseDuration(text)
		if err != nil {
			if e, ok := errors.AsType[*schedule.Error](err); !ok || len(e.Error()) > 4096 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if again, err := schedule.ParseDuration(schedule.FormatDuration(d)); d < 0 || err != nil || again != d {
			t.Fatalf("%q → %v → %v, %v", text, d, again, err)
		}
	})
}

func FuzzInstant(f *testing.F) {
	for _, text := range []string{"2026-11-22T05:30:00Z", "2026-11-22 05:30", "2027-03-28T02:30", "2026-11-22", "2026-02-30", "9999-12-31T23:59:59-23:59", "2027-10-31T02:30"} {
		f.Add(text, uint8(0))
	}
	f.Fuzz(func(t *testing.T, text string, place uint8) {
		loc := zone(t, oddZones[int(place)%len(oddZones)])
		at, err := schedule.ParseInstant(text, loc)
		if err != nil {
			if e, ok := errors.AsType[*schedule.Error](err); !ok || len(e.Error()) > 4096 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		// The standard library reads RFC 3339 too, and must agree.
		if want, err := time.Parse(time.RFC3339, text); err == nil && !want.Equal(at) {
			t.Fatalf("%q = %v, want %v", text, at, want)
		}
		if len(text) == len("2006-01-02T15:04") {
			if wall := at.In(loc).Format("2006-01-02T15:04"); wall[:10] != text[:10] || wall[11:] != text[11:] {
				t.Fatalf("%q shows %s", text, wall)
			}
		}
	})
}
