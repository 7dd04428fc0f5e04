package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// TestPoolsAreVisible: who holds slots and who waits, in order, to those who may
// see it.
func TestPoolsAreVisible(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.admin(), t.Context()
	s.register("repo",
		"p.yaml", "kind: pool\nname: wh\ndescription: Takes four.\nlabels: {team: data}\nslots: 4\nreserve: {scheduled: 1}\n---\nkind: pool\nname: idle\nslots: 2\n---\nkind: pool\nname: io\nnamespace: finance\nslots: 1\n",
		"a.yaml", "name: a\ntasks: {t: {run: x, pool: wh, for_each: [x, y]}}\n", "b.yaml", "name: b\nnamespace: finance\ntasks: {t: {run: x, pool: default/wh}}\n")
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := s.pool().PGX().Exec(ctx, sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	// No scheduler runs here: its rows are written by hand.
	exec("INSERT INTO executor (id, name, host, slots, lease_until) VALUES ('0195b000-0000-7000-8000-00000000000a', 'wh-1', 'db7', 8, now() + interval '1 hour')")
	row := func(pipeline, namespace string, number int) (run int64) {
		created, _, err := c.CreateRun(ctx, namespace, pipeline, "", api.RunRequest{})
		if err != nil {
			t.Fatal(err)
		}
		exec("INSERT INTO task (run_id, number, name, state) VALUES ($1, $2, 't', 'waiting')", created.ID, number)
		return created.ID
	}
	common := "SELECT r.id, t.number, 1, p.id, p.slots - 3, r.pipeline_id, r.revision_id FROM run AS r JOIN task AS t ON t.run_id = r.id, pool AS p WHERE p.name = 'wh' AND r.id = "
	held := row("a", "default", 2)
	exec(fmt.Sprintf(`INSERT INTO live (run_id, number, attempt, pool_id, slots, pipeline_id, revision_id, executor, lease_token, lane, ready_at, state, claimed_at, started_at)
		SELECT k.*, '0195b000-0000-7000-8000-00000000000a', gen_random_uuid(), 1, now(), 'running', now() - interval '41 min', now() FROM (%s %d) AS k`, common, held))
	exec(fmt.Sprintf(`INSERT INTO ready (run_id, number, attempt, pool_id, slots, pipeline_id, revision_id, lane, rank, ready_at)
		SELECT k.*, 1, 1, now() - interval '1 min' FROM (%s %d) AS k`, common, row("b", "finance", 0)))
	for i, w := range []struct{ name, namespace string }{{"a", "default"}, {"b", "finance"}, {"a", "default"}} {
		exec(fmt.Sprintf(`INSERT INTO waiter (run_id, number, attempt, pool_id, slots, pipeline_id, revision_id, lane, rank, since)
			SELECT k.*, 1, %d, now() - interval '%d min' FROM (%s %d) AS k`, 100-i, i+1, common, row(w.name, w.namespace, 1)))
	}
	exec("UPDATE open_run SET backfill_id = 7 WHERE run_id = (SELECT id FROM run WHERE pipeline = 'a' AND number = 2)")
	list, err := c.Pools(ctx, api.ListPoolsParams{})
	if err != nil || len(list.Items) != 3 || list.Items[1].Name != "wh" {
		t.Fatalf("pools: %+v, %v", list, err)
	}
	want := "{default wh Takes four. map[team:data] 4 1 2 2 3 repo}"
	if got := fmt.Sprint(list.Items[1]); got != want {
		t.Errorf("pool %s, want %s", got, want)
	}
	first, err := c.Pools(ctx, api.ListPoolsParams{Limit: 1})
	if err != nil || len(first.Items) != 1 || first.Next == "" {
		t.Fatalf("first page: %+v, %v", first, err)
	}
	second, err := c.Pools(ctx, api.ListPoolsParams{Limit: 2, Cursor: first.Next})
	if err != nil || len(second.Items) != 2 || second.Next != "" || second.Items[0].Name != "wh" || second.Items[1].Namespace != "finance" {
		t.Errorf("second page: %+v, %v", second, err)
	}
	if only, err := c.Pools(ctx, api.ListPoolsParams{Namespace: "finance"}); err != nil || len(only.Items) != 1 || only.Items[0].Name != "io" {
		t.Errorf("of one namespace: %+v, %v", only, err)
	}

	line := func(p api.PoolTask) string {
		index := ""
		if p.Index != nil {
			index = fmt.Sprintf("[%d]", *p.Index)
		}
		of := ""
		if p.Backfill {
			of = " backfill"
		}
		return fmt.Sprintf("%s/%s#%d/%s%s %s %d %s %s %d%s", p.Namespace, p.Pipeline, p.Run, p.Task, index, p.State, p.Slots, p.Executor, p.Host, p.Position, of)
	}
	lines := func(d api.PoolDetail) string {
		var out []string
		for _, p := range append(d.Holders, d.Waiters...) {
			out = append(out, line(p))
		}
		return strings.Join(out, "\n")
	}
	d, err := c.Pool(ctx, "default", "wh", 0)
	if err != nil || d.Pool.Used != 2 || d.Pool.Waiting != 3 {
		t.Fatalf("pool: %+v, %v", d, err)
	}
	const whole = `default/a#1/t[1] running 1 wh-1 db7 0
finance/b#1/t ready 1   0
default/a#3/t[0] waiting 1   1
finance/b#2/t[0] waiting 1   2
default/a#2/t[0] waiting 1   3 backfill`
	if got := lines(d); got != whole {
		t.Errorf("got\n%s\nwant\n%s", got, whole)
	}
	if d, err = c.Pool(ctx, "default", "wh", 1); err != nil || len(d.Holders) != 1 || len(d.Waiters) != 1 || d.Pool.Waiting != 3 {
		t.Errorf("with a limit: %+v, %v", d, err)
	}
	made, err := c.CreateToken(ctx, api.TokenRequest{Name: "eyes", Role: api.RoleViewer, Namespaces: []string{"default"}})
	if err != nil {
		t.Fatal(err)
	}
	eyes := s.as(made.Secret)
	const part = `default/a#1/t[1] running 1 wh-1 db7 0
/#0/ ready 1   0
default/a#3/t[0] waiting 1   1
/#0/ waiting 1   2
default/a#2/t[0] waiting 1   3 backfill`
	if d, err = eyes.Pool(ctx, "default", "wh", 0); err != nil || lines(d) != part {
		t.Errorf("of one who may not see finance: %v\n%s", err, lines(d))
	}
	if list, err = eyes.Pools(ctx, api.ListPoolsParams{}); err != nil || len(list.Items) != 2 {
		t.Errorf("pools of one who may not see finance: %+v, %v", list, err)
	}
	if _, err = eyes.Pool(ctx, "finance", "io", 0); !api.IsCode(err, api.NotFound) {
		t.Errorf("a pool that is not theirs to see: %v", err)
	}
	if _, err = c.Pool(ctx, "default", "whh", 0); !api.IsCode(err, api.NotFound) || api.As(err).Hint != `did you mean "wh"?` {
		t.Errorf("a pool that is not there: %v", api.As(err))
	}
	for _, path := range []string{"/api/v1/pools/default/wh?limit=0x", "/api/v1/pools/default/wh?limit=1001", "/api/v1/pools?cursor=x", "/api/v1/pools?limit=-1"} {
		if code, _, body := s.get(path); code != 422 && code != 400 {
			t.Errorf("GET %s: %d %s", path, code, body)
		}
	}
	// One that was removed is gone, whoever holds its slots.
	exec("UPDATE pool SET removed_at = now() WHERE name = 'wh'")
	if _, err = c.Pool(ctx, "default", "wh", 0); !api.IsCode(err, api.NotFound) {
		t.Errorf("a removed pool: %v", err)
	}
}
