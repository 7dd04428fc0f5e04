package web_test

import (
	"testing"
)

// screens are the pages that every check of all pages visits.
var screens = []struct{ name, path string }{
	{"pipelines", "/p"},
	{"pipelines-none", "/p?q=nothing-like-that"},
	{"pipeline", "/p/default/nightly_etl"},
	{"pipeline-paused", "/p/default/gdpr_purge"},
	{"pipeline-never", "/p/default/reports"},
	{"ticks", "/p/default/fx_rates/ticks"},
	{"definition", "/p/default/nightly_etl/definition"},
	{"run-failed", "/p/default/nightly_etl/6"},
	{"run-running", "/p/default/nightly_etl/7"},
	{"run-queued", "/p/default/nightly_etl/8"},
	{"run-items", "/p/default/nightly_etl/6?task=shards"},
	{"attempt", "/p/default/nightly_etl/6/load/3"},
	{"attempt-running", "/p/default/nightly_etl/7/extract_customers/1"},
	{"attempt-never", "/p/default/nightly_etl/6/report/1"},
	{"run-form", "/p/default/nightly_etl/run"},
	{"run-form-like", "/p/default/nightly_etl/run?like=7"},
	{"cancel", "/p/default/nightly_etl/7/cancel"},
	{"pause", "/p/default/nightly_etl/pause"},
	{"runs", "/runs"},
	{"account", "/me"},
	{"not-found", "/p/default/nightly_elt"},
}

func TestScreens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.full()
	b := w.tab()
	b.size(1360, "light")
	b.open("/login")
	b.shoot("login")
	b.signIn()
	b.open("/p") // the script has told the zone
	for _, width := range []int64{1360, 390} {
		for _, scheme := range []string{"light", "dark"} {
			b.size(width, scheme)
			for _, s := range screens {
				b.open(s.path)
				name := s.name
				if width == 390 {
					name += "-phone"
				}
				b.shoot(name + "-" + scheme)
			}
		}
	}
	b.calm()
}
