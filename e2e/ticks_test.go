package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// Two schedulers and three executors on many schedules: every tick has one row,
// every tick that is to run has one run, none twice, none missing, none late.
func TestEveryTickOnce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t))
	first := s.Scheduler()
	second := s.Scheduler()
	for range 3 {
		s.Executor("--slots", "8")
	}
	var files []string
	minutely, seconds := rounds(40, 200), 10
	for i := range minutely {
		files = append(files, fmt.Sprintf("minutely_%d.yaml", i), fmt.Sprintf("name: minutely_%d\nschedule: \"* * * * *\"\ntasks: {t: {run: \"true\"}}\n", i))
	}
	for i := range seconds {
		// catchup: all, because half a second of lateness is late to a schedule of
		// one second, and every tick is to run here.
		files = append(files, fmt.Sprintf("every_%d.yaml", i), fmt.Sprintf(
			"name: every_%d\nschedule: {every: %ds, catchup: all}\nconcurrency: {limit: 4, max_queued: 1000}\ntasks: {t: {run: \"true\"}}\n", i, 1+i%2))
	}
	before := value[time.Time](s, `SELECT now()`)
	registered := s.register(files...)
	after := value[time.Time](s, `SELECT now()`)
	for _, p := range registered.Pipelines {
		if step := stepOf(p.Name); !p.FirstTick.After(before) || p.FirstTick.After(after.Add(step)) {
			t.Errorf("the first tick of %s is %v, registered between %v and %v", p.Name, p.FirstTick, before, after)
		}
	}

	// Over at least one full minute, however the clock stands.
	length := 70 * time.Second
	if full() {
		length = 3*time.Minute + 10*time.Second
	}
	until := value[time.Time](s, `SELECT now() + $1::interval`, length)
	s.Await(length+20*time.Second, "the last ticks", `SELECT NOT EXISTS (SELECT FROM schedule AS s WHERE s.next_at <= $1)`, until)
	first.Stop(20 * time.Second)
	second.Stop(20 * time.Second)
	third := s.Scheduler() // ends what is open, and nothing is lost by the change
	s.pauseAll(t)
	s.AwaitQuiet(60 * time.Second)
	third.Stop(20 * time.Second)

	s.expectTicks(t, registered)
	ticks, late := value[int64](s, `SELECT count(*) FROM tick AS t WHERE t.state = 'run'`), value[time.Duration](s, `SELECT max(r.created_at - r.fire_at) FROM run AS r`)
	t.Logf("%d ticks, the latest %v late", ticks, late.Round(time.Millisecond))
	if want := int64(length.Seconds()) * int64(seconds) * 3 / 4; ticks < want {
		t.Errorf("%d ticks, want %d or more", ticks, want)
	}
	if n := value[int64](s, `SELECT count(*) FROM tick AS t WHERE t.state <> 'run' AND t.reason <> 'paused'`); n != 0 {
		t.Errorf("%d ticks did not run", n)
	}
	if n := value[int64](s, `SELECT count(*) FROM run AS r WHERE r.state <> 'succeeded'`); n != 0 {
		t.Errorf("%d runs did not succeed", n)
	}
	if n := value[int64](s, `SELECT count(*) FROM attempt AS a WHERE a.attempt > 1`); n != 0 {
		t.Errorf("%d attempts were made again, and nothing was broken", n)
	}
	if n := value[int64](s, `SELECT count(DISTINCT a.executor) FROM attempt AS a`); n != 3 {
		t.Errorf("%d executors worked, want 3", n)
	}
	s.check(nil)
}

// pauseAll stops new ticks from becoming runs.
func (s *system) pauseAll(t *testing.T) {
	t.Helper()
	for _, name := range strings.Fields(value[string](s, `SELECT string_agg(p.name, ' ') FROM pipeline AS p`)) {
		if _, err := s.Pause(t.Context(), "default", name, api.PauseRequest{Reason: "the end of the test"}); err != nil {
			t.Fatalf("pause %s: %v", name, err)
		}
	}
}

// stepOf is the time between the ticks of one of the pipelines, by its name.
func stepOf(name string) time.Duration {
	switch {
	case strings.HasPrefix(name, "minutely"):
		return time.Minute
	case strings.HasSuffix(name, "1"), strings.HasSuffix(name, "3"), strings.HasSuffix(name, "5"), strings.HasSuffix(name, "7"), strings.HasSuffix(name, "9"):
		return 2 * time.Second
	default:
		return time.Second
	}
}

// expectTicks writes down which ticks there had to be, from the first that
// register has promised up to the last that is decided. Postgres counts them, and
// nothing of ours.
func (s *system) expectTicks(t *testing.T, registered api.Registration) {
	t.Helper()
	for _, p := range registered.Pipelines {
		step := stepOf(p.Name)
		if first := *p.FirstTick; !first.Equal(first.Truncate(step)) {
			t.Errorf("the first tick of %s is %v, no multiple of %v", p.Name, first, step)
		}
		s.Exec(`
			INSERT INTO h_expected_tick (schedule_id, fire_at)
			SELECT s.id, g.at
			FROM schedule AS s
			JOIN pipeline AS p ON p.id = s.pipeline_id
			CROSS JOIN LATERAL generate_series($2::timestamptz, s.next_at - interval '1 microsecond', $3::interval) AS g (at)
			WHERE p.name = $1`, p.Name, *p.FirstTick, step)
	}
}
