package worker

import (
	"testing"
	"time"
)

func TestAhead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		trip, ran time.Duration
		age       time.Duration
		since     time.Duration // the newest end
		want      int
	}{
		{"before the first round trip", 0, time.Millisecond, 0, 0, 0},
		{"tasks of a minute", time.Millisecond, time.Minute, 0, 0, 0},
		{"short ones, but those that run now take long", time.Millisecond, time.Millisecond, time.Second, 0, 0},
		{"as long as a turn", 2 * time.Millisecond, 6 * time.Millisecond, 0, 0, 8},
		{"half as long", 2 * time.Millisecond, 3 * time.Millisecond, 0, 0, 16},
		{"short ones, but a while ago", 2 * time.Millisecond, 3 * time.Millisecond, 0, time.Second, 0},
		{"a slow database", 200 * time.Millisecond, 200 * time.Millisecond, 0, 0, 0},
		{"never more than a few for each slot", 2 * time.Millisecond, time.Microsecond, 0, 0, 32},
	} {
		now := time.Unix(1000, 0)
		p := pace{trip: c.trip, ran: c.ran, newest: now.Add(-c.since)}
		if got := p.ahead(8, c.age, now); got != c.want {
			t.Errorf("%s: ahead = %d, want %d", c.name, got, c.want)
		}
	}
}

func TestRateFollowsEnds(t *testing.T) {
	t.Parallel()
	var p pace
	now := time.Unix(1000, 0)
	for range 100 {
		now = now.Add(10 * time.Millisecond)
		p.ended(10, now)
	}
	if p.rate < 900 || p.rate > 1100 {
		t.Errorf("rate = %v after a second of 10 ends each 10 ms, want 1000", p.rate)
	}
	p.ended(0, now.Add(time.Second))
	if p.rate > 1 {
		t.Errorf("rate = %v after a second of silence, want none", p.rate)
	}
}
