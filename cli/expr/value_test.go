package expr

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFromJSON(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text string
		want any
		err  string
	}{
		{`null`, nil, ""},
		{` [1, -0, 1.0, 1.10, 1e3, 1.5E1, 25e-1, 0e9, 9223372036854775808] `, []any{
			int64(1), int64(0), Number("1.0"), Number("1.10"), int64(1000), int64(15), Number("2.5"), int64(0), Number("9223372036854775808"),
		}, ""},
		{`1e-3`, Number("0.001"), ""},
		{`-1.50e2`, int64(-150), ""},
		{`-1.505e2`, Number("-150.5"), ""},
		{`{"a":{"b":[true,"\u00e9"]}}`, map[string]any{"a": map[string]any{"b": []any{true, "é"}}}, ""},
		{`{"a":1,"a":2}`, nil, "a key comes twice in one object"},
		{`{"a":1,"\u0061":2}`, nil, "a key comes twice in one object"},
		{``, nil, "it is empty, not JSON"},
		{`{"a" 1}`, nil, "it is not JSON at byte 6"},
		{`[1] [2]`, nil, "it is not JSON at byte 5"},
		{`[01]`, nil, "it is not JSON at byte 3"},
		{"\"\xff\"", nil, "it is not UTF-8"},
		{`1e99999999999`, nil, "it is a number of more than 1100 digits"},
		{`1e2000`, nil, "it is a number of more than 1100 digits"},
		{strings.Repeat("9", 2000), nil, "it is a number of more than 1100 digits"},
		{strings.Repeat("[", 201) + strings.Repeat("]", 201), nil, "it is nested deeper than 200 levels"},
	}
	for _, c := range cases {
		got, err := FromJSON([]byte(c.text))
		if message(err) != c.err {
			t.Errorf("FromJSON(%.40s) error = %v, want %q", c.text, err, c.err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("FromJSON(%.40s) (-want +got):\n%s", c.text, diff)
		}
	}
}

func TestToJSON(t *testing.T) {
	t.Parallel()
	type state string
	v := map[string]any{
		"b": []any{nil, true, int64(-1), Number("1.10"), "<&>\"\\\n\x01\u2028"},
		"a": time.Date(2026, 11, 22, 5, 30, 0, 5e8, time.FixedZone("", 3600)),
		"c": 90 * time.Second, "d": []string{"x"}, "e": map[string]string{"k": "v"},
		"f": 3, "g": 2.5, "h": state("succeeded"), "i": json.Number("1e2"), "j": uint64(1 << 63), "k": float64(3),
		"l": Lazy(func() (any, error) { return 1, nil }),
	}
	want := `{"a":"2026-11-22T04:30:00.5Z","b":[null,true,-1,1.10,"<&>\"\\\n\u0001` + "\u2028" + `"],"c":"1m30s","d":["x"],"e":{"k":"v"},"f":3,"g":2.5,"h":"succeeded","i":100,"j":9223372036854775808,"k":3,"l":1}`
	got, err := ToJSON(v)
	if err != nil || string(got) != want {
		t.Errorf("ToJSON = %s, %v\nwant %s", got, err, want)
	}
	for _, bad := range []any{struct{}{}, make(chan int), Number("x"), Number("1e3"), Unreadable{}, []any{Unreadable{Why: "w"}}} {
		if got, err := ToJSON(bad); err == nil {
			t.Errorf("ToJSON(%v) = %s, want an error", bad, got)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	cases := []struct {
		v    any
		want string
	}{
		{"x", "x"},
		{true, "true"},
		{int64(-5), "-5"},
		{7, "7"},
		{Number("1.10"), "1.10"},
		{1e21, "1000000000000000000000"},
		{0.1, "0.1"},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 7200)), "2026-01-02T01:04:05Z"},
		{time.Duration(0), "0s"},
		{1500 * time.Millisecond, "1.5s"},
		{36 * time.Hour, "1d12h"},
		{-time.Minute, "-1m"},
		{time.Nanosecond, "0.000000001s"},
		{time.Duration(-1 << 63), "-106751d23h47m16.854775808s"},
	}
	for _, c := range cases {
		if got, err := Text(c.v); got != c.want || err != nil {
			t.Errorf("Text(%v) = %q, %v, want %q", c.v, got, err, c.want)
		}
	}
	for _, v := range []any{nil, []any{}, map[string]any{}, Unreadable{}} {
		if got, err := Text(v); err == nil {
			t.Errorf("Text(%v) = %q, want an error", v, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "0.5s": 500 * time.Millisecond, "1w2d3h4m5s6ms": 7*24*time.Hour + 51*time.Hour + 4*time.Minute + 5006*time.Millisecond,
		"1.5h": 90 * time.Minute, "0.000000001s": 1, "0s": 0, "106751d": 106751 * 24 * time.Hour, "0.1ms": 100 * time.Microsecond, "1.250w": 210 * time.Hour,
	} {
		if got, err := parseDuration(text); got != want || err != nil {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "5", "s", "-1s", "+1s", "1 s", " 1s", "1m1h", "1s1s", "P1D", "1.s", ".5s", "1..5s", "1.2.3s", "1us", "1y", "1H", "106752d", "99999999999999999999s",
		"0.0000000001s", "1s ", "١s", "100000d10000d", "106751d24h",
	} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func TestParseInstant(t *testing.T) {
	t.Parallel()
	zone := func(name string) *time.Location {
		z, err := loadZone(name)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	cases := []struct{ text, zone, want string }{
		{"2026-11-22T05:30:00Z", "Asia/Tokyo", "2026-11-22T05:30:00Z"},
		{"2026-11-22T05:30:00.25-03:30", "UTC", "2026-11-22T09:00:00.25Z"},
		{"2026-11-22", "America/New_York", "2026-11-22T05:00:00Z"},
		{"2026-11-22T05:30", "Asia/Kolkata", "2026-11-22T00:00:00Z"},
		{"2026-11-22 05:30:15", "UTC", "2026-11-22T05:30:15Z"},
		{"2026-11-01T01:30", "America/New_York", "2026-11-01T05:30:00Z"},
		{"2026-04-05T01:45", "Australia/Lord_Howe", "2026-04-04T14:45:00Z"},
		{"2026-03-08T02:30", "America/New_York", ""},
		{"2011-12-30", "Pacific/Apia", ""},
		{"2026-02-30", "UTC", ""},
		{"2026-11-22T5:30:00Z", "UTC", ""},
		{"2026-11-22T05:30:00,5Z", "UTC", ""},
		{"2026-11-22 05:30:00Z", "UTC", ""},
		{"2026-11-22T24:00", "UTC", ""},
		{"tomorrow", "UTC", ""},
		{"", "UTC", ""},
	}
	for _, c := range cases {
		got, err := parseInstant(c.text, zone(c.zone))
		switch {
		case c.want == "" && err == nil:
			t.Errorf("parseInstant(%q, %s) = %v, want an error", c.text, c.zone, got)
		case c.want != "" && (err != nil || instantText(got) != c.want):
			t.Errorf("parseInstant(%q, %s) = %v, %v, want %s", c.text, c.zone, got, err, c.want)
		}
	}
}

func TestConformUnreadable(t *testing.T) {
	t.Parallel()
	record := RecordOf(map[string]Type{"a": Of(KindInteger), "b": Of(KindString).Maybe()})
	for _, c := range []struct {
		v    any
		want string
	}{
		{map[string]any{"a": int64(1)}, ""},
		{map[string]any{"a": Number("2.0"), "b": "x"}, ""},
		{map[string]any{"b": "x"}, `the value lacks the key "a"`},
		{map[string]any{"a": int64(1), "c": 1}, `the value has a key that is not declared`},
		{map[string]any{"a": "1"}, `the value["a"] is a string, not an integer`},
		{[]any{}, `the value is a list, not a map`},
		{Unreadable{Why: "it was skipped"}, `the value cannot be read: it was skipped`},
	} {
		if _, err := record.Conform(c.v); message(err) != c.want {
			t.Errorf("Conform(%v) error = %v, want %q", c.v, err, c.want)
		}
	}
}
