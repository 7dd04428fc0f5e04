package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

const many = 10_000

func manySpecs() []schedule.Spec {
	specs := make([]schedule.Spec, many)
	for i := range specs {
		specs[i].Zone = oddZones[i%len(oddZones)]
		switch i % 5 {
		case 0:
			specs[i].Cron = fmt.Sprintf("%d %d * * *", i%60, i%24)
		case 1:
			specs[i].Cron = fmt.Sprintf("%d-59/%d * * * MON-FRI", i%30, i%7+1)
		case 2:
			specs[i].Cron = fmt.Sprintf("%d 3 %dW * %d#2", i%60, i%28+1, i%7)
		case 3:
			specs[i].Cron = "0 0 29 2 *"
		case 4:
			specs[i].Every = time.Duration(i+1) * time.Second
		}
	}
	return specs
}

// BenchmarkNew10000 reads 10 000 schedules.
func BenchmarkNew10000(b *testing.B) {
	specs := manySpecs()
	for b.Loop() {
		for _, spec := range specs {
			must(b, spec)
		}
	}
}

// BenchmarkFirst10000 reads 10 000 schedules and asks each for its first tick,
// with nothing remembered.
func BenchmarkFirst10000(b *testing.B) {
	specs := manySpecs()
	at := instant(b, "2026-11-22T12:00:00Z")
	for b.Loop() {
		for _, spec := range specs {
			must(b, spec).NextAt(at)
		}
	}
}

// BenchmarkNext10000 asks 10 000 schedules for their next tick.
func BenchmarkNext10000(b *testing.B) {
	var all []*schedule.Schedule
	for _, spec := range manySpecs() {
		all = append(all, must(b, spec))
	}
	at := instant(b, "2026-11-22T12:00:00Z")
	for b.Loop() {
		for _, s := range all {
			s.NextAt(at)
		}
		at = at.Add(37 * time.Minute)
	}
}

// BenchmarkDueYear decides about a year of missed minutes.
func BenchmarkDueYear(b *testing.B) {
	s := must(b, schedule.Spec{Cron: "* * * * *", Zone: "Europe/Vienna"})
	next := instant(b, "2026-11-22T12:00:00Z")
	for b.Loop() {
		s.Due(next, next.AddDate(1, 0, 0), schedule.Policy{})
	}
}

func TestTenThousandSchedulesTakeNoSecond(t *testing.T) {
	var all []*schedule.Schedule
	for _, spec := range manySpecs() {
		all = append(all, must(t, spec))
	}
	at := instant(t, "2026-11-22T12:00:00Z")
	quick(t, time.Second, func() {
		for _, s := range all {
			if _, ok := s.NextAt(at); !ok {
				t.Fatalf("%+v never fires", s.Spec())
			}
		}
	})
}
