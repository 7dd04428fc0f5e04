package poll

import (
	"context"
	"slices"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// A turn is what one round trip to the database does.
type turn struct {
	began   time.Time
	notes   []result // answers that did not end their waits
	ends    []result
	back    []result // taken, and not asked after all
	silent  int      // answers that say nothing new
	wrong   int
	publish *db.PublishTargetsParams
	take    db.TakeHTTPWaitsParams
	ask     []string // targets of which the next time is wanted

	wait  time.Duration // for what the database need not be asked
	taken []db.TakeHTTPWaitsRow
	ended []db.EndHTTPWaitsRow
	next  int64
}

// collect takes what the next round trip is about.
func (p *Poller) collect() *turn {
	now := time.Now()
	t := &turn{began: now, wait: idle, next: -1}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.results), maxNotes)
	for _, r := range p.results[:n] {
		if r.err != "" {
			t.wrong++
		}
		switch {
		case r.back:
			t.back = append(t.back, r)
		case r.state != "":
			t.ends = append(t.ends, r)
		case r.news():
			t.notes = append(t.notes, r)
		default:
			t.silent++
		}
	}
	p.results = p.results[n:]
	for _, list := range [][]result{t.notes, t.ends, t.back} {
		slices.SortFunc(list, byKey) // rows are locked in the order of their keys
	}
	if now.Sub(p.published) >= publishEvery {
		t.publish = &db.PublishTargetsParams{}
		for _, s := range p.order {
			t.publish.Names = append(t.publish.Names, s.Name)
			t.publish.Kinds = append(t.publish.Kinds, s.Kind)
			t.publish.Allows = append(t.publish.Allows, s.allows)
		}
	}
	room := maxFlightAll - p.flight
	for _, s := range p.order {
		s.fill(now)
		want := min(maxFlight-s.flight, room, int(s.tokens))
		switch {
		case s.tokens < 1:
			t.wait = min(t.wait, time.Duration((1-s.tokens)/s.PollRate*float64(time.Second)))
		case want > 0:
			t.take.Targets = append(t.take.Targets, s.Name)
			t.take.Counts = append(t.take.Counts, int32(want))
			t.take.LeasesMs = append(t.take.LeasesMs, (s.Timeout + margin).Milliseconds())
			t.ask = append(t.ask, s.Name)
			room -= want
		}
		// Else a request that ends makes room, and kicks.
	}
	return t
}

// fill adds what time gives.
func (s *served) fill(now time.Time) {
	s.tokens = min(s.tokens+now.Sub(s.filled).Seconds()*s.PollRate, max(1, s.PollRate))
	s.filled = now
}

func byKey(a, b result) int {
	if a.row.RunID != b.row.RunID {
		if a.row.RunID < b.row.RunID {
			return -1
		}
		return 1
	}
	return int(a.row.Number) - int(b.row.Number)
}

// asks are the queries of a turn.
func (t *turn) asks(ctx context.Context) []func(*db.Queries) error {
	var asks []func(*db.Queries) error
	if all := slices.Concat(t.notes, t.ends, t.back); len(all) > 0 {
		slices.SortFunc(all, byKey)
		var runs []int64
		var numbers []int32
		for _, r := range all {
			runs, numbers = append(runs, r.row.RunID), append(numbers, r.row.Number)
		}
		asks = append(asks, func(q *db.Queries) error { return q.LockHTTPWaits(ctx, runs, numbers) })
	}
	if len(t.notes) > 0 {
		var n db.NoteHTTPWaitsParams
		for _, r := range t.notes {
			n.RunIds = append(n.RunIds, r.row.RunID)
			n.Numbers = append(n.Numbers, r.row.Number)
			n.Tries = append(n.Tries, r.row.Tries)
			n.PausesMs = append(n.PausesMs, r.pause.Milliseconds())
			n.Addresses = append(n.Addresses, r.address)
			n.Statuses = append(n.Statuses, int32(r.status))
			n.Errors = append(n.Errors, r.err)
		}
		asks = append(asks, func(q *db.Queries) error { _, err := q.NoteHTTPWaits(ctx, n); return err })
	}
	if len(t.ends) > 0 {
		var e db.EndHTTPWaitsParams
		for _, r := range t.ends {
			e.RunIds = append(e.RunIds, r.row.RunID)
			e.Numbers = append(e.Numbers, r.row.Number)
			e.States = append(e.States, r.state)
			e.Reasons = append(e.Reasons, r.reason)
			e.Details = append(e.Details, r.detail)
			e.Outputs = append(e.Outputs, r.outputs)
			e.Addresses = append(e.Addresses, r.address)
			e.Statuses = append(e.Statuses, int32(r.status))
		}
		asks = append(asks, func(q *db.Queries) (err error) { t.ended, err = q.EndHTTPWaits(ctx, e); return err })
	}
	if len(t.back) > 0 {
		var g db.GiveBackHTTPWaitsParams
		for _, r := range t.back {
			g.RunIds = append(g.RunIds, r.row.RunID)
			g.Numbers = append(g.Numbers, r.row.Number)
			g.Tries = append(g.Tries, r.row.Tries)
		}
		asks = append(asks, func(q *db.Queries) error { return q.GiveBackHTTPWaits(ctx, g) })
	}
	if t.publish != nil {
		asks = append(asks, func(q *db.Queries) error { return q.PublishTargets(ctx, *t.publish) })
	}
	if len(t.take.Targets) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) { t.taken, err = q.TakeHTTPWaits(ctx, t.take); return err })
	}
	if len(t.ask) > 0 {
		asks = append(asks, func(q *db.Queries) (err error) { t.next, err = q.NextHTTPWait(ctx, t.ask); return err })
	}
	return asks
}

// putBack keeps what a turn could not write, if trying again may help. What a
// lost answer has taken is due again when its lease is over.
func (p *Poller) putBack(t *turn, err error) {
	all := slices.Concat(t.ends, t.notes, t.back)
	if len(all) > 0 && !db.IsUnavailable(err) && !db.IsBusy(err) {
		p.cfg.Log.Error("answers that could not be written are asked for again", "answers", len(all), "err", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results = slices.Concat(all, p.results)
}

// tell says what a turn did.
func (p *Poller) tell(t *turn) {
	o := Outcome{Asked: len(t.notes) + t.silent, Wrong: t.wrong, Late: len(t.ends) - len(t.ended)}
	failed := map[key]bool{}
	for _, r := range t.ends {
		failed[key{r.row.RunID, r.row.Number}] = r.state == "failed"
	}
	for _, e := range t.ended {
		if failed[key{e.RunID, e.Number}] {
			o.Failed++
		} else {
			o.Ended++
		}
	}
	p.mu.Lock()
	o.InFlight = p.flight
	p.mu.Unlock()
	if len(t.ended) > 0 {
		p.cfg.Notify(db.ChannelWake)
	}
	p.cfg.Told(o)
}
