package api_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	service "github.com/synthesizer-dev/synthesizer/services/api"
	"github.com/synthesizer-dev/synthesizer/services/internal/secrets"
)

// keyFile makes a key file.
func keyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if _, err := secrets.Create(path, false); err != nil {
		t.Fatal(err)
	}
	return path
}

// startSealed starts a service that can seal secrets.
func startSealed(t *testing.T) (*server, *secrets.Keyring, *safeBuffer) {
	t.Helper()
	path, log := keyFile(t), &safeBuffer{}
	s := startWith(t, dbtest.URL(t), func(c *service.Config) {
		c.SecretKeyFile = path
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	return s, secrets.New(path), log
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// opened is what an executor is given for a secret.
func opened(s *server, k *secrets.Keyring, ns, name string) string {
	s.t.Helper()
	rows, err := s.pool().Queries().NewestSecrets(s.t.Context(), []string{ns}, []string{name})
	if err != nil || len(rows) != 1 {
		s.t.Fatalf("newest of %s/%s: %d rows, %v", ns, name, len(rows), err)
	}
	value, err := k.Open(secrets.Name{Namespace: ns, Name: name, Version: rows[0].Version}, rows[0].Sealed)
	if err != nil {
		s.t.Fatal(err)
	}
	return value
}

const usesSecrets = `name: etl
namespace: fin
tasks:
  load: {run: x, secrets: {DSN: WAREHOUSE}, env: {URL: "https://u:${{ secrets.PASSWORD }}@h"}}
`

func TestSecretsGoInAndDoNotComeOut(t *testing.T) {
	t.Parallel()
	s, keys, _ := startSealed(t)
	c, ctx := s.admin(), t.Context()
	out := s.register("repo", "etl.yaml", usesSecrets, "b.yaml", "name: b\nnamespace: fin\ntasks: {a: {run: x, secrets: {DSN: WAREHOUSE}}}\n")
	var warned []string
	for _, p := range out.Problems {
		warned = append(warned, fmt.Sprintf("%s %s:%d:%d %s → %s", p.Code, p.Where.File, p.Where.Line, p.Where.Col, p.Message, p.Hint))
	}
	want := []string{
		"SYN1707 b.yaml:3:36 secret WAREHOUSE is not set in fin; task a of fin/b names it → synctl secret set WAREHOUSE -n fin",
		"SYN1707 etl.yaml:4:71 secret PASSWORD is not set in fin; task load of fin/etl names it → synctl secret set PASSWORD -n fin",
	}
	if diff := cmp.Diff(want, warned); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}

	for i, value := range []string{"first-value", "second-value"} {
		got, err := c.SetSecret(ctx, "fin", "WAREHOUSE", value)
		if err != nil || got.Secret.Version != i+1 || len(got.Warnings) != 0 || got.Secret.SetBy != "admin" || !slices.Equal(got.Secret.UsedBy, []string{"b", "etl"}) {
			t.Errorf("set: %+v, %v", got, err)
		}
		if got := opened(s, keys, "fin", "WAREHOUSE"); got != value {
			t.Errorf("executors get %q, want %q", got, value)
		}
	}
	short, err := c.SetSecret(ctx, "ops", "PIN", "abc")
	if err != nil || len(short.Warnings) != 1 || !strings.Contains(short.Warnings[0], "not masked") {
		t.Errorf("a short value: %+v, %v", short.Warnings, err)
	}
	large := strings.Repeat("é\n", secrets.MaxValue/3) // much longer as JSON
	if _, err := c.SetSecret(ctx, "ops", "LARGE", large); err != nil {
		t.Errorf("the largest value: %v", err)
	} else if opened(s, keys, "ops", "LARGE") != large {
		t.Error("the largest value came out otherwise")
	}

	// The list: set and not set, with who uses them; pages; never a value.
	var all []string
	for cursor := ""; ; {
		page, err := c.Secrets(ctx, api.ListSecretsParams{Limit: 2, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range page.Items {
			all = append(all, fmt.Sprintf("%s/%s v%d %v", x.Namespace, x.Name, x.Version, x.UsedBy))
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"fin/PASSWORD v0 [etl]", "fin/WAREHOUSE v2 [b etl]", "ops/LARGE v1 []", "ops/PIN v1 []"}, all); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if out := s.register("repo", "etl.yaml", strings.Replace(usesSecrets, "run: x", "run: y", 1)); len(out.Problems) != 1 || !strings.Contains(out.Problems[0].Message, "PASSWORD") {
		t.Errorf("register warns of %+v, want of PASSWORD alone", out.Problems)
	}
	// Gone from its file, a pipeline uses nothing any more.
	prune := request("repo", "etl.yaml", "name: etl\nnamespace: fin\ntasks: {load: {run: x}}\n")
	prune.Prune = true
	if _, err := c.Register(ctx, prune); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Secret(ctx, "fin", "WAREHOUSE"); err != nil || len(got.UsedBy) != 0 {
		t.Errorf("used by %v, %v, want nobody", got.UsedBy, err)
	}
	if _, err := c.Secret(ctx, "fin", "PASSWORD"); !api.IsCode(err, api.NotFound) {
		t.Errorf("a secret that nobody set and nothing names: %v", err)
	}

	// Ten versions are kept.
	for i := range 12 {
		if _, err := c.SetSecret(ctx, "fin", "WAREHOUSE", fmt.Sprintf("value-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	var versions string
	if err := s.pool().PGX().QueryRow(ctx, "SELECT string_agg(version::text, ',' ORDER BY version) FROM secret WHERE name = 'WAREHOUSE'").Scan(&versions); err != nil || versions != "5,6,7,8,9,10,11,12,13,14" {
		t.Errorf("versions %s, %v", versions, err)
	}
	if err := c.DeleteSecret(ctx, "fin", "WAREHOUSE"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteSecret(ctx, "fin", "WAREHOUSE"); !api.IsCode(err, api.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	var events string
	if err := s.pool().PGX().QueryRow(ctx, "SELECT string_agg(DISTINCT concat_ws(' ', kind, namespace, to_state, actor, detail->>'name'), '; ') FROM event WHERE kind = 'secret' AND namespace = 'fin'").Scan(&events); err != nil || events != "secret fin deleted admin WAREHOUSE; secret fin set admin WAREHOUSE" {
		t.Errorf("events: %s, %v", events, err)
	}
	s.invariants()
}

func TestSecretsSetAtOnceAreVersionsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s, keys, _ := startSealed(t)
	c, ctx := s.admin(), t.Context()
	const n = 8
	versions := make(chan int, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			got, err := c.SetSecret(ctx, "fin", "DSN", fmt.Sprintf("value-%d", i))
			if err != nil {
				t.Error(err)
			}
			versions <- got.Secret.Version
		})
	}
	all.Wait()
	close(versions)
	got := slices.Sorted(func(yield func(int) bool) {
		for v := range versions {
			if !yield(v) {
				return
			}
		}
	})
	if !slices.Equal(got, []int{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("versions %v, want 1 to 8", got)
	}
	if v := opened(s, keys, "fin", "DSN"); !strings.HasPrefix(v, "value-") {
		t.Errorf("the newest is %q", v)
	}
}

func TestWhoMaySetSecrets(t *testing.T) {
	t.Parallel()
	s, _, _ := startSealed(t)
	ctx := t.Context()
	if _, err := s.admin().SetSecret(ctx, "fin", "DSN", "hunter22"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.admin().SetSecret(ctx, "ops", "DSN", "hunter22"); err != nil {
		t.Fatal(err)
	}
	holder := func(role api.Role, namespaces ...string) string {
		made, err := s.admin().CreateToken(ctx, api.TokenRequest{Name: string(role), Role: role, Namespaces: namespaces})
		if err != nil {
			t.Fatal(err)
		}
		return made.Secret
	}
	operator, author := s.as(holder(api.RoleOperator)), s.as(holder(api.RoleAuthor, "fin"))
	if _, err := operator.SetSecret(ctx, "fin", "DSN", "x"); !api.IsCode(err, api.Refused) {
		t.Errorf("an operator set a secret: %v", err)
	}
	if _, err := author.SetSecret(ctx, "ops", "DSN", "x"); !api.IsCode(err, api.Refused) {
		t.Errorf("an author of fin set a secret of ops: %v", err)
	}
	if _, err := author.SetSecret(ctx, "fin", "DSN", "xxxx"); err != nil {
		t.Errorf("an author of fin: %v", err)
	}
	page, err := author.Secrets(ctx, api.ListSecretsParams{})
	if err != nil || len(page.Items) != 1 || page.Items[0].Namespace != "fin" {
		t.Errorf("an author of fin sees %+v, %v", page.Items, err)
	}
	// One text for what is not there and what is somebody else's.
	text := func(err error) string {
		return strings.NewReplacer(`"NOPE"`, "N", `"DSN"`, "N", `"fin"`, "S", `"ops"`, "S").Replace(fmt.Sprint(err))
	}
	_, none := author.Secret(ctx, "fin", "NOPE")
	_, other := author.Secret(ctx, "ops", "DSN")
	_, neither := author.Secret(ctx, "ops", "NOPE")
	for _, err := range []error{other, neither, author.DeleteSecret(ctx, "fin", "NOPE"), author.DeleteSecret(ctx, "ops", "DSN"), author.DeleteSecret(ctx, "ops", "NOPE")} {
		if !api.IsCode(err, api.NotFound) || text(err) != text(none) {
			t.Errorf("%v, want it like %v", err, none)
		}
	}
}

func TestNoAnswerAndNoLogHoldsWhatWasSent(t *testing.T) {
	t.Parallel()
	s, _, log := startSealed(t)
	const canary = "c4nary-hunter2"
	send := func(method, path, body string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d %s", resp.StatusCode, text)
	}
	path := "/api/v1/secrets/fin/DSN"
	for _, c := range []struct{ body, want string }{
		{`{"value": "` + canary + `"}`, "200"},
		{`{"value": "` + canary + `\u0000"}`, "422"},
		{`{"value": "` + strings.Repeat(canary, 10_000) + `"}`, "422"},
		{`{"value": "` + strings.Repeat(canary, 100_000) + `"}`, "413"},
		{`{"value": ["` + canary + `"]}`, "422"},
		{`{"value": "` + canary + `", "value": "` + canary + `"}`, "422"},
		{`{"value": "` + canary + `", "version": 9}`, "422"},
		{`{"value": "` + canary, "400"},
		{`"` + canary + `"`, "422"},
		{canary, "400"},
		{`{"value": ""}`, "422"},
		{`{}`, "422"},
	} {
		got := send(http.MethodPut, path, c.body)
		if !strings.HasPrefix(got, c.want+" ") || strings.Contains(got, "c4nary") {
			t.Errorf("PUT of %.60s = %.200s, want %s and nothing of the value", c.body, got, c.want)
		}
	}
	for _, path := range []string{path, "/api/v1/secrets", "/metrics"} {
		if got := send(http.MethodGet, path, ""); strings.Contains(got, "c4nary") || !strings.HasPrefix(got, "200") {
			t.Errorf("GET %s = %.200s", path, got)
		}
	}
	for _, bad := range []string{"/api/v1/secrets/fin/1x", "/api/v1/secrets/fin/a-b", "/api/v1/secrets/No/DSN", "/api/v1/secrets/fin/" + strings.Repeat("A", 129)} {
		if got := send(http.MethodPut, bad, `{"value": "`+canary+`"}`); !strings.HasPrefix(got, "422") && !strings.HasPrefix(got, "400") {
			t.Errorf("PUT %.60s = %.200s", bad, got)
		}
	}
	if strings.Contains(log.String(), "c4nary") || !strings.Contains(log.String(), "msg=request") {
		t.Errorf("the log holds the value, or nothing at all:\n%s", log)
	}
	if n := holding(t, s.pool(), "c4nary"); n != "" {
		t.Errorf("in clear in %s", n)
	}
}

// holding names the tables that hold a text in any column.
func holding(t *testing.T, pool *db.Pool, text string) string {
	t.Helper()
	found, err := dbtest.Holding(t.Context(), pool, text)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

func TestWithoutAKeyEverythingElseWorks(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "key")
	for _, file := range []string{"", missing} {
		s := startWith(t, dbtest.URL(t), func(c *service.Config) { c.SecretKeyFile = file })
		s.register("repo", "etl.yaml", usesSecrets)
		if status, _, text := s.get("/readyz"); status != http.StatusOK {
			t.Errorf("key file %q: not ready: %s", file, text)
		}
		_, err := s.admin().SetSecret(t.Context(), "fin", "DSN", "hunter22")
		if !api.IsCode(err, api.Conflict) || !strings.Contains(api.As(err).Hint, "api secret-key") || strings.Contains(fmt.Sprint(err), missing) {
			t.Errorf("key file %q: %v → %s", file, err, api.As(err).Hint)
		}
	}
}

func TestVarsByHand(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	reads := func(name string) string {
		return "name: a\ntasks: {a: {run: x, env: {R: \"${{ vars." + name + " }}\"}}}\n"
	}
	if _, err := c.Register(ctx, request("repo", "a.yaml", reads("REGION"))); !api.IsCode(err, api.Unprocessable) ||
		api.As(err).Message != "default/a reads variable REGION, which default does not have" || api.As(err).Hint != "synctl var set REGION VALUE -n default, or a file of kind vars" || api.As(err).Where.Col != 35 {
		t.Errorf("a variable that is not there: %v → %s at %+v", err, api.As(err).Hint, api.As(err).Where)
	}
	// One that has_key or lookup asks about may be missing.
	s.register("maybe", "m.yaml", "name: m\ntasks: {a: {run: x, env: {R: \"${{ lookup(vars, 'REGION', 'eu') }}\"}}}\n")
	got, err := c.SetVar(ctx, "default", "REGION", "eu-west-1")
	if err != nil || got.Var.Value != "eu-west-1" || got.Var.UpdatedBy != "admin" || got.Var.Source != "" || len(got.Warnings) != 0 {
		t.Errorf("set: %+v, %v", got, err)
	}
	s.register("repo", "a.yaml", reads("REGION"))
	if _, err := c.Register(ctx, request("repo", "a.yaml", reads("REGIN"))); api.As(err).Hint != `did you mean "REGION"?` {
		t.Errorf("a name that is near: %v → %s", err, api.As(err).Hint)
	}

	// A run keeps what it was made with.
	first, _, err := c.CreateRun(ctx, "default", "a", "", api.RunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetVar(ctx, "default", "REGION", "us-east-1"); err != nil {
		t.Fatal(err)
	}
	second, _, err := c.CreateRun(ctx, "default", "a", "", api.RunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int64]string{first.ID: "eu-west-1", second.ID: "us-east-1"} {
		var kept string
		if err := s.pool().PGX().QueryRow(ctx, "SELECT r.vars->>'REGION' FROM run AS r WHERE r.id = $1", id).Scan(&kept); err != nil || kept != want {
			t.Errorf("run %d keeps %q, %v, want %q", id, kept, err, want)
		}
	}

	// What a file has is changed there.
	s.register("other", "v.yaml", "kind: vars\nname: shared\nvalues: {SITE: ams}\n")
	for _, err := range []error{
		func() error { _, err := c.SetVar(ctx, "default", "SITE", "x"); return err }(), c.DeleteVar(ctx, "default", "SITE"),
	} {
		if !api.IsCode(err, api.Guarded) || !strings.Contains(fmt.Sprint(err), `belongs to source "other"`) {
			t.Errorf("a variable of a file: %v", err)
		}
	}
	if _, err := c.Register(ctx, request("other", "v.yaml", "kind: vars\nname: shared\nvalues: {SITE: ams, REGION: x}\n")); !strings.Contains(fmt.Sprint(err), "was set by hand") {
		t.Errorf("a file with a variable that was set by hand: %v", err)
	}

	page, err := c.Vars(ctx, api.ListVarsParams{Namespace: "default"})
	if err != nil || len(page.Items) != 2 || page.Items[0].Name != "REGION" || !slices.Equal(page.Items[0].UsedBy, []string{"a", "m"}) || page.Items[1].Source != "other" {
		t.Errorf("list: %+v, %v", page.Items, err)
	}
	if v, err := c.Var(ctx, "default", "REGION"); err != nil || v.Value != "us-east-1" {
		t.Errorf("get: %+v, %v", v, err)
	}
	if _, err := c.Var(ctx, "default", "REGIN"); !api.IsCode(err, api.NotFound) || api.As(err).Hint != `did you mean "REGION"?` {
		t.Errorf("get of a name that is near: %v → %s", err, api.As(err).Hint)
	}
	warned, err := c.SetVar(ctx, "default", "DB_PASSWORD", "c4nary-hunter2")
	if err != nil || len(warned.Warnings) != 1 || strings.Contains(warned.Warnings[0], "c4nary") {
		t.Errorf("what looks like a credential: %+v, %v", warned.Warnings, err)
	}
	var told string
	if err := s.pool().PGX().QueryRow(ctx, "SELECT string_agg(detail::text, '; ' ORDER BY id) FROM event WHERE kind = 'var'").Scan(&told); err != nil ||
		told != `{"to": "eu-west-1", "name": "REGION"}; {"to": "us-east-1", "from": "eu-west-1", "name": "REGION"}; {"name": "DB_PASSWORD"}` {
		t.Errorf("events: %s, %v", told, err)
	}
	if err := c.DeleteVar(ctx, "default", "REGION"); err != nil {
		t.Error(err)
	}
	if _, err := c.Register(ctx, request("repo", "a.yaml", reads("REGION"))); !api.IsCode(err, api.Unprocessable) {
		t.Errorf("the file that reads it, registered again: %v", err)
	}
	if _, err := c.SetVar(ctx, "default", "BIG", strings.Repeat("x", 32<<10+1)); !api.IsCode(err, api.Unprocessable) {
		t.Errorf("a value above 32 KiB: %v", err)
	}
	for i := range 7 {
		if _, err := c.SetVar(ctx, "default", fmt.Sprintf("BIG%d", i), strings.Repeat("x", 32<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.SetVar(ctx, "default", "BIG7", strings.Repeat("x", 32<<10)); !api.IsCode(err, api.Guarded) {
		t.Errorf("more than every run can carry: %v", err)
	}
	if _, err := c.SetVar(ctx, "default", "BIG6", "small"); err != nil {
		t.Errorf("a smaller value in the place of a large one: %v", err)
	}
}

func TestAVariableSetWhileAFileIsRegisteredBelongsToOne(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	// Somebody stands on the lock: a register and a set by hand wait for it.
	tx, err := s.pool().PGX().Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('synthesizer vars default', 0))"); err != nil {
		t.Fatal(err)
	}
	registered, set := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Register(ctx, request("repo", "v.yaml", "kind: vars\nname: shared\nvalues: {SITE: file}\n"))
		registered <- err
	}()
	go func() { _, err := c.SetVar(ctx, "default", "SITE", "hand"); set <- err }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var waiting int
		if err := s.pool().PGX().QueryRow(ctx, "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if waiting == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait for the lock, want 2", waiting)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	byFile, byHand := <-registered, <-set
	if (byFile == nil) == (byHand == nil) {
		t.Errorf("the register ended with %v, the set by hand with %v: want one of them refused", byFile, byHand)
	}
}
