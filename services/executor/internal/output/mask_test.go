package output

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	canary    = `hunter2/"x" +ä?&`
	canaryKey = "-----BEGIN KEY-----\r\nMIIEowIBAAKCAQEA\r\nshort\r\nq83vq83vq83vq83v\r\n-----END KEY-----\r\n"
)

func canaries() *Masker {
	return NewMasker([]Secret{{"PASSWORD", canary}, {"KEY", canaryKey}, {"TINY", "abc"}, {"FOUR", "wxyz"}, {"LONG", "wxyz-and-more"}})
}

// shown lists texts that show a secret in some way.
func shown() map[string]string {
	out := map[string]string{
		"plain":       canary,
		"query":       url.QueryEscape(canary),
		"path":        url.PathEscape(canary),
		"lower query": strings.ToLower(url.QueryEscape(canary)),
		"component":   "hunter2%2F%22x%22%20%2B%C3%A4%3F%26",
		"python":      "hunter2/%22x%22%20%2B%C3%A4%3F%26",
		"key":         canaryKey,
		"key, a line": "MIIEowIBAAKCAQEA",
		"key by $()":  strings.TrimRight(canaryKey, "\r\n"),
		"four":        "wxyz",
		"long":        "wxyz-and-more",
	}
	j, _ := json.Marshal(map[string]string{"p": canary})
	out["json"] = string(j)
	for _, before := range []string{"", "u", "us", "use", "user:"} {
		for _, after := range []string{"", "!", "!!", "!!!"} {
			out["base64 "+before+after] = base64.StdEncoding.EncodeToString([]byte(before + canary + after))
			out["base64url "+before+after] = base64.RawURLEncoding.EncodeToString([]byte(before + canary + after))
		}
	}
	return out
}

// bare lists what no masked text may hold.
var bare = []string{"hunter2", "wxyz", "MIIE", "q83v", "aHVudGVyMi", "h1bnRlcjIv", "odW50ZXIyL"}

// A4
func TestMasksAtEveryCut(t *testing.T) {
	m := canaries()
	for name, text := range shown() {
		whole := "before " + text + " after short abc wxy"
		want := m.String(whole)
		for _, b := range bare {
			if strings.Contains(want, b) {
				t.Fatalf("%s: %q holds %q", name, want, b)
			}
		}
		if !strings.Contains(want, "•••(") || !strings.HasPrefix(want, "before ") || !strings.HasSuffix(want, " after short abc wxy") {
			t.Fatalf("%s: %q", name, want)
		}
		for i := range len(whole) + 1 {
			for _, j := range []int{i, min(i+1, len(whole)), min(i+7, len(whole))} {
				s := m.Stream()
				got := string(s.Next([]byte(whole[:i])))
				got += string(s.Next([]byte(whole[i:j])))
				got += string(s.Next([]byte(whole[j:])))
				got += string(s.Last())
				if got != want {
					t.Fatalf("%s cut at %d and %d: %q, want %q", name, i, j, got, want)
				}
			}
		}
	}
}

func TestMaskExact(t *testing.T) {
	m := canaries()
	for in, want := range map[string]string{
		"":                      "",
		"nothing here":          "nothing here",
		"abc":                   "abc",
		"wxy":                   "wxy",
		"wxyz":                  "•••(FOUR)",
		"wxyz-and-mor":          "•••(FOUR)-and-mor",
		"wxyz-and-more!":        "•••(LONG)!",
		"wxyzwxyz":              "•••(FOUR)•••(FOUR)",
		"a" + canary + "b":      "a•••(PASSWORD)b",
		canaryKey:               "•••(KEY)",
		"x\nMIIEowIBAAKCAQEA\n": "x\n•••(KEY)\n",
		"short":                 "short",
	} {
		if got := m.String(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	over := NewMasker([]Secret{{"A", "abcdef"}, {"B", "defghi"}})
	if got := over.String("xabcdefghix"); got != "x•••(A)x" {
		t.Errorf("overlapping secrets: %q", got)
	}
}

func TestNilMasker(t *testing.T) {
	m := NewMasker([]Secret{{"A", "abc"}, {"B", ""}})
	if m != nil || m.String("abc") != "abc" || string(m.Stream().Next([]byte("abc"))) != "abc" || m.Stream().Last() != nil {
		t.Error("a masker of nothing masks")
	}
	if _, found := m.Contains("abc"); found {
		t.Error("a masker of nothing finds")
	}
}

func TestContains(t *testing.T) {
	m := canaries()
	for name, text := range shown() {
		got, found := m.Contains("x" + text + "x")
		if want := name != "four"; found != want {
			t.Errorf("%s: %q %v, want %v", name, got, found, want)
		}
	}
	if name, found := m.Contains("nothing of it: wxyz, abc, short"); found {
		t.Errorf("found %s", name)
	}
}

func TestMaskingDoesNotDependOnBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab=%0-9]{0,60}`)
		var secrets []Secret
		for range rapid.IntRange(1, 4).Draw(t, "secrets") {
			secrets = append(secrets, Secret{"S", rapid.StringMatching(`[ab]{4,9}`).Draw(t, "secret")})
		}
		m := NewMasker(secrets)
		whole := text.Draw(t, "a") + secrets[0].Value + text.Draw(t, "b")
		want := m.String(whole)
		for _, s := range secrets {
			if strings.Contains(want, s.Value) {
				t.Fatalf("%q holds %q", want, s.Value)
			}
		}
		s := m.Stream()
		got := ""
		for rest := whole; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			got += string(s.Next([]byte(rest[:n])))
			rest = rest[n:]
		}
		if got += string(s.Last()); got != want {
			t.Fatalf("%q in blocks: %q, want %q", whole, got, want)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	s := canaries().Stream()
	block := []byte(strings.Repeat("2026-11-22 02:05:25.6 INFO row-group 516 written to the warehouse\n", 1000))
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		s.Next(block)
	}
}
