package flow

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestReleaseFromPool(t *testing.T) {
	w := func(backfill int64, slots ...int) PoolWaiter {
		n := 1
		if len(slots) > 0 {
			n = slots[0]
		}
		return PoolWaiter{Slots: n, Backfill: backfill}
	}
	old := func(w PoolWaiter) PoolWaiter { w.Waited = BackfillPatience; return w }
	of := func(used, share int) map[int64]BackfillUse {
		return map[int64]BackfillUse{7: {Used: used, Share: share}}
	}
	const hour = time.Hour
	for name, c := range map[string]struct {
		pool    Pool
		waiters []PoolWaiter
		want    []string
		floor   bool
	}{
		"as far as slots are free":           {Pool{Slots: 3, Used: 1}, []PoolWaiter{w(0), w(0), w(0)}, []string{"", "", "full"}, false},
		"a large one is not overtaken":       {Pool{Slots: 3, Used: 1}, []PoolWaiter{w(0, 3), w(0)}, []string{"full", "behind"}, false},
		"nor by a backfill":                  {Pool{Slots: 3, Used: 1}, []PoolWaiter{w(0, 3), w(7)}, []string{"full", "behind"}, false},
		"more than there is, alone":          {Pool{Slots: 2}, []PoolWaiter{w(0, 3), w(0)}, []string{"", "full"}, false},
		"others first":                       {Pool{Slots: 1}, []PoolWaiter{w(7), w(7), w(0)}, []string{"full", "behind", ""}, false},
		"a backfill takes what is left":      {Pool{Slots: 3}, []PoolWaiter{w(7), w(7), w(0), w(7)}, []string{"", "", "", "full"}, false},
		"not the reserve":                    {Pool{Slots: 4, Reserve: 2}, []PoolWaiter{w(7), w(7), w(7)}, []string{"", "", "reserve"}, false},
		"the reserve counts what they hold":  {Pool{Slots: 4, Reserve: 2, Used: 2, BackfillsUsed: 2}, []PoolWaiter{w(7), w(0)}, []string{"reserve", ""}, false},
		"others fill what they leave":        {Pool{Slots: 4, Reserve: 2, Used: 2}, []PoolWaiter{w(7), w(7)}, []string{"", ""}, false},
		"its share":                          {Pool{Slots: 10, Backfills: of(0, 30)}, []PoolWaiter{w(7), w(7), w(7), w(7)}, []string{"", "", "", "share"}, false},
		"its share is held":                  {Pool{Slots: 10, Used: 3, BackfillsUsed: 3, Backfills: of(3, 30)}, []PoolWaiter{w(7), w(7)}, []string{"share", "behind"}, false},
		"one slot at least":                  {Pool{Slots: 2, Backfills: of(0, 10)}, []PoolWaiter{w(7), w(7)}, []string{"", "share"}, false},
		"one task at least":                  {Pool{Slots: 10, Backfills: of(0, 10)}, []PoolWaiter{w(7, 4), w(7)}, []string{"", "share"}, false},
		"one at its share lets others by":    {Pool{Slots: 10, Used: 1, BackfillsUsed: 1, Backfills: of(1, 10)}, []PoolWaiter{w(7), w(8), w(7)}, []string{"share", "", "behind"}, false},
		"what never fits holds nobody up":    {Pool{Slots: 4, Reserve: 2}, []PoolWaiter{w(7, 3), w(8), w(7)}, []string{"reserve", "", "behind"}, false},
		"patience at a full pool":            {Pool{Slots: 2, Used: 1, SinceFloor: hour}, []PoolWaiter{w(0), old(w(7)), w(0)}, []string{"full", "", "behind"}, true},
		"patience of the first that has it":  {Pool{Slots: 2, Used: 1, SinceFloor: hour}, []PoolWaiter{w(7), old(w(8)), w(0)}, []string{"behind", "", "full"}, true},
		"none while it holds something":      {Pool{Slots: 2, Used: 1, BackfillsUsed: 1, SinceFloor: hour}, []PoolWaiter{w(0), old(w(7))}, []string{"", "full"}, false},
		"none so soon after another":         {Pool{Slots: 1, SinceFloor: time.Minute}, []PoolWaiter{w(0), old(w(7))}, []string{"", "full"}, false},
		"none is needed where nobody waits":  {Pool{Slots: 1, SinceFloor: hour}, []PoolWaiter{old(w(7))}, []string{""}, false},
		"a large one gets what becomes free": {Pool{Slots: 4, Used: 3, SinceFloor: hour}, []PoolWaiter{w(0), old(w(7, 2))}, []string{"behind", "full"}, false},
		"not past the reserve":               {Pool{Slots: 4, Reserve: 3, SinceFloor: hour}, []PoolWaiter{w(0), old(w(7, 2))}, []string{"", "reserve"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := ReleaseFromPool(c.pool, c.waiters)
			if diff := cmp.Diff(PoolDecision{Stay: c.want, Floor: c.floor}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever waits: a pool never gives more than it has, backfills never take the
// reserve or more than their share, tasks of no backfill keep their order, and a
// pool with room for the first of somebody stands still for nobody.
func TestPoolsKeepTheirLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Pool{Slots: rapid.IntRange(1, 12).Draw(t, "slots"), SinceFloor: BackfillPatience, Backfills: map[int64]BackfillUse{}}
		p.Reserve = rapid.IntRange(0, p.Slots-1).Draw(t, "reserve")
		for id := range int64(3) {
			use := BackfillUse{Used: rapid.IntRange(0, 2).Draw(t, "used"), Share: rapid.IntRange(1, 100).Draw(t, "share")}
			p.Backfills[id+1] = use
			p.BackfillsUsed += use.Used
		}
		p.Used = p.BackfillsUsed + rapid.IntRange(0, 6).Draw(t, "others")
		var waiters []PoolWaiter
		for range rapid.IntRange(0, 12).Draw(t, "waiters") {
			waiters = append(waiters, PoolWaiter{
				Slots:    rapid.IntRange(1, 4).Draw(t, "asks"),
				Backfill: rapid.Int64Range(0, 3).Draw(t, "backfill"),
				Waited:   time.Duration(rapid.IntRange(0, 2).Draw(t, "waited")) * BackfillPatience / 2,
			})
		}
		d := ReleaseFromPool(p, waiters)

		given, ours, stayed := 0, 0, false
		each := map[int64]int{}
		for i, w := range waiters {
			if w.Backfill == 0 {
				if d.Stay[i] == "" && stayed {
					t.Fatalf("waiter %d passed another", i)
				}
				stayed = stayed || d.Stay[i] != ""
			}
			if d.Stay[i] != "" {
				continue
			}
			given += w.Slots
			if w.Backfill != 0 {
				ours += w.Slots
				each[w.Backfill] += w.Slots
			}
		}
		alone := p.Used == 0 && len(waiters) > 0 && given > p.Slots // one that asks for more than there is
		if given > 0 && p.Used+given > p.Slots && !alone {
			t.Fatalf("%d slots are given of %d, %d were held", given, p.Slots, p.Used)
		}
		if ours > 0 && p.BackfillsUsed+ours > p.Slots-p.Reserve {
			t.Fatalf("backfills hold %d of %d slots, %d are reserved", p.BackfillsUsed+ours, p.Slots, p.Reserve)
		}
		for id, n := range each {
			first := 0
			for i, w := range waiters {
				if w.Backfill == id && d.Stay[i] == "" {
					first = w.Slots
					break
				}
			}
			if held := p.Backfills[id].Used; held+n > p.share(id) && (held > 0 || n > first) {
				t.Fatalf("backfill %d holds %d slots, its share is %d", id, held+n, p.share(id))
			}
		}
		for i, w := range waiters {
			if w.Backfill != 0 {
				continue
			}
			if p.Used+w.Slots <= p.Slots && given == 0 && p.floor(waiters) < 0 {
				t.Fatalf("waiter %d has room and nobody is released: %v", i, d.Stay)
			}
			break
		}
	})
}
