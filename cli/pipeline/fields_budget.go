package pipeline

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const maxDelays = 7 * day

func retryFields() object[Retry] {
	return object[Retry]{what: "retry", foreign: map[string]string{"max": "limit", "count": "limit", "attempts": "limit"}, fields: []field[Retry]{
		is("limit", integer(0, 20), func(r *Retry) *int { return &r.Limit }, "Extra attempts. Default 0."),
		is("delay", lengthOf(0, maxDelays), func(r *Retry) *Duration { return &r.Delay }, "Before the second attempt. Default 10s."),
		is("backoff", decimal(1, 10), func(r *Retry) *float64 { return &r.Backoff }, "Factor for each further delay. Default 2."),
		is("max_delay", lengthOf(0, maxDelays), func(r *Retry) *Duration { return &r.MaxDelay }, "The longest delay. Default 10m."),
		is("jitter", decimal(0, 1), func(r *Retry) *float64 { return &r.Jitter }, "Random share of a delay. Default 0.2."),
		is("when", listOf(word("exit", "oom", "timed_out"), 3), func(r *Retry) *[]string { return &r.When }, "Causes that may be retried. Default all three."),
	}}
}

// retryOf is a number of extra attempts or a map.
func retryOf(ts *tables) kind[Retry] {
	limit := integer(0, 20)
	return kind[Retry]{
		read: func(d *document, v value, to *Retry) bool {
			if v.Kind == yaml.MappingNode {
				_, ok := d.p.tables.retry.read(d, v, "retry", to)
				return ok
			}
			return limit.read(d, v, &to.Limit)
		},
		schema: func() jsonSchema { return jsonSchema{"anyOf": []any{limit.schema(), ts.retry.schema()}} },
	}
}

func lostFields() object[Task] {
	return object[Task]{what: "lost", fields: []field[Task]{
		is("limit", integer(0, 20), func(t *Task) *int { return &t.Lost }, "Extra attempts. Default 3.").must(),
	}}
}

func lostOf(ts *tables) kind[Task] {
	limit := integer(0, 20)
	return kind[Task]{
		read: func(d *document, v value, to *Task) bool {
			if v.Kind == yaml.MappingNode {
				_, ok := d.p.tables.lost.read(d, v, "lost", to)
				return ok
			}
			return limit.read(d, v, &to.Lost)
		},
		schema: func() jsonSchema { return jsonSchema{"anyOf": []any{limit.schema(), ts.lost.schema()}} },
	}
}

// retries checks what the numbers of retry come to together.
func (d *document) retries(t *taskDraft) {
	v, ok := t.own["retry"]
	if !ok {
		return // checked with defaults
	}
	d.checkRetry(t.Retry, v)
}

func (d *document) checkRetry(r Retry, v value) {
	at := d.at(v.Node)
	for key, e := range d.quietPairs(v) {
		if key.Value == "delay" {
			at = d.at(e.Node)
		}
	}
	if r.Delay > r.MaxDelay {
		if v.Kind == yaml.MappingNode && d.has(v, "max_delay") || v.Kind != yaml.MappingNode {
			d.failf(at, "SYN1410", "delay %s is longer than max_delay %s", r.Delay, r.MaxDelay)
		} else {
			d.fail(at, "SYN1410", fmt.Sprintf("delay %s is longer than max_delay %s", r.Delay, r.MaxDelay), fmt.Sprintf("max_delay: %s", r.Delay))
		}
		return
	}
	if total := totalDelay(r); total > maxDelays {
		d.failf(d.keySpot(v), "SYN1410", "delays add up to %s, 7d at most", Duration(total.Truncate(time.Second)))
	}
}

// totalDelay is what all delays come to, without jitter.
func totalDelay(r Retry) time.Duration {
	var total float64
	delay := float64(r.Delay)
	for range r.Limit {
		total += math.Min(delay, float64(r.MaxDelay))
		delay *= r.Backoff
	}
	return time.Duration(math.Min(total, float64(3650*day)))
}

func exitFields() object[exitDraft] {
	codes := listOf(integer(1, 255), 255)
	return object[exitDraft]{what: "exit_codes", fields: []field[exitDraft]{
		is("skip", codes, func(e *exitDraft) *[]int { return &e.Skip }, "The task is skipped. Default [99]."),
		is("retry", codes, func(e *exitDraft) *[]int { return &e.ExitCodes.Retry }, "May be retried whatever retry.when says. Default [75]."),
		is("fatal", codes, func(e *exitDraft) *[]int { return &e.Fatal }, "Failed at once, no retry. Default none."),
	}}
}

// exitCodes fills in the defaults and checks that no code is written twice.
func (d *document) exitCodes(t *taskDraft) {
	lists := []struct {
		name     string
		codes    *[]int
		fallback []int
	}{{"skip", &t.exits.Skip, []int{99}}, {"retry", &t.exits.ExitCodes.Retry, []int{75}}, {"fatal", &t.exits.Fatal, []int{}}}
	own := map[string]value{}
	if v, ok := t.own["exit_codes"]; ok && v.Kind == yaml.MappingNode {
		for key, e := range d.quietPairs(v) {
			own[key.Value] = e
		}
	}
	// The task's own lists win over those of defaults, and written ones over
	// what is the default of the format.
	taken := map[int]string{}
	rank := func(name string) int {
		if _, ok := own[name]; ok {
			return 0
		}
		if _, ok := t.exits.own[name]; ok {
			return 1
		}
		return 2
	}
	for r := range 3 {
		for _, l := range lists {
			if rank(l.name) != r {
				continue
			}
			codes := *l.codes
			if r == 2 {
				codes = l.fallback
			}
			kept := []int{}
			for i, code := range codes {
				other, seen := taken[code]
				switch {
				case seen && r == 0 && own[l.name].Kind == yaml.SequenceNode && i < len(own[l.name].Content):
					d.failf(d.at(own[l.name].Content[i]), "SYN1411", "%d is in %s", code, twice(other, l.name))
				case !seen:
					taken[code] = l.name
					kept = append(kept, code)
				}
			}
			slices.Sort(kept)
			*l.codes = kept
		}
	}
	t.Task.ExitCodes = t.exits.ExitCodes
}

func twice(a, b string) string {
	if a == b {
		return a + " twice"
	}
	return a + " and in " + b
}

func poolFields() object[PoolUse] {
	return object[PoolUse]{what: "pool", fields: []field[PoolUse]{
		is("name", reference(), func(p *PoolUse) *string { return &p.Name }, "Name of the pool.").must(),
		is("slots", integer(1, 1_000), func(p *PoolUse) *int { return &p.Slots }, "How many slots the task holds. Default 1."),
	}}
}

// poolOf is a pool's name or a map. The namespace is filled in later.
func poolOf(ts *tables) kind[*PoolUse] {
	name := reference()
	return kind[*PoolUse]{
		read: func(d *document, v value, to **PoolUse) bool {
			use := PoolUse{Slots: 1}
			if *to != nil {
				use = **to
			}
			var ok bool
			if v.Kind == yaml.MappingNode {
				_, ok = d.p.tables.pool.read(d, v, "pool", &use)
			} else {
				ok = name.read(d, v, &use.Name)
			}
			*to = &use
			return ok
		},
		schema: func() jsonSchema { return jsonSchema{"anyOf": []any{name.schema(), ts.pool.schema()}} },
	}
}

const referencePattern = `^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?(/[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?)?$`

// reference is name or namespace/name.
func reference() kind[string] {
	return kind[string]{
		read: func(d *document, v value, to *string) bool {
			text, ok := d.scalar(v, "a name")
			if !ok || !d.fixed(v, text) {
				return false
			}
			for part := range strings.SplitSeq(text, "/") {
				if !nameRE.MatchString(part) || strings.Count(text, "/") > 1 {
					return d.named(d.at(v.Node), v.name, text, nameRE, nameRule)
				}
			}
			*to = text
			return true
		},
		schema: func() jsonSchema { return nameSchema(referencePattern) },
	}
}

// resolve splits a reference that was read.
func (u *PoolUse) resolve(namespace string) {
	u.Namespace, u.Name = resolve(u.Name, namespace)
}

// resolve gives the parts of a reference; namespace is that of the document.
func resolve(reference, namespace string) (ns, name string) {
	if ns, name, ok := strings.Cut(reference, "/"); ok {
		return ns, name
	}
	return namespace, reference
}
