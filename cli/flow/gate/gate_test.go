package gate_test

import (
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
)

func TestRoomIsInOrderAndUnderTheLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		running, before, limit int
		want                   bool
	}{{0, 0, 1, true}, {1, 0, 1, false}, {1, 0, 2, true}, {0, 1, 2, false}} {
		if got := gate.Room(tt.running, tt.before, tt.limit); got != tt.want {
			t.Errorf("Room(%d, %d, %d) = %t, want %t", tt.running, tt.before, tt.limit, got, tt.want)
		}
	}
}

func TestFitsGivesWhatIsTooLargeThePoolAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		slots, taken, wants int
		want                bool
	}{{2, 0, 2, true}, {2, 1, 1, true}, {2, 1, 2, false}, {2, 2, 1, false}, {2, 0, 3, true}, {4, 1, 5, false}, {1, 3, 1, false}} {
		if got := gate.Fits(tt.slots, tt.taken, tt.wants); got != tt.want {
			t.Errorf("Fits(%d, %d, %d) = %t, want %t", tt.slots, tt.taken, tt.wants, got, tt.want)
		}
	}
}

func TestSpareHasNoLimitAtZero(t *testing.T) {
	t.Parallel()
	if n := gate.Spare(0, 1_000_000); n < 1_000_000 {
		t.Errorf("Spare(0, 1000000) = %d, want any number", n)
	}
	if n := gate.Spare(3, 5); n != 0 {
		t.Errorf("Spare(3, 5) = %d, want 0", n)
	}
	if n := gate.Spare(3, 1); n != 2 {
		t.Errorf("Spare(3, 1) = %d, want 2", n)
	}
}

func TestTicksAndStartsAreHeldApart(t *testing.T) {
	t.Parallel()
	if got := gate.Ticks(true, true); got != gate.Paused {
		t.Errorf("Ticks(paused, frozen) = %q", got)
	}
	if got := gate.Ticks(false, true); got != gate.Frozen {
		t.Errorf("Ticks(frozen) = %q", got)
	}
	if got := gate.Starts(true); got != gate.Frozen {
		t.Errorf("Starts(frozen) = %q", got)
	}
	if gate.Ticks(false, false) != "" || gate.Starts(false) != "" {
		t.Error("something holds what nothing holds")
	}
}

func TestOverFromTheInstantOn(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	if gate.Over(at, at.Add(-1)) || !gate.Over(at, at) || !gate.Over(at, at.Add(1)) {
		t.Error("a time is over from its instant on")
	}
}

// A task is reached if it is taken whatever the order in which executors claim.
func TestReached(t *testing.T) {
	t.Parallel()
	plain, gpu := gate.Executor{Slots: 1}, gate.Executor{Slots: 1, Labels: []string{"gpu"}}
	busy, draining := gate.Executor{Slots: 1, Used: 1}, gate.Executor{Slots: 1, Draining: true}
	before := func(plain, gpu int) []gate.Before {
		return []gate.Before{{Tasks: plain}, {Labels: []string{"gpu"}, Tasks: gpu}}
	}
	tests := []struct {
		name   string
		fleet  []gate.Executor
		wanted []string
		before []gate.Before
		want   bool
	}{
		{"nobody", nil, nil, nil, false},
		{"a free executor", []gate.Executor{plain}, nil, nil, true},
		{"a busy one", []gate.Executor{busy}, nil, nil, false},
		{"one that drains", []gate.Executor{draining}, nil, nil, false},
		{"one without the label", []gate.Executor{plain}, []string{"gpu"}, nil, false},
		{"one with more labels", []gate.Executor{gpu}, nil, nil, true},
		{"as many before it as slots", []gate.Executor{plain, plain}, nil, before(2, 0), false},
		{"fewer before it than slots", []gate.Executor{plain, plain}, nil, before(1, 0), true},
		{"those before it are for others", []gate.Executor{plain}, nil, before(0, 3), true},
		{"one may take others first", []gate.Executor{gpu}, nil, before(0, 1), false},
		{"another can only take this", []gate.Executor{gpu, plain}, nil, before(0, 5), true},
		{"both together are enough", []gate.Executor{gpu, plain}, nil, before(1, 0), true},
	}
	for _, tt := range tests {
		if got := gate.Reached(tt.fleet, tt.wanted, tt.before); got != tt.want {
			t.Errorf("%s: Reached = %t, want %t", tt.name, got, tt.want)
		}
	}
}

// Turns are so far apart that no minute sees more of them used than the pace says,
// though one is used up to five seconds late, and another at once.
func TestTurnsKeepThePace(t *testing.T) {
	t.Parallel()
	if d := gate.Pace(0).Apart(); d != 0 {
		t.Errorf("without a limit turns are %v apart", d)
	}
	for _, pace := range []gate.Pace{1, 7, 600, 1_000_000} {
		if d := time.Duration(pace) * pace.Apart(); d < 66*time.Second || d > 68*time.Second {
			t.Errorf("%d turns take %v, want a minute, a grace and a little", pace, d)
		}
	}
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { v := now.Add(d); return &v }
	for _, tt := range []struct {
		turn *time.Time
		want gate.Turn
	}{{nil, gate.TurnNone}, {at(time.Second), gate.TurnAhead}, {at(0), gate.TurnCome}, {at(-5 * time.Second), gate.TurnCome}, {at(-6 * time.Second), gate.TurnNone}} {
		if got := gate.TurnOf(tt.turn, now); got != tt.want {
			t.Errorf("TurnOf(%v) = %v, want %v", tt.turn, got, tt.want)
		}
	}
	for _, tt := range []struct {
		turn *time.Time
		free time.Duration
		want bool
	}{{nil, 0, true}, {nil, 1, false}, {at(-time.Hour), 0, true}, {at(-time.Hour), 1, false}, {at(1), -1, false}, {at(-1), time.Hour, true}} {
		if got := gate.InTurn(tt.turn, now.Add(tt.free), now); got != tt.want {
			t.Errorf("InTurn(%v, free in %v) = %t, want %t", tt.turn, tt.free, got, tt.want)
		}
	}
}
