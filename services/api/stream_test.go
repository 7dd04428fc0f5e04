package api_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A stage plays scheduler and executor for one run, by writing the rows that they
// would.
type stage struct {
	*server
	pool *db.Pool
	run  api.Run
	ref  client.RunRef
	seq  int
	at   int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{server: start(t)}
	s.pool = s.server.pool()
	s.register("repo", "a.yaml", "name: a\ntasks:\n  one: {run: x}\n  each: {run: x, needs: [one], for_each: [eu, us]}\n")
	var err error
	if s.run, _, err = s.admin().CreateRun(t.Context(), "default", "a", "", api.RunRequest{}); err != nil {
		t.Fatal(err)
	}
	s.ref = client.RunRef{Namespace: "default", Pipeline: "a", Run: "1"}
	return s
}

func (s *stage) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.PGX().Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.pool.PGX().Exec(s.t.Context(), "SELECT pg_notify($1, '')", db.ChannelEvent); err != nil {
		s.t.Fatal(err)
	}
}

// admit starts the run: its tasks are born, the first is claimed.
func (s *stage) admit() {
	id, executor := s.run.ID, uuid.New()
	s.exec("UPDATE open_run SET state = 'running', admitted_at = now() WHERE run_id = $1", id)
	s.exec("UPDATE run SET state = 'running', started_at = now() WHERE id = $1", id)
	s.exec("INSERT INTO executor (id, name, slots, lease_until) VALUES ($1, 'wh-1', 4, now() + interval '1 hour')", executor)
	s.exec("INSERT INTO task (run_id, number, name, state, ready_at) VALUES ($1, 0, 'one', 'ready', now()), ($1, 16384, 'each', 'waiting', NULL)", id)
	s.exec(`INSERT INTO live (run_id, number, attempt, executor, lease_token, state, lane, pipeline_id, revision_id, ready_at, started_at)
		SELECT $1, 0, 1, $2, gen_random_uuid(), 'running', 1, r.pipeline_id, r.revision_id, now(), now() FROM run AS r WHERE r.id = $1`, id, executor)
}

// print stores a chunk: a piece of stdout and one of stderr.
func (s *stage) print(out, err string) {
	var marks []byte
	for _, m := range []struct {
		n    int
		err  uint64
		wait uint64
	}{{len(out), 0, 100}, {len(err), 1, 50}} {
		if m.n > 0 {
			marks = binary.AppendUvarint(marks, uint64(m.n)<<1|m.err)
			marks = binary.AppendUvarint(marks, m.wait)
		}
	}
	data := out + err
	s.exec(`WITH l AS (UPDATE live SET log_seen = $1::bigint + length($2::bytea), log_stored = $1 + length($2) RETURNING run_id, claimed_at)
		INSERT INTO log_chunk (day, run_id, number, attempt, seq, at_byte, data, marks)
		SELECT (l.claimed_at AT TIME ZONE 'UTC')::date, l.run_id, 0, 1, $3::int, $1, $2, $4::bytea FROM l`, s.at, []byte(data), s.seq, marks)
	s.seq++
	s.at += len(data)
}

// end ends the task's attempt, and the run with it.
func (s *stage) end(state string, code int) {
	id := s.run.ID
	s.exec(`WITH gone AS (DELETE FROM live RETURNING *)
		INSERT INTO attempt (run_id, number, attempt, executor, lease_token, state, exit_code, ready_at, claimed_at, started_at, ended_at, log_seen, log_stored)
		SELECT g.run_id, g.number, g.attempt, g.executor, g.lease_token, $1, $2, g.ready_at, g.claimed_at, g.started_at, now(), g.log_seen, g.log_stored FROM gone AS g`, state, code)
	s.exec("UPDATE task SET state = $2, attempt = 1, ended_at = now(), outputs = '{\"n\": 12345678901234567890}' WHERE run_id = $1 AND number = 0", id, state)
	s.exec("UPDATE task SET state = 'skipped', ended_at = now(), reason = 'upstream' WHERE run_id = $1 AND number > 0", id)
	s.exec("DELETE FROM open_run WHERE run_id = $1", id)
	s.exec("UPDATE run SET state = $2, ended_at = now() WHERE id = $1", id, state)
}

func TestWatchTellsEveryChange(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var story []string
	err := s.admin().Watch(ctx, s.ref, func(e client.RunEvent) error {
		switch {
		case e.Task != nil:
			story = append(story, fmt.Sprintf("%s %s %s", e.Kind, e.Task.Name, e.Task.State))
		default:
			story = append(story, fmt.Sprintf("%s %s %d", e.Kind, e.Run.State, len(e.Run.Tasks)))
		}
		switch story[len(story)-1] {
		case "run queued 0":
			s.admit()
		case "task one running":
			s.end("succeeded", 0)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(story, "\n")
	for _, want := range []string{"run queued 0\n", "\nrun running 0", "\ntask one running", "\ntask each waiting", "\ntask one succeeded", "\ntask each skipped", "\nend succeeded 0"} {
		if !strings.Contains(got, want) {
			t.Errorf("the story lacks %q:\n%s", want, got)
		}
	}
	run, err := s.admin().Run(ctx, s.ref)
	if err != nil {
		t.Fatal(err)
	}
	one := run.Tasks[0]
	if len(run.Tasks) != 2 || one.State != "succeeded" || len(one.Attempts) != 1 || one.Attempts[0].Executor != "wh-1" || *one.Attempts[0].ExitCode != 0 ||
		one.StartedAt == nil || string(one.Outputs["n"]) != "12345678901234567890" || one.Index != nil {
		t.Errorf("tasks: %+v", run.Tasks)
	}
	// A run that has ended: whole, and its end.
	story = nil
	if err := s.admin().Watch(ctx, s.ref, func(e client.RunEvent) error { story = append(story, e.Kind); return nil }); err != nil || strings.Join(story, " ") != "run end" {
		t.Errorf("watch after the end: %v, %v", story, err)
	}
	if _, err := s.admin().Cancel(ctx, s.ref, api.CancelRequest{}); !api.IsCode(err, api.Conflict) {
		t.Errorf("cancel after the end: %v", err)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s.admit()
	s.print("hello ", "oops\n")
	s.print("wör", "")
	var text strings.Builder
	var streams []string
	var ended string
	err := s.admin().FollowLogs(ctx, s.ref, api.FollowLogsParams{Follow: true}, func(e client.LogEvent) error {
		switch {
		case e.Piece != nil:
			text.WriteString(e.Piece.Text)
			streams = append(streams, string(e.Piece.Stream))
			if int(e.Piece.To) == 11+4 { // all that was there: now comes the rest
				s.print("ld: €"[:6], "") // cut within a character
				s.print("ld: €"[6:]+"\n\xff", "")
				s.at += 100 // not kept
				s.print("tail\n", "")
				s.end("failed", 3)
			}
		case e.Cut != nil:
			fmt.Fprintf(&text, "[%d not kept]", e.Cut.To-e.Cut.From)
		default:
			ended = string(e.Run.State)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "hello oops\nwörld: €\n\uFFFD[100 not kept]tail\n"; text.String() != want {
		t.Errorf("followed %q, want %q", text.String(), want)
	}
	if len(streams) < 3 || streams[0] != "stdout" || streams[1] != "stderr" || ended != "failed" {
		t.Errorf("streams %v, ended %q", streams, ended)
	}

	log := client.LogRef{RunRef: s.ref, Task: "one"}
	part, err := s.admin().Log(ctx, log, 0, 0)
	if err != nil || string(part.Data) != "hello oops\nwörld: €\n\xff" || part.Offset != 0 || !part.Complete {
		t.Errorf("log: %+v, %v", part, err)
	}
	rest, err := s.admin().Log(ctx, log, part.Next, 0)
	if err != nil || string(rest.Data) != "tail\n" || rest.Offset != part.Next+100 {
		t.Errorf("behind the cut: %+v, %v", rest, err)
	}
	if end, err := s.admin().Log(ctx, log, rest.Next, 0); err != nil || len(end.Data) != 0 || end.Next != rest.Next || end.Size != rest.Next {
		t.Errorf("at the end: %+v, %v", end, err)
	}
	if tail, err := s.admin().Log(ctx, log, -3, 0); err != nil || string(tail.Data) != "il\n" {
		t.Errorf("the last 3 bytes: %+v, %v", tail, err)
	}
	if few, err := s.admin().Log(ctx, log, 6, 4); err != nil || string(few.Data) != "oops" || few.Next != 10 {
		t.Errorf("4 bytes from 6: %+v, %v", few, err)
	}
	for _, bad := range []client.LogRef{{RunRef: s.ref, Task: "two"}, {RunRef: s.ref, Task: "one", Attempt: 7}} {
		if _, err := s.admin().Log(ctx, bad, 0, 0); !api.IsCode(err, api.NotFound) {
			t.Errorf("log of %+v: %v", bad, err)
		}
	}
	if none, err := s.admin().Log(ctx, client.LogRef{RunRef: s.ref, Task: "each"}, 0, 0); err != nil || len(none.Data) != 0 || !none.Complete {
		t.Errorf("log of a task that never ran: %+v, %v", none, err)
	}
}

// A proxy that cuts every stream after some bytes.
func TestFollowingSurvivesLostConnections(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.admit()
	var want strings.Builder
	for i := range 40 {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("·", 20))
		want.WriteString(line)
		s.print(line, "")
	}
	s.end("succeeded", 0)
	target, _ := url.Parse(s.url)
	var connections atomic.Int32
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			n := connections.Add(1)
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(r.Body, int64(n)*1500), r.Body}
			return nil
		},
	}
	front := httptest.NewServer(proxy)
	defer front.Close()
	var told int
	c, err := client.New(client.Options{URL: front.URL, Token: s.token, Retrying: func(error, time.Duration) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	err = c.FollowLogs(t.Context(), s.ref, api.FollowLogsParams{Follow: true}, func(e client.LogEvent) error {
		if e.Piece != nil {
			got.WriteString(e.Piece.Text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("over %d connections: lines lost or repeated:\n%s", connections.Load(), got.String())
	}
	if connections.Load() < 3 || told == 0 {
		t.Errorf("%d connections, told %d times", connections.Load(), told)
	}
}

func TestAStopEndsStreams(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/runs/default/a/1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("%s: %s", resp.Status, kind)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "event: run\n" {
		t.Fatalf("first line %q, %v", line, err)
	}
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a stream held the stop up for %v", took)
	}
}
