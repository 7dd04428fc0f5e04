package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/db"
	"github.com/synthesizer-dev/synthesizer/services/internal/egress"
)

// checkTargets refuses tasks that ask targets which are not there, or addresses
// that their targets do not allow, and warns of targets that nobody serves.
func (r *register) checkTargets(ctx context.Context, q *db.Queries) error {
	type use struct {
		*draft
		ref pipeline.Reference
	}
	var uses []use
	for _, d := range r.drafts {
		for _, ref := range d.doc.References {
			if ref.Kind == pipeline.ReferenceTarget {
				uses = append(uses, use{d, ref})
			}
		}
	}
	if len(uses) == 0 {
		return nil
	}
	rows, err := q.KnownTargets(ctx)
	if err != nil {
		return fmt.Errorf("read targets: %w", err)
	}
	known := map[string]db.KnownTargetsRow{}
	for _, t := range rows {
		known[t.Name] = t
	}
	said := map[string]bool{}
	for _, u := range uses {
		t, ok := known[u.ref.Name]
		where := u.place(u.ref, "")
		switch {
		case !ok:
			hint := "an executor with --targets serves it"
			if near := nearest(u.ref.Name, keys(known)); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			r.fail("SYN1702", where, hint, "unknown target %q; known: %s", u.ref.Name, orNone(strings.Join(keys(known), ", ")))
			continue
		case t.Kind != "http":
			r.fail("SYN1702", where, "", "target %s is of kind %s; task %s of %s wants one of kind http", t.Name, t.Kind, u.ref.Task.Name, u.draft.ref())
			continue
		}
		var rules egress.Rules
		if err := json.Unmarshal(t.Allows, &rules); err != nil {
			return fmt.Errorf("read what target %s allows: %w", t.Name, err)
		}
		if err := rules.CheckWritten(t.Name, string(u.ref.Task.Wait.HTTP.URL)); err != nil {
			r.fail("SYN1414", u.place(u.ref, "url"), "", "url: %v", err)
		}
		if !t.Served && !said[t.Name] {
			said[t.Name] = true
			r.warn("SYN1708", where, "start an executor with --targets", "no live executor serves target %s; task %s of %s waits for what it answers", t.Name, u.ref.Task.Name, u.draft.ref())
		}
	}
	return nil
}

// place is where a reference, or a part of what is said about it, stands.
func (d *draft) place(ref pipeline.Reference, part string) api.Where {
	line, col := ref.Place(part)
	return api.Where{File: d.doc.File, Line: line, Col: col}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
