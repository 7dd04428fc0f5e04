package output

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Secret is a value that must not be seen, and the name that is shown instead.
type Secret struct {
	Name  string
	Value string
}

const (
	minMasked = 4 // shorter values would mask half of any text
	minLine   = 8 // of a line of a longer value
)

// Masker replaces secrets by "•••(NAME)": the values, the longer lines of
// values of several lines, and each of them in base64 (both alphabets, wherever
// it begins in the encoded text), URL-encoded or quoted as JSON. A nil Masker
// masks nothing. It may be used by many goroutines.
type Masker struct {
	byHead map[uint32][]pattern // by first four bytes, longest first
	heads  map[string]bool      // every beginning of one to three bytes
	pairs  [1 << 10]uint64      // bit set of first two bytes
}

// pattern is one form of a secret.
type pattern struct {
	text   string
	name   string
	strong bool // of a secret of minLine bytes or more
}

// NewMasker returns a masker of secrets; nil if there is nothing to mask.
func NewMasker(secrets []Secret) *Masker {
	seen := map[string]bool{}
	m := &Masker{byHead: map[uint32][]pattern{}, heads: map[string]bool{}}
	for _, s := range secrets {
		for _, form := range forms(s.Value) {
			if len(form) < minMasked || seen[form] {
				continue
			}
			seen[form] = true
			head := binary.LittleEndian.Uint32([]byte(form))
			m.byHead[head] = append(m.byHead[head], pattern{form, s.Name, len(s.Value) >= minLine})
			for n := 1; n < minMasked; n++ {
				m.heads[form[:n]] = true
			}
			pair := binary.LittleEndian.Uint16([]byte(form))
			m.pairs[pair>>6] |= 1 << (pair & 63)
		}
	}
	if len(seen) == 0 {
		return nil
	}
	for _, p := range m.byHead {
		slices.SortStableFunc(p, func(a, b pattern) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	return m
}

// forms lists how a secret may show.
func forms(value string) []string {
	plain := []string{value}
	if t := strings.TrimRight(value, "\r\n"); t != value && len(t) >= minMasked {
		plain = append(plain, t) // what $(…) leaves of it
	}
	if strings.ContainsRune(strings.TrimRight(value, "\r\n"), '\n') {
		for line := range strings.SplitSeq(value, "\n") {
			if line = strings.TrimSuffix(line, "\r"); len(line) >= minLine {
				plain = append(plain, line)
			}
		}
	}
	var out []string
	for _, p := range plain {
		if len(p) < minMasked {
			continue
		}
		out = append(out, p)
		out = append(out, base64Forms(p)...)
		out = append(out, urlForms(p)...)
		out = append(out, jsonForms(p)...)
	}
	return out
}

// base64Forms returns what is the same in every base64 text that holds the
// value, for each of the three places in a group where it may begin; and the
// same with the last character, for texts that end with the value.
func base64Forms(value string) []string {
	var out []string
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := enc.EncodeToString(append(make([]byte, before), value...))
			first := (8*before + 5) / 6
			whole := 8 * (before + len(value)) / 6
			out = append(out, text[first:], text[first:whole])
		}
	}
	return out
}

// urlForms returns the value as the common encoders write it: they differ in
// what they leave alone and in the case of the digits.
func urlForms(value string) []string {
	component := escape(value, "-_.!~*'()")
	out := []string{
		url.QueryEscape(value), url.PathEscape(value), component,
		escape(value, "-_.~"), escape(value, "-_.~/"),
	}
	for _, s := range slices.Clone(out) {
		out = append(out, lowerEscapes(s))
	}
	return out
}

// escape percent-encodes all but letters, digits and the bytes of keep.
func escape(s, keep string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// lowerEscapes writes the digits of escapes in lower case.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}

// jsonForms returns the value inside a JSON string, with and without the
// escapes for HTML.
func jsonForms(value string) []string {
	var out []string
	for _, html := range []bool{true, false} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		if e.Encode(value) == nil {
			out = append(out, strings.TrimSuffix(b.String()[1:], "\"\n"))
		}
	}
	return out
}

// mark is what stands for a secret.
func mark(name string) string { return "•••(" + name + ")" }

// match looks for a secret at the beginning of b. It returns the longest one,
// and whether more bytes could make one, or a longer one.
func (m *Masker) match(b []byte) (found pattern, open bool) {
	if len(b) < minMasked {
		return pattern{}, m.heads[string(b)]
	}
	pair := binary.LittleEndian.Uint16(b)
	if m.pairs[pair>>6]&(1<<(pair&63)) == 0 {
		return pattern{}, false
	}
	for _, p := range m.byHead[binary.LittleEndian.Uint32(b)] {
		if len(p.text) > len(b) {
			open = open || p.text[:len(b)] == string(b)
		} else if string(b[:len(p.text)]) == p.text {
			return p, open
		}
	}
	return pattern{}, open
}

// mask appends b to dst with its secrets replaced. It returns what it could
// not decide yet, which is nothing if b is the last there is.
func (m *Masker) mask(dst, b []byte, last bool) (out, rest []byte) {
	clear := 0 // b[:clear] is in dst
	for i := 0; i < len(b); i++ {
		if i+1 < len(b) {
			pair := binary.LittleEndian.Uint16(b[i:])
			if m.pairs[pair>>6]&(1<<(pair&63)) == 0 {
				continue
			}
		}
		found, open := m.match(b[i:])
		if open && !last {
			return append(dst, b[clear:i]...), b[i:]
		}
		if found.text == "" {
			continue
		}
		// Secrets that overlap go as one: what sticks out of the first would
		// be seen otherwise.
		end := i + len(found.text)
		for j := i + 1; j < end; j++ {
			f, open := m.match(b[j:])
			if open && !last {
				return append(dst, b[clear:i]...), b[i:]
			}
			end = max(end, j+len(f.text))
		}
		dst = append(dst, b[clear:i]...)
		dst = append(dst, mark(found.name)...)
		clear, i = end, end-1
	}
	return append(dst, b[clear:]...), nil
}

// String returns s with its secrets replaced: for errors, details, summaries.
func (m *Masker) String(s string) string {
	if m == nil {
		return s
	}
	out, _ := m.mask(nil, []byte(s), true)
	return string(out)
}

// Contains reports the first secret of 8 bytes or more that s holds in any
// form. An output that does would carry it on as data.
func (m *Masker) Contains(s string) (name string, found bool) {
	if m == nil {
		return "", false
	}
	b := []byte(s)
	for i := range b {
		if len(b)-i < minMasked {
			break
		}
		for _, p := range m.byHead[binary.LittleEndian.Uint32(b[i:])] {
			if p.strong && len(p.text) <= len(b)-i && string(b[i:i+len(p.text)]) == p.text {
				return p.name, true
			}
		}
	}
	return "", false
}

// MaskStream masks a stream that comes in blocks, wherever they end. What
// could be the beginning of a secret waits for the next block.
type MaskStream struct {
	m    *Masker
	rest []byte // undecided
	out  []byte
}

// Stream returns a MaskStream.
func (m *Masker) Stream() *MaskStream { return &MaskStream{m: m} }

// Next takes a block and returns what is decided. The answer is valid until
// the next call, or as long as p.
func (s *MaskStream) Next(p []byte) []byte {
	if s.m == nil {
		return p
	}
	if len(s.rest) > 0 {
		s.rest = append(s.rest, p...)
		p = s.rest
	}
	var rest []byte
	s.out, rest = s.m.mask(s.out[:0], p, false)
	s.rest = append(s.rest[:0], rest...) // may overlap: append copies like memmove
	return s.out
}

// Last returns what is left at the end of the stream.
func (s *MaskStream) Last() []byte {
	if s.m == nil || len(s.rest) == 0 {
		return nil
	}
	s.out, _ = s.m.mask(s.out[:0], s.rest, true)
	s.rest = nil
	return s.out
}
