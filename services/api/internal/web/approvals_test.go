package web_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

func TestApprovalsAreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.visitor().signIn(w.token)
	w.want(v.get("/approvals"), http.StatusOK, "Nothing waits for approval")
	if a := v.get("/p"); strings.Contains(a.text, `class="count"`) {
		t.Error("a count of no questions")
	}
	w.asks()
	a := v.get("/approvals")
	w.want(a, http.StatusOK, "Row counts look wrong. …", "month_close #1", "then it is rejected", `href="/p/default/month_close/1/sign_off/answer?from=approvals"`, "Answer…")
	if strings.Contains(a.text, "refunds") {
		t.Error("a question that was answered is listed")
	}
	if n := regexp.MustCompile(`id="nav-approvals"[^>]*>\s*Approvals\s*<span class="count">(\d+)`).FindStringSubmatch(v.get("/p").text); len(n) != 2 || n[1] != "1" {
		t.Errorf("the way to the questions counts %v", n)
	}
	// Who may not answer reads that, and who sees another namespace nothing.
	w.want(w.as(api.RoleViewer).get("/approvals"), http.StatusOK, "Row counts look wrong", "needs role operator in default")
	if other := w.as(api.RoleOperator, "elsewhere"); strings.Contains(other.get("/approvals").text, "Row counts") || strings.Contains(other.get("/p").text, `class="count"`) {
		t.Error("a question of a namespace that the reader does not see")
	}
	w.want(v.get("/approvals?x=1"), http.StatusBadRequest)

	w.exec(`INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, scheduled_at, interval_start, interval_end, group_id, state, created_at, started_at)
		SELECT r.id + n, r.pipeline_id, r.revision_id, 100 + n, r.namespace, r.pipeline, 'manual', r.scheduled_at, r.interval_start, r.interval_end, r.group_id, 'running', now(), now()
		FROM run AS r, generate_series(100000, 100055) AS n WHERE r.pipeline = 'month_close' AND r.number = 1`)
	w.exec(`INSERT INTO task (run_id, number, name, state, reason, ready_at, due_at) SELECT id, 16384, 'sign_off', 'waiting', 'approval', now(), now() FROM run WHERE number > 100000`)
	w.exec(`INSERT INTO approval (run_id, number, pipeline_id, prompt) SELECT id, 16384, pipeline_id, 'Number ' || number FROM run WHERE number > 100000 ORDER BY number`)
	first := v.get("/approvals")
	next := regexp.MustCompile(`/approvals\?after=[^"]+`).FindString(first.text)
	if n := strings.Count(first.text, "data-row"); n != 50 || next == "" {
		t.Fatalf("%d questions on the first page, the next is %q", n, next)
	}
	second := v.get(next)
	w.want(second, http.StatusOK, "Number 100155")
	if n := strings.Count(second.text, "data-row"); n != 7 {
		t.Errorf("%d questions on the second page, want 7", n)
	}
	w.want(v.get("/approvals", "HX-Request-Type", "partial", "HX-Target", "section#approvals"), http.StatusOK, `<section id="approvals"`)
}

// keyIn is the key of the form that answers a question.
func keyIn(t *testing.T, text string) string {
	t.Helper()
	m := regexp.MustCompile(`name="key" value="([^"]+)"`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no key of a form")
	}
	return m[1]
}

func TestAQuestionIsAnsweredOnItsPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.asks()
	v := w.visitor().signIn(w.token)
	const at = "/p/default/month_close/1/sign_off/answer"
	page := v.get("/p/default/month_close/1")
	w.want(page, http.StatusOK, "sign_off</bdi> asks", "Load anyway?", "role operator in default may answer", "A no fails the task.", "then it is rejected",
		"synctl approve month_close#1 sign_off", "rejected by ana “not all of them”", `href="/p/default/load_mart/1"`)
	w.want(v.get(at), http.StatusOK, "sign_off</bdi> asks", "Load anyway?")
	w.want(v.get("/p/default/month_close/1/sign_off"), http.StatusFound)
	w.want(v.get("/p/default/month_close/1/sign_off/1"), http.StatusOK, "Load anyway?", `name="decision" value="approved"`)
	w.want(v.get("/p/default/month_close/1/refunds/answer"), http.StatusOK, "Rejected by ana", "not all of them")
	w.want(v.get("/p/default/month_close/1/counts/answer"), http.StatusNotFound, "Counts of run month_close#1 asks nothing")

	viewer := w.as(api.RoleViewer)
	w.want(viewer.get("/p/default/month_close/1"), http.StatusOK, "<button disabled>Approve</button>", "needs role operator in default, viewer has viewer")
	w.want(viewer.post(at, "decision", "approved"), http.StatusForbidden)
	w.want(v.post(at, "decision", "perhaps", "comment", "well"), http.StatusUnprocessableEntity, "Approved or rejected?", `value="well"`)
	w.want(v.post(at, "decision", "approved", "comment", strings.Repeat("x", 1001)), http.StatusUnprocessableEntity, "1000")

	key := keyIn(t, page.text)
	for range 2 { // a form that is sent twice is one answer
		a := v.post(at, "decision", "approved", "comment", "as agreed", "key", key, "from", "approvals")
		w.want(a, http.StatusSeeOther)
		if got := a.Header.Get("Location"); got != "/approvals" {
			t.Errorf("led to %s, want back to the list", got)
		}
	}
	w.want(v.get("/approvals"), http.StatusOK, "sign_off of month_close #1 is approved.", "Nothing waits for approval")
	var said string
	w.one(&said, "SELECT decision || ' ' || comment || ' ' || (SELECT count(*) FROM event WHERE cause = 'approval') FROM approval WHERE number = 16384")
	if said != "approved as agreed 1" {
		t.Errorf("stored: %s", said)
	}
	a := w.as(api.RoleOperator).post(at, "decision", "rejected", "comment", "too late")
	w.want(a, http.StatusConflict, "Sign_off of run default/month_close#1 was approved already, by ", "Approved by ", "as agreed")
	if strings.Contains(a.text, `name="decision"`) {
		t.Error("a question that is answered has a form")
	}
	w.exec("UPDATE approval SET decision = NULL, decided_at = NULL, decided_by = '', closed_at = now() WHERE number = 16384")
	w.exec("UPDATE task SET state = 'canceled', ended_at = now() WHERE number = 16384")
	w.want(v.get(at), http.StatusOK, "Nobody answered: the task is canceled")
	w.want(v.post(at, "decision", "approved"), http.StatusConflict, "was canceled")
}

func TestRunsNameTheirKin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.asks()
	v := w.visitor().signIn(w.token)
	w.want(v.get("/p/default/load_mart/1"), http.StatusOK, `called by <a href="/p/default/month_close/1/mart">month_close #1 / mart</a>`)
	w.want(v.get("/p/default/fx_report/1"), http.StatusOK, `after <a href="/p/default/month_close/2">month_close #2</a>`)
	w.want(v.get("/p/default/month_close/2"), http.StatusOK, `backfill <a href="/backfills/5">#5</a>`, "Started by its end", `<a href="/p/default/fx_report/1">fx_report #1</a>`, "not started: it was paused")
	w.want(v.get("/p/default/month_close/1/mart/1"), http.StatusOK, "The run that it started", `<a href="/p/default/load_mart/1">load_mart #1</a>`, "synctl show month_close#1/mart")
}

// A person answers with a browser: live, and with scripts switched off.
func TestAPersonAnswers(t *testing.T) {
	t.Parallel()
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprint("scripts ", scripts), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := w.asks()
			b := w.tabOf(t)
			b.size(1360, "light")
			if !scripts {
				call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			}
			b.open("/login")
			b.fill("#token", w.token)
			b.press("form button.primary")
			b.until(`location.pathname == "/p"`)
			b.open("/approvals")
			if scripts { // a question that comes while one looks
				b.until(`document.querySelector("#live").dataset.state == "on"`)
				w.exec(`INSERT INTO approval (run_id, number, pipeline_id, prompt) SELECT id, 0, pipeline_id, 'And this one?' FROM run WHERE id = $1`, id)
				w.exec(`INSERT INTO event (kind, entity_id, pipeline_id, number, reason, cause) SELECT 'task', id, pipeline_id, 0, 'asked', 'approval' FROM run WHERE id = $1`, id)
				b.until(`document.querySelectorAll("#approvals tbody tr").length == 2 && document.querySelector("#nav-approvals .count").textContent.trim().startsWith("2")`)
				w.exec(`DELETE FROM approval WHERE prompt = 'And this one?'`)
				b.open("/approvals")
			}
			b.press("#approvals .do a")
			b.until(`location.pathname == "/p/default/month_close/1/sign_off/answer"`)
			b.fill("#comment", "looks fine")
			b.press("button[value=approved]")
			b.until(`location.pathname == "/approvals" && document.querySelector(".flash").textContent.includes("sign_off of month_close #1 is approved.")`)
			b.open("/p/default/month_close/1/sign_off/1")
			b.until(`document.querySelector("#task-await").textContent.includes("looks fine")`)
			b.calm()
		})
	}
}

// What is typed into the form on a live page stays while the page changes around
// it, and the form goes when somebody else has answered.
func TestAFormOnALivePageKeepsWhatIsTyped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.asks()
	b := w.tab()
	b.size(1360, "light")
	b.signIn()
	b.open("/p/default/month_close/1")
	b.until(`document.querySelector("#live").dataset.state == "on"`)
	b.fill("#comment-0", "still thinking")
	eval[bool](b, `document.activeElement.blur(), true`)
	w.exec(`UPDATE task SET detail = 'the mart is slow today' WHERE run_id = $1 AND number = 49152`, id)
	w.exec(`UPDATE child_run SET run_id = NULL, number = NULL`)
	w.exec(`INSERT INTO event (kind, entity_id, pipeline_id, number, reason, cause) SELECT 'task', id, pipeline_id, 49152, '', 'test' FROM run WHERE id = $1`, id)
	b.until(`document.querySelector("#run-tasks").textContent.includes("the mart is slow today")`)
	if got := eval[string](b, `document.querySelector("#comment-0").value`); got != "still thinking" {
		t.Errorf("the field holds %q after a change of the page", got)
	}
	w.exec(`UPDATE approval SET decision = 'approved', decided_at = now(), decided_by = 'bo' WHERE number = 16384`)
	w.exec(`INSERT INTO event (kind, entity_id, pipeline_id, number, reason, cause) SELECT 'task', id, pipeline_id, 16384, 'approved', 'approval' FROM run WHERE id = $1`, id)
	b.until(`document.querySelector("#run-ask").hidden && !document.querySelector("#comment-0")`)

	// Asked anew, the form comes back, and works.
	w.exec(`UPDATE approval SET closed_at = now() WHERE number = 16384`)
	w.exec(`INSERT INTO approval (run_id, number, pipeline_id, prompt) SELECT id, 16384, pipeline_id, 'Once more?' FROM run WHERE id = $1`, id)
	w.exec(`INSERT INTO event (kind, entity_id, pipeline_id, number, reason, cause) SELECT 'task', id, pipeline_id, 16384, 'asked', 'approval' FROM run WHERE id = $1`, id)
	b.until(`document.querySelector("#run-ask").textContent.includes("Once more?") && !document.querySelector("#run-ask").hidden`)
	b.fill("#comment-0", "not again")
	b.press("button[value=rejected]")
	b.until(`location.pathname == "/p/default/month_close/1" && document.querySelector(".flash").textContent.includes("is rejected")`)
	b.calm()
}
