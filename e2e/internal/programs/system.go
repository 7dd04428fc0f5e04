package programs

import (
	"context"
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

	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// A System is our services as real processes on one database.
type System struct {
	t        *testing.T
	Database string // its address, as its owner
	keys     string // file that secrets are sealed with
	users    string // file with a database user for each service; "": they use the owner
	Pool     *pgxpool.Pool
	API      *Service
	Token    string
	*client.Client
	Outages []Outage
}

// An Outage is a fault that the test made; some invariants allow for it.
type Outage struct {
	What     string // scheduler, database, executor
	From, To time.Time
}

// A Service is a process with an address for probes.
type Service struct {
	*Process
	Address string
}

// NewSystem starts an api on a database.
func NewSystem(t *testing.T, database string) *System {
	t.Helper()
	return startSystem(t, database, "")
}

// NewSeparateSystem starts an api on a server of the test's own, where each
// service logs in as a user with the rights of that service alone.
func NewSeparateSystem(t *testing.T, server string) *System {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	var lines strings.Builder
	for _, name := range []string{"api", "scheduler", "executor"} {
		fmt.Fprintf(&lines, "e2e_%s syn_%[1]s %s\n", name, password)
	}
	if err := os.WriteFile(users, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return startSystem(t, server, users)
}

// password is that of each service's user: the server is the test's own, and gone
// with it.
const password = "e2e"

func startSystem(t *testing.T, database, users string) *System {
	t.Helper()
	s := &System{t: t, Database: database, users: users, keys: filepath.Join(t.TempDir(), "secret.key")}
	var err error
	if s.Pool, err = pgxpool.New(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Pool.Close)
	migrate := s.Command("api", "migrate")
	migrate.Env = append(migrate.Env, "SYN_DATABASE_URL="+database, "SYN_MIGRATE_LOGINS="+users)
	if out, err := migrate.CombinedOutput(); err != nil {
		t.Fatalf("api migrate: %v\n%s", err, out)
	}
	if err := dbtest.InstallHarness(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Command("api", "secret-key", "create").CombinedOutput(); err != nil {
		t.Fatalf("api secret-key create: %v\n%s", err, out)
	}
	s.API = s.Service("api")
	out, err := s.Command("api", "token").Output()
	if err != nil {
		t.Fatalf("api token: %v", err)
	}
	s.Token = strings.TrimSpace(string(out))
	if s.Client, err = client.New(client.Options{URL: "http://" + s.API.Address, Token: s.Token, UserAgent: "e2e"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// env is what a service is given: no more than a supervisor would.
func (s *System) env(name string) []string {
	s.t.Helper()
	address := s.Database
	if s.users != "" {
		u, err := url.Parse(s.Database)
		if err != nil {
			s.t.Fatal(err)
		}
		u.User = url.UserPassword("e2e_"+name, password)
		address = u.String()
	}
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.t.TempDir(), "SYN_DATABASE_URL=" + address, "SYN_SECRET_KEY_FILE=" + s.keys, "SYN_LOG_FORMAT=text"}
}

func (s *System) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), Path(s.t, name), args...)
	cmd.Env = s.env(name)
	return cmd
}

// Service starts one of our services and waits until it is ready.
func (s *System) Service(name string, args ...string) *Service {
	s.t.Helper()
	address := "127.0.0.1:" + strconv.Itoa(FreePort(s.t))
	svc := &Service{Address: address, Process: NewProcess(s.t, name, Path(s.t, name), s.env(name), append([]string{"--listen", address}, args...)...)}
	svc.Start()
	svc.AwaitReady(30 * time.Second)
	return svc
}

// Scheduler starts a scheduler.
func (s *System) Scheduler() *Service { s.t.Helper(); return s.Service("scheduler") }

// Executor starts an executor with a work directory of its own.
// Exec changes the database.
func (s *System) Executor(args ...string) *Service {
	s.t.Helper()
	return s.Service("executor", append([]string{"--work-dir", filepath.Join(s.t.TempDir(), "work")}, args...)...)
}

// Restart starts a service that has ended, and waits until it is ready.
func (v *Service) Restart() {
	v.t.Helper()
	v.Start()
	v.AwaitReady(30 * time.Second)
}

// AwaitReady waits until the service can do its job.
func (v *Service) AwaitReady(within time.Duration) {
	v.t.Helper()
	why := "it does not answer"
	deadline := time.Now().Add(within)
	for ; ; time.Sleep(25 * time.Millisecond) {
		if !v.Running() {
			v.t.Fatalf("%s ended while it started", v.Name)
		}
		ok, answer := v.ready()
		if ok {
			return
		}
		if answer != "" {
			why = answer
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("%s is not ready after %s: %s", v.Name, within, why)
		}
	}
}

func (v *Service) ready() (ok bool, why string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.Address+"/readyz", nil)
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

// Value asks the database for one value.
func Value[V any](s *System, sql string, args ...any) V {
	s.t.Helper()
	v, err := Try[V](s, sql, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// Try is Value for times when the database may be gone.
func Try[V any](s *System, sql string, args ...any) (V, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	rows, err := s.Pool.Query(ctx, sql, args...)
	if err != nil {
		var none V
		return none, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[V])
}

// Exec changes the database.
func (s *System) Exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.Pool.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// Await waits until a query says true.
func (s *System) Await(within time.Duration, what, sql string, args ...any) {
	s.t.Helper()
	Eventually(s.t, within, what, func() bool {
		ok, err := Try[bool](s, sql, args...)
		return err == nil && ok
	})
}

// AwaitQuiet waits until nothing is open and every wake was looked at.
func (s *System) AwaitQuiet(within time.Duration) {
	s.t.Helper()
	s.Await(within, "quiet", `SELECT NOT EXISTS (SELECT FROM open_run) AND NOT EXISTS (SELECT FROM ready) AND NOT EXISTS (SELECT FROM live)
		AND NOT EXISTS (SELECT FROM wake AS w WHERE w.not_before <= now())`)
}

// Check fails the test for each invariant that does not hold. Nothing may be
// going on any more.
func (s *System) Check() {
	s.t.Helper()
	for _, o := range s.Outages {
		s.Exec(`INSERT INTO h_outage VALUES ($1, $2, $3)`, o.What, o.From, o.To)
	}
	broken, err := dbtest.Invariants(s.t.Context(), s.Database)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, n := range broken {
		examples, err := Try[string](s, `SELECT coalesce(string_agg(x.row, E'\n'), '') FROM (SELECT to_jsonb(v)::text AS row FROM inv.`+pgx.Identifier{name}.Sanitize()+` AS v LIMIT 5) AS x`)
		if err != nil {
			examples = err.Error()
		}
		s.t.Errorf("%s has %d rows, want none:\n%s\n%s", name, n, examples, s.story(name))
	}
}

// story is all that happened to the first run that an invariant names.
func (s *System) story(invariant string) string {
	text, err := Try[string](s, `
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
