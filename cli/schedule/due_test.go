package schedule_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

func TestDue(t *testing.T) {
	at := func(text string) time.Time { return instant(t, "2026-06-"+text+"Z") }
	hourly, daily := schedule.Spec{Cron: "0 * * * *"}, schedule.Spec{Cron: "0 2 * * *"}
	type p = schedule.Policy
	missed := func(from, until string, n int64) []schedule.Range {
		return []schedule.Range{{From: at(from), Until: at(until), Count: n}}
	}
	for _, c := range []struct {
		name      string
		spec      schedule.Spec
		next, now string
		policy    p
		want      schedule.Due
	}{
		{"nothing is due", hourly, "10T05:00:00", "10T04:59:59", p{}, schedule.Due{Next: at("10T05:00:00")}},
		{"the clock went back", hourly, "10T05:00:00", "10T01:30:00", p{}, schedule.Due{Next: at("10T05:00:00")}},
		{"to the second", hourly, "10T05:00:00", "10T05:00:00", p{}, schedule.Due{Run: []time.Time{at("10T05:00:00")}, Next: at("10T06:00:00")}},
		{"on time, though nothing is caught up", hourly, "10T05:00:00", "10T05:01:00", p{Catchup: "none"}, schedule.Due{Run: []time.Time{at("10T05:00:00")}, Next: at("10T06:00:00")}},
		{"late by a second", hourly, "10T05:00:00", "10T05:01:01", p{Catchup: "none"}, schedule.Due{Missed: missed("10T05:00:00", "10T05:00:00", 1), Next: at("10T06:00:00")}},
		{"late, and made up for", hourly, "10T05:00:00", "10T05:40:00", p{}, schedule.Due{Run: []time.Time{at("10T05:00:00")}, Next: at("10T06:00:00")}},
		{"half of a short distance", schedule.Spec{Every: 10 * time.Second}, "10T05:00:00", "10T05:00:06", p{Catchup: "none"}, schedule.Due{Missed: missed("10T05:00:00", "10T05:00:00", 1), Next: at("10T05:00:10")}},
		{"latest", hourly, "10T01:00:00", "10T05:40:00", p{}, schedule.Due{Run: []time.Time{at("10T05:00:00")}, Missed: missed("10T01:00:00", "10T04:00:00", 4), Next: at("10T06:00:00")}},
		{"latest, and the newest is on time", hourly, "10T01:00:00", "10T05:00:20", p{}, schedule.Due{Run: []time.Time{at("10T05:00:00")}, Missed: missed("10T01:00:00", "10T04:00:00", 4), Next: at("10T06:00:00")}},
		{"latest beyond the window", daily, "10T02:00:00", "12T01:00:00", p{Window: time.Hour}, schedule.Due{Missed: missed("10T02:00:00", "11T02:00:00", 2), Next: at("12T02:00:00")}},
		{"latest at the edge of the window", daily, "10T02:00:00", "11T01:00:00", p{Window: 23 * time.Hour}, schedule.Due{Run: []time.Time{at("10T02:00:00")}, Next: at("11T02:00:00")}},
		{"none", hourly, "10T01:00:00", "10T05:40:00", p{Catchup: "none"}, schedule.Due{Missed: missed("10T01:00:00", "10T05:00:00", 5), Next: at("10T06:00:00")}},
		{"none, and the newest is on time", hourly, "10T01:00:00", "10T05:00:20", p{Catchup: "none"}, schedule.Due{Run: []time.Time{at("10T05:00:00")}, Missed: missed("10T01:00:00", "10T04:00:00", 4), Next: at("10T06:00:00")}},
		{"all", hourly, "10T03:00:00", "10T05:40:00", p{Catchup: "all"}, schedule.Due{Run: []time.Time{at("10T03:00:00"), at("10T04:00:00"), at("10T05:00:00")}, Next: at("10T06:00:00")}},
		{"all within the window", hourly, "10T01:00:00", "10T05:40:00", p{Catchup: "all", Window: 2 * time.Hour}, schedule.Due{Run: []time.Time{at("10T04:00:00"), at("10T05:00:00")}, Missed: missed("10T01:00:00", "10T03:00:00", 3), Next: at("10T06:00:00")}},
		{"a listed instant, and never again", schedule.Spec{At: []time.Time{at("10T01:00:00")}}, "10T01:00:00", "10T03:00:00", p{}, schedule.Due{Run: []time.Time{at("10T01:00:00")}}},
		{"what was next is no tick any more", hourly, "10T01:30:00", "10T03:20:00", p{}, schedule.Due{Run: []time.Time{at("10T03:00:00")}, Missed: missed("10T02:00:00", "10T02:00:00", 1), Next: at("10T04:00:00")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := must(t, c.spec).Due(at(c.next), at(c.now), c.policy)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDueBoundsWhatItRuns(t *testing.T) {
	s := must(t, schedule.Spec{Cron: "* * * * *", Zone: "Europe/Vienna"})
	now := instant(t, "2027-06-01T00:00:30Z")
	next := now.Add(-30*time.Second).AddDate(-1, 0, 0)
	for _, c := range []struct {
		policy schedule.Policy
		runs   int
	}{
		{schedule.Policy{}, 1},
		{schedule.Policy{Catchup: "none"}, 1},
		{schedule.Policy{Catchup: "all"}, 1000},
		{schedule.Policy{Catchup: "all", Window: 366 * 24 * time.Hour}, 1000},
	} {
		var d schedule.Due
		limit := 5 * time.Millisecond
		if c.runs > 1 {
			limit = 50 * time.Millisecond
		}
		quick(t, limit, func() { d = s.Due(next, now, c.policy) })
		if len(d.Run) != c.runs || !d.Run[len(d.Run)-1].Equal(now.Add(-30*time.Second)) || !slices.IsSortedFunc(d.Run, time.Time.Compare) {
			t.Errorf("%+v: %d runs, want %d", c.policy, len(d.Run), c.runs)
		}
		if want := int64(365*24*60 + 1 - c.runs); len(d.Missed) != 1 || d.Missed[0].Count != want || !d.Missed[0].From.Equal(next) {
			t.Errorf("%+v: missed %+v, want %d from %v", c.policy, d.Missed, want, next)
		}
	}
}

// Each tick is decided once, whenever one looks.
func TestDueDecidesEachTickOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		s, err := schedule.New(spec)
		if err != nil {
			t.Skip()
		}
		policy := schedule.Policy{
			Catchup: rapid.SampledFrom([]schedule.Catchup{"", "latest", "none", "all"}).Draw(t, "catchup"),
			Window:  rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour, 300 * time.Hour}).Draw(t, "window"),
		}
		start := drawInstant(t)
		next, ok := s.NextAt(start)
		if !ok {
			return
		}
		now := next.Add(-time.Minute)
		var decided int64
		first := next
		for range 5 {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(50*time.Hour)).Draw(t, "step")))
			d := s.Due(next, now, policy)
			for _, r := range d.Missed {
				decided += r.Count
				if r.From.Before(next) || r.Until.Before(r.From) || len(d.Run) > 0 && !r.Until.Before(d.Run[0]) {
					t.Fatalf("range %+v, runs %v, next %v", r, d.Run, next)
				}
			}
			decided += int64(len(d.Run))
			if d.Next.IsZero() {
				return
			}
			if want := s.Count(first, d.Next); decided != want {
				t.Fatalf("decided %d ticks up to %v, want %d", decided, d.Next, want)
			}
			if !d.Next.After(now) {
				t.Fatalf("next %v is not after %v", d.Next, now)
			}
			next = d.Next
		}
	})
}
