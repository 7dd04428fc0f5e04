package worker

import (
	"math"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// laneMarks keep, for each lane that is served, the lowest rank that may still
// be owed to this executor. Claims start there: what kills a queue is not its
// size but the dead entries at the front of its index. What is put below the
// mark, or what another executor gave up, waits for the next claim from the
// start, so those come often, but take no more than a twentieth of the time.
type laneMarks struct {
	ids  []int32
	lows map[int32]int64
	last time.Time     // of the last claim from the start
	took time.Duration // by it
}

const (
	everything = math.MinInt64
	rescanGap  = 100 * time.Millisecond
)

func newLaneMarks() *laneMarks { return &laneMarks{lows: map[int32]int64{}} }

// serve sets the lanes. It says whether there are new ones.
func (m *laneMarks) serve(ids []int32) (more bool) {
	for _, id := range ids {
		if _, ok := m.lows[id]; !ok {
			m.lows[id], more = everything, true
		}
	}
	m.ids = ids
	return more
}

// gap is the least time between two claims from the start.
func (m *laneMarks) gap() time.Duration { return max(rescanGap, 20*m.took) }

// due is when the next claim may be one from the start.
func (m *laneMarks) due() time.Time { return m.last.Add(m.gap()) }

// starts says where a claim begins in each lane.
func (m *laneMarks) starts(rescan bool) []int64 {
	lows := make([]int64, len(m.ids))
	for i, id := range m.ids {
		lows[i] = m.lows[id]
		if rescan {
			lows[i] = everything
		}
	}
	return lows
}

// claimed moves the marks after a claim that gave rows, in order of rank. full
// says that it gave as many as were asked for.
func (m *laneMarks) claimed(rows []db.ClaimReadyRow, full, rescan bool) {
	if len(rows) == 0 {
		return
	}
	top := rows[len(rows)-1].Rank
	seen := make(map[int32]int64, len(m.ids))
	for _, row := range rows {
		seen[row.Lane] = row.Rank
	}
	for _, id := range m.ids {
		last, ok := seen[id]
		switch {
		case rescan && full && ok:
			m.lows[id] = last // there may be more between it and the mark
		case rescan && full:
			m.lows[id] = min(m.lows[id], top)
		case ok:
			m.lows[id] = max(m.lows[id], last)
		}
	}
}
