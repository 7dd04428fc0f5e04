package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/access"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/web"
)

// visitor is somebody with a browser without scripts, who follows no redirect.
type visitor struct {
	w *world
	http.Client
}

func (w *world) visitor() *visitor {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &visitor{w: w, Client: http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type answer struct {
	*http.Response
	text string
}

func (v *visitor) do(method, path string, form url.Values, headers ...string) answer {
	v.w.t.Helper()
	req, err := http.NewRequestWithContext(v.w.t.Context(), method, v.w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.w.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Accept", "text/html")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := v.Client.Do(req)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.w.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

func (v *visitor) get(path string, headers ...string) answer {
	v.w.t.Helper()
	return v.do("GET", path, nil, headers...)
}

func (v *visitor) post(path string, pairs ...string) answer {
	v.w.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.do("POST", path, form)
}

func (v *visitor) signIn(token string) *visitor {
	v.w.t.Helper()
	if a := v.post("/login", "token", token); a.StatusCode != http.StatusSeeOther {
		v.w.t.Fatalf("sign in: %s", a.Status)
	}
	return v
}

// as signs in somebody with a role.
func (w *world) as(role api.Role, namespaces ...string) *visitor {
	w.t.Helper()
	made, err := w.client().CreateToken(w.t.Context(), api.TokenRequest{Name: string(role), Role: role, Namespaces: namespaces})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.visitor().signIn(made.Secret)
}

func (w *world) want(a answer, status int, parts ...string) {
	w.t.Helper()
	if a.StatusCode != status {
		w.t.Errorf("%s %s: %s, want %d", a.Request.Method, a.Request.URL.RequestURI(), a.Status, status)
	}
	for _, p := range parts {
		if !strings.Contains(a.text, p) {
			w.t.Errorf("%s %s has no %q", a.Request.Method, a.Request.URL.RequestURI(), p)
		}
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register("hello.yaml", simple("hello", "", "", "x"))
	v := w.visitor()
	a := v.get("/p/default/hello?state=failed")
	w.want(a, http.StatusSeeOther)
	if got, want := a.Header.Get("Location"), "/login?next=%2Fp%2Fdefault%2Fhello%3Fstate%3Dfailed"; got != want {
		t.Errorf("Location = %q, want %q", got, want)
	}
	a = v.get("/p", "HX-Request", "true", "HX-Request-Type", "partial")
	w.want(a, http.StatusUnauthorized)
	if got := a.Header.Get("HX-Redirect"); got != "/login?next=%2Fp" {
		t.Errorf("HX-Redirect = %q", got)
	}
	w.want(v.post("/login", "token", "syn_nonsense", "next", "/runs"), http.StatusUnprocessableEntity, "not known", `value="/runs"`)
	if len(v.Jar.Cookies(mustURL(t, w.url))) != 0 {
		t.Error("a cookie without a sign-in")
	}

	a = v.post("/login", "token", w.token, "next", "/runs")
	w.want(a, http.StatusSeeOther)
	if got := a.Header.Get("Location"); got != "/runs" {
		t.Errorf("Location = %q", got)
	}
	cookie := a.Cookies()[0]
	if cookie.Name != "synthesizer" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Secure {
		t.Errorf("cookie %+v", cookie)
	}
	var stored int
	w.one(&stored, "SELECT count(*) FROM session WHERE token = $1", cookie.Value)
	if stored != 0 {
		t.Error("the session's id is in the database as it is")
	}
	w.want(v.get("/runs"), http.StatusOK, "Nothing has run yet")

	// Under TLS, as a proxy says, the cookie is bound to the host.
	a = w.visitor().do("POST", "/login", url.Values{"token": {w.token}}, "X-Forwarded-Proto", "https")
	if c := a.Cookies()[0]; c.Name != "__Host-synthesizer" || !c.Secure {
		t.Errorf("cookie under TLS %+v", c)
	}

	// Signing in again draws a new id; the old one is dead.
	old := cookie.Value
	v.signIn(w.token)
	stale := w.visitor()
	stale.Jar.SetCookies(mustURL(t, w.url), []*http.Cookie{{Name: "synthesizer", Value: old, Path: "/"}})
	w.want(stale.get("/p"), http.StatusSeeOther)

	// So is one after signing out, and one whose token was revoked.
	kept := v.Jar.Cookies(mustURL(t, w.url))
	w.want(v.post("/logout"), http.StatusSeeOther)
	stale.Jar.SetCookies(mustURL(t, w.url), kept)
	w.want(stale.get("/p"), http.StatusSeeOther)
	viewer := w.as(api.RoleViewer)
	w.want(viewer.get("/p"), http.StatusOK)
	w.exec("UPDATE api_token SET revoked_at = now() WHERE name = 'viewer'")
	w.want(viewer.get("/p"), http.StatusSeeOther)

	// A session ends when it is not used, and after a week in any case.
	v.signIn(w.token)
	w.exec("UPDATE session SET expiry = now() + interval '1 hour'")
	w.want(v.get("/p"), http.StatusOK)
	var left float64
	w.one(&left, "SELECT extract(epoch FROM max(expiry) - now())::float8 FROM session")
	if left < 20*3600 {
		t.Errorf("a request leaves the session %v s", left)
	}
	w.exec("UPDATE session SET expiry = now() - interval '1 second'")
	w.want(v.get("/p"), http.StatusSeeOther)
	v.signIn(w.token)
	w.exec("UPDATE session SET data = decode(lpad(to_hex(extract(epoch FROM now())::bigint - 1), 16, '0'), 'hex') || substring(data FROM 9)")
	w.want(v.get("/p"), http.StatusSeeOther)
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// least says the role that each route of the pages asks for; "": none.
var least = map[string]api.Role{
	"GET /static/:file": "", "GET /login": "", "POST /login": "", "POST /logout": "",
	"GET /": "viewer", "GET /me": "viewer", "POST /me": "viewer", "GET /p": "viewer", "GET /p/:ns": "viewer", "GET /p/:ns/:name": "viewer", "GET /p/:ns/:name/runs": "viewer",
	"GET /p/:ns/:name/ticks": "viewer", "GET /p/:ns/:name/definition": "viewer", "GET /p/:ns/:name/run": "viewer", "POST /p/:ns/:name/run": "operator",
	"GET /p/:ns/:name/pause": "viewer", "POST /p/:ns/:name/pause": "operator", "POST /p/:ns/:name/resume": "operator", "GET /p/:ns/:name/:no": "viewer",
	"GET /p/:ns/:name/:no/-/rerun": "viewer", "POST /p/:ns/:name/:no/-/rerun": "operator", "GET /p/:ns/:name/:no/:task/mark": "viewer", "POST /p/:ns/:name/:no/:task/mark": "operator",
	"GET /p/:ns/:name/:no/-/cancel": "viewer", "POST /p/:ns/:name/:no/-/cancel": "operator", "GET /p/:ns/:name/:no/:task": "viewer", "GET /p/:ns/:name/:no/:task/:attempt": "viewer",
	"GET /p/:ns/:name/:no/:task/:attempt/log.txt": "viewer", "GET /runs": "viewer", "GET /approvals": "viewer", "GET /p/:ns/:name/:no/:task/answer": "viewer", "POST /p/:ns/:name/:no/:task/answer": "operator", "GET /pools": "viewer", "GET /pools/:ns/:name": "viewer", "GET /events": "viewer",
	"GET /secrets": "viewer", "GET /secrets/set": "viewer", "POST /secrets/set": "author", "GET /secrets/delete": "viewer", "POST /secrets/delete": "author",
	"GET /p/:ns/:name/backfills": "viewer", "GET /p/:ns/:name/backfill": "viewer", "POST /p/:ns/:name/backfill": "operator", "GET /backfills": "viewer", "GET /backfills/:id": "viewer",
	"GET /backfills/:id/change": "viewer", "POST /backfills/:id/change": "operator", "GET /backfills/:id/pause": "viewer", "POST /backfills/:id/pause": "operator",
	"POST /backfills/:id/resume": "operator", "GET /backfills/:id/cancel": "viewer", "POST /backfills/:id/cancel": "operator",
	"GET /vars": "viewer", "GET /vars/set": "viewer", "POST /vars/set": "author", "GET /vars/delete": "viewer", "POST /vars/delete": "author",
}

func TestEveryPageAsksForItsRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	w.backfills()
	people := map[api.Role]*visitor{"": w.visitor(), api.RoleViewer: w.as(api.RoleViewer), api.RoleOperator: w.as(api.RoleOperator)}
	order := map[api.Role]int{"": 0, api.RoleViewer: 1, api.RoleOperator: 2, api.RoleAuthor: 3}
	elsewhere := w.as(api.RoleOperator, "elsewhere")
	fill := strings.NewReplacer(":ns", "default", ":name", "nightly_etl", ":no", "6", ":task", "load", ":attempt", "3", ":file", "icon.svg", ":id", "1").Replace
	s, err := web.New(web.Config{App: app.New(app.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Routes() {
		key := r.Method + " " + r.Path
		want, ok := least[key]
		if !ok {
			t.Errorf("%s is not in the table", key)
			continue
		}
		if (want == "") != (r.Rule == access.Public) || (want == "operator") != (r.Rule == access.Operator) || (want == "author") != (r.Rule == access.Author) {
			t.Errorf("%s has rule %d, the table says %q", key, r.Rule, want)
		}
		if key == "GET /events" || strings.HasPrefix(key, "POST /log") {
			continue
		}
		for role, v := range people {
			form := url.Values{}
			if r.Method == "POST" {
				form.Set("key", string(role)+r.Path)
			}
			a := v.do(r.Method, fill(r.Path), form)
			lead := a.StatusCode == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), "/login")
			switch {
			case order[role] < order[want] && role == "" && !lead:
				t.Errorf("%s for nobody: %s, want the way to sign in", key, a.Status)
			case order[role] < order[want] && role != "" && a.StatusCode != http.StatusForbidden:
				t.Errorf("%s for %s: %s, want 403", key, role, a.Status)
			case order[role] >= order[want] && (a.StatusCode == http.StatusForbidden || lead):
				t.Errorf("%s for %s: %s", key, role, a.Status)
			}
			if want != "" && role != "" && a.StatusCode < 300 && r.Path != "/p/:ns/:name/:no/:task/:attempt/log.txt" {
				if got := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; script-src 'self';") {
					t.Errorf("%s has policy %q", key, got)
				}
			}
		}
		// Who has no right in a namespace learns nothing about it.
		if strings.Contains(r.Path, ":ns") || strings.Contains(r.Path, ":id") {
			a := elsewhere.do(r.Method, fill(r.Path), url.Values{})
			if a.StatusCode != http.StatusNotFound || strings.Contains(a.text, "did you mean") {
				t.Errorf("%s from another namespace: %s", key, a.Status)
			}
		}
	}
	// A page shows what its reader may not do, and why.
	w.want(people[api.RoleViewer].get("/p/default/nightly_etl"), http.StatusOK, "<button disabled>Run…</button>", "needs role operator in default, viewer has viewer")
	w.want(people[api.RoleViewer].post("/p/default/nightly_etl/run"), http.StatusForbidden, "No right to do this", "role viewer, this needs operator")
}

// An address in which a name may stand must not have a word of ours in its place:
// what is called so would be hidden.
func TestNoNameHidesBehindAnAddress(t *testing.T) {
	t.Parallel()
	s, err := web.New(web.Config{App: app.New(app.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]bool{} // what stands before a name
	for _, r := range s.Routes() {
		for _, place := range []string{":ns", ":name", ":task"} {
			if before, _, ok := strings.Cut(r.Path, "/"+place); ok {
				places[before] = true
			}
		}
	}
	if !places["/p"] || !places["/p/:ns/:name/:no"] {
		t.Fatalf("names stand after %v", places)
	}
	for _, r := range s.Routes() {
		for before := range places {
			rest, ok := strings.CutPrefix(r.Path, before+"/")
			if word, _, _ := strings.Cut(rest, "/"); ok && pipeline.ValidName(word) {
				t.Errorf("%s %s: what is called %s after %s has no address", r.Method, r.Path, word, before)
			}
		}
	}

	w := newWorld(t)
	w.executors()
	w.register("p.yaml", "name: p\ntasks:\n  rerun: {run: x}\n  cancel: {run: x}\n  mark: {run: x}\n  run: {run: x}\n")
	done := []attempt{{state: "succeeded", claim: sec, start: sec, end: 2 * sec}}
	w.add(run{pipeline: "p", state: "succeeded", trigger: "manual", due: w.now.Add(-min1), start: sec, end: 3 * sec, tasks: []task{
		{name: "rerun", state: "succeeded", end: 2 * sec, attempts: done},
		{name: "cancel", ordinal: 1, state: "succeeded", end: 2 * sec, attempts: done},
		{name: "mark", ordinal: 2, state: "succeeded", end: 2 * sec, attempts: done},
		{name: "run", ordinal: 3, state: "succeeded", end: 2 * sec, attempts: done},
	}})
	v := w.visitor().signIn(w.token)
	for _, task := range []string{"rerun", "cancel", "mark", "run"} {
		a := v.get("/p/default/p/1/" + task)
		if got, want := a.Header.Get("Location"), "/p/default/p/1/"+task+"/1"; a.StatusCode != http.StatusFound || got != want {
			t.Errorf("task %s: %s to %q, want 302 to %q", task, a.Status, got, want)
		}
		w.want(v.get("/p/default/p/1/"+task+"/mark"), http.StatusOK, "Mark <span hx-ignore><bdi>"+task)
	}
	w.want(v.get("/p/default/p/1/-/rerun?mode=all"), http.StatusOK, "Re-run p #1")
	w.want(v.get("/p/default/p/1/-/cancel"), http.StatusOK, "nothing left to cancel")
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	v := w.visitor().signIn(w.token)
	for path, want := range map[string]string{
		"/": "/p", "/p/nightly_etl": "/p/default/nightly_etl", "/p/nightly_etl/6?task=shards": "/p/default/nightly_etl/6?task=shards", "/p/nightly_etl/6/load/3": "/p/default/nightly_etl/6/load/3",
		"/p/nightly_etl/run": "/p/default/nightly_etl/run", "/p/nightly_etl/ticks": "/p/default/nightly_etl/ticks", "/p/default/nightly_etl/6/load": "/p/default/nightly_etl/6/load/3",
		"/p/nightly_etl/6/-/cancel": "/p/default/nightly_etl/6/-/cancel",
	} {
		a := v.get(path)
		if a.StatusCode != http.StatusFound || a.Header.Get("Location") != want {
			t.Errorf("%s: %s to %q, want 302 to %q", path, a.Status, a.Header.Get("Location"), want)
		}
	}
	for path, part := range map[string]string{
		"/p/default/nightly_elt": "did you mean &#34;nightly_etl&#34;?", "/p/nothing": "there is no pipeline", "/p/default/nightly_etl/99": "the newest is #8", "/p/default/nightly_etl/abc": "is no run of",
		"/p/default/nightly_etl/6/lod/1": "did you mean", "/p/default/nightly_etl/6/load/9": "it has had 3", "/p/default/nightly_etl/6/load[x]/1": "names no item", "/nowhere": "nothing at this address",
		"/p/default/nightly_etl/6/shards[99]/1": "has no shards[99]", "/events?page=nonsense": "no stream of that kind", "/p/default/nightly_etl/definition?rev=9": "the newest is 1",
	} {
		a := v.get(path)
		w.want(a, http.StatusNotFound)
		if !strings.Contains(strings.ToLower(a.text), part) {
			t.Errorf("%s says nothing of %q", path, part)
		}
	}
	w.want(v.get("/p?colour=red"), http.StatusBadRequest, "no filter called", "it knows: q, state, after")
	w.want(v.get("/p?state=broken"), http.StatusUnprocessableEntity)
	w.want(v.do("POST", "/p", url.Values{}), http.StatusMethodNotAllowed)
	// An item's page, with brackets as they are and encoded.
	w.want(v.get("/p/default/nightly_etl/6/shards[3]/1"), http.StatusOK, "shards[3]", "item")
	w.want(v.get("/p/default/nightly_etl/6/shards%5B3%5D/1"), http.StatusOK, "shards[3]")
	// Programs that ask for an address that is not there get what programs read.
	if a := v.get("/api/v1/nothing", "Accept", "application/json"); a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("an unknown address of the API answers %s", a.Header.Get("Content-Type"))
	}
}

func TestPartsOfPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	v := w.visitor().signIn(w.token)
	a := v.get("/p?q=crm", "HX-Request", "true", "HX-Request-Type", "partial", "HX-Target", "section#pipelines")
	w.want(a, http.StatusOK, "crm_pull")
	if !strings.HasPrefix(a.text, `<section id="pipelines"`) || strings.Contains(a.text, "<html") || strings.Contains(a.text, "nightly_etl") {
		t.Errorf("part: %.200s", a.text)
	}
	if got := a.Header.Get("Vary"); !strings.Contains(got, "HX-Request-Type") || !strings.Contains(got, "HX-Target") {
		t.Errorf("Vary = %q", got)
	}
	whole := v.get("/p/default/crm_pull/definition")
	again := v.get("/p/default/crm_pull/definition", "If-None-Match", whole.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified && again.Header.Get("ETag") == whole.Header.Get("ETag") {
		t.Errorf("with its tag: %s", again.Status)
	}
	css := regexp.MustCompile(`/static/app-[0-9a-f]+\.css`).FindString(whole.text)
	a = v.get(css)
	w.want(a, http.StatusOK, "color-scheme")
	if got := a.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("Cache-Control of %s = %q", css, got)
	}
	w.want(v.get("/static/../web.go"), http.StatusNotFound)
}

func TestLogDownload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	v := w.visitor().signIn(w.token)
	a := v.get("/p/default/nightly_etl/6/load/3/log.txt")
	w.want(a, http.StatusOK, "ValueError: bad currency XYZ\n")
	for name, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff", "Content-Disposition": `attachment; filename="nightly_etl-6-load-3.log"`,
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if strings.Count(a.text, "\n") != 520 {
		t.Errorf("%d lines, want 520", strings.Count(a.text, "\n"))
	}
}

// A long log is shown in pages; numbers of lines are those of the whole.
func TestLogPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.executors()
	w.register("hello.yaml", simple("hello", "* * * * *", "UTC", "x"))
	var log []logLine
	for i := range 5000 {
		log = append(log, logLine{text: fmt.Sprintf("line %d.", i+1), stderr: i%7 == 0})
	}
	log[2499].text = strings.Repeat("x", 9000)
	id := w.add(run{pipeline: "hello", state: "failed", due: w.now.Add(-time5), start: sec, end: 60 * sec, tasks: []task{
		{name: "work", state: "failed", due: sec, end: 60 * sec, attempts: []attempt{{state: "failed", exit: 1, claim: sec, end: 60 * sec, log: log, seen: 5_000_000}}},
	}})
	v := w.visitor().signIn(w.token)
	const page = "/p/default/hello/1/work/1"
	a := v.get(page)
	w.want(a, http.StatusOK, `id="L3001"`, `id="L5000"`, "line 5000.", "?from=1001", "?from=1\"", "5\u202f000 lines", "5.0 MB at the end not kept")
	if strings.Contains(a.text, `id="L3000"`) || strings.Count(a.text, `<li id="L`) != 2000 {
		t.Errorf("the last page has %d lines", strings.Count(a.text, `<li id="L`))
	}
	a = v.get(page + "?from=2400")
	w.want(a, http.StatusOK, `id="L2400"`, "line 2400.", `id="L4399"`, "line 4399.", "?from=4400", "?from=400", "808 bytes more in this line")
	w.want(v.get(page+"?from=5001"), http.StatusOK)
	w.want(v.get(page+"?from=0"), http.StatusBadRequest)

	// What was not kept in between is told where it is missing.
	w.exec("DELETE FROM log_chunk WHERE run_id = $1 AND seq BETWEEN 3 AND 5", id)
	w2 := newLineReader(w)
	w2.want(w2.visitor().signIn(w.token).get(page+"?from=1400"), http.StatusOK, "line 1500.", "not kept before this line", "line 3001.")
	// And that of one which is gone, that it is.
	w.exec("DELETE FROM log_chunk WHERE run_id = $1", id)
	w2 = newLineReader(w)
	w2.want(w2.visitor().signIn(w.token).get(page), http.StatusOK, "This log is no longer kept")
}

// newLineReader is another service on the same database, which has read no log yet.
func newLineReader(w *world) *world {
	w.t.Helper()
	other := *w
	other.url = w.start()
	return &other
}

func TestOneFormMakesOneRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register("etl.yaml", etlFile)
	v := w.visitor().signIn(w.token)
	page := v.get("/p/default/nightly_etl/run")
	key := regexp.MustCompile(`name="key" value="([A-Z0-9]+)"`).FindStringSubmatch(page.text)
	if key == nil {
		t.Fatal("the form has no key")
	}
	send := func(pairs ...string) answer {
		return v.post("/p/default/nightly_etl/run", append([]string{"key", key[1], "revision", "1", "param.region", "us", "param.limit", "50", "param.regions", "amer", "param.regions", "apac"}, pairs...)...)
	}
	for range 2 {
		if a := send("note", "x"); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/p/default/nightly_etl/1" {
			t.Errorf("%s to %s", a.Status, a.Header.Get("Location"))
		}
	}
	r, err := w.client().Runs(t.Context(), api.ListRunsParams{})
	if err != nil || len(r.Items) != 1 {
		t.Fatalf("%d runs, %v", len(r.Items), err)
	}
	if got := fmt.Sprintf("%s %s %s %s", r.Items[0].Params["region"], r.Items[0].Params["limit"], r.Items[0].Params["regions"], r.Items[0].Params["full"]); got != `"us" 50 ["amer","apac"] false` {
		t.Errorf("params %s", got)
	}
	w.want(send("note", "y"), http.StatusConflict, "used before, with other content")
	a := v.post("/p/default/nightly_etl/run", "key", "K2", "param.limit", "0", "param.extra", "{", "param.day", "soon", "note", "kept <b>")
	w.want(a, http.StatusUnprocessableEntity, "things to put right", `href="#p1"`, `href="#p5"`, `value="0"`, "kept &lt;b&gt;", `aria-invalid="true"`)
	// The file has changed since the form was opened.
	w.register("etl.yaml", strings.Replace(etlFile, "default: 1000", "default: 500", 1))
	w.want(v.post("/p/default/nightly_etl/run", "key", "K3", "revision", "1", "param.limit", "77"), http.StatusConflict, `value="77"`, `name="revision" value="2"`)
	// A time that is none, and one that a clock change leaves out.
	v.get("/me")
	v.post("/me", "zone", "Europe/Amsterdam", "keys", "on")
	w.want(v.post("/p/default/nightly_etl/run", "key", "K4", "at", "2026-03-29T02:30"), http.StatusUnprocessableEntity, "is no time in Europe/Amsterdam")
	w.want(v.post("/me", "zone", "Mars/Olympus"), http.StatusUnprocessableEntity, "no time zone of that name")
}

// repeats says what a form does that is sent twice: "key" where its page draws a
// key that goes with it; else why it does not matter.
var repeats = map[string]string{
	"POST /login": "another session of the same person", "POST /logout": "nobody is signed in any more", "POST /me": "the same choice",
	"POST /p/:ns/:name/run": "key", "POST /p/:ns/:name/:no/-/rerun": "key", "POST /p/:ns/:name/:no/:task/mark": "key", "POST /p/:ns/:name/:no/:task/answer": "key",
	"POST /p/:ns/:name/pause": "it is paused already", "POST /p/:ns/:name/resume": "it goes on already", "POST /p/:ns/:name/:no/-/cancel": "it was asked to stop already",
	"POST /p/:ns/:name/backfill": "its last page carries the key, which tests of backfills send twice", "POST /backfills/:id/change": "the same numbers",
	"POST /backfills/:id/pause": "it is paused already", "POST /backfills/:id/resume": "it goes on already", "POST /backfills/:id/cancel": "it was canceled already",
	"POST /secrets/set": "another version of the same value", "POST /secrets/delete": "it is gone already", "POST /vars/set": "the same value", "POST /vars/delete": "it is gone already",
}

func TestAFormThatIsSentTwiceDoesOneThing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	w.asks()
	s, err := web.New(web.Config{App: app.New(app.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	keyed := map[string]bool{}
	for _, r := range s.Routes() {
		route := r.Method + " " + r.Path
		if how := repeats[route]; r.Method == "POST" && how == "" {
			t.Errorf("%s is in no table: what does it do when it is sent twice?", route)
		} else if how == "key" {
			keyed[r.Path] = true
		}
	}
	v := w.visitor().signIn(w.token)
	for path, form := range map[string]struct {
		at     string
		fields []string
	}{
		"/p/:ns/:name/run":              {"/p/default/nightly_etl/run", []string{"param.region", "us"}},
		"/p/:ns/:name/:no/:task/mark":   {"/p/default/nightly_etl/6/load/mark", []string{"state", "skipped", "reason", "x"}},
		"/p/:ns/:name/:no/:task/answer": {"/p/default/month_close/1/sign_off/answer", []string{"decision", "approved", "comment", "x"}},
		"/p/:ns/:name/:no/-/rerun":      {"/p/default/nightly_etl/5/-/rerun?mode=all", nil},
	} {
		delete(keyed, path)
		key := regexp.MustCompile(`name="key" value="([A-Z0-9]+)"`).FindStringSubmatch(v.get(form.at).text)
		if key == nil {
			t.Errorf("the form of %s has no key", path)
			continue
		}
		first := v.post(form.at, append([]string{"key", key[1]}, form.fields...)...)
		again := v.post(form.at, append([]string{"key", key[1]}, form.fields...)...)
		if first.StatusCode != http.StatusSeeOther || again.StatusCode != first.StatusCode || again.Header.Get("Location") != first.Header.Get("Location") {
			t.Errorf("%s: %s to %s, and again %s to %s; want the same", path, first.Status, first.Header.Get("Location"), again.Status, again.Header.Get("Location"))
		}
	}
	for path := range keyed {
		t.Errorf("%s is not sent twice here", path)
	}
}

// Browsers say where a form comes from: one of another site changes nothing.
func TestFormsOfOtherSites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register("hello.yaml", simple("hello", "", "", "x"))
	v := w.visitor().signIn(w.token)
	for _, path := range []string{"/p/default/hello/run", "/p/default/hello/pause", "/p/default/hello/resume", "/login", "/logout", "/me"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			a := v.do(method, path, url.Values{"reason": {"x"}}, "Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site")
			if a.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s from another site: %s", method, path, a.Status)
			}
		}
	}
	if a := v.do("POST", "/p/default/hello/run", nil, "Origin", "https://evil.test", "Content-Type", "text/plain"); a.StatusCode != http.StatusForbidden {
		t.Errorf("as plain text: %s", a.Status)
	}
	if r, err := w.client().Runs(t.Context(), api.ListRunsParams{}); err != nil || len(r.Items) != 0 {
		t.Errorf("%d runs, %v", len(r.Items), err)
	}
	w.want(v.get("/p"), http.StatusOK) // still signed in
}

// Without its database the server says so in its frame, and keeps the cause.
func TestBrokenPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.visitor().signIn(w.token)
	w.exec("ALTER TABLE pipeline RENAME TO gone")
	a := v.get("/p")
	w.want(a, http.StatusInternalServerError, "This page cannot be shown just now", "Try again", a.Header.Get("X-Request-Id"))
	for _, secret := range []string{"relation", "pipeline&#34;", "SELECT", "pgx", ".go", "request-id-goes-here"} {
		if strings.Contains(a.text, secret) {
			t.Errorf("the page tells %q", secret)
		}
	}
}

// A stream ends when the reader may no longer read, and when the server stops.
func TestStreamBegins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	v := w.visitor().signIn(w.token)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/events?page=run&ns=default&name=nightly_etl&no=6", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := v.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type = %q", got)
	}
	if resp.Header.Get("X-Accel-Buffering") != "no" || resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("head %v", resp.Header)
	}
	buf := make([]byte, 64<<10)
	n, err := io.ReadAtLeast(resp.Body, buf, 2000)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`data: <hx-partial hx-target="#run-head" hx-swap="outerMorph">`, "nightly_etl #6"} {
		if !strings.Contains(string(buf[:n]), part) {
			t.Errorf("the stream does not begin with %q", part)
		}
	}
	w.want(v.get("/events?page=run&ns=default&name=nightly_etl&no=99"), http.StatusNotFound)
	w.want(w.as(api.RoleViewer, "elsewhere").get("/events?page=run&ns=default&name=nightly_etl&no=6"), http.StatusNotFound)
}
