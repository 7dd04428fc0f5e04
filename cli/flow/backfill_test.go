package flow

import (
	"strings"
	"testing"
)

func TestBackfillTakes(t *testing.T) {
	for which, want := range map[string]string{
		BackfillMissing: " skipped",
		BackfillFailed:  " skipped failed canceled",
		BackfillAll:     " skipped failed canceled succeeded",
	} {
		var got []string
		for _, s := range []State{"", Skipped, Failed, Canceled, Succeeded, Queued, Running} {
			if BackfillTakes(which, s) {
				got = append(got, string(s))
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s takes %q, want %q", which, got, want)
		}
	}
}

func TestBackfillAdmits(t *testing.T) {
	for name, c := range map[string]struct {
		g       GroupLoad
		patient bool
		want    TickVerdict
	}{
		"room":             {GroupLoad{Running: 1}, false, TickVerdict{Run: true, Start: true}},
		"full":             {GroupLoad{Running: 2}, false, TickVerdict{}},
		"somebody waits":   {GroupLoad{Running: 1, Queued: 1}, false, TickVerdict{}},
		"patience is over": {GroupLoad{Running: 2, Queued: 9}, true, TickVerdict{Run: true}},
		"patience is good": {GroupLoad{}, true, TickVerdict{Run: true, Start: true}},
	} {
		if got := BackfillAdmits(c.g, 2, c.patient); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
