package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// A pool of four slots under many tasks, while executors are killed at random. Never
// do more than four run, whatever anybody believes, and in the end all four slots
// are there.
func TestPoolUnderKills(t *testing.T) {
	t.Parallel()
	const slots = 4
	items, work, lasts := 24, 2*time.Second, 15*time.Second
	if full() {
		items, work, lasts = 200, 6*time.Second, 10*time.Minute
	}
	f := newFleet(t, 4)
	f.Scheduler()
	f.register(
		"narrow.yaml", fmt.Sprintf("kind: pool\nname: narrow\nslots: %d\n", slots),
		"many.yaml", fmt.Sprintf(`name: many
tasks:
  each: {for_each: [%s], pool: narrow, lost: 20, fail_fast: false, command: %s}
`, strings.TrimSuffix(strings.Repeat("x, ", items), ", "), f.command("work="+work.String())),
		"four.yaml", fmt.Sprintf(`name: four
tasks:
  each: {for_each: [a, b, c, d], pool: narrow, command: %s}
`, f.command("work=2s")),
	)
	run := f.run("many")

	stop := make(chan struct{})
	var most int
	sampled := make(chan struct{})
	go func() { // what the tables say, all the time
		defer close(sampled)
		for {
			used, err := programs.Try[int](f.System, `SELECT coalesce(sum(u.slots), 0)::int FROM (
				SELECT r.slots FROM ready AS r WHERE r.pool_id IS NOT NULL
				UNION ALL SELECT l.slots FROM live AS l WHERE l.pool_id IS NOT NULL) AS u`)
			if err == nil {
				most = max(most, used)
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()

	kills := 0
	for until := time.Now().Add(lasts); time.Now().Before(until); kills++ {
		time.Sleep(time.Duration(2000+rand.IntN(4000)) * time.Millisecond)
		if r, err := f.RunByID(t.Context(), run.ID); err == nil && r.EndedAt != nil {
			break
		}
		victim := f.executors[rand.IntN(len(f.executors))]
		if name, err := programs.Try[string](f.System, `SELECT e.name FROM live AS l JOIN executor AS e ON e.id = l.executor ORDER BY random() LIMIT 1`); err == nil {
			for _, h := range f.executors { // one that has something to lose
				if h.Name == name {
					victim = h
				}
			}
		}
		victim.Kill()
		if rand.IntN(2) == 0 {
			time.Sleep(time.Second)
		}
		victim.Restart()
	}
	run = f.awaitEnd(run, 10*time.Minute)
	close(stop)
	<-sampled
	lost := value[int](f.system, `SELECT count(*)::int FROM attempt AS a WHERE a.run_id = $1 AND a.state = 'lost'`, run.ID)
	t.Logf("%d kills, %d attempts lost, at most %d slots held", kills, lost, most)
	if run.State != "succeeded" {
		t.Errorf("the run is %s, want succeeded", run.State)
	}
	if lost == 0 {
		t.Error("no kill hit a task: this test shows nothing")
	}
	if most > slots {
		t.Errorf("%d slots were held at once, the pool has %d", most, slots)
	}
	if n := f.together(); n > slots {
		t.Errorf("%d tasks ran at once, the pool has %d slots", n, slots)
	}

	again := f.run("four")
	programs.Eventually(t, 60*time.Second, "all slots in use", func() bool { return f.running() == slots })
	f.awaitEnd(again, 60*time.Second)
	f.end()
}

// together is how many attempts ran at once at the most. The end of one counts
// before a start of the same instant.
func (w *witness) together() int {
	all := w.all()
	slices.SortStableFunc(all, func(a, b effect) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.what, b.what))
	})
	now, most := 0, 0
	for _, e := range all {
		switch e.what {
		case "start":
			now++
			most = max(most, now)
		case "end":
			now--
		}
	}
	return most
}
