// Package compose runs the whole system with `docker compose up`, as a user
// would, on the machine's container engine.
package compose

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// notTested begins the line that says that there was no engine; .ci/run looks
// for it where there is one.
const notTested = "COMPOSE NOT TESTED"

// pipelines are what the test registers: one that ticks, one that spreads.
var pipelines = map[string]string{
	"ticking.yaml": `name: ticking
schedule: {every: 5s}
tasks:
  greet: {run: echo hello from $SYN_PIPELINE}
`,
	"spreading.yaml": `name: spreading
params:
  seconds: {type: integer, default: 1}
tasks:
  spread:
    for_each: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    run: sleep "$SYN_PARAM_SECONDS"
`,
	"long.yaml": `name: long
tasks:
  wait: {run: 'if [ "$SYN_ATTEMPT" = 1 ]; then sleep 600; fi; echo attempt $SYN_ATTEMPT'}
`,
}

func TestCompose(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "docker", "info").CombinedOutput(); err != nil {
		t.Skipf("%s: no container engine answers to `docker info`: %v\n%s", notTested, err, out)
	}
	s := newSystem(t)
	s.compose("up", "--build", "--detach", "--quiet-pull", "--wait", "--wait-timeout", "180")

	// Whoever may use the engine may sign in, and nothing else gives a token.
	token := strings.TrimSpace(s.compose("exec", "-T", "api", "api", "token"))
	s.stdin = token + "\n"
	s.synctl("login", s.url, "--token-stdin")
	s.stdin = ""

	s.synctl("register", s.write(pipelines))

	t.Run("a schedule ticks and its run succeeds", func(t *testing.T) {
		s.eventually(t, 60*time.Second, `SELECT count(*) >= 2 FROM syn_v1.run AS r
			WHERE r.pipeline = 'ticking' AND r.trigger = 'schedule' AND r.state = 'succeeded'`)
		s.nothing(t, `SELECT * FROM syn_v1.run AS r WHERE r.pipeline = 'ticking' AND r.state = 'failed'`)
	})
	t.Run("two executors share the work", func(t *testing.T) {
		s.synctl("run", "spreading", "-w")
		s.eventually(t, 10*time.Second, `SELECT (`+executorsOf("spreading", 1)+`) = 2`)
	})
	t.Run("scaled to four, all four work", func(t *testing.T) {
		s.compose("up", "--detach", "--no-recreate", "--wait", "--wait-timeout", "120", "--scale", "executor=4")
		s.synctl("run", "spreading", "-p", "seconds=3", "-w")
		s.eventually(t, 10*time.Second, `SELECT (`+executorsOf("spreading", 2)+`) = 4`)
	})
	t.Run("a killed executor's task runs elsewhere", func(t *testing.T) {
		s.synctl("run", "long")
		s.eventually(t, 30*time.Second, `SELECT count(*) = 1 FROM syn_v1.attempt AS a JOIN syn_v1.run AS r USING (run_id)
			WHERE r.pipeline = 'long' AND a.state = 'running'`)
		host := s.sql(`SELECT a.host FROM syn_v1.attempt AS a JOIN syn_v1.run AS r USING (run_id)
			WHERE r.pipeline = 'long' AND a.state = 'running'`)
		killed := time.Now()
		s.docker("kill", host) // a container's host name is its id
		s.eventually(t, 60*time.Second, `SELECT r.state = 'succeeded' FROM syn_v1.run AS r WHERE r.pipeline = 'long'`)
		t.Logf("the run succeeded elsewhere %v after the kill", time.Since(killed).Round(time.Second))
		s.eventually(t, 0, `SELECT array_agg(a.state ORDER BY a.attempt) = '{lost,succeeded}'
			AND count(DISTINCT a.executor_id) = 2 AND max(a.claimed_at) - min(a.ended_at) < interval '20 seconds'
			FROM syn_v1.attempt AS a JOIN syn_v1.run AS r USING (run_id) WHERE r.pipeline = 'long'`)
	})
	t.Run("services see only their own password", func(t *testing.T) {
		for _, file := range []string{"postgres", "postgres.pgpass", "logins", "api.pgpass", "scheduler.pgpass"} {
			out, err := s.try("docker", s.composeArgs("exec", "-T", "executor", "cat", "/secrets/"+file)...)
			if err == nil || !strings.Contains(out, "Permission denied") {
				t.Errorf("an executor reads /secrets/%s: %v", file, err)
			}
		}
	})
	t.Run("everything comes back with its data", func(t *testing.T) {
		before := s.sql(`SELECT count(*) FROM syn_v1.run AS r WHERE r.pipeline = 'spreading'`)
		s.compose("down")
		s.compose("up", "--detach", "--wait", "--wait-timeout", "180")
		if after := s.sql(`SELECT count(*) FROM syn_v1.run AS r WHERE r.pipeline = 'spreading'`); after != before {
			t.Errorf("%s runs before the restart, %s after", before, after)
		}
		s.synctl("ls") // the token is still good
	})
}

// executorsOf counts who ran the tasks of one run.
func executorsOf(pipeline string, number int) string {
	return fmt.Sprintf(`SELECT count(DISTINCT a.executor_id) FROM syn_v1.attempt AS a JOIN syn_v1.run AS r USING (run_id)
		WHERE r.pipeline = '%s' AND r.number = %d`, pipeline, number)
}

// A system is one Compose project of its own name, port and volumes.
type system struct {
	t       *testing.T
	root    string
	project string
	extra   string // a second Compose file
	env     []string
	url     string
	bin     string
	stdin   string
}

func newSystem(t *testing.T) *system {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	home := t.TempDir()
	s := &system{
		t:       t,
		root:    root,
		project: "synthesizer-e2e-" + strconv.Itoa(os.Getpid()),
		extra:   filepath.Join(home, "slots.yaml"),
		url:     "http://127.0.0.1:" + port,
		bin:     filepath.Join(home, "synctl"),
	}
	// Few slots, so that sixteen tasks need all executors.
	s.create(s.extra, "services: {executor: {environment: {SYN_SLOTS: \"4\"}}}\n")
	s.env = append(os.Environ(),
		"GOWORK=off",
		"SYN_PUBLISH=127.0.0.1:"+port,
		"SYN_IMAGE_PREFIX=synthesizer-e2e-",
		"SYNCTL_CONFIG="+filepath.Join(home, "synctl.yaml"),
		"SYNCTL_NO_INPUT=1",
	)

	// Made in the background since `make test` began; this waits for the rest.
	settings := s.run(20*time.Minute, filepath.Join(root, "deploy/testbed/engine.sh"))
	s.env = append(s.env, strings.Fields(settings)...)
	s.run(10*time.Minute, "go", "-C", filepath.Join(root, "cli"), "build", "-o", s.bin, "./cmd/synctl")

	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			logs, _ := s.command(ctx, "docker", s.composeArgs("logs", "--no-color", "--tail", "60")...).CombinedOutput()
			t.Logf("the services' logs:\n%s", logs)
		}
		if out, err := s.command(ctx, "docker", s.composeArgs("down", "--volumes", "--remove-orphans", "--timeout", "5")...).CombinedOutput(); err != nil {
			t.Errorf("docker compose down: %v\n%s", err, out)
		}
		left, err := s.command(ctx, "docker", "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project="+s.project).Output()
		if err != nil || len(left) != 0 {
			t.Errorf("containers left behind: %q, %v", left, err)
		}
	})
	return s
}

func (s *system) composeArgs(args ...string) []string {
	return append([]string{
		"compose", "--project-name", s.project, "--project-directory", s.root,
		"--file", filepath.Join(s.root, "docker-compose.yml"), "--file", s.extra, "--progress", "plain",
	}, args...)
}

func (s *system) compose(args ...string) string {
	s.t.Helper()
	return s.run(20*time.Minute, "docker", s.composeArgs(args...)...)
}

func (s *system) docker(args ...string) string {
	s.t.Helper()
	return s.run(time.Minute, "docker", args...)
}

func (s *system) synctl(args ...string) string {
	s.t.Helper()
	return s.run(2*time.Minute, s.bin, args...)
}

// sql asks the database as its superuser.
func (s *system) sql(query string) string {
	s.t.Helper()
	return strings.TrimSpace(s.compose("exec", "-T", "-u", "postgres", "postgres", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "synthesizer", "-c", query))
}

// eventually waits until a query says true.
func (s *system) eventually(t *testing.T, within time.Duration, query string) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(500 * time.Millisecond) {
		got := s.sql(query)
		if got == "t" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not true within %v, but %q:\n%s\n%s", within, got, query, s.sql(`TABLE syn_v1.attempt`))
		}
	}
}

// nothing fails when a query finds rows.
func (s *system) nothing(t *testing.T, query string) {
	t.Helper()
	if rows := s.sql(query); rows != "" {
		t.Errorf("%s\nfound:\n%s", query, rows)
	}
}

// run runs a command to its end and returns its standard output.
func (s *system) run(within time.Duration, name string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), within)
	defer cancel()
	cmd := s.command(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, tail(stdout.String()), tail(stderr.String()))
	}
	return stdout.String()
}

// try runs a command that may fail and returns all it says.
func (s *system) try(name string, args ...string) (string, error) {
	out, err := s.command(s.t.Context(), name, args...).CombinedOutput()
	return string(out), err
}

func (s *system) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.root
	cmd.Env = s.env
	cmd.Stdin = strings.NewReader(s.stdin)
	return cmd
}

func (s *system) write(files map[string]string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, text := range files {
		s.create(filepath.Join(dir, name), text)
	}
	return dir
}

func (s *system) create(file, text string) {
	s.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// tail is the end of a long output: where a build says what is wrong.
func tail(text string) string {
	return text[max(0, len(text)-6000):]
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Whatever Compose makes of the file, no password is in it: only names of files.
func TestFileHasNoSecret(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	if bad := regexp.MustCompile(`(?i)postgres://[^@\s]*:[^@\s]*@|(PASSWORD|TOKEN|SECRET)(_KEY)?:`).FindAllString(string(text), -1); bad != nil {
		t.Errorf("docker-compose.yml has what looks like secrets: %q", bad)
	}
}
