package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

const loads = `name: loads
params: {region: {type: string, default: eu}}
tasks:
  load:
    run: x
    outputs:
      rows: {type: integer}
      complete: {type: boolean, required: false}
`

// endedLoads is a run of loads whose only task failed.
func (w *world) endedLoads() {
	w.t.Helper()
	w.executors()
	w.register("loads.yaml", loads)
	w.add(run{pipeline: "loads", state: "failed", trigger: "manual", due: w.now.Add(-time5), start: sec, end: 5 * sec, params: `{"region": "us"}`, tasks: []task{
		{name: "load", state: "failed", due: sec, end: 5 * sec, attempts: []attempt{{state: "failed", exit: 3, claim: 2 * sec, start: 2 * sec, end: 5 * sec}}},
	}})
}

// A mark gives the outputs that a task would have written, checked as if it had.
func TestAMarkGivesOutputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endedLoads()
	v := w.as(api.RoleOperator)
	const path = "/p/default/loads/1/load/mark"
	w.want(v.get(path), http.StatusOK, `name="param.rows"`, `name="param.complete"`, "without any it keeps those that it has")
	form := url.Values{"state": {"succeeded"}, "reason": {"loaded by hand"}, "param.rows": {"many"}, "param.complete": {"true"}}
	a := v.do("POST", path, form)
	w.want(a, http.StatusUnprocessableEntity, `id="p0-e"`, `value="many"`, "loaded by hand")
	form.Set("param.rows", "")
	w.want(v.do("POST", path, form), http.StatusUnprocessableEntity, "Output rows is missing: a mark that gives outputs gives all that are required.")
	form.Set("param.rows", "1200")
	if a := v.do("POST", path, form); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("marked: %s\n%.2000s", a.Status, a.text)
	}
	var outputs string
	if w.one(&outputs, "SELECT state || ' ' || outputs::text FROM task WHERE name = 'load'"); outputs != `succeeded {"rows": 1200, "complete": true}` {
		t.Errorf("the task is %s", outputs)
	}
	// Marked another way, what stands in the fields of outputs says nothing.
	form.Set("state", "skipped")
	if a := v.do("POST", path, form); a.StatusCode != http.StatusSeeOther {
		t.Errorf("marked skipped: %s\n%.2000s", a.Status, a.text)
	}
}

// A run can be run again by the newest revision: a new run with its params, made
// once however often the form is sent.
func TestARunIsRunAgainByTheNewestRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endedLoads()
	w.register("loads.yaml", loads+"  report: {run: x}\n")
	v := w.as(api.RoleOperator)
	const path = "/p/default/loads/1/-/rerun"
	w.want(v.get(path+"?mode=all"), http.StatusOK, "All, revision 1", "A new run, revision 2 (newest)", `href="`+path+`?mode=latest"`)
	a := v.get(path + "?mode=latest")
	w.want(a, http.StatusOK, "Re-run loads #1 as a new run?", "Revision 2 makes a new run", "region=us", "synctl rerun loads#1 --rev latest")
	_, rest, _ := strings.Cut(a.text, `name="key" value="`)
	key, _, _ := strings.Cut(rest, `"`)
	for range 2 {
		if a := v.do("POST", path+"?mode=latest", url.Values{"key": {key}, "reason": {"with the new report"}}); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/p/default/loads/2" {
			t.Fatalf("run again: %s to %s", a.Status, a.Header.Get("Location"))
		}
	}
	var made string
	if w.one(&made, "SELECT string_agg(format('%s %s %s', r.number, r.trigger, v.number), ', ' ORDER BY r.number) FROM run AS r JOIN revision AS v ON v.id = r.revision_id"); made != "1 manual 1, 2 rerun 2" {
		t.Errorf("runs: %s", made)
	}
	// Params that the newest revision does not know are told.
	w.register("loads.yaml", strings.Replace(loads, "region:", "area:", 1))
	w.want(v.do("POST", path+"?mode=latest", url.Values{"key": {"another"}}), http.StatusUnprocessableEntity, "region")
	// One that goes on cannot be.
	w.want(v.get("/p/default/loads/2/-/rerun?mode=latest"), http.StatusOK, "has not ended")
}
