package schedule

import (
	"fmt"
	"time"
)

// Warnings tells what is legal and probably not meant, and what the clock
// changes of the year to come do to fixed times.
func (s *Schedule) Warnings(now time.Time) []Warning {
	warnings := append([]Warning(nil), s.odd...)
	from := clamp(now).Unix()
	until := min(from+366*day, maxInstant)
	switch {
	case s.cron != nil && !s.cron.follows:
		return append(warnings, s.clockChanges(from, until)...)
	case s.spec.Every != 0:
		return append(warnings, s.elapsed(now, from, until)...)
	}
	past := 0
	for _, t := range s.spec.At {
		if !t.After(now) {
			past++
			if past == 1 {
				warnings = append(warnings, Warning{
					Code: "SYN1205", Field: "at", Hint: "remove it",
					Message: fmt.Sprintf("%s is past; it never fires", t.UTC().Format(time.RFC3339)),
				})
			}
		}
	}
	if past > 1 {
		warnings[len(warnings)-1].Message = fmt.Sprintf("%d of %d instants are past; they never fire", past, len(s.spec.At))
		warnings[len(warnings)-1].Hint = "remove them"
	}
	return warnings
}

// clockChanges warns of the first gap and the first overlap that touch a
// fixed time.
func (s *Schedule) clockChanges(from, until int64) []Warning {
	var warnings []Warning
	var gap, overlap bool
	loc := s.clock.loc
	for st := s.clock.stretch(from); st.end < until && !(gap && overlap); {
		st = s.clock.stretch(st.end)
		shift := st.off - st.before
		lo, hi := min(st.wall(st.start)-shift, st.wall(st.start)), max(st.wall(st.start)-shift, st.wall(st.start))
		wall, ok := s.cron.cal.next(lo, hi)
		if !ok || shift > 0 && gap || shift < 0 && overlap {
			continue
		}
		date, clock := wallText(wall)[:10], wallText(wall)[11:]
		w := Warning{Code: "SYN1210", Field: "cron", Len: len([]rune(s.spec.Cron))}
		if shift > 0 {
			gap = true
			then := fmt.Sprintf("it fires at %s (dst.gap: next)", landing(Tick{Local: wallText(wall)}, time.Unix(st.start, 0).In(loc)))
			if s.cron.skip {
				then = "it does not fire (dst.gap: skip)"
			} else if shift >= correction {
				then = "it does not fire: the calendar is corrected"
			}
			w.Message = fmt.Sprintf("%s does not exist on %s in %s; %s", clock, date, loc, then)
		} else {
			overlap = true
			times := map[Overlap]string{OverlapFirst: "the first time", OverlapSecond: "the second time", OverlapBoth: "both times"}
			w.Message = fmt.Sprintf("%s comes twice on %s in %s; it fires %s (dst.overlap: %s)", clock, date, loc, times[s.cron.overlap], s.cron.overlap)
		}
		warnings = append(warnings, w)
	}
	return warnings
}

// elapsed warns of days and weeks that a clock change moves on the wall.
func (s *Schedule) elapsed(now time.Time, from, until int64) []Warning {
	if s.spec.Every%(24*time.Hour) != 0 || !s.clock.changes(from, until) {
		return nil
	}
	tick, ok := s.ticks.next(now)
	if !ok {
		return nil
	}
	before := s.clock.stretch(tick.Unix())
	here := tick.In(s.clock.loc)
	there := tick.Add(time.Duration(before.after-before.off) * time.Second).In(time.FixedZone("", int(before.off)))
	change := "from " + time.Unix(before.end, 0).In(s.clock.loc).Format("2006-01-02") + " on"
	if before.end == forever {
		return nil
	}
	standard, winter := here, !here.IsDST()
	if next := time.Unix(before.end, 0).In(s.clock.loc); winter != !next.IsDST() {
		change = "in summer"
		if !winter {
			standard, there = there, here
		}
	}
	hint := "a cron, for wall-clock times"
	switch s.spec.Every {
	case 24 * time.Hour:
		hint = fmt.Sprintf("cron: \"%d %d * * *\"", standard.Minute(), standard.Hour())
	case week:
		hint = fmt.Sprintf("cron: \"%d %d * * %d\"", standard.Minute(), standard.Hour(), standard.Weekday())
	}
	return []Warning{{
		Code: "SYN1210", Field: "every", Hint: hint,
		Message: fmt.Sprintf("every: %s counts elapsed time; %s becomes %s %s", FormatDuration(s.spec.Every),
			standard.Format("15:04"), there.Format("15:04"), change),
	}}
}
