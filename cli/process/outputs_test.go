package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseOutputs(t *testing.T) {
	long := strings.Repeat("k", 63)
	for _, tc := range []struct {
		name, in string
		want     map[string]RawOutput
	}{
		{"nothing", "", map[string]RawOutput{}},
		{"blank lines", "\n  \r\n\t\n", map[string]RawOutput{}},
		{"plain", "a=1\nb = 2\n", nil},
		{"assignments", "a=1\r\n_B9= x = y \nempty=\nlast=no newline", map[string]RawOutput{
			"a": {"1", false, 1}, "_B9": {" x = y ", false, 2}, "empty": {"", false, 3}, "last": {"no newline", false, 4},
		}},
		{"last wins", "a=1\n{\"a\":2}\na=3\n", map[string]RawOutput{"a": {"3", false, 3}}},
		{"longest key", long + "=1", map[string]RawOutput{long: {"1", false, 1}}},
		{"value looks like a heredoc", "a=b<<EOF\n", map[string]RawOutput{"a": {"b<<EOF", false, 1}}},
		{"heredoc", "a<<END\nx\r\n\n END\nEND\nb=1", map[string]RawOutput{"a": {"x\n\n END", false, 1}, "b": {"1", false, 6}}},
		{"empty heredoc", "a<<1\n1\n", map[string]RawOutput{"a": {"", false, 1}}},
		{"heredoc of one blank line", "a<<E\n\nE\n", map[string]RawOutput{"a": {"", false, 1}}},
		{"heredoc holds assignments", "a<<E\nb=1\n{\nE", map[string]RawOutput{"a": {"b=1\n{", false, 1}}},
		{"object", `{"a": 1, "b": "x", "c": {"d": [null, {"d": 1}]}}` + "\n{}", map[string]RawOutput{
			"a": {"1", true, 1}, "b": {`"x"`, true, 1}, "c": {`{"d": [null, {"d": 1}]}`, true, 1},
		}},
		{"large number", `{"n": 12345678901234567890123}`, map[string]RawOutput{"n": {"12345678901234567890123", true, 1}}},
		{"UTF-8", "a=žluťoučký\n", map[string]RawOutput{"a": {"žluťoučký", false, 1}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseOutputs([]byte(tc.in))
			if tc.want == nil {
				if err == nil {
					t.Fatalf("no error: %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOutputsThatCannotBeRead(t *testing.T) {
	for _, tc := range []struct {
		name, in, reason string
		line             int
	}{
		{"other text", "a=1\nhello\n", "outputs_syntax", 2},
		{"space before the key", " a=1", "outputs_syntax", 1},
		{"digit first", "1a=1", "outputs_syntax", 1},
		{"key of 64", strings.Repeat("k", 64) + "=1", "outputs_syntax", 1},
		{"no key", "=1", "outputs_syntax", 1},
		{"space after the key", "a =1", "outputs_syntax", 1},
		{"open heredoc", "x=1\na<<EOF\nb\n", "outputs_syntax", 2},
		{"no delimiter", "a<<\nb\n", "outputs_syntax", 1},
		{"odd delimiter", "a<<E-F\nE-F\n", "outputs_syntax", 1},
		{"quoted delimiter", "a<<'EOF'\nEOF\n", "outputs_syntax", 1},
		{"long delimiter", "a<<" + strings.Repeat("E", 65) + "\n", "outputs_syntax", 1},
		{"broken JSON", "\n{\"a\": }\n", "outputs_syntax", 2},
		{"JSON over two lines", "{\"a\":\n1}\n", "outputs_syntax", 1},
		{"two objects", `{"a":1} {"b":2}`, "outputs_syntax", 1},
		{"key twice", `{"a":1, "a":2}`, "outputs_syntax", 1},
		{"key twice inside", `{"a":{"b":1,"c":[{"d":1,"d":2}]}}`, "outputs_syntax", 1},
		{"bad key", `{"a-b":1}`, "outputs_syntax", 1},
		{"array", `["a"]`, "outputs_syntax", 1},
		{"too deep", `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", "outputs_syntax", 1},
		{"invalid UTF-8", "a=1\nb=\xff\n", "outputs_syntax", 2},
		{"invalid UTF-8 in a heredoc", "a<<E\nok\n\xc3\x28\nE\n", "outputs_syntax", 3},
		{"too large", "a=" + strings.Repeat("x", OutputLimit), "outputs_too_large", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			if err := os.WriteFile(path, []byte(tc.in), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadOutputs(path)
			e, ok := errors.AsType[*OutputError](err)
			if !ok || e.Reason != tc.reason || e.Line != tc.line {
				t.Errorf("got %v, %v; want %s in line %d", got, err, tc.reason, tc.line)
			}
		})
	}
}

func TestOutputFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	if got, err := ReadOutputs(dir + "/none"); err != nil || len(got) != 0 {
		t.Errorf("no file: %v, %v", got, err)
	}
	if err := syscall.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", "link", "."} {
		if got, err := ReadOutputs(filepath.Join(dir, name) + map[bool]string{true: "/."}[name == "."]); err == nil {
			t.Errorf("%s: %v, want an error", name, got)
		}
	}
}

func TestSummaryIsCutAtARune(t *testing.T) {
	path := filepath.Join(t.TempDir(), "summary")
	for _, tc := range []struct {
		in   string
		want int
		cut  int64
	}{
		{"", 0, 0},
		{"# Hi\n", 5, 0},
		{strings.Repeat("x", OutputLimit), OutputLimit, 0},
		{strings.Repeat("x", OutputLimit+9), OutputLimit, 9},
		{strings.Repeat("x", OutputLimit-1) + "€uro", OutputLimit - 1, 6},
	} {
		if err := os.WriteFile(path, []byte(tc.in), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := ReadSummary(path)
		if err != nil || len(s.Text) != tc.want || s.Cut != tc.cut {
			t.Errorf("%d bytes: got %d, cut %d, %v; want %d, cut %d", len(tc.in), len(s.Text), s.Cut, err, tc.want, tc.cut)
		}
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xff}, OutputLimit), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, _ := ReadSummary(path); !utf8.Valid(s.Text) || len(s.Text) > OutputLimit {
		t.Errorf("%d bytes, valid %v", len(s.Text), utf8.Valid(s.Text))
	}
}

func TestOutputsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]string{}
		var file strings.Builder
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			key := rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_]{0,10}`).Draw(t, "key")
			if rapid.Bool().Draw(t, "heredoc") {
				lines := rapid.SliceOfN(rapid.StringMatching(`[^\n\r]{0,9}`), 1, 4).Draw(t, "lines")
				text := strings.Join(lines, "\n")
				if strings.Contains("\n"+text+"\n", "\nD_E\n") {
					continue
				}
				fmt.Fprintf(&file, "%s<<D_E\n%s\nD_E\n", key, text)
				want[key] = text
				continue
			}
			text := rapid.StringMatching(`[^\n\r]{0,20}`).Draw(t, "text")
			fmt.Fprintf(&file, "%s=%s\n", key, text)
			want[key] = text
		}
		got, err := ParseOutputs([]byte(file.String()))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("got %d outputs, want %d", len(got), len(want))
		}
		for k, v := range want {
			if got[k].Text != v {
				t.Fatalf("%s = %q, want %q", k, got[k].Text, v)
			}
		}
	})
}

func FuzzParseOutputs(f *testing.F) {
	for _, s := range []string{"a=1\n", "a<<E\nx\nE\n", `{"a": [1, {"b": null}]}`, "a<<E\n", "\xff", "{", "a=\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseOutputs(b)
		if err != nil {
			if _, ok := errors.AsType[*OutputError](err); !ok {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		size := 0
		for k, v := range got {
			size += len(v.Text)
			if key, rest := cutKey([]byte(k)); key != k || len(rest) > 0 || !utf8.ValidString(v.Text) {
				t.Fatalf("%q = %q", k, v.Text)
			}
		}
		if size > len(b) {
			t.Fatalf("%d bytes of values from %d of file", size, len(b))
		}
	})
}
