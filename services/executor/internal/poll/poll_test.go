package poll_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/given"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/poll"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/target"
	"github.com/synthesizer-dev/synthesizer/services/internal/egress"
	"github.com/synthesizer-dev/synthesizer/services/internal/revision"
)

// A world is a database, a service that is asked, and executors' pollers.
type world struct {
	*exectest.World
	server *httptest.Server
	target target.Target
}

// text is a pipeline with one wait; more stands in the task.
func text(base, more string) string {
	return strings.NewReplacer("BASE", base).Replace(`
name: p
params: {day: {type: string, default: "2026-11-22"}}
tasks:
  arrived:
    wait:
      http: {target: http/src, url: "BASE/ready/${{ run.id }}"}
      until: response.status == 200
` + more)
}

func newWorld(t *testing.T, more string, handler http.HandlerFunc) *world {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	w := &world{World: exectest.New(t, text(server.URL, more)), server: server}
	w.target = target.Target{
		Name: "http/src", Kind: target.KindHTTP, PollRate: target.DefaultPollRate, Timeout: target.DefaultTimeout,
		Rules: egress.Rules{Hosts: []string{strings.TrimPrefix(server.URL, "http://")}, AllowHTTP: true},
	}
	return w
}

// wait has the wait of a run begin.
func (w *world) wait(run int64) {
	w.T.Helper()
	w.Exec(`UPDATE task SET reason = 'wait' WHERE run_id = $1 AND number = $2`, run, flow.Number(0))
	w.Exec(`INSERT INTO http_wait (run_id, number, revision_id, target, every_ms) SELECT run_id, $2, revision_id, 'http/src', 30000 FROM open_run WHERE run_id = $1`, run, flow.Number(0))
}

// due makes the waits due now.
func (w *world) due() {
	w.T.Helper()
	w.Exec(`UPDATE http_wait SET next_at = now() WHERE ended_at IS NULL`)
}

// An executor is a poller that is turned by hand or runs by itself.
type executor struct {
	*poll.Poller
	mu    sync.Mutex
	total poll.Outcome
	most  int // requests under way at once
	turns int
}

func (w *world) executor(change func(*poll.Config)) *executor {
	e := &executor{}
	cfg := poll.Config{
		Targets: []target.Target{w.target}, Pool: w.Pool, Revisions: revision.NewCache(10), Given: given.New(uuid.New()),
		Secret: func(_ context.Context, namespace, name string) (string, error) { return "value-of-" + name, nil },
		Agent:  "test", Notify: func(string) {}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Told: func(o poll.Outcome) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.turns++
			e.total.Asked += o.Asked
			e.total.Wrong += o.Wrong
			e.total.Ended += o.Ended
			e.total.Failed += o.Failed
			e.total.Late += o.Late
			e.most = max(e.most, o.InFlight)
		},
	}
	if change != nil {
		change(&cfg)
	}
	e.Poller = poll.New(cfg)
	return e
}

func (e *executor) did() poll.Outcome {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.total
}

// turn turns once.
func (w *world) turn(e *executor) {
	w.T.Helper()
	if _, err := e.Step(w.T.Context()); err != nil {
		w.T.Fatal(err)
	}
}

// until turns until something holds.
func (w *world) until(e *executor, what string, done func() bool) {
	w.T.Helper()
	w.Until(what, func() bool { w.turn(e); return done() })
}

// run lets a poller run until the test, or the function it gives, ends it.
func (w *world) run(e *executor) (stop func()) {
	ctx, cancel := context.WithCancel(w.T.Context())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	w.T.Cleanup(stop)
	return stop
}

// row is what is known of the one wait.
func (w *world) row() string {
	w.T.Helper()
	return exectest.Value[string](w.World, `
SELECT coalesce(string_agg(concat_ws(' ', 'tries=' || tries, 'status=' || last_status, 'error=' || last_error, state, nullif(reason, ''), nullif(detail, ''), outputs::text), E'\n'), 'none') FROM http_wait`)
}

func (w *world) wakes() int64 {
	w.T.Helper()
	return exectest.Value[int64](w.World, `SELECT count(*) FROM wake WHERE kind = 'r' AND number = 0 AND state = 'waiting'`)
}

func TestAConditionThatBecomesTrueEndsTheWait(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	w := newWorld(t, `    outputs: {rows: {type: integer, value: "${{ response.body.rows }}"}, day: {type: string, value: "${{ params.day }}"}}`, func(rw http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 {
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(rw, `{"rows": 12}`)
	})
	run := w.Run("p")
	w.Exec(`UPDATE run SET params = '{"day": "2026-11-22"}' WHERE id = $1`, run)
	w.wait(run)
	e := w.executor(nil)
	for n := 1; n <= 2; n++ {
		w.until(e, "an answer", func() bool { return strings.HasPrefix(w.row(), fmt.Sprintf("tries=%d status=404", n)) })
		if w.wakes() != 0 {
			t.Fatal("the run was woken although nothing is true")
		}
		w.due()
	}
	w.until(e, "the end", func() bool { return strings.Contains(w.row(), "succeeded") })
	if got, want := w.row(), `tries=3 status=200 succeeded {"day": "2026-11-22", "rows": 12}`; got != want {
		t.Errorf("the wait is %q, want %q", got, want)
	}
	if n := w.wakes(); n != 1 {
		t.Errorf("%d wakes, want 1", n)
	}
	address := exectest.Value[string](w.World, `SELECT address FROM http_wait`)
	if address != fmt.Sprintf("%s/ready/%d", w.server.URL, run) {
		t.Errorf("the address is shown as %s", address)
	}
	w.due()
	w.turn(e)
	if asked.Load() != 3 {
		t.Errorf("asked %d times, want no more once it is over", asked.Load())
	}
}

// Errors of requests, of the condition and of what is not allowed are no
// failures: they are told, and the wait goes on.
func TestErrorsAreToldAndTheWaitGoesOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more   string
		change func(*world)
		answer string
		want   string
	}{
		"the condition": {"", func(w *world) {
			w.Exec(`ALTER TABLE revision DISABLE TRIGGER ALL`)
			w.Exec(`UPDATE revision SET spec = jsonb_set(spec, '{tasks,arrived,wait,http,until}', '"response.body.state == 1"')`)
		}, `{"x": 1}`, "tries=1 status=200 error=until: "},
		"not allowed":        {"", func(w *world) { w.target.Rules.Hosts = []string{"other.example.com"} }, "", "tries=1 error=host 127.0.0.1:"},
		"http not allowed":   {"", func(w *world) { w.target.Rules.AllowHTTP = false }, "", "tries=1 error=target http/src does not allow http"},
		"nobody there":       {"", func(w *world) { w.server.Close() }, "", "tries=1 error=dial tcp 127.0.0.1:"},
		"larger than 1 MiB":  {"", nil, strings.Repeat("x", 10<<20), "tries=1 status=200 error=the answer is larger than 1 MiB"},
		"no definition":      {"", func(w *world) { w.Exec(`UPDATE http_wait SET number = 16384 * 7`) }, "", "tries=1 error=its definition cannot be read"},
		"an unknown revison": {"", func(w *world) { w.Exec(`UPDATE http_wait SET revision_id = 4711`) }, "", "tries=1 error=its definition cannot be read: revision 4711 is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.more, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, c.answer) })
			w.wait(w.Run("p"))
			if c.change != nil {
				c.change(w)
			}
			e := w.executor(nil)
			w.until(e, "an error that is told", func() bool { return strings.HasPrefix(w.row(), c.want) })
			if w.wakes() != 0 || e.did().Wrong != 1 {
				t.Errorf("%d wakes, %d errors, want none and one", w.wakes(), e.did().Wrong)
			}
		})
	}
}

// What is made of what never changes does not mend: the task fails.
func TestWhatCannotMendFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more, answer, want string
	}{
		"outputs that do not fit":  {`    outputs: {rows: {type: integer, value: "${{ response.body.rows }}"}}`, `{"rows": "many"}`, "failed outputs_type"},
		"outputs that are missing": {`    outputs: {rows: {type: integer, value: "${{ response.body.rows }}"}}`, `{"rows": null}`, "failed outputs_missing output rows: its value is null"},
		"outputs that are wrong":   {`    outputs: {rows: {type: integer, value: "${{ response.body.rows }}"}}`, `{}`, "failed expression output rows: "},
		"NUL in an output":         {`    outputs: {text: {type: string, value: "${{ response.text }}"}}`, "a\x00b", "failed outputs_type an output holds the character U+0000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.more, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, c.answer) })
			w.wait(w.Run("p"))
			e := w.executor(nil)
			w.until(e, "the end", func() bool { return strings.Contains(w.row(), c.want) })
			if w.wakes() != 1 {
				t.Errorf("%d wakes, want 1", w.wakes())
			}
		})
	}
}

func TestAHeaderWithTheEndOfALineIsNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	w.Register(strings.NewReplacer("BASE", w.server.URL).Replace(`
name: q
params: {day: {type: string, default: x}}
tasks:
  arrived:
    wait: {http: {target: http/src, url: "BASE/", headers: {X-Day: "${{ params.day }}"}}, until: "true"}
`))
	run := w.Run("q")
	w.Exec(`UPDATE run SET params = '{"day": "a\r\nX-Other: b"}' WHERE id = $1`, run)
	w.wait(run)
	w.until(w.executor(nil), "the end", func() bool {
		return strings.Contains(w.row(), "failed expression header X-Day: its value holds the end of a line")
	})
}

func TestAnOutputThatHoldsASecretFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `    outputs: {text: {type: string, value: "${{ response.text }}"}}`, func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, "you are ", r.Header.Get("Authorization"))
	})
	w.target.Auth = target.Auth{Header: "Authorization", Scheme: "Bearer", Namespace: "ops", Secret: "TOKEN"}
	w.wait(w.Run("p"))
	w.until(w.executor(nil), "the end", func() bool {
		return strings.Contains(w.row(), "failed outputs_secret an output holds the secret TOKEN")
	})
}

// Two executors that ask the same wait at the same time: one ends it.
func TestTwoExecutorsEndAWaitOnce(t *testing.T) {
	t.Parallel()
	both := make(chan struct{})
	var here atomic.Int32
	w := newWorld(t, "", func(rw http.ResponseWriter, r *http.Request) {
		if here.Add(1) == 2 {
			close(both)
		}
		<-both
	})
	w.wait(w.Run("p"))
	a, b := w.executor(nil), w.executor(nil)
	w.turn(a)
	w.turn(b) // skips what a has taken
	w.due()   // as if asking had taken a longer than its lease
	w.turn(b)
	w.Until("both told", func() bool {
		w.turn(a)
		w.turn(b)
		return a.did().Ended+a.did().Late+b.did().Ended+b.did().Late == 2
	})
	if n := a.did().Ended + b.did().Ended; n != 1 {
		t.Errorf("%d ended the wait, want 1", n)
	}
	if n := w.wakes(); n != 1 {
		t.Errorf("%d wakes, want 1", n)
	}
}

// An executor that stops gives up what it asks, and others ask at once; what
// it took is not lost, and not ended twice.
func TestWhoStopsLeavesItsWaitsToOthers(t *testing.T) {
	t.Parallel()
	var hang atomic.Bool
	hang.Store(true)
	asked := make(chan struct{}, 10)
	w := newWorld(t, "", func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		if hang.Load() {
			<-r.Context().Done()
		}
	})
	w.wait(w.Run("p"))
	stop := w.run(w.executor(nil))
	<-asked
	if exectest.Value[bool](w.World, `SELECT next_at <= now() FROM http_wait`) {
		t.Error("a wait that is being asked can be taken by others")
	}
	stop()
	hang.Store(false)
	w.until(w.executor(nil), "the end", func() bool { return strings.Contains(w.row(), "tries=2 status=200 succeeded") })
}

// Ten thousand waits cost a bounded number of goroutines, requests under way
// and round trips: neither a goroutine nor a query each.
func TestManyWaitsCostLittle(t *testing.T) {
	t.Parallel()
	const many = 10_000
	var asked atomic.Int64
	w := newWorld(t, "", func(rw http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		rw.WriteHeader(http.StatusNotFound)
	})
	w.target.PollRate = 1000
	w.RunMany("p", "arrived", many)
	w.Exec(`DELETE FROM ready`)
	w.Exec(`UPDATE task SET state = 'waiting', reason = 'wait', ready_at = NULL`)
	w.Exec(`INSERT INTO http_wait (run_id, number, revision_id, target, every_ms) SELECT run_id, 0, revision_id, 'http/src', 3600000 FROM open_run`)
	before := runtime.NumGoroutine()
	e := w.executor(nil)
	most := 0
	w.run(e)
	for deadline := time.Now().Add(10 * time.Minute); e.did().Asked < many; {
		if time.Now().After(deadline) {
			t.Fatalf("asked %d of %d within ten minutes", e.did().Asked, many)
		}
		most = max(most, runtime.NumGoroutine())
		time.Sleep(5 * time.Millisecond)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.Logf("%d requests, %d at once, %d goroutines more, %d turns", asked.Load(), e.most, most-before, e.turns)
	if asked.Load() != many {
		t.Errorf("asked %d times, want each once", asked.Load())
	}
	if e.most > 64 {
		t.Errorf("%d requests at once, 64 at most", e.most)
	}
	if e.turns > many/10 {
		t.Errorf("%d round trips for %d waits: that is nearly one each", e.turns, many)
	}
}
