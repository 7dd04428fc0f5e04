package api_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
)

// A week of ticks at 02:00 in Amsterdam, in which the clock goes back.
func backfillable(t *testing.T) *server {
	s := start(t)
	s.register("a", "a.yaml", "name: nightly\ntimezone: Europe/Amsterdam\nschedule: \"0 2 * * *\"\nparams: {n: {type: integer, default: 1}}\ntasks:\n  a: {run: x}\n")
	return s
}

var week = api.BackfillRequest{From: "2026-10-20", To: "2026-10-27"}

func TestBackfillIsPreviewedStartedAndSteered(t *testing.T) {
	t.Parallel()
	s := backfillable(t)
	ctx, c := t.Context(), s.admin()
	if n := time.Now().UTC(); n.Before(time.Date(2026, 10, 28, 0, 0, 0, 0, time.UTC)) {
		t.Skip("the week is yet to come")
	}
	p, err := c.PreviewBackfill(ctx, "default", "nightly", api.PreviewBackfillParams{From: week.From, To: week.To, Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	if p.First == nil || p.Last == nil || p.First.Local+" "+p.Last.Local != "2026-10-20T02:00 2026-10-27T02:00" {
		t.Errorf("first and last = %+v, %+v", p.First, p.Last)
	}
	if p.Ticks != 8 || p.Run != 8 || len(p.Items) != 3 || p.Next == "" || p.Timezone != "Europe/Amsterdam" {
		t.Errorf("preview = %+v", p)
	}
	if got := p.Items[0].Local + " " + p.Items[2].Local + " " + p.Items[2].Note; got != "2026-10-27T02:00 2026-10-25T02:00 first" {
		t.Errorf("ticks = %s", got)
	}
	rest, err := c.PreviewBackfill(ctx, "default", "nightly", api.PreviewBackfillParams{From: week.From, To: week.To, Cursor: p.Next})
	if err != nil || len(rest.Items) != 5 || rest.Next != "" || rest.Hash != p.Hash {
		t.Errorf("the rest = %+v, %v", rest, err)
	}

	req := week
	req.Hash, req.Max, req.PoolShare, req.Texts = p.Hash, 2, 30, map[string]string{"n": "7"}
	// The same key, twice at once, is one backfill.
	var got [2]api.Backfill
	var made [2]bool
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			var err error
			if got[i], made[i], err = c.StartBackfill(ctx, "default", "nightly", "k1", req); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got[0].ID != got[1].ID || made[0] == made[1] {
		t.Errorf("two requests with one key made %d and %d, created %v", got[0].ID, got[1].ID, made)
	}
	b := got[0]
	if b.Ticks != 8 || b.Waiting != 8 || b.State != "running" || b.Order != "newest" || string(b.Params["n"]) != "7" {
		t.Errorf("backfill = %+v", b)
	}
	// Who asks again has looked again, and seen other ticks.
	again := req
	again.Hash = "of another look"
	if same, made, err := c.StartBackfill(ctx, "default", "nightly", "k1", again); err != nil || same.ID != b.ID || made {
		t.Errorf("the key after another look = %d, created %v, %v; want %d", same.ID, made, err, b.ID)
	}
	other := req
	other.Max = 3
	if _, _, err := c.StartBackfill(ctx, "default", "nightly", "k1", other); codeOf(err) != api.Conflict {
		t.Errorf("the key with other content: %v", err)
	}
	if _, _, err := c.StartBackfill(ctx, "default", "nightly", "k2", req); codeOf(err) != api.Conflict || !strings.Contains(err.Error(), "another backfill") {
		t.Errorf("a second one over the same ticks: %v", err)
	}

	if b, err = c.ChangeBackfill(ctx, b.ID, api.BackfillQuota{Max: 5}); err != nil || b.Max != 5 || b.PoolShare != 30 {
		t.Errorf("changed = %+v, %v", b, err)
	}
	for _, q := range []api.BackfillQuota{{Max: 1001}, {Max: -1}, {PoolShare: 101}} {
		if _, err := c.ChangeBackfill(ctx, b.ID, q); codeOf(err) != api.Unprocessable && codeOf(err) != api.Malformed {
			t.Errorf("changed to %+v: %v", q, err)
		}
	}
	if want := fmt.Sprintf("/backfills/%d", b.ID); b.URL != want {
		t.Errorf("URL = %s, want its page %s", b.URL, want)
	}
	if b, err = c.PauseBackfill(ctx, b.ID, api.BackfillChange{Reason: "later"}); err != nil || b.State != "paused" || b.Reason != "later" {
		t.Errorf("paused = %+v, %v", b, err)
	}
	if b, err = c.ResumeBackfill(ctx, b.ID); err != nil || b.State != "running" {
		t.Errorf("resumed = %+v, %v", b, err)
	}
	page, err := c.Backfills(ctx, api.ListBackfillsParams{Pipeline: "default/nightly"})
	if err != nil || len(page.Items) != 1 || page.Items[0].ID != b.ID {
		t.Errorf("list = %+v, %v", page, err)
	}
	one, err := c.Backfill(ctx, b.ID, api.GetBackfillParams{Limit: 5})
	if err != nil || len(one.Items) != 5 || one.Next == "" || one.Items[0].State != "waiting" {
		t.Errorf("one = %+v, %v", one, err)
	}
	for state, want := range map[api.GetBackfillParamsTick]int{api.GetBackfillParamsTickWaiting: 8, api.GetBackfillParamsTickFailed: 0} {
		if one, err := c.Backfill(ctx, b.ID, api.GetBackfillParams{Tick: state}); err != nil || len(one.Items) != want {
			t.Errorf("%d ticks are %s, want %d: %v", len(one.Items), state, want, err)
		}
	}
	if b, err = c.CancelBackfill(ctx, b.ID, api.BackfillChange{Runs: true}); err != nil || b.State != "canceled" {
		t.Errorf("canceled = %+v, %v", b, err)
	}
	if _, err := c.ChangeBackfill(ctx, b.ID, api.BackfillQuota{Max: 1}); codeOf(err) != api.Conflict {
		t.Errorf("a canceled one is changed: %v", err)
	}
	if _, err := c.PauseBackfill(ctx, b.ID, api.BackfillChange{}); codeOf(err) != api.Conflict {
		t.Errorf("a canceled one is paused: %v", err)
	}
	// The ticks are free again.
	if _, _, err := c.StartBackfill(ctx, "default", "nightly", "k3", req); err != nil {
		t.Error(err)
	}
}

func TestBackfillIsRefusedWhenTheLedgerMoved(t *testing.T) {
	t.Parallel()
	s := backfillable(t)
	ctx, c := t.Context(), s.admin()
	p, err := c.PreviewBackfill(ctx, "default", "nightly", api.PreviewBackfillParams{From: week.From, To: week.To})
	if err != nil {
		t.Fatal(err)
	}
	pool := s.pool()
	if _, err := pool.PGX().Exec(ctx, `
WITH r AS (
	INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, schedule_id, fire_at, scheduled_at, interval_start, interval_end, group_id, state, started_at, ended_at)
	SELECT next_run_id(), p.id, p.revision_id, 1, p.namespace, p.name, 'schedule', s.id, $1, $1, $1, $1, g.id, 'failed', now(), now()
	FROM pipeline p JOIN schedule s ON s.pipeline_id = p.id JOIN run_group g ON g.pipeline_id = p.id RETURNING id, schedule_id, fire_at
) INSERT INTO tick (schedule_id, fire_at, state, run_id) SELECT schedule_id, fire_at, 'run', id FROM r`, p.Items[0].At); err != nil {
		t.Fatal(err)
	}
	req := week
	req.Hash = p.Hash
	if _, _, err := c.StartBackfill(ctx, "default", "nightly", "", req); codeOf(err) != api.Conflict {
		t.Errorf("started on an old preview: %v", err)
	}
	for where, want := range map[api.PreviewBackfillParamsWhere]int{"missing": 7, "failed": 8, "all": 8} {
		p, err := c.PreviewBackfill(ctx, "default", "nightly", api.PreviewBackfillParams{From: week.From, To: week.To, Where: where})
		if err != nil || p.Run != want {
			t.Errorf("%s takes %d, want %d: %v", where, p.Run, want, err)
		}
	}
}

func TestBackfillsThatCannotBe(t *testing.T) {
	t.Parallel()
	s := backfillable(t)
	s.register("b", "b.yaml", hello("plain")+"---\nname: two\nschedule: [{id: a, cron: \"* * * * *\"}, {id: b, cron: \"0 * * * *\"}]\ntasks:\n  a: {run: x}\n")
	ctx, c := t.Context(), s.admin()
	for _, tt := range []struct{ name, from, to, schedule, want string }{
		{"plain", "2026-10-20", "2026-10-20", "", "has no schedule"},
		{"two", "2026-10-20", "2026-10-20", "", "which one?"},
		{"two", "2025-10-20", "2026-10-20", "a", "100000 at most"},
		{"two", "2026-10-20", "2026-10-20", "c", `has no schedule "c"`},
		{"nightly", "2026-10-27", "2026-10-20", "", "is after to"},
		{"nightly", "2526-10-27", "2526-10-29", "", "is yet to come"},
		{"nightly", "2026-10-20T03:00", "2026-10-20T04:00", "", "has no tick"},
		{"nightly", "yesterday", "2026-10-20", "", "from: "},
	} {
		_, err := c.PreviewBackfill(ctx, "default", tt.name, api.PreviewBackfillParams{From: tt.from, To: tt.to, Schedule: tt.schedule})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s to %s: %v, want %q", tt.name, tt.from, tt.to, err, tt.want)
		}
	}
	req := week
	req.Texts = map[string]string{"n": "many"}
	if _, _, err := c.StartBackfill(ctx, "default", "nightly", "", req); codeOf(err) != api.Unprocessable {
		t.Errorf("params that do not fit: %v", err)
	}
	if _, err := c.Backfill(ctx, 99, api.GetBackfillParams{}); codeOf(err) != api.NotFound {
		t.Errorf("one that is not there: %v", err)
	}
}

// A task that a pool never gives what it asks for, as long as it runs in a backfill.
func TestBackfillIsRefusedWherePoolsNeverSuffice(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx, c := t.Context(), s.admin()
	pool := func(reserve int) string {
		return fmt.Sprintf("kind: pool\nname: warehouse\nslots: 4\nreserve: {scheduled: %d}\n---\n", reserve)
	}
	const often = "name: often\nschedule: \"0 2 * * *\"\ntasks:\n  extract: {run: x, pool: warehouse}\nfinally:\n  load: {run: x, pool: {name: warehouse, slots: 3}}\n"
	s.register("a", "a.yaml", pool(2)+often)
	const why = "task load of default/often needs 3 slots of pool default/warehouse, which has 4 and keeps 2 of them for scheduled runs: in a backfill it would wait for ever"
	if _, err := c.PreviewBackfill(ctx, "default", "often", api.PreviewBackfillParams{From: week.From, To: week.To}); codeOf(err) != api.Unprocessable || !strings.Contains(err.Error(), why) {
		t.Errorf("previewed: %v, want %q", err, why)
	}
	if _, _, err := c.StartBackfill(ctx, "default", "often", "", week); codeOf(err) != api.Unprocessable || !strings.Contains(err.Error(), why) {
		t.Errorf("started: %v, want %q", err, why)
	}
	s.register("a", "a.yaml", pool(1)+often)
	if _, _, err := c.StartBackfill(ctx, "default", "often", "", week); err != nil {
		t.Errorf("with one slot less kept: %v", err)
	}
}

func codeOf(err error) api.Code {
	if err == nil {
		return ""
	}
	return api.As(err).Code
}

// Resuming decides what came due in the pause and nobody has looked at: nothing
// of it runs, unless it is asked for. Then a backfill makes the runs.
func TestResumeCatchesUpWithAPauseOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		catchup api.ResumeRequestCatchup
		want    int
	}{{"", 0}, {"none", 0}, {"latest", 1}, {"all", 10}} {
		t.Run(string(tt.catchup), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.register("a", "a.yaml", "name: often\nschedule: {every: 1m, catchup_window: 10m}\ntasks:\n  a: {run: x}\n")
			ctx, c, pool := t.Context(), s.admin(), s.pool()
			if _, err := c.Pause(ctx, "default", "often", api.PauseRequest{Reason: "x"}); err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{
				`UPDATE pipeline SET paused_at = now() - interval '2 hours'`,
				`UPDATE schedule SET next_at = date_trunc('minute', now()) - interval '30 minutes'`,
				// What a scheduler decided before it went away.
				`INSERT INTO tick (schedule_id, fire_at, state, reason, until, ticks) SELECT id, next_at - interval '60 minutes', 'skipped', 'paused', next_at - interval '1 minute', 60 FROM schedule`,
			} {
				if _, err := pool.PGX().Exec(ctx, sql); err != nil {
					t.Fatal(err)
				}
			}
			p, err := c.Resume(ctx, "default", "often", api.ResumeRequest{Catchup: tt.catchup})
			if err != nil || p.Paused != nil {
				t.Fatalf("resumed = %+v, %v", p, err)
			}
			var undecided, skipped, ticks int
			if err := pool.PGX().QueryRow(ctx, `SELECT (SELECT count(*) FROM schedule WHERE next_at <= now() - interval '1 minute'), (SELECT sum(ticks) FROM tick WHERE state = 'skipped' AND reason = 'paused'),
				(SELECT coalesce(sum(ticks), 0) FROM backfill)`).Scan(&undecided, &skipped, &ticks); err != nil {
				t.Fatal(err)
			}
			if undecided != 0 || skipped < 91 || skipped > 92 {
				t.Errorf("%d schedules are not decided, %d ticks are put down as skipped, want 0 and 91", undecided, skipped)
			}
			if ticks < tt.want || tt.want == 0 && ticks > 0 || ticks > tt.want+1 {
				t.Errorf("%d ticks are caught up with, want %d", ticks, tt.want)
			}
			// Once.
			if _, err := c.Resume(ctx, "default", "often", api.ResumeRequest{Catchup: tt.catchup}); err != nil {
				t.Error(err)
			}
		})
	}
}
