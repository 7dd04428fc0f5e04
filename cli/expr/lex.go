package expr

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenInteger
	tokenDecimal
	tokenString
	tokenSign
)

type token struct {
	kind tokenKind
	text string // as written; of a string its value
	span
}

// foreign are signs that other languages have, longest first, with the hint.
var foreign = []struct{ sign, hint string }{
	{"===", `"=="`},
	{"!==", `"!="`},
	{"?.", "has_key(…) or lookup(…)"},
	{"??", "lookup(map, key, fallback)"},
	{"**", ""},
	{"//", ""},
	{"/*", ""},
	{"..", ""},
	{"=>", ""},
	{"->", ""},
	{":=", ""},
	{"=~", "regex(text, pattern)"},
	{"<>", `"!="`},
	{"<<", ""},
	{">>", ""},
	{"=", `"=="`},
	{"&", `"&&"`},
	{"|", `"||"`},
	{"`", `quotes: "…" or '…'`},
	{"${{", ""},
	{"$", "names stand without $"},
	{"#", ""},
	{";", ""},
	{"^", ""},
	{"~", ""},
	{"@", ""},
	{"\\", ""},
}

// signs of the language, longest first.
var signs = []string{
	"==", "!=", "<=", ">=", "&&", "||",
	"(", ")", "[", "]", "{", "}", ",", ":", "?", ".", "!", "-", "*", "/", "%", "+", "<", ">",
}

// next reads one token at p.pos.
func (p *parser) next() (token, *Error) {
	for p.pos < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.pos]) >= 0 {
		p.pos++
	}
	t, err := p.scan()
	if err != nil {
		return t, err
	}
	end := t.end
	if t.text == "}" {
		end = t.start // it may be the first of the }} behind the expression
	}
	if end-p.start > maxText {
		return t, p.tooLong()
	}
	return t, nil
}

func (p *parser) tooLong() *Error {
	return span{p.start, p.start}.at(p.src, CodeSize, "expression longer than 4 KiB", "")
}

func (p *parser) scan() (token, *Error) {
	start := p.pos
	if start >= len(p.src) {
		return token{span: span{start, start}}, nil
	}
	rest := p.src[start:]
	c := rest[0]
	switch {
	case c == '"' || c == '\'':
		return p.scanString(c)
	case c >= '0' && c <= '9':
		return p.scanNumber()
	case nameByte(c):
		n := 1
		for n < len(rest) && (nameByte(rest[n]) || rest[n] >= '0' && rest[n] <= '9') {
			n++
		}
		return p.take(tokenName, n), nil
	}
	if err := p.foreign(rest, 2); err != nil {
		return token{}, err
	}
	for _, s := range signs {
		if strings.HasPrefix(rest, s) {
			return p.take(tokenSign, len(s)), nil
		}
	}
	if err := p.foreign(rest, 1); err != nil {
		return token{}, err
	}
	r, n := utf8.DecodeRuneInString(rest)
	if r == utf8.RuneError && n <= 1 {
		return token{}, span{start, start + 1}.at(p.src, CodeSyntax, "expression: the text is not UTF-8", "")
	}
	return token{}, span{start, start + n}.at(p.src, CodeSyntax, "expression: unexpected character "+quote(string(r)), `names are of letters, digits and _; other keys stand as map["…"]`)
}

// foreign refuses signs of other languages of at least the given length: long
// ones before our own signs are tried ("===" begins with "=="), short ones after.
func (p *parser) foreign(rest string, least int) *Error {
	for _, f := range foreign {
		if len(f.sign) < least || !strings.HasPrefix(rest, f.sign) {
			continue
		}
		s := span{p.pos, p.pos + len(f.sign)}
		if f.sign == "${{" {
			return s.at(p.src, CodeSyntax, "expression: ${{ inside an expression", "one pair of braces holds the whole expression")
		}
		return s.at(p.src, CodeNotLanguage, quote(f.sign)+" is not in the language", f.hint)
	}
	return nil
}

func (p *parser) take(kind tokenKind, n int) token {
	s := span{p.pos, p.pos + n}
	p.pos += n
	return token{kind, p.src[s.start:s.end], s}
}

func nameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// scanNumber reads digits with an optional fraction, and refuses what only looks
// like a number: 012, 1., 1e3, 0x1f, 1_000.
func (p *parser) scanNumber() (token, *Error) {
	rest := p.src[p.pos:]
	n := 1
	for n < len(rest) && digit(rest[n]) {
		n++
	}
	kind := tokenInteger
	if n+1 < len(rest) && rest[n] == '.' && digit(rest[n+1]) {
		kind = tokenDecimal
		for n++; n < len(rest) && digit(rest[n]); n++ {
		}
	}
	end := n
	for end < len(rest) && (digit(rest[end]) || nameByte(rest[end]) || rest[end] == '.') {
		end++
	}
	if end > n || len(rest) > 1 && rest[0] == '0' && digit(rest[1]) {
		return token{}, span{p.pos, p.pos + end}.at(p.src, CodeNotLanguage,
			clip(rest[:end])+" is not a number here", "digits with an optional fraction: 12, 0.5")
	}
	return p.take(kind, n), nil
}

// scanString reads a quoted string and its escapes.
func (p *parser) scanString(mark byte) (token, *Error) {
	start := p.pos
	var b strings.Builder
	for i := start + 1; i < len(p.src); {
		if i-p.start > maxText {
			return token{}, p.tooLong()
		}
		c := p.src[i]
		switch {
		case c == mark:
			p.pos = i + 1
			return token{tokenString, b.String(), span{start, i + 1}}, nil
		case c == '\\':
			r, n := escape(p.src[i:])
			if n == 0 {
				return token{}, span{i, min(i+2, len(p.src))}.at(p.src, CodeSyntax,
					"expression: a backslash begins \\\\ \\\" \\' \\n \\t \\r or \\uXXXX", `\\ for a backslash itself`)
			}
			b.WriteRune(r)
			i += n
		case c < 0x20 || c == 0x7f:
			return token{}, span{i, i + 1}.at(p.src, CodeSyntax, "expression: a control character in a string", `\n, \t, \r or \uXXXX`)
		default:
			r, n := utf8.DecodeRuneInString(p.src[i:])
			if r == utf8.RuneError && n == 1 {
				return token{}, span{i, i + 1}.at(p.src, CodeSyntax, "expression: the text is not UTF-8", "")
			}
			b.WriteString(p.src[i : i+n])
			i += n
		}
	}
	p.pos = len(p.src)
	return token{}, span{start, start + 1}.at(p.src, CodeSyntax, "expression: a string without its closing "+string(mark), "")
}

// escape reads the escape at the start of s; its length is 0 if it is none.
func escape(s string) (rune, int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '\\', '"', '\'':
		return rune(s[1]), 2
	case 'n':
		return '\n', 2
	case 't':
		return '\t', 2
	case 'r':
		return '\r', 2
	case 'u':
		if len(s) < 6 {
			return 0, 0
		}
		n, err := strconv.ParseUint(s[2:6], 16, 16)
		// Half a surrogate pair is no character: write the character itself.
		if err != nil || n >= 0xd800 && n <= 0xdfff {
			return 0, 0
		}
		return rune(n), 6
	}
	return 0, 0
}

// clip shortens source text for a message.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= 60 {
		return s
	}
	return string([]rune(s)[:60]) + "…"
}
