package web_test

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

//go:embed testdata/axe/axe-4.14.1.min.js
var axe string

// accessible fails the test for everything that axe finds wrong with the page.
func (b *tab) accessible(name string, rules ...string) {
	b.t.Helper()
	only := `["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`
	if len(rules) > 0 {
		only = `{type: "rule", values: ["` + strings.Join(rules, `", "`) + `"]}`
	}
	eval[bool](b, axe+"\n;true")
	eval[bool](b, `axe.run(document, {runOnly: `+only+`}).then(r => {
		window.axeFound = JSON.stringify(r.violations.map(v => v.id + " (" + v.impact + "): " + v.help + "\n" + v.nodes.slice(0, 3).map(n => "    " + n.html.slice(0, 200) + "\n    " + n.failureSummary.replace(/\n/g, " ").slice(0, 300)).join("\n"))) }), true`)
	b.until("window.axeFound")
	var found []string
	if err := json.Unmarshal([]byte(eval[string](b, "window.axeFound")), &found); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range found {
		b.t.Errorf("%s: %s", name, f)
	}
}

// reflows fails the test if the page is wider than the window.
func (b *tab) reflows(name string) {
	b.t.Helper()
	if wide := eval[float64](b, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
		culprit := eval[string](b, `[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".logbox, .source, .lines, .script, svg")).slice(0, 3).map(e => e.outerHTML.slice(0, 120)).join("\n")`)
		b.t.Errorf("%s scrolls sideways by %v px: %s", name, wide, culprit)
	}
}

// screens are the pages that every check of all pages visits.
var screens = []struct{ name, path string }{
	{"pipelines", "/p"},
	{"pipelines-none", "/p?q=nothing-like-that"},
	{"pipeline", "/p/default/nightly_etl"},
	{"pipeline-paused", "/p/default/gdpr_purge"},
	{"pipeline-never", "/p/default/reports"},
	{"ticks", "/p/default/fx_rates/ticks"},
	{"definition", "/p/default/nightly_etl/definition"},
	{"run-failed", "/p/default/nightly_etl/6"},
	{"run-running", "/p/default/nightly_etl/7"},
	{"run-queued", "/p/default/nightly_etl/8"},
	{"run-items", "/p/default/nightly_etl/6?task=shards"},
	{"attempt", "/p/default/nightly_etl/6/load/3"},
	{"attempt-running", "/p/default/nightly_etl/7/extract_customers/1"},
	{"attempt-never", "/p/default/nightly_etl/6/report/1"},
	{"run-form", "/p/default/nightly_etl/run"},
	{"run-form-like", "/p/default/nightly_etl/run?like=7"},
	{"cancel", "/p/default/nightly_etl/7/-/cancel"},
	{"rerun", "/p/default/nightly_etl/6/-/rerun?mode=failed"},
	{"rerun-latest", "/p/default/nightly_etl/6/-/rerun?mode=latest"},
	{"rerun-refused", "/p/default/nightly_etl/7/-/rerun?mode=all"},
	{"mark", "/p/default/nightly_etl/6/load/mark"},
	{"mark-open", "/p/default/nightly_etl/7/extract_customers/mark"},
	{"pause", "/p/default/nightly_etl/pause"},
	{"backfills", "/backfills"},
	{"backfills-none", "/backfills?state=running&after=MQ"},
	{"backfills-of", "/p/default/stock_levels/backfills"},
	{"backfills-never", "/p/default/nightly_etl/backfills"},
	{"backfill-form", "/p/default/nightly_etl/backfill"},
	{"backfill-form-wrong", "/p/default/nightly_etl/backfill?from=2026-10-20&to=2026-10-07&max=many"},
	{"backfill-form-none", "/p/default/reports/backfill"},
	{"backfill-preview", "/p/default/fx_rates/backfill?from=2026-10-24&to=2026-10-27&where=all"},
	{"backfill", "/backfills/1"},
	{"backfill-failed", "/backfills/1?state=failed"},
	{"backfill-paused", "/backfills/2"},
	{"backfill-done", "/backfills/3"},
	{"backfill-canceled", "/backfills/4"},
	{"backfill-change", "/backfills/1/change"},
	{"backfill-pause", "/backfills/1/pause"},
	{"backfill-cancel", "/backfills/1/cancel"},
	{"approvals", "/approvals"},
	{"run-asks", "/p/default/month_close/1"},
	{"run-starts", "/p/default/month_close/2"},
	{"run-called", "/p/default/load_mart/1"},
	{"answer", "/p/default/month_close/1/sign_off/answer"},
	{"answer-given", "/p/default/month_close/1/refunds/answer"},
	{"task-asks", "/p/default/month_close/1/sign_off/1"},
	{"task-answered", "/p/default/month_close/1/refunds/1"},
	{"task-calls", "/p/default/month_close/1/mart/1"},
	{"runs", "/runs"},
	{"secrets", "/secrets"},
	{"secret-set", "/secrets/set"},
	{"secret-set-one", "/secrets/set?namespace=default&name=WAREHOUSE_DSN"},
	{"secret-delete", "/secrets/delete?namespace=default&name=WAREHOUSE_DSN"},
	{"vars", "/vars"},
	{"var-set", "/vars/set?namespace=default&name=REGION"},
	{"var-delete", "/vars/delete?namespace=default&name=REGION"},
	{"pools", "/pools"},
	{"pool", "/pools/default/warehouse"},
	{"account", "/me"},
	{"not-found", "/p/default/nightly_elt"},
}

func TestScreensAreAccessible(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	w.pools()
	w.backfills()
	w.asks()
	b := w.tab()
	b.size(1360, "light")
	b.open("/login")
	b.accessible("login")
	b.shoot("login")
	b.signIn()
	b.open("/p") // the script has told the zone
	for _, view := range []struct {
		width  int64
		scheme string
	}{{1360, "light"}, {1360, "dark"}, {390, "light"}, {390, "dark"}, {320, "light"}} {
		b.size(view.width, view.scheme)
		for _, s := range screens {
			name := fmt.Sprintf("%s-%d-%s", s.name, view.width, view.scheme)
			b.open(s.path)
			b.reflows(name)
			switch {
			case view.width == 320:
			case view.scheme == "dark": // the same elements, in other colours
				b.shoot(name)
				b.accessible(name, "color-contrast", "link-in-text-block")
			default:
				b.shoot(name)
				b.accessible(name)
			}
			if n := eval[float64](b, "document.querySelectorAll('*').length"); n > 1500 && !strings.HasPrefix(s.name, "attempt") {
				t.Errorf("%s has %v nodes, want at most 1500", name, n)
			}
		}
	}
	b.calm()
}

// payloads are texts that would do something if they were taken for more than text.
func payloads() []string {
	list := []string{
		`<script>window.__pwned=1</script>`, `"><script>window.__pwned=1</script>`, `'><script>window.__pwned=1</script>`, `</script><script>window.__pwned=1</script>`,
		`<img src=x onerror=window.__pwned=1>`, `"><img src=x onerror=window.__pwned=1>`, `<svg onload=window.__pwned=1>`, `<svg><script>window.__pwned=1</script></svg>`,
		`<body onload=window.__pwned=1>`, `<iframe src="javascript:window.__pwned=1"></iframe>`, `<iframe srcdoc="<script>parent.__pwned=1</script>"></iframe>`, `<a href="javascript:window.__pwned=1">x</a>`,
		`javascript:window.__pwned=1`, `<math><mtext><script>window.__pwned=1</script>`, `<details open ontoggle=window.__pwned=1>`, `<video><source onerror=window.__pwned=1></video>`,
		`<input autofocus onfocus=window.__pwned=1>`, `<object data="javascript:window.__pwned=1"></object>`, `<embed src="javascript:window.__pwned=1">`, `<link rel=stylesheet href=//evil.test/x.css>`,
		`<meta http-equiv=refresh content="0;url=javascript:window.__pwned=1">`, `<base href=//evil.test/>`, `<form action=//evil.test/><input type=submit>`, `<button formaction=javascript:window.__pwned=1>x</button>`,
		`<div hx-get="/p" hx-trigger="load" hx-target="body">x</div>`, `<div hx-on:load="window.__pwned=1">x</div>`, `<div hx-vals="js:{a:window.__pwned=1}" hx-get=/ hx-trigger=load>x</div>`, `<hx-partial hx-target="#main"><script>window.__pwned=1</script></hx-partial>`,
		`<template hx type=partial hx-target="#main"><b>x</b></template>`, `<div hx-sse:connect="/events?page=pipelines">x</div>`, `<div sse-connect="/events">x</div>`, `<div data-hx-get="/p" data-hx-trigger=load>x</div>`,
		`{{constructor.constructor('window.__pwned=1')()}}`, `${window.__pwned=1}`, "`${window.__pwned=1}`", `<style>@import '//evil.test/x.css';</style>`,
		`<style>*{background:url(//evil.test/y)}</style>`, `style="background:url(javascript:window.__pwned=1)"`, `--><script>window.__pwned=1</script><!--`, `]]><script>window.__pwned=1</script>`,
		`<xss id=x tabindex=1 onfocus=window.__pwned=1></xss>`, `<textarea></textarea><script>window.__pwned=1</script>`, `</title><script>window.__pwned=1</script>`, `</textarea><script>window.__pwned=1</script>`,
		"\x1b]8;;javascript:window.__pwned=1\x07link\x1b]8;;\x07", "\x1b[31m<script>window.__pwned=1</script>\x1b[0m", "\x1b[2J\x1b[H<img src=x onerror=window.__pwned=1>", "\r<script>window.__pwned=1</script>",
		"\u202e<script>window.__pwned=1</script>", "\u2066evil\u2069", "a\u200bb\ufeffc", "\u2028<script>window.__pwned=1</script>\u2029",
		"data: <script>window.__pwned=1</script>", "id: 9\ndata: <hx-partial hx-target=#main>x</hx-partial>", "event: x\n\n", `&lt;script&gt;window.__pwned=1&lt;/script&gt;`,
		`%3Cscript%3Ewindow.__pwned=1%3C/script%3E`, `\u003cscript\u003ewindow.__pwned=1\u003c/script\u003e`, "👩‍👩‍👧‍👦 مرحبا שלום 漢字", strings.Repeat("A", 10_000),
	}
	return list
}

// TestHostileTextDoesNothing fills every place where people and programs write
// with texts that would like to be more.
func TestHostileTextDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.executors()
	all := payloads()
	if len(all) < 60 {
		t.Fatalf("only %d payloads", len(all))
	}
	joined := strings.Join(all[:59], "\n")
	quoted := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	w.register("hello.yaml", simple("hello", "* * * * *", "UTC", "x"), "etl.yaml", etlFile)
	params, outputs := map[string]string{}, map[string]string{}
	for i, p := range all {
		params[fmt.Sprintf("p%d", i)] = p
		outputs[p[:min(len(p), 200)]] = p
	}
	paramText, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	outputText, err := json.Marshal(outputs)
	if err != nil {
		t.Fatal(err)
	}
	var log []logLine
	for i, p := range all {
		for _, line := range strings.Split(p, "\n") {
			log = append(log, logLine{text: line, stderr: i%2 == 0})
		}
	}
	zero, one := 0, 1
	w.add(run{
		pipeline: "nightly_etl", state: "failed", trigger: "manual", reason: all[0], due: w.now.Add(-time5), start: sec, end: 60 * sec, params: string(paramText), outputs: string(outputText), note: joined, by: all[4], tasks: []task{
			{name: "extract_orders", state: "failed", reason: "exit", detail: joined, due: sec, end: 60 * sec, outputs: string(outputText), attempts: []attempt{{state: "failed", exit: 3, claim: 2 * sec, start: 3 * sec, end: 60 * sec, detail: joined, signal: "", log: log}}},
			{name: "shards", ordinal: 3, state: "skipped", reason: all[5], detail: joined, end: 60 * sec, fan: []int{2, 0, 0, 0, 0, 2}},
			{name: "shards", ordinal: 3, item: &zero, value: quoted(all[1]), state: "skipped", reason: "condition", detail: all[2], end: 60 * sec},
			{name: "shards", ordinal: 3, item: &one, value: quoted(all[27]), state: "skipped", reason: "condition", detail: all[3], end: 60 * sec},
		},
	})
	w.add(run{
		pipeline: "nightly_etl", state: "running", trigger: "manual", due: w.now.Add(-20 * sec), start: sec, params: string(paramText), tasks: []task{
			{name: "extract_orders", state: "running", due: sec, attempts: []attempt{{state: "running", claim: 2 * sec, start: 3 * sec, log: log}}},
			{name: "extract_customers", ordinal: 1, state: "waiting", reason: all[6], detail: joined},
		},
	})
	w.asks()
	w.exec("UPDATE approval SET prompt = $1, comment = $1, decided_by = CASE WHEN decision IS NULL THEN '' ELSE $2 END", joined, all[4])
	w.exec("UPDATE pipeline SET description = $1, owner = $2, labels = $3, paused_at = now(), paused_by = $4, pause_reason = $1", joined, all[1], `{"`+"k"+`": `+quoted(all[8])+`}`, all[9])
	w.exec("UPDATE executor SET name = $1", all[10])
	if _, _, err := w.client().StartBackfill(t.Context(), "default", "nightly_etl", "", api.BackfillRequest{From: "2026-10-20", To: "2026-10-27", Params: api.Values{"region": json.RawMessage(`"eu"`)}}); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE backfill SET note = $1, reason = $1, requested_by = $2, state = 'paused', params = $3, waiting = ticks - 1, passed = 1", joined, all[4], string(paramText))
	w.exec("UPDATE backfill_tick AS t SET state = 'passed', detail = $1 WHERE t.fire_at = (SELECT max(k.fire_at) FROM backfill_tick AS k)", joined)
	w.exec("INSERT INTO var (namespace, name, value, updated_by) VALUES ('default', 'HOSTILE', $1, $2)", joined, all[1])
	w.exec("INSERT INTO secret (namespace, name, version, sealed, created_by) VALUES ('default', 'HOSTILE', 1, 'x', $1)", all[2])
	w.exec("INSERT INTO secret_read (namespace, name, read_by) VALUES ('default', 'HOSTILE', $1)", all[3])
	w.exec("UPDATE schedule SET broken = $1", joined)
	w.exec("UPDATE source SET name = $1", all[11])
	w.exec("INSERT INTO tick (schedule_id, fire_at, state, reason, detail) SELECT s.id, now(), 'failed', $1, $2 FROM schedule AS s", all[12], joined)
	w.exec("ALTER TABLE revision DISABLE TRIGGER revision_immutable")
	w.exec("UPDATE revision SET author = $1, git_commit = $2, file = $3, source_text = $4", all[13], all[14], all[15], joined)

	b := w.tab()
	b.size(1360, "light")
	b.signIn()
	for _, path := range []string{
		"/p", "/p?q=" + "%3Cscript%3Ewindow.__pwned%3D1%3C%2Fscript%3E", "/p/default/nightly_etl", "/p/default/nightly_etl/ticks", "/p/default/nightly_etl/definition",
		"/p/default/nightly_etl/1", "/p/default/nightly_etl/1?task=shards", "/p/default/nightly_etl/2", "/p/default/nightly_etl/1/extract_orders/1", "/p/default/nightly_etl/1/shards%5B1%5D/1",
		"/p/default/nightly_etl/2/extract_orders/1", "/backfills", "/backfills/1", "/backfills/1/cancel", "/backfills/1/change", "/p/default/nightly_etl/backfills",
		"/p/default/nightly_etl/backfill?from=%3Cscript%3Ewindow.__pwned%3D1%3C%2Fscript%3E&to=2026-10-20&max=%22%3E%3Cimg%20src%3Dx%3E&note=%22%3E%3Cscript%3E", "/p/default/nightly_etl/run?like=1", "/p/default/nightly_etl/2/-/cancel", "/p/default/nightly_etl/pause", "/runs", "/me",
		"/approvals", "/p/default/month_close/1", "/p/default/month_close/1/sign_off/answer", "/p/default/month_close/1/refunds/answer", "/p/default/month_close/1/sign_off/1",
		"/p/default/month_close/1/refunds/1", "/p/default/month_close/2",
		"/secrets", "/vars", "/vars/set?namespace=default&name=HOSTILE", "/vars/delete?namespace=default&name=HOSTILE", "/secrets/set?name=%3Cscript%3Ewindow.__pwned%3D1%3C%2Fscript%3E&namespace=%22%3E%3Cscript%3E",
		"/p/%3Cscript%3Ewindow.__pwned=1%3C%2Fscript%3E/x", "/p/default/nightly_etl/1/%3Cimg%20src=x%20onerror=window.__pwned=1%3E/1", "/nowhere/%22%3E%3Cscript%3Ewindow.__pwned=1%3C/script%3E", "/p?%3Cscript%3E=1",
	} {
		b.mu.Lock()
		b.requests = nil
		b.mu.Unlock()
		b.open(path)
		if eval[bool](b, `[...document.scripts].every(s => s.src.startsWith(location.origin + "/static/")) && document.querySelector("#live")`+" != null") {
			b.until(`document.querySelector("#live").dataset.state == "on"`)
		}
		b.until("document.readyState == 'complete'")
		if eval[bool](b, "window.__pwned !== undefined") {
			t.Errorf("%s: a text was run", path)
		}
		if n := eval[float64](b, `[...document.querySelectorAll("script")].filter(s => !s.src.startsWith(location.origin + "/static/")).length + document.querySelectorAll("img, iframe, object, embed, video, base, xss, math").length`); n != 0 {
			t.Errorf("%s: %v elements that no template writes", path, n)
		}
		b.reflows(path)
		b.mu.Lock()
		for _, r := range b.requests {
			if !strings.HasPrefix(r, w.url+"/static/") && !strings.HasPrefix(r, w.url+"/events?") && !strings.HasPrefix(r, "data:image/svg+xml") /* the browser's own, of date fields */ && r != w.url+path && !strings.HasPrefix(r, w.url+"/p") {
				t.Errorf("%s: the page asked for %s", path, r)
			}
		}
		b.mu.Unlock()
	}
	b.shoot("hostile")
	b.calm()
}

const time5 = 5 * min1

// TestWithoutScripts does what people do with scripts switched off.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	b := w.tab()
	b.size(1360, "light")
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open("/p/default/nightly_etl")
	b.until(`location.pathname == "/login"`)
	b.fill("#token", w.token)
	b.press("form button.primary")
	b.until(`location.pathname == "/p/default/nightly_etl"`) // back to where it was asked for

	b.press("main .actions a.primary")
	b.until(`location.pathname == "/p/default/nightly_etl/run"`)
	b.fill("#p1", "0")
	b.press("form.card button.primary")
	b.until(`document.querySelector(".summary")`)
	if got := eval[string](b, `document.querySelector("#p1").value + " " + document.querySelector("#p1").getAttribute("aria-invalid")`); got != "0 true" {
		t.Errorf("the field after an error: %q, want what was typed, and marked", got)
	}
	b.fill("#p1", "77")
	b.fill("#note", "by hand")
	b.press("form.card button.primary")
	b.until(`location.pathname == "/p/default/nightly_etl/9"`)
	b.until(`document.querySelector(".flash").textContent.includes("Started nightly_etl #9")`)
	b.until(`document.querySelector("#run-details").textContent.includes("77")`)

	b.press("main .title .actions a.button") // Cancel…
	b.until(`location.pathname == "/p/default/nightly_etl/9/-/cancel"`)
	b.fill("#reason", "a mistake")
	b.press("button.danger")
	b.until(`location.pathname == "/p/default/nightly_etl/9"`)
	b.until(`document.querySelector(".meta").textContent.includes("asked to stop by")`)

	b.open("/p/default/nightly_etl/6/load")
	b.press("main .title .actions a.button + a.button") // Mark…
	b.until(`location.pathname == "/p/default/nightly_etl/6/load/mark"`)
	b.press("input[value=skipped]")
	b.fill("#reason", "the bank was closed")
	b.press("form.card button.primary")
	b.until(`location.pathname == "/p/default/nightly_etl/6" && document.querySelector(".flash").textContent.includes("load is marked skipped. The run: succeeded.")`)
	b.until(`document.querySelector("#run-tasks").textContent.includes("marked skipped by")`)
	b.press("main .title .actions a.primary") // Re-run skipped
	b.until(`location.pathname == "/p/default/nightly_etl/6/-/rerun" && location.search.includes("failed")`)
	b.fill("#reason", "after all")
	b.press("form.card button.primary")
	b.until(`location.pathname == "/p/default/nightly_etl/6" && document.querySelector(".flash").textContent.includes("runs again")`)
	b.until(`document.querySelector("#run-head").textContent.includes("re-run") && document.querySelector("#run-details").textContent.includes("after all")`)

	b.open("/p/default/crm_pull/pause")
	b.fill("#reason", "maintenance")
	b.press("form.card button.primary")
	b.until(`location.pathname == "/p/default/crm_pull"`)
	b.until(`document.querySelector(".notice").textContent.includes("maintenance")`)
	b.press("main .actions form button") // Resume
	b.until(`document.querySelector(".flash").textContent.includes("goes on")`)

	b.open("/p")
	b.fill("#q", "etl")
	b.press(".filter button")
	b.until(`location.search.includes("q=etl") && document.querySelectorAll("#pipelines tbody tr").length == 1`)

	b.press(".tools form button") // Sign out
	b.until(`location.pathname == "/login"`)
	b.open("/p")
	b.until(`location.pathname == "/login"`)
	b.calm()
}

// TestKeyboard moves through pages with keys alone.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	b := w.tab()
	b.size(1360, "light")
	b.signIn()
	b.open("/runs")
	b.keys("gp")
	b.until(`location.pathname == "/p"`)
	b.keys("/")
	b.until(`document.activeElement.id == "q"`)
	b.keys("nightly")
	b.until(`document.querySelectorAll("#pipelines tbody tr").length == 1 && location.search.includes("q=nightly")`)
	if got := eval[string](b, `document.activeElement.value`); got != "nightly" {
		t.Errorf("the filter holds %q after an update, want what was typed", got)
	}
	eval[bool](b, `document.activeElement.blur(), true`)
	b.keys("j")
	b.until(`document.activeElement.textContent == "nightly_etl"`)
	b.keys("\r")
	b.until(`location.pathname == "/p/default/nightly_etl"`)
	b.keys("jjj\r")
	b.until(`location.pathname == "/p/default/nightly_etl/6"`)
	b.keys("]")
	b.until(`location.pathname == "/p/default/nightly_etl/7"`)
	b.keys("[")
	b.until(`location.pathname == "/p/default/nightly_etl/6"`)
	b.keys("l")
	b.until(`location.pathname == "/p/default/nightly_etl/6/load/3" && location.hash == "#L520"`)
	b.open("/p/default/nightly_etl/6")
	b.keys("?")
	b.until(`document.querySelector("#keys").open`)
	eval[bool](b, `document.querySelector("#keys").close(), true`)
	b.keys("r")
	b.until(`location.pathname == "/p/default/nightly_etl/run" && location.search == "?like=6"`)
	// A form that was refused puts the focus on what is wrong.
	b.fill("#p1", "0")
	b.press("form.card button.primary")
	b.until(`document.activeElement.id == "summary"`)
	// Nothing that is reached is without a mark of the focus.
	b.open("/p/default/nightly_etl/6")
	for range 25 {
		b.keys("\t")
		if eval[bool](b, "document.activeElement == document.body") {
			continue // round once
		}
		if got := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle + " " + getComputedStyle(document.activeElement).outlineWidth`); got != "solid 2px" {
			t.Errorf("focus on %s is shown as %s, want a line of 2 px", eval[string](b, `document.activeElement.outerHTML.slice(0, 120)`), got)
		}
	}
	b.open("/me")
	eval[bool](b, `document.querySelector("[name=keys]").click(), document.querySelector("[value=dark]").click(), true`)
	b.press("form.card button.primary")
	b.until(`document.documentElement.className == "dark" && !("keys" in document.documentElement.dataset)`)
	b.keys("gr")
	if got := eval[string](b, "location.pathname"); got != "/me" {
		t.Errorf("a key led to %s although keys are off", got)
	}
	b.calm()
}
