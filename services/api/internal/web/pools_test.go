package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// pools makes a pool that is full, with somebody who waits, and an idle one.
func (w *world) pools() {
	w.t.Helper()
	req := api.RegisterRequest{Source: "pools", Files: []api.SourceFile{{Name: "pools.yaml", Text: "kind: pool\nname: warehouse\ndescription: The warehouse takes three at once.\nslots: 3\nreserve: {scheduled: 1}\n---\nkind: pool\nname: idle\nslots: 2\n"}}}
	if _, err := w.client().Register(w.t.Context(), req); err != nil {
		w.t.Fatal(err)
	}
	w.exec("UPDATE live SET slots = 2, pool_id = (SELECT p.id FROM pool AS p WHERE p.name = 'warehouse') WHERE (run_id, number) IN (SELECT l.run_id, l.number FROM live AS l LIMIT 1)")
	w.exec(`INSERT INTO ready (run_id, number, attempt, lane, rank, pipeline_id, revision_id, pool_id, slots)
		SELECT r.id, 2, 1, 1, 1, r.pipeline_id, r.revision_id, p.id, 1 FROM run AS r JOIN pipeline AS n ON n.id = r.pipeline_id, pool AS p WHERE p.name = 'warehouse' AND n.name = 'hello' AND r.number = 1`)
	w.exec(`INSERT INTO waiter (run_id, number, attempt, lane, rank, pipeline_id, revision_id, pool_id, slots, since)
		SELECT r.id, 2, 1, 1, r.number, r.pipeline_id, r.revision_id, p.id, 1, now() - interval '90 s' FROM run AS r JOIN pipeline AS n ON n.id = r.pipeline_id, pool AS p WHERE p.name = 'warehouse' AND n.name = 'crm_pull' AND r.number < 4`)
	w.exec("INSERT INTO task (run_id, number, name, state) SELECT k.run_id, k.number, 'shards', 'waiting' FROM (SELECT run_id, number FROM waiter UNION SELECT run_id, number FROM ready) AS k ON CONFLICT DO NOTHING")
}

func TestPoolPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.visitor().signIn(w.token)
	w.want(v.get("/pools"), http.StatusOK, "Pools appear here once they are registered")
	w.full()
	w.pools()
	a := v.get("/pools")
	w.want(a, http.StatusOK, `href="/pools/default/warehouse"`, "3/3 full", "0/2", "The warehouse takes three at once.", "synctl pool ls", `href="/api/v1/pools"`)
	a = v.get("/pools/default/warehouse")
	w.want(a, http.StatusOK, "Pool warehouse", "3 of 3 used", "3 tasks", "1 slot", "wh-2", "crm_pull #1 shards[1]", "position 1", "position 3", "synctl pool show warehouse", `href="/api/v1/pools/default/warehouse"`)
	if first, second := strings.Index(a.text, "crm_pull #1 shards"), strings.Index(a.text, "crm_pull #2 shards"); first < 0 || second < first {
		t.Errorf("waiters stand at %d and %d", first, second)
	}
	w.want(v.get("/pools/default/idle"), http.StatusOK, "Nobody holds a slot.", "Nobody waits.")
	w.want(v.get("/pools/default/warehuose"), http.StatusNotFound, "warehouse")
	w.want(v.get("/pools?q=x"), http.StatusBadRequest)
	// Tasks of namespaces that the reader may not see have no names.
	w.exec("UPDATE pool SET namespace = 'other'")
	a = w.as(api.RoleViewer, "other").get("/pools/other/warehouse")
	w.want(a, http.StatusOK, "a task of another namespace", "position 1")
	if strings.Contains(a.text, "crm_pull") || strings.Contains(a.text, "wh-2") {
		t.Error("what may not be seen is told")
	}
	w.want(w.as(api.RoleViewer, "elsewhere").get("/pools/other/warehouse"), http.StatusNotFound)
}
