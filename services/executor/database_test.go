package executor_test

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/services/executor"
	"github.com/synthesizer-dev/synthesizer/services/executor/internal/exectest"
)

// brisk makes the lease short.
func brisk(c *executor.Config) { c.Lease, c.Renew = 3*time.Second, 500*time.Millisecond }

// A request to stop and the end of the same attempt meet: whoever comes second
// sees what the first did.
func TestAnEndWaitsForAStopRequest(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: sleep 1}\n")
	run := w.Run("p")
	w.Release(run, "p", "a")
	start(t, w, nil)
	w.Until("it runs", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 1 })
	stop := w.Begin()
	stop.Exec(`UPDATE live SET stop_reason = 'canceled', stop_requested_at = now()`)
	w.Until("the end waits for the request", stop.Waiting)
	stop.Release()
	w.UntilEnded()
	if got, want := w.Attempts(run), "a#1 succeeded"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	w.Check()
}

// Somebody else has the attempt by now: the process dies, and nothing is
// written for it.
func TestAStaleExecutorChangesNothing(t *testing.T) {
	t.Parallel()
	const mark = "8990.411"
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: 'echo mine; sleep "+mark+"'}\n  b: {run: 'sleep 1; echo late'}\n")
	run := w.Run("p")
	w.Release(run, "p", "a", "b")
	r := start(t, w, func(c *executor.Config) { c.Lease, c.Renew = 30*time.Second, time.Second })
	w.Until("both run", func() bool {
		return alive(t, mark) > 0 && exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 2
	})
	// As if a reaper had taken both back and another executor had them now.
	owner := uuid.New()
	w.Exec(`INSERT INTO executor (id, name, slots, lease_until) VALUES ($1, 'other', 1, now() + interval '1 hour')`, owner)
	w.Exec(`UPDATE live SET executor = $1, lease_token = gen_random_uuid(), attempt = 2, log_seen = 0, log_stored = 0`, owner)
	before := exectest.Value[string](w, `SELECT string_agg(to_jsonb(l)::text, '' ORDER BY number) FROM live l`)
	w.Until("the process is dead", func() bool { return alive(t, mark) == 0 })
	w.Until("the executor has seen to both", func() bool { return r.metric("synthesizer_executor_running") == 0 })
	if after := exectest.Value[string](w, `SELECT string_agg(to_jsonb(l)::text, '' ORDER BY number) FROM live l`); after != before {
		t.Errorf("live changed from\n%s\nto\n%s", before, after)
	}
	if n := exectest.Value[int64](w, `SELECT (SELECT count(*) FROM attempt) + (SELECT count(*) FROM wake) + (SELECT count(*) FROM event) + (SELECT count(*) FROM log_chunk WHERE attempt = 2)`); n != 0 {
		t.Errorf("%d rows were written for attempts of somebody else", n)
	}
	if strings.Contains(w.Log(run), "late") {
		t.Error("output was stored for an attempt of somebody else")
	}
}

func TestAnExecutorDeclaredDeadComesBackAsAnother(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]string{
		"declared dead":     `UPDATE executor SET stopped_at = now() WHERE stopped_at IS NULL`,
		"row gone":          `DELETE FROM executor`,
		"database restored": `UPDATE installation SET epoch = gen_random_uuid()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mark := "8991." + uuid.NewString()[:6]
			w := exectest.New(t, "name: p\ntasks:\n  a: {command: [sh, -c, 'sleep 8991; :', "+mark+"]}\n  b: {run: 'true'}\n")
			run := w.Run("p")
			w.Release(run, "p", "a")
			start(t, w, brisk)
			w.Until("it runs", func() bool { return alive(t, mark) == 1 })
			w.Exec(kill)
			w.Until("its process is dead", func() bool { return alive(t, mark) == 0 })
			w.Release(run, "p", "b")
			w.Until("it works again", func() bool { return strings.Contains(w.Attempts(run), "b#1 succeeded") })
			if got := w.Attempts(run); strings.Contains(got, "a#1") {
				t.Errorf("attempts = %q: the end of a lost attempt was reported", got)
			}
		})
	}
}

// While others hold every table that work needs, the lease is renewed.
func TestTheLeaseIsRenewedWhateverHangs(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {run: 'sleep 1; echo done'}\n")
	run := w.Run("p")
	w.Release(run, "p", "a")
	start(t, w, brisk)
	w.Until("it runs", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 1 })
	hold := w.Hold("ready, live, lane, task, log_chunk")
	time.Sleep(5 * time.Second) // more than a lease
	hold.Release()
	w.UntilEnded()
	if got, want := w.Attempts(run), "a#1 succeeded"; got != want {
		t.Errorf("attempts = %q, want %q", got, want)
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM executor`); n != 1 {
		t.Errorf("%d executors have been, want the one", n)
	}
	w.Check()
}

// Connections die all the time: work goes on, and nothing is lost or done
// twice.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {for_each: [x], run: 'echo $SYN_TASK; sleep 0.05'}\n")
	run := w.Run("p")
	w.ReleaseItems(run, "p", "a", 200)
	start(t, w, func(c *executor.Config) { c.Slots = 8 })
	w.Until("all have ended", func() bool {
		w.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'synthesizer executor%' AND datname = current_database() AND random() < 0.3`)
		time.Sleep(200 * time.Millisecond)
		w.Exec(`WITH back AS (
			UPDATE task SET state = 'ready', reason = '', ready_at = now() WHERE state = 'waiting' AND number > 0 RETURNING run_id, number, attempt, handbacks
		) INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt, handbacks)
		SELECT run_id, number, 1, 1, 1, 1, attempt + 1, handbacks FROM back`)
		return exectest.Value[int64](w, `SELECT count(*) FROM task WHERE number > 0 AND state = 'succeeded'`) == 200
	})
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt WHERE state NOT IN ('succeeded', 'lost') OR state = 'lost' AND reason <> 'drained'`); n != 0 {
		t.Errorf("%d attempts ended otherwise", n)
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt WHERE state = 'succeeded'`); n != 200 {
		t.Errorf("%d attempts succeeded, want each task once", n)
	}
	w.Check()
}

// The answer to a claim is lost: what it took is handed back, free.
func TestALostClaimStrandsNothing(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  a: {for_each: [x], run: 'true'}\n")
	p := newProxy(t, w.URL)
	start(t, w, func(c *executor.Config) { c.DatabaseURL, c.Renew = p.url, time.Second })
	w.Until("it is there", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM executor`) == 1 })
	// A first task, so that the claim that is lost has been made before.
	w.ReleaseItems(w.Run("p"), "p", "a", 1)
	w.UntilEnded()
	time.Sleep(300 * time.Millisecond)
	w.Exec(`TRUNCATE attempt`)
	w.Exec(`DELETE FROM task`)
	w.Exec(`DELETE FROM event`)
	run := w.Run("p")
	hold := w.Hold("live")
	w.Until("a claim waits", func() bool {
		return exectest.Value[bool](w, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%ClaimReady%' AND wait_event_type = 'Lock' AND datname = current_database())`)
	})
	w.ReleaseItems(run, "p", "a", 3)
	p.swallow(true)
	hold.Release()
	w.Until("the claim was made", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM live`) == 3 })
	p.cut()
	p.swallow(false)
	w.UntilEnded()
	if n := exectest.Value[int64](w, `SELECT count(*) FROM attempt WHERE state = 'lost' AND reason = 'drained' AND started_at IS NULL`); n != 3 {
		t.Errorf("%d attempts were handed back, want 3:\n%s", n, w.Attempts(run))
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM task WHERE state = 'waiting' AND losses = 0 AND handbacks = 1`); n != 3 {
		t.Errorf("%d tasks wait to be released again at no cost, want 3", n)
	}
	w.Check()
}

// The database is away for less than a lease: what ends meanwhile is reported
// when it is back, and what runs goes on.
func TestTheDatabaseIsAwayForAMoment(t *testing.T) {
	t.Parallel()
	w := exectest.New(t, "name: p\ntasks:\n  ends: {run: 'sleep 1; echo done'}\n  runs: {run: 'sleep 4; echo done'}\n")
	run := w.Run("p")
	w.Release(run, "p", "ends", "runs")
	p := newProxy(t, w.URL)
	start(t, w, func(c *executor.Config) { c.DatabaseURL, c.Lease, c.Renew = p.url, 6*time.Second, time.Second })
	w.Until("both run", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 2 })
	p.down(true)
	time.Sleep(2 * time.Second)
	p.down(false)
	w.UntilEnded()
	if got, want := w.Attempts(run)+w.Log(run), "ends#1 succeeded runs#1 succeededdone\ndone\n"; got != want {
		t.Errorf("attempts, log = %q, want %q", got, want)
	}
	if n := exectest.Value[int64](w, `SELECT count(*) FROM executor`); n != 1 {
		t.Errorf("%d executors have been, want the one", n)
	}
	w.Check()
}

// The database is away for longer than a lease: what runs is killed before
// anybody could take it over, and what had ended is reported after all, because
// nobody has taken it over.
func TestTheDatabaseIsAwayForLongerThanALease(t *testing.T) {
	// Not beside others: a guard that gets no processor cannot keep a lease of three seconds.
	mark := "8996." + uuid.NewString()[:8]
	w := exectest.New(t, "name: p\ntasks:\n  ends: {run: 'sleep 1; echo done'}\n  runs: {command: [sh, -c, 'sleep 8996; :', "+mark+"]}\n  next: {run: 'true'}\n")
	run := w.Run("p")
	w.Release(run, "p", "ends", "runs")
	p := newProxy(t, w.URL)
	r := start(t, w, func(c *executor.Config) { brisk(c); c.DatabaseURL = p.url })
	w.Until("both run", func() bool { return exectest.Value[int64](w, `SELECT count(*) FROM live WHERE state = 'running'`) == 2 })
	p.down(true)
	left := exectest.Value[float64](w, `SELECT extract(epoch FROM lease_until - now()) FROM executor`)
	away := time.Now()
	w.Until("what ran is dead", func() bool { return alive(t, mark) == 0 })
	if took := time.Since(away).Seconds(); took > left+0.5 {
		t.Errorf("it was dead after %.2fs, the lease was over after %.2fs", took, left)
	}
	p.down(false)
	w.Until("the end is reported", func() bool { return strings.Contains(w.Attempts(run), "ends#1 succeeded") })
	w.Release(run, "p", "next")
	w.Until("it works again", func() bool { return strings.Contains(w.Attempts(run), "next#1 succeeded") })
	if got := w.Attempts(run); strings.Contains(got, "runs#") {
		t.Errorf("attempts = %q: what was killed is the reaper's", got)
	}
	if n := r.metric("synthesizer_executor_lease_losses_total"); n != 1 {
		t.Errorf("%v leases were lost, want 1", n)
	}
}

// A proxy stands between an executor and its database.
type proxy struct {
	url    string
	target string

	mu    sync.Mutex
	mute  bool
	gone  bool
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: u.Host, conns: map[net.Conn]bool{}}
	u.Host = l.Addr().String()
	p.url = u.String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	t.Cleanup(func() { l.Close(); p.cut() })
	return p
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	gone := p.gone
	p.mu.Unlock()
	if gone {
		client.Close()
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	go func() { io.Copy(server, client); server.Close(); client.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		p.mu.Lock()
		mute := p.mute
		p.mu.Unlock()
		if n > 0 && !mute {
			client.Write(buf[:n])
		}
		if err != nil {
			client.Close()
			return
		}
	}
}

// swallow loses what the database answers.
func (p *proxy) swallow(on bool) {
	p.mu.Lock()
	p.mute = on
	p.mu.Unlock()
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

// down breaks all connections and accepts no others.
func (p *proxy) down(on bool) {
	p.mu.Lock()
	p.gone = on
	p.mu.Unlock()
	p.cut()
}
