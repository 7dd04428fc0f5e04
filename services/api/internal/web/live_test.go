package web_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// alone is a run of one task that goes on, with two lines of log.
func (w *world) alone() (run, group int64) {
	w.t.Helper()
	w.executors()
	w.register("hello.yaml", simple("hello", "* * * * *", "UTC", "Says hello."))
	id := w.add(runOf(w.now))
	return id, 0
}

func runOf(now time.Time) run {
	return run{pipeline: "hello", state: "running", due: now.Add(-30 * time.Second), start: time.Second, tasks: []task{
		{name: "work", state: "running", due: time.Second, attempts: []attempt{{state: "running", claim: 2 * time.Second, log: lines("first line\nsecond line")}}},
	}}
}

// end ends the one task of a run, and the run, as executor and scheduler do.
func (w *world) end(id int64, state string, exit int) {
	w.t.Helper()
	w.exec(`WITH gone AS (DELETE FROM live WHERE run_id = $1 RETURNING *)
		INSERT INTO attempt (run_id, number, attempt, executor, lease_token, state, exit_code, ready_at, claimed_at, started_at, ended_at, log_seen, log_stored)
		SELECT run_id, number, attempt, executor, lease_token, $2, $3, ready_at, claimed_at, started_at, now(), log_seen, log_stored FROM gone`, id, state, exit)
	w.exec("UPDATE task SET state = $2, attempt = 1, ended_at = now() WHERE run_id = $1", id, state)
	w.exec("DELETE FROM open_run WHERE run_id = $1", id)
	w.exec("UPDATE run SET state = $2, ended_at = now() WHERE id = $1", id, state)
	w.exec("INSERT INTO event (kind, entity_id, pipeline_id, to_state) SELECT 'run', r.id, r.pipeline_id, r.state FROM run AS r WHERE r.id = $1", id)
	w.exec("SELECT pg_notify('syn_event', '')")
}

// more appends lines to the log of a run's one task.
func (w *world) more(id int64, text string) {
	w.t.Helper()
	var at int64
	var seq int
	var claimed time.Time
	w.one(&claimed, "SELECT claimed_at FROM live WHERE run_id = $1", id)
	w.one(&seq, "SELECT max(seq) + 1 FROM log_chunk WHERE run_id = $1", id)
	w.one(&at, "SELECT max(at_byte + length(data)) FROM log_chunk WHERE run_id = $1", id)
	w.log(id, 0, 1, claimed, seq, at, lines(text))
	w.exec("UPDATE live SET log_seen = log_seen + $2, log_stored = log_stored + $2 WHERE run_id = $1", id, len(text)+1)
}

const shownLines = `[...document.querySelectorAll("#log li:not(.none) code")].map(e => e.textContent.trim()).join("|")`

func TestRunPageFollowsItsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _ := w.alone()
	b := w.tab()
	b.size(1360, "light")
	b.signIn()
	b.open("/p/default/hello/1")
	b.until(`document.querySelector("#live").dataset.state == "on"`)
	if got, want := eval[string](b, shownLines), "first line|second line"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
	w.more(id, "third line")
	b.until(shownLines + ` == "first line|second line|third line"`)

	// What the reader has opened stays open.
	eval[bool](b, `document.querySelector("#more summary").click(), true`)
	w.end(id, "failed", 7)
	b.until(`document.querySelector("#run-head .pill").textContent.includes("failed")`)
	b.until(`document.querySelector("#run-problem").textContent.includes("work failed on attempt 1: exit 7")`)
	if !eval[bool](b, `document.querySelector("#more").open`) {
		t.Error("an update has closed what was open")
	}
	b.until(`document.title.startsWith("✕ hello #1")`)
	b.until(`document.querySelector("#announce").textContent.includes("hello #1")`)
	if !eval[bool](b, `document.querySelector("#run-log").hidden`) {
		t.Error("the tail of the log stays although nothing runs")
	}
	b.calm()
	b.same("/p/default/hello/1", "#main")
}

func TestAttemptPageGetsEachLineOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _ := w.alone()
	b := w.tab()
	b.size(1360, "light")
	b.signIn()
	b.open("/p/default/hello/1/work/1")
	b.until(`document.querySelector("#live").dataset.state == "on"`)
	want := []string{"first line", "second line"}
	for i := range 30 {
		line := fmt.Sprintf("line %d <b>x</b>", i)
		want = append(want, line)
		w.more(id, line)
		switch i {
		case 10: // the connection breaks; the page comes back by itself
			eval[bool](b, `document.querySelector("main")._htmx.sse.reader.cancel(), true`)
		case 20:
			w.exec("UPDATE live SET state = 'stopping', stop_reason = 'cancel', stop_requested_at = now() WHERE run_id = $1", id)
		}
	}
	b.until(shownLines + ` == ` + fmt.Sprintf("%q", strings.Join(want, "|")))
	b.until(`document.querySelector("#attempt-head").textContent.includes("stopping")`)
	w.end(id, "canceled", 0)
	b.until(`document.querySelector("#log-end").textContent.includes("canceled")`)
	if got := eval[string](b, shownLines); got != strings.Join(want, "|") {
		t.Errorf("log at the end = %q", got)
	}
	b.calm()
}

func TestListFollowsRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _ := w.alone()
	b := w.tab()
	b.size(1360, "light")
	b.signIn()
	b.open("/p")
	b.until(`document.querySelector("#live").dataset.state == "on"`)
	b.until(`document.querySelector("#p-default-hello .pill").textContent.includes("running")`)
	w.end(id, "succeeded", 0)
	b.until(`document.querySelector("#p-default-hello .pill").textContent.includes("succeeded")`)
	b.calm()
	b.same("/p", "#pipelines")
}

// same compares a region as the stream has left it with one freshly loaded.
func (b *tab) same(path, region string) {
	b.t.Helper()
	text := fmt.Sprintf(`(() => { const e = document.querySelector(%q).cloneNode(true); e.querySelectorAll(".rel, .tickline").forEach(x => x.remove()); return e.innerText.replace(/\s+/g, " ").trim() })()`, region)
	was := eval[string](b, text)
	b.open(path)
	if now := eval[string](b, text); was != now {
		b.t.Errorf("%s of %s as the stream left it:\n%s\nfreshly loaded:\n%s", region, path, was, now)
	}
}
