package web

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

func TestDurations(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		640 * time.Millisecond: "640 ms", 12 * time.Second: "12 s", 372 * time.Second: "6 m 12 s", 184 * time.Minute: "3 h 04 m", 52 * time.Hour: "2 d 4 h", -time.Second: "0 s",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestSchedulesInWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0 2 * * *": "every day at 02:00", "* * * * *": "every minute", "*/5 * * * *": "every 5 minutes", "0 * * * *": "every hour", "15 * * * *": "every hour at minute 15",
		"30 6 * * 1-5": "Monday to Friday at 06:30", "0 4 * * 1": "every Monday at 04:00", "0 4 * * 0": "every Sunday at 04:00", "0 3 1 * *": "on day 1 of every month at 03:00",
		"0 */6 * * *": "every 6 hours at minute 0", "*/7 * * * *": "", "0 */5 * * *": "", "0 0 L * *": "on the last day of every month at 00:00", "every 6h": "every 6h", "@daily": "every day at 00:00",
		"0 2 * 3 *": "", "nonsense": "", "5,10 * * * *": "", "0 9 * * 1#1": "",
	} {
		if got := inWords(text); got != want {
			t.Errorf("inWords(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestOddCharactersAreShown(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain": "plain", "a\x1b[2Jb": "a␛[2Jb", "a\x00b": "a␀b", "a\u202eb": "a⟨U+202E⟩b", "a\u200bb": "a⟨U+200B⟩b", "a\nb\tc": "a\nb\tc", "\x7f": "⟨U+007F⟩", "漢字 مرحبا": "漢字 مرحبا",
	} {
		if got := tidy(text); got != want {
			t.Errorf("tidy(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestLogText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		text string
		want []Span
	}{
		{"plain", "hello", []Span{{"", "hello"}}},
		{"colour", "\x1b[31mred\x1b[0m plain", []Span{{"a1", "red"}, {"", " plain"}}},
		{"bold and colour", "\x1b[1;32mok\x1b[m", []Span{{"a2 ab", "ok"}}},
		{"bright", "\x1b[93mx", []Span{{"a11", "x"}}},
		{"256 colours", "\x1b[38;5;196mx\x1b[38;5;2my", []Span{{"", "x"}, {"a2", "y"}}},
		{"true colour is passed over whole", "\x1b[38;2;1;31;4mx", []Span{{"", "x"}}},
		{"clear to the end", "a\x1b[K", []Span{{"", "a"}}},
		{"other sequences are shown", "\x1b[2Jx", []Span{{"", "␛[2Jx"}}},
		{"links are shown", "\x1b]8;;http://x\x07y", []Span{{"", "␛]8;;http://x␇y"}}},
		{"cut off", "\x1b[31", []Span{{"", "␛[31"}}},
		{"progress", "10%\r50%\r100%", []Span{{"", "100%"}}},
		{"windows", "line\r", []Span{{"", "line"}}},
		{"tags are text", "<script>", []Span{{"", "<script>"}}},
	} {
		got := logLines([]app.LogLine{{Number: 1, Text: test.text}}, time.UTC)
		if diff := cmp.Diff(test.want, got[0].Spans); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	// A colour that a line leaves on goes on.
	got := logLines([]app.LogLine{{Text: "\x1b[31ma"}, {Text: "b\x1b[0mc"}, {Text: "d", Missing: 5_000_000}}, time.UTC)
	if diff := cmp.Diff([]Span{{"a1", "b"}, {"", "c"}}, got[1].Spans); diff != "" {
		t.Error(diff)
	}
	if got[2].Missing != "5.0 MB not kept before this line" {
		t.Errorf("missing = %q", got[2].Missing)
	}
}

func TestFieldsBySchema(t *testing.T) {
	t.Parallel()
	raw := func(s string) api.RawJSON { return api.RawJSON(s) }
	enum := func(n int) (out []api.RawJSON) {
		for i := range n {
			out = append(out, raw(`"v`+string(rune('a'+i))+`"`))
		}
		return out
	}
	for _, test := range []struct {
		name  string
		param api.Param
		want  string
		value string
	}{
		{"few choices", api.Param{Type: "string", Enum: enum(5), Default: raw(`"va"`)}, "radio", "va"},
		{"many choices", api.Param{Type: "string", Enum: enum(6)}, "select", ""},
		{"yes or no", api.Param{Type: "boolean", Default: raw("true")}, "boolean", "true"},
		{"whole number", api.Param{Type: "integer", Default: raw("3")}, "text", "3"},
		{"a day", api.Param{Type: "string", Format: "date"}, "date", ""},
		{"a day by an expression", api.Param{Type: "string", Format: "date", Default: raw(`"${{ today() }}"`)}, "text", "${{ today() }}"},
		{"several of a list", api.Param{Type: "array", Schema: raw(`{"type": "array", "items": {"enum": ["a", "b"]}}`), Default: raw(`["b"]`)}, "check", `["b"]`},
		{"any list", api.Param{Type: "array", Schema: raw(`{"type": "array", "items": {"type": "string"}}`)}, "json", ""},
		{"an object", api.Param{Type: "object"}, "json", ""},
		{"long text", api.Param{Type: "string", Schema: raw(`{"type": "string", "maxLength": 5000}`)}, "area", ""},
		{"text", api.Param{Type: "string", Default: raw(`"x\"y"`)}, "text", `x"y`},
		{"a broken schema", api.Param{Type: "string", Schema: raw("{")}, "text", ""},
	} {
		f := field(0, test.param, nil)
		if f.Widget != test.want || f.Value != test.value {
			t.Errorf("%s: widget %s with %q, want %s with %q", test.name, f.Widget, f.Value, test.want, test.value)
		}
	}
	f := field(0, api.Param{Name: "r", Type: "array", Schema: raw(`{"type": "array", "items": {"enum": ["a", "b", "c"]}}`), Default: raw(`["b"]`)}, map[string][]string{"param.r": {"a", "c"}})
	if got := slices.Collect(func(yield func(string) bool) {
		for _, o := range f.Options {
			if o.Chosen && !yield(o.Value) {
				return
			}
		}
	}); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("chosen: %v, want what was given", got)
	}
}

func TestOnlyOurOwnAddressesAreReturnedTo(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]string{
		"/p/default/x?q=1": "/p/default/x?q=1", "": "/", "https://evil.test/": "/", "//evil.test/": "/", `/\evil.test`: "/", "/login": "/", "javascript:alert(1)": "/", "/p\r\nX: y": "/", "p": "/", "/events?page=run": "/",
	} {
		if got := local(to); got != want {
			t.Errorf("local(%q) = %q, want %q", to, got, want)
		}
	}
}

func TestAxis(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	for _, length := range []time.Duration{0, time.Millisecond, time.Second, 372 * time.Second, 5 * time.Hour, 90 * 24 * time.Hour, 4000 * 24 * time.Hour} {
		s, marks := axis(from, from.Add(length), time.UTC)
		if s.width < length || len(marks) < 1 || len(marks) > 12 {
			t.Errorf("axis of %v: %v wide with %d marks", length, s.width, len(marks))
		}
	}
	if _, marks := axis(from, from.Add(372*time.Second), time.UTC); marks[1].Label != "+1 m" || len(marks) != 7 {
		t.Errorf("axis of 6 m 12 s: %v", marks)
	}
}

func TestManyTasksShowWhatMattersFirst(t *testing.T) {
	t.Parallel()
	end := time.Now()
	tasks := make([]api.Task, 200)
	for i := range tasks {
		tasks[i] = api.Task{State: api.TaskStateSucceeded, EndedAt: &end}
	}
	tasks[150].State = api.TaskStateFailed
	tasks[199] = api.Task{State: api.TaskStateRunning}
	shown, pages := taskRows(tasks, 0)
	if pages != 4 || len(shown) != rowsPage || !slices.IsSorted(shown) || !slices.Contains(shown, 150) || !slices.Contains(shown, 199) {
		t.Errorf("%d pages, shown %v", pages, shown)
	}
	if shown, _ := taskRows(tasks, 4); len(shown) != 20 || shown[0] != 180 {
		t.Errorf("page 4: %v", shown)
	}
	if shown, _ := taskRows(tasks, 99); shown[0] != 180 {
		t.Errorf("a page beyond the last: %v", shown)
	}
	if shown, pages := taskRows(tasks[:5], 0); len(shown) != 5 || pages != 1 {
		t.Errorf("few: %v", shown)
	}
}

func TestShellWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a=b": "a=b", "x#1/load:3": "x#1/load:3", "x#1/shards[3]": "'x#1/shards[3]'", "": "''", "#x": "'#x'", "it's": `'it'\''s'`, "$(rm -rf /)": "'$(rm -rf /)'",
	} {
		if got := shellWord(text); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", text, got, want)
		}
	}
}
