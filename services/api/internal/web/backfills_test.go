package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// Everything about a backfill is done without scripts: it is asked for with a
// preview, looked at, changed, paused, resumed and canceled.
func TestABackfillWithoutScripts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	b := w.tab()
	b.size(1360, "light")
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.signIn()
	b.open("/p/default/nightly_etl")
	b.press("main .title .actions a[href$='/backfill']")
	b.until(`location.pathname == "/p/default/nightly_etl/backfill" && !document.querySelector("#preview")`)
	b.fill("#from", "2026-10-20")
	b.fill("#to", "2026-10-07")
	b.fill("#max", "0")
	b.press("form.card button.primary")
	b.until(`document.querySelector("#from-e") && document.querySelector("#from").getAttribute("aria-describedby").includes("from-e")`)
	if got := eval[string](b, `document.querySelector("#from-e").innerText + "|" + document.querySelector("#max-e").innerText + "|" + document.querySelector("#to").value`); got != "From \"2026-10-20\" is after to \"2026-10-07\".|How many runs at once is a whole number from 1 to 1000, not “0”.|2026-10-07" {
		t.Errorf("a range that is none: %s", got)
	}
	b.fill("#to", "2026-10-27")
	b.fill("#max", "2")
	b.press("input[name=params][value=own]")
	b.press("details summary")
	b.fill("#p1", "0")
	b.fill("#note", "after the move")
	b.press("form.card button.primary")
	b.until(`document.querySelector("#preview h2").innerText == "8 ticks, 8 to run"`)
	b.until(`document.querySelector("#preview").innerText.includes("Sun 25 Oct 02:00 CEST") && document.querySelector("#preview").innerText.includes("happens twice: the first")`)
	b.until(`document.querySelector("aside pre").innerText.includes("--from 2026-10-20 --to 2026-10-27 --max 2")`)
	b.press("#preview button.primary")
	b.until(`document.querySelector("#p1-e")`) // the server checks params when the backfill is made
	b.fill("#p1", "77")
	b.press("form.card button")
	b.until(`location.search.includes("77") && document.querySelector("#preview button.primary").innerText == "Start 8 runs"`)
	b.press("#preview button.primary")
	b.until(`location.pathname == "/backfills/1" && document.querySelector(".flash").innerText == "Backfill 1 makes 8 runs, a few at a time."`)
	b.until(`document.querySelector("#progress-h").innerText == "0 of 8 done" && document.querySelectorAll("#backfill-ticks tbody tr").length == 8`)
	b.until(`document.querySelector("main").innerText.includes("after the move") && document.querySelector("main").innerText.includes("limit=77")`)

	b.press("main .title .actions a[href$='/change']")
	b.until(`location.pathname == "/backfills/1/change"`)
	b.fill("#max", "1001")
	b.press("form.card button.primary")
	b.until(`document.querySelector("#max-e")`)
	b.fill("#max", "5")
	b.fill("#share", "40")
	b.press("form.card button.primary")
	b.until(`location.pathname == "/backfills/1" && document.querySelector(".facts").innerText.replace(/\s+/g, " ").includes("Runs at once 5 Share of pools 40 %")`)

	b.press("main .title .actions a[href$='/pause']")
	b.until(`location.pathname == "/backfills/1/pause"`)
	b.fill("#reason", "the bank is closed")
	b.press("form.card button.primary")
	b.until(`location.pathname == "/backfills/1" && document.querySelector(".notice").innerText.includes("the bank is closed")`)
	b.press("main .title .actions form button")
	b.until(`document.querySelector(".flash").innerText == "Backfill 1 goes on."`)
	b.press("main .title .actions a[href$='/cancel']")
	b.until(`location.pathname == "/backfills/1/cancel"`)
	b.press("button.danger")
	b.until(`location.pathname == "/backfills/1" && document.querySelector("h1").innerText.includes("canceled")`)
	b.open("/p/default/nightly_etl/backfills")
	b.until(`document.querySelectorAll("#backfills tbody tr").length == 1`)
	b.calm()
}

// What a backfill comes to appears on its page and in the lists by itself.
func TestABackfillIsWatched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	w.backfills()
	b := w.tab()
	b.size(1360, "light")
	b.signIn()
	b.open("/backfills/1")
	b.until(`document.querySelector("#live").dataset.state == "on" && document.querySelector("#progress-h").innerText == "8 of 14 done"`)
	if got := eval[string](b, `[...document.querySelectorAll("#backfill-failed tbody th")].map(e => e.innerText.trim()).length + " " + [...document.querySelectorAll("#backfill-progress .counts li")].map(e => e.innerText.trim()).join(", ")`); got != "2 2 failed, 5 succeeded, 1 done by others, 2 under way, 4 to come" {
		t.Errorf("the page says %q", got)
	}
	// The runs that are under way end well, as the scheduler would note it.
	w.exec("UPDATE run SET state = 'succeeded', ended_at = now() WHERE id IN (SELECT run_id FROM backfill_tick WHERE backfill_id = 1 AND state = 'open')")
	w.exec("UPDATE backfill_tick SET state = 'succeeded' WHERE backfill_id = 1 AND state = 'open'")
	w.exec("UPDATE backfill SET open = 0, succeeded = succeeded + 2 WHERE id = 1")
	b.until(`document.querySelector("#progress-h").innerText == "10 of 14 done" && document.querySelector("h1").innerText.includes("waiting for room") && document.title.startsWith("⋯")`)
	b.open("/backfills")
	b.until(`document.querySelector("#live").dataset.state == "on" && document.querySelectorAll("#backfills tbody tr").length == 4`)
	w.exec("UPDATE backfill SET state = 'paused' WHERE id = 1")
	w.exec("INSERT INTO event (kind, pipeline_id, entity_id, to_state) SELECT 'backfill', pipeline_id, id, 'paused' FROM backfill WHERE id = 1")
	b.until(`document.querySelector("#backfills tbody tr:last-child").innerText.includes("paused")`)
	// The filter is a form that needs no button where scripts run.
	eval[bool](b, `document.querySelector("#state").value = "done", document.querySelector("#state").dispatchEvent(new Event("input", {bubbles: true})), true`)
	b.until(`location.search.includes("state=done") && document.querySelectorAll("#backfills tbody tr").length == 1`)
	// What failed leads to a form that takes it again.
	b.open("/backfills/3")
	b.press("main .title .actions a.primary")
	b.until(`location.pathname == "/p/default/stock_levels/backfill" && document.querySelector("#preview h2").innerText == "8 ticks, 1 to run" && document.querySelector("[name='param.shop']").value == "north"`)
	b.calm()
}

// One preview makes one backfill; one that is out of date makes none and shows
// what would be done now.
func TestAPreviewIsStartedOnceAndOnlyAsItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	v := w.as(api.RoleOperator)
	const path = "/p/default/nightly_etl/backfill"
	preview := func() url.Values {
		a := v.get(path + "?from=2026-10-20&to=2026-10-27&max=2")
		form := url.Values{}
		_, rest, ok := strings.Cut(a.text, `<form method="post"`)
		for _, part := range strings.Split(rest, `<input type="hidden" name="`)[1:] {
			name, part, _ := strings.Cut(part, `" value="`)
			value, _, _ := strings.Cut(part, `"`)
			form.Add(name, value)
		}
		if !ok || form.Get("hash") == "" || form.Get("key") == "" {
			t.Fatalf("the preview has no form to start it:\n%.3000s", a.text)
		}
		return form
	}
	old, form := preview(), preview()
	for range 2 {
		if a := v.do("POST", path, form); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/backfills/1" {
			t.Fatalf("started: %s to %s, want 303 to /backfills/1", a.Status, a.Header.Get("Location"))
		}
	}
	var n int
	if w.one(&n, "SELECT count(*) FROM backfill"); n != 1 {
		t.Errorf("%d backfills, want 1", n)
	}
	w.exec("UPDATE backfill SET state = 'canceled', ended_at = now()")
	w.exec("UPDATE schedule SET next_at = '2026-10-22T00:00:00Z' WHERE pipeline_id = (SELECT id FROM pipeline WHERE name = 'nightly_etl')")
	a := v.do("POST", path, old)
	if a.StatusCode != http.StatusConflict || !strings.Contains(a.text, "has changed since it was looked at") || !strings.Contains(a.text, "8 ticks, 2 to run") {
		t.Errorf("an old preview: %s\n%.3000s", a.Status, a.text)
	}
}
