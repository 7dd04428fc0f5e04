package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// A system is our services as real processes on one database.
type system struct {
	t     *testing.T
	url   string // of the database, as its owner
	users string // file with a database user for each service; "": they use the owner
	pool  *pgxpool.Pool
	api   *service
	token string
	*client.Client
	outages []outage
}

// An outage is a fault that the test made; some invariants allow for it.
type outage struct {
	what     string // scheduler, database, executor
	from, to time.Time
}

// A service is a process with an address for probes.
type service struct {
	*process
	address string
}

// newSystem starts an api on a database.
func newSystem(t *testing.T, database string) *system {
	t.Helper()
	return startSystem(t, database, "")
}

// newSeparateSystem starts an api on a server of the test's own, where each
// service logs in as a user with the rights of that service alone.
func newSeparateSystem(t *testing.T, pg *postgres) *system {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	var lines strings.Builder
	for _, name := range []string{"api", "scheduler", "executor"} {
		fmt.Fprintf(&lines, "e2e_%s syn_%[1]s %s\n", name, password)
	}
	if err := os.WriteFile(users, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return startSystem(t, pg.server.URL, users)
}

// password is that of each service's user: the server is the test's own, and gone
// with it.
const password = "e2e"

func startSystem(t *testing.T, database, users string) *system {
	t.Helper()
	s := &system{t: t, url: database, users: users}
	var err error
	if s.pool, err = pgxpool.New(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	migrate := s.command("api", "migrate")
	migrate.Env = append(migrate.Env, "SYN_DATABASE_URL="+database, "SYN_MIGRATE_LOGINS="+users)
	if out, err := migrate.CombinedOutput(); err != nil {
		t.Fatalf("api migrate: %v\n%s", err, out)
	}
	if err := dbtest.InstallHarness(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	s.api = s.service("api")
	out, err := s.command("api", "token").Output()
	if err != nil {
		t.Fatalf("api token: %v", err)
	}
	s.token = strings.TrimSpace(string(out))
	if s.Client, err = client.New(client.Options{URL: "http://" + s.api.address, Token: s.token, UserAgent: "e2e"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// env is what a service is given: no more than a supervisor would.
func (s *system) env(name string) []string {
	s.t.Helper()
	address := s.url
	if s.users != "" {
		u, err := url.Parse(s.url)
		if err != nil {
			s.t.Fatal(err)
		}
		u.User = url.UserPassword("e2e_"+name, password)
		address = u.String()
	}
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.t.TempDir(), "SYN_DATABASE_URL=" + address, "SYN_LOG_FORMAT=text"}
}

func (s *system) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), program(s.t, name), args...)
	cmd.Env = s.env(name)
	return cmd
}

// service starts one of our services and waits until it is ready.
func (s *system) service(name string, args ...string) *service {
	s.t.Helper()
	address := "127.0.0.1:" + strconv.Itoa(freePort(s.t))
	svc := &service{address: address, process: newProcess(s.t, name, program(s.t, name), s.env(name), append([]string{"--listen", address}, args...)...)}
	svc.start()
	svc.awaitReady(30 * time.Second)
	return svc
}

func (s *system) scheduler() *service { s.t.Helper(); return s.service("scheduler") }

// executor starts an executor with a work directory of its own.
func (s *system) executor(args ...string) *service {
	s.t.Helper()
	return s.service("executor", append([]string{"--work-dir", filepath.Join(s.t.TempDir(), "work")}, args...)...)
}

// restart starts a service that has ended, and waits until it is ready.
func (v *service) restart() {
	v.t.Helper()
	v.start()
	v.awaitReady(30 * time.Second)
}

func (v *service) awaitReady(within time.Duration) {
	v.t.Helper()
	why := "it does not answer"
	deadline := time.Now().Add(within)
	for ; ; time.Sleep(25 * time.Millisecond) {
		if !v.running() {
			v.t.Fatalf("%s ended while it started", v.name)
		}
		ok, answer := v.ready()
		if ok {
			return
		}
		if answer != "" {
			why = answer
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("%s is not ready after %s: %s", v.name, within, why)
		}
	}
}

func (v *service) ready() (ok bool, why string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.address+"/readyz", nil)
	if err != nil {
		return false, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, ""
	}
	defer resp.Body.Close()
	text := make([]byte, 1000)
	n, _ := resp.Body.Read(text)
	return resp.StatusCode == http.StatusOK, string(text[:n])
}

// register stores pipelines: name of the file, text, name, text …
func (s *system) register(pairs ...string) api.Registration {
	s.t.Helper()
	out, err := s.Register(s.t.Context(), request(pairs...))
	if err != nil {
		s.t.Fatalf("register: %v\n%s", err, findings(err))
	}
	return out
}

func request(pairs ...string) api.RegisterRequest {
	req := api.RegisterRequest{Source: "e2e", Files: []api.SourceFile{}}
	for i := 0; i < len(pairs); i += 2 {
		req.Files = append(req.Files, api.SourceFile{Name: pairs[i], Text: pairs[i+1]})
	}
	return req
}

func findings(err error) string {
	var b strings.Builder
	if e, ok := errors.AsType[*api.Error](err); ok {
		for _, f := range e.Problems {
			fmt.Fprintf(&b, "%s:%d:%d %s %s\n", f.Where.File, f.Where.Line, f.Where.Col, f.Code, f.Message)
		}
	}
	return b.String()
}

// run asks for a run.
func (s *system) run(pipeline string) api.Run {
	s.t.Helper()
	run, _, err := s.CreateRun(s.t.Context(), "default", pipeline, "", api.RunRequest{})
	if err != nil {
		s.t.Fatalf("run %s: %v", pipeline, err)
	}
	return run
}

// awaitEnd waits for the end of a run and returns it.
func (s *system) awaitEnd(run api.Run, within time.Duration) api.Run {
	s.t.Helper()
	var err error
	eventually(s.t, within, fmt.Sprintf("the end of %s#%d", run.Pipeline, run.Number), func() bool {
		run, err = s.RunByID(s.t.Context(), run.ID)
		return err == nil && run.EndedAt != nil
	})
	return run
}

// value asks the database for one value.
func value[V any](s *system, sql string, args ...any) V {
	s.t.Helper()
	v, err := try[V](s, sql, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// try is value for times when the database may be gone.
func try[V any](s *system, sql string, args ...any) (V, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		var none V
		return none, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[V])
}

func (s *system) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// await waits until a query says true.
func (s *system) await(within time.Duration, what, sql string, args ...any) {
	s.t.Helper()
	eventually(s.t, within, what, func() bool {
		ok, err := try[bool](s, sql, args...)
		return err == nil && ok
	})
}

// awaitQuiet waits until nothing is open and every wake was looked at.
func (s *system) awaitQuiet(within time.Duration) {
	s.t.Helper()
	s.await(within, "quiet", `SELECT NOT EXISTS (SELECT FROM open_run) AND NOT EXISTS (SELECT FROM ready) AND NOT EXISTS (SELECT FROM live)
		AND NOT EXISTS (SELECT FROM wake AS w WHERE w.not_before <= now())`)
}

// check fails the test for each invariant that does not hold, with what the
// witness saw. Nothing may be going on any more.
func (s *system) check(w *witness) {
	s.t.Helper()
	for _, o := range s.outages {
		s.exec(`INSERT INTO h_outage VALUES ($1, $2, $3)`, o.what, o.from, o.to)
	}
	if w != nil {
		for _, e := range w.all() {
			s.exec(`INSERT INTO h_effect (run_id, task, item_index, attempt, at, what) VALUES ($1, $2, $3, $4, $5, $6)`, e.run, e.task, e.index, e.attempt, e.at, e.what)
		}
	}
	broken, err := dbtest.Invariants(s.t.Context(), s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, n := range broken {
		examples, err := try[string](s, `SELECT coalesce(string_agg(x.row, E'\n'), '') FROM (SELECT to_jsonb(v)::text AS row FROM inv.`+pgx.Identifier{name}.Sanitize()+` AS v LIMIT 5) AS x`)
		if err != nil {
			examples = err.Error()
		}
		s.t.Errorf("%s has %d rows, want none:\n%s\n%s", name, n, examples, s.story(name))
	}
}

// story is all that happened to the first run that an invariant names.
func (s *system) story(invariant string) string {
	text, err := try[string](s, `
		SELECT string_agg(x.line, E'\n' ORDER BY x.at)
		FROM (
			SELECT (to_jsonb(v) ->> 'run_id')::bigint AS run_id FROM inv.`+pgx.Identifier{invariant}.Sanitize()+` AS v LIMIT 1
		) AS r
		CROSS JOIN LATERAL (
			SELECT a.claimed_at AS at, format('attempt %s:%s %s %s: ready %s, claimed %s, started %s, ended %s', a.number, a.attempt, a.state, a.reason,
				a.ready_at::time, a.claimed_at::time, a.started_at::time, a.ended_at::time) AS line
			FROM attempt_now AS a WHERE a.run_id = r.run_id
			UNION ALL
			SELECT e.at, format('%s %s %s: %s → %s %s %s', e.at::time, e.kind, e.number, e.from_state, e.to_state, e.reason, e.cause) FROM event AS e WHERE e.entity_id = r.run_id AND e.kind IN ('run', 'task')
		) AS x`)
	if err != nil {
		return "" // it names no run
	}
	return text
}
