package pipeline

import (
	"errors"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/synthesizer-dev/synthesizer/cli/schedule"
)

// A scheduleDraft is a schedule while it is read: its instants can be read only
// when its time zone is known.
type scheduleDraft struct {
	Schedule
	value
	own    entries
	params value
}

func scheduleFields(ts *tables) object[scheduleDraft] {
	raw := func(key, doc string) field[scheduleDraft] {
		return field[scheduleDraft]{
			key: key, doc: doc,
			read:   func(*document, *scheduleDraft, value) {}, // read by finish
			schema: func() jsonSchema { return jsonSchema{"type": "string"} },
		}
	}
	at := raw("at", "One instant or a list of them.")
	at.schema = func() jsonSchema {
		one := jsonSchema{"type": "string"}
		return jsonSchema{"anyOf": []any{one, jsonSchema{"type": "array", "items": one, "maxItems": schedule.MaxInstants}}}
	}
	return object[scheduleDraft]{what: "schedule", fields: []field[scheduleDraft]{
		is("id", aName(), func(s *scheduleDraft) *string { return &s.ID }, "Name of the schedule; required in a list of two or more."),
		is("cron", textOf(maxEnvValue, false), func(s *scheduleDraft) *string { return &s.Cron }, "Five fields, or a macro like @daily."),
		is("every", lengthOf(time.Second, 52*7*day), func(s *scheduleDraft) *Duration { return &s.Every }, "An interval of elapsed time."),
		at,
		is("timezone", zone(), func(s *scheduleDraft) *string { return &s.Timezone }, "IANA name; the pipeline's without."),
		raw("anchor", "With every: where the ticks begin to count."),
		{
			key: "params", doc: "Values for the pipeline's params.",
			read: func(d *document, s *scheduleDraft, v value) {
				if d.isMap(v) {
					s.params = v
				}
			},
			schema: func() jsonSchema { return jsonSchema{"type": "object"} },
		},
		is("catchup", word("latest", "none", "all"), func(s *scheduleDraft) *string { return &s.Catchup }, "What becomes of missed ticks. Default `latest`."),
		is("catchup_window", lengthOf(time.Minute, 366*day), func(s *scheduleDraft) *Duration { return &s.CatchupWindow }, "How far back a missed tick is made up for. Default 24h."),
		is("dst", nested(&ts.dst), func(s *scheduleDraft) *scheduleDraft { return s }, "What clock changes do to a cron of fixed times."),
		later[scheduleDraft]("TRG11", "jitter"),
		later[scheduleDraft]("TRG12", "start"),
		later[scheduleDraft]("TRG12", "end"),
		later[scheduleDraft]("TRG13", "calendar"),
	}}
}

func dstFields() object[scheduleDraft] {
	return object[scheduleDraft]{what: "dst", fields: []field[scheduleDraft]{
		is("gap", word("next", "skip"), func(s *scheduleDraft) *string { return &s.Gap }, "A local time that does not exist. Default `next`."),
		is("overlap", word("first", "second", "both"), func(s *scheduleDraft) *string { return &s.Overlap }, "A local time that comes twice. Default `first`."),
	}}
}

// readSchedules reads the three forms of schedule:.
func (d *document) readSchedules(p *pipelineDraft, v value) {
	one := func(e value, in string) {
		s := &scheduleDraft{value: e}
		if own, ok := d.p.tables.schedule.read(d, e, in, s); ok {
			s.own = own
			p.schedules = append(p.schedules, s)
		}
	}
	switch v.Kind {
	case yaml.MappingNode:
		one(v, "schedule")
	case yaml.SequenceNode:
		if len(v.Content) > MaxSchedules {
			d.failf(d.at(v.Content[MaxSchedules]), "SYN1009", "%d schedules, %d at most", len(v.Content), MaxSchedules)
			return
		}
		for _, e := range d.elements(v) {
			one(e, e.name)
		}
		d.checkIDs(p, v)
	default:
		s := &scheduleDraft{value: v, own: entries{"cron": v}}
		v.name = "cron"
		if textOf(maxEnvValue, false).read(d, v, &s.Cron) {
			p.schedules = append(p.schedules, s)
		}
	}
}

func (d *document) checkIDs(p *pipelineDraft, list value) {
	if len(list.Content) < 2 {
		return
	}
	lines := map[string]int{}
	for _, s := range p.schedules {
		id, ok := s.own["id"]
		if !ok {
			d.fail(d.at(s.Node), "SYN1208", "a list of schedules needs an id on each", "id: nightly")
			continue
		}
		if s.ID == "" {
			continue
		}
		if line, ok := lines[s.ID]; ok {
			d.failf(d.at(id.Node), "SYN1208", "id %s is already used (line %d)", s.ID, line)
			continue
		}
		lines[s.ID] = d.at(id.Node).line
	}
}

// finish fills in what a schedule does not say and asks the package schedule
// whether it can work.
func (d *document) finishSchedule(p *pipelineDraft, s *scheduleDraft) {
	if s.ID == "" {
		s.ID = "default"
	}
	if s.Timezone == "" {
		s.Timezone = p.Timezone
	}
	if s.Catchup == "" {
		s.Catchup = string(schedule.CatchupLatest)
	}
	if s.CatchupWindow == 0 {
		s.CatchupWindow = Duration(schedule.DefaultWindow)
	}
	if !d.oneKind(s) || !d.readInstants(s) {
		return
	}
	built, err := schedule.New(s.Spec())
	if err != nil {
		d.scheduleProblem(s, err)
		return
	}
	if s.Cron != "" && !built.FollowsClock() {
		if s.Gap == "" {
			s.Gap = string(schedule.GapNext)
		}
		if s.Overlap == "" {
			s.Overlap = string(schedule.OverlapFirst)
		}
	}
	if !d.p.Now.IsZero() {
		for _, w := range built.Warnings(d.p.Now) {
			d.scheduleWarning(s, w)
		}
	}
}

// Spec is what the package schedule makes the ticks of.
func (s Schedule) Spec() schedule.Spec {
	return schedule.Spec{
		Cron: s.Cron, Every: s.Every.Std(), At: s.At, Anchor: s.Anchor, Zone: s.Timezone,
		Gap: schedule.Gap(s.Gap), Overlap: schedule.Overlap(s.Overlap),
	}
}

// oneKind checks that a schedule says one of cron, every and at.
func (d *document) oneKind(s *scheduleDraft) bool {
	var found []string
	place := d.keySpot(s.value)
	for _, key := range []string{"cron", "every", "at"} {
		v, ok := s.own[key]
		if !ok {
			continue
		}
		found = append(found, key)
		if v.key != nil {
			if at := d.at(v.key); len(found) == 1 || at.line > place.line || at.line == place.line && at.col > place.col {
				place = at
			}
		}
	}
	if len(found) == 1 {
		switch found[0] {
		case "cron":
			if s.Cron == "" && s.own["cron"].Kind == yaml.ScalarNode && s.own["cron"].Value == "" && !isNull(s.own["cron"].Node) {
				d.failf(d.at(s.own["cron"].Node), "SYN1202", "the cron is empty")
			}
			return s.Cron != ""
		case "every":
			return s.Every != 0
		}
		return true
	}
	words := "none"
	if len(found) > 1 {
		words = joinWith(found, " and ")
	}
	d.failf(place, "SYN1201", "a schedule has one of cron, every, at; found %s", words)
	return false
}

func joinWith(words []string, last string) string {
	text := words[0]
	for i, w := range words[1:] {
		if i == len(words)-2 {
			text += last + w
		} else {
			text += ", " + w
		}
	}
	return text
}

// readInstants reads at and anchor in the schedule's zone.
func (d *document) readInstants(s *scheduleDraft) bool {
	loc, err := schedule.LoadZone(s.Timezone)
	if err != nil {
		return false // told where the zone stands
	}
	instant := kind[time.Time]{
		read: func(d *document, v value, to *time.Time) bool {
			text, ok := d.scalar(v, "an instant")
			if !ok || !d.fixed(v, text) {
				return false
			}
			at, err := schedule.ParseInstant(text, loc)
			if err != nil {
				d.scheduleError(v, err, "SYN1009")
				return false
			}
			*to = at
			return true
		},
	}
	ok := true
	if v, found := s.own["at"]; found {
		if v.Kind == yaml.SequenceNode && len(v.Content) == 0 {
			d.failf(d.at(v.Node), "SYN1009", "at is empty")
			return false
		}
		ok = oneOrMore(instant, schedule.MaxInstants).read(d, v, &s.At)
	}
	if v, found := s.own["anchor"]; found {
		ok = instant.read(d, v, &s.Anchor) && ok
	}
	return ok
}

// scheduleProblem reports an error of schedule.New at the field it is about.
func (d *document) scheduleProblem(s *scheduleDraft, err error) {
	e, ok := errors.AsType[*schedule.Error](err)
	if !ok {
		d.fail(d.keySpot(s.value), "SYN1009", fmt.Sprint(err), "")
		return
	}
	d.fail(d.scheduleSpot(s, e.Field, e.Code, e.Offset, e.Len), e.Code, e.Message, e.Hint)
}

// scheduleWarning passes on a warning. Who wrote dst has thought of clock
// changes.
func (d *document) scheduleWarning(s *scheduleDraft, w schedule.Warning) {
	if w.Code == "SYN1210" && w.Field == "cron" {
		if _, ok := s.own["dst"]; ok {
			return
		}
		if w.Hint == "" {
			w.Hint = "if that is meant: dst: {gap: next, overlap: first}"
		}
	}
	d.warn(d.scheduleSpot(s, w.Field, w.Code, w.Offset, w.Len), w.Code, w.Message, w.Hint)
}

func (d *document) scheduleSpot(s *scheduleDraft, field, code string, offset, length int) spot {
	v, ok := s.own[field]
	switch {
	case !ok:
		return d.keySpot(s.value)
	case code == "SYN1209" && v.key != nil:
		return d.at(v.key)
	case v.Kind == yaml.ScalarNode && length > 0:
		return d.within(v.Node, offset, length)
	default:
		return d.at(v.Node)
	}
}
