package scheduler_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/flow/gate"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/scheduler/internal/schedtest"
)

// In random states of random pipelines, "nothing blocks" is said of exactly those
// tasks that a look of the scheduler and a claim by the whole fleet would take,
// whoever of the fleet comes first. SYN_EXPLAIN_SEED repeats one of them,
// SYN_EXPLAIN_ROUNDS asks for more.
func TestExplainSaysNothingBlocksExactlyWhenTheClaimWouldTakeIt(t *testing.T) {
	t.Parallel()
	rounds, first := 3, uint64(time.Now().UnixNano())
	for name, to := range map[string]func(uint64){
		"SYN_EXPLAIN_SEED":   func(n uint64) { first, rounds = n, 1 },
		"SYN_EXPLAIN_ROUNDS": func(n uint64) { rounds = int(n) },
	} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			to(n)
		}
	}
	for i := range rounds {
		seed := first + uint64(i)
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			g := &guesses{World: schedtest.New(t), rand: rand.New(rand.NewPCG(seed, 1)), seen: map[string]int{}}
			defer func() {
				if t.Failed() {
					t.Logf("SYN_EXPLAIN_SEED=%d\n%s\n%s", seed, g.file, strings.Join(g.did, "\n"))
				}
			}()
			g.setUp()
			for range 40 {
				g.act()
				if g.rand.IntN(2) == 0 || t.Failed() {
					continue
				}
				g.compare()
			}
			t.Logf("compared %d answers: %v", g.asked, g.seen)
			if g.asked < 20 {
				t.Errorf("only %d answers were compared", g.asked)
			}
		})
	}
}

// guesses is a world in which answers are compared with what happens.
type guesses struct {
	*schedtest.World
	rand  *rand.Rand
	file  string
	names []string
	live  []db.ClaimReadyRow
	did   []string
	asked int
	seen  map[string]int
}

func (g *guesses) one(of ...string) string { return of[g.rand.IntN(len(of))] }

// setUp registers random pipelines and a random fleet.
func (g *guesses) setUp() {
	var b strings.Builder
	for i := range 2 {
		fmt.Fprintf(&b, "kind: pool\nname: pool%d\nslots: %d\n---\n", i, 1+g.rand.IntN(3))
	}
	for i := range 3 {
		name := fmt.Sprintf("p%d", i)
		g.names = append(g.names, name)
		fmt.Fprintf(&b, "name: %s\nconcurrency: {limit: %d, max_queued: 100}\n", name, 1+g.rand.IntN(2))
		if g.rand.IntN(3) == 0 {
			fmt.Fprintf(&b, "max_parallel: %d\n", 1+g.rand.IntN(2))
		}
		b.WriteString("tasks:\n")
		for j := range 1 + g.rand.IntN(4) {
			fmt.Fprintf(&b, "  t%d:\n    run: x\n    priority: %d\n", j, g.rand.IntN(3))
			if j > 0 && g.rand.IntN(2) == 0 {
				fmt.Fprintf(&b, "    needs: [t%d]\n", g.rand.IntN(j))
				if g.rand.IntN(3) == 0 {
					fmt.Fprintf(&b, "    if: %s\n", g.one("always()", "failure()", "success()"))
				}
			}
			if g.rand.IntN(3) == 0 {
				b.WriteString("    runs_on: [gpu]\n")
			}
			if g.rand.IntN(2) == 0 {
				fmt.Fprintf(&b, "    pool: {name: pool%d, slots: %d}\n", g.rand.IntN(2), 1)
			}
			if g.rand.IntN(3) == 0 {
				fmt.Fprintf(&b, "    retry: {limit: 3, delay: %s, max_delay: 2h}\n", g.one("1h", "0s"))
			}
			if g.rand.IntN(4) == 0 {
				fmt.Fprintf(&b, "    for_each: [1, 2, 3]\n    max_parallel: %d\n", 1+g.rand.IntN(3))
			}
		}
		if g.rand.IntN(3) == 0 {
			b.WriteString("finally:\n  z: {run: x}\n")
		}
		b.WriteString("---\n")
	}
	g.file = strings.TrimSuffix(b.String(), "---\n")
	g.Register(g.file, time.Time{})
	fleet(g.World)
	for range 2 {
		g.join()
	}
}

func (g *guesses) join() {
	labels := []string{}
	if g.rand.IntN(2) == 0 {
		labels = []string{"gpu"}
	}
	g.Exec(`INSERT INTO executor (id, name, slots, labels, lease_until) VALUES ($1, 'wh', $2, $3, now() + interval '1 hour')`, uuid.New(), g.rand.IntN(4), labels)
}

// act does something at random.
func (g *guesses) act() {
	executor := `(SELECT id FROM executor WHERE stopped_at IS NULL ORDER BY md5(id::text || $1) LIMIT 1)`
	salt := strconv.Itoa(g.rand.IntN(1 << 30))
	note := func(s string) { g.did = append(g.did, s) }
	switch n := g.rand.IntN(22); {
	case n < 5:
		note("trigger")
		g.Trigger(g.names[g.rand.IntN(len(g.names))])
	case n < 10:
		note("claim")
		g.Settle()
		g.live = append(g.live, g.claim(g.rand.IntN(3))...)
	case n < 14 && len(g.live) > 0:
		note("end")
		i := g.rand.IntN(len(g.live))
		g.End(g.live[i], g.one("succeeded", "succeeded", "failed"), "")
		g.live = slices.Delete(g.live, i, i+1)
	case n == 14:
		note("an executor drains or comes back")
		g.Exec(`UPDATE executor SET draining_at = CASE WHEN draining_at IS NULL THEN now() END WHERE id = `+executor, salt)
	case n == 15:
		note("an executor's lease ends or is renewed")
		g.Exec(`UPDATE executor SET lease_until = CASE WHEN lease_until > now() THEN now() - interval '1 second' ELSE now() + interval '1 hour' END WHERE id = `+executor, salt)
	case n == 16:
		note("an executor joins")
		g.join()
	case n == 17:
		note("an executor goes")
		g.Exec(`UPDATE executor SET stopped_at = now() WHERE id = `+executor, salt)
	case n == 18:
		note("a back-off is over")
		g.Exec(`WITH t AS (SELECT run_id, number FROM task WHERE state = 'waiting' AND wake_at > now() ORDER BY run_id, number LIMIT 1),
			w AS (UPDATE wake SET not_before = now() FROM t WHERE wake.kind = 'r' AND wake.subject = t.run_id AND wake.number = t.number AND wake.state = 'waiting')
			UPDATE task SET wake_at = now() FROM t WHERE task.run_id = t.run_id AND task.number = t.number`)
	case n == 20 || n == 21:
		note("a pipeline is frozen or thawed")
		g.Exec(`WITH p AS (UPDATE pipeline SET frozen_at = CASE WHEN frozen_at IS NULL THEN now() END, frozen_by = CASE WHEN frozen_at IS NULL THEN 'ana' END WHERE name = $1 RETURNING id)
			INSERT INTO wake (kind, subject) SELECT 'g', o.group_id FROM open_run AS o JOIN p ON p.id = o.pipeline_id`, g.names[g.rand.IntN(len(g.names))])
	case n == 19:
		note("a pool changes its size")
		g.Exec(`WITH p AS (UPDATE pool SET slots = $1 WHERE name = $2 RETURNING id) INSERT INTO wake (kind, subject) SELECT 'p', id FROM p`, 1+g.rand.IntN(4), g.one("pool0", "pool1"))
	}
}

// claim is a claim by everybody alive, in one of the orders of the fleet.
func (g *guesses) claim(order int) (claims []db.ClaimReadyRow) {
	g.T.Helper()
	if err := db.InTx(g.T.Context(), g.Pool, func(q *db.Queries) (err error) {
		claims, err = g.claimIn(q, order)
		return err
	}); err != nil {
		g.T.Fatal(err)
	}
	return claims
}

func (g *guesses) claimIn(q *db.Queries, order int) (claims []db.ClaimReadyRow, err error) {
	ctx := g.T.Context()
	list, err := q.ListExecutors(ctx)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e db.ListExecutorsRow) bool { return e.State != "alive" })
	slices.SortFunc(list, func(a, b db.ListExecutorsRow) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	if n := len(list); n > 0 {
		list = slices.Concat(list[order%n:], list[:order%n])
		if order/n%2 == 1 {
			slices.Reverse(list)
		}
	}
	for _, e := range list {
		free := gate.Executor{Slots: int(e.Slots), Used: int(e.Used)}.Free()
		lanes, err := q.LocalLanes(ctx, e.Labels)
		if err != nil {
			return nil, err
		}
		p := db.ClaimReadyParams{Executor: e.ID, Free: int32(free), Look: 100, Lanes: lanes}
		for range lanes {
			p.Lows = append(p.Lows, -1<<62)
		}
		for range free {
			p.Tokens = append(p.Tokens, uuid.New())
		}
		if free == 0 {
			continue
		}
		rows, err := q.ClaimReady(ctx, p)
		if err != nil {
			return nil, err
		}
		claims = append(claims, rows...)
	}
	return claims, nil
}

// key names a task of a run.
type key struct {
	run    int64
	number int32
}

// compare asks about everything that is open, before and after the scheduler has
// looked, and compares the answers with what is released and what is claimed.
func (g *guesses) compare() {
	before := g.answers()
	g.turn()
	ready := g.keys(`SELECT run_id, number FROM ready`)
	for k, e := range before.tasks {
		// What an end has changed the scheduler reckons with only after its look: those answers speak of what was.
		if before.stale[k.run] || before.moving && asksPool(e) {
			continue
		}
		if e.State != "running" && releases(e) != ready[k] {
			g.wrong(fmt.Sprintf("before a look of the scheduler: ready after it %t", ready[k]), k, e)
		}
		g.count("release", e)
	}
	started := g.keys(`SELECT run_id, 0 FROM open_run WHERE state = 'running'`)
	for run, e := range before.runs {
		if e.State != "queued" {
			continue
		}
		if ok := started[key{run: run}]; releases(e) != ok {
			g.wrong(fmt.Sprintf("before a look of the scheduler: started by it %t", ok), key{run: run}, e)
		}
		g.count("start", e)
	}
	g.Settle()
	// Equal ranks have no order that anybody could tell.
	for _, table := range []string{"ready", "waiter"} {
		g.Exec(`UPDATE ` + table + ` AS r SET rank = k.n FROM (SELECT run_id, number, row_number() OVER (ORDER BY rank, run_id, number) AS n FROM ` + table + `) AS k
			WHERE k.run_id = r.run_id AND k.number = r.number`)
	}
	after := g.answers()
	taken := g.always()
	lives := map[int64]bool{}
	for k := range g.keys(`SELECT run_id, number FROM live`) {
		lives[k.run] = true
	}
	for k := range taken {
		lives[k.run] = true
	}
	for k, e := range after.tasks {
		if e.Blocked == taken[k] && e.State != "running" {
			g.wrong(fmt.Sprintf("claimed by the fleet: %t", taken[k]), k, e)
		}
		g.count("claim", e)
	}
	for run, e := range after.runs {
		if e.Blocked == lives[run] {
			g.wrong(fmt.Sprintf("something of it lives or is claimed: %t", lives[run]), key{run: run}, e)
		}
	}
}

// releases says that nothing but executors holds a task or a run.
func releases(e api.Explanation) bool {
	return !e.Blocked || slices.Contains([]gate.Name{gate.Labels, gate.Slots, gate.Scheduler}, gate.Name(e.Findings[0].Gate))
}

// asksPool says that a pool is among what lets a task go or holds it.
func asksPool(e api.Explanation) bool {
	return slices.ContainsFunc(e.Findings, func(f api.GateFinding) bool { return f.Gate == string(gate.Pool) })
}

func (g *guesses) count(what string, e api.Explanation) {
	g.asked++
	name := "open"
	if e.Blocked {
		name = e.Findings[0].Gate
	}
	g.seen[what+" "+name]++
}

func (g *guesses) wrong(what string, k key, e api.Explanation) {
	g.T.Errorf("%s\n%s\n%s", what, text(e), g.Dump(k.run))
}

type answers struct {
	tasks map[key]api.Explanation
	runs  map[int64]api.Explanation
	// stale runs have ends that the scheduler has not counted, or stand in the queue behind others of several tasks.
	stale map[int64]bool
	// moving says that the scheduler is about to look at a run: tasks of it may come before others at a pool, or
	// leave it.
	moving bool
}

// answers asks about all tasks that have not ended and are no fan-outs.
func (g *guesses) answers() answers {
	a := answers{tasks: map[key]api.Explanation{}, runs: map[int64]api.Explanation{}, stale: map[int64]bool{}}
	for k := range g.keys(`SELECT t.run_id, t.number FROM task t JOIN open_run o USING (run_id) WHERE t.ended_at IS NULL AND t.items IS NULL`) {
		ordinal, item := flow.Split(int(k.number))
		a.tasks[k] = explainTask(g.World, k.run, ordinal, item)
	}
	for k := range g.keys(`SELECT run_id, 0 FROM open_run`) {
		a.runs[k.run] = explainRun(g.World, k.run)
	}
	for k := range g.keys(`SELECT subject, 0 FROM wake WHERE kind = 'r' AND not_before <= now() AND (number IS NULL OR state <> 'waiting')`) {
		a.stale[k.run] = true
	}
	a.moving = len(g.keys(`SELECT subject, 0 FROM wake WHERE kind = 'r' AND not_before <= now()`)) > 0
	return a
}

// turn is one look of the scheduler.
func (g *guesses) turn() { g.Turn() }

func (g *guesses) keys(sql string) map[key]bool {
	g.T.Helper()
	rows, err := g.Pool.PGX().Query(g.T.Context(), sql)
	if err != nil {
		g.T.Fatal(err)
	}
	defer rows.Close()
	keys := map[key]bool{}
	for rows.Next() {
		var k key
		if err := rows.Scan(&k.run, &k.number); err != nil {
			g.T.Fatal(err)
		}
		keys[k] = true
	}
	if err := rows.Err(); err != nil {
		g.T.Fatal(err)
	}
	return keys
}

var errUndo = errors.New("undo")

// always is what the fleet takes in whatever order it claims. Nothing of it
// stays.
func (g *guesses) always() map[key]bool {
	g.T.Helper()
	var taken map[key]bool
	for order := range 12 {
		err := db.InTx(g.T.Context(), g.Pool, func(q *db.Queries) error {
			claims, err := g.claimIn(q, order)
			if err != nil {
				return err
			}
			mine := map[key]bool{}
			for _, c := range claims {
				if k := (key{c.RunID, c.Number}); taken == nil || taken[k] {
					mine[k] = true
				}
			}
			taken = mine
			return errUndo
		})
		if !errors.Is(err, errUndo) {
			g.T.Fatal(err)
		}
	}
	return taken
}
