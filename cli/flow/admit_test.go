package flow

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestAdmit(t *testing.T) {
	q := func(id int64, onConflict string, limit int) QueuedRun {
		return QueuedRun{ID: id, Limit: limit, OnConflict: onConflict}
	}
	r := func(ids ...int64) []RunningRun {
		var out []RunningRun
		for _, id := range ids {
			out = append(out, RunningRun{ID: id})
		}
		return out
	}
	ours := func(id int64) []RunningRun { return []RunningRun{{ID: id, Backfill: true}} }
	b := func(id int64, onConflict string, limit int) QueuedRun {
		return QueuedRun{ID: id, Limit: limit, OnConflict: onConflict, Backfill: true}
	}
	tick := func(id int64, onConflict string, limit int) QueuedRun {
		return QueuedRun{ID: id, Limit: limit, OnConflict: onConflict, FromTick: true}
	}
	late := func(id int64, onConflict string, limit int) QueuedRun {
		return QueuedRun{ID: id, Limit: limit, OnConflict: onConflict, FromTick: true, Held: true}
	}
	for name, c := range map[string]struct {
		running []RunningRun
		queued  []QueuedRun
		want    Admission
	}{
		"empty group":               {nil, []QueuedRun{q(1, "queue", 1)}, Admission{Start: []int64{1}}},
		"full":                      {r(1), []QueuedRun{q(2, "queue", 1)}, Admission{}},
		"in order":                  {r(1), []QueuedRun{q(2, "queue", 3), q(3, "queue", 3), q(4, "queue", 3)}, Admission{Start: []int64{2, 3}}},
		"nobody passes":             {r(1), []QueuedRun{q(2, "queue", 1), q(3, "queue", 9)}, Admission{}},
		"skip":                      {r(1), []QueuedRun{q(2, "skip", 1)}, Admission{Skip: []int64{2}}},
		"skip behind a queued one":  {r(1), []QueuedRun{q(2, "queue", 1), q(3, "skip", 9)}, Admission{Skip: []int64{3}}},
		"fail":                      {r(1), []QueuedRun{q(2, "fail", 1)}, Admission{Fail: []int64{2}}},
		"cancel the running":        {r(1), []QueuedRun{q(2, "cancel_running", 1)}, Admission{Cancel: []int64{1}}},
		"it has been asked already": {[]RunningRun{{ID: 1, CancelRequested: true}}, []QueuedRun{q(2, "cancel_running", 1)}, Admission{}},
		"the newcomer wins":         {r(1), []QueuedRun{q(2, "cancel_running", 1), q(3, "cancel_running", 1)}, Admission{Cancel: []int64{1, 2}}},
		"as many as needed":         {r(1, 2, 3), []QueuedRun{q(4, "cancel_running", 2)}, Admission{Cancel: []int64{1, 2}}},
		"one that never started":    {nil, []QueuedRun{q(1, "queue", 1), q(2, "cancel_running", 1)}, Admission{Start: []int64{2}, Cancel: []int64{1}}},
		"room for both":             {nil, []QueuedRun{q(1, "queue", 2), q(2, "cancel_running", 2)}, Admission{Start: []int64{1, 2}}},

		"skip waits for a backfill":        {ours(1), []QueuedRun{q(2, "skip", 1), q(3, "skip", 1)}, Admission{Skip: []int64{3}}},
		"so does fail":                     {ours(1), []QueuedRun{q(2, "fail", 1)}, Admission{}},
		"nobody cancels a backfill":        {ours(1), []QueuedRun{q(2, "cancel_running", 1)}, Admission{}},
		"though the next comes":            {ours(1), []QueuedRun{q(2, "cancel_running", 1), q(3, "cancel_running", 1)}, Admission{Cancel: []int64{2}}},
		"a backfill in the queue waits":    {r(1), []QueuedRun{b(2, "skip", 1), q(3, "queue", 1)}, Admission{}},
		"a backfill keeps its place":       {nil, []QueuedRun{b(1, "skip", 1), q(2, "cancel_running", 1)}, Admission{Start: []int64{1}}},
		"its conflict is with the running": {append(r(1), ours(2)...), []QueuedRun{q(3, "skip", 2)}, Admission{}},
		"the others fill the group":        {append(r(1, 2), ours(3)...), []QueuedRun{q(4, "skip", 2)}, Admission{Skip: []int64{4}}},

		"a late tick waits for its turn":  {nil, []QueuedRun{late(1, "queue", 1)}, Admission{}},
		"and so do ticks behind it":       {nil, []QueuedRun{late(1, "queue", 9), tick(2, "skip", 9), tick(3, "cancel_running", 9)}, Admission{}},
		"but nobody else":                 {nil, []QueuedRun{late(1, "queue", 1), q(2, "skip", 1), b(3, "queue", 1)}, Admission{Start: []int64{2}}},
		"nor ticks before it":             {nil, []QueuedRun{tick(1, "skip", 2), late(2, "queue", 2)}, Admission{Start: []int64{1}}},
		"a full group goes by its policy": {r(1), []QueuedRun{tick(2, "skip", 1), late(3, "queue", 1)}, Admission{Skip: []int64{2}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Admit(c.running, c.queued)
			for _, list := range []*[]int64{&got.Start, &got.Cancel, &got.Skip, &got.Fail} {
				if len(*list) == 0 {
					*list = nil
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A group is never above the limit of the run that starts, nobody is told two
// things, and a group that stands still has room for nobody at its head.
func TestGroupsKeepTheirLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var running []RunningRun
		var queued []QueuedRun
		ours := map[int64]bool{}
		id := int64(0)
		for step := range 60 {
			if rapid.Bool().Draw(t, "new") {
				id++
				queued = append(queued, QueuedRun{
					ID: id, Limit: rapid.IntRange(1, 3).Draw(t, "limit"), Backfill: rapid.Float64Range(0, 1).Draw(t, "backfill") > 0.7,
					OnConflict: rapid.SampledFrom([]string{"queue", "queue", "skip", "fail", "cancel_running"}).Draw(t, "on_conflict"),
				})
			}
			if len(running) > 0 && rapid.Bool().Draw(t, "end") {
				running = running[1:]
			}
			a := Admit(running, queued)
			told := map[int64]int{}
			for _, list := range [][]int64{a.Start, a.Cancel, a.Skip, a.Fail} {
				for _, r := range list {
					if told[r]++; told[r] > 1 {
						t.Fatalf("step %d: %d is told two things: %+v", step, r, a)
					}
				}
			}
			for _, q := range queued {
				if q.Backfill {
					ours[q.ID] = true
				}
			}
			for _, list := range [][]int64{a.Cancel, a.Skip, a.Fail} {
				for _, r := range list {
					if ours[r] {
						t.Fatalf("step %d: %d is of a backfill and does not wait: %+v", step, r, a)
					}
				}
			}
			var rest []QueuedRun
			starting := len(running)
			for _, q := range queued {
				switch {
				case told[q.ID] == 0:
					rest = append(rest, q)
				case contains(a.Start, q.ID):
					starting++
					if starting > q.Limit {
						t.Fatalf("%d starts as number %d, its limit is %d", q.ID, starting, q.Limit)
					}
				}
			}
			for i := range running {
				running[i].CancelRequested = running[i].CancelRequested || contains(a.Cancel, running[i].ID)
			}
			for _, s := range a.Start {
				running = append(running, RunningRun{ID: s, Backfill: ours[s]})
			}
			queued = rest
			// A backfill that waited behind what is canceled now has its turn when that has ended.
			if len(queued) > 0 && len(running) < queued[0].Limit && (len(a.Cancel) == 0 || !ours[queued[0].ID]) {
				t.Fatalf("%d could start and does not", queued[0].ID)
			}
		}
	})
}

func contains(list []int64, id int64) bool {
	for _, x := range list {
		if x == id {
			return true
		}
	}
	return false
}

func TestAdmitTick(t *testing.T) {
	queue := QueuedRun{Limit: 1, MaxQueued: 2, OnConflict: "queue", Counted: true}
	catchup := queue
	catchup.Counted = false
	for name, c := range map[string]struct {
		running, queued, counted int
		q                        QueuedRun
		want                     TickVerdict
	}{
		"room":                    {0, 0, 0, queue, TickVerdict{Run: true, Start: true}},
		"somebody waits already":  {0, 1, 1, queue, TickVerdict{Run: true}},
		"full":                    {1, 1, 1, queue, TickVerdict{Run: true}},
		"queue full":              {1, 2, 2, queue, TickVerdict{Reason: ReasonQueueFull}},
		"catch-up is not counted": {1, 3, 1, queue, TickVerdict{Run: true}},
		"catch-up is not refused": {1, 2, 2, catchup, TickVerdict{Run: true}},
		"skip":                    {1, 0, 0, QueuedRun{Limit: 1, OnConflict: "skip"}, TickVerdict{Reason: ReasonOverlap}},
		"fail makes a run":        {1, 0, 0, QueuedRun{Limit: 1, OnConflict: "fail"}, TickVerdict{Run: true}},
		"cancel makes a run":      {1, 0, 0, QueuedRun{Limit: 1, OnConflict: "cancel_running"}, TickVerdict{Run: true}},
	} {
		if got := AdmitTick(GroupLoad{Running: c.running, Queued: c.queued, Counted: c.counted}, c.q); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// A tick that only backfills and late ticks keep from starting is not skipped.
func TestAdmitTickBesideABackfill(t *testing.T) {
	skip := QueuedRun{Limit: 1, MaxQueued: 1, OnConflict: "skip", Counted: true}
	for name, c := range map[string]struct {
		g    GroupLoad
		want TickVerdict
	}{
		"a backfill runs":         {GroupLoad{Running: 1, RunningBackfills: 1}, TickVerdict{Run: true}},
		"one waits":               {GroupLoad{Queued: 1, QueuedBackfills: 1}, TickVerdict{Run: true}},
		"somebody else waits too": {GroupLoad{Running: 1, RunningBackfills: 1, Queued: 1, Counted: 1}, TickVerdict{Reason: ReasonOverlap}},
		"somebody else runs":      {GroupLoad{Running: 2, RunningBackfills: 1}, TickVerdict{Reason: ReasonOverlap}},
		"a late tick waits":       {GroupLoad{Queued: 1, Late: 1}, TickVerdict{Run: true}},
		"in a full group":         {GroupLoad{Running: 1, Queued: 1, Late: 1}, TickVerdict{Reason: ReasonOverlap}},
		"the queue is full":       {GroupLoad{Running: 1, RunningBackfills: 1, Counted: 1}, TickVerdict{Reason: ReasonQueueFull}},
	} {
		if got := AdmitTick(c.g, skip); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// A frozen pipeline's runs wait for its thaw; others of the group go past them.
func TestFrozenRunsHoldNobodyBack(t *testing.T) {
	t.Parallel()
	got := Admit(nil, []QueuedRun{
		{ID: 1, Limit: 1, OnConflict: OnConflictCancel, Frozen: true},
		{ID: 2, Limit: 1, OnConflict: OnConflictQueue},
		{ID: 3, Limit: 1, OnConflict: OnConflictSkip, Frozen: true},
	})
	if diff := cmp.Diff(Admission{Start: []int64{2}}, got); diff != "" {
		t.Errorf("Admit (-want +got):\n%s", diff)
	}
}
