package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// S1–S3, D1: schedulers are killed again and again in the middle of ticks, and
// Postgres crashes in between. Everything comes back by itself, and nothing is
// lost or doubled.
func TestKilledSchedulersAndCrashingPostgres(t *testing.T) {
	t.Parallel()
	pg := newPostgres(t)
	s := newSeparateSystem(t, pg)
	w := newWitness(t)
	schedulers := []*programs.Service{s.Scheduler(), s.Scheduler()}
	services := append([]*programs.Service{s.API, s.Executor("--slots", "8"), s.Executor("--slots", "8")}, schedulers...)

	var files []string
	for i := range 6 {
		task := `run: "true"`
		if i < 2 { // few: each is a program of some size
			task = "command: " + w.command("work=10ms")
		}
		// Every tick is to run, however late.
		files = append(files, fmt.Sprintf("every_%d.yaml", i), fmt.Sprintf(`name: every_%d
schedule: {every: %ds, catchup: all}
concurrency: {limit: 3, max_queued: 1000}
tasks:
  first: {%s}
  each: {run: "true", needs: [first], for_each: [1, 2, 3]}
  last: {run: "true", needs: [each], if: none_failed()}
`, i, 1+i%2, task))
	}
	registered := s.register(files...)
	s.Await(20*time.Second, "the first runs", `SELECT count(*) >= 4 FROM run AS r WHERE r.state = 'succeeded'`)

	broken := time.Now()
	kills, crashes := rounds(10, 50), 0
	for i := range kills {
		// The fault's own moment: ticks are decided right after each full second.
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second + time.Duration(rand.IntN(50)-5)*time.Millisecond)))
		victims := schedulers[i%2 : i%2+1]
		if i%4 == 3 {
			victims = schedulers
		}
		for _, v := range victims {
			v.Kill()
		}
		if i%(kills/2) == kills/2-1 {
			began := time.Now()
			pg.crash()
			crashes++
			// Until everything that waits between tries has tried again.
			s.Outages = append(s.Outages, programs.Outage{What: "database", From: began, To: time.Now().Add(3 * time.Second)})
		}
		for _, v := range victims {
			v.Start()
		}
	}
	for _, v := range services {
		v.AwaitReady(30 * time.Second)
	}
	s.Outages = append(s.Outages, programs.Outage{What: "scheduler", From: broken, To: time.Now()})
	t.Logf("schedulers killed %d times, Postgres crashed %d times, in %v", kills, crashes, time.Since(broken).Round(time.Second))

	// On with it: a while of ordinary life, then silence.
	until := value[time.Time](s, `SELECT now() + interval '3 s'`)
	s.Await(40*time.Second, "the ticks after the faults", `SELECT NOT EXISTS (SELECT FROM schedule AS s WHERE s.next_at <= $1)`, until)
	s.pauseAll(t)
	s.AwaitQuiet(60 * time.Second)
	for _, v := range schedulers {
		v.Stop(20 * time.Second)
	}
	s.expectTicks(t, registered)
	if n := value[int64](s, `SELECT count(*) FROM tick AS t WHERE t.state <> 'run' AND t.reason <> 'paused'`); n != 0 {
		t.Errorf("%d ticks did not run", n)
	}
	if n := value[int64](s, `SELECT count(*) FROM run AS r WHERE r.state <> 'succeeded'`); n != 0 {
		t.Errorf("%d runs did not succeed", n)
	}
	if n := value[int64](s, `SELECT count(*) FROM repair`); n != 0 {
		t.Errorf("the slow sweep had to mend %d times", n)
	}
	s.check(w)
}
