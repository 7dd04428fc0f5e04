package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// counts is how many rows the definitions have: what a refused register leaves
// alone.
func (s *server) counts() string {
	s.t.Helper()
	var out []string
	for _, table := range []string{"source", "pipeline", "revision", "schedule", "run_group", "pool", "var", "lane"} {
		var n int
		if err := s.pool().PGX().QueryRow(s.t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, table+"="+strconv.Itoa(n))
	}
	return strings.Join(out, " ")
}

// post sends a body as it is and gives the status, the problem and the body.
func (s *server) post(path string, body io.Reader, headers ...string) (int, api.Problem, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatalf("POST %s: %v", path, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	var p api.Problem
	_ = json.Unmarshal(text, &p)
	return resp.StatusCode, p, string(text)
}

// get reads an address as the admin.
func (s *server) get(path string) (int, http.Header, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text)
}

func wire(t *testing.T, req api.RegisterRequest) []byte {
	t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHostileFilesChangeNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register("other", "x.yaml", hello("owned"))
	before := s.counts()
	task := func(text string) string { return "name: x\ntasks:\n  a:\n" + text }
	cases := []struct {
		name, text string
		status     int
		want       string
	}{
		{"alias bomb", "name: x\na: &a [1,1]\nb: &b [*a,*a]\ntasks: {a: {run: x}}\n", 422, "anchors"},
		{"anchor of itself", "a: &a [*a]\n", 422, "anchors"},
		{"merge key", "base: {x: 1}\nname: x\ntasks: {a: {<<: *base}}\n", 422, ""},
		{"deep", strings.Repeat("[", 20000), 422, ""},
		{"many keys", func() string {
			var b strings.Builder
			for i := range 20_000 {
				fmt.Fprintf(&b, "k%d: 1\n", i)
			}
			return b.String()
		}(), 422, ""},
		{"second document broken", hello("x") + "---\nname: [\n", 422, ""},
		{"unknown kind", "kind: wizard\nname: x\n", 422, "kind"},
		{"empty", "", 422, "expected a map"},
		{"only comments", "# nothing\n", 422, "expected a map"},
		{"a list", "- 1\n", 422, "expected a map"},
		{"NUL", "name: x\x00\n", 422, ""},
		{"no UTF-8", "name: \xff\n", 422, ""},
		{"key twice", "name: x\nname: y\ntasks: {a: {run: x}}\n", 422, "name"},
		{"unknown key", "name: x\nshedule: 1\ntasks: {a: {run: x}}\n", 422, "schedule"},
		{"name with a slash", strings.Replace(hello("x"), "x", "../../etc", 1), 422, "name"},
		{"owned by another", hello("owned"), 409, "other"},
		{"minute 61", "name: x\nschedule: \"61 2 * * *\"\ntasks: {a: {run: x}}\n", 422, "61"},
		{"zone prefix", "name: x\nschedule: \"TZ=UTC 0 2 * * *\"\ntasks: {a: {run: x}}\n", 422, "timezone"},
		{"never", "name: x\nschedule: \"0 0 31 2,4 *\"\ntasks: {a: {run: x}}\n", 422, ""},
		{"zone", "name: x\ntimezone: Local\ntasks: {a: {run: x}}\n", 422, "Local"},
		{"cycle", "name: x\ntasks:\n  a: {run: x, needs: [b]}\n  b: {run: x, needs: [a]}\n", 422, "cycle"},
		{"unknown need", task("    run: x\n    needs: [nope]\n"), 422, "nope"},
		{"no tasks", "name: x\n", 422, "tasks"},
		{"duration", task("    run: x\n    timeout: -5m\n"), 422, "timeout"},
		{"retry", task("    run: x\n    retry: 1e3\n"), 422, ""},
		{"empty command", task("    command: []\n"), 422, "command"},
		{"LD_PRELOAD", task("    run: x\n    env: {LD_PRELOAD: x}\n"), 422, "LD_"},
		{"expression in run", task("    run: echo ${{ params.x }}\n"), 422, "env"},
		{"pool that is not there", task("    run: x\n    pool: warehous\n"), 422, "warehous"},
		{"read-only key", "name: x\nrevision: 7\ntasks: {a: {run: x}}\n", 422, "revision"},
		{"not built", "name: x\nshadow: true\ntasks: {a: {run: x}}\n", 422, "not"},
	}
	for _, tc := range cases {
		// A good file beside the bad one: neither may be stored.
		status, p, text := s.post("/api/v1/register", bytes.NewReader(wire(t, request("mine", "good.yaml", hello("good"), "bad.yaml", tc.text))))
		if status != tc.status || !strings.Contains(strings.ToLower(text), strings.ToLower(tc.want)) {
			t.Errorf("%s: %d, want %d with %q: %.300s", tc.name, status, tc.status, tc.want, text)
		}
		if len(p.Problems) == 0 || p.Problems[0].Where.File != "bad.yaml" || p.Problems[0].Where.Line < 1 || p.Problems[0].Where.Col < 1 || !strings.HasPrefix(p.Problems[0].Code, "SYN") {
			t.Errorf("%s: no place or code: %.300s", tc.name, text)
		}
		for _, word := range []string{"invalid", "illegal", "failed to", "panic", "goroutine", ".go:", "sql"} {
			if strings.Contains(strings.ToLower(p.Detail+p.Hint), word) {
				t.Errorf("%s: the message says %q: %s", tc.name, word, p.Detail)
			}
		}
	}
	if after := s.counts(); after != before {
		t.Errorf("rows after refused registers: %s, before: %s", after, before)
	}
}

// endless gives the same letter without end.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.n <= 0 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = 'x'
	}
	e.n -= int64(len(p))
	return len(p), nil
}

func TestHostileBodies(t *testing.T) {
	t.Parallel()
	s := start(t)
	before := s.counts()
	many := request("mine")
	for i := range 1001 {
		many.Files = append(many.Files, api.SourceFile{Name: fmt.Sprintf("f%d.yaml", i), Text: hello(fmt.Sprintf("p%d", i))})
	}
	big := request("mine")
	for i := range 70 {
		big.Files = append(big.Files, api.SourceFile{Name: fmt.Sprintf("f%d.yaml", i), Text: "# " + strings.Repeat("x", 250<<10)})
	}
	for _, tc := range []struct {
		name    string
		body    io.Reader
		headers []string
		status  int
		want    string
	}{
		{"no end", io.MultiReader(strings.NewReader(`{"source":"`), &endless{300 << 20}), nil, 413, "larger"},
		{"one file too large", bytes.NewReader(wire(t, request("mine", "a.yaml", "# "+strings.Repeat("x", 256<<10)))), nil, 413, "a.yaml"},
		{"16 MiB and more", bytes.NewReader(wire(t, big)), nil, 413, "bytes together"},
		{"1001 files", bytes.NewReader(wire(t, many)), nil, 413, "1001"},
		{"gzip", strings.NewReader("\x1f\x8b"), []string{"Content-Encoding", "gzip"}, 415, "Content-Encoding"},
		{"as text", strings.NewReader(`{"source":"a","files":[]}`), []string{"Content-Type", "text/plain"}, 415, "application/json"},
		{"a form", strings.NewReader("source=a"), []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, ""},
		{"nothing", strings.NewReader(""), nil, 400, "empty"},
		{"half", strings.NewReader(`{"source":"a","files":[`), nil, 400, "ends within"},
		{"no JSON", strings.NewReader(`source: a`), nil, 400, "no JSON"},
		{"two values", strings.NewReader(`{"source":"a","files":[]}{}`), nil, 400, ""},
		{"key twice", strings.NewReader(`{"source":"a","source":"b","files":[]}`), nil, 422, "twice"},
		{"key in another case", strings.NewReader(`{"SOURCE":"a","files":[]}`), nil, 422, "SOURCE"},
		{"unknown key", strings.NewReader(`{"source":"a","files":[],"id":7}`), nil, 422, "id"},
		{"deep unknown key", strings.NewReader(`{"source":"a","files":[{"name":"a","text":"b","owner":"me"}]}`), nil, 422, "owner"},
		{"wrong type", strings.NewReader(`{"source":7,"files":[]}`), nil, 422, "source"},
		{"deep", strings.NewReader(`{"source":` + strings.Repeat("[", 20000) + `}`), nil, 400, ""},
		{"no source", strings.NewReader(`{"files":[{"name":"a","text":"b"}]}`), nil, 422, "source"},
		{"odd source", strings.NewReader(`{"source":"a\u202eb","files":[{"name":"a","text":"b"}]}`), nil, 422, `\u202e`},
		{"no files", strings.NewReader(`{"source":"a","files":[]}`), nil, 422, "no files"},
	} {
		status, p, text := s.post("/api/v1/register", tc.body, tc.headers...)
		if status != tc.status || !strings.Contains(text, strings.ReplaceAll(tc.want, `\`, `\\`)) || p.RequestID == "" || len(text) > 4<<10 {
			t.Errorf("%s: %d, want %d with %q: %.300s", tc.name, status, tc.status, tc.want, text)
		}
	}
	for path, key := range map[string]string{"/api/v1/pipelines/default/x/pause": "reason", "/api/v1/tokens": "name", "/api/v1/pipelines/default/x/runs": "note"} {
		if status, _, text := s.post(path, io.MultiReader(strings.NewReader(`{"`+key+`":"`), &endless{10 << 20})); status != 413 {
			t.Errorf("10 MiB to %s: %d, want 413: %.200s", path, status, text)
		}
	}
	if after := s.counts(); after != before {
		t.Errorf("rows after refused registers: %s, before: %s", after, before)
	}
	if rss := residentMiB(t); rss > 1024 {
		t.Errorf("resident memory %d MiB", rss)
	}
	for query, want := range map[string]int{"?stat=failed": 400, "?limit=0x": 400, "?limit=500": 422, "?cursor=zzz": 422, "?state=odd": 422, "?limit=2;x": 400, "?pipeline=a%2Fb%27--": 404, "?since=yesterday": 400} {
		status, _, text := s.get("/api/v1/runs" + query)
		if status != want {
			t.Errorf("GET /runs%s = %d, want %d: %.200s", query, status, want, text)
		}
	}
}

func residentMiB(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

func TestParallelRegistersOfOnePipeline(t *testing.T) {
	t.Parallel()
	s := start(t)
	var g sync.WaitGroup
	var mu sync.Mutex
	won, refused := map[int]bool{}, 0
	for i := range 200 {
		g.Go(func() {
			out, err := s.admin().Register(t.Context(), request("repo", "a.yaml", fmt.Sprintf("name: a\ndescription: number %d\ntasks: {a: {run: x}}\n", i)))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && won[out.Pipelines[0].Revision]:
				t.Errorf("revision %d was given twice", out.Pipelines[0].Revision)
			case err == nil:
				won[out.Pipelines[0].Revision] = true
			case api.IsCode(err, api.Conflict) || api.IsCode(err, api.Unavailable):
				refused++
			default:
				t.Errorf("register: %v", err)
			}
		})
	}
	g.Wait()
	var n, highest int
	if err := s.pool().PGX().QueryRow(t.Context(), "SELECT count(*), max(number) FROM revision").Scan(&n, &highest); err != nil {
		t.Fatal(err)
	}
	if n != len(won) || highest != n || n+refused != 200 {
		t.Errorf("%d revisions up to %d; %d registers won, %d were refused", n, highest, len(won), refused)
	}
	s.invariants()
}

// invariants must all be empty.
func (s *server) invariants() {
	s.t.Helper()
	broken, err := dbtest.Invariants(s.t.Context(), s.db)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(broken) > 0 {
		s.t.Errorf("invariants that do not hold: %v", broken)
	}
}

func TestManyFilesAreOneTransactionAndFast(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	files := func(n int, bad bool) api.RegisterRequest {
		req := request("repo")
		for i := range n {
			text := fmt.Sprintf("name: p%04d\nschedule: \"%d 3 * * *\"\ntimezone: Europe/Berlin\ntasks:\n  a: {run: echo a}\n  b: {run: echo b, needs: [a]}\n", i, i%60)
			if bad && i == n-1 {
				text = "name: [\n"
			}
			req.Files = append(req.Files, api.SourceFile{Name: fmt.Sprintf("p%04d.yaml", i), Text: text})
		}
		return req
	}
	if _, err := s.admin().Register(ctx, files(500, true)); !api.IsCode(err, api.Unprocessable) {
		t.Fatalf("one bad file among 500: %v", err)
	}
	if got := s.counts(); !strings.HasPrefix(got, "source=0 pipeline=0 revision=0") {
		t.Errorf("after it: %s", got)
	}
	began := time.Now()
	out, err := s.admin().Register(ctx, files(1000, false))
	first := time.Since(began)
	if err != nil || len(out.Pipelines) != 1000 {
		t.Fatalf("1000 new files: %v", err)
	}
	began = time.Now()
	out, err = s.admin().Register(ctx, files(1000, false))
	second := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range out.Pipelines {
		if p.Change != "unchanged" || p.FirstTick == nil {
			t.Fatalf("%+v", p)
		}
	}
	t.Logf("1000 new files: %v; unchanged: %v", first, second)
	if first > 20*time.Second || second > 5*time.Second { // far above what is wanted: this machine is shared
		t.Errorf("1000 new files took %v, unchanged %v", first, second)
	}
	s.invariants()
}

func TestOwnersAndGuards(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	var pairs []string
	for i := range 8 {
		pairs = append(pairs, fmt.Sprintf("p%d.yaml", i), hello(fmt.Sprintf("p%d", i)))
	}
	s.register("repo", pairs...)
	s.register("mine", "m.yaml", hello("m"))

	if _, err := c.Register(ctx, request("mine", "m.yaml", hello("m"), "p.yaml", hello("p1"))); !api.IsCode(err, api.Guarded) || !strings.Contains(err.Error(), `"repo"`) {
		t.Errorf("a pipeline of another source: %v", err)
	}
	prune := request("repo")
	prune.Prune = true
	if _, err := c.Register(ctx, prune); !api.IsCode(err, api.Guarded) || !strings.Contains(err.Error(), "default/p0") {
		t.Errorf("prune with no files: %v, want guarded with names", err)
	}
	prune = request("repo", pairs[:4]...)
	prune.Prune = true
	if _, err := c.Register(ctx, prune); !api.IsCode(err, api.Guarded) {
		t.Errorf("prune of 6 of 8: %v, want guarded", err)
	}
	dry := prune
	dry.DryRun = true
	out, err := c.Register(ctx, dry)
	if err != nil || out.Pipelines[7].Change != "removed" {
		t.Errorf("dry run: %+v, %v", out, err)
	}
	if p, err := c.Pipeline(ctx, "default", "p7"); err != nil || !p.RemovedAt.IsZero() {
		t.Errorf("after a dry run: %+v, %v", p.RemovedAt, err)
	}
	prune.Confirm = 6
	if out, err = c.Register(ctx, prune); err != nil || out.Pipelines[7].Change != "removed" || out.Pipelines[0].Change != "unchanged" {
		t.Fatalf("prune agreed to: %+v, %v", out, err)
	}
	if list, err := c.Pipelines(ctx, api.ListPipelinesParams{}); err != nil || len(list.Items) != 3 {
		t.Errorf("pipelines after prune: %d, %v; want p0, p1 and m", len(list.Items), err)
	}
	if p, err := c.Pipeline(ctx, "default", "p7"); err != nil || p.RemovedAt.IsZero() {
		t.Errorf("the removed one: %+v, %v", p.RemovedAt, err)
	}
	if _, _, err := c.CreateRun(ctx, "default", "p7", "", api.RunRequest{}); !api.IsCode(err, api.Conflict) {
		t.Errorf("run of a removed one: %v", err)
	}
	// Another source may take the name over; history and numbers go on.
	back := s.register("mine", "m.yaml", hello("m"), "p7.yaml", hello("p7"))
	if p := back.Pipelines[1]; p.Change != "new" || p.Revision != 2 {
		t.Errorf("taken over: %+v", p)
	}
	s.invariants()
}

func TestSchedulesFollowTheirFile(t *testing.T) {
	t.Parallel()
	s := start(t)
	pool := s.pool()
	ctx := t.Context()
	text := func(lines string) string { return "name: a\n" + lines + "tasks: {a: {run: x}}\n" }
	next := func(id string) (at *time.Time, ended *time.Time) {
		t.Helper()
		err := pool.PGX().QueryRow(ctx, "SELECT s.next_at, s.ended_at FROM schedule AS s WHERE s.name = $1", id).Scan(&at, &ended)
		if err != nil {
			t.Fatal(err)
		}
		return at, ended
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.PGX().Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	s.register("repo", "a.yaml", text("schedule: [{id: one, every: 1h}, {id: two, cron: \"0 3 * * *\"}]\n"))
	due, _ := next("one")
	exec("UPDATE schedule SET next_at = now() - interval '90 minutes' WHERE name = 'one'")
	overdue, _ := next("one")

	// Something else changes: ticks that nobody has decided yet stay due.
	s.register("repo", "a.yaml", text("description: new\nschedule: [{id: one, every: 1h}, {id: two, cron: \"0 3 * * *\"}]\n"))
	if at, _ := next("one"); !at.Equal(*overdue) {
		t.Errorf("next tick after another change: %v, want %v still", at, overdue)
	}
	// The times change while ticks are due and no scheduler decides them: the ledger
	// says that they were missed.
	s.register("repo", "a.yaml", text("schedule: [{id: one, every: 2h}, {id: two, cron: \"0 3 * * *\"}]\n"))
	if at, _ := next("one"); !at.After(time.Now()) || at.Equal(*due) && due.Hour()%2 == 1 {
		t.Errorf("next tick after the times changed: %v", at)
	}
	ticks, err := s.admin().Ticks(ctx, "default", "a", api.ListTicksParams{})
	if err != nil || len(ticks.Items) != 1 || ticks.Items[0].State != "missed" || ticks.Items[0].Reason != "registered" || !ticks.Items[0].At.Equal(*overdue) {
		t.Errorf("ledger: %+v, %v", ticks, err)
	}
	// One leaves the file and comes back.
	s.register("repo", "a.yaml", text("schedule: [{id: two, cron: \"0 3 * * *\"}]\n"))
	if at, ended := next("one"); at != nil || ended == nil {
		t.Errorf("a schedule that left its file: next %v, ended %v", at, ended)
	}
	s.register("repo", "a.yaml", text("schedule: [{id: one, every: 2h}, {id: two, cron: \"0 3 * * *\"}]\n"))
	if at, ended := next("one"); at == nil || ended != nil || !at.After(time.Now()) {
		t.Errorf("a schedule that came back: next %v, ended %v", at, ended)
	}
	s.invariants()
}

func TestPoolsAndVars(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	pool := func(n int) string { return fmt.Sprintf("kind: pool\nname: wh\nslots: %d\n", n) }
	vars := func(v string) string { return "kind: vars\nname: shared\nvalues: {LIMIT: \"" + v + "\", ZONE: eu}\n" }
	task := "name: a\ntasks: {a: {run: x, pool: {name: wh, slots: 2}, runs_on: [linux, gpu], secrets: {DSN: WAREHOUSE_DSN}}}\n"
	out := s.register("repo", "a.yaml", task, "pool.yaml", pool(4), "vars.yaml", vars("10"))
	if len(out.Others) != 2 || len(out.Problems) != 2 {
		t.Errorf("others %+v, warnings %+v; want two of each (a secret that is not set, labels that nobody has)", out.Others, out.Problems)
	}
	run, _, err := c.CreateRun(ctx, "default", "a", "", api.RunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var kept string
	if err := s.pool().PGX().QueryRow(ctx, "SELECT r.vars->>'LIMIT' FROM run AS r WHERE r.id = $1", run.ID).Scan(&kept); err != nil || kept != "10" {
		t.Errorf("the run keeps LIMIT = %q, %v", kept, err)
	}
	if _, err := c.Register(ctx, request("repo", "a.yaml", task, "pool.yaml", pool(1))); !api.IsCode(err, api.Unprocessable) {
		t.Errorf("a pool smaller than a task asks for: %v", err)
	}
	if _, err := c.Register(ctx, request("other", "pool.yaml", pool(9))); !api.IsCode(err, api.Unprocessable) || !strings.Contains(err.Error(), `"repo"`) {
		t.Errorf("a pool of another source: %v", err)
	}
	if _, err := c.Register(ctx, request("other", "vars.yaml", vars("1"))); !api.IsCode(err, api.Unprocessable) || !strings.Contains(fmt.Sprint(api.As(err).Problems), `"repo"`) {
		t.Errorf("vars of another source: %v", err)
	}
	s.register("repo", "a.yaml", task, "pool.yaml", pool(6), "vars.yaml", vars("20"))
	var slots int
	var value string
	if err := s.pool().PGX().QueryRow(ctx, "SELECT p.slots, v.value FROM pool AS p, var AS v WHERE v.name = 'LIMIT'").Scan(&slots, &value); err != nil || slots != 6 || value != "20" {
		t.Errorf("pool %d, var %q, %v", slots, value, err)
	}
}
