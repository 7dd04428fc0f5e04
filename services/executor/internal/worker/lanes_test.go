package worker

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/db"
)

func TestLaneMarks(t *testing.T) {
	t.Parallel()
	rows := func(pairs ...int64) []db.ClaimReadyRow {
		var list []db.ClaimReadyRow
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, db.ClaimReadyRow{Lane: int32(pairs[i]), Rank: pairs[i+1]})
		}
		return list
	}
	for _, c := range []struct {
		name         string
		one, two     int64 // marks before
		rows         []db.ClaimReadyRow
		full, rescan bool
		want         []int64 // marks after
	}{
		{"nothing found", 5, 7, nil, false, true, []int64{5, 7}},
		{"all of what there was", 5, 7, rows(1, 6, 1, 9), false, false, []int64{9, 7}},
		{"both lanes", 5, 7, rows(1, 6, 2, 8), true, false, []int64{6, 8}},
		{"a scan from the start finds a little below the mark", 50, 70, rows(1, 6), false, true, []int64{50, 70}},
		{"… and more than was asked for", 50, 70, rows(1, 6, 1, 9), true, true, []int64{9, 9}},
		{"… in the other lane", 50, 70, rows(2, 60), true, true, []int64{50, 60}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newLaneMarks()
			if !m.serve([]int32{1, 2}) || m.serve([]int32{1, 2}) {
				t.Error("serve does not tell what is new")
			}
			if got := m.starts(false); got[0] != everything || got[1] != everything {
				t.Errorf("starts = %v, want everything", got)
			}
			m.lows[1], m.lows[2] = c.one, c.two
			m.claimed(c.rows, c.full, c.rescan)
			if diff := cmp.Diff(c.want, m.starts(false)); diff != "" {
				t.Errorf("marks (-want +got):\n%s", diff)
			}
			if got := m.starts(true); got[0] != everything {
				t.Errorf("starts of a rescan = %v, want everything", got)
			}
		})
	}
}
