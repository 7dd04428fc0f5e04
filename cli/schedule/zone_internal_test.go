package schedule

import "testing"

func TestVersionOfTheEmbeddedZones(t *testing.T) {
	if v := zones().version; v != TZVersion {
		t.Errorf("the embedded data is %s, TZVersion says %s", v, TZVersion)
	}
	for name, target := range zones().links {
		if _, ok := zones().data[target]; !ok {
			t.Errorf("%s stands for %s, which is not there", name, target)
		}
		if _, ok := zones().data[name]; ok {
			t.Errorf("%s is both a zone and an old name", name)
		}
	}
}

// date and daysTo undo each other over all years a tick can have.
func TestCivilDates(t *testing.T) {
	for days := int64(minInstant / day); days*day < maxInstant; days += 13 {
		y, m, d := date(days)
		if daysTo(y, m, d) != days || d < 1 || d > monthLen(y, m) || m < 1 || m > 12 {
			t.Fatalf("day %d is %d-%d-%d", days, y, m, d)
		}
	}
	for text, days := range map[string]int64{"1970-01-01T00:00": 0, "2000-02-29T00:00": 11016, "1969-12-31T00:00": -1, "2026-11-22T00:00": 20779} {
		if got := wallText(days * day); got != text {
			t.Errorf("day %d is %s, want %s", days, got, text)
		}
	}
	if w := weekday(20779); w != 0 { // a Sunday
		t.Errorf("2026-11-22 is weekday %d", w)
	}
}
